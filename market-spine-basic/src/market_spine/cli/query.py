"""``market-spine query``: read-only SQL as of any moment."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from market_spine.cli import output
from market_spine.cli.options import CAPTURES, db_option, json_option
from market_spine.errors import UsageError

if TYPE_CHECKING:
    from market_spine.core.ports import RowStream

FORMATS = ("table", "csv", "json", "parquet")
TABLE_ROWS = 10_000
"""Most rows that are drawn as a table, whose columns are as wide as the widest of them; other formats have no limit."""


@click.command()
@click.argument("sql")
@click.option(
    "--as-of",
    metavar="TIMESTAMP|CAPTURE",
    shell_complete=CAPTURES,
    help="Read what was known at that moment, or when that capture came.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="How to write the rows; all but table are written as they come, however many.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True, max=86_400),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="How long the statement may take.",
)
@json_option
@db_option
def query(sql: str, as_of: str | None, form: str, timeout: float, as_json: bool, db: str | None) -> None:
    """Run one reading SQL statement and write its rows to stdout.

    Tables and views show what is known now; with --as-of they show what was known then.
    """
    from market_spine.compose import reader

    with closing(reader(db)) as store, store.ask(sql, as_of, seconds=timeout) as answer:
        _WRITERS["json" if as_json else form](answer)


def _table(answer: RowStream) -> None:
    rows: list[Sequence[Any]] = []
    for batch in answer.batches():
        rows += batch
        if len(rows) > TABLE_ROWS:
            raise UsageError(
                f"the answer has more than {TABLE_ROWS} rows, too many for a table",
                hint="use --format csv, json or parquet, or LIMIT",
            )
    output.write_table(answer.columns, rows)


def _csv(answer: RowStream) -> None:
    output.write_csv(answer.columns, answer.batches())


def _json(answer: RowStream) -> None:
    output.write_json_rows(_objects(answer))


def _objects(answer: RowStream) -> Iterator[list[dict[str, Any]]]:
    names = _distinct(answer)
    for batch in answer.batches():
        yield [dict(zip(names, row, strict=True)) for row in batch]


def _distinct(answer: RowStream) -> Sequence[str]:
    """The names of the columns, by which a format keeps values apart; raises UsageError if two are the same."""
    columns = list(answer.columns)
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UsageError(
            f"several columns of the answer are called {', '.join(twice)}",
            hint="name each with AS, or use --format csv",
        )
    return columns


def _parquet(answer: RowStream) -> None:
    if sys.stdout.isatty():
        raise click.UsageError("--format parquet writes bytes: redirect stdout to a file")
    _distinct(answer)
    answer.write_parquet(output.bytes_out())


_WRITERS = {"table": _table, "csv": _csv, "json": _json, "parquet": _parquet}
