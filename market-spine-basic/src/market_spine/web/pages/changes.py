"""What was restated between two moments: every restatement, its size, and the largest moves where they are few."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from market_spine.app.changes import Changes, Span, choose_tables, find_changes
from market_spine.errors import UsageError
from market_spine.web.pages import Record, Visit
from market_spine.web.pages.plain import plain_change, text_of
from market_spine.web.reading import Reading

_DAYS = 28
_LISTED = 500
_COMPARED = 6
"""Most partitions whose rows are compared for a page; for more the command tells."""
_MOVERS = 15


def record(reading: Reading, visit: Visit) -> Record:
    """The restatements after ``since`` and up to ``until``, both moments or captures; else the last weeks."""
    until = reading.point(visit.query.get("until"), "until") or reading.moment
    since = reading.point(visit.query.get("since"), "since") or until - timedelta(days=_DAYS)
    if since > until:
        raise UsageError(f"since: {since:%Y-%m-%d} comes after until: {until:%Y-%m-%d}", hint="exchange them")
    short = visit.choice("domain", ("", *reading.gridded))
    found = reading.restated(since, until, _LISTED)
    if short:
        found = [each for each in found if each.entry.partition.domain == reading.gridded[short].name]
    partitions = {(each.entry.partition.domain, each.entry.partition.key) for each in found}
    few = 0 < len(partitions) <= _COMPARED
    asked = visit.choice("rows", ("", "compare")) == "compare"
    changes = _compared(reading, Span(since, until), found) if few and asked else None
    return {
        "today": reading.today.isoformat(),
        "since": text_of(since),
        "until": text_of(until),
        "domain": short,
        "domains": list(reading.gridded),
        "partitions": len(partitions),
        "restatements": [
            plain_change(each) | {"domain": reading.short(each.entry.partition.domain), "run_id": each.entry.run_id}
            for each in found
        ],
        "totals": _totals(changes) if changes else [],
        "movers": _movers(reading, changes) if changes else [],
        "compared": changes is not None,
        "comparable": few,
        "most_compared": _COMPARED,
        "command": f"market-spine changes --since {text_of(since)} --until {text_of(until)}"
        + (f" --domain {short}" if short else ""),
    }


def _compared(reading: Reading, span: Span, found: Any) -> Changes:
    names = {each.entry.partition.domain for each in found}
    domains = [domain for domain in reading.gridded.values() if domain.name in names]
    return find_changes(reading.store, choose_tables(domains, None, None), span, None, _MOVERS)


def _totals(changes: Changes) -> list[dict[str, Any]]:
    return [
        {
            "partition_key": each.partition.key,
            "table": each.table.name,
            "column": name,
            "before": each.before[name],
            "after": each.after[name],
        }
        for each in changes.restated
        for name in each.table.totals
    ]


def _movers(reading: Reading, changes: Changes) -> list[dict[str, Any]]:
    domains = {each.partition.key: reading.short(each.domain.name) for each in changes.restated}
    return [
        {
            "domain": domains.get(each.partition_key, ""),
            "partition_key": each.partition_key,
            "table": each.table,
            "key": " ".join(str(value) for value in each.key.values() if value not in ("", None)),
            "column": each.column,
            "old": each.old,
            "new": each.new,
            "by": each.by,
        }
        for each in changes.movers
    ]
