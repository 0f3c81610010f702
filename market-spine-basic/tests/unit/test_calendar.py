"""The NYSE calendar: equal to exchange_calendars, and honest about where it ends."""

from __future__ import annotations

import runpy
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core import calendar
from market_spine.errors import MarketSpineError

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def xnys() -> set[date]:
    """The sessions that exchange_calendars knows, over the whole table."""
    exchange_calendars = pytest.importorskip("exchange_calendars")
    xnys = exchange_calendars.get_calendar("XNYS", start=calendar.FIRST_DAY, end=calendar.LAST_DAY)
    return {moment.date() for moment in xnys.sessions}


def test_equals_exchange_calendars(xnys: set[date]) -> None:
    """Every day of the table is a session here exactly when exchange_calendars says so."""
    assert set(calendar.sessions(calendar.FIRST_DAY, calendar.LAST_DAY)) == xnys


def test_table_is_what_the_generator_writes(xnys: set[date]) -> None:
    """The committed table is current: the generator would write the same text."""
    script = runpy.run_path(str(REPOSITORY / "scripts/generate_calendar.py"))
    assert script["render"](calendar.FIRST_DAY, calendar.LAST_DAY) == script["TABLE"].read_text("utf-8")


def test_table_reaches_past_2035() -> None:
    """Planning works for years to come, and back to before FINRA's first week in 2014."""
    assert calendar.is_session(date(2014, 1, 2))
    assert calendar.is_session(date(2036, 1, 2))


@pytest.mark.parametrize(
    ("day", "name"),
    [
        ("2025-12-25", "Christmas"),
        ("2025-04-18", "Good Friday"),
        ("2022-06-20", "Juneteenth, observed on the Monday"),
        ("2012-10-29", "hurricane Sandy"),
        ("2018-12-05", "mourning of President G. H. W. Bush"),
        ("2025-01-09", "mourning of President Carter"),
        ("2025-11-15", "a Saturday"),
    ],
)
def test_closed_days(day: str, name: str) -> None:
    """Regular, observed and one-off closures as well as weekends are no sessions."""
    assert not calendar.is_session(date.fromisoformat(day)), name


@pytest.mark.parametrize("day", ["2021-12-31", "2025-11-28", "2025-12-24", "2025-10-13"])
def test_open_days(day: str) -> None:
    """New Year's Eve before a Saturday holiday, half days and Columbus Day are sessions."""
    assert calendar.is_session(date.fromisoformat(day))


def test_nearest_sessions() -> None:
    """A session is its own nearest one; Good Friday leads to the Monday after and the Thursday before."""
    assert calendar.next_session(date(2025, 4, 16)) == date(2025, 4, 16)
    assert calendar.previous_session(date(2025, 4, 16)) == date(2025, 4, 16)
    assert calendar.next_session(date(2025, 4, 18)) == date(2025, 4, 21)
    assert calendar.previous_session(date(2025, 4, 20)) == date(2025, 4, 17)


def test_sessions_of_a_short_week() -> None:
    """Thanksgiving week has four sessions, the half day included; a turned range has none."""
    monday, friday = date(2025, 11, 24), date(2025, 11, 28)
    assert calendar.sessions_between(monday, friday) == 4
    assert calendar.sessions(monday, friday) == [date(2025, 11, day) for day in (24, 25, 26, 28)]
    assert calendar.sessions_between(friday, monday) == 0


INSIDE = st.dates(calendar.FIRST_DAY + timedelta(days=10), calendar.LAST_DAY - timedelta(days=10))


@given(INSIDE)
def test_no_session_is_jumped_over(day: date) -> None:
    """From any day, the nearest sessions on both sides have no session between them and the day."""
    before, after = calendar.previous_session(day), calendar.next_session(day)
    assert before <= day <= after
    assert calendar.sessions(before, after) == sorted({before, after})


@pytest.mark.parametrize("day", [calendar.FIRST_DAY - timedelta(days=1), calendar.LAST_DAY + timedelta(days=1)])
def test_beyond_the_table_is_an_error(day: date) -> None:
    """A day the table does not cover is refused with its range and the way to extend it."""
    with pytest.raises(MarketSpineError) as caught:
        calendar.is_session(day)
    assert caught.value.kind == "calendar_range"
    assert str(day) in caught.value.message and str(calendar.LAST_DAY) in caught.value.message
    assert "scripts/generate_calendar.py" in caught.value.hint


def test_search_past_the_end_is_an_error() -> None:
    """The session after the last one of the table is not guessed."""
    with pytest.raises(MarketSpineError, match="outside the NYSE calendar table"):
        calendar.next_session(date(2050, 12, 31))


def test_closing_hours_equal_exchange_calendars() -> None:
    """Every session of the table ends when exchange_calendars says it does."""
    exchange_calendars = pytest.importorskip("exchange_calendars")
    xnys = exchange_calendars.get_calendar("XNYS", start=calendar.FIRST_DAY, end=calendar.LAST_DAY)
    expected = {session.date(): close.to_pydatetime() for session, close in xnys.closes.items()}
    assert {day: calendar.session_close(day) for day in expected} == expected


def test_a_closed_day_has_no_closing_hour() -> None:
    """Asking for the close of a Sunday is a mistake of the caller."""
    with pytest.raises(ValueError, match="no session"):
        calendar.session_close(date(2024, 1, 14))


@pytest.mark.parametrize(
    ("moment", "last"),
    [
        ("2025-11-28T17:59:59", "2025-11-26"),  # half day after Thanksgiving: it ends at 18:00 UTC
        ("2025-11-28T18:00:00", "2025-11-28"),
        ("2025-03-10T19:59:59", "2025-03-07"),  # first session of daylight saving time: 16:00 is 20:00 UTC
        ("2025-03-10T20:00:00", "2025-03-10"),
        ("2025-11-02T03:00:00", "2025-10-31"),  # already Sunday in UTC, still Saturday in New York
    ],
)
def test_last_closed_session(moment: str, last: str) -> None:
    """A session counts once it has ended by the clock of New York, half days and daylight saving included."""
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    assert calendar.last_closed_session(at) == date.fromisoformat(last)


def test_a_session_may_be_given_time_to_settle() -> None:
    """With twenty minutes to settle, a session counts from 16:20 on."""
    settle = timedelta(minutes=20)
    assert calendar.last_closed_session(datetime(2025, 7, 2, 20, 19, tzinfo=UTC), settle) == date(2025, 7, 1)
    assert calendar.last_closed_session(datetime(2025, 7, 2, 20, 20, tzinfo=UTC), settle) == date(2025, 7, 2)
