"""Numbers to the geometry of inline SVG. Pure: what is drawn depends on the record alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

_LETTER = 6.3
"""Width of an average letter of a label, in the units of a drawing."""
_LANE = 17
_LONGEST = 28
"""Letters of a text that can have a column of its own."""
_ROOM = 4
"""Columns that a month's name needs together with its year."""
_GAP = 8.0


class Label(NamedTuple):
    """A text beside a mark: where it begins or ends, and in which lane above the axis."""

    x: float
    text: str
    lane: int
    ends: bool


class Matrix(NamedTuple):
    """Cells of a grid: column and row names in order, and the state of each cell or None."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Mapping[str, Any] | None]]]


def matrix(partitions: Sequence[Mapping[str, Any]]) -> Matrix:
    """A grid with the first value of each key as column, oldest first, and the rest as row."""
    cells: dict[str, dict[str, Mapping[str, Any]]] = {}
    columns: dict[str, None] = {}
    for each in partitions:
        column, _, row = str(each["partition_key"]).partition("|")
        columns.setdefault(column)
        cells.setdefault(row, {})[column] = each
    ordered = list(reversed(columns))
    return Matrix(ordered, [(row, [found.get(column) for column in ordered]) for row, found in cells.items()])


def newest(found: Matrix, count: int) -> Matrix:
    """The last columns of a grid."""
    return Matrix(found.columns[-count:], [(name, cells[-count:]) for name, cells in found.rows])


def bands(found: Matrix) -> list[tuple[str, Matrix]]:
    """A grid cut at the turn of each year, newest year first."""
    bounds = [(year, len(list(group))) for year, group in groupby(found.columns, key=lambda column: column[:4])]
    cut: list[tuple[str, Matrix]] = []
    start = 0
    for year, width in bounds:
        part = slice(start, start + width)
        cut.append((year, Matrix(found.columns[part], [(name, cells[part]) for name, cells in found.rows])))
        start += width
    return list(reversed(cut))


def months(columns: Sequence[str]) -> list[tuple[str, int]]:
    """Month headings of columns that are days: the name, and how many columns it spans.

    The first that has room for it also names the year; a single column has no room for a name. Other columns have none.
    """
    found: list[tuple[str, int]] = []
    years: set[str] = set()
    for month, group in groupby(columns, key=lambda column: column[:7]):
        width = len(list(group))
        try:
            name = f"{date.fromisoformat(month + '-01'):%b}"
        except ValueError:
            return []
        if width >= _ROOM and month[:4] not in years:
            years.add(month[:4])
            name = f"{name} {month[:4]}"
        found.append((name if width > 1 else "", width))
    return found


def moment(text: str) -> datetime:
    """A moment or day of a record; a day begins at midnight UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class Axis(NamedTuple):
    """Time on a line: from ``first`` to ``last`` over ``width`` units."""

    first: datetime
    last: datetime
    width: float

    def x(self, text: str) -> float:
        """Where a moment lies."""
        share = (moment(text) - self.first) / (self.last - self.first)
        return round(min(1.0, max(0.0, share)) * self.width, 1)

    def ticks(self) -> list[tuple[float, str]]:
        """The first day of each month, thinned so that their names do not touch."""
        found = list(self._months())
        room = max(1, round(self.width / 70))
        step = next((each for each in (1, 2, 3, 6, 12, 24, 60) if len(found) / each <= room), 120)
        return [
            (self.x(day.isoformat()), f"{day:%b %Y}" if day.month == 1 or number == 0 else f"{day:%b}")
            for number, day in enumerate(day for day in found if (day.month - 1) % min(step, 12) == 0)
        ]

    def _months(self) -> Iterator[date]:
        day = self.first.date().replace(day=1)
        while day <= self.last.date():
            if day >= self.first.date():
                yield day
            day = (day + timedelta(days=32)).replace(day=1)


def timeline(record: Mapping[str, Any], width: float) -> dict[str, Any]:
    """The geometry of what was known when: event, due day, captures, checks, and labels that never touch."""
    captures = [each for each in record["captures"] if each["status"] != "held"]
    moments = [record["first_day"], record["due"], record["until"], *(each["at"] for each in record["captures"])]
    known = [moment(text) for text in moments if text] + [moment(each["at"]) for each in record["checks"]]
    first, last = min(known), max(known)
    pad = max((last - first) / 40, timedelta(hours=6))
    axis = Axis(first - pad, last + pad, width)
    spans = []
    for number, each in enumerate(captures):
        end = captures[number + 1]["at"] if number + 1 < len(captures) else record["until"]
        start, stop = axis.x(each["at"]), axis.x(end)
        spans.append({**each, "x": start, "width": max(1.0, round(stop - start, 1)), "number": number + 1})
    holds = [{**each, "x": axis.x(each["at"])} for each in record["captures"] if each["status"] == "held"]
    event = None
    if record["last_day"]:
        begin = axis.x(record["first_day"])
        end = axis.x((moment(record["last_day"]) + timedelta(days=1)).isoformat())
        event = {"x": begin, "width": max(3.0, round(end - begin, 1))}
    due = axis.x(record["due"]) if record["due"] else None
    labels = _labels(_texts(record, event, due, spans, holds), width)
    return {
        "width": width,
        "base": (1 + max((each.lane for each in labels), default=0)) * _LANE + 10,
        "lane": _LANE,
        "event": event,
        "due": due,
        "spans": spans,
        "holds": holds,
        "checks": [{**each, "x": axis.x(each["at"])} for each in record["checks"]],
        "ticks": axis.ticks(),
        "labels": labels,
    }


