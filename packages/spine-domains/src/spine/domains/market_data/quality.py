"""What a bar must be, and what is odd about a series of bars. Frames in, records out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from market_spine.core import calendar
from market_spine.core.anomaly import Anomaly
from market_spine.core.domain import Concern
from market_spine.errors import ContentError
from spine.domains.market_data.agreement import judge_splits, nice_ratio, shown, unexplained_jumps

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.revision import RowDiff
    from spine.domains.market_data.thresholds import BarPlausibility

SETTLE = timedelta(minutes=20)
"""How long after its close a session's bar may still be partial: the delayed plans run 15 minutes late."""

FROZEN_SESSIONS = 5
"""So many identical bars in a row look like a feed that stands still."""

_RATIO_TOLERANCE = 0.05
_UNIFORM_TOLERANCE = 0.005
_PRICES = ("open", "high", "low", "close")
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


def review_series(key: str, bars: pl.DataFrame, ratios: Mapping[date, float]) -> list[Anomaly]:
    """The warnings about all bars that are known of a symbol, in session order.

    Args:
        key: the partition's key.
        bars: its bars, sorted by ``trade_date``.
        ratios: ex-date to ratio of the splits on file.
    """
    import polars as pl

    known = set(bars["trade_date"])
    missing = [day for day in sessions_of(bars["trade_date"]) if day not in known]
    outside = (pl.col("vwap") < pl.col("low")) | (pl.col("vwap") > pl.col("high"))
    found = [
        _about(key, "gap", missing, "{count} sessions have no bar: {days}"),
        _about(key, "zero_volume", _days(bars, pl.col("volume") == 0), "{count} bars have no volume: {days}"),
        _about(key, "vwap_outside", _days(bars, outside), "{count} bars have a vwap outside low to high: {days}"),
        _about(key, "frozen", _frozen(bars), "{count} bars repeat the one before them: {days}"),
        _disagreements(key, bars, ratios),
        *_left_jumps(key, bars, ratios),
    ]
    return [anomaly for anomaly in found if anomaly is not None]


def _disagreements(key: str, bars: pl.DataFrame, ratios: Mapping[date, float]) -> Anomaly | None:
    """The warning about splits on file that prices do not show, with both figures."""
    wrong = [each for each in judge_splits(bars, ratios) if not each.agrees]
    if not wrong:
        return None
    told, details = [], {}
    for each in wrong:
        seen = each.seen or 1.0
        days = ", ".join(map(str, each.days))
        told.append(f"{shown(each.reported)} of {days}, where prices moved {shown(seen)}")
        details[days] = {"reported": each.reported, "seen": round(seen, 6)}
    message = f"splits that prices do not show are not applied: {'; '.join(told)}"
    return Anomaly("split_disagrees", "warning", key, message, details)


def _left_jumps(key: str, bars: pl.DataFrame, ratios: Mapping[date, float]) -> list[Anomaly]:
    """The warnings about moves that no split on file explains."""
    jumps = unexplained_jumps(bars, ratios)
    found = []
    for kind, words, chosen in (
        ("split_like_jump", "prices and volumes jump as in a split, and no split on file agrees", True),
        ("price_jump", "prices jump, and no split on file explains it", False),
    ):
        own = {each.day: each.ratio for each in jumps if each.split_like is chosen}
        if own:
            days = list(own)
            named = ", ".join(f"{day} ({shown(own[day])})" for day in days[:_LISTED])
            more = f" and {len(days) - _LISTED} more" if len(days) > _LISTED else ""
            details = {day.isoformat(): round(ratio, 6) for day, ratio in own.items()}
            found.append(Anomaly(kind, "warning", key, f"{words}: {named}{more}", details))
    return found


def sole_bar(key: str, session: date, bars: pl.DataFrame) -> tuple[Any, ...] | None:
    """A session's prices, volume, vwap and count among some bars, as they are stored; None if it has none.

    Raises:
        ContentError: ``conflicting_bars``: it has two that differ.
    """
    import polars as pl

    names = (*_PRICES, "volume", "vwap", "trade_count")
    found = as_stored(bars.filter(pl.col("trade_date") == session)).select(names).unique()
    if found.height > 1:
        raise conflict(key, session)
    return found.row(0) if found.height else None


def as_stored(bars: pl.DataFrame) -> pl.DataFrame:
    """Bars with odd extras as null and -0 as 0."""
    import polars as pl

    count = pl.col("trade_count")
    return bars.with_columns(
        pl.when(pl.col("vwap") > 0).then(pl.col("vwap")).alias("vwap"),
        pl.when((count >= 0) & (count < 2**53)).then(count).cast(pl.Int64).alias("trade_count"),
        pl.col("volume") + 0.0,
    )


