"""Captures of a partition: listing them, giving their bytes back, and comparing two."""

from __future__ import annotations

from dataclasses import dataclass

from market_spine.app.draft import partition_scope
from market_spine.app.replay import compare, replay
from market_spine.core.capture import Part
from market_spine.core.domain import Domain
from market_spine.core.manifest import INGEST, Committed
from market_spine.core.partition import Partition
from market_spine.core.ports import Reader, payloads
from market_spine.core.revision import RowDiff, diff_rows
from market_spine.errors import UsageError


@dataclass(frozen=True, slots=True)
class CaptureState:
    """One capture and what became of it: ``held``, ``superseded`` or ``current``."""

    committed: Committed
    status: str


def list_captures(store: Reader, domain: Domain, partition: Partition) -> list[CaptureState]:
    """The captures of a partition, oldest first; one that was held and then accepted appears once."""
    latest: dict[str, Committed] = {}
    for committed in store.history(domain.name, partition.key):
        if committed.entry.stage == INGEST and committed.entry.status != "noted":
            latest[committed.entry.capture_id] = committed
    current = store.known(domain.name, [partition.key])[partition.key].current
    return [CaptureState(committed, _status(committed, current)) for committed in latest.values()]


def capture_part(store: Reader, capture_id: str, name: str | None) -> Part:
    """One part of a capture with its exact bytes.

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
            return part
    raise UsageError(f"--part: capture '{capture_id}' has no part '{name}'; it has {', '.join(names)}")


def choose_captures(
    store: Reader, domain: Domain, partition: Partition, old: str | None, new: str | None
) -> tuple[Committed, Committed]:
    """The two captures to compare: those named, by default the last two that became current.

    Raises:
        UsageError: a named capture is not one of the partition's, or there are not two.
    """
    states = list_captures(store, domain, partition)
    by_id = {state.committed.entry.capture_id: state.committed for state in states}
    for flag, name in (("--from", old), ("--to", new)):
        if name is not None and name not in by_id:
            listed = ", ".join(by_id) or "none"
            raise UsageError(f"{flag}: '{name}' is no capture of {partition.key}; it has: {listed}")
    accepted = [name for name, committed in by_id.items() if committed.entry.status == "committed"]
    if new is None and accepted:
        new = accepted[-1]
    if old is None and new is not None:
        earlier = accepted[: accepted.index(new)] if new in accepted else accepted
        old = earlier[-1] if earlier else None
    if old is None or new is None:
        raise UsageError(
            f"{partition.key} has {len(accepted)} accepted capture(s); two are needed to compare",
            hint="market-spine captures lists them",
        )
    return by_id[old], by_id[new]


def diff_captures(store: Reader, domain: Domain, partition: Partition, old: Committed, new: Committed) -> RowDiff:
    """The rows of the domain's first table in which two captures differ, replayed from the kept payloads.

    Fields that one of the two captures could not know are not compared. Captures that cover only a range are
    compared by all that was known when each became current.
    """
    table = domain.tables[0]
    if table.name in new.entry.scope and old.entry.status == new.entry.status == "committed":
        scope = partition_scope(table, partition)
        earlier, later = (store.read(table, scope, as_of=capture.committed_at) for capture in (old, new))
        return diff_rows(earlier, later, table.key)
    before, read = (replay(store, domain, partition, capture.entry) for capture in (old, new))
    return compare(domain, read, before).diff


def _status(committed: Committed, current: Committed | None) -> str:
    if committed.entry.status == "held":
        return "held"
    is_current = current is not None and current.entry.capture_id == committed.entry.capture_id
    return "current" if is_current else "superseded"
