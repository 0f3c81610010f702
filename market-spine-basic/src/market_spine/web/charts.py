"""Charts over time as geometry: lines and bars on one axis of days, and scales of round numbers. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from market_spine.web.drawing import Axis, moment

_LEFT, _RIGHT = 58.0, 6.0
_ROOM = 9
"""Width that an upright needs, with the space beside it."""
_TOP, _BOTTOM = 8.0, 20.0


def scale(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``, a few of them, evenly apart."""
    if not high > low:
        low, high = (0.0, high) if high > 0 else (low - 1, low + 1)
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [each * step for each in range(first, last + 1)]


def short(value: float, unit: str = "") -> str:
    """A number of a scale: ``1.5 M``, ``20 %``, ``0.05``."""
    if unit == "share":
        return f"{value * 100:g} %"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"


def chart(panel: Mapping[str, Any], first: str, last: str, width: float, height: float) -> dict[str, Any]:
    """The geometry of a panel between two days."""
    values = [value for line in panel["lines"] for _, value in line["points"]]
    from_zero = panel["form"] == "bars" or panel["unit"] == "share"
    marks = scale(min(0.0, *values) if from_zero else min(values), max(values))
    axis = Axis(moment(first), moment(last), width - _LEFT - _RIGHT)
    low, high = marks[0], marks[-1]
    room = height - _TOP - _BOTTOM

    def y(value: float) -> float:
        return round(_TOP + (high - value) / (high - low) * room, 1)

    def x(day: str) -> float:
        return round(_LEFT + (axis.x(day) if first < last else (width - _LEFT - _RIGHT) / 2), 1)

    return {
        "width": width,
        "height": height,
        "left": _LEFT,
        "right": width - _RIGHT,
        "bottom": height - _BOTTOM,
        "marks": [(y(each), short(round(each, 12), panel["unit"])) for each in marks],
        "ticks": [(_LEFT + at, text) for at, text in axis.ticks()] if first < last else [(_LEFT, first)],
        "lines": [
            {
                "label": line["label"],
                "path": _path(panel["form"], line["points"], x, y, y(max(low, 0.0))),
                "dense": len(line["points"]) * _ROOM > width,
            }
            for line in panel["lines"]
        ],
    }


def _path(form: str, points: Sequence[Sequence[Any]], x: Any, y: Any, base: float) -> str:
    """The data of one path: a line through the points, or an upright for each."""
    if form == "bars":
        return "".join(f"M{x(day)} {base}V{y(value)}" for day, value in points)
    if len(points) == 1:
        ((day, value),) = points
        return f"M{x(day) - 2} {y(value)}h4"
    return "M" + "L".join(f"{x(day)} {y(value)}" for day, value in points)


def shares(lines: Sequence[Mapping[str, Any]]) -> list[float]:
    """Each value as a part of the largest, 0 to 100."""
    top = max((abs(each["value"]) for each in lines), default=0) or 1
    return [round(abs(each["value"]) / top * 100, 1) for each in lines]
