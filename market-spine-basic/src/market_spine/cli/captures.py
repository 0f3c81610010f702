"""``market-spine captures``, ``payload`` and ``diff``: what was observed of a partition, and how it changed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from market_spine.cli import output
from market_spine.cli.options import (
    CAPTURES,
    capture_argument,
    db_option,
    domain_option,
    json_option,
    partition_argument,
)
from market_spine.cli.outfile import STDOUT, out_option, refuse_existing, save
from market_spine.errors import UsageError

if TYPE_CHECKING:
    from market_spine.app.captures import CaptureState
    from market_spine.core.kept import DecisionRecord

_COLUMNS = ("capture_id", "status", "captured_at", "rows", "rejected", "revision", "source_hash", "parts", "decisions")


@click.command()
@partition_argument
@domain_option
@db_option
@json_option
def captures(partition: str, domain: str | None, db: str | None, as_json: bool) -> None:
    """List the captures of PARTITION (such as 2025-01-03/T1 or AAPL), oldest first."""
    from market_spine.app.captures import list_captures
    from market_spine.compose import reader
    from market_spine.registry import locate

    with closing(reader(db)) as store:
        found, where = locate(partition, domain, store.partition_keys)
        listed = list_captures(store, found, where)
        if not listed:
            raise UsageError(
                f"{where.key} of {found.name} has no captures",
                hint="market-spine status shows what is known, runs --partition what was tried",
            )
    if as_json:
        output.write_json({"partition_key": where.key, "captures": [capture.document() for capture in listed]})
        return
    output.write_table(_COLUMNS, [_row(capture) for capture in listed])


@click.command()
@capture_argument
@out_option("File to write; - is stdout.", required=True)
@click.option("--part", metavar="NAME", help="Which part, if the capture has several.")
@db_option
def payload(capture: str, out: Path, overwrite: bool, part: str | None, db: str | None) -> None:
    """Write the exact bytes of CAPTURE, as the source had them, to a file or to stdout."""
    from market_spine.app.captures import capture_part
    from market_spine.compose import reader

    refuse_existing(out, overwrite=overwrite)
    with closing(reader(db)) as store:
        found, status = capture_part(store, capture, part)
    save(out, lambda file: file.write(found.data), overwrite=overwrite)
    if out != STDOUT:
        output.write(f"{out}: {len(found.data)} bytes, SHA-256 {found.sha256}, from {found.origin}" + status)


@click.command()
@partition_argument
@click.option(
    "--from", "old", metavar="CAPTURE", shell_complete=CAPTURES, help="Earlier capture; default: the one before --to."
)
@click.option("--to", "new", metavar="CAPTURE", shell_complete=CAPTURES, help="Later capture; default: the last.")
@domain_option
@db_option
@json_option
def diff(partition: str, old: str | None, new: str | None, domain: str | None, db: str | None, as_json: bool) -> None:
    """Show the normalized rows in which two captures of PARTITION differ, with old and new values."""
    from market_spine.app.captures import compare_captures
    from market_spine.compose import reader
    from market_spine.registry import locate

    with closing(reader(db)) as store:
        found, where = locate(partition, domain, store.partition_keys)
        compared = compare_captures(store, found, where, old, new)
    if as_json:
        output.write_json(compared.document())
        return
    rows, key = compared.rows, compared.key
    change = rows.change
    output.write(f"{where.key}: {compared.old.capture_id} -> {compared.new.capture_id}")
    for capture in (compared.old, compared.new):
        if capture.status in ("held", "retracted"):
            output.write(f"{capture.capture_id} is {capture.outcome}")
    output.write(f"{change.added} added, {change.removed} removed, {change.changed} changed")
    listed = [
        *(("+", _key(row, key), _values(row, key)) for row in rows.added.iter_rows(named=True)),
        *(("-", _key(row, key), _values(row, key)) for row in rows.removed.iter_rows(named=True)),
        *(("~", _key(new, key), _moved(old, new)) for old, new in rows.pairs()),
    ]
    if listed:
        output.write_table(("", "row", "values"), listed)


def _row(capture: CaptureState) -> tuple[Any, ...]:
    """The cells of a capture's table row."""
    entry = capture.committed.entry
    change = entry.change
    return (
        entry.capture_id,
        capture.status,
        capture.committed.captured_at.isoformat(timespec="seconds"),
        entry.row_count,
        entry.rejected,
        f"+{change.added} -{change.removed} ~{change.changed}" if change else "",
        entry.source_hash[:12],
        ", ".join(capture.legs or [part.name for part in entry.parts]),
        "; ".join(map(_decided, capture.decisions)),
    )


def _decided(record: DecisionRecord) -> str:
    """A decision in a few words."""
    decision = record.decision
    past = f" past {decision.kind}" if decision.kind else ""
    return f"{decision.verb}{past} by {decision.decided_by}: {decision.reason}"


def _key(row: dict[str, Any], key: tuple[str, ...]) -> str:
    return " ".join(str(row[name]) for name in key if row[name] != "")


def _values(row: dict[str, Any], key: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items() if name not in key and value is not None)


def _moved(old: dict[str, Any], new: dict[str, Any]) -> str:
    return ", ".join(f"{name} {old[name]} -> {new[name]}" for name in new if old[name] != new[name])
