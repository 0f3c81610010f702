"""The summary of a run for people: a line per partition that failed or changed, and counts of the rest."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from market_spine.app.scheduling import (
    ErrorDetail,
    PipelineRun,
    RevisionSummary,
    RunStatus,
    SchedulerResult,
    SchedulerStats,
    SchedulerStatus,
)
from market_spine.cli.summary import summary_lines

if TYPE_CHECKING:
    import pytest

START = datetime(2025, 12, 23, tzinfo=UTC)
COUNTS = RevisionSummary(rows_added=1, rows_removed=2, rows_changed=3)


def stage(key: str, name: str, status: RunStatus, **more: object) -> PipelineRun:
    """A pipeline run; what is not given is unknown."""
    fields = {"capture_id": None, "row_count": None, "is_revision": None, "revision_summary": None, **more}
    return PipelineRun(pipeline=f"x.{name}", partition_key=key, status=status, duration_ms=1, **fields)  # type: ignore[arg-type]


def done(key: str, **more: object) -> list[PipelineRun]:
    """The three stages of a partition that was loaded."""
    first = stage(key, "ingest_week", RunStatus.COMPLETED, **{"row_count": 2000, "is_revision": False, **more})
    return [first, *(stage(key, name, RunStatus.COMPLETED, row_count=7) for name in ("normalize_week", "compute_week"))]


def skipped(key: str, reason: str) -> list[PipelineRun]:
    """A partition that was skipped."""
    return [stage(key, "ingest_week", RunStatus.SKIPPED, row_count=2000, reason=reason)]


def failed(key: str, message: str, hint: str = "") -> list[PipelineRun]:
    """A partition whose ingest failed."""
    error = ErrorDetail(kind="late", message=message, hint=hint)
    return [stage(key, "ingest_week", RunStatus.FAILED, error=error)]


def told(*partitions: list[PipelineRun], warnings: tuple[str, ...] = ()) -> list[str]:
    """The summary's lines."""
    result = SchedulerResult(
        schema_version="1.0.0",
        domain="x",
        scheduler="weekly",
        started_at=START,
        finished_at=START,
        status=SchedulerStatus.PARTIAL,
        stats=SchedulerStats(attempted=4, succeeded=1, failed=1, skipped=2),
        runs=tuple(run for runs in partitions for run in runs),
        anomalies=(),
        warnings=warnings,
        config={},
    )
    return summary_lines(result)


def test_failures_come_first_then_changes_then_a_count_of_the_rest() -> None:
    """One line per partition, failed before changed, unchanged ones as a number; then why, and the totals."""
    lines = told(
        skipped("2025-11-07|OTC", "same_bytes"),
        done("2025-11-14|OTC", is_revision=True, revision_summary=COUNTS),
        skipped("2025-11-21|OTC", "unchanged_at_source"),
        failed("2025-11-28|OTC", "2025-11-28|OTC is late", "fetch it"),
        done("2025-12-05|OTC"),
    )
    assert lines == [
        "status     partition        rows  change",
        "failed     2025-11-28|OTC         late",
        "completed  2025-11-14|OTC  2,000  +1 -2 ~3",
        "completed  2025-12-05|OTC  2,000  new",
        "2 unchanged (same_bytes, unchanged_at_source)",
        "ERROR: 2025-11-28|OTC is late (fetch it)",
        "partial: 4 partitions attempted, 1 succeeded, 1 failed, 2 skipped",
    ]


def test_other_reasons_for_skipping_name_three_partitions() -> None:
    """What was skipped for another reason than being unchanged is counted and named."""
    lines = told(*(skipped(f"2025-11-0{day}|OTC", "not_due") for day in range(1, 6)))
    assert lines[0] == "5 skipped (not_due): 2025-11-01|OTC, 2025-11-02|OTC, 2025-11-03|OTC, ..."


def test_a_partition_of_which_one_stage_ran_says_which() -> None:
    """A window computed alone is told by its pipeline's name."""
    assert told([stage("2025-11-14|OTC", "compute_rolling", RunStatus.COMPLETED, row_count=9)])[1].split() == [
        "completed",
        "2025-11-14|OTC",
        "9",
        "compute_rolling",
    ]


def test_many_failures_of_one_kind_are_lines_of_the_table_and_three_reasons() -> None:
    """Each failed partition has its line, and reasons that differ in the partition alone are told three times."""
    keys = [f"2025-11-{day:02}|OTC" for day in range(10, 20)]
    lines = told(*(failed(key, f"{key} is late") for key in keys))
    assert [line.split()[1] for line in lines[1:11]] == keys
    assert lines[11:15] == [
        *(f"ERROR: {key} is late" for key in keys[:3]),
        "ERROR: ... and 7 more like these; --json has all",
    ]


def test_the_widest_partitions_of_the_domains_fit_80_columns() -> None:
    """FINRA's longest key with a revision of millions of rows fits the width of a terminal."""
    counts = RevisionSummary(rows_added=1_234_567, rows_removed=1_234_567, rows_changed=1_234_567)
    whole = done("2025-11-14|NMS_TIER_1", row_count=12_345_678, is_revision=True, revision_summary=counts)
    assert max(map(len, told(whole, failed("2025-11-21|NMS_TIER_1", "no", "x")))) <= 80


def test_text_of_files_and_vendors_cannot_paint_the_terminal() -> None:
    """Escapes in warnings, messages, hints and keys are spelt out, and none begins a line of its own."""
    lines = told(failed("\x1b[2J|OTC", "a\nb\u202e", "\x9b"), warnings=("\x1b]0;x\x07\nERROR: nothing",))
    assert all(line.isprintable() for line in lines)
    assert lines[0] == "WARNING: \\x1b]0;x\\x07\\nERROR: nothing"


def test_colours_are_for_a_terminal_that_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are red and changes green on a terminal, and NO_COLOR takes the colours away."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdout", Terminal())
    runs = failed("2025-11-28|OTC", "late"), done("2025-12-05|OTC")
    lines = told(*runs)
    assert lines[1].startswith("\x1b[31mfailed\x1b[0m")
    assert lines[2].startswith("\x1b[32mcompleted\x1b[0m")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any("\x1b" in line for line in told(*runs))


def test_a_failure_is_told_in_full_and_a_warning_with_three_names() -> None:
    """The columns that a file lacks are all named; of the partitions that a warning is about three are."""
    keys = [f"2025-11-{day:02}|OTC" for day in range(10, 15)]
    lines = told(failed(keys[0], "it lacks aA, bB, cC, dD, eE"), warnings=(f"incomplete: {', '.join(keys)}",))
    assert lines[0] == f"WARNING: incomplete: 5 ({', '.join(keys[:3])}, ...)"
    assert f"ERROR: {keys[0]}: it lacks aA, bB, cC, dD, eE" in lines
