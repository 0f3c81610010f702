"""Many partitions: runs a plan, isolates failures, keeps the order, and answers with the contract."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from market_spine.app.pipeline import guarded
from market_spine.app.recording import run_record, run_start
from market_spine.app.report import Plan, RunReport, result_of, so_far
from market_spine.app.scheduling import (
    PipelineRun,
    RunStatus,
    SchedulerResult,
)
from market_spine.app.task import Outcome, Run, Task
from market_spine.core.anomaly import Anomaly, Severity
from market_spine.core.fingerprint import window_versions
from market_spine.core.manifest import CALC, Known, Moves
from market_spine.core.ports import Reader, Writer
from market_spine.errors import MarketSpineError, StoreLocked
from market_spine.telemetry import log_context

if TYPE_CHECKING:
    from market_spine.app.executing import Executor
    from market_spine.app.windows import Window
    from market_spine.core.kept import AnomalyRecord

logger = logging.getLogger(__name__)


def _never() -> bool:
    return False


def _silent(_outcome: Outcome) -> None:
    return None


def run_plan(
    plan: Plan,
    *,
    stop: Callable[[], bool] = _never,
    progress: Callable[[Outcome], None] = _silent,
    begun: Callable[[Callable[[], SchedulerResult]], None] = lambda _so_far: None,
    executor: Executor | None = None,
) -> SchedulerResult:
    """Work through a plan and record it, its start first. Never raises.

    Args:
        plan: what to do.
        stop: asked before each partition; once true, no further one is started.
        progress: told of each partition as it ends.
        begun: told, before anything is done, how to get the result of a run that is left in the middle.
        executor: workers elsewhere; by default this thread, or ``plan.workers`` threads.
    """
    started = plan.run.clock()
    report = RunReport()
    with log_context(run_id=plan.run.id), ExitStack() as stack:
        for warning in plan.warnings:
            report.warn(warning)
        begun(lambda: so_far(plan, report, started))
        write = plan.run.stores.writer
        writer = guarded(lambda: stack.enter_context(closing(write()))) if write is not None else None
        if isinstance(writer, MarketSpineError):
            report.fail(writer)
        else:
            problem = guarded(lambda: _run(plan, report, started, writer, stop, progress, executor))
            if isinstance(problem, MarketSpineError):
                report.fail(problem)
        result = result_of(plan, report, started)
        if writer is None:
            return result
        recorded = writer if isinstance(writer, MarketSpineError) else guarded(partial(_record, writer, result))
        if isinstance(recorded, MarketSpineError):
            report.warn(f"This result is not in core_runs: {recorded.message}.")
            return replace(result, warnings=tuple(report.warnings))
        return result


def _record(writer: Writer, result: SchedulerResult) -> None:
    writer.record_run(run_record(result))


def _run(
    plan: Plan,
    report: RunReport,
    started: datetime,
    writer: Writer | None,
    stop: Callable[[], bool],
    progress: Callable[[Outcome], None],
    executor: Executor | None,
) -> None:
    if writer is not None:
        _begin(plan, started, writer)
    with ExitStack() as stack:
        store = writer or stack.enter_context(closing(plan.run.stores.reader()))
        known = store.known(plan.run.domain.name, [partition.key for partition in plan.partitions])
        tasks = _tasks(plan, known, store.anomalies(plan.run.domain.name, acknowledged=True))
        if not plan.apart:
            tasks = _beside(plan.run, tasks, store)
        for position, outcome in _outcomes(tasks, plan, report, stop, executor):
            report.done[position] = outcome
            progress(outcome)
        if not plan.apart:
            _compare_firsts(plan, report, tasks)
        left = [task.partition.key for position, task in enumerate(tasks) if position not in report.done]
        if left:
            cause = "stopped by a signal" if report.interrupted else "stopped after the first failure"
            report.warn(f"{cause}; not started: {', '.join(left)}")
        looks_on = plan.run.options.wants(CALC) and not plan.apart
        if looks_on and not report.interrupted and not (plan.fail_fast and left):
            _windows(plan, report, stop, store, executor)
        if plan.tells_open:
            report.anomalies = _still_open(plan, report, store.anomalies(plan.run.domain.name))


def _still_open(plan: Plan, report: RunReport, records: Sequence[AnomalyRecord]) -> list[Anomaly]:
    """The open anomalies of the plan's partitions that this run did not come upon, in plan order."""
    told = {(anomaly.partition_key, anomaly.kind) for outcome in report.outcomes for anomaly in outcome.anomalies}
    place = {partition.key: position for position, partition in enumerate(plan.partitions)}
    found = [record.anomaly for record in records if record.anomaly.partition_key in place]
    left = [anomaly for anomaly in found if (anomaly.partition_key, anomaly.kind) not in told]
    return sorted(left, key=lambda anomaly: (place[anomaly.partition_key], anomaly.kind))


def _begin(plan: Plan, started: datetime, writer: Writer) -> None:
    """Record that the run has begun; that another process keeps the database to itself is no reason not to begin."""
    scheduler = plan.scheduler or plan.run.domain.scheduler
    try:
        writer.record_start(run_start(plan.run.id, plan.run.domain.name, scheduler, started, plan.config))
    except StoreLocked as error:
        logger.warning("the start of the run could not be recorded: %s", error.message)


def _tasks(plan: Plan, known: Mapping[str, Known], anomalies: Sequence[AnomalyRecord]) -> list[Task]:
    open_anomalies: dict[str, dict[str, Severity]] = {}
    for record in anomalies:
        open_anomalies.setdefault(record.anomaly.partition_key, {})[record.anomaly.kind] = record.anomaly.severity
    return [
        Task(plan.run, partition, known[partition.key], open_anomalies.get(partition.key, {}))
        for partition in plan.partitions
    ]


