"""Choosing the partitions of a run: ranges of weeks, all there is, an exact set, and those in certain states."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.app.arguments import day_or_weeks_back
from market_spine.app.scheduling import SchedulerResult
from market_spine.errors import UsageError
from market_spine.testing import run_command
from spine.domains.finra.otc_transparency import partitions
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule
from spine.domains.finra.otc_transparency.schema import TIERS

TODAY = date(2025, 12, 23)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of the OTC tier for the weeks that end on 2025-10-31 to 2025-11-21."""
    home = tmp_path / "files"
    write_sample_data(home, weeks=4, tiers=("OTC",), rows=5, seed=1, run_date=TODAY, revise=False, revise_weeks=())
    return home


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that does not exist yet."""
    if request.param == "sqlite":
        return str(tmp_path / "spine.db")
    address: str = request.getfixturevalue("new_postgres")()
    return address


def schedule(folder: Path, db: str, **flags: Any) -> SchedulerResult:
    return run_finra_schedule(data_dir=str(folder), db=db, run_date=TODAY, source="file", **flags)


def ingests(result: SchedulerResult) -> dict[str, str]:
    """Partition to status, or reason, of its ingest."""
    runs = [run for run in result.runs if run.pipeline.endswith("ingest_week")]
    return {run.partition_key: run.reason or (run.error.kind if run.error else run.status.value) for run in runs}


def test_all_weeks_of_a_folder_are_those_that_it_has_files_of(folder: Path, db: str) -> None:
    """``--weeks all`` loads every partition with a file, guards on, and finds the same ones unchanged afterwards."""
    weeks = [f"2025-{day}|OTC" for day in ("10-31", "11-07", "11-14", "11-21")]
    assert ingests(schedule(folder, db, weeks="all")) == dict.fromkeys(weeks, "completed")
    again = schedule(folder, db, weeks="all")
    assert (again.exit_code, ingests(again)) == (0, dict.fromkeys(weeks, "same_bytes"))
    assert again.config["weeks"] == ["all"]


def test_a_backfill_of_what_is_missing_redoes_nothing_and_ends(folder: Path, db: str) -> None:
    """``--only`` takes what is not there, also after a run that was cut short, and once all is there succeeds idly."""
    schedule(folder, db, weeks="2025-11-07")
    wanted: dict[str, Any] = {"first": "2025-10-30", "last": "2025-11-21", "tiers": "OTC"}
    missing = schedule(folder, db, **wanted, only="failed,late,not_loaded")
    assert ingests(missing) == dict.fromkeys(("2025-10-31|OTC", "2025-11-14|OTC", "2025-11-21|OTC"), "completed")
    assert missing.config["only"] == ["failed", "late", "not_loaded"]
    idle = schedule(folder, db, **wanted, only="failed,late,not_loaded")
    assert (idle.exit_code, idle.status.value, idle.runs, idle.stats.attempted) == (0, "success", (), 0)
    assert idle.warnings == ("None of the 4 selected partitions is failed or late or not_loaded.",)
    assert schedule(folder, db, **wanted, only="not_loaded", mode="dry-run").status.value == "dry_run"


def test_a_broken_week_is_taken_up_again_by_its_state(folder: Path, db: str) -> None:
    """``--only failed`` runs the one partition whose last attempt failed, out of all that are selected."""
    broken = next(folder.glob("*20251222*"))
    content = broken.read_bytes()
    broken.write_bytes(b"")
    assert schedule(folder, db, weeks="all").exit_code == 2
    broken.write_bytes(content)
    assert ingests(schedule(folder, db, weeks="all", only="failed")) == {"2025-11-21|OTC": "completed"}
    assert schedule(folder, db, weeks="all", only=["failed"]).stats.attempted == 0


def test_exactly_the_named_partitions_run(folder: Path, db: str) -> None:
    """``--partitions`` is the selection, oldest first, whatever the order and however often a key is named."""
    keys = "2025-11-21|OTC, 2025-10-31|otc,2025-11-21|OTC"
    result = schedule(folder, db, partitions=keys)
    assert [*ingests(result).items()] == [("2025-10-31|OTC", "completed"), ("2025-11-21|OTC", "completed")]
    assert result.config["partitions"] == ["2025-10-31|OTC", "2025-11-21|OTC"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"last": "2025-11-21"}, "--to needs --from"),
        ({"first": "2025-11-21", "weeks": "all"}, "--weeks and --from choose in two ways"),
        ({"partitions": "2025-11-21|OTC", "tiers": "OTC"}, "--partitions and --tiers choose in two ways"),
        ({"partitions": "2025-11-20|T9"}, "--partitions: unknown tier 'T9'"),
        ({"partitions": " , "}, "--partitions: '' is not allowed"),
        ({"partitions": ""}, "--partitions: '' is not allowed"),
        ({"first": "2025-11-21", "last": "2025-11-14"}, "--from 2025-11-21 lies after --to 2025-11-14"),
        ({"first": "1950-01-06"}, "lies before the NYSE calendar"),
        ({"first": "-3w"}, "--from: '-3w' is not allowed"),
        ({"first": "99999999w"}, "--from: '99999999w' is not allowed"),
        ({"first": "w"}, "--from: 'w' is not allowed"),
        ({"only": "loaded"}, "--only: 'loaded' is not allowed"),
        ({"only": ""}, "--only: '' is not allowed"),
    ],
)
def test_a_choice_that_says_two_things_or_nothing_is_refused(
    folder: Path, tmp_path: Path, flags: dict[str, str], words: str
) -> None:
    """Flags that contradict each other or name nothing end with a usage error that names them."""
    result = schedule(folder, str(tmp_path / "spine.db"), **flags)
    assert (result.exit_code, result.error and result.error.kind) == (1, "usage")
    assert result.error and words in result.error.message


def test_a_folder_without_files_selects_nothing(tmp_path: Path) -> None:
    """``--weeks all`` of an empty folder is a failure that says so, not a success."""
    (tmp_path / "empty").mkdir()
    result = schedule(tmp_path / "empty", str(tmp_path / "spine.db"), weeks="all", only="failed")
    assert (result.exit_code, result.error and result.error.kind) == (1, "nothing_selected")


@given(
    st.dates(date(2023, 1, 2), date(2025, 12, 31)),
    st.integers(0, 400),
    st.sets(st.sampled_from(TIERS), min_size=1),
)
def test_a_range_holds_the_weeks_of_its_days(first: date, length: int, tiers: set[str]) -> None:
    """The weeks of a range are those that its working days, or the weekend after them, lie in: each once, in order."""
    last = first + timedelta(length)
    chosen = [tier for tier in TIERS if tier in tiers]
    plan = partitions.between(date(2026, 6, 1), first, last, chosen).partitions
    days = [first + timedelta(number) for number in range(length + 1)]
    fridays = sorted({day + timedelta(4 - day.weekday()) for day in days})
    assert [each.values for each in plan] == [(str(friday), tier) for friday in fridays for tier in chosen]


def test_a_range_without_an_end_reaches_to_what_each_tier_has_published() -> None:
    """On 2025-12-23 Tier 1 has published three weeks of trading, the other tiers five, before that Monday."""
    plan = partitions.between(TODAY, date(2025, 11, 17), None, TIERS).partitions
    expected = ["2025-11-21|NMS_TIER_1", "2025-11-21|NMS_TIER_2", "2025-11-21|OTC"]
    expected += ["2025-11-28|NMS_TIER_1", "2025-12-05|NMS_TIER_1"]
    assert [each.key for each in plan] == expected


def test_weeks_back_are_reckoned_from_today() -> None:
    """26 weeks before 2025-12-23 is 2025-06-24; a date stands for itself."""
    assert day_or_weeks_back("--from", "26w", TODAY) == date(2025, 6, 24)
    assert day_or_weeks_back("--from", "2025-06-24", TODAY) == date(2025, 6, 24)
    with pytest.raises(UsageError, match="weeks back from today such as 26w"):
        day_or_weeks_back("--from", "26", TODAY)


@pytest.mark.process
def test_only_alone_means_what_is_missing(folder: Path, tmp_path: Path) -> None:
    """On the command line ``--only`` without states takes what is failed, late or not loaded."""
    arguments = ("schedule", "finra", "--data-dir", str(folder), "--db", "a.db", "--run-date", str(TODAY), "--json")
    first = run_command(*arguments, "--from", "6w", "--tiers", "OTC", "--only", cwd=tmp_path)
    assert first.result().config["only"] == ["failed", "late", "not_loaded"]
    assert ingests(first.result()) == {"2025-11-14|OTC": "completed", "2025-11-21|OTC": "completed"}
