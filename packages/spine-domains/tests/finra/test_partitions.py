"""Weeks, tiers and FINRA's publication calendar."""

from __future__ import annotations

import json
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.domain import Publication
from market_spine.errors import MarketSpineError, UsageError
from spine.domains.finra.otc_transparency import partitions
from spine.domains.finra.otc_transparency.schema import TIERS

DAYS = st.dates(date(2014, 6, 2), date(2049, 12, 31))


@pytest.mark.parametrize(
    ("monday", "tier", "published"),
    [
        ("2025-11-10", "NMS_TIER_1", "2025-12-01"),
        ("2025-11-10", "OTC", "2025-12-15"),
        ("2026-08-17", "NMS_TIER_2", "2026-09-21"),
        ("2026-08-24", "NMS_TIER_2", "2026-09-28"),
        ("2026-08-03", "OTC", "2026-09-08"),  # Labor Day
        ("2024-12-30", "NMS_TIER_1", "2025-01-21"),  # Martin Luther King Day
        ("2025-05-05", "NMS_TIER_1", "2025-05-27"),  # Memorial Day
        ("2023-05-29", "NMS_TIER_1", "2023-06-20"),  # Juneteenth
        ("2022-06-13", "NMS_TIER_1", "2022-07-05"),  # Independence Day
        ("2022-12-05", "NMS_TIER_1", "2022-12-27"),  # Christmas, observed
        ("2023-12-11", "NMS_TIER_1", "2024-01-02"),  # New Year
        ("2025-09-22", "NMS_TIER_1", "2025-10-13"),  # Columbus Day: the exchange is open
        ("2024-10-21", "NMS_TIER_1", "2024-11-11"),  # Veterans Day: the exchange is open
    ],
)
def test_publication_dates(monday: str, tier: str, published: str) -> None:
    """A week is published 21 or 35 days after its Monday, on the next session if the exchange is closed."""
    week_ending = date.fromisoformat(monday) + timedelta(days=4)
    assert partitions.publication_date(week_ending, tier) == date.fromisoformat(published)


@pytest.mark.samples
def test_publication_dates_of_four_years(finra_samples: Path) -> None:
    """The calendar gives FINRA's own initialPublishedDate for every one of 222 recorded weeks."""
    path = finra_samples / "api" / "weeklySummary_AAPL_T1_ATS_W_SMBL_FIRM.json"
    published = {
        row["weekStartDate"]: row["initialPublishedDate"]
        for row in json.loads(path.read_text())
        if row["tierIdentifier"] == "T1"
    }
    assert len(published) == 222
    ours = {
        monday: partitions.publication_date(date.fromisoformat(monday) + timedelta(days=4), "NMS_TIER_1").isoformat()
        for monday in published
    }
    assert ours == published


@given(DAYS, st.sampled_from(TIERS))
def test_publication_day_leads_back_to_its_week(day: date, tier: str) -> None:
    """Turned back through the calendar, a publication date names the week that is published on it."""
    week_ending = partitions.week_ending_of(day)
    published = partitions.publication_date(week_ending, tier)
    assert partitions.week_of_publication(published, tier) == week_ending


@given(DAYS)
def test_week_ending_is_the_friday_of_the_week(day: date) -> None:
    """Every day from Monday to Sunday belongs to the week that ends on the Friday between them."""
    friday = partitions.week_ending_of(day)
    assert friday.weekday() == 4
    assert friday.isocalendar()[:2] == day.isocalendar()[:2]


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        ("2025-05-26", Publication.NOT_DUE),
        ("2025-05-27", Publication.DUE),
        ("2025-05-28", Publication.PUBLISHED),
    ],
)
def test_publication_on_a_holiday_monday(today: str, expected: Publication) -> None:
    """A week whose Monday of publication is a holiday is due on the Tuesday and late from the Wednesday."""
    partition = partitions.parse_partition("2025-05-09|NMS_TIER_1")
    assert partitions.publication(partition, date.fromisoformat(today)) is expected


def test_a_week_far_ahead_is_not_due() -> None:
    """A week beyond the calendar table is simply not due."""
    partition = partitions.parse_partition("9999-12-31|OTC")
    assert partitions.publication(partition, date(2025, 1, 6)) is Publication.NOT_DUE


def test_plan_takes_the_latest_published_weeks_of_each_tier() -> None:
    """The lookback gives each tier its own latest published weeks, oldest week first, then by tier."""
    plan = partitions.plan(date(2025, 12, 23), 2, [], TIERS)
    assert [partition.key for partition in plan.partitions] == [
        "2025-11-14|NMS_TIER_2",
        "2025-11-14|OTC",
        "2025-11-21|NMS_TIER_2",
        "2025-11-21|OTC",
        "2025-11-28|NMS_TIER_1",
        "2025-12-05|NMS_TIER_1",
    ]
    assert plan.warnings == ()


@pytest.mark.parametrize(("today", "latest"), [("2025-12-21", "2025-11-14"), ("2025-12-22", "2025-11-21")])
def test_plan_counts_the_publication_day_as_published(today: str, latest: str) -> None:
    """A week enters the lookback on the day it is published, not before."""
    plan = partitions.plan(date.fromisoformat(today), 1, [], ["OTC"])
    assert [partition.key for partition in plan.partitions] == [f"{latest}|OTC"]


