"""What the result says of one partition: its pipeline runs and anomalies."""

from __future__ import annotations

import logging
from datetime import timedelta

from market_spine.app.draft import StageDraft
from market_spine.app.scheduling import ErrorDetail, PipelineRun, RevisionSummary, RunStatus, SkipReason
from market_spine.app.standing import Ingest, calc_fingerprint, normalize_fingerprint, standing
from market_spine.app.task import Outcome, Task
from market_spine.core.anomaly import HELD, Anomaly
from market_spine.core.domain import StageSpec
from market_spine.core.manifest import CALC, INGEST, NORMALIZE, Entry, legs_of
from market_spine.core.revision import Change
from market_spine.errors import MarketSpineError

logger = logging.getLogger(__name__)

NO_TIME = timedelta()


def outcome(task: Task, ingest: Ingest, elapsed: timedelta) -> Outcome:
    """What was done, after it was committed."""
    draft = ingest.draft
    runs: list[PipelineRun] = []
    if ingest.hold:
        runs.append(failure(task, INGEST, ingest.hold, elapsed))
    elif task.run.options.wants(INGEST):
        runs.append(_ingest_run(task, ingest, elapsed, RunStatus.COMPLETED))
    for stage in (NORMALIZE, CALC):
        if stage in draft.stages:
            runs.append(stage_run(task.run.domain.stages, draft.stages[stage]))
        elif stage in draft.up_to_date:
            runs.append(_run(task, stage, RunStatus.SKIPPED, reason=SkipReason.UP_TO_DATE))
        elif draft.failed and draft.failed[0] == stage:
            runs.append(failure(task, stage, draft.failed[1], NO_TIME))
    return _outcome(task, ingest, runs)


def planned(task: Task, ingest: Ingest, elapsed: timedelta) -> Outcome:
    """A dry run's answer: what each stage would do."""
    if ingest.hold:
        held = failure(task, INGEST, ingest.hold, elapsed)
        return Outcome(task.partition.key, (held,), (anomaly(task, ingest.hold, ingest.held),))
    runs = [_ingest_run(task, ingest, elapsed, RunStatus.PLANNED)] if task.run.options.wants(INGEST) else []
    moves = False
    if ingest.target is not None:
        normalized = normalize_fingerprint(task, ingest.target)
        for stage, print_ in ((NORMALIZE, normalized), (CALC, calc_fingerprint(task, normalized))):
            if not task.run.options.wants(stage):
                continue
            moves = stage == CALC and standing(task, stage) != print_
            if standing(task, stage) == print_ and not task.run.options.force:
                runs.append(_run(task, stage, RunStatus.SKIPPED, reason=SkipReason.UP_TO_DATE))
            else:
                runs.append(_run(task, stage, RunStatus.PLANNED, entry=ingest.target))
    return _outcome(task, ingest, runs)._replace(moves=moves)


def skip(task: Task, reason: SkipReason) -> Outcome:
    """A partition that was skipped as a whole."""
    return Outcome(task.partition.key, (_run(task, INGEST, RunStatus.SKIPPED, reason=reason),))


def unread(task: Task) -> Outcome:
    """A dry run's answer for a source that it does not ask: every stage would run if the source has news."""
    stages = [stage for stage in (INGEST, NORMALIZE, CALC) if task.run.options.wants(stage)]
    runs = tuple(_run(task, stage, RunStatus.PLANNED) for stage in stages)
    return Outcome(task.partition.key, runs, moves=True)


def failure(task: Task, stage: str, error: MarketSpineError, elapsed: timedelta) -> PipelineRun:
    """A failed run, also told to the log."""
    logger.error("%s failed: %s", stage, error.message, extra={"kind": error.kind, "hint": error.hint})
    return _run(task, stage, RunStatus.FAILED, elapsed=elapsed, error=error)


def anomaly(task: Task, error: MarketSpineError, held: str = "") -> Anomaly:
    """A failure of the data or its source, as an anomaly; ``held`` names the capture that a guard holds for it."""
    details = {"hint": error.hint, **({HELD: held} if held else {})}
    return Anomaly(error.kind, "error", task.partition.key, error.message, details)


