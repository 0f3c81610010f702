"""The exchange's sessions as a view in the SQL of each database: made of the calendar's closures, kept nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import cache

from market_spine.core.calendar import CLOSURES, EARLY_CLOSES, FIRST_DAY, LAST_DAY

NAME = "core_sessions"
KINDS = {"session": "date", "number": "integer", "week_ending": "date", "early_close": "boolean"}
"""Columns and their kinds: ``number`` counts sessions from 1, ``week_ending`` is the Friday of the week."""


@cache
def for_sqlite() -> str:
    """SELECT of the sessions in SQLite, where dates are texts."""
    return (
        f"WITH RECURSIVE days (day) AS (SELECT '{FIRST_DAY}' UNION ALL"
        f" SELECT date(day, '+1 day') FROM days WHERE day < '{LAST_DAY}')\n"
        "SELECT day AS session, ROW_NUMBER() OVER (ORDER BY day) AS number, date(day, 'weekday 5') AS week_ending,\n"
        f"       day IN ({_listed(EARLY_CLOSES)}) AS early_close\n"
        f"  FROM days WHERE strftime('%w', day) NOT IN ('0', '6') AND day NOT IN ({_listed(CLOSURES)})"
    )


@cache
def for_postgres() -> str:
    """SELECT of the sessions in PostgreSQL."""
    last = (LAST_DAY - FIRST_DAY).days
    return (
        "SELECT day AS session, ROW_NUMBER() OVER (ORDER BY day) AS number,\n"
        "       day + (5 - EXTRACT(ISODOW FROM day)::integer) AS week_ending,\n"
        f"       day = ANY (ARRAY[{_listed(EARLY_CLOSES)}]::date[]) AS early_close\n"
        f"  FROM (SELECT DATE '{FIRST_DAY}' + n AS day FROM generate_series(0, {last}) AS n) AS d\n"
        " WHERE EXTRACT(ISODOW FROM day) < 6\n"
        f"   AND day NOT IN (SELECT unnest(ARRAY[{_listed(CLOSURES)}]::date[]))"
    )


def _listed(days: Iterable[date]) -> str:
    return ", ".join(f"'{day}'" for day in sorted(days))
