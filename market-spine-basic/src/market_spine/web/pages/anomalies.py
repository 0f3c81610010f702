"""Anomalies: open, acknowledged and resolved, by kind."""

from __future__ import annotations

from collections import Counter

from market_spine.core.kept import AnomalyRecord
from market_spine.web.pages import Record, Visit
from market_spine.web.pages.plain import plain_anomaly
from market_spine.web.reading import Reading

STATES = ("open", "acknowledged", "resolved", "all")


def record(reading: Reading, visit: Visit) -> Record:
    """The anomalies in one state, of one kind or domain if these are named."""
    state = visit.choice("state", STATES)
    short = visit.choice("domain", ("", *reading.gridded))
    kind = visit.query.get("kind", "")
    limit = visit.number("limit", 100, most=1000)
    page = visit.number("page", 1, most=100_000)
    every = reading.anomalies()
    of_state = [each for each in every if state in ("all", state_of(each))]
    names = {domain.name: name for name, domain in reading.gridded.items()}
    found = [
        each
        for each in of_state
        if (not kind or each.anomaly.kind == kind) and (not short or names.get(each.domain) == short)
    ]
    found.sort(key=lambda each: each.anomaly.severity != "error")
    shown = found[(page - 1) * limit : page * limit]
    return {
        "today": reading.today.isoformat(),
        "state": state,
        "kind": kind,
        "domain": short,
        "domains": list(reading.gridded),
        "counts": {name: sum(name in ("all", state_of(each)) for each in every) for name in STATES},
        "kinds": dict(Counter(each.anomaly.kind for each in of_state).most_common()),
        "matching": len(found),
        "page": page,
        "limit": limit,
        "pages": max(1, -(-len(found) // limit)),
        "anomalies": [
            plain_anomaly(each) | {"state": state_of(each), "short": names.get(each.domain)} for each in shown
        ],
    }


def state_of(record: AnomalyRecord) -> str:
    """Whether an anomaly is open, set aside by a person, or over."""
    if record.resolved_at is not None:
        return "resolved"
    return "open" if record.acknowledged_at is None else "acknowledged"
