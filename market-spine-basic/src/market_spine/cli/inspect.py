"""``market-spine status``, ``runs`` and ``anomalies``: where things stand."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from typing import Any

import click

from market_spine.app.scheduling import SchedulerResult
from market_spine.cli import output
from market_spine.cli.main import Group
from market_spine.cli.options import PARTITIONS, db_option, domain_option, json_option
from market_spine.core.kept import CheckRecord
from market_spine.core.manifest import RunRecord
from market_spine.core.ports import Reader
from market_spine.errors import UsageError


@click.command()
@click.option("--weeks", "count", default=8, show_default=True, type=click.IntRange(min=1), help="Rows of the grid.")
@click.option("--run-date", metavar="YYYY-MM-DD", help="Judge publication as of this day; default: today in New York.")
@domain_option
@db_option
@json_option
def status(count: int, run_date: str | None, domain: str | None, db: str | None, as_json: bool) -> None:
    """Show the partition grid, a state for each: failed, held, late, retracted, warned, revised, captured, ..."""
    from market_spine import registry
    from market_spine.app.arguments import day
    from market_spine.app.states import partition_states
    from market_spine.compose import market_day, reader

    today = day("--run-date", run_date) if run_date else market_day()
    chosen = [registry.find(domain)] if domain else registry.domains()
    with closing(reader(db)) as store:
        grids = [(each, partition_states(store, each, today, count)) for each in chosen]
    if as_json:
        output.write_json([grid.document() for _, grid in grids])
        return
    for each, grid in grids:
        if grid.states:
            counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in grid.counts.items())
            output.write(f"{each.name} on {today}: {counts}")
            columns = [state.partition_key.rpartition("|")[2] for state in grid.rows[0]]
            table = [[row[0].partition_key.partition("|")[0], *(state.text for state in row)] for row in grid.rows]
            output.write_table([each.partition_fields[0], *columns], table)


@click.command()
@click.argument("run_ids", metavar="[RUN_ID]", nargs=-1)
@click.option(
    "--merge",
    is_flag=True,
    help="Make one result of those of all shards, each named by its file or RUN_ID; exits as it says.",
)
@click.option(
    "--partition",
    "key",
    metavar="KEY",
    shell_complete=PARTITIONS,
    help="Those that met this partition, and what they found of it.",
)
@click.option("--before", metavar="RUN_ID", help="Those before this one: the last that was listed.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="How many.")
@domain_option
@db_option
@json_option
def runs(
    run_ids: Sequence[str],
    merge: bool,
    key: str | None,
    before: str | None,
    limit: int,
    domain: str | None,
    db: str | None,
    as_json: bool,
) -> int | None:
    """List past scheduler runs, newest first; show the run RUN_ID."""
    chooses = key is not None or before is not None
    if merge:
        from market_spine.cli.merge import merge as merge_results

        if chooses or domain is not None:
            raise UsageError("--merge takes results alone", hint="leave --partition, --before and --domain away")
        return merge_results(run_ids, db, as_json=as_json)
    if len(run_ids) > 1:
        raise UsageError("RUN_ID names one run", hint="--merge makes one result of several")
    if run_ids and chooses:
        raise UsageError("RUN_ID names one run; --partition and --before list several", hint="leave one of them away")
    _show(run_ids[0] if run_ids else None, key, before, limit, domain, db, as_json=as_json)
    return None


def _show(
    run_id: str | None,
    key: str | None,
    before: str | None,
    limit: int,
    domain: str | None,
    db: str | None,
    *,
    as_json: bool,
) -> None:
    from market_spine import registry
    from market_spine.compose import reader

    name = registry.find(domain).name if domain else None
    with closing(reader(db)) as store:
        if key is not None:
            found, partition = registry.locate(key, domain, store.partition_keys)
            name, key = found.name, partition.key
        if run_id is not None:
            records: Sequence[RunRecord] = [_one_run(store, run_id, "")]
        else:
            if before is not None:
                _one_run(store, before, "--before: ")
            records = store.runs(name, limit, key=key, before=before)
        checks = store.checks(name, key, limit, before=before) if name and key and not as_json else []
    if as_json:
        output.write_json([record.document() for record in records])
    elif run_id is not None and records[0].exit_code is None:
        output.write(f"{records[0].status}: begun on {records[0].started_at.isoformat(timespec='seconds')}")
    elif run_id is not None:
        output.write_result(SchedulerResult.from_json(records[0].result), as_json=False)
    elif key is not None:
        _write(("run_id", "recorded_at", "pipeline", "status", "reason", "kind", "duration_ms"), checks)
    else:
        _write(("run_id", "domain", "started_at", "status", "attempted", "succeeded", "failed", "skipped"), records)


def _one_run(store: Reader, run_id: str, flag: str) -> RunRecord:
    found = store.find_run(run_id)
    if found is None:
        raise UsageError(f"{flag}there is no run '{run_id}'", hint="market-spine runs lists them")
    return found


def _write(columns: Sequence[str], records: Sequence[RunRecord | CheckRecord]) -> None:
    output.write_table(columns, [[_cell(getattr(record, column)) for column in columns] for record in records])


def _cell(value: Any) -> Any:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value


class _Anomalies(Group):
    """Lists them when no command is named; what sets one aside is imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["ack"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from market_spine.cli.decide import ack

        return ack if cmd_name == "ack" else None


@click.group(cls=_Anomalies, invoke_without_command=True)
@click.pass_context
@click.option("--all", "everything", is_flag=True, help="Also those that are resolved or set aside.")
@domain_option
@db_option
@json_option
def anomalies(ctx: click.Context, everything: bool, domain: str | None, db: str | None, as_json: bool) -> None:
    """List anomalies, newest first: those still open, or all."""
    if ctx.invoked_subcommand is not None:
        return
    from market_spine import registry
    from market_spine.compose import reader

    name = registry.find(domain).name if domain else None
    with closing(reader(db)) as store:
        records = store.anomalies(name, open_only=not everything)
    rows = [record.document() for record in records]
    if as_json:
        output.write_json(rows)
        return
    columns = (
        "partition_key",
        "kind",
        "severity",
        "count",
        "first_seen",
        "last_seen",
        "resolved_at",
        "acknowledged_at",
        "message",
    )
    output.write_table(columns, [[row[name] for name in columns] for row in rows])
