# For the demos: headings, and commands that are shown before they run. Read with `.`, from the repository's root.

step() { printf '\n\033[1m# %s\033[0m\n' "$1"; }
run() {
    printf '$'
    for word in "$@"; do
        case $word in
            *\'*) printf ' "%s"' "$word" ;;
            *[!A-Za-z0-9_./=:,-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}
