"""Captures of a partition: listing them, giving their bytes back, and comparing two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from market_spine.app.draft import partition_scope
from market_spine.app.replay import compare, overlay, replay
from market_spine.core.capture import Part
from market_spine.core.domain import Domain
from market_spine.core.kept import DecisionRecord
from market_spine.core.manifest import INGEST, Committed, Entry, Known, legs_of
from market_spine.core.partition import Partition
from market_spine.core.ports import Reader, payloads
from market_spine.core.revision import RowDiff, diff_rows
from market_spine.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl


@dataclass(frozen=True, slots=True)
class CaptureState:
    """One capture and what became of it.

    Attributes:
        committed: the entry that shows it: as it first became current, or as it is held.
        standing: the latest entry with its rows, which differs where a capture before it was retracted.
        status: ``retracted``, ``held``, ``superseded`` or ``current``.
        legs: which legs it has.
        decisions: what people decided about it, oldest first.
    """

    committed: Committed
    standing: Committed
    status: str
    legs: tuple[str, ...] = ()
    decisions: tuple[DecisionRecord, ...] = ()

    @property
    def capture_id(self) -> str:
        """Its id."""
        return self.committed.entry.capture_id

    @property
    def captured_at(self) -> datetime:
        """When it was first committed, as a capture or as held; UTC."""
        return self.committed.captured_at

    @property
    def row_count(self) -> int:
        """Rows of its first table."""
        return self.committed.entry.row_count

    @property
    def overrode(self) -> tuple[str, ...]:
        """Kinds of the guards that a person let it past."""
        kinds = [each.decision.kind for each in self.decisions if each.decision.verb == "accept"]
        return tuple(dict.fromkeys(kind for text in kinds for kind in text.split(",") if kind))

    @property
    def outcome(self) -> str:
        """What comparing with it would show, for a sentence."""
        told = {
            "held": "held: accepting it makes it current",
            "retracted": "retracted: accepting it brings it back",
            "current": "current: what readers see",
        }
        return told.get(self.status, self.status)

    def document(self) -> dict[str, Any]:
        """Its JSON form."""
        entry = self.committed.entry
        change = entry.change
        counts = change and {
            "rows_added": change.added,
            "rows_removed": change.removed,
            "rows_changed": change.changed,
        }
        return {
            "capture_id": entry.capture_id,
            "status": self.status,
            "captured_at": self.captured_at.isoformat(),
            "row_count": entry.row_count,
            "rejected": entry.rejected,
            "duplicates": entry.duplicates,
            "is_revision": entry.is_revision,
            "revision_summary": counts,
            "source_hash": entry.source_hash,
            "content_hash": entry.content_hash,
            "legs": list(self.legs),
            "overrode": list(self.overrode),
            "decisions": [
                {
                    "verb": each.decision.verb,
                    "kind": each.decision.kind,
                    "by": each.decision.decided_by,
                    "reason": each.decision.reason,
                    "decided_at": each.decided_at.isoformat(),
                }
                for each in self.decisions
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


@dataclass(frozen=True, slots=True)
class CaptureDiff:
    """Two captures of a partition, and the rows in which they differ.

    Attributes:
        partition_key: whose captures they are.
        old: the earlier one.
        new: the later one.
        key: the columns that identify a row.
        rows: what was added and removed, and what changed as it was and as it is: Polars frames.
    """

    partition_key: str
    old: CaptureState
    new: CaptureState
    key: tuple[str, ...]
    rows: RowDiff

    def document(self) -> dict[str, Any]:
        """Its JSON form."""
        pairs = [(_plain(old), _plain(new)) for old, new in self.rows.pairs()]
        return {
            "partition_key": self.partition_key,
            "from": self.old.capture_id,
            "from_status": self.old.status,
            "to": self.new.capture_id,
            "to_status": self.new.status,
            "added": [_plain(row) for row in self.rows.added.iter_rows(named=True)],
            "removed": [_plain(row) for row in self.rows.removed.iter_rows(named=True)],
            "changed": [{"key": {name: new[name] for name in self.key}, "old": old, "new": new} for old, new in pairs],
        }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Dates as ISO text."""
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}


def list_captures(store: Reader, domain: Domain, partition: Partition) -> list[CaptureState]:
    """The captures of a partition, oldest first; one that was held and then accepted appears once."""
    found: dict[str, list[Committed]] = {}
    for each in store.history(domain.name, partition.key):
        if each.entry.stage == INGEST and each.entry.status in ("held", "committed"):
            found.setdefault(each.entry.capture_id, []).append(each)
    known = store.known(domain.name, [partition.key])[partition.key]
    decided: dict[str | None, list[DecisionRecord]] = {}
    for record in store.decisions(domain.name, partition.key):
        decided.setdefault(record.decision.capture_id, []).append(record)
    states = []
    for name, entries in found.items():
        accepted = [each for each in entries if each.entry.status == "committed"]
        first, last = (accepted[0], accepted[-1]) if accepted else (entries[-1], entries[-1])
        legs = legs_of(last.entry, domain.legs)
        states.append(CaptureState(first, last, _status(first, known), legs, tuple(decided.get(name, ()))))
    return states


