"""What a bar must be, and what is odd about a series of bars. Frames in, records out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from market_spine.core import calendar
from market_spine.core.anomaly import Anomaly

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.revision import RowDiff

SETTLE = timedelta(minutes=20)
"""How long after its close a session's bar may still be partial: the delayed plans run 15 minutes late."""

FROZEN_SESSIONS = 5
"""So many identical bars in a row look like a feed that stands still."""

_RATIOS = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 100.0)
_RATIO_TOLERANCE = 0.05
_UNIFORM_TOLERANCE = 0.005
_LISTED = 10
"""Sessions named in a message; the details have all."""


def latest_session(moment: datetime) -> date:
    """The latest session whose bar is final at a moment."""
    return calendar.last_closed_session(moment, SETTLE)


def is_partial(fetched_at: datetime) -> pl.Expr:
    """Whether a bar, by its ``trade_date``, was still growing when it was fetched."""
    import polars as pl

    today = fetched_at.astimezone(calendar.ZONE).date()
    return (pl.col("trade_date") > latest_session(fetched_at)) & (pl.col("trade_date") <= today)


def broken_rule(sessions: Sequence[date], fetched_at: datetime) -> pl.Expr:
    """The first rule that a bar breaks, as column ``rule``; null if it breaks none.

    Args:
        sessions: the sessions from the first to the last day of the bars.
        fetched_at: when they were fetched.
    """
    import polars as pl

    prices = [pl.col(name) for name in ("open", "high", "low", "close")]
    opening, high, low, close = prices
    rules = {
        "bad_date": pl.col("trade_date").is_null(),
        "bad_price": pl.any_horizontal(price.is_null() | (price <= 0) for price in prices),
        "broken_ohlc": (high < pl.max_horizontal(opening, low, close)) | (low > pl.min_horizontal(opening, close)),
        "bad_volume": pl.col("volume").is_null() | (pl.col("volume") < 0),
        "future": pl.col("trade_date") > fetched_at.astimezone(calendar.ZONE).date(),
        "no_session": ~pl.col("trade_date").is_in(pl.Series(sessions, dtype=pl.Date).implode()),
    }
    return pl.coalesce(pl.when(broken).then(pl.lit(name)) for name, broken in rules.items()).alias("rule")


def sessions_of(days: pl.Series) -> list[date]:
    """The sessions from the first to the last of some days, as far as the calendar reaches."""
    low, high = days.min(), days.max()
    if not isinstance(low, date) or not isinstance(high, date):
        return []
    return calendar.sessions(max(low, calendar.FIRST_DAY), min(high, calendar.LAST_DAY))


def odd_series(key: str, bars: pl.DataFrame, latest: date | None, splits: Collection[date]) -> list[Anomaly]:
    """The warnings about a series of accepted bars, in session order.

    Args:
        key: the partition's key.
        bars: accepted bars of one payload, sorted by ``trade_date``.
        latest: the latest session that could be had, if the source knew.
        splits: ex-dates of the splits on file.
    """
    import polars as pl

    days = bars["trade_date"].to_list()
    held = set(days)
    missing = [day for day in sessions_of(bars["trade_date"]) if day not in held]
    outside = (pl.col("vwap") < pl.col("low")) | (pl.col("vwap") > pl.col("high"))
    found = [
        _about(key, "gap", missing, "{count} sessions have no bar: {days}"),
        _about(key, "zero_volume", _days(bars, pl.col("volume") == 0), "{count} bars have no volume: {days}"),
        _about(key, "vwap_outside", _days(bars, outside), "{count} bars have a vwap outside low to high: {days}"),
        _about(key, "frozen", _frozen(bars), "{count} bars repeat the one before them: {days}"),
    ]
    jumps = {day: ratio for day, ratio in split_like_jumps(bars).items() if day not in splits}
    if jumps:
        named = ", ".join(f"{day} ({ratio:g}:1)" for day, ratio in jumps.items())
        details = {day.isoformat(): ratio for day, ratio in jumps.items()}
        message = f"prices and volumes jump as in a split, and no split is on file for that day: {named}"
        found.append(Anomaly("split_like_jump", "warning", key, message, details))
    if latest is not None and days and days[-1] < latest:
        message = f"the last bar is of {days[-1]}, though the session of {latest} is over"
        found.append(Anomaly("stale", "warning", key, message, {"last": str(days[-1]), "expected": str(latest)}))
    return [anomaly for anomaly in found if anomaly is not None]


