"""Options that several platform commands share."""

from __future__ import annotations

from typing import Any

import click

from market_spine.settings import trimmed


class TrimmedPath(click.Path):
    """A path without blanks or line ends around it; one with control characters is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, as ``click.Path`` gives it."""
        name = param.opts[0] if isinstance(param, click.Option) else "PATH"
        return super().convert(trimmed(name, value) if isinstance(value, str) else value, param, ctx)


class Selecting(click.Option):
    """An option of a scheduler that chooses partitions: a plan that is applied has its own instead."""


def require_value(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuse a flag for another's value: click lets an unset variable in `--db $DB --json` make a file "--json"."""
    if isinstance(value, str) and value.startswith("--"):
        raise click.BadOptionUsage(parameter.opts[0], f"Option '{parameter.opts[0]}' requires an argument.", context)
    return value


class _Offered:
    """What is offered to the shell for a word: ``completion`` is imported when a shell asks."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
        from market_spine.cli import completion

        offered: list[str] = getattr(completion, self.name)(context, parameter, typed)
        return offered


PARTITIONS, CAPTURES = _Offered("partitions"), _Offered("captures")

partition_argument = click.argument("partition", shell_complete=PARTITIONS)
capture_argument = click.argument("capture", shell_complete=CAPTURES)
db_option = click.option(
    "--db",
    metavar="PATH|URL",
    callback=require_value,
    help="Database; else DATABASE_URL, else data/market_spine.db.",
)
domain_option = click.option(
    "--domain",
    metavar="NAME",
    shell_complete=_Offered("domains"),
    help="Short or full name of a domain; default: inferred, or all.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
