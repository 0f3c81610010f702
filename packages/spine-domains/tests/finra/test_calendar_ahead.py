"""What is expected to be published next, on which day, and where it is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from market_spine.cli.main import root, run
from spine.domains.finra.otc_transparency import DOMAIN, partitions

Told = Callable[..., Any]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """The JSON document that a command writes."""

    def call(*arguments: str) -> Any:
        assert run(root, [*arguments, "--json"], "market-spine") == 0
        return json.loads(capsys.readouterr().out)

    return call


def test_the_next_partitions_are_those_of_finras_calendar() -> None:
    """Around Thanksgiving 2026, by hand: Monday + 21 days for Tier 1, + 35 for the others, today included."""
    ahead = [(DOMAIN.publication_day(each), each.key) for each in partitions.upcoming(date(2026, 11, 23), 5)]
    assert ahead == [
        (date(2026, 11, 23), "2026-10-23|NMS_TIER_2"),
        (date(2026, 11, 23), "2026-10-23|OTC"),
        (date(2026, 11, 23), "2026-11-06|NMS_TIER_1"),
        (date(2026, 11, 30), "2026-10-30|NMS_TIER_2"),
        (date(2026, 11, 30), "2026-10-30|OTC"),
    ]


def test_a_holiday_moves_the_expected_day_to_tuesday() -> None:
    """On the Tuesday after Labor Day 2026 that day's partitions are still ahead; on Wednesday they are not."""
    on_tuesday = partitions.upcoming(date(2026, 9, 8), 1)
    assert [each.key for each in on_tuesday] == ["2026-08-07|NMS_TIER_2"]
    assert partitions.publication_date(date(2026, 8, 7), "NMS_TIER_2") == date(2026, 9, 8)
    assert [each.key for each in partitions.upcoming(date(2026, 9, 9), 1)] == ["2026-08-14|NMS_TIER_2"]


def test_the_calendar_command_shows_days_and_partitions(told: Told) -> None:
    """As JSON: soonest first, as many as were asked for."""
    shown = told("calendar", "--domain", "finra", "--run-date", "2026-11-24", "--count", "2")
    assert shown == [
        {"domain": DOMAIN.name, "expected": "2026-11-30", "partition_key": "2026-10-30|NMS_TIER_2"},
        {"domain": DOMAIN.name, "expected": "2026-11-30", "partition_key": "2026-10-30|OTC"},
    ]


def test_status_says_until_when_a_partition_is_not_due(
    told: Told, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The slower tiers of the newest week are due a fortnight later."""
    db = str(tmp_path / "a.db")
    run(root, ["db", "upgrade", "--db", db], "market-spine")
    capsys.readouterr()
    arguments = ("status", "--domain", "finra", "--run-date", "2026-11-24", "--weeks", "1", "--db", db)
    (shown,) = told(*arguments)
    assert [(each["partition_key"], each["state"], each["expected"]) for each in shown["partitions"]] == [
        ("2026-11-06|NMS_TIER_1", "not_loaded", None),
        ("2026-11-06|NMS_TIER_2", "not_due", "2026-12-07"),
        ("2026-11-06|OTC", "not_due", "2026-12-07"),
    ]
