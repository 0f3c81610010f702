"""``market-spine export``: everything, as of a moment, for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from market_spine.cli import output
from market_spine.cli.options import CAPTURES, TrimmedPath, db_option, json_option

FORMATS = ("parquet", "csv", "duckdb", "sqlite")


@click.command()
@click.option(
    "--to",
    required=True,
    type=TrimmedPath(path_type=Path),
    help="Where: a folder for parquet and csv, a file for duckdb and sqlite.",
)
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="In which form.")
@click.option(
    "--as-of",
    metavar="TIMESTAMP|CAPTURE",
    shell_complete=CAPTURES,
    help="What was known at that moment, or when that capture came; default: now.",
)
@click.option("--tables", metavar="NAME,...", help="These tables and views; default: all.")
@click.option(
    "--where",
    metavar="CONDITION",
    multiple=True,
    help="COLUMN=VALUE,... or COLUMN>=VALUE or COLUMN<=VALUE, of the tables with such a column; can be repeated.",
)
@click.option("--overwrite", is_flag=True, help="Let --to replace an earlier export.")
@db_option
@json_option
def export(
    to: Path,
    form: str,
    as_of: str | None,
    tables: str | None,
    where: tuple[str, ...],
    overwrite: bool,
    db: str | None,
    as_json: bool,
) -> None:
    """Export every table and view as of one moment, typed, for other tools.

    The export is there whole, or not at all; an earlier one stays unless it is replaced.
    """
    from market_spine.publish.export import export as publish
    from market_spine.read.spine import connect

    with connect(db) as present:
        spine = present if as_of is None else present.as_of(present.store.settled(as_of))
        wanted = None if tables is None else [name.strip() for name in tables.split(",")]
        result = publish(spine, to, form, tables=wanted, where=where, overwrite=overwrite)
    if as_json:
        output.write_json(result.document())
        return
    output.write_table(("table", "rows"), [(each.name, each.rows) for each in result.tables])
    shown = "before the first commit" if result.as_of is None else f"as of {result.as_of.isoformat()}"
    output.write(f"{result.to}: {len(result.tables)} tables and views {shown}")
