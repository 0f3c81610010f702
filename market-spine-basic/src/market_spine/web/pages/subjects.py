"""One symbol, one venue: what the domains declare about it, over one axis of time; and which there are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from market_spine.core.subject import Panel, Subject
from market_spine.web.console import Console
from market_spine.web.pages import PageMissing, Record, Visit
from market_spine.web.pages.restated import MOST_RESTATED, restated
from market_spine.web.reading import Reading

if TYPE_CHECKING:
    import polars as pl

RANGES = ("1y", "26w", "5y", "all")
_WEEKS = {"26w": 26, "1y": 53, "5y": 261}
_RECENT = timedelta(weeks=12)
"""How far back the latest day of a relation is looked for."""
_LISTED = 100
_LINES = 6
"""Most lines in one drawing."""
_ROWS = 40
"""Most rows of a latest day."""


def gathered(console: Console) -> Mapping[str, Subject]:
    """The sorts of things that the domains tell of, those of one name put together."""
    found: dict[str, Subject] = {}
    for domain in console.all_domains:
        for each in domain.subjects:
            before = found.get(each.name)
            found[each.name] = each if before is None else each._replace(panels=before.panels + each.panels)
    return found


def listing(sort: str, reading: Reading, visit: Visit) -> Record:
    """The things of one sort that stand first on the latest day."""
    return reading.once(("listing", sort), lambda: _listing(sort, reading))


def _listing(sort: str, reading: Reading) -> Record:
    subject = gathered(reading.console)[sort]
    panel = subject.panels[0]
    rows = reading.rows(
        panel.relation, columns=[panel.at, subject.column, *panel.by, panel.value], start=reading.today - _RECENT
    )
    if rows.is_empty():
        rows = reading.rows(panel.relation, columns=[panel.at, subject.column, *panel.by, panel.value])
    latest = rows[panel.at].max()
    ranked = rows.filter(rows[panel.at] == latest) if latest is not None else rows
    ranked = ranked.sort(panel.value, subject.column, *panel.by, descending=[True, *[False] * (1 + len(panel.by))])
    return {
        "today": reading.today.isoformat(),
        "sort": subject.name,
        "sorts": list(gathered(reading.console)),
        "column": subject.column,
        "value": panel.value,
        "by": list(panel.by),
        "day": latest,
        "count": ranked[subject.column].n_unique(),
        "found": ranked.head(_LISTED).to_dicts(),
    }


def record(sort: str, reading: Reading, visit: Visit) -> Record:
    """One of them, with a drawing for each panel that has rows."""
    subject = gathered(reading.console)[sort]
    name = visit.place["name"]
    chosen = visit.choice("range", RANGES)
    start = reading.today - timedelta(weeks=_WEEKS[chosen]) if chosen in _WEEKS else None
    panels = reading.once(("subject", sort, name, start), lambda: _panels(reading, subject, name, start))
    if not panels and start is None:
        raise PageMissing(f"no row names {name[:80]!r}", hint=f"/{subject.name} lists those of the latest day")
    days = [panel[end] for panel in panels if panel["form"] != "latest" for end in ("first", "last")]
    return {
        "today": reading.today.isoformat(),
        "sort": subject.name,
        "column": subject.column,
        "name": name,
        "range": chosen,
        "first": min(days, default=None),
        "last": max(days, default=None),
        "panels": panels,
        "restated": reading.once(("restated", sort, name, start), lambda: restated(reading, subject, name, start)),
        "most_restated": MOST_RESTATED,
    }


def _panels(reading: Reading, subject: Subject, name: str, start: date | None) -> list[dict[str, Any]]:
    """What the panels draw of one thing, as far as they have rows; each relation is read once for a span of time."""
    read: dict[tuple[str, date | None], pl.DataFrame] = {}
    panels: list[dict[str, Any]] = []
    for panel in subject.panels:
        since = panels[0]["last"] if panels and panel.form == "latest" else start
        if (panel.relation, since) not in read:
            same = [each for each in subject.panels if each.relation == panel.relation]
            columns = list(dict.fromkeys(column for each in same for column in (each.at, *each.by, each.value)))
            where = {subject.column: name}
            read[panel.relation, since] = reading.rows(panel.relation, columns=columns, where=where, start=since)
        rows = read[panel.relation, since].drop_nulls(panel.value)
        if not rows.is_empty():
            panels.append(_panel(reading, panel, rows))
    # What shares the axis of time stands together.
    return sorted(panels, key=lambda panel: panel["form"] == "latest")


def _panel(reading: Reading, panel: Panel, rows: pl.DataFrame) -> dict[str, Any]:
    """What a panel draws of the rows of one thing."""
    others = gathered(reading.console)
    if panel.form == "latest":
        rows = rows.filter(rows[panel.at] == rows[panel.at].max())
    lines = _latest(rows, panel) if panel.form == "latest" else _lines(rows, panel)
    return {
        "title": panel.title,
        "relation": panel.relation,
        "value": panel.value,
        "form": panel.form,
        "unit": panel.unit,
        "by": list(panel.by),
        "leads_to": next((each.name for each in others.values() if panel.by[:1] == (each.column,)), None),
        "first": rows[panel.at].min(),
        "last": rows[panel.at].max(),
        "lines": lines,
    }


def _lines(rows: pl.DataFrame, panel: Panel) -> list[dict[str, Any]]:
    """A line for each of what ``by`` tells apart, the largest first; days of several rows are summed."""
    import polars as pl

    summed = rows.group_by(*panel.by, panel.at).agg(pl.col(panel.value).sum()).sort(*panel.by, panel.at)
    found: dict[str, dict[str, Any]] = {}
    for row in summed.iter_rows(named=True):
        label = " ".join(str(row[name]) for name in panel.by)
        line = found.setdefault(label, {"label": label, "points": []})
        line["points"].append([row[panel.at], row[panel.value]])
    ordered = sorted(found.values(), key=lambda each: -sum(abs(value) for _, value in each["points"]))
    return ordered[:_LINES]


def _latest(rows: pl.DataFrame, panel: Panel) -> list[dict[str, Any]]:
    import polars as pl

    summed = rows.group_by(*panel.by).agg(pl.col(panel.value).sum())
    ordered = summed.sort(panel.value, *panel.by, descending=[True, *[False] * len(panel.by)]).head(_ROWS)
    return [
        {
            "label": " ".join(str(row[name]) for name in panel.by),
            "name": str(row[panel.by[0]]),
            "value": row[panel.value],
        }
        for row in ordered.iter_rows(named=True)
    ]


def names(reading: Reading, text: str) -> list[tuple[str, str]]:
    """The sorts of which the latest rows have one of this very name, also in capitals: (sort, name)."""
    found = []
    for subject in gathered(reading.console).values():
        panel = subject.panels[0]
        spelt = list(dict.fromkeys((text, text.upper())))
        rows = reading.rows(
            panel.relation, columns=[subject.column], where={subject.column: spelt}, start=reading.today - _RECENT
        )
        found += [(subject.name, name) for name in rows[subject.column].unique().sort().to_list()]
    return found
