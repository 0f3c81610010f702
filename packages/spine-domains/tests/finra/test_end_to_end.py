"""Real FINRA files through the real command into a database, checked against figures counted by other means."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import reader
from market_spine.testing import run_command

pytestmark = [pytest.mark.samples, pytest.mark.process]

SCRIPT = Path(__file__).resolve().parents[4] / "scripts/schedule_finra.py"


def schedule(home: Path, *arguments: str) -> SchedulerResult:
    """Run the wrapper script; its JSON is checked against the contract's schema."""
    return run_command(*arguments, "--db", "spine.db", "--json", cwd=home, program=(str(SCRIPT),)).result()


def dump(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every physical table but those of runs."""
    connection = sqlite3.connect(home / "spine.db")
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    tables = {
        name: connection.execute(f'SELECT * FROM "{name}"').fetchall()
        for name in names
        if not name.startswith("core_run_")
    }
    connection.close()
    return tables


def test_two_real_weeks_load_with_the_counted_figures_and_a_rerun_writes_nothing(
    finra_samples: Path, tmp_path: Path
) -> None:
    """Rows, shares, trades, symbols and venues of two OTC weeks are those counted in the files with other tools."""
    arguments = ("--data-dir", str(finra_samples / "pipe"), "--run-date", "2025-12-23", "--tiers", "OTC")
    weeks = ("--weeks", "2025-11-14,2025-11-21")
    result = schedule(tmp_path, *arguments, *weeks)
    assert (result.exit_code, result.stats.succeeded) == (0, 2)
    assert result.warnings == (
        "windows that look back beyond what is known are marked incomplete: 2025-11-14|OTC, 2025-11-21|OTC",
    )
    with closing(reader(str(tmp_path / "spine.db"))) as store:
        counted = store.query(
            "SELECT week_ending, COUNT(*), SUM(share_volume), SUM(trade_count), COUNT(DISTINCT symbol),"
            " COUNT(DISTINCT venue_id) FROM finra_otc_venue_volume GROUP BY 1 ORDER BY 1"
        ).rows
        market = store.query("SELECT share_volume, trade_count FROM finra_otc_market_week ORDER BY week_ending").rows
        rolling = store.query("SELECT DISTINCT is_complete FROM finra_otc_symbol_rolling").rows
    assert counted == [
        ("2025-11-14", 5328, 1335995901.0, 472776, 3111, 9),
        ("2025-11-21", 5192, 943802893.0, 497191, 2985, 9),
    ]
    assert market == [(1335995901.0, 472776), (943802893.0, 497191)]
    assert rolling == [(False,)]
    before = dump(tmp_path)
    again = schedule(tmp_path, *arguments, *weeks)
    assert [run.reason for run in again.runs] == ["same_bytes", "same_bytes"]
    assert dump(tmp_path) == before


def test_eight_real_restatements_add_exactly_the_row_of_their_manifest(finra_samples: Path, tmp_path: Path) -> None:
    """Each of the eight pairs of captures is a revision whose diff is the one row that its manifest names."""
    source = finra_samples / "two_captures"
    manifest = json.loads((source / "manifest.json").read_text())
    folder = tmp_path / "files"
    folder.mkdir()
    weeks = ",".join(week for week, _, _ in manifest)
    arguments = ("--data-dir", "files", "--run-date", "2025-12-23", "--tiers", "NMS_TIER_1", "--weeks", weeks)
    for number in (1, 2):
        for week, published, _ in manifest:
            name = f"week{week.replace('-', '')}_capture{number}_asof{published[number - 1].replace('-', '')}.csv"
            shutil.copyfile(source / name, folder / f"nms_tier_1_week_{week}.csv")
        result = schedule(tmp_path, *arguments)
        assert result.exit_code == 0
    ingests = [run for run in result.runs if run.pipeline.endswith("ingest_week")]
    assert len(ingests) == 8
    for run, (_, _, added) in zip(ingests, manifest, strict=True):
        assert run.is_revision is True
        assert run.revision_summary is not None
        assert (run.revision_summary.rows_added, run.revision_summary.rows_removed) == (1, 0)
        done = run_command("diff", run.partition_key, "--db", "spine.db", "--json", cwd=tmp_path)
        document = json.loads(done.stdout)
        rows = [
            [row["venue_id"], row["share_volume"], row["trade_count"], row["last_update_date"]]
            for row in document["added"]
        ]
        assert rows == added
        assert (document["removed"], document["changed"]) == ([], [])
