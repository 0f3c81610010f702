"""Many partitions: runs a plan, isolates failures, keeps the order, and answers with the contract."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from market_spine.app.pipeline import guarded, run_partition
from market_spine.app.publication import next_publication
from market_spine.app.scheduling import (
    SCHEMA_VERSION,
    ErrorDetail,
    PipelineRun,
    RunStatus,
    SchedulerResult,
    SchedulerStats,
    SkipReason,
    decide_status,
)
from market_spine.app.task import Outcome, Run, Task
from market_spine.app.windows import (
    WindowRunner,
    stale_windows,
    window_run,
    window_versions,
    windows_foreseen,
)
from market_spine.core.anomaly import Anomaly, Severity
from market_spine.core.manifest import CALC, AnomalyRecord, Known, RunRecord
from market_spine.core.partition import Partition
from market_spine.core.ports import Reader
from market_spine.errors import MarketSpineError
from market_spine.telemetry import log_context

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

logger = logging.getLogger(__name__)

_UNCHANGED = (SkipReason.SAME_BYTES, SkipReason.SAME_ROWS, SkipReason.UNCHANGED_AT_SOURCE, SkipReason.UP_TO_DATE)


class Plan(NamedTuple):
    """What to run and how: everything the composition root decided.

    Attributes:
        run: what its partitions share.
        tells_open: the result tells of all that is open about its partitions, also of what this run did not look at.
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
    warnings: tuple[str, ...] = ()
    config: Mapping[str, Any] = {}
    fail_fast: bool = False
    workers: int = 1
    work: Callable[[Task], Outcome] = run_partition
    scheduler: str = ""


def _never() -> bool:
    return False


def _silent(_outcome: Outcome) -> None:
    return None


@dataclass
class _Report:
    """What has happened so far."""

    outcomes: list[Outcome] = field(default_factory=list)
    windows: list[PipelineRun] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    anomalies: list[Anomaly] = field(default_factory=list)
    """Those that are open, though this run did not come upon them."""
    interrupted: bool = False
    error: MarketSpineError | None = None


def run_plan(
    plan: Plan,
    *,
    stop: Callable[[], bool] = _never,
    progress: Callable[[Outcome], None] = _silent,
    executor: Executor | None = None,
) -> SchedulerResult:
    """Work through a plan and record the result. Never raises.

    Args:
        plan: what to do.
        stop: asked before each partition; once true, no further one is started.
        progress: told of each partition as it ends.
        executor: where tasks run; by default this thread, or ``plan.workers`` threads.
    """
    started = plan.run.clock()
    report = _Report(warnings=list(plan.warnings))
    with log_context(run_id=plan.run.id):
        problem = guarded(lambda: _run(plan, report, stop, progress, executor))
        if isinstance(problem, MarketSpineError):
            report.error = problem
            logger.error("%s", problem.message, extra={"kind": problem.kind, "hint": problem.hint})
        result = _result(plan, report, started)
        if plan.run.stores.writer is not None:
            recorded = guarded(lambda: _record(plan, result))
            if isinstance(recorded, MarketSpineError):
                logger.error("the result could not be recorded: %s", recorded.message)
                unrecorded = f"This result is not in core_runs: {recorded.message}."
                return replace(result, warnings=(*result.warnings, unrecorded))
        return result


def _run(
    plan: Plan,
    report: _Report,
    stop: Callable[[], bool],
    progress: Callable[[Outcome], None],
    executor: Executor | None,
) -> None:
    if not plan.partitions:
        raise MarketSpineError(
            "nothing is selected", hint="widen --lookback-weeks, --weeks or --tiers", kind="nothing_selected"
        )
    with closing((plan.run.stores.writer or plan.run.stores.reader)()) as store:
        known = store.known(plan.run.domain.name, [partition.key for partition in plan.partitions])
        tasks = _tasks(plan, known, store.anomalies(plan.run.domain.name, acknowledged=True))
        tasks = _beside(plan.run, tasks, store)
        outcomes: dict[int, Outcome] = {}
        for position, outcome in _outcomes(tasks, plan, report, stop, executor):
            outcomes[position] = outcome
            progress(outcome)
        report.outcomes = [outcomes[position] for position in sorted(outcomes)]
        _compare_firsts(plan.run, report, tasks)
        left = [task.partition.key for position, task in enumerate(tasks) if position not in outcomes]
        if left:
            cause = "stopped by a signal" if report.interrupted else "stopped after the first failure"
            report.warnings.append(f"{cause}; not started: {', '.join(left)}")
        if plan.run.options.wants(CALC) and not report.interrupted and not (plan.fail_fast and left):
            _windows(plan, report, stop, store)
        if plan.tells_open:
            report.anomalies = _still_open(plan, report, store.anomalies(plan.run.domain.name))


