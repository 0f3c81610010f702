"""``market-spine query``: read-only SQL as of any moment."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing

import click

from market_spine.cli import output
from market_spine.cli.options import db_option, json_option
from market_spine.core.manifest import QueryResult
from market_spine.errors import UsageError

FORMATS = ("table", "csv", "json", "parquet")


@click.command()
@click.argument("sql")
@click.option(
    "--as-of",
    metavar="TIMESTAMP|CAPTURE",
    help="Read what was known at that moment, or when that capture came.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="How to write the rows.",
)
@json_option
@db_option
def query(sql: str, as_of: str | None, form: str, as_json: bool, db: str | None) -> None:
    """Run one reading SQL statement and write its rows to stdout.

    Tables and views show what is known now; with --as-of they show what was known then.
    """
    from market_spine.compose import reader

    with closing(reader(db)) as store:
        result = store.query(sql, as_of)
    _WRITERS["json" if as_json else form](result)


def _table(result: QueryResult) -> None:
    output.write_table(result.columns, result.rows)


def _csv(result: QueryResult) -> None:
    output.write_csv(result.columns, result.rows)


def _json(result: QueryResult) -> None:
    names = _distinct(result)
    try:
        text = json.dumps([dict(zip(names, row, strict=True)) for row in result.rows], indent=2, allow_nan=False)
    except ValueError as error:
        raise UsageError("JSON has no number that is infinite or none", hint="use --format csv") from error
    output.write(text)


def _distinct(result: QueryResult) -> Sequence[str]:
    """The names of the columns, by which a format keeps values apart; raises UsageError if two are the same."""
    twice = sorted({name for name in result.columns if result.columns.count(name) > 1})
    if twice:
        raise UsageError(
            f"several columns of the answer are called {', '.join(twice)}",
            hint="name each with AS, or use --format csv",
        )
    return result.columns


def _parquet(result: QueryResult) -> None:
    import io

    import polars as pl

    if sys.stdout.isatty():
        raise click.UsageError("--format parquet writes bytes: redirect stdout to a file")
    frame = pl.DataFrame(result.rows, schema=list(_distinct(result)), orient="row", infer_schema_length=None)
    data = io.BytesIO()
    frame.write_parquet(data)
    output.write_bytes(data.getvalue())


_WRITERS = {"table": _table, "csv": _csv, "json": _json, "parquet": _parquet}
