"""Whether splits and prices agree: in ratio, direction and day. Pure; plain numbers in, records out.

A ratio is new shares for one old share, and so also how many times lower prices are after it: 4 for a 4-for-1
split, 1/15 for a 1-for-15 reverse split.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

TOLERANCE = 1.25
"""Prices agree with a split if they moved by its ratio, times or over less than this: a share moves by itself too."""
CHECKED_FROM = 1.2
"""Splits of a smaller ratio, such as stock dividends, cannot be told from a day's ordinary move: taken on trust."""

_RATIOS = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 100.0)
_RATIO_TOLERANCE = 0.05
_SPLIT_LIKE = 1.4
"""The least ratio between a close and the next opening that can look like a split."""
OVERNIGHT_JUMP, DAILY_JUMP = 2.0, 3.0
"""From here on a move from a close to the next opening, or the next close, is told whatever its ratio."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The splits between two bars, beside what prices did there.

    Attributes:
        days: their ex-dates.
        day: the session of the first bar on or after the last of them.
        reported: their ratios, multiplied.
        seen: the ratio of the closes around them, or of close and opening if that is nearer; None at the first bar.
    """

    days: tuple[date, ...]
    day: date
    reported: float
    seen: float | None

    @property
    def agrees(self) -> bool:
        """Whether prices moved as reported, or the ratio is too small to tell."""
        return self.seen is None or agree(self.reported, self.seen)


@dataclass(frozen=True, slots=True)
class Jump:
    """A move of prices between two bars that no agreeing split explains.

    Attributes:
        ratio: how many times lower prices are after it; the usual split ratio where it looks like one.
        split_like: a usual ratio, with volume to match.
    """

    day: date
    ratio: float
    split_like: bool


def agree(reported: float, seen: float) -> bool:
    """Whether a move of prices agrees with a reported ratio: within tolerance, and nearer to it than to no split."""
    if max(reported, 1 / reported) < CHECKED_FROM:
        return True
    off = abs(math.log(seen / reported))
    return off < math.log(TOLERANCE) and off < abs(math.log(seen))


def judge_splits(bars: pl.DataFrame, ratios: Mapping[date, float]) -> list[Judged]:
    """The splits that some bar has followed, those between the same two bars together, in order.

    Args:
        bars: sorted by ``trade_date``, with ``open`` and ``close``.
        ratios: ex-date to ratio.
    """
    rows = bars.select("trade_date", "open", "close").rows()
    days = [row[0] for row in rows]
    places: dict[int, list[date]] = {}
    for ex_date in sorted(ratios):
        if (place := bisect_left(days, ex_date)) < len(days):
            places.setdefault(place, []).append(ex_date)
    judged = []
    for place, listed in places.items():
        reported = math.prod(ratios[day] for day in listed)
        seen = None
        if place:
            _, opening, close = rows[place]
            moves = (rows[place - 1][2] / close, rows[place - 1][2] / opening)
            seen = min(moves, key=lambda move: abs(math.log(move / reported)))
        judged.append(Judged(tuple(listed), days[place], reported, seen))
    return judged


def settle_splits(bars: pl.DataFrame, splits: pl.DataFrame) -> tuple[pl.DataFrame | None, dict[date, list[float]]]:
    """One split a day, and the different ratios of the days that had several.

    Of several the one that prices agree with is kept, if it is the only one; never the first or the last. Where
    prices do not tell, there is no frame: none of the answer can be relied on.

    Args:
        bars: sorted bars with ``trade_date``, ``open`` and ``close``, as far as there are any.
        splits: ``ex_date``, ``split_from``, ``split_to``, ``kind``.
    """
    import polars as pl

    ordered = splits.sort("ex_date", "split_from", "split_to", "kind")
    by_day: dict[date, dict[float, int]] = {}
    for place, (ex_date, old, new, _) in enumerate(ordered.rows()):
        same = next((ratio for ratio in by_day.get(ex_date, {}) if math.isclose(ratio, new / old)), new / old)
        by_day.setdefault(ex_date, {}).setdefault(same, place)
    conflicts = {day: sorted(found) for day, found in by_day.items() if len(found) > 1}
    kept: list[int] = []
    for ex_date, found in by_day.items():
        ratios = list(found)
        if ex_date in conflicts:
            ratios = [ratio for ratio in ratios if _shown(bars, ex_date, ratio)]
        if len(ratios) != 1:
            return None, conflicts
        kept.append(found[ratios[0]])
    return ordered[sorted(kept)] if kept else ordered.filter(pl.lit(False)), conflicts


def _shown(bars: pl.DataFrame, ex_date: date, ratio: float) -> bool:
    """Whether prices positively show a split."""
    if bars.is_empty():
        return False
    return any(each.seen is not None and each.agrees for each in judge_splits(bars, {ex_date: ratio}))


def ratios_of(splits: pl.DataFrame) -> dict[date, float]:
    """Ex-date to ratio of splits of which there is one a day."""
    return {day: new / old for day, old, new in splits.select("ex_date", "split_from", "split_to").rows()}


def note_ratios(ratios: Mapping[date, float]) -> str:
    """Splits on file as the metadata of a part keeps them: ``2020-08-31=4.0``, comma-separated."""
    return ",".join(f"{day}={ratio!r}" for day, ratio in sorted(ratios.items()))


def noted_ratios(text: str) -> dict[date, float]:
    """What ``note_ratios`` wrote."""
    items = (item.partition("=") for item in text.split(",") if item)
    return {date.fromisoformat(day): float(ratio) for day, _, ratio in items}


def unexplained_jumps(bars: pl.DataFrame, ratios: Mapping[date, float]) -> list[Jump]:
    """The moves that are left once the splits that prices agree with are applied, in session order.

    One looks like a split if its opening is near n:1 or 1:n of the close before while volume moves the other way.
    """
    applied = {each.day: each.reported for each in judge_splits(bars, ratios) if each.agrees}
    return list(_jumps(bars.select("trade_date", "open", "close", "volume").rows(), applied))


def _jumps(rows: Sequence[tuple[date, float, float, float]], applied: Mapping[date, float]) -> Iterator[Jump]:
    for (_, _, before, old_volume), (day, opening, close, volume) in pairwise(rows):
        split = applied.get(day, 1.0)
        overnight, daily = before / opening / split, before / close / split
        nice = nice_ratio(overnight) if max(overnight, 1 / overnight) >= _SPLIT_LIKE else None
        volumes = volume / split, old_volume
        if nice is not None and _inverse(overnight, *volumes):
            yield Jump(day, nice, split_like=True)
        elif max(overnight, 1 / overnight) >= OVERNIGHT_JUMP:
            yield Jump(day, overnight, split_like=False)
        elif max(daily, 1 / daily) >= DAILY_JUMP:
            yield Jump(day, daily, split_like=False)


def _inverse(ratio: float, volume: float, before: float) -> bool:
    return volume >= ratio / 4 * before if ratio > 1 else volume <= 4 * ratio * before


def nice_ratio(ratio: float) -> float | None:
    """The usual split ratio (new shares for one old) that a number is within 5 % of; None if there is none."""
    for usual in _RATIOS:
        for candidate in (usual, 1 / usual):
            if abs(ratio / candidate - 1) <= _RATIO_TOLERANCE:
                return candidate
    return None


def shown(ratio: float) -> str:
    """A ratio as people write it: 4:1 for four new shares for one old, 1:15 for the reverse."""
    return f"{ratio:.4g}:1" if ratio >= 1 else f"1:{1 / ratio:.4g}"