def partial_bars(key: str, days: Sequence[date]) -> Anomaly | None:
    """The note that bars of a session that was not over were left out."""
    note = _about(key, "partial_bar", days, "{count} bar of a session that was not over was left out: {days}")
    return note and Anomaly(note.kind, "info", key, note.message, note.details)


def split_like_jumps(bars: pl.DataFrame) -> dict[date, float]:
    """Sessions that open near n:1 or 1:n of the close before while the volume moves the other way.

    Only neighbouring sessions are compared. The ratio is new shares for one old share.
    """
    found: dict[date, float] = {}
    rows = bars.select("trade_date", "open", "close", "volume").rows()
    for (before, _, close, old_volume), (day, opening, _, volume) in pairwise(rows):
        ratio = close / opening
        if 1 / 1.4 < ratio < 1.4 or calendar.next_session(before + timedelta(days=1)) != day:
            continue
        nice = nice_ratio(ratio)
        grew = volume >= ratio / 4 * old_volume if ratio > 1 else volume <= 4 * ratio * old_volume
        if nice is not None and grew:
            found[day] = nice
    return found


def nice_ratio(ratio: float) -> float | None:
    """The usual split ratio (new shares for one old) that a number is within 5 % of; None if there is none."""
    for usual in _RATIOS:
        for candidate in (usual, 1 / usual):
            if abs(ratio / candidate - 1) <= _RATIO_TOLERANCE:
                return candidate
    return None


def uniform_restatement(key: str, diff: RowDiff) -> tuple[Anomaly, ...]:
    """The tag of a restatement that divided bars by one ratio: a split or another adjustment.

    At least two bars must have changed, every price of them by the same ratio within half a per cent.
    """
    old, new = diff.old, diff.new
    if new.height < 2:
        return ()
    ratios = sorted(
        before / after
        for name in ("open", "high", "low", "close")
        for before, after in zip(old[name], new[name], strict=True)
    )
    low, high = ratios[0], ratios[-1]
    middle = ratios[len(ratios) // 2]
    if high / low - 1 > _UNIFORM_TOLERANCE or abs(middle - 1) < _UNIFORM_TOLERANCE:
        return ()
    nice = nice_ratio(middle)
    ratio = nice if nice is not None and abs(middle / nice - 1) <= _UNIFORM_TOLERANCE else middle
    volumes = [after / before for before, after in zip(old["volume"], new["volume"], strict=True) if before]
    inverse = bool(volumes) and abs(sorted(volumes)[len(volumes) // 2] / middle - 1) <= _RATIO_TOLERANCE
    first, last = str(new["trade_date"][0]), str(new["trade_date"][-1])
    message = (
        f"{new.height} bars from {first} to {last} were restated by one ratio, {ratio:g}:1:"
        f" {'a split' if inverse else 'an adjustment of prices'}"
    )
    details = {"ratio": ratio, "bars": new.height, "first": first, "last": last, "volume_inverse": inverse}
    return (Anomaly("split_or_adjustment", "warning", key, message, details),)


def _about(key: str, kind: str, days: Sequence[date], template: str) -> Anomaly | None:
    if not days:
        return None
    named = ", ".join(map(str, days[:_LISTED])) + (", ..." if len(days) > _LISTED else "")
    message = template.format(count=len(days), days=named)
    details: Mapping[str, list[str]] = {"sessions": [str(day) for day in days]}
    return Anomaly(kind, "warning", key, message, details)


def _days(bars: pl.DataFrame, odd: pl.Expr) -> list[date]:
    return bars.filter(odd)["trade_date"].to_list()


def _frozen(bars: pl.DataFrame) -> list[date]:
    """Sessions that end a run of identical bars with trades."""
    import polars as pl

    names = ("open", "high", "low", "close", "volume")
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in names) & (pl.col("volume") > 0)
    repeats = pl.sum_horizontal(
        same.shift(back, fill_value=False).cast(pl.Int64) for back in range(FROZEN_SESSIONS - 1)
    )
    return _days(bars, repeats == FROZEN_SESSIONS - 1)