@given(DAYS, st.integers(1, 60))
def test_plan_of_a_lookback_is_complete_and_published(today: date, lookback: int) -> None:
    """A lookback of N gives N published weeks for each tier, and the week after them is not published."""
    plan = partitions.plan(today, lookback, [], TIERS)
    for tier in TIERS:
        weeks = [
            date.fromisoformat(partition.values[0]) for partition in plan.partitions if partition.values[1] == tier
        ]
        assert len(weeks) == lookback
        assert all(later - earlier == timedelta(weeks=1) for earlier, later in pairwise(weeks))
        assert partitions.publication_date(weeks[-1], tier) <= today
        assert partitions.publication_date(weeks[-1] + timedelta(weeks=1), tier) > today


def test_plan_of_named_weeks() -> None:
    """Named weeks win over the lookback, are mapped to their Friday with a warning, and counted once."""
    named = [date(2025, 12, 22), date(2025, 12, 15), date(2025, 12, 19)]
    plan = partitions.plan(date(2025, 12, 23), 4, named, ["OTC"])
    assert [partition.key for partition in plan.partitions] == ["2025-12-19|OTC", "2025-12-26|OTC"]
    assert plan.warnings == (
        "Week 2025-12-22 is a Monday: mapped to the week ending 2025-12-26.",
        "Week 2025-12-15 is a Monday: mapped to the week ending 2025-12-19.",
    )


@pytest.mark.parametrize(
    ("spelling", "tier"),
    [
        *[(text, "NMS_TIER_1") for text in ("NMS_TIER_1", "T1", "tier1", "NMS Tier 1", "nms_tier_1")],
        *[(text, "NMS_TIER_2") for text in ("NMS_TIER_2", "T2", "tier2", "NMS Tier 2")],
        *[(text, "OTC") for text in ("OTC", "OTCE", "otc")],
    ],
)
def test_tier_spellings(spelling: str, tier: str) -> None:
    """Every spelling of FINRA's API, files and file names means its tier."""
    assert partitions.parse_tier(spelling) == tier


@pytest.mark.parametrize("spelling", ["NMS", "NA", "", "T3", "NMS Tier"])
def test_other_tiers_are_refused(spelling: str) -> None:
    """What is no tier, FINRA's undocumented NMS included, is refused with the tiers there are."""
    assert partitions.find_tier(spelling) is None
    with pytest.raises(UsageError) as caught:
        partitions.parse_tier(spelling)
    assert "NMS_TIER_1, NMS_TIER_2, OTC" in caught.value.hint


def test_partition_key() -> None:
    """A partition key reads back as the partition it names."""
    partition = partitions.parse_partition("2025-01-03|NMS_TIER_1")
    assert partition == partitions.make_partition(date(2025, 1, 3), "NMS_TIER_1")
    assert partition.key == "2025-01-03|NMS_TIER_1"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("2025-01-03", "is not a partition key"),
        ("AAPL|polygon", "is not a date"),
        ("20250103|OTC", "is not a date"),
        ("2025-02-30|OTC", "is not a date"),
        ("2025-01-03|T9", "unknown tier 'T9'"),
        ("2025-01-06|OTC", "2025-01-06 in '2025-01-06|OTC' is a Monday"),
    ],
)
def test_bad_partition_keys(key: str, message: str) -> None:
    """A key that names no partition is refused with what is wrong with it and what a key looks like."""
    with pytest.raises(UsageError) as caught:
        partitions.parse_partition(key)
    assert message in caught.value.message
    assert caught.value.hint


def test_a_key_of_another_day_names_the_friday() -> None:
    """A key whose date is no Friday is refused, and the right Friday is named."""
    with pytest.raises(UsageError) as caught:
        partitions.parse_partition("2025-01-06|OTC")
    assert "2025-01-10" in caught.value.hint


def test_grid() -> None:
    """The status grid holds whole weeks, newest first, from the latest week that any tier has published."""
    rows = partitions.grid(date(2025, 12, 23), 3)
    assert [[partition.key for partition in row] for row in rows] == [
        [f"{week}|{tier}" for tier in TIERS] for week in ("2025-12-05", "2025-11-28", "2025-11-21")
    ]


def test_weeks_of_a_window() -> None:
    """A window holds calendar weeks of one tier, oldest first, the partition last."""
    window = partitions.weeks_ending_with(partitions.parse_partition("2025-01-10|OTC"), 3)
    assert [partition.key for partition in window] == ["2024-12-27|OTC", "2025-01-03|OTC", "2025-01-10|OTC"]


@pytest.mark.parametrize("count", [1_719, 999_999_999_999])
def test_weeks_before_the_calendar_are_refused(count: int) -> None:
    """More weeks than the NYSE calendar has, in a plan and in the grid, are a usage error that says how many it has."""
    with pytest.raises(UsageError, match="1993-01-01") as lookback:
        partitions.plan(date(2025, 12, 23), count, [], TIERS)
    with pytest.raises(UsageError) as shown:
        partitions.grid(date(2025, 12, 23), count)
    assert lookback.value.hint == shown.value.hint == "ask for at most 1718"


@pytest.mark.parametrize("today", [date.min, date.max])
def test_a_day_outside_the_calendar_is_refused(today: date) -> None:
    """No week is reckoned from a day that the NYSE calendar does not cover."""
    with pytest.raises(MarketSpineError) as refused:
        partitions.plan(today, 4, [], TIERS)
    assert refused.value.kind == "calendar_range"
