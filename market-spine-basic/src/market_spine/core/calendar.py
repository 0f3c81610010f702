"""NYSE sessions: which days the exchange (XNYS) is open. Days are exchange-local dates.

Closures and early closes are a generated table, since importing a calendar library costs more than a whole
run in which nothing changed. Half days count as sessions. A day outside the table is an error, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from market_spine.core import _xnys
from market_spine.errors import MarketSpineError

FIRST_DAY = date.fromisoformat(_xnys.FIRST)
LAST_DAY = date.fromisoformat(_xnys.LAST)
ZONE = ZoneInfo("America/New_York")
"""Where the exchange keeps its days and hours."""


def _days(table: Mapping[int, str]) -> frozenset[date]:
    return frozenset(date.fromisoformat(f"{year}-{day}") for year, days in table.items() for day in days.split())


CLOSURES = _days(_xnys.CLOSURES)
"""Weekdays without a session."""
EARLY_CLOSES = _days(_xnys.EARLY_CLOSES)
"""Sessions that end at 13:00 instead of 16:00."""

_DAY = timedelta(days=1)


def is_session(day: date) -> bool:
    """Whether the exchange opens on ``day``.

    Raises:
        MarketSpineError: kind ``calendar_range``, if the table does not cover ``day``.
    """
    if not FIRST_DAY <= day <= LAST_DAY:
        raise MarketSpineError(
            f"{day} is outside the NYSE calendar table, which covers {FIRST_DAY} to {LAST_DAY}",
            kind="calendar_range",
            hint="use a day inside it, or extend the table: python scripts/generate_calendar.py --last YYYY-MM-DD",
        )
    return day.weekday() < 5 and day not in CLOSURES


def next_session(day: date) -> date:
    """The first session on or after ``day``; raises as ``is_session`` does."""
    while not is_session(day):
        day += _DAY
    return day


def previous_session(day: date) -> date:
    """The last session on or before ``day``; raises as ``is_session`` does."""
    while not is_session(day):
        day -= _DAY
    return day


def sessions(first: date, last: date) -> list[date]:
    """The sessions from ``first`` to ``last``, both included, in order; raises as ``is_session`` does."""
    days = (first + timedelta(offset) for offset in range((last - first).days + 1))
    return [day for day in days if is_session(day)]


def sessions_between(first: date, last: date) -> int:
    """How many sessions lie from ``first`` to ``last``, both included; raises as ``is_session`` does."""
    return len(sessions(first, last))


def session_close(day: date) -> datetime:
    """The moment (UTC) at which the session of ``day`` ends; raises as ``is_session`` does.

    Raises:
        ValueError: there is no session on ``day``.
    """
    if not is_session(day):
        raise ValueError(f"{day} is no session")
    return datetime.combine(day, time(13 if day in EARLY_CLOSES else 16), ZONE).astimezone(UTC)


def last_closed_session(moment: datetime, settle: timedelta = timedelta()) -> date:
    """The latest session that had ended at least ``settle`` before ``moment``; raises as ``is_session`` does."""
    day = previous_session(moment.astimezone(ZONE).date())
    return day if session_close(day) + settle <= moment else previous_session(day - _DAY)