def conflict(key: str, session: date) -> ContentError:
    """The error that two bars of a session differ: which of them is right is not a question of their order."""
    return ContentError(
        f"{key}: two bars of {session} differ",
        hint="run again later; vendors answer so near midnight in New York",
        kind="conflicting_bars",
    )


def stale(key: str, last: date, latest: date) -> Anomaly:
    """The warning that the latest session that is over has no bar yet."""
    message = f"the last bar is of {last}, though the session of {latest} is over"
    return Anomaly("stale", "warning", key, message, {"last": str(last), "expected": str(latest)})


def far_bar(rules: BarPlausibility, key: str, bars: pl.DataFrame, ratios: Mapping[date, float]) -> Concern | None:
    """The reason to hold a series with a bar that is ten times its neighbours, or a tenth of them; the farthest.

    A bar is compared with the ones before and after it, the last with the one before; splits that prices agree
    with are taken into account. The first has too little beside it.
    """
    applied = {each.day: each.reported for each in judge_splits(bars, ratios) if each.agrees}
    rows = bars.select("trade_date", "high", "low").rows()
    farthest, words = 0.0, ""
    for place in range(1, len(rows)):
        day, high, low = rows[place]
        split = applied.get(day, 1.0)
        beside = [(rows[place - 1][1] / split, rows[place - 1][2] / split)]
        if place + 1 < len(rows):
            after, following_high, following_low = rows[place + 1]
            basis = applied.get(after, 1.0)
            beside.append((following_high * basis, following_low * basis))
        most, least = max(each[0] for each in beside), min(each[1] for each in beside)
        times = max(high / most, least / low)
        if times > farthest:
            farthest = times
            part = f"{times:.4g} times" if high / most == times else f"1/{times:.4g} of"
            beside_it = f"its neighbours from {least:g} to {most:g}"
            words = f"the bar of {day} goes from {low:g} to {high:g}, {beside_it}: {part} theirs"
    if farthest < rules.bar:
        return None
    return Concern(
        "implausible",
        f"{key}: {words}, and no split on file explains it; it has to be under {rules.bar:g} times",
        "if it is right, market-spine accept CAPTURE takes it; else run again later: vendors mend such bars",
    )


def partial_bars(key: str, days: Sequence[date]) -> Anomaly | None:
    """The note that bars of a session that was not over were left out."""
    note = _about(key, "partial_bar", days, "{count} bar of a session that was not over was left out: {days}")
    return note and Anomaly(note.kind, "info", key, note.message, note.details)


def review_restatement(rules: BarPlausibility, key: str, compared: int, diff: RowDiff) -> tuple[Anomaly | Concern, ...]:
    """What is odd about a range beside the bars that were known in it.

    Args:
        rules: the thresholds in effect.
        key: the partition's key.
        compared: bars in the range, those that nothing was known for included.
        diff: how it differs from what was known.
    """
    both = compared - diff.added.height
    changed = [
        (old, new)
        for old, new in zip(*(frame.select(*_PRICES, "volume").rows() for frame in (diff.old, diff.new)), strict=True)
        if old != new
    ]
    if both < rules.least_bars or len(changed) <= rules.rewritten * both or _share_one_ratio(changed):
        return _uniform_restatement(key, diff)
    first, last = diff.new["trade_date"][0], diff.new["trade_date"][-1]
    concern = Concern(
        "replaced",
        f"{key}: {len(changed)} of {both} bars from {first} to {last} differ from those known"
        f" ({len(changed) / both:.0%}; at most {rules.rewritten:.0%} may), and not by one ratio",
        "look at it with market-spine diff: the symbol may have passed to another company, or the vendor's answer"
        " be wrong; market-spine accept CAPTURE takes it",
    )
    return (concern,)


def _share_one_ratio(changed: Sequence[tuple[tuple[float, ...], tuple[float, ...]]]) -> bool:
    """Whether nine in ten of the bars that changed did so by one ratio of prices, up to rounding to cents."""
    ratios = sorted(old[3] / new[3] for old, new in changed)
    ratio = ratios[len(ratios) // 2]
    if abs(ratio - 1) < _UNIFORM_TOLERANCE:
        return False
    others = sum(
        any(
            abs(before - after * ratio) > max(_UNIFORM_TOLERANCE * before, 0.005 * ratio)
            for before, after in zip(old[:4], new[:4], strict=True)
        )
        for old, new in changed
    )
    return others <= len(changed) / 10


def _uniform_restatement(key: str, diff: RowDiff) -> tuple[Anomaly, ...]:
    """The tag of a restatement that divided bars by one ratio: a split or another adjustment.

    At least two bars must have changed, every price of them by the same ratio within half a per cent.
    """
    old, new = diff.old, diff.new
    if new.height < 2:
        return ()
    ratios = sorted(before / after for name in _PRICES for before, after in zip(old[name], new[name], strict=True))
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
