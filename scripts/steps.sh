# For the demos: headings, and commands that are shown before they run. Read with `.`, from the repository's root.

bold='' plain=''
if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); fi

step() { printf '\n%s# %s%s\n' "$bold" "$1" "$plain"; }
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