def _still_open(plan: Plan, report: _Report, records: Sequence[AnomalyRecord]) -> list[Anomaly]:
    """The open anomalies of the plan's partitions that this run did not come upon, in plan order."""
    told = {(anomaly.partition_key, anomaly.kind) for outcome in report.outcomes for anomaly in outcome.anomalies}
    place = {partition.key: position for position, partition in enumerate(plan.partitions)}
    found = [record.anomaly for record in records if record.anomaly.partition_key in place]
    left = [anomaly for anomaly in found if (anomaly.partition_key, anomaly.kind) not in told]
    return sorted(left, key=lambda anomaly: (place[anomaly.partition_key], anomaly.kind))


def _tasks(plan: Plan, known: Mapping[str, Known], anomalies: Sequence[AnomalyRecord]) -> list[Task]:
    open_anomalies: dict[str, dict[str, Severity]] = {}
    for record in anomalies:
        open_anomalies.setdefault(record.anomaly.partition_key, {})[record.anomaly.kind] = record.anomaly.severity
    return [
        Task(plan.run, partition, known[partition.key], open_anomalies.get(partition.key, {}))
        for partition in plan.partitions
    ]


def _beside(run: Run, tasks: list[Task], store: Reader) -> list[Task]:
    """The tasks, those of partitions that hold nothing with what a first capture is compared with."""
    if not any(task.known.current is None and run.domain.place(task.partition) for task in tasks):
        return tasks
    from market_spine.app.neighbours import beside

    return beside(run, tasks, store)


def _compare_firsts(run: Run, report: _Report, tasks: Sequence[Task]) -> None:
    """Compare what the run brought first with each other; a finding joins the anomalies of its partition."""
    brought = any(each.status is RunStatus.COMPLETED and each.is_revision is False for each in _runs(report))
    if run.stores.writer is None or not brought or (run.plausibility is None and not run.domain.legs):
        return
    from market_spine.app.neighbours import compare_firsts

    compared = guarded(lambda: compare_firsts(run, report.outcomes, tasks))
    if isinstance(compared, MarketSpineError):
        report.warnings.append(f"what was loaded first could not be compared with each other: {compared.message}")
    else:
        report.outcomes = compared


def _outcomes(
    tasks: Sequence[Task],
    plan: Plan,
    report: _Report,
    stop: Callable[[], bool],
    executor: Executor | None,
) -> Iterator[tuple[int, Outcome]]:
    """Outcomes as they come, each with its position; starts no task once told to stop."""
    if executor is not None:
        yield from _side_by_side(tasks, plan, report, stop, lambda task: executor.submit(plan.work, task))
    elif plan.workers == 1:
        yield from _one_by_one(tasks, plan, report, stop)
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(plan.workers) as own:

            def start(task: Task) -> Future[Outcome]:
                # In a copy of this context, so that waits there hear what waits here hear.
                return own.submit(copy_context().run, plan.work, task)

            yield from _side_by_side(tasks, plan, report, stop, start)


def _one_by_one(
    tasks: Sequence[Task], plan: Plan, report: _Report, stop: Callable[[], bool]
) -> Iterator[tuple[int, Outcome]]:
    for position, task in enumerate(tasks):
        if stop():
            report.interrupted = True
            return
        outcome = plan.work(task)
        yield position, outcome
        if outcome.failed and plan.fail_fast:
            return


def _side_by_side(
    tasks: Sequence[Task],
    plan: Plan,
    report: _Report,
    stop: Callable[[], bool],
    start: Callable[[Task], Future[Outcome]],
) -> Iterator[tuple[int, Outcome]]:
    from concurrent.futures import FIRST_COMPLETED, wait

    waiting = iter(enumerate(tasks))
    running: dict[Future[Outcome], int] = {}
    failed = False
    while True:
        while len(running) < plan.workers and not (failed and plan.fail_fast):
            following = next(waiting, None)
            if following is None:
                break
            if stop():
                report.interrupted = True
                break
            position, task = following
            running[start(task)] = position
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            failed = failed or future.result().failed
            yield running.pop(future), future.result()


