"""One partition: where it stands, what was known when, what the last restatement changed, and every capture."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from market_spine.app.captures import CaptureState, diff_captures
from market_spine.app.states import PartitionState
from market_spine.core.domain import Domain
from market_spine.core.kept import Reject
from market_spine.core.partition import Partition
from market_spine.errors import UsageError
from market_spine.web import words
from market_spine.web.pages import PageMissing, Record, Visit
from market_spine.web.pages.grid import find
from market_spine.web.pages.lineage import event_day, measure, neighbours, stages, used_by
from market_spine.web.pages.plain import plain_anomaly, text_of
from market_spine.web.reading import Reading

if TYPE_CHECKING:
    import polars as pl

DIFFERENCES = 40
"""Most rows of a difference that a page shows."""
_REJECTS = 20


def record(reading: Reading, visit: Visit) -> Record:
    """The partition that the address names."""
    name = visit.place["domain"]
    domain = find(reading, name)
    try:
        partition = domain.partition(visit.place["key"])
    except UsageError as error:
        raise PageMissing(error.message, hint=error.hint) from error
    state = reading.state_of(domain, partition)
    captures = reading.captures(domain, partition)
    anomalies = reading.open_of(domain.name, partition.key)
    told = words.reason(domain, state, anomalies, reading.today)
    return {
        "domain": name,
        "name": domain.name,
        "fields": list(domain.partition_fields),
        "today": reading.today.isoformat(),
        "partition": state.document(),
        "values": list(partition.values),
        "why": told.why,
        "todo": told.todo,
        "held_text": words.captured(state, reading.today),
        "anomalies": [plain_anomaly(each) for each in anomalies],
        "timeline": _timeline(reading, domain, partition, captures),
        "stepper": _stepper(reading, domain, partition),
        "captures": [capture_document(each) for each in reversed(captures)],
        "difference": _difference(reading, domain, partition, captures, visit),
        "neighbours": neighbours(reading, domain, partition),
        "measure": measure(domain),
        "beside": _beside(reading, domain, partition),
        "rejects": [each._asdict() for each in _rejects(reading, state)],
        "stages": stages(reading, domain, partition),
        "used_by": used_by(reading, domain, partition),
        "commands": _commands(name, state, captures),
    }


def _timeline(reading: Reading, domain: Domain, partition: Partition, captures: list[CaptureState]) -> dict[str, Any]:
    day = event_day(domain, partition)
    return {
        "unit": domain.unit,
        # A week is known by its Friday: it begins on the Monday before.
        "first_day": day - timedelta(days=day.weekday()) if day and domain.unit == "week" else day,
        "last_day": day,
        "due": domain.publication_day(partition),
        "captures": [
            {
                "capture_id": each.committed.entry.capture_id,
                "status": each.status,
                "at": text_of(each.committed.committed_at),
                "is_revision": each.committed.entry.is_revision,
            }
            for each in captures
        ],
        "checks": _checks(reading, domain, partition),
        "until": text_of(reading.moment),
    }


def _checks(reading: Reading, domain: Domain, partition: Partition) -> list[dict[str, Any]]:
    """What each run found of the partition's ingest, oldest first."""
    ingest = domain.stages[0].pipeline
    return [
        {
            "run_id": each.run_id,
            "at": text_of(each.recorded_at),
            "status": each.status,
            "reason": each.reason,
            "kind": each.kind,
        }
        for each in reversed(reading.checks(domain.name, partition.key))
        if each.pipeline == ingest
    ]


def _stepper(reading: Reading, domain: Domain, partition: Partition) -> dict[str, Any]:
    """The moments at which something became known of the partition, and those beside the moment that is shown."""
    moments = [each.committed_at for each in reading.moments_of(domain, partition)]
    shown = reading.as_of
    past = [each for each in moments if shown is None or each < shown]
    ahead = [each for each in moments if shown is not None and each > shown]
    return {
        "moments": [text_of(each) for each in moments],
        "shown": text_of(shown) if shown else None,
        "before": text_of(past[-1]) if past else None,
        "after": text_of(ahead[0]) if ahead else None,
    }


def capture_document(capture: CaptureState) -> dict[str, Any]:
    """A capture as plain values: those of the commands, when it was committed and by which run."""
    return {
        **capture.document(),
        "committed_at": text_of(capture.committed.committed_at),
        "run_id": capture.committed.entry.run_id,
    }


