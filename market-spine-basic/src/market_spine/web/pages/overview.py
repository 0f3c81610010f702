"""The first page: is all well, and if not, what is to be done."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import groupby
from typing import Any

from market_spine.app.states import Grid, PartitionState, State
from market_spine.core.domain import Domain
from market_spine.web import words
from market_spine.web.pages import Record, Visit, strips
from market_spine.web.pages.plain import plain_anomaly, plain_change, plain_run, text_of
from market_spine.web.reading import WINDOW, Reading

_RUNS = 12
_LISTED = 12
"""Most partitions that are listed one by one, and most restatements."""
_SPARKS = 20
"""Most partitions of which a course is drawn."""
_COURSE = timedelta(weeks=26)
_GROUPED = 3
"""From so many partitions with one warning on, the warning is listed once."""


def record(reading: Reading, visit: Visit) -> Record:
    """The overview."""
    grids = {name: reading.full_grid(domain) for name, domain in reading.gridded.items()}
    needing = [
        (name, state) for name, grid in grids.items() for state in grid.states if state.state in words.NEEDS_ATTENTION
    ]
    runs = [plain_run(each) for each in reading.runs(limit=_RUNS)]
    expected = _expected(reading)
    return {
        "today": reading.today.isoformat(),
        "headline": _headline(grids, len(needing)),
        "summary": _summary(reading, grids, runs, expected),
        "needing": len(needing),
        "attention": [
            *(_item(reading, name, state) for name, state in needing[:_LISTED]),
            *_warnings(reading, {(reading.gridded[name].name, state.partition_key) for name, state in needing}),
        ],
        "domains": [_domain(reading, name, domain, grids[name]) for name, domain in reading.gridded.items()],
        "runs": runs,
        "restatements": [
            {"domain": reading.short(each.entry.partition.domain), **plain_change(each)}
            for each in reading.restatements(_LISTED // 2)
        ],
        "expected": expected,
    }


def _headline(grids: dict[str, Grid], needing: int) -> str:
    if needing:
        return f"{words.plural(needing, 'partition')} {'needs' if needing == 1 else 'need'} attention"
    if not any(state.capture_id for grid in grids.values() for state in grid.states):
        return "Nothing has been loaded yet"
    return "All is well"


def _summary(reading: Reading, grids: dict[str, Grid], runs: list[dict[str, Any]], expected: list[Any]) -> str:
    told = []
    for name, grid in grids.items():
        loaded, published = _loaded(grid)
        if loaded:
            told.append(f"{loaded:,} of {words.plural(published, 'published partition')} of {name} are loaded.")
    if runs:
        started = words.moment_text(reading.runs(limit=_RUNS)[0].started_at, reading.today)
        told.append(f"The last run, {runs[0]['domain']} on {started} UTC, ended {runs[0]['status']}.")
    if expected:
        first = expected[0]
        day = words.day_text(first["day"], reading.today)
        told.append(f"{words.plural(len(first['partitions']), 'partition')} {_is(first)} expected on {day}.")
    return " ".join(told)


def _loaded(grid: Grid) -> tuple[int, int]:
    """How many of the published partitions have a capture, and how many are published."""
    published = [state for state in grid.states if state.state not in (State.NOT_DUE, State.PUBLISHED)]
    return sum(state.capture_id is not None for state in published), len(published)


def _is(group: dict[str, Any]) -> str:
    return "is" if len(group["partitions"]) == 1 else "are"


def _item(reading: Reading, name: str, state: PartitionState) -> dict[str, Any]:
    domain = reading.gridded[name]
    anomalies = reading.open_of(domain.name, state.partition_key)
    told = words.reason(domain, state, anomalies, reading.today)
    kind = anomalies[0].anomaly.kind if anomalies else state.state
    return {
        "domain": name,
        "partition_key": state.partition_key,
        "state": state.state,
        "kind": kind,
        "severity": "error",
        "why": told.why,
        "todo": told.todo,
        "first_seen": text_of(anomalies[0].first_seen) if anomalies else None,
        "count": anomalies[0].count if anomalies else None,
        "partitions": 1,
    }


def _warnings(reading: Reading, told: set[tuple[str, str]]) -> list[dict[str, Any]]:
    """Open anomalies of the partitions that are not listed yet; many of one kind become one item."""
    others = [
        each
        for each in reading.open_anomalies
        if (each.domain, each.anomaly.partition_key) not in told and each.domain in _names(reading)
    ]
    counts = Counter((each.domain, each.anomaly.kind) for each in others)
    items: dict[Any, dict[str, Any]] = {}
    for each in others:
        count = counts[each.domain, each.anomaly.kind]
        grouped = count > _GROUPED
        mark = (each.domain, each.anomaly.kind, "" if grouped else each.anomaly.partition_key)
        if mark in items or len(items) >= _LISTED:
            continue
        item = plain_anomaly(each) | {"domain": reading.short(each.domain), "state": State.WARNED.value}
        items[mark] = item | {
            "why": each.anomaly.message,
            "todo": str(each.anomaly.details.get("hint", "")),
            "partitions": count if grouped else 1,
        }
    return list(items.values())


def _names(reading: Reading) -> set[str]:
    return {domain.name for domain in reading.gridded.values()}


def _domain(reading: Reading, name: str, domain: Domain, grid: Grid) -> dict[str, Any]:
    runs = reading.runs(domain.name, 30)
    success = next((run for run in runs if run.status == "success"), None)
    loaded, published = _loaded(grid)
    window = grid.rows[:WINDOW] if domain.partition_fields and _is_matrix(grid) else grid.rows
    return {
        "domain": name,
        "name": domain.name,
        "fields": list(domain.partition_fields),
        "rows": len(grid.rows),
        "counts": grid.counts,
        "status": runs[0].status if runs else None,
        "last_success": text_of(success.started_at) if success else None,
        "loaded": loaded,
        "published": published,
        "partitions": [state.document() for row in window for state in row],
        "sparks": _sparks(reading, domain, grid),
    }


def _sparks(reading: Reading, domain: Domain, grid: Grid) -> list[dict[str, Any]]:
    """The latest course of what a domain of series draws as a line, for a handful of partitions."""
    if not strips.has_series(domain) or not 0 < len(grid.states) <= _SPARKS:
        return []
    table = domain.tables[0]
    panels = (panel for subject in domain.subjects for panel in subject.panels)
    panel = next((each for each in panels if (each.relation, each.form) == (table.name, "line")), None)
    if panel is None:
        return []
    names = [*table.partition_by, panel.at, panel.value]
    rows = reading.rows(table.name, columns=names, start=reading.today - _COURSE).sort(names)
    found: dict[str, list[float]] = {}
    for *key, _, value in rows.iter_rows():
        found.setdefault("|".join(map(str, key)), []).append(value)
    return [
        {"partition_key": state.partition_key, "state": state.state, "value": panel.value, "course": course}
        for state in grid.states
        if (course := found.get(state.partition_key))
    ]


def _is_matrix(grid: Grid) -> bool:
    return any(len(row) > 1 for row in grid.rows)


def _expected(reading: Reading) -> list[dict[str, Any]]:
    """The next partitions to be published, by day."""
    ahead = [
        (day, name, partition.key)
        for name, domain in reading.gridded.items()
        for partition in domain.upcoming(reading.today, 9)
        if (day := domain.publication_day(partition))
    ]
    return [
        {"day": day, "partitions": [{"domain": name, "partition_key": key} for _, name, key in group]}
        for day, group in groupby(sorted(ahead), key=lambda each: each[0])
    ]
