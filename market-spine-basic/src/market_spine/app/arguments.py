"""Checks what a user gave for a flag; every complaint names the flag, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import date, timedelta
from typing import Any

from market_spine.errors import UsageError


def whole_number(flag: str, value: Any, *, least: int) -> int:
    """A whole number of at least ``least``, given as a number or as text."""
    try:
        number = int(str(value))
    except ValueError:
        number = least - 1
    if number < least:
        raise refused(flag, value, f"a whole number of at least {least}")
    return number


def choice(flag: str, value: Any, allowed: Collection[str]) -> str:
    """One of the allowed words."""
    if value not in allowed:
        raise refused(flag, value, f"one of {', '.join(allowed)}")
    return str(value)


def choices(
    flag: str,
    value: str | Sequence[str] | None,
    allowed: Collection[str],
    spelt: Callable[[str], str | None] = lambda word: word,
) -> tuple[str, ...]:
    """Some of the allowed words, comma-separated or as a sequence, in the order of ``allowed``; None: all.

    ``spelt`` gives the allowed word that another spelling means.
    """
    if value is None:
        return tuple(allowed)
    wanted = set()
    for word in _items(flag, value, f"some of {', '.join(allowed)}, comma-separated"):
        if (meant := spelt(str(word))) not in allowed:
            raise refused(flag, word, f"some of {', '.join(allowed)}, comma-separated")
        wanted.add(meant)
    return tuple(word for word in allowed if word in wanted)


def day(flag: str, value: str | date, allowed: str = "a date as YYYY-MM-DD") -> date:
    """A date, given as ``YYYY-MM-DD`` or as a date; ``allowed`` is what a complaint says the flag takes."""
    if isinstance(value, date):
        return value
    try:
        if len(value) != len("YYYY-MM-DD"):
            raise ValueError(value)
        return date.fromisoformat(value)
    except ValueError as error:
        raise refused(flag, value, allowed) from error


def day_or_weeks_back(flag: str, value: str | date, today: date) -> date:
    """A day given as a date, or as so many weeks back from today, such as ``26w``."""
    allowed = "a date as YYYY-MM-DD, or weeks back from today such as 26w"
    text = str(value).strip()
    if not text.endswith("w"):
        return day(flag, value, allowed)
    number = text.removesuffix("w")
    try:
        if not (number.isascii() and number.isdigit()):
            raise ValueError(number)
        return today - timedelta(weeks=int(number))
    except (ValueError, OverflowError) as error:
        raise refused(flag, value, allowed) from error


def days(
    flag: str, value: str | Sequence[str | date], allowed: str = "dates as YYYY-MM-DD, comma-separated"
) -> tuple[date, ...]:
    """Dates, comma-separated as ``YYYY-MM-DD`` or as a sequence."""
    return tuple(day(flag, item, allowed) for item in _items(flag, value, allowed))


def refused(flag: str, value: Any, allowed: str) -> UsageError:
    """The complaint about a flag's value."""
    return UsageError(f"{flag}: {str(value)!r} is not allowed; it takes {allowed}")


def _items(flag: str, value: str | Sequence[Any], allowed: str) -> list[Any]:
    if isinstance(value, str):
        value = [item.strip() for item in value.split(",") if item.strip()]
    if not value:
        raise refused(flag, "", allowed)
    return list(value)