def _texts(
    record: Mapping[str, Any],
    event: Mapping[str, Any] | None,
    due: float | None,
    spans: Sequence[Mapping[str, Any]],
    holds: Sequence[Mapping[str, Any]],
) -> list[tuple[float, str]]:
    found: list[tuple[float, str]] = []
    if event:
        found.append((event["x"], f"trading {record['unit']}" if record["unit"] == "week" else record["unit"]))
    if due is not None:
        found.append((due, "due"))
    told = [*spans[:2], *spans[-1:]] if len(spans) > 3 else spans
    for each in told:
        day = moment(each["at"])
        word = "first capture" if each["number"] == 1 else "restated" if each["is_revision"] else "completed"
        found.append((each["x"], f"{word} {day.day} {day:%b}"))
    for each in holds:
        day = moment(each["at"])
        found.append((each["x"], f"held {day.day} {day:%b}"))
    return found


def _labels(texts: Sequence[tuple[float, str]], width: float) -> list[Label]:
    """Put each label into the lowest lane where it touches no other."""
    lanes: list[list[tuple[float, float]]] = []
    found = []
    for x, text in sorted(dict.fromkeys(texts)):
        size = len(text) * _LETTER
        ends = x + size > width
        begin = max(0.0, x - size) if ends else x
        room = (begin - _GAP, begin + size + _GAP)
        lane = next(
            (number for number, taken in enumerate(lanes) if all(b <= room[0] or a >= room[1] for a, b in taken)),
            len(lanes),
        )
        if lane == len(lanes):
            lanes.append([])
        lanes[lane].append((begin, begin + size))
        found.append(Label(x, text, lane, ends))
    return found


def bars(values: Sequence[float], width: float, height: float) -> list[tuple[float, float, float, float]]:
    """A bar for each value: x, y, width and height, from zero up."""
    if not values:
        return []
    top = max(*values, 1e-9)
    step = width / len(values)
    return [
        (
            round(number * step, 1),
            round(height - max(1.0, value / top * height), 1),
            round(step * 0.78, 1),
            round(max(1.0, value / top * height), 1),
        )
        for number, value in enumerate(values)
    ]


def columns_of(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The columns of a key that tell anything: those with room for one of their own, and those of long texts."""
    told = {name: max((len(str(row["key"][name] or "")) for row in rows), default=0) for name in names}
    short = [name for name in names if 0 < told[name] <= _LONGEST]
    return short, [name for name in names if told[name] > _LONGEST]


def sizes(restatements: Sequence[Mapping[str, Any]]) -> list[int]:
    """How many rows each restatement moved, oldest first."""
    return [each["added"] + each["removed"] + each["changed"] for each in reversed(restatements)]


def strip(runs: Sequence[Mapping[str, Any]], sessions: int, width: float) -> tuple[str, str]:
    """The sessions with a row and those without, each as the data of one path: a box for each run."""
    scale = width / max(1, sessions)
    paths = {True: "", False: ""}
    for run in runs:
        paths[run["present"]] += (
            f"M{run['start'] * scale:.1f} 0h{run['length'] * scale:.1f}v12h-{run['length'] * scale:.1f}z"
        )
    return paths[True], paths[False]


def ticks(first: str, last: str, width: float) -> list[tuple[float, str]]:
    """Months between two days, where a drawing of that width has them."""
    if first >= last:
        return []
    return Axis(moment(first), moment(last), width).ticks()


def course(values: Sequence[float], width: float, height: float) -> str:
    """The data of one path through values at even distances, from the least at the bottom to the largest at the top."""
    low, high = min(values), max(values)
    room = (high - low) or 1.0
    step = width / max(1, len(values) - 1)
    points = (
        f"{number * step:.1f} {height - 1 - (value - low) / room * (height - 2):.1f}"
        for number, value in enumerate(values)
    )
    return "M" + "L".join(points) if len(values) > 1 else f"M0 {height / 2}h{width}"
