"""Many partitions through the real store: isolation, skipping, holding, forcing, stages, windows, stopping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from market_spine import registry
from market_spine.app.scheduling import RunStatus, SchedulerResult, SchedulerStatus
from market_spine.app.task import Outcome
from market_spine.compose import utc_now
from market_spine.store import open_reader, parse_url
from market_spine.testing import every_row

pytestmark = pytest.mark.usefixtures("harbor")

MARCH = "2025-03-01,2025-03-02,2025-03-03"
Run = Callable[..., SchedulerResult]


def rows(database: str, sql: str) -> list[tuple[Any, ...]]:
    """What a user sees."""
    with open_reader(parse_url(database), registry.domains(), clock=utc_now) as reader:
        return list(reader.query(sql).rows)


def everything_but_runs(database: str) -> dict[str, list[str]]:
    """The rows of every table that tells of data; nothing where there is no store."""
    with open_reader(parse_url(database), registry.domains(), clock=utc_now, missing_ok=True) as reader:
        names = reader._db.objects().tables.keys() - {
            "core_run_starts",
            "core_run_ends",
            "core_run_partitions",
            "core_migrations",
            "core_window_checks",
        }
        return {name: found for name, found in every_row(reader, names).items() if found}


def statuses(result: SchedulerResult) -> list[tuple[str, str, str]]:
    """(partition, stage, status or skip reason) of each run."""
    return [(run.partition_key, run.pipeline.rpartition(".")[2], run.reason or run.status) for run in result.runs]


def test_first_run_loads_every_stage_and_window_in_plan_order(run: Run, database: str) -> None:
    """A first run completes ingest, normalize and calc of each partition oldest first, then the windows."""
    result = run("2025-03-03,2025-03-01,2025-03-02")
    stages = ("ingest_day", "normalize_day", "compute_day")
    days = ("2025-03-01", "2025-03-02", "2025-03-03")
    assert statuses(result) == [
        *((day, stage, "completed") for day in days for stage in stages),
        *((day, "compute_recent", "completed") for day in days),
    ]
    assert (result.status, result.exit_code) == (SchedulerStatus.SUCCESS, 0)
    assert result.runs[0].capture_id == "harbor:2025-03-01:20250309"
    assert (result.runs[0].row_count, result.runs[0].is_revision, result.runs[0].revision_summary) == (2, False, None)
    assert rows(database, "SELECT day, days, tons FROM harbor_recent ORDER BY day") == [
        ("2025-03-01", 1, 30.0),
        ("2025-03-02", 2, 60.0),
        ("2025-03-03", 3, 72.0),
    ]
    assert result.warnings == (
        "windows that look back beyond what is known are marked incomplete: 2025-03-01, 2025-03-02",
    )


def test_rerun_skips_everything_and_writes_only_its_result(run: Run, database: str) -> None:
    """With nothing changed every partition is skipped as same_bytes and only core_runs gains a row."""
    run()
    before = everything_but_runs(database)
    result = run()
    assert [reason for _, _, reason in statuses(result)] == ["same_bytes"] * 3
    assert (result.stats.skipped, result.exit_code) == (3, 0)
    assert everything_but_runs(database) == before
    assert rows(database, "SELECT COUNT(*) FROM core_runs") == [(2,)]


def test_other_bytes_with_the_same_rows_make_no_capture(run: Run, folder: Path, database: str) -> None:
    """A reordered file is skipped as same_rows, noted once, and known as same_bytes from then on."""
    run()
    (folder / "2025-03-01.txt").write_text("bela 20\nada 10\n")
    assert statuses(run())[0] == ("2025-03-01", "ingest_day", "same_rows")
    noted = everything_but_runs(database)
    assert statuses(run())[0] == ("2025-03-01", "ingest_day", "same_bytes")
    assert everything_but_runs(database) == noted
    assert rows(
        database, "SELECT COUNT(DISTINCT capture_id) FROM core_manifest WHERE partition_key = '2025-03-01'"
    ) == [(1,)]


def test_revision_reports_exact_counts_and_reaches_only_its_windows(run: Run, folder: Path, database: str) -> None:
    """A restated day is a second capture with exact counts; the windows that look at it follow, no others."""
    run("2025-03-01,2025-03-02,2025-03-03")
    (folder / "2025-03-02.txt").write_text("ada 31\ndora 4\n")
    result = run("2025-03-02")
    ingest = result.runs[0]
    assert ingest.capture_id == "harbor:2025-03-02:20250309.2"
    assert ingest.is_revision is True
    assert ingest.revision_summary is not None
    summary = ingest.revision_summary
    assert (summary.rows_added, summary.rows_removed, summary.rows_changed) == (1, 0, 1)
    windows = [run.partition_key for run in result.runs if run.pipeline == "harbor.compute_recent"]
    assert windows == ["2025-03-02", "2025-03-03"]
    assert result.stats.attempted == 1
    assert rows(database, "SELECT tons FROM harbor_recent ORDER BY day") == [(30.0,), (65.0,), (77.0,)]


def test_return_to_earlier_content_is_a_new_capture(run: Run, folder: Path, database: str) -> None:
    """A source that goes back to what it said before gives a third capture, compared with the second."""
    run("2025-03-01")
    original = (folder / "2025-03-01.txt").read_text()
    (folder / "2025-03-01.txt").write_text("ada 11\nbela 20\n")
    run("2025-03-01")
    (folder / "2025-03-01.txt").write_text(original)
    result = run("2025-03-01")
    assert result.runs[0].capture_id == "harbor:2025-03-01:20250309.3"
    assert rows(database, "SELECT ship, tons FROM harbor_landing ORDER BY ship") == [("ada", 10.0), ("bela", 20.0)]


def test_one_bad_partition_does_not_touch_the_others(run: Run, folder: Path, database: str) -> None:
    """A refused file fails alone with exit code 2; once mended it loads and its anomaly is resolved."""
    good = (folder / "2025-03-02.txt").read_text()
    (folder / "2025-03-02.txt").write_text("<html>")
    result = run()
    assert (result.status, result.exit_code) == (SchedulerStatus.PARTIAL, 2)
    failed = [run for run in result.runs if run.status is RunStatus.FAILED]
    assert [(run.partition_key, run.error.kind) for run in failed if run.error is not None] == [("2025-03-02", "html")]
    assert [(anomaly.kind, anomaly.partition_key) for anomaly in result.anomalies] == [("html", "2025-03-02")]
    assert rows(database, "SELECT DISTINCT day FROM harbor_landing ORDER BY day") == [("2025-03-01",), ("2025-03-03",)]
    (folder / "2025-03-02.txt").write_text(good)
    assert run().exit_code == 0
    assert rows(database, "SELECT kind, resolved_at IS NOT NULL FROM core_anomalies") == [("html", 1)]


def test_every_partition_failing_is_a_failure(run: Run, folder: Path) -> None:
    """When all partitions fail the exit code is 1."""
    for path in folder.iterdir():
        path.write_text("<html>")
    assert run().exit_code == 1


def test_failed_calculation_keeps_the_capture_and_leaves_the_tables_as_they_were(
    run: Run, folder: Path, database: str
) -> None:
    """When calc raises, the capture is kept, all tables still show the old rows, and a later run starts from it."""
    run("2025-03-01")
    (folder / "2025-03-01.txt").write_text("BREAK 1\nada 10\n")
    result = run("2025-03-01")
    assert statuses(result)[:2] == [
        ("2025-03-01", "ingest_day", "completed"),
        ("2025-03-01", "compute_day", "failed"),
    ]
    assert result.exit_code == 1
    assert rows(database, "SELECT ship FROM harbor_landing ORDER BY ship") == [("ada",), ("bela",)]
    (folder / "2025-03-01.txt").write_text("ada 10\n")
    assert run("2025-03-01").exit_code == 0
    assert rows(database, "SELECT tons FROM harbor_total") == [(10.0,)]


def test_shrunk_payload_is_held_until_forced(run: Run, folder: Path, database: str) -> None:
    """A payload that lost more than half its rows is held, held only once, and becomes current under --force."""
    path = folder / "2025-03-01.txt"
    path.write_text("ada 1\nbela 2\ncaro 3\n")
    run("2025-03-01")
    path.write_text("ada 1\n")
    result = run("2025-03-01")
    assert result.runs[0].error is not None
    assert (result.runs[0].error.kind, result.exit_code) == ("shrunk", 1)
    run("2025-03-01")
    held = rows(database, "SELECT capture_id FROM core_manifest WHERE status = 'held'")
    assert held == [("harbor:2025-03-01:20250309.2",)]
    assert rows(database, "SELECT COUNT(*) FROM harbor_landing") == [(3,)]
    forced = run("2025-03-01", force=True)
    assert forced.runs[0].capture_id == "harbor:2025-03-01:20250309.2"
    assert rows(database, "SELECT ship, capture_id FROM harbor_landing") == [("ada", "harbor:2025-03-01:20250309")]
    assert rows(database, "SELECT COUNT(*) FROM core_anomalies WHERE resolved_at IS NULL") == [(0,)]


def test_too_many_rejects_hold_a_payload_and_few_only_warn(run: Run, folder: Path, database: str) -> None:
    """Above five per cent of rejected rows a payload is held; below, the rows are kept apart and reported."""
    lines = [f"ship{number} 1" for number in range(40)]
    (folder / "2025-03-01.txt").write_text("\n".join([*lines, "odd x"]))
    (folder / "2025-03-02.txt").write_text("\n".join([*lines, "odd x", "odd y", "odd z"]))
    result = run("2025-03-01,2025-03-02")
    assert [run.error.kind for run in result.runs if run.error is not None] == ["reject_budget"]
    assert [(anomaly.kind, anomaly.severity) for anomaly in result.anomalies] == [
        ("rejected_rows", "warning"),
        ("reject_budget", "error"),
    ]
    kept = rows(database, "SELECT capture_id, partition_key, line, rule, raw FROM core_rejects ORDER BY 1, line")
    assert kept[0] == ("harbor:2025-03-01:20250309", "2025-03-01", 41, "bad_number", "odd x")
    assert len(kept) == 4


def test_force_on_unchanged_content_completes_and_writes_nothing(run: Run, database: str) -> None:
    """--force recomputes; unchanged content is completed with the held capture, no revision and 0/0/0."""
    run("2025-03-01")
    before = everything_but_runs(database)
    result = run("2025-03-01", force=True)
    ingest = result.runs[0]
    assert (ingest.status, ingest.capture_id, ingest.is_revision) == (
        RunStatus.COMPLETED,
        "harbor:2025-03-01:20250309",
        False,
    )
    assert ingest.revision_summary is not None
    assert ingest.revision_summary.rows_added == ingest.revision_summary.rows_changed == 0
    assert {run.status for run in result.runs} == {RunStatus.COMPLETED}
    assert everything_but_runs(database) == before


def test_stages_run_alone_and_an_ordinary_run_finishes_the_rest(run: Run, database: str) -> None:
    """--only-stage works from what is held; a later ordinary run does what is missing though the bytes are the same."""
    missing = run("2025-03-01", only_stage="normalize")
    assert missing.runs[0].error is not None
    assert missing.runs[0].error.kind == "missing_input"
    assert statuses(run("2025-03-01", only_stage="ingest")) == [("2025-03-01", "ingest_day", "completed")]
    assert rows(database, "SELECT COUNT(*) FROM harbor_landing") == [(0,)]
    assert statuses(run("2025-03-01")) == [
        ("2025-03-01", "ingest_day", "same_bytes"),
        ("2025-03-01", "normalize_day", "completed"),
        ("2025-03-01", "compute_day", "completed"),
        ("2025-03-01", "compute_recent", "completed"),
    ]
    assert statuses(run("2025-03-01", only_stage="calc")) == [("2025-03-01", "compute_day", "up_to_date")]
    assert run("2025-03-01").stats.skipped == 1


def test_calc_alone_reads_the_normalized_rows_from_the_store(run: Run, database: str) -> None:
    """After ingest and normalize alone, calc alone computes from the table."""
    run("2025-03-01", only_stage="ingest")
    run("2025-03-01", only_stage="normalize")
    assert rows(database, "SELECT COUNT(*) FROM harbor_total") == [(0,)]
    run("2025-03-01", only_stage="calc")
    assert rows(database, "SELECT ships, tons FROM harbor_total") == [(2, 30.0)]


def test_fail_fast_stops_starting_and_names_the_rest(run: Run, folder: Path, database: str) -> None:
    """--fail-fast keeps what was committed, starts nothing more, and names what was left."""
    (folder / "2025-03-02.txt").write_text("<html>")
    result = run(fail_fast=True)
    assert (result.stats.attempted, result.exit_code) == (2, 2)
    assert "stopped after the first failure; not started: 2025-03-03" in result.warnings
    assert rows(database, "SELECT DISTINCT day FROM harbor_landing") == [("2025-03-01",)]


def test_stop_request_ends_the_run_after_the_partition_in_hand(run: Run, database: str) -> None:
    """A run asked to stop after its first partition is partial, names the rest, and a rerun does them."""
    done: list[Outcome] = []
    result = run(hooks={"stop": lambda: bool(done), "progress": done.append})
    assert (result.status, result.stats.attempted) == (SchedulerStatus.PARTIAL, 1)
    assert "stopped by a signal; not started: 2025-03-02, 2025-03-03" in result.warnings
    assert rows(database, "SELECT status, attempted FROM core_runs") == [("partial", 1)]
    assert run().exit_code == 0
    assert rows(database, "SELECT COUNT(DISTINCT day) FROM harbor_landing") == [(3,)]


def test_dry_run_foresees_and_writes_nothing(run: Run, folder: Path, database: str) -> None:
    """A dry run makes no database; later it foresees exactly the revision that the real run then records."""
    result = run(mode="dry-run")
    assert (result.status, result.exit_code, result.stats.succeeded) == (SchedulerStatus.DRY_RUN, 0, 3)
    assert {run.status for run in result.runs} == {RunStatus.PLANNED}
    assert everything_but_runs(database) == {}
    assert not Path(database).exists()
    run()
    (folder / "2025-03-02.txt").write_text("ada 30\ndora 4\n")
    before = everything_but_runs(database), rows(database, "SELECT * FROM core_runs")
    foreseen = run(mode="dry-run")
    assert (everything_but_runs(database), rows(database, "SELECT * FROM core_runs")) == before
    assert statuses(foreseen)[0] == ("2025-03-01", "ingest_day", "same_bytes")
    real = run()
    pick = [run for run in foreseen.runs if run.pipeline == "harbor.ingest_day"][1]
    recorded = [run for run in real.runs if run.pipeline == "harbor.ingest_day"][1]
    assert (pick.capture_id, pick.revision_summary) == (recorded.capture_id, recorded.revision_summary)
    windows = [[run.partition_key for run in each.runs if "recent" in run.pipeline] for each in (foreseen, real)]
    assert windows[0] == windows[1] == ["2025-03-02", "2025-03-03"]


def test_absent_partitions_are_not_due_late_or_held(run: Run, folder: Path, database: str) -> None:
    """Absent before and on its day: not_due; from the next day late, failed; once captured: source_absent."""
    assert statuses(run("2025-03-04", run_date="2025-03-03"))[0][2] == "not_due"
    assert statuses(run("2025-03-04", run_date="2025-03-04"))[0][2] == "not_due"
    late = run("2025-03-04", run_date="2025-03-05")
    assert [anomaly.kind for anomaly in late.anomalies] == ["late"]
    assert late.exit_code == 1
    run("2025-03-01")
    (folder / "2025-03-01.txt").unlink()
    assert statuses(run("2025-03-01"))[0][2] == "source_absent"
    assert rows(database, "SELECT COUNT(*) FROM harbor_landing") == [(2,)]


def test_failed_window_outside_the_plan_makes_the_run_partial(run: Run, folder: Path, database: str) -> None:
    """A window that fails is named under its own key; the run is partial though its partition succeeded."""
    (folder / "2025-03-01.txt").write_text("ada 1\n")
    run("2025-03-01,2025-03-03")
    (folder / "2025-03-01.txt").write_text("WRECK 666\nada 0\n")
    (folder / "2025-03-01.txt").write_text("WRECK 666\n")
    result = run("2025-03-01")
    failed = [run.partition_key for run in result.runs if run.status is RunStatus.FAILED]
    assert failed == ["2025-03-01", "2025-03-03"]
    assert result.exit_code in (1, 2)
    (folder / "2025-03-01.txt").write_text("ada 2\n")
    assert run("2025-03-01").exit_code == 0
    assert rows(database, "SELECT tons FROM harbor_recent WHERE day = '2025-03-03'") == [(14.0,)]


def test_windows_left_by_an_interrupted_run_are_computed_by_the_next(run: Run, database: str) -> None:
    """A window whose inputs were committed without it is found and computed later, with nothing else to do."""
    run(only_stage="ingest")
    run(only_stage="normalize")
    done: list[Outcome] = []
    run(only_stage="calc", hooks={"stop": lambda: len(done) == 3, "progress": done.append})
    assert rows(database, "SELECT COUNT(*) FROM harbor_recent") == [(0,)]
    result = run()
    assert [run.partition_key for run in result.runs if run.pipeline == "harbor.compute_recent"] == MARCH.split(",")
    assert (result.stats.succeeded, result.stats.skipped) == (3, 0)


def test_several_workers_give_the_same_tables_in_the_same_order(run: Run, database: str) -> None:
    """With three workers the runs stand in plan order and the tables are those of one worker."""
    result = run(workers=3)
    assert [run.partition_key for run in result.runs if run.pipeline == "harbor.ingest_day"] == MARCH.split(",")
    assert rows(database, "SELECT day, ship, tons FROM harbor_landing ORDER BY day, ship") == [
        ("2025-03-01", "ada", 10.0),
        ("2025-03-01", "bela", 20.0),
        ("2025-03-02", "ada", 30.0),
        ("2025-03-03", "ada", 5.0),
        ("2025-03-03", "caro", 7.0),
    ]


def test_raised_pipeline_version_recomputes_from_the_kept_payload(
    run: Run, folder: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a stage's version is raised the next run redoes it from the stored bytes and says so in the manifest."""
    import harbor

    run("2025-03-01")
    monkeypatch.setattr(harbor.Harbor, "versions", ("1", "2", "1"))
    (folder / "2025-03-01.txt").unlink()
    (folder / "2025-03-01.txt").write_text("ada 10\nbela 20\n")
    assert [reason for _, _, reason in statuses(run("2025-03-01"))][:3] == ["same_bytes", "completed", "completed"]
    assert rows(
        database,
        "SELECT pipeline_version FROM core_manifest WHERE stage = 'normalize' ORDER BY manifest_id",
    ) == [("1",), ("2",)]
    assert run("2025-03-01").stats.skipped == 1
