"""What a run has done so far, and the result that this makes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from market_spine.app.pipeline import guarded, run_partition
from market_spine.app.publication import next_publication
from market_spine.app.scheduling import (
    SCHEMA_VERSION,
    ErrorDetail,
    PipelineRun,
    RunStatus,
    SchedulerResult,
    SchedulerStats,
    SchedulerStatus,
    SkipReason,
    decide_status,
)
from market_spine.app.task import Outcome, Run, Task
from market_spine.core.anomaly import Anomaly
from market_spine.core.partition import Partition
from market_spine.errors import MarketSpineError

logger = logging.getLogger(__name__)

UNCHANGED = (SkipReason.SAME_BYTES, SkipReason.SAME_ROWS, SkipReason.UNCHANGED_AT_SOURCE, SkipReason.UP_TO_DATE)
"""Why a partition was skipped that holds what its source has."""


class Plan(NamedTuple):
    """What to run and how: everything the composition root decided.

    Attributes:
        run: what its partitions share.
        tells_open: the result tells of all that is open about its partitions, also of what this run did not look at.
        idle: partitions were selected, and none of them needs anything: that there are none is no failure.
        apart: other processes work through the rest of what was selected: nothing looks beyond a partition.
        warnings: what planning has to tell, for the result.
        config: the values in effect, for the result.
        fail_fast: start no further partition after the first failure.
        workers: partitions worked on at once.
        work: what is done with each partition.
        scheduler: the scheduler's name in the result, where it is not the domain's.
    """

    run: Run
    partitions: Sequence[Partition]
    tells_open: bool = False
    idle: bool = False
    apart: bool = False
    warnings: tuple[str, ...] = ()
    config: Mapping[str, Any] = {}
    fail_fast: bool = False
    workers: int = 1
    work: Callable[[Task], Outcome] = run_partition
    scheduler: str = ""


class RunReport:
    """What has happened so far; ``done`` has the outcomes by their position in the plan."""

    def __init__(self) -> None:
        self.done: dict[int, Outcome] = {}
        self.windows: list[PipelineRun] = []
        self.warnings: list[str] = []
        self.anomalies: list[Anomaly] = []
        """Those that are open, though this run did not come upon them."""
        self.interrupted = False
        self.error: MarketSpineError | None = None

    @property
    def outcomes(self) -> list[Outcome]:
        """In the order of the plan."""
        # A copy first: another thread may ask while partitions end.
        return [outcome for _, outcome in sorted(dict(self.done).items(), key=lambda each: each[0])]

    @property
    def runs(self) -> list[PipelineRun]:
        """The pipeline runs of the partitions, in that order."""
        return [run for outcome in self.outcomes for run in outcome.runs]

    def warn(self, text: str) -> None:
        """Tell the result, and the log."""
        logger.warning("%s", text)
        self.warnings.append(text)

    def fail(self, error: MarketSpineError) -> None:
        """Keep what ended the run, and tell the log."""
        logger.error("%s", error.message, extra={"kind": error.kind, "hint": error.hint})
        self.error = error


def result_of(plan: Plan, report: RunReport, started: datetime) -> SchedulerResult:
    """The result of what has been done."""
    planned = {partition.key for partition in plan.partitions}
    runs = (*report.runs, *report.windows)
    taken = [outcome.partition_key for outcome in report.outcomes]
    stats, unchanged = counted(taken, report.runs, report.windows, planned)
    status = decide_status(
        stats,
        unchanged=unchanged,
        window_failed=any(
            run.status is RunStatus.FAILED and run.partition_key not in planned for run in report.windows
        ),
        critical=report.error is not None,
        undone=report.interrupted or any(run.reason == SkipReason.LOCKED for run in runs),
        dry_run=plan.run.stores.writer is None,
        idle=plan.idle,
    )
    return SchedulerResult(
        schema_version=SCHEMA_VERSION,
        domain=plan.run.domain.name,
        scheduler=plan.scheduler or plan.run.domain.scheduler,
        started_at=started,
        finished_at=plan.run.clock(),
        status=status,
        stats=stats,
        runs=runs,
        anomalies=(*(anomaly for outcome in report.outcomes for anomaly in outcome.anomalies), *report.anomalies),
        warnings=tuple(report.warnings),
        config=plan.config,
        next_publication=_next_publication(plan, runs),
        run_id=plan.run.id,
        error=ErrorDetail.of(report.error) if report.error else None,
    )


def _next_publication(plan: Plan, runs: Sequence[PipelineRun]) -> date | None:
    captured = {run.partition_key for run in runs if run.capture_id is not None}
    found = guarded(lambda: next_publication(plan.run.domain, plan.partitions, captured, plan.run.today))
    # A calendar that ends soon is no reason to fail what has been done.
    day = None if isinstance(found, MarketSpineError) else found
    if day is not None:
        logger.info("next publication of what was selected: %s", day, extra={"next_publication": day.isoformat()})
    return day


def counted(
    taken: Iterable[str], runs: Sequence[PipelineRun], windows: Sequence[PipelineRun], planned: Collection[str]
) -> tuple[SchedulerStats, int]:
    """Counts of the partitions taken up, windows of planned partitions included; and how many of the skipped ones are
    known to hold what the source has.

    Args:
        taken: keys of the partitions taken up.
        runs: their pipeline runs.
        windows: those of windows.
        planned: keys of the partitions that were to be taken up.
    """
    statuses: dict[str, set[RunStatus]] = {key: set() for key in taken}
    for run in (*runs, *windows):
        if run.partition_key in planned:
            statuses.setdefault(run.partition_key, set()).add(run.status)
    failed = sum(RunStatus.FAILED in each for each in statuses.values())
    skipped = sum(each == {RunStatus.SKIPPED} for each in statuses.values())
    unchanged = sum(run.reason in UNCHANGED for run in runs if statuses[run.partition_key] == {RunStatus.SKIPPED})
    return (
        SchedulerStats(
            attempted=len(statuses),
            succeeded=len(statuses) - failed - skipped,
            failed=failed,
            skipped=skipped,
        ),
        unchanged,
    )


def so_far(plan: Plan, report: RunReport, started: datetime) -> SchedulerResult:
    """The result of a run that is not waited for any more: what was done, and that it is not all."""
    done = {outcome.partition_key for outcome in report.outcomes}
    undone = [partition.key for partition in plan.partitions if partition.key not in done]
    warnings = [*report.warnings, f"stopped by a signal, at once; not finished: {', '.join(undone) or 'windows'}"]
    now = RunReport()
    now.done, now.windows, now.warnings = dict(report.done), list(report.windows), warnings
    now.interrupted, now.error = True, report.error
    return result_of(plan, now, started)


def failed(
    domain: str,
    scheduler: str,
    error: MarketSpineError,
    started: datetime,
    finished: datetime,
    config: Mapping[str, Any] | None = None,
    run_id: str | None = None,
) -> SchedulerResult:
    """The result of what a critical error ended before it began; the domain is empty where none is known."""
    return SchedulerResult(
        schema_version=SCHEMA_VERSION,
        domain=domain,
        scheduler=scheduler,
        started_at=started,
        finished_at=finished,
        status=SchedulerStatus.FAILURE,
        stats=SchedulerStats(attempted=0, succeeded=0, failed=0, skipped=0),
        runs=(),
        anomalies=(),
        warnings=(),
        config=config or {},
        run_id=run_id,
        error=ErrorDetail.of(error),
    )