def _beside(run: Run, tasks: list[Task], store: Reader) -> list[Task]:
    """The tasks, those that may bring something for the first time with what that is compared with."""
    if not any(task.is_awaited and run.domain.place(task.partition) for task in tasks):
        return tasks
    from market_spine.app.neighbours import beside

    return beside(run, tasks, store)


def _compare_firsts(plan: Plan, report: RunReport, tasks: Sequence[Task]) -> None:
    """Compare what the run brought first with each other; a finding joins the anomalies of its partition."""
    run = plan.run
    brought = any(each.status is RunStatus.COMPLETED and each.is_revision is False for each in report.runs)
    if run.stores.writer is None or not brought or (run.rules is None and not run.domain.legs):
        return
    from market_spine.app.neighbours import compare_firsts

    compared = guarded(lambda: compare_firsts(plan, report.outcomes, tasks))
    if isinstance(compared, MarketSpineError):
        report.warn(f"what was loaded first could not be compared with each other: {compared.message}")
    else:
        report.done = dict(zip(sorted(report.done), compared, strict=True))


def _outcomes(
    tasks: Sequence[Task],
    plan: Plan,
    report: RunReport,
    stop: Callable[[], bool],
    executor: Executor | None,
) -> Iterator[tuple[int, Outcome]]:
    """Outcomes as they come, each with its position; starts no task once told to stop."""
    if executor is None and plan.workers == 1:
        yield from _one_by_one(tasks, plan, report, stop)
        return
    from market_spine.app import executing

    if executor is None:
        yield from executing.on_threads(tasks, plan, report, stop)
    else:
        yield from executing.elsewhere(tasks, plan, report, stop, executor)


def _one_by_one(
    tasks: Sequence[Task], plan: Plan, report: RunReport, stop: Callable[[], bool]
) -> Iterator[tuple[int, Outcome]]:
    for position, task in enumerate(tasks):
        if stop():
            report.interrupted = True
            return
        outcome = plan.work(task)
        yield position, outcome
        if outcome.failed and plan.fail_fast:
            return


def _windows(plan: Plan, report: RunReport, stop: Callable[[], bool], store: Reader, executor: Executor | None) -> None:
    """Compute the windows whose inputs moved, in this run or before, inside the plan or outside it."""
    run = plan.run
    compares = run.rules is not None or bool(run.domain.legs)
    if not run.domain.windows and not compares:
        return
    if run.stores.writer is None:
        from market_spine.app.windows import foresee_windows

        moved = {outcome.partition_key for outcome in report.outcomes if outcome.moves}
        again = {partition.key for partition in plan.partitions} if run.options.force else set()
        report.windows = foresee_windows(run.domain, store, moved, again)
        return
    versions = window_versions(run.domain)
    moves = store.moves(run.domain.name, versions)
    again = {partition.key for partition in plan.partitions} if run.options.force else set()
    if not moves.through or not (moves.keys is None or moves.keys or again):
        return
    from market_spine.app.windows import WindowRunner, stale_windows

    with closing(run.stores.reader()) as reader:
        if compares:
            _compare_shards(run, report, reader, moves)
        stale, known = stale_windows(run.domain, reader, moves.keys, again=again)
        if executor is None and plan.workers == 1:
            windows, left = WindowRunner(run.domain, known, reader, run.stores.writer, run.id, run.clock), list(stale)
            while left and not stop():
                report.windows.append(windows.run(left.pop(0)))
        else:
            report.windows, left = _side_by_side(stale, plan, reader, stop, executor)
        if left:
            report.interrupted = True
            report.warn(f"stopped by a signal; not computed: {left[0].calc.spec.pipeline}")
            return
    if incomplete := [window.partition.key for window in stale if not window.complete]:
        report.warn(f"windows that look back beyond what is known are marked incomplete: {', '.join(incomplete)}")
    if all(each.status is not RunStatus.FAILED for each in report.windows):
        _keep_check(run, versions, moves.through)


def _side_by_side(
    stale: Sequence[Window], plan: Plan, reader: Reader, stop: Callable[[], bool], executor: Executor | None
) -> tuple[list[PipelineRun], list[Window]]:
    """The runs of windows that workers compute, on threads here or elsewhere, and those that were not come to."""
    from market_spine.app.executing import Threads, windows_by_line

    if executor is not None:
        return windows_by_line(stale, plan.run, reader, stop, executor)
    with Threads(plan) as threads:
        return windows_by_line(stale, plan.run, reader, stop, threads)


def _compare_shards(run: Run, report: RunReport, reader: Reader, moves: Moves) -> None:
    """Compare what shards brought since windows were last looked at with its neighbours."""
    own = {each.partition_key for each in report.runs if each.status is RunStatus.COMPLETED}
    keys = {*(reader.partition_keys(run.domain.name) if moves.keys is None else moves.keys)} - own
    if not keys:
        return
    from market_spine.app.neighbours import compare_shards

    found = guarded(lambda: compare_shards(run, reader, keys))
    if isinstance(found, MarketSpineError):
        report.warn(f"what shards loaded first could not be compared with its neighbours: {found.message}")
    else:
        report.anomalies.extend(found)


def _keep_check(run: Run, versions: str, through: datetime) -> None:
    """Keep that all windows stand; without it the next run merely looks at more of them."""

    def keep() -> None:
        assert run.stores.writer is not None
        with closing(run.stores.writer()) as store:
            store.record_window_check(run.domain.name, versions, through, run.id)

    if isinstance(problem := guarded(keep), MarketSpineError):
        logger.warning("that all windows stand could not be recorded: %s", problem.message)
