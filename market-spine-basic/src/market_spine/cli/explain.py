"""``market-spine changes`` and ``explain``: what was restated, and why a figure is what it is."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from market_spine.cli import output
from market_spine.cli.options import db_option, domain_option, json_option
from market_spine.core.manifest import NORMALIZE
from market_spine.errors import UsageError

if TYPE_CHECKING:
    from market_spine.app.changes import Changes
    from market_spine.app.explain import Explanation

_MOMENT = "MOMENT|CAPTURE"
FORMATS = ("csv", "json", "parquet")


@click.command()
@click.option("--since", required=True, metavar=_MOMENT, help="From what was known then, or when that capture came.")
@click.option("--until", metavar=_MOMENT, help="To what was known then; default: now.")
@click.option("--symbol", metavar="SYM", help="Rows of this symbol alone.")
@click.option("--table", "name", metavar="NAME", help="This table; default: those of what the sources said.")
@click.option(
    "--limit", default=10, show_default=True, type=click.IntRange(min=0), help="How many of the largest moves."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("table", *FORMATS)),
    default="table",
    show_default=True,
    help="table: what moved; others: every restated row of one table, with its values before and after.",
)
@domain_option
@db_option
@json_option
def changes(
    since: str,
    until: str | None,
    symbol: str | None,
    name: str | None,
    limit: int,
    form: str,
    domain: str | None,
    db: str | None,
    as_json: bool,
) -> None:
    """Show what was restated between two moments: partitions, rows, totals before and after, the largest moves."""
    from market_spine import registry
    from market_spine.app.changes import Span, choose_tables, find_changes, moment_of, rows_of
    from market_spine.compose import reader

    tables = choose_tables([registry.find(domain)] if domain else registry.domains(), name, symbol)
    if form != "table" and len(tables) > 1:
        listed = ", ".join(table.name for _, table in tables)
        raise UsageError(f"--format {form} writes the rows of one table", hint=f"name one with --table: {listed}")
    if form != "table" and as_json:
        raise UsageError("--json writes what moved, --format its rows", hint="give one of them")
    with closing(reader(db)) as store:
        span = Span(moment_of(store, "--since", since), moment_of(store, "--until", until) if until else None)
        if span.until and span.until < span.since:
            raise UsageError(f"--since {since} lies after --until {until}", hint="name the earlier moment first")
        found = find_changes(store, tables, span, symbol, limit)
    if form != "table":
        output.write_frame(rows_of(found, tables[0][1]), form)
    elif as_json:
        output.write_json(found.document())
    else:
        _show(found)


def _show(found: Changes) -> None:
    output.write(
        f"{len(found.restated)} restated, {found.first_loaded} partition(s) known for the first time"
        if found.restated
        else f"nothing was restated; {found.first_loaded} partition(s) known for the first time"
    )
    if found.restated:
        rows = []
        for each in found.restated:
            added, removed, changed = each.diff.change
            totals = ", ".join(
                f"{name} {_figure(each.before[name])} -> {_figure(each.after[name])}" for name in each.before
            )
            rows.append((each.table.name, each.partition.key, f"+{added} -{removed} ~{changed}", totals))
        output.write_table(("table", "partition", "rows", "totals"), rows)
    if found.movers:
        moved = [
            (
                " ".join(map(str, filter(None, each.key.values()))),
                each.column,
                _figure(each.old),
                _figure(each.new),
                _figure(each.by),
            )
            for each in found.movers
        ]
        output.write_table(("largest moves", "column", "before", "after", "by"), moved)


def _figure(value: float | None) -> str:
    """A figure as people read it."""
    return "" if value is None else f"{value:,.15g}"


@click.command()
@click.argument("table")
@click.argument("key", nargs=-1, metavar="COLUMN=VALUE ...")
@click.option("--since", metavar=_MOMENT, help="Leave out what was superseded before.")
@db_option
@json_option
def explain(table: str, key: tuple[str, ...], since: str | None, db: str | None, as_json: bool) -> None:
    """Show why a row of TABLE is what it is: its versions, its place in the source, what it was computed from."""
    from market_spine import registry
    from market_spine.app.changes import choose_tables, moment_of
    from market_spine.app.explain import explain as explained
    from market_spine.app.explain import parse_key
    from market_spine.compose import reader

    ((domain, found),) = choose_tables(registry.domains(), table, None)
    partition, wanted = parse_key(domain, found, key)
    with closing(reader(db)) as store:
        moment = moment_of(store, "--since", since) if since else None
        told = explained(store, domain, found, partition, wanted, moment)
    if as_json:
        output.write_json(_explanation(told))
    else:
        _show_explanation(told)


def _explanation(told: Explanation) -> dict[str, Any]:
    return {
        "table": told.table.name,
        "partition_key": told.partition.key,
        "key": dict(told.key),
        "versions": [
            {
                "since": each.since.isoformat(),
                "capture_id": each.capture_id,
                "run_id": each.run_id,
                "input_captures": list(each.input_captures),
                "row": each.row,
                "changed": {name: {"before": old, "after": new} for name, old, new in each.changed(before)},
                "source": each.source._asdict() if each.source else None,
            }
            for before, each in told.steps
        ],
        "inputs": [each._asdict() for each in told.inputs],
    }


def _show_explanation(told: Explanation) -> None:
    output.write(f"{told.table.name} {' '.join(f'{name}={value}' for name, value in told.key.items())}")
    for before, each in told.steps:
        output.write("")
        output.write(f"{each.since.isoformat(timespec='seconds')}  capture {each.capture_id}, run {each.run_id}")
        if each.input_captures:
            how = "completed" if told.table.stage == NORMALIZE else "computed"
            output.write(f"  {how} from {', '.join(each.input_captures)}")
        if each.row is None:
            output.write("  the row was gone")
        elif before is None or before.row is None:
            values = {name: value for name, value in each.row.items() if name not in told.key and value is not None}
            output.write("  " + ", ".join(f"{name} {value}" for name, value in values.items()))
        else:
            output.write("  " + ", ".join(f"{name} {old} -> {new}" for name, old, new in each.changed(before)))
        if each.source:
            output.write(f"  {each.source.part} of {each.source.origin}, line {each.source.line}: {each.source.text}")
    if told.inputs:
        output.write("")
        output.write("computed from")
    for inputs in told.inputs:
        shown = "" if inputs.total == len(inputs.rows) else f", the first {len(inputs.rows)}"
        what = f"({inputs.capture_id}): {inputs.total} row(s){shown}" if inputs.capture_id else "is not captured"
        output.write(f"{inputs.table} of {inputs.partition_key} {what}")
        if inputs.rows:
            output.write_table(list(inputs.rows[0]), [list(row.values()) for row in inputs.rows])
