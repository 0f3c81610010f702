"""The trading day in New York: when it opens and closes, and what of a bar exists by some moment."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from market_spine.core.calendar import is_session, previous_session
from spine.domains.market_data.simulator.book import Bar

NEW_YORK = ZoneInfo("America/New_York")
OPEN = time(9, 30)
CLOSE = time(16)
HALF_DAY_CLOSE = time(13)
ONE_DAY = timedelta(days=1)


def new_york(moment: datetime) -> datetime:
    """A moment on New York's clock."""
    return moment.astimezone(NEW_YORK)


def at(day: date, clock: time) -> datetime:
    """A time of day in New York."""
    return datetime.combine(day, clock, NEW_YORK)


def milliseconds(day: date, clock: time = time()) -> int:
    """A time of day in New York as milliseconds since 1970."""
    return int(at(day, clock).timestamp()) * 1000


def day_of(stamp: int) -> date:
    """The New York day in which a moment, in milliseconds since 1970, lies."""
    return datetime.fromtimestamp(stamp / 1000, NEW_YORK).date()


def is_half_day(day: date) -> bool:
    """Whether a session closes at 13:00: 3 July, the day after Thanksgiving, 24 December, where they are sessions.

    The exchange's rule since 2013; the years before it had other half days.
    """
    after_thanksgiving = day.month == 11 and day.weekday() == 4 and 23 <= day.day <= 29
    return is_session(day) and (after_thanksgiving or (day.month, day.day) in {(7, 3), (12, 24)})


def closes_at(day: date) -> datetime:
    """When a session closes."""
    return at(day, HALF_DAY_CLOSE if is_half_day(day) else CLOSE)


def session_under_way(now: datetime) -> date | None:
    """The session that has opened and not yet closed."""
    today = new_york(now).date()
    return today if is_session(today) and at(today, OPEN) <= now < closes_at(today) else None


def last_closed(now: datetime) -> date:
    """The latest session that has closed."""
    today = new_york(now).date()
    return today if is_session(today) and closes_at(today) <= now else previous_session(today - ONE_DAY)


def so_far(bar: Bar, now: datetime) -> Bar:
    """The part of a session's bar that has happened by ``now``, which lies inside the session.

    The price is taken to run in straight lines from the open over the low and the high to the close, in three
    equal parts of the session, and the volume to flow evenly.
    """
    opening = at(bar.day, OPEN)
    part = (now - opening) / (closes_at(bar.day) - opening)
    path = (bar.open, bar.low, bar.high, bar.close)
    leg = min(int(part * 3), 2)
    last = path[leg] + (path[leg + 1] - path[leg]) * (part * 3 - leg)
    last = round(last, 4)
    seen = (*path[: leg + 1], last)
    return Bar(
        bar.day,
        bar.open,
        max(seen),
        min(seen),
        last,
        float(int(bar.volume * part)),
        None if bar.vwap is None else round(sum(seen) / len(seen), 4),
        None if bar.trade_count is None else int(bar.trade_count * part),
    )
