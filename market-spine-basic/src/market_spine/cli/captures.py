"""``market-spine captures``, ``payload`` and ``diff``: what was observed of a partition, and how it changed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from market_spine.cli import output
from market_spine.cli.options import (
    CAPTURES,
    TrimmedPath,
    capture_argument,
    db_option,
    domain_option,
    json_option,
    partition_argument,
)
from market_spine.errors import StoreUnavailable

if TYPE_CHECKING:
    from market_spine.app.captures import CaptureState
    from market_spine.core.manifest import DecisionRecord
    from market_spine.core.revision import RowDiff

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
    if as_json:
        output.write_json({"partition_key": where.key, "captures": [_document(capture) for capture in listed]})
        return
    output.write_table(_COLUMNS, [_row(capture) for capture in listed])


@click.command()
@capture_argument
@click.option("--out", required=True, type=TrimmedPath(path_type=Path, dir_okay=False), help="File to write.")
@click.option("--part", metavar="NAME", help="Which part, if the capture has several.")
@db_option
def payload(capture: str, out: Path, part: str | None, db: str | None) -> None:
    """Write the exact bytes of CAPTURE, as the source had them, to a file."""
    from market_spine.app.captures import capture_part
    from market_spine.compose import reader

    with closing(reader(db)) as store:
        found, status = capture_part(store, capture, part)
    try:
        out.write_bytes(found.data)
    except OSError as error:
        raise StoreUnavailable(f"--out: {out} cannot be written: {error.strerror}", kind="output") from error
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
    from market_spine.app.captures import choose_captures, diff_captures
    from market_spine.compose import reader
    from market_spine.registry import locate

    with closing(reader(db)) as store:
        found, where = locate(partition, domain, store.partition_keys)
        table = found.tables[0]
        before, after = choose_captures(store, found, where, old, new)
        rows = diff_captures(store, found, where, before, after)
    if as_json:
        output.write_json(
            {
                "partition_key": where.key,
                "from": before.committed.entry.capture_id,
                "from_status": before.status,
                "to": after.committed.entry.capture_id,
                "to_status": after.status,
                "added": _plain(rows.added.to_dicts()),
                "removed": _plain(rows.removed.to_dicts()),
                "changed": _changed(rows, table.key),
            }
        )
        return
    change = rows.change
    output.write(f"{where.key}: {before.committed.entry.capture_id} -> {after.committed.entry.capture_id}")
    for capture in (before, after):
        if capture.status in ("held", "retracted"):
            output.write(f"{capture.committed.entry.capture_id} is {capture.outcome}")
    output.write(f"{change.added} added, {change.removed} removed, {change.changed} changed")
    listed = [
        *(("+", _key(row, table.key), _values(row, table.key)) for row in _plain(rows.added.to_dicts())),
        *(("-", _key(row, table.key), _values(row, table.key)) for row in _plain(rows.removed.to_dicts())),
        *(("~", _key(row["old"], table.key), _moved(row)) for row in _changed(rows, table.key)),
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


def _document(capture: CaptureState) -> dict[str, Any]:
    """A capture's JSON form."""
    entry = capture.committed.entry
    change = entry.change
    counts = change and {
        "rows_added": change.added,
        "rows_removed": change.removed,
        "rows_changed": change.changed,
    }
    return {
        "capture_id": entry.capture_id,
        "status": capture.status,
        "captured_at": capture.committed.captured_at.isoformat(),
        "row_count": entry.row_count,
        "rejected": entry.rejected,
        "duplicates": entry.duplicates,
        "is_revision": entry.is_revision,
        "revision_summary": counts,
        "source_hash": entry.source_hash,
        "content_hash": entry.content_hash,
        "legs": list(capture.legs),
        "overrode": list(capture.overrode),
        "decisions": [
            {
                "verb": each.decision.verb,
                "kind": each.decision.kind,
                "by": each.decision.decided_by,
                "reason": each.decision.reason,
                "decided_at": each.decided_at.isoformat(),
            }
            for each in capture.decisions
        ],
        "parts": [
            {
                "name": part.name,
                "sha256": part.sha256,
                "origin": part.origin,
                "size": part.size,
                "carried": part.carried,
            }
            for part in entry.parts
        ],
    }


def _changed(rows: RowDiff, key: tuple[str, ...]) -> list[dict[str, Any]]:
    pairs = zip(_plain(rows.old.to_dicts()), _plain(rows.new.to_dicts()), strict=True)
    return [{"key": {name: new[name] for name in key}, "old": old, "new": new} for old, new in pairs]


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Dates as ISO text."""
    return [
        {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}
        for row in rows
    ]


def _key(row: dict[str, Any], key: tuple[str, ...]) -> str:
    return " ".join(str(row[name]) for name in key if row[name] != "")


def _values(row: dict[str, Any], key: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items() if name not in key and value is not None)


def _moved(row: dict[str, Any]) -> str:
    old, new = row["old"], row["new"]
    return ", ".join(f"{name} {old[name]} -> {new[name]}" for name in new if old[name] != new[name])
