"""Whether the source offers again what a person has retracted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from market_spine.app.replay import compare
from market_spine.app.task import Task
from market_spine.core.capture import Payload
from market_spine.core.manifest import INGEST, Entry
from market_spine.core.ports import Reader, payloads


def is_retracted(task: Task, store: Callable[[], Reader], payload: Payload, *, by_bytes: bool) -> bool:
    """Whether a payload is one that was retracted: of the same bytes, else of the same rows."""
    if not task.known.retracted:
        return False
    taken: dict[str, list[Entry]] = {}
    for each in store().history(task.run.domain.name, task.partition.key):
        if each.entry.stage == INGEST and each.entry.capture_id in task.known.retracted and each.entry.parts:
            taken.setdefault(each.entry.capture_id, []).append(each.entry)
    test = _same_parts if by_bytes else _same_parts_read
    return any(test(task, store, payload, entries) for entries in taken.values())


def _same_parts(_task: Task, _store: Callable[[], Reader], payload: Payload, entries: Sequence[Entry]) -> bool:
    """Whether each part has bytes that a capture was fetched with, or that were found to hold the same rows."""
    fetched = {(part.name, part.sha256) for entry in entries for part in entry.parts if not part.carried}
    return all((part.name, part.sha256) in fetched for part in payload.parts)


def _same_parts_read(task: Task, store: Callable[[], Reader], payload: Payload, entries: Sequence[Entry]) -> bool:
    """Whether the parts hold the rows that a capture's parts of these names hold."""
    names = {part.name for part in payload.parts}
    if not names <= {part.name for part in entries[0].parts if not part.carried}:
        return False
    taken = [part for part in payloads(store(), entries[0]) if part.name in names]
    domain = task.run.domain
    new, old = (domain.normalize(task.partition, parts) for parts in (payload.parts, tuple(taken)))
    if new.ranges != old.ranges:
        return False
    return not any(each.change for each in compare(domain, new, old).diffs.values())
