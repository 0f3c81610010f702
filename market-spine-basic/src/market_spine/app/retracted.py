"""Whether the source offers again what a person has retracted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from market_spine.app.replay import compare, within
from market_spine.app.task import Task
from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Payload
from market_spine.core.domain import Domain, Normalized, Range
from market_spine.core.manifest import INGEST, Entry
from market_spine.core.ports import Reader, payloads
from market_spine.core.revision import RowDiff

if TYPE_CHECKING:
    import polars as pl

_LISTED = 5
"""How many keys a message names."""


def same_bytes_retracted(task: Task, store: Callable[[], Reader], payload: Payload) -> bool:
    """Whether each part has bytes that a retracted capture was fetched with, or that were found to hold its rows."""
    return any(
        all((part.name, part.sha256) in _fetched(entries) for part in payload.parts)
        for entries in _retracted(task, store)
    )


class Returning(NamedTuple):
    """What a payload has in common with captures that were retracted.

    Attributes:
        same: it has the rows of one; of a range, in all that both cover, where that is not what stands.
        told: the warning that some of its rows are those of one; None if none are.
    """

    same: bool = False
    told: Anomaly | None = None


def returning(
    task: Task, store: Callable[[], Reader], payload: Payload, standing: Mapping[str, RowDiff] | None
) -> Returning:
    """Compare a payload with the retracted captures.

    Args:
        task: the partition.
        store: opens the store.
        payload: as it was fetched.
        standing: table name to how the payload differs from what stands; None: nothing stands.
    """
    told = None
    for entries in _retracted(task, store):
        fetched = {part.name for part in entries[0].parts if not part.carried}
        names = fetched if payload.whole else {part.name for part in payload.parts}
        if not names <= fetched:
            continue
        taken = tuple(part for part in payloads(store(), entries[0]) if part.name in names)
        domain = task.run.domain
        new, old = (domain.normalize(task.partition, parts) for parts in (payload.parts, taken))
        covered = _both_cover(new, old)
        common = _clipped(new, covered)
        diffs = compare(domain, common, _clipped(old, covered)).diffs
        moved = any(
            frame.filter(within(covered[name])).height if name in covered else frame.height
            for name in diffs
            for frame in (_moved(standing, name) if standing is not None else (common.tables[name],))
        )
        if not any(diff.change for diff in diffs.values()) and (moved or not covered):
            return Returning(same=True)
        told = told or _told(task.partition.key, domain, entries[0].capture_id, diffs, standing, covered)
    return Returning(told=told)


def _retracted(task: Task, store: Callable[[], Reader]) -> list[list[Entry]]:
    """The ingest entries of each retracted capture, oldest first."""
    taken: dict[str, list[Entry]] = {}
    if task.known.retracted:
        for each in store().history(task.run.domain.name, task.partition.key):
            if each.entry.stage == INGEST and each.entry.capture_id in task.known.retracted and each.entry.parts:
                taken.setdefault(each.entry.capture_id, []).append(each.entry)
    return list(taken.values())


def _fetched(entries: Sequence[Entry]) -> set[tuple[str, str]]:
    return {(part.name, part.sha256) for entry in entries for part in entry.parts if not part.carried}


def _both_cover(new: Normalized, old: Normalized) -> dict[str, Range]:
    """Table name to the range that both payloads cover, of the tables that one of them does not cover whole."""
    covered = {**old.ranges, **new.ranges}
    for name in old.ranges.keys() & new.ranges.keys():
        one, other = old.ranges[name], new.ranges[name]
        first, last = max(one.first, other.first), min(one.last, other.last)
        covered[name] = Range(one.column, first, last)
    return covered


def _moved(standing: Mapping[str, RowDiff], name: str) -> tuple[pl.DataFrame, ...]:
    """The rows of a table in which a payload differs from what stands."""
    diff = standing.get(name)
    return (diff.added, diff.removed, diff.new) if diff is not None else ()


def _clipped(rows: Normalized, covered: Mapping[str, Range]) -> Normalized:
    clipped = {
        name: frame.filter(within(covered[name])) if name in covered else frame for name, frame in rows.tables.items()
    }
    return rows._replace(tables=clipped)


def _told(
    key: str,
    domain: Domain,
    capture_id: str,
    diffs: Mapping[str, RowDiff],
    standing: Mapping[str, RowDiff] | None,
    covered: Mapping[str, Range],
) -> Anomaly | None:
    """The warning that rows of the first table become again what a retracted capture had made them."""
    import polars as pl

    table = domain.tables[0]
    if standing is None or table.name not in diffs or table.name not in standing:
        return None
    keys = list(table.key)
    frames = [standing[table.name].new.select(keys)]
    if not table.grows:
        frames.append(standing[table.name].added.select(keys))
    back = pl.concat(frames)
    if table.name in covered:
        back = back.filter(within(covered[table.name]))
    for frame in (diffs[table.name].added, diffs[table.name].new):
        back = back.join(frame, on=keys, how="anti")
    if back.is_empty():
        return None
    back = back.sort(keys)
    own = [name for name in keys if name not in table.partition_by]
    named = ", ".join(" ".join(str(value) for value in row if value != "") for row in back.select(own).rows()[:_LISTED])
    more = f" and {back.height - _LISTED} more" if back.height > _LISTED else ""
    message = f"{key}: {back.height} rows are again as capture {capture_id} has them, which is retracted: {named}{more}"
    return Anomaly("retracted_rows", "warning", key, message, {"capture_id": capture_id, "rows": back.height})
