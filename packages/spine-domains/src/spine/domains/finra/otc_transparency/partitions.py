"""FINRA's partitions: trading weeks and tiers, how they are spelt, and when each is published.

FINRA publishes Tier 1 three weeks and everything else five weeks after the Monday of the trading week,
on that Monday or, if the exchange is closed, on its next session (facts: ``initialPublishedDate`` of 222
weeks). All days are New York dates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from market_spine.core.calendar import FIRST_DAY, next_session
from market_spine.core.domain import Publication
from market_spine.core.partition import Partition
from market_spine.errors import UsageError
from spine.domains.finra.otc_transparency.schema import NAME, TIERS

_DELAYS = {"NMS_TIER_1": timedelta(days=21), "NMS_TIER_2": timedelta(days=35), "OTC": timedelta(days=35)}
"""From the Monday of the trading week to the Monday of publication."""

_SPELLINGS = {
    "NMS_TIER_1": ("NMSTIER1", "TIER1", "T1"),
    "NMS_TIER_2": ("NMSTIER2", "TIER2", "T2"),
    "OTC": ("OTC", "OTCE"),
}
_TIER_OF = {spelling: tier for tier, spellings in _SPELLINGS.items() for spelling in spellings}

_SHAPE = "a key is WEEK_ENDING|TIER, such as 2025-01-03|NMS_TIER_1"
_DAY = r"(?<!\d)(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})(?!\d)"

ROLLING_WEEKS = 6
"""Calendar weeks of a rolling window, the partition's own included."""

_MONDAY_TO_FRIDAY = timedelta(days=4)
_WEEK = timedelta(weeks=1)


class WeekPlan(NamedTuple):
    """What a run is asked to do.

    Attributes:
        partitions: oldest week first, then in the order of ``TIERS``.
        warnings: sentences for the result, such as what a date was mapped to.
    """

    partitions: tuple[Partition, ...]
    warnings: tuple[str, ...] = ()


def find_tier(spelling: str) -> str | None:
    """The tier a text means (``T1``, ``NMS Tier 1``, ``tier1``, ``OTCE``, ...), in any case; None if none.

    FINRA's undocumented code ``NMS`` means no tier: its rows repeat those of ``T1``.
    """
    return _TIER_OF.get("".join(spelling.replace("_", " ").replace("-", " ").split()).upper())


def parse_tier(spelling: str) -> str:
    """The tier a user named; raises UsageError naming the tiers there are."""
    tier = find_tier(spelling)
    if tier is None:
        raise UsageError(f"unknown tier {spelling!r}", hint=f"use one of {', '.join(TIERS)}")
    return tier


def make_partition(week_ending: date, tier: str) -> Partition:
    """The partition of a week and tier."""
    return Partition(NAME, (week_ending.isoformat(), tier))


def parse_partition(key: str) -> Partition:
    """Check and build a partition from its key, such as ``2025-01-03|NMS_TIER_1``; raises UsageError."""
    week_text, bar, tier_text = key.partition("|")
    if not bar:
        raise UsageError(f"{key!r} is not a partition key", hint=_SHAPE)
    try:
        day = date.fromisoformat(week_text if len(week_text) == len("YYYY-MM-DD") else "")
        friday = week_ending_of(day)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{week_text!r} in {key!r} is not a date", hint=_SHAPE) from error
    if day != friday:
        raise UsageError(
            f"{week_text} in {key!r} is a {day:%A}, a week ends on its Friday",
            hint=f"the Friday of that week is {friday}",
        )
    return make_partition(friday, parse_tier(tier_text))


def read_typed(text: str) -> tuple[str | None, str | None]:
    """Week and tier as a person types them: any day of the week and any name of the tier, in any order, one of
    them left out (``2025-11-21/OTC``, ``t1 2025-11-17``, ``20251121``); raises UsageError."""
    found = re.search(_DAY, text)
    week = None
    if found:
        try:
            week = week_ending_of(date(*map(int, found.groups()))).isoformat()
        except (ValueError, OverflowError) as error:
            raise UsageError(f"{found[0]!r} in {text!r} is not a date", hint=_SHAPE) from error
    rest = text.replace(found[0], " ", 1) if found else text
    tier = rest.strip(" |/:,@;.-_") or None
    if week is None and (tier is None or find_tier(tier) is None):
        raise UsageError(f"{text!r} is not a partition key", hint=_SHAPE)
    return week, parse_tier(tier) if tier else None


def week_and_tier(partition: Partition) -> tuple[date, str]:
    """The two values of a partition."""
    week_ending, tier = partition.values
    return date.fromisoformat(week_ending), tier


def week_ending_of(day: date) -> date:
    """The Friday of the Monday-based week that holds ``day``; a weekend belongs to the week before it."""
    return monday_of(day) + _MONDAY_TO_FRIDAY


def publication_date(week_ending: date, tier: str) -> date:
    """The session on which FINRA first publishes a week of a tier."""
    return next_session(monday_of(week_ending) + _DELAYS[tier])


def week_of_publication(day: date, tier: str) -> date:
    """The week (its Friday) that FINRA publishes for a tier in the calendar week of ``day``.

    The rule: Monday of the ISO week of ``day``, less the tier's delay. A week whose publication moved from
    a holiday Monday to a later session is found too, since that session lies in the same calendar week.
    """
    return monday_of(day) - _DELAYS[tier] + _MONDAY_TO_FRIDAY


