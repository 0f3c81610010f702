"""The partition grid of a domain: a cell for each partition, filter chips that are the legend, and why."""

from __future__ import annotations

import shlex
from typing import Any

from market_spine.app.states import Grid, PartitionState, State
from market_spine.core.domain import Domain
from market_spine.web import words
from market_spine.web.pages import PageMissing, Record, Visit, strips
from market_spine.web.reading import WINDOW, Reading

RANGES = ("30", "1y", "all")
"""Rows of the grid: the latest thirty, those of a year, or all."""
_YEAR = 53
_OFFERED = 60
"""Most partitions that are offered for a backfill."""
_LISTED = 60
"""Most partitions whose reasons are listed."""
_QUIET = (State.CAPTURED, State.REVISED)


def record(reading: Reading, visit: Visit) -> Record:
    """The grid of the domain that the address names."""
    name = visit.place["domain"]
    domain = find(reading, name)
    chosen = visit.choice("range", RANGES)
    rows = {"30": WINDOW, "1y": _YEAR}.get(chosen, 0)
    series = strips.has_series(domain)
    grid = reading.grid(domain, reading.rows_of_all(domain) if series else rows or reading.rows_of_all(domain))
    only = visit.words("state", [*State])
    shown = [state for state in grid.states if state.state in only or not only]
    told = [state for state in shown if only or state.state not in _QUIET]
    return {
        "domain": name,
        "name": domain.name,
        "domains": list(reading.gridded),
        "fields": list(domain.partition_fields),
        "today": reading.today.isoformat(),
        "range": chosen,
        "only": only,
        "counts": grid.counts,
        "partitions": [state.document() for state in grid.states],
        "shown": len(shown),
        "reasons": [_reason(reading, domain, state) for state in sorted(told, key=_urgency)[:_LISTED]],
        "unlisted": max(0, len(told) - _LISTED),
        "is_matrix": is_matrix(grid),
        "backfill": _backfill(name, grid, visit),
        "strips": strips.record(reading, domain, shown, rows, visit) if series else None,
    }


def _backfill(name: str, grid: Grid, visit: Visit) -> dict[str, Any] | None:
    """The partitions that loading again may bring, those that are picked, and the command that loads these."""
    offered = sorted((each for each in grid.states if each.state in words.BACKFILLED), key=_urgency)[:_OFFERED]
    if not offered:
        return None
    given = set(visit.several.get("pick", ()))
    missing = [state.partition_key for state in offered if state.state in (State.FAILED, State.LATE)]
    keys = {state.partition_key for state in offered}
    picked = [each.partition_key for each in offered if each.partition_key in (given & keys or missing)]
    arguments = ["market-spine", *backfill_words(name, picked)] if picked else []
    return {
        "offered": [
            {"partition_key": each.partition_key, "state": each.state, "picked": each.partition_key in picked}
            for each in offered
        ],
        "picked": picked,
        "command": shlex.join(arguments),
    }


def backfill_words(short: str, keys: list[str]) -> list[str]:
    """The command that loads partitions, without the program's name."""
    return ["schedule", short, "--partitions", ",".join(keys)]


def find(reading: Reading, name: str) -> Domain:
    """The domain of a short name; raises PageMissing."""
    if name not in reading.gridded:
        raise PageMissing(
            f"there is no domain {name[:40]!r} with partitions", hint=f"there are: {', '.join(reading.gridded)}"
        )
    return reading.gridded[name]


def is_matrix(grid: Grid) -> bool:
    """Whether a row has several partitions."""
    return any(len(row) > 1 for row in grid.rows)


def _urgency(state: PartitionState) -> int:
    return [*State].index(State(state.state))


def _reason(reading: Reading, domain: Domain, state: PartitionState) -> dict[str, Any]:
    anomalies = reading.open_of(domain.name, state.partition_key)
    told = words.reason(domain, state, anomalies, reading.today)
    return {
        "partition_key": state.partition_key,
        "state": state.state,
        "kind": anomalies[0].anomaly.kind if anomalies else None,
        "why": told.why,
        "todo": told.todo,
    }