def capture_part(store: Reader, capture_id: str, name: str | None) -> tuple[Part, str]:
    """One part of a capture with its exact bytes, and a remark if the capture is held or retracted.

    Raises:
        UsageError: there is no such capture or part, or it has several parts and none is named.
    """
    committed = store.find_capture(capture_id)
    if committed is None:
        raise UsageError(f"there is no capture '{capture_id}'", hint="market-spine captures PARTITION lists them")
    names = [part.name for part in committed.entry.parts]
    if name is None and len(names) > 1:
        raise UsageError(f"capture '{capture_id}' has several parts: {', '.join(names)}", hint="name one with --part")
    for part in payloads(store, committed.entry):
        if name in (None, part.name):
            return part, _remark(store, committed.entry)
    raise UsageError(f"--part: capture '{capture_id}' has no part '{name}'; it has {', '.join(names)}")


def _remark(store: Reader, capture: Entry) -> str:
    key = capture.partition.key
    history = store.history(capture.partition.domain, key)
    if capture.capture_id in store.known(capture.partition.domain, [key])[key].retracted:
        return " (retracted)"
    accepted = any(each.entry.capture_id == capture.capture_id and each.entry.status == "committed" for each in history)
    return "" if accepted else " (held)"


def choose_captures(
    store: Reader, domain: Domain, partition: Partition, old: str | None, new: str | None
) -> tuple[CaptureState, CaptureState]:
    """The two captures to compare: those named, by default the last two that are accepted, or the current one
    and the one that is held.

    Raises:
        UsageError: a named capture is not one of the partition's, or there are not two.
    """
    by_id = {state.committed.entry.capture_id: state for state in list_captures(store, domain, partition)}
    for flag, name in (("--from", old), ("--to", new)):
        if name is not None and name not in by_id:
            listed = ", ".join(by_id) or "none"
            raise UsageError(f"{flag}: '{name}' is no capture of {partition.key}; it has: {listed}")
    accepted = [name for name, state in by_id.items() if state.status in ("current", "superseded")]
    held = [name for name, state in by_id.items() if state.status == "held"]
    if new is None and (accepted or held):
        new = held[-1] if held and len(accepted) < 2 else accepted[-1]
    if old is None and new is not None:
        earlier = accepted[: accepted.index(new)] if new in accepted else accepted
        old = earlier[-1] if earlier else None
    if old is None or new is None:
        others = ", ".join(f"{name} ({state.status})" for name, state in by_id.items() if name not in accepted)
        raise UsageError(
            f"{partition.key} has {len(accepted)} accepted capture(s)"
            + (f", and {others}" if others else "")
            + "; two are needed to compare",
            hint="name them with --from and --to; market-spine captures lists them",
        )
    return by_id[old], by_id[new]


def compare_captures(
    store: Reader, domain: Domain, partition: Partition, old: str | None = None, new: str | None = None
) -> CaptureDiff:
    """Compare two captures; which, if they are not named, and the errors, are those of ``choose_captures``."""
    before, after = choose_captures(store, domain, partition, old, new)
    rows = diff_captures(store, domain, partition, before, after)
    return CaptureDiff(partition.key, before, after, domain.tables[0].key, rows)


def diff_captures(store: Reader, domain: Domain, partition: Partition, old: CaptureState, new: CaptureState) -> RowDiff:
    """The rows of the domain's first table in which two captures differ, replayed from the kept payloads.

    Fields that one of the two captures could not know are not compared. Captures that cover only a range are
    compared by all that was known when each became current; one that never was by what accepting it would make.
    """
    table = domain.tables[0]
    if any(table.name in each.committed.entry.scope for each in (old, new)):
        earlier, later = (_after(store, domain, partition, state) for state in (old, new))
        return diff_rows(earlier, later, table.key)
    before, read = (replay(store, domain, partition, state.standing.entry) for state in (old, new))
    return compare(domain, read, before).diff


def _after(store: Reader, domain: Domain, partition: Partition, state: CaptureState) -> pl.DataFrame:
    """The partition's rows after a capture of a range: as they stood then, or as accepting it would make them."""
    table = domain.tables[0]
    scope = partition_scope(table, partition)
    if state.committed.entry.status != "held":
        return store.read(table, scope, as_of=state.committed.committed_at)
    payload = replay(store, domain, partition, state.committed.entry)
    return overlay(store.read(table, scope), payload.tables[table.name], payload.ranges[table.name], table.key)


def _status(committed: Committed, known: Known) -> str:
    name = committed.entry.capture_id
    if name in known.retracted:
        return "retracted"
    if committed.entry.status == "held":
        return "held"
    return "current" if known.current is not None and known.current.entry.capture_id == name else "superseded"
