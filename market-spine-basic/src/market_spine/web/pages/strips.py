"""Partitions that grow day by day, as strips: which sessions of a time have a row, run by run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from market_spine.app.states import PartitionState
from market_spine.core.calendar import sessions
from market_spine.core.domain import Domain
from market_spine.web.pages import Record, Visit
from market_spine.web.reading import Reading

if TYPE_CHECKING:
    import polars as pl

PAGE = 50
"""Partitions on a page."""
_WEEK = timedelta(weeks=1)


def has_series(domain: Domain) -> bool:
    """Whether a partition of the domain is a series of days that goes on."""
    return bool(domain.tables) and domain.tables[0].grows and _day_column(domain) is not None


def _day_column(domain: Domain) -> str | None:
    table = domain.tables[0]
    kinds = {column.name: column.kind for column in table.columns}
    return next((name for name in table.key if kinds[name] == "date" and name not in table.partition_by), None)


def record(reading: Reading, domain: Domain, states: Sequence[PartitionState], weeks: int, visit: Visit) -> Record:
    """Strips of a page of partitions.

    Args:
        reading: of what.
        domain: whose partitions.
        states: the partitions.
        weeks: how far back from today; 0: from the first session there is.
        visit: has the number of the page.
    """
    page = visit.number("page", 1, most=100_000)
    shown = states[(page - 1) * PAGE : page * PAGE]
    pages = max(1, -(-len(states) // PAGE))
    start = reading.today - weeks * _WEEK if weeks else None
    asked = ("days", domain.name, tuple(state.partition_key for state in shown), start)
    found = reading.once(asked, lambda: _days(reading, domain, shown, start))
    first = min((days[0] for days in found.values()), default=reading.today)
    last = max((days[-1] for days in found.values()), default=reading.today)
    every = sessions(first, last) if found else []
    return {
        "page": page,
        "pages": pages,
        "first": first,
        "last": last,
        "sessions": len(every),
        "rows": [_strip(state, found.get(state.partition_key, []), every) for state in shown],
    }


def _days(
    reading: Reading, domain: Domain, states: Sequence[PartitionState], start: date | None
) -> dict[str, list[date]]:
    """Key to the days that have a row, in order."""
    table, day = domain.tables[0], _day_column(domain)
    assert day is not None
    if not states:
        return {}
    values = [domain.partition(state.partition_key).values for state in states]
    names = table.partition_by
    where = {name: sorted({value[place] for value in values}) for place, name in enumerate(names)}
    rows: pl.DataFrame = reading.rows(table.name, columns=[*names, day], where=where, start=start)
    found: dict[str, list[date]] = {}
    for *key, each in rows.sort([*names, day]).iter_rows():
        found.setdefault("|".join(map(str, key)), []).append(each)
    return found


def _strip(state: PartitionState, days: Sequence[date], every: Sequence[date]) -> dict[str, Any]:
    there = set(days)
    runs = []
    at = 0
    for present, group in groupby(every, key=there.__contains__):
        length = sum(1 for _ in group)
        runs.append({"present": present, "start": at, "length": length})
        at += length
    # What lies before the first day or after the last is no gap in between.
    inner = [run for run in runs[1:-1] if not run["present"]]
    return {
        "partition_key": state.partition_key,
        "state": state.state,
        "days": len(days),
        "first": days[0] if days else None,
        "last": days[-1] if days else None,
        "missing": sum(run["length"] for run in inner),
        "runs": runs,
    }
