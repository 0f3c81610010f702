"""The scheduler as the operations guide shows it: real processes, real files, a real database.

Runs with the guide's installation plus pytest alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from market_spine.app.scheduling import SchedulerResult, SchedulerStatus
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/schedule_finra.py"
RUN_DATE = "2025-12-23"


def start(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the wrapper script as cron would."""
    environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "FINRA_DATA_DIR"}}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A working directory whose data/finra holds four weeks of generated files for every tier."""
    from spine.domains.finra.otc_transparency.sample_data import write_sample_data

    write_sample_data(
        tmp_path / "data/finra",
        weeks=4,
        tiers=("NMS_TIER_1", "NMS_TIER_2", "OTC"),
        rows=60,
        seed=7,
        run_date=date.fromisoformat(RUN_DATE),
    )
    return tmp_path


def test_guide_run_loads_twelve_partitions_and_a_rerun_skips_them(home: Path) -> None:
    """The default run loads 4 weeks x 3 tiers into data/market_spine.db and exits 0; a rerun skips all twelve."""
    first = start(home, "--lookback-weeks", "4", "--run-date", RUN_DATE, "--json")
    assert first.returncode == 0, first.stderr
    result = SchedulerResult.from_json(first.stdout)
    assert (result.status, result.stats.attempted, result.stats.succeeded) == (SchedulerStatus.SUCCESS, 12, 12)
    assert (home / "data/market_spine.db").exists()
    second = SchedulerResult.from_json(start(home, "--run-date", RUN_DATE, "--json").stdout)
    assert (second.stats.skipped, {run.reason for run in second.runs}) == (12, {"same_bytes"})


def test_json_output_has_the_fields_of_the_guide(home: Path) -> None:
    """The JSON document has the guide's fields, in its order, with its types."""
    document = json.loads(start(home, "--run-date", RUN_DATE, "--json", "--tiers", "OTC").stdout)
    fields = ["schema_version", "domain", "scheduler", "started_at", "finished_at", "status", "stats", "runs"]
    assert list(document)[: len(fields)] == fields
    assert document["schema_version"] == "1.0.0"
    assert (document["domain"], document["scheduler"]) == ("finra.otc_transparency", "weekly_ingest")
    assert document["config"]["lookback_weeks"] == 4
    assert document["config"]["mode"] == "run"
    ingest = document["runs"][0]
    assert ingest["pipeline"] == "finra.otc_transparency.ingest_week"
    assert ingest["partition_key"] == "2025-10-31|OTC"
    assert ingest["capture_id"] == "finra.otc_transparency:OTC:2025-10-31:20251223"
    assert (ingest["status"], ingest["row_count"], ingest["is_revision"]) == ("completed", 60, False)


def test_dry_run_returns_a_result_and_writes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """run_finra_schedule(mode="dry-run") returns a result with exit code 0 and leaves no database behind."""
    monkeypatch.chdir(home)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    result = run_finra_schedule(mode="dry-run", run_date=RUN_DATE)
    assert (result.status, result.exit_code) == (SchedulerStatus.DRY_RUN, 0)
    assert SchedulerResult.from_json(result.to_json()) == result
    assert not (home / "data/market_spine.db").exists()


def test_lookback_beyond_twelve_weeks_is_clamped_with_the_guides_warning(home: Path) -> None:
    """--lookback-weeks 20 warns in the guide's words and takes 12 weeks; --force lifts the limit."""
    clamped = start(home, "--lookback-weeks", "20", "--mode", "dry-run", "--run-date", RUN_DATE)
    assert "WARNING: Lookback 20 exceeds max 12, clamped. Use --force to override.\n" in clamped.stdout
    forced = start(home, "--lookback-weeks", "20", "--force", "--mode", "dry-run", "--run-date", RUN_DATE, "--json")
    result = SchedulerResult.from_json(forced.stdout)
    assert (result.config["lookback_weeks"], result.stats.attempted, result.warnings) == (20, 60, ())


def test_missing_weeks_make_a_partial_run_that_names_them(home: Path) -> None:
    """Weeks without a file are late: exit code 2, an anomaly each, and the rest is loaded."""
    finished = start(home, "--lookback-weeks", "5", "--tiers", "OTC", "--run-date", RUN_DATE, "--json")
    result = SchedulerResult.from_json(finished.stdout)
    assert (finished.returncode, result.stats.failed, result.stats.succeeded) == (2, 1, 4)
    assert [(anomaly.kind, anomaly.partition_key) for anomaly in result.anomalies] == [("late", "2025-10-24|OTC")]


def test_missing_data_directory_is_one_clear_failure(tmp_path: Path) -> None:
    """Without a data directory the run fails with exit code 1, says which folder and what to do."""
    finished = start(tmp_path, "--mode", "dry-run", "--json")
    result = SchedulerResult.from_json(finished.stdout)
    assert finished.returncode == 1
    assert result.error is not None
    assert (result.error.kind, "data/finra" in result.error.message) == ("source_missing", True)


def test_help_names_every_flag_of_the_guide(tmp_path: Path) -> None:
    """--help exits 0 and names the guide's flags."""
    finished = start(tmp_path, "--help")
    assert finished.returncode == 0
    flags = "--lookback-weeks --weeks --tiers --source --mode --force --only-stage --fail-fast --db --log-level --json"
    assert [flag for flag in flags.split() if flag not in finished.stdout] == []