def stage_run(specs: tuple[StageSpec, ...], draft: StageDraft) -> PipelineRun:
    """A derived stage that was computed and written."""
    return PipelineRun(
        pipeline=next(spec.pipeline for spec in specs if spec.name == draft.entry.stage),
        partition_key=draft.entry.partition.key,
        status=RunStatus.COMPLETED,
        duration_ms=_milliseconds(draft.elapsed),
        capture_id=draft.entry.capture_id,
        row_count=draft.entry.row_count,
        is_revision=draft.is_revision and bool(draft.change),
        revision_summary=summary(draft.change) if draft.is_revision else None,
    )


def recorded_ingest(task: Task, entry: Entry) -> PipelineRun:
    """An ingest whose entry stands in the manifest, as the result would have told it then."""
    if entry.status == "noted":
        if task.run.options.force:
            return _run(task, INGEST, RunStatus.COMPLETED, entry=entry, change=Change(), is_revision=False)
        return _run(task, INGEST, RunStatus.SKIPPED, reason=SkipReason.SAME_ROWS, entry=entry)
    return _run(task, INGEST, RunStatus.COMPLETED, entry=entry, change=entry.change, is_revision=entry.is_revision)


def recorded_stage(specs: tuple[StageSpec, ...], entry: Entry, *, is_revision: bool) -> PipelineRun:
    """The same of a derived stage; ``is_revision``: it had been computed before."""
    change = entry.change or Change()
    draft = StageDraft(entry, {}, is_revision=entry.is_revision or (is_revision and not change), change=change)
    return stage_run(specs, draft)


def _outcome(task: Task, ingest: Ingest, runs: list[PipelineRun]) -> Outcome:
    """A partition skipped as a whole is one entry: the first, which has the reason."""
    if all(run.status is RunStatus.SKIPPED for run in runs):
        runs = runs[:1]
    return Outcome(task.partition.key, tuple(runs), tuple(ingest.draft.anomalies))


def _ingest_run(task: Task, ingest: Ingest, elapsed: timedelta, done: RunStatus) -> PipelineRun:
    if ingest.reason:
        reason = SkipReason(ingest.reason)
        return _run(task, INGEST, RunStatus.SKIPPED, reason=reason, entry=ingest.target, elapsed=elapsed)
    drafted = ingest.draft.ingest
    return _run(
        task,
        INGEST,
        done,
        entry=ingest.target,
        change=ingest.change,
        elapsed=elapsed,
        is_revision=drafted is not None and drafted.is_revision,
    )


def _run(
    task: Task,
    stage: str,
    status: RunStatus,
    *,
    reason: SkipReason | None = None,
    entry: Entry | None = None,
    change: Change | None = None,
    elapsed: timedelta = NO_TIME,
    is_revision: bool | None = None,
    error: MarketSpineError | None = None,
) -> PipelineRun:
    if entry is None and error is None and task.known.current:
        entry = task.known.current.entry
    return PipelineRun(
        pipeline=next(spec.pipeline for spec in task.run.domain.stages if spec.name == stage),
        partition_key=task.partition.key,
        status=status,
        duration_ms=_milliseconds(elapsed),
        capture_id=entry.capture_id if entry else None,
        row_count=entry.row_count if entry else None,
        is_revision=is_revision,
        revision_summary=summary(change) if change is not None else None,
        reason=reason,
        error=ErrorDetail.of(error) if error else None,
        legs=(legs_of(entry, task.run.domain.legs) or None) if stage == INGEST and entry else None,
    )


def summary(change: Change) -> RevisionSummary:
    """The counts, as the result has them."""
    return RevisionSummary(rows_added=change.added, rows_removed=change.removed, rows_changed=change.changed)


def _milliseconds(elapsed: timedelta) -> int:
    return max(0, round(elapsed / timedelta(milliseconds=1)))
