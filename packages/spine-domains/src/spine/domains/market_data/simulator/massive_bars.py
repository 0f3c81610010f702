"""Bars in Massive's JSON: as they are known at a moment, in today's shares or as traded, in its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from hashlib import blake2b
from typing import NamedTuple

from market_spine.core.calendar import FIRST_DAY, LAST_DAY
from spine.domains.market_data.simulator.book import Bar, Instrument
from spine.domains.market_data.simulator.trading_day import (
    CLOSE,
    ONE_DAY,
    at,
    last_closed,
    milliseconds,
    new_york,
    session_under_way,
    so_far,
)

REVISED_AT = time(11)
"""When, on the day after the session, a bar takes its lasting form."""
DELAY = timedelta(minutes=15)
SCIENTIFIC_FROM = 1e7
"""Volumes from here on are now and then written in scientific notation."""


class VendorPlan(NamedTuple):
    """What a plan includes: years of history (0: all), today's bars, fifteen minutes late or not."""

    years: int
    today: bool
    delayed: bool


PLANS = {
    "free": VendorPlan(2, today=False, delayed=False),
    "starter": VendorPlan(5, today=True, delayed=True),
    "developer": VendorPlan(10, today=True, delayed=True),
    "advanced": VendorPlan(0, today=True, delayed=False),
}


def floor_day(plan: VendorPlan, now: datetime) -> date:
    """The first day of the plan's history."""
    if not plan.years:
        return FIRST_DAY
    today = new_york(now).date()
    leap_day = (today.month, today.day) == (2, 29)
    return today.replace(year=today.year - plan.years, day=28 if leap_day else today.day)


def last_day(plan: VendorPlan, now: datetime) -> date:
    """The latest session of which the plan has a bar, if only a part of one."""
    if not plan.today:
        return min(last_closed(now), new_york(now).date() - ONE_DAY)
    seen = now - DELAY if plan.delayed else now
    return session_under_way(seen) or last_closed(seen)


def known_bars(
    instrument: Instrument, first: date, last: date, plan: VendorPlan, now: datetime, *, adjusted: bool, revisions: bool
) -> Sequence[Bar]:
    """The bars of an instrument as the vendor knows them now, oldest first.

    Args:
        instrument: whose.
        first: the first day.
        last: the last day.
        plan: what the caller may see.
        now: the moment of the request.
        adjusted: in today's shares, else as traded.
        revisions: volume, average price and trades of the latest session are provisional for a while.
    """
    today = new_york(now).date()
    seen = now - DELAY if plan.delayed else now
    under_way = session_under_way(seen)
    revised = today - ONE_DAY if now < at(today, REVISED_AT) else today
    known = []
    for final in instrument.series.between(max(first, FIRST_DAY), min(last, last_day(plan, now), LAST_DAY)):
        bar = final
        if final.day == under_way:
            bar = so_far(final, seen)
        elif revisions and final.day >= revised:
            bar = _provisional(instrument.symbol, final)
        ratio = instrument.split_ratio(bar.day, today) if adjusted else 1.0
        known.append(bar if ratio == 1.0 else _rescaled(bar, ratio))
    return known


def _provisional(symbol: str, bar: Bar) -> Bar:
    """A little more volume and trades than will stand, and another average: prices stay."""
    extra = 0.002 + 0.01 * _share(symbol, bar.day)
    volume = bar.volume * (1 + extra)
    return bar._replace(
        volume=round(volume, 6) if bar.volume % 1 else float(int(volume)),
        vwap=None if bar.vwap is None else round(bar.vwap * (1 + extra / 100), 4),
        trade_count=None if bar.trade_count is None else int(bar.trade_count * (1 + extra)) + 1,
    )


def _rescaled(bar: Bar, ratio: float) -> Bar:
    return Bar(
        bar.day,
        round(bar.open / ratio, 4),
        round(bar.high / ratio, 4),
        round(bar.low / ratio, 4),
        round(bar.close / ratio, 4),
        round(bar.volume * ratio, 6),
        None if bar.vwap is None else round(bar.vwap / ratio, 4),
        bar.trade_count,
    )


def row_text(symbol: str, bar: Bar, *, named: bool) -> str:
    """A bar as a JSON object.

    Args:
        symbol: whose.
        bar: its values.
        named: with the symbol, and with the end of the session as its time instead of midnight before it.
    """
    stamp = milliseconds(bar.day, CLOSE if named else time())
    fields = [
        f'"T":"{symbol}",' if named else "",
        f'"v":{volume_text(symbol, bar)}',
        "" if bar.vwap is None else f',"vw":{number_text(bar.vwap)}',
        f',"o":{number_text(bar.open)},"c":{number_text(bar.close)}',
        f',"h":{number_text(bar.high)},"l":{number_text(bar.low)},"t":{stamp}',
        "" if bar.trade_count is None else f',"n":{bar.trade_count}',
    ]
    return "{" + "".join(fields) + "}"


def number_text(number: float) -> str:
    """A number without a needless fraction."""
    return str(plain(number))


def plain(number: float) -> float:
    """A whole number as an integer, so that it is written without a fraction."""
    return int(number) if number == int(number) else number


def volume_text(symbol: str, bar: Bar) -> str:
    """A volume; of the large ones half are in scientific notation, as ``7.0790813e+07``."""
    if bar.volume < SCIENTIFIC_FROM or _share(symbol, bar.day) < 0.5:
        return number_text(bar.volume)
    # The fewest digits that stand for the same number; 16 after the point always do.
    texts = (f"{bar.volume:.{digits}e}" for digits in range(17))
    return next(text for text in texts if float(text) == bar.volume)


def _share(symbol: str, day: date) -> float:
    """A number in [0, 1) that follows from the symbol and the day."""
    return int.from_bytes(blake2b(f"{symbol}|{day}".encode(), digest_size=4).digest()) / 2**32
