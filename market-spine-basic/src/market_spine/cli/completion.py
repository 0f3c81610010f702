"""What the shell is offered for a word that is being typed: partitions, captures and domains of the database."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from click.shell_completion import BashComplete, add_completion_class, split_arg_string

from market_spine import registry
from market_spine.errors import MarketSpineError

if TYPE_CHECKING:
    import click

    from market_spine.core.ports import Reader

MOST = 200
"""Captures that are offered at once."""


def partitions(context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Keys of known partitions; with a slash, which no shell takes for anything, unless a bar was typed."""
    with suppress(MarketSpineError), closing(_reader(context)) as store:
        name = context.params.get("domain")
        chosen = [registry.find(name)] if name else registry.domains()
        keys = [key for domain in chosen for key in store.partition_keys(domain.name)]
        spelt = keys if "|" in typed else [key.replace("|", "/") for key in keys]
        return [key for key in spelt if key.casefold().startswith(typed.casefold())]
    return []


def captures(context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Ids of captures that begin so."""
    with suppress(MarketSpineError), closing(_reader(context)) as store:
        return list(store.capture_ids(typed, MOST))
    return []


def domains(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Short names of the installed domains."""
    return [name for name in registry.entries() if name.startswith(typed)]


def _reader(context: click.Context) -> Reader:
    from market_spine.compose import reader

    return reader(context.params.get("db"))


class _Bash(BashComplete):
    """Bash ends a word at a colon: so the line itself is looked at, and what stands before the colon left out."""

    name = "bash"
    source_template = r"""
%(complete_func)s() {
    local IFS=$'\n' line=${COMP_LINE:0:COMP_POINT} before= type value
    local word=${line##*[[:space:]]}
    [[ $word == *:* && $COMP_WORDBREAKS == *:* ]] && before=${word%%:*}:
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$before"}") ;;
        esac
    done < <(COMP_LINE=$line %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is being typed, and that one."""
        line = os.environ.get("COMP_LINE", "")
        words = split_arg_string(line)[1:]
        return (words, "") if not words or line[-1].isspace() else (words[:-1], words[-1])


def use_own_bash() -> None:
    """Let click write and answer our Bash script."""
    add_completion_class(_Bash)