def _difference(
    reading: Reading, domain: Domain, partition: Partition, captures: list[CaptureState], visit: Visit
) -> dict[str, Any] | None:
    """What differs between two captures: those asked for, else the held one or the last and the one before."""
    # Whoever steps back with a capture in the address comes to a moment when it was not known yet.
    ahead = {each.entry.capture_id for each in reading.moments_of(domain, partition)} if reading.as_of else set()
    ahead -= {each.committed.entry.capture_id for each in captures}
    chosen = (name if (name := visit.query.get(side)) not in ahead else None for side in ("from", "to"))
    pair = _pair(captures, *chosen)
    if pair is None:
        return None
    old, new = pair
    rows = diff_captures(reading.store, domain, partition, old, new)
    table = domain.tables[0]
    fixed = set(domain.partition_fields)
    key = [name for name in table.key if name not in fixed]
    values = [name for name in table.names if name not in table.key]
    changed = [
        {"change": "changed", "key": _cells(after, key), "old": _cells(before, values), "new": _cells(after, values)}
        for before, after in zip(rows.old.to_dicts(), rows.new.to_dicts(), strict=True)
    ]
    listed: list[dict[str, Any]] = changed[:DIFFERENCES]
    for change, frame, side in (("added", rows.added, "new"), ("removed", rows.removed, "old")):
        for row in frame.head(max(0, DIFFERENCES - len(listed))).to_dicts():
            both: dict[str, Any] = {"old": None, "new": None, side: _cells(row, values)}
            listed.append({"change": change, "key": _cells(row, key), **both})
    moved = [name for name in values if any(_moves(row, name) for row in listed)]
    return {
        "from": old.committed.entry.capture_id,
        "from_status": old.status,
        "from_at": text_of(old.committed.committed_at),
        "to": new.committed.entry.capture_id,
        "to_status": new.status,
        "to_at": text_of(new.committed.committed_at),
        "added": rows.change.added,
        "removed": rows.change.removed,
        "changed": rows.change.changed,
        "key": key,
        "values": moved,
        "totals": _totals(rows.old, rows.new, rows.added, rows.removed, domain),
        "rows": listed,
        "unlisted": rows.change.added + rows.change.removed + rows.change.changed - len(listed),
    }


def _pair(captures: list[CaptureState], old: str | None, new: str | None) -> tuple[CaptureState, CaptureState] | None:
    by_id = {each.committed.entry.capture_id: each for each in captures}
    for name in (old, new):
        if name is not None and name not in by_id:
            raise PageMissing(
                f"{name[:80]!r} is no capture of this partition", hint=f"it has: {', '.join(by_id) or 'none'}"
            )
    accepted = [each for each in captures if each.status in ("current", "superseded")]
    held = [each for each in captures if each.status == "held"]
    after = by_id[new] if new else held[-1] if held else accepted[-1] if accepted else None
    if after is None:
        return None
    earlier = [each for each in accepted if each.committed.entry.manifest_id < after.committed.entry.manifest_id]
    before = by_id[old] if old else earlier[-1] if earlier else None
    return (before, after) if before is not None and before is not after else None


def _cells(row: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _moves(row: dict[str, Any], name: str) -> bool:
    """Whether a column tells anything of a row that differs."""
    old, new = row["old"], row["new"]
    if old is None or new is None:
        return (old or new)[name] is not None and isinstance((old or new)[name], int | float)
    return bool(old[name] != new[name])


def _totals(
    old: pl.DataFrame, new: pl.DataFrame, added: pl.DataFrame, removed: pl.DataFrame, domain: Domain
) -> list[dict[str, Any]]:
    """By how much the sums of the domain's measures move."""
    return [
        {"column": name, "moved": _sum(new, name) - _sum(old, name) + _sum(added, name) - _sum(removed, name)}
        for name in domain.tables[0].totals
    ]


def _sum(rows: pl.DataFrame, name: str) -> float:
    return float(rows[name].sum() or 0)


def _beside(reading: Reading, domain: Domain, partition: Partition) -> dict[str, str | None]:
    """The partitions before and after this one: on its line, or in the order of the grid."""
    own = domain.place(partition)
    if own is None:
        keys = [state.partition_key for state in reading.full_grid(domain).states]
    else:
        rows = reading.full_grid(domain).rows
        keys = [state.partition_key for row in reversed(rows) for state in row]
        keys = [key for key in keys if (place := domain.place(domain.partition(key))) and place.line == own.line]
    if partition.key not in keys:
        return {"before": None, "after": None}
    at = keys.index(partition.key)
    return {"before": keys[at - 1] if at else None, "after": keys[at + 1] if at + 1 < len(keys) else None}


def _rejects(reading: Reading, state: PartitionState) -> Sequence[Reject]:
    """Rows that were refused of the capture that waits for a decision, else of the one that readers see."""
    capture = state.held_capture_id or state.capture_id
    return reading.store.rejects(capture, _REJECTS) if capture else ()


def _commands(short: str, state: PartitionState, captures: list[CaptureState]) -> list[dict[str, str]]:
    """What a person would type about this partition."""
    key = state.partition_key
    found = [{"does": "list its captures", "command": f"market-spine captures '{key}'"}]
    if state.state in words.BACKFILLED:
        command = f"market-spine schedule {short} --partitions '{key}'"
        found.insert(0, {"does": "load it", "command": command})
    if len(captures) > 1:
        found.append({"does": "compare the last two", "command": f"market-spine diff '{key}'"})
    if state.held_capture_id:
        command = f"market-spine accept '{state.held_capture_id}' --reason '...'"
        found.append({"does": "accept what is held", "command": command})
    elif state.capture_id:
        command = f"market-spine retract '{state.capture_id}' --reason '...'"
        found.append({"does": "take its capture back", "command": command})
    for kind in (*state.problems, *state.warnings):
        command = f"market-spine anomalies ack '{key}' {kind} --reason '...'"
        found.append({"does": f"set {kind.replace('_', ' ')} aside", "command": command})
    return found
