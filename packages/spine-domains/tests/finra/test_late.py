"""What is absent: late with the names that were looked for, or merely not due on a day that lies ahead."""

from __future__ import annotations

import zipfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from market_spine.compose import Hooks, reader
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

NOW = datetime(2025, 12, 23, 17, tzinfo=UTC)
HOOKS = Hooks(clock=lambda: NOW)


def test_late_names_file_folder_and_what_lies_there(tmp_path: Path) -> None:
    """In the run's error and in the anomaly."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("weekly.zip", "Tier1.xlsx", "notes.docx"):
        (data / name).write_bytes(b"?")
    result = run_finra_schedule(
        weeks="2025-11-28", tiers="NMS_TIER_1", db=str(tmp_path / "a.db"), data_dir=str(data), hooks=HOOKS
    )
    (run,) = result.runs
    assert run.error is not None and run.error.kind == "late"
    for told in (
        "finra_otc_weekly_tier1_20251215.csv or nms_tier_1_week_2025-11-28.csv",
        str(data),
        "Tier1.xlsx, weekly.zip",
    ):
        assert told in run.error.message
    assert "notes" not in run.error.message


def test_a_run_date_that_lies_ahead_warns_and_opens_nothing(tmp_path: Path) -> None:
    """Nothing is late before its day has come, and what is there is loaded."""
    data, db = tmp_path / "data", str(tmp_path / "a.db")
    write_sample_data(data, weeks=1, tiers=("OTC",), rows=20, seed=1, run_date=NOW.date())
    result = run_finra_schedule(
        lookback_weeks=12, tiers="OTC", db=db, data_dir=str(data), run_date="2026-02-03", hooks=HOOKS
    )
    assert (result.exit_code, result.anomalies, result.stats.failed, result.stats.succeeded) == (0, (), 0, 1)
    assert [warning for warning in result.warnings if "lies ahead" in warning] == [
        "Run date 2026-02-03 lies ahead: what is absent is not late yet."
    ]
    assert {run.reason for run in result.runs if run.status == "skipped"} == {"not_due"}
    with closing(reader(db)) as store:
        assert list(store.anomalies(open_only=False)) == []
    today = run_finra_schedule(lookback_weeks=2, tiers="OTC", db=db, data_dir=str(data), hooks=HOOKS)
    assert not any("lies ahead" in warning for warning in today.warnings)


def test_a_zip_archive_of_one_file_is_that_file(tmp_path: Path) -> None:
    """It loads, its bytes are kept as they came, and the same week unpacked has the same rows."""
    data, db = tmp_path / "data", str(tmp_path / "a.db")
    (path,) = write_sample_data(data, weeks=1, tiers=("OTC",), rows=20, seed=1, run_date=NOW.date())
    packed = path.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, path.name)
    content = path.read_bytes()
    path.unlink()
    flags = {"lookback_weeks": 1, "tiers": "OTC", "db": db, "data_dir": str(data), "hooks": HOOKS}
    (ingest, *_) = run_finra_schedule(**flags).runs  # type: ignore[arg-type]
    assert (ingest.status, ingest.row_count) == ("completed", 20)
    with closing(reader(db)) as store:
        found = store.find_capture(str(ingest.capture_id))
        assert found is not None and store.payload(found.entry.parts[0].sha256) == packed.read_bytes()
    packed.unlink()
    path.write_bytes(content)
    assert run_finra_schedule(**flags).runs[0].reason == "same_rows"  # type: ignore[arg-type]
