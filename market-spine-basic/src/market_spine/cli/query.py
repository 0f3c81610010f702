"""``market-spine query``: read-only SQL as of any moment."""

from __future__ import annotations

import math
import sys
from contextlib import closing
from typing import Any

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
    output.write_json([dict(zip(names, map(_finite, row), strict=True)) for row in result.rows])


def _finite(value: Any) -> Any:
    """JSON has no infinities, and nothing that is not a number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _distinct(result: QueryResult) -> list[str]:
    """The names of the columns, for formats in which a name may stand only once."""
    names = list(result.columns)
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"--format json and parquet: more than one column is named {', '.join(repeated)}",
            hint="give each column a name of its own with AS",
        )
    return names


def _parquet(result: QueryResult) -> None:
    import io

    import polars as pl

    if sys.stdout.isatty():
        raise click.UsageError("--format parquet writes bytes: redirect stdout to a file")
    frame = pl.DataFrame(result.rows, schema=_distinct(result), orient="row", infer_schema_length=None)
    data = io.BytesIO()
    frame.write_parquet(data)
    output.write_bytes(data.getvalue())


_WRITERS = {"table": _table, "csv": _csv, "json": _json, "parquet": _parquet}
