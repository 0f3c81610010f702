"""What stands around a partition: those beside it, what was made of it and from what, and which windows used it."""

from __future__ import annotations

from datetime import date
from typing import Any

from market_spine.app.windows import find_window, windows_reached
from market_spine.core.domain import Domain
from market_spine.core.manifest import CALC, INGEST
from market_spine.core.partition import Partition
from market_spine.core.schema import Table
from market_spine.web.pages.plain import text_of
from market_spine.web.reading import Reading

_NEIGHBOURS = 40


def event_day(domain: Domain, partition: Partition) -> date | None:
    """The day in a partition's key, if one of its columns is a date."""
    kinds = {column.name: column.kind for column in domain.tables[0].columns} if domain.tables else {}
    for name, value in zip(domain.partition_fields, partition.values, strict=True):
        if kinds.get(name) == "date":
            return date.fromisoformat(value)
    return None


def neighbours(reading: Reading, domain: Domain, partition: Partition) -> list[dict[str, Any]]:
    """The partitions beside this one on its line, oldest first: their rows, and the total of the domain's measure."""
    own = domain.place(partition)
    if own is None:
        return []
    found = []
    for key, known in reading.known(domain).items():
        place = domain.place(domain.partition(key))
        if place and place.line == own.line and abs(place.position - own.position) < _NEIGHBOURS and known.current:
            found.append((place.position, key, known.current.entry.row_count))
    found.sort()
    totals = reading.once(
        ("totals", domain.name, own.line, own.position),
        lambda: _totals(reading, domain, [domain.partition(key) for _, key, _ in found]),
    )
    return [
        {"partition_key": key, "row_count": count, "total": totals.get(key), "is_this": at == own.position}
        for at, key, count in found
    ]


def measure(domain: Domain) -> str | None:
    """What the totals of neighbours are totals of; None if no table is small enough to tell."""
    table = _summary(domain)
    return table.totals[0] if table else None


def _summary(domain: Domain) -> Table | None:
    """The smallest table that has totals: with a row, or a few, for each partition."""
    found = [each for each in domain.tables if each.totals and each.stage == CALC]
    least = min(found, key=lambda each: len(each.key), default=None)
    return least if least and len(least.key) <= len(domain.partition_fields) + 1 else None


def _totals(reading: Reading, domain: Domain, partitions: list[Partition]) -> dict[str, float]:
    table = _summary(domain)
    days = [day for each in partitions if (day := event_day(domain, each))]
    if table is None or not days:
        return {}
    columns = [*domain.partition_fields, table.totals[0]]
    found: dict[str, float] = {}
    for *values, total in reading.rows(table.name, columns=columns, start=min(days), end=max(days)).iter_rows():
        key = "|".join(map(str, values))
        found[key] = found.get(key, 0) + (total or 0)
    return found


def stages(reading: Reading, domain: Domain, partition: Partition) -> list[dict[str, Any]]:
    """What was made of the current capture: a line for each stage, with the captures that it was made from."""
    known = reading.known(domain).get(partition.key)
    if known is None:
        return []
    order = [*(spec.name for spec in domain.stages), *(window.spec.name for window in domain.windows)]
    tables = {name: [table.name for table in domain.tables if table.stage == name] for name in order}
    return [
        {
            "stage": name,
            "at": text_of(known.stages[name].committed_at),
            "row_count": known.stages[name].entry.row_count,
            "tables": tables[name],
            "inputs": list(known.stages[name].entry.input_captures) if name != INGEST else [],
        }
        for name in order
        if name in known.stages
    ]


def used_by(reading: Reading, domain: Domain, partition: Partition) -> list[dict[str, Any]]:
    """The windows of other partitions that looked at this one, oldest first, and whether they stand."""
    return reading.once(("used by", domain.name, partition.key), lambda: _used_by(reading, domain, partition))


def _used_by(reading: Reading, domain: Domain, partition: Partition) -> list[dict[str, Any]]:
    known = reading.known(domain)
    own = known.get(partition.key)
    if own is None or CALC not in own.stages:
        return []
    found = []
    for calc, each in windows_reached(domain, known, {partition.key}):
        last = known[each.key].stages.get(calc.spec.name)
        if last is None or each.key == partition.key:
            continue
        found.append(
            {
                "partition_key": each.key,
                "stage": calc.spec.name,
                "at": text_of(last.committed_at),
                "stands": find_window(calc, each, known).standing,
            }
        )
    return found