def publication(partition: Partition, today: date) -> Publication:
    """Where a partition stands in FINRA's calendar: not due, due on this very day, or published."""
    week_ending, tier = week_and_tier(partition)
    # The calendar table need not reach as far as a week that lies years ahead.
    if week_ending > week_of_publication(today, tier):
        return Publication.NOT_DUE
    published = publication_date(week_ending, tier)
    if today < published:
        return Publication.NOT_DUE
    return Publication.DUE if today == published else Publication.PUBLISHED


def plan(today: date, lookback_weeks: int, weeks: Sequence[date], tiers: Sequence[str]) -> WeekPlan:
    """Choose the partitions of a run.

    Args:
        today: New York date, or ``--run-date``.
        lookback_weeks: how many of the latest weeks published by ``today`` to take of each tier; the
            publication day itself counts as published.
        weeks: explicit weeks, any date in each; they win over the lookback and are never clamped.
        tiers: the tiers to take.

    Raises:
        UsageError: the lookback reaches beyond the NYSE calendar.
        MarketSpineError: kind ``calendar_range``, if ``today`` lies outside it.
    """
    chosen: set[tuple[date, str]] = set()
    warnings: list[str] = []
    for day in dict.fromkeys(weeks):
        friday = week_ending_of(day)
        if day != friday:
            warnings.append(f"Week {day} is a {day:%A}: mapped to the week ending {friday}.")
        chosen.update((friday, tier) for tier in tiers)
    if not weeks:
        for tier in tiers:
            latest = _latest_published(today, tier)
            chosen.update((week_ending, tier) for week_ending in _weeks_back(latest, lookback_weeks))
    return WeekPlan(tuple(make_partition(*item) for item in _in_order(chosen)), tuple(warnings))


def between(today: date, first: date, last: date | None, tiers: Sequence[str]) -> WeekPlan:
    """Every week of the tiers from the one that holds ``first`` to the one that holds ``last``.

    Args:
        today: New York date, or ``--run-date``.
        first: any day of the first week.
        last: any day of the last week; None: the latest that each tier has published by ``today``.
        tiers: the tiers to take.

    Raises:
        UsageError: the weeks run backwards, or begin before the NYSE calendar.
        MarketSpineError: kind ``calendar_range``, if ``last`` lies beyond it.
    """
    if first < FIRST_DAY:
        raise UsageError(
            f"--from {first} lies before the NYSE calendar, which begins on {FIRST_DAY}", hint="name a later day"
        )
    if last is not None and last < first:
        raise UsageError(f"--from {first} lies after --to {last}", hint="name the earlier day first")
    if last is not None:
        next_session(last)
    chosen: list[tuple[date, str]] = []
    earliest = week_ending_of(first)
    for tier in tiers:
        week_ending = week_ending_of(last) if last else _latest_published(today, tier)
        while week_ending >= earliest:
            chosen.append((week_ending, tier))
            week_ending -= _WEEK
    return WeekPlan(tuple(make_partition(*item) for item in _in_order(chosen)))


def _in_order(weeks: Iterable[tuple[date, str]]) -> list[tuple[date, str]]:
    """Weeks of tiers, the oldest first."""
    return sorted(weeks, key=lambda item: (item[0], TIERS.index(item[1])))


def in_order(found: Iterable[Partition]) -> list[Partition]:
    """Partitions, oldest week first, then in the order of ``TIERS``."""
    return [make_partition(*item) for item in _in_order({week_and_tier(each) for each in found})]


def grid(today: date, count: int) -> list[list[Partition]]:
    """The latest ``count`` weeks, newest first, each with all tiers.

    It starts with the latest week that any tier has published, so the slower tiers head it with ``not due``.
    """
    newest = max(_latest_published(today, tier) for tier in TIERS)
    return [[make_partition(week_ending, tier) for tier in TIERS] for week_ending in _weeks_back(newest, count)]


def upcoming(today: date, count: int) -> list[Partition]:
    """The next ``count`` partitions that FINRA publishes, ``today`` included, soonest first."""
    ahead: list[tuple[date, date, str]] = []
    for tier in TIERS:
        # From the week of the calendar week before: a holiday may have moved its publication to today.
        week_ending = week_of_publication(today, tier) - _WEEK
        found = 0
        while found < count:
            if (day := publication_date(week_ending, tier)) >= today:
                ahead.append((day, week_ending, tier))
                found += 1
            week_ending += _WEEK
    ahead.sort(key=lambda each: (each[0], each[1], TIERS.index(each[2])))
    return [make_partition(week_ending, tier) for _, week_ending, tier in ahead[:count]]


def weeks_ending_with(partition: Partition, count: int) -> list[Partition]:
    """``count`` calendar weeks of the partition's tier, oldest first, the partition itself last."""
    week_ending, tier = week_and_tier(partition)
    return [make_partition(week_ending - number * _WEEK, tier) for number in reversed(range(count))]


def _weeks_back(latest: date, count: int) -> list[date]:
    """So many weeks, the latest first."""
    most = (latest - FIRST_DAY) // _WEEK
    if count > most:
        raise UsageError(
            f"{count} weeks back from {latest} reach beyond the NYSE calendar, which begins on {FIRST_DAY}",
            hint=f"ask for at most {most}",
        )
    return [latest - number * _WEEK for number in range(count)]


def _latest_published(today: date, tier: str) -> date:
    next_session(today)  # a day that the calendar does not know is refused before anything is reckoned from it
    week_ending = week_of_publication(today, tier)
    return week_ending if publication_date(week_ending, tier) <= today else week_ending - _WEEK


def monday_of(day: date) -> date:
    """The Monday of the week that holds ``day``."""
    return day - timedelta(days=day.weekday())
