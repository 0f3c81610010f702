"""``next_publication``: the result says when there is something new for what was selected."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from market_spine.app.publication import next_publication
from market_spine.app.scheduling import SchedulerResult
from market_spine.core.partition import Partition
from market_spine.testing import run_command
from spine.domains.finra.otc_transparency import DOMAIN, partitions
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule
from spine.domains.market_data.scheduler import run_prices_schedule

WEEKS = 2
"""How many weeks of each tier are selected."""


def _key(week_ending: str, tier: str) -> str:
    return f"{week_ending}|{tier}"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the scheduler on the files that were published before a day."""
    for name in ("DATABASE_URL", "FINRA_DATA_DIR", "FINRA_SOURCE"):
        monkeypatch.delenv(name, raising=False)

    def run(day: str, published: str | None = None, **flags: Any) -> SchedulerResult:
        folder = tmp_path / "files"
        write_sample_data(
            folder, weeks=WEEKS, tiers=("OTC",), rows=20, seed=1, run_date=date.fromisoformat(published or day)
        )
        flags = {"tiers": "OTC", "lookback_weeks": WEEKS, **flags}
        return run_finra_schedule(db=str(tmp_path / "a.db"), data_dir=str(folder), run_date=day, **flags)

    return run


@pytest.mark.parametrize("mode", ["run", "dry-run"])
def test_on_the_morning_of_publication_it_is_this_day(load: Any, mode: str) -> None:
    """At six on a Monday the new week is not there yet: the day itself is next; once it is loaded, the Monday after."""
    result = load("2025-12-22", published="2025-12-21", mode=mode)
    assert [run.reason for run in result.runs if run.partition_key == _key("2025-11-21", "OTC")] == ["not_due"]
    assert (result.exit_code, result.next_publication) == (0, date(2025, 12, 22))
    assert load("2025-12-22", mode="run").next_publication == date(2025, 12, 29)
    unchanged = load("2025-12-22", mode=mode)
    assert unchanged.stats.skipped == WEEKS
    assert unchanged.next_publication == date(2025, 12, 29)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2026-01-14", "2026-01-20"),  # Monday is Martin Luther King's day
        ("2026-01-19", "2026-01-20"),
        ("2026-01-20", "2026-01-20"),
        ("2026-01-21", "2026-01-26"),
        ("2025-12-27", "2025-12-29"),
    ],
)
def test_a_holiday_moves_it_to_tuesday(day: str, expected: str) -> None:
    """Before, on and after a publication day that a holiday moved, with nothing captured yet."""
    selected = partitions.plan(date.fromisoformat(day), WEEKS, (), ("OTC",)).partitions
    assert next_publication(DOMAIN, selected, (), date.fromisoformat(day)) == date.fromisoformat(expected)


def test_it_is_that_of_the_selected_tiers_alone() -> None:
    """A week of a tier that was not selected does not count, nor does one of today that was not selected."""
    day = date(2025, 12, 22)
    captured = DOMAIN.partition(_key("2025-11-14", "OTC"))
    assert next_publication(DOMAIN, [captured], {captured.key}, day) == date(2025, 12, 29)
    ahead = DOMAIN.partition(_key("2026-03-06", "NMS_TIER_1"))
    assert next_publication(DOMAIN, [ahead], (), day) == date(2025, 12, 29)
    today = DOMAIN.partition(_key("2025-12-05", "NMS_TIER_1"))
    assert next_publication(DOMAIN, [today], (), day) == day
    assert next_publication(DOMAIN, [], (), day) is None


def test_a_calendar_that_ends_is_no_reason_to_fail(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the calendar cannot say, a run ends as it would, without the field."""
    from market_spine.errors import MarketSpineError

    def beyond(_today: date, _count: int) -> list[Partition]:
        raise MarketSpineError("the calendar ends", kind="calendar_range")

    monkeypatch.setattr(type(DOMAIN), "upcoming", lambda _self, today, count: beyond(today, count))
    result = load("2025-12-22")
    assert (result.exit_code, result.next_publication) == (0, None)
    assert "next_publication" not in json.loads(result.to_json())


def test_a_domain_without_a_calendar_says_nothing(tmp_path: Path) -> None:
    """Prices have no day of publication that this program knows: the field is absent."""
    result = run_prices_schedule(symbols="AAPL", source="mock", sleep=0, db=str(tmp_path / "p.db"))
    assert (result.exit_code, result.next_publication) == (0, None)
    assert "next_publication" not in json.loads(result.to_json())


@pytest.mark.process
def test_a_person_and_a_log_are_told(load: Any, tmp_path: Path) -> None:
    """The summary ends with the day and its weekday; a log line on stderr names it."""
    load("2025-12-22")
    arguments = (
        "schedule",
        "finra",
        "--tiers",
        "OTC",
        "--run-date",
        "2025-12-22",
        "--db",
        "a.db",
        "--data-dir",
        "files",
    )
    done = run_command(*arguments, "--lookback-weeks", "2", cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "next publication of what was selected: Mon 2025-12-29"
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["next_publication"] for line in lines if "next_publication" in line] == ["2025-12-29"]