def _windows(plan: Plan, report: _Report, stop: Callable[[], bool], store: Reader) -> None:
    """Compute the windows whose inputs moved, in this run or before, inside the plan or outside it."""
    run = plan.run
    if not run.domain.windows:
        return
    if run.stores.writer is None:
        moved = {each.partition_key for each in _runs(report) if each.status is RunStatus.PLANNED}
        keys = frozenset(store.partition_keys(run.domain.name)) if moved else frozenset()
        foreseen = windows_foreseen(run.domain, keys, moved)
        report.windows = [window_run(window, RunStatus.PLANNED) for window in foreseen]
        return
    versions = window_versions(run.domain)
    moves = store.moves(run.domain.name, versions)
    again = {partition.key for partition in plan.partitions} if run.options.force else set()
    if not moves.through or not (moves.keys is None or moves.keys or again):
        return
    with closing(run.stores.reader()) as reader:
        stale, known = stale_windows(run.domain, reader, moves.keys, again=again)
        windows = WindowRunner(run.domain, known, reader, run.stores.writer, run.id, run.clock)
        for window in stale:
            if stop():
                report.interrupted = True
                report.warnings.append(f"stopped by a signal; not computed: {window.calc.spec.pipeline}")
                return
            report.windows.append(windows.run(window))
    if incomplete := [window.partition.key for window in stale if not window.complete]:
        report.warnings.append(
            f"windows that look back beyond what is known are marked incomplete: {', '.join(incomplete)}"
        )
    if all(each.status is not RunStatus.FAILED for each in report.windows):
        _keep_check(run, versions, moves.through)


def _keep_check(run: Run, versions: str, through: datetime) -> None:
    """Keep that all windows stand; without it the next run merely looks at more of them."""

    def keep() -> None:
        assert run.stores.writer is not None
        with closing(run.stores.writer()) as store:
            store.record_window_check(run.domain.name, versions, through, run.id)

    if isinstance(problem := guarded(keep), MarketSpineError):
        logger.warning("that all windows stand could not be recorded: %s", problem.message)


def _runs(report: _Report) -> list[PipelineRun]:
    return [run for outcome in report.outcomes for run in outcome.runs]


def _result(plan: Plan, report: _Report, started: datetime) -> SchedulerResult:
    planned = {partition.key for partition in plan.partitions}
    runs = (*_runs(report), *report.windows)
    stats, unchanged = _stats(report, planned)
    status = decide_status(
        stats,
        unchanged=unchanged,
        window_failed=any(
            run.status is RunStatus.FAILED and run.partition_key not in planned for run in report.windows
        ),
        critical=report.error is not None,
        undone=report.interrupted,
        dry_run=plan.run.stores.writer is None,
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


def _stats(report: _Report, planned: set[str]) -> tuple[SchedulerStats, int]:
    """Counts of the partitions taken up, windows of planned partitions included; and how many of the
    skipped ones are known to hold what the source has."""
    statuses: dict[str, set[RunStatus]] = {outcome.partition_key: set() for outcome in report.outcomes}
    for run in (*_runs(report), *report.windows):
        if run.partition_key in planned:
            statuses.setdefault(run.partition_key, set()).add(run.status)
    failed = sum(RunStatus.FAILED in each for each in statuses.values())
    skipped = sum(each == {RunStatus.SKIPPED} for each in statuses.values())
    unchanged = sum(
        run.reason in _UNCHANGED for run in _runs(report) if statuses[run.partition_key] == {RunStatus.SKIPPED}
    )
    return (
        SchedulerStats(
            attempted=len(statuses),
            succeeded=len(statuses) - failed - skipped,
            failed=failed,
            skipped=skipped,
        ),
        unchanged,
    )


def _record(plan: Plan, result: SchedulerResult) -> None:
    assert plan.run.stores.writer is not None
    with closing(plan.run.stores.writer()) as store:
        store.record_run(
            RunRecord(
                run_id=plan.run.id,
                domain=result.domain,
                scheduler=result.scheduler,
                started_at=result.started_at,
                finished_at=result.finished_at,
                status=result.status.value,
                exit_code=result.exit_code,
                attempted=result.stats.attempted,
                succeeded=result.stats.succeeded,
                failed=result.stats.failed,
                skipped=result.stats.skipped,
                result=result.to_json(indent=None),
            )
        )
