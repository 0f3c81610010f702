"""What the program has: its commands with their flags, and the environment variables that it reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache

import click

from market_spine.cli.main import root
from scripts.deploy_check.tools import REPOSITORY

SOURCES = ("market-spine-basic/src", "packages/spine-domains/src")
READERS = {"variable", "secret", "get"}
"""Functions whose first argument is a variable's name."""
_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_DECLARED = re.compile(r"(^|_)variables?$", re.IGNORECASE)


@cache
def variables() -> frozenset[str]:
    """Every environment variable that the program reads, those included that name the file of a secret."""
    found: set[str] = set()
    for folder in SOURCES:
        for path in (REPOSITORY / folder).rglob("*.py"):
            found |= set(_read_by(ast.parse(path.read_text("utf-8"))))
    return frozenset(found)


def _read_by(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and node.args:
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in READERS:
                for name in _names(node.args[0]):
                    yield name
                    if function == "secret":
                        yield f"{name}_FILE"
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and _DECLARED.search(target.id) for target in targets):
                yield from _names(node.value)


def _names(node: ast.expr) -> Iterator[str]:
    """Names of variables that an expression spells out."""
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and _NAME.fullmatch(each.value):
            yield each.value


def unknown_variables(text: str) -> list[str]:
    """Words that look like the program's variables, by how they begin, and are none."""
    first = {name.partition("_")[0] for name in variables()}
    words = set(re.findall(rf"\b(?:{'|'.join(sorted(first))})_[A-Z0-9_]+\b", text))
    return sorted(words - variables())


def misuse(arguments: Sequence[str]) -> str | None:
    """What the program would say of a command line, without running it; None if it takes it."""
    try:
        _parse(root, "market-spine", list(arguments))
    except click.exceptions.Exit:
        return None  # --help, --version
    except click.ClickException as error:
        return " ".join(error.format_message().split())
    return None


def options(arguments: Sequence[str]) -> set[str]:
    """The flags of the command that a command line starts, such as ``["schedule", "finra"]``."""
    command: click.Command = root
    for word in arguments:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(click.Context(command), word) or command
    return {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}


def _parse(command: click.Command, name: str, arguments: list[str]) -> None:
    context = command.make_context(name, arguments)
    if isinstance(command, click.Group):
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        if not rest and command.invoke_without_command:
            return
        _, chosen, rest = command.resolve_command(context, rest)
        assert chosen is not None
        _parse(chosen, f"{name} {chosen.name}", rest)
