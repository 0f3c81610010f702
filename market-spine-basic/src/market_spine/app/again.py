"""Work that is done a second time in one run: what the first time committed is the answer.

A worker may be lost between its commit and its answer. Whoever gets its partition then finds entries of its own run.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from market_spine.app import outcomes, pipeline
from market_spine.app.scheduling import PipelineRun
from market_spine.app.task import Outcome, Task
from market_spine.core.anomaly import HELD, Anomaly
from market_spine.core.capture import Unchanged
from market_spine.core.manifest import CALC, INGEST, NORMALIZE, Committed, Known
from market_spine.core.partition import Partition
from market_spine.core.ports import Reader
from market_spine.errors import GuardError, MarketSpineError

_STAGES = (INGEST, NORMALIZE, CALC)


class _Settled(NamedTuple):
    """The source of a partition whose bytes this run has committed."""

    def fetch(self, partition: Partition, known: Known) -> Unchanged:
        """The source was asked the first time."""
        return Unchanged("same_bytes")


def answered_before(task: Task, store: Reader) -> Outcome | None:
    """The outcome of what an earlier attempt of the same run committed for a partition; None if it did not.

    Args:
        task: the partition, with what is known of it now.
        store: where it was committed.
    """
    domain = task.run.domain
    history = store.history(domain.name, task.partition.key)
    own = {each.entry.stage: each for each in history if each.entry.run_id == task.run.id}
    if not any(stage in own for stage in _STAGES):
        return None
    moment = own[max(own, key=lambda stage: own[stage].entry.manifest_id)].committed_at
    anomalies = tuple(
        record.anomaly
        for record in store.anomalies(domain.name, acknowledged=True)
        # All that a transaction writes has one moment.
        if record.anomaly.partition_key == task.partition.key and record.last_seen == moment
    )
    ingest = own.get(INGEST)
    if ingest is not None and ingest.entry.status == "held":
        return Outcome(task.partition.key, (_held(task, ingest, anomalies),), anomalies)
    runs = {run.pipeline: run for run in _rest(task).runs}
    runs |= {run.pipeline: run for run in (_run(task, own[stage], history) for stage in _STAGES if stage in own)}
    in_order = [runs[spec.pipeline] for spec in domain.stages if spec.pipeline in runs]
    done = [run for run in in_order if run.status != "skipped"]
    return Outcome(task.partition.key, tuple(in_order if done else in_order[:1]), anomalies)


def _rest(task: Task) -> Outcome:
    """The stages that the first attempt left: those that stand are skipped, one that failed fails again."""
    options = task.run.options._replace(force=False)
    run = task.run._replace(source=_Settled(), options=options)
    return pipeline.run_partition(task._replace(run=run, open_anomalies={}))


def _run(task: Task, own: Committed, history: Sequence[Committed]) -> PipelineRun:
    entry = own.entry
    if entry.stage == INGEST:
        return outcomes.recorded_ingest(task, entry)
    earlier = any(each.entry.stage == entry.stage and each.entry.manifest_id < entry.manifest_id for each in history)
    return outcomes.recorded_stage(task.run.domain.stages, entry, is_revision=earlier)


def _held(task: Task, held: Committed, anomalies: Sequence[Anomaly]) -> PipelineRun:
    """The failure of a payload that a guard held, as its anomaly has it."""
    for each in anomalies:
        if each.details.get(HELD) == held.entry.capture_id:
            error = GuardError(each.message, kind=each.kind, hint=str(each.details.get("hint", "")))
            return outcomes.failure(task, INGEST, error, outcomes.NO_TIME)
    error = GuardError(f"capture {held.entry.capture_id} is held", hint="market-spine anomalies says why")
    return outcomes.failure(task, INGEST, error, outcomes.NO_TIME)


def lost(task: Task, error: MarketSpineError) -> Outcome:
    """The outcome of a partition whose worker was lost: what it had committed, else the failure. Never raises."""

    def look() -> Outcome | None:
        with closing(task.run.stores.reader()) as store:
            return answered_before(renewed(task, store), store)

    found = None if task.run.stores.writer is None else pipeline.guarded(look)
    if isinstance(found, Outcome):
        return found
    stage = INGEST if task.run.options.only_stage == "all" else task.run.options.only_stage
    return Outcome(task.partition.key, (outcomes.failure(task, stage, error, outcomes.NO_TIME),))


def renewed(task: Task, store: Reader) -> Task:
    """The task with what is known of its partition now."""
    return task._replace(known=store.known(task.run.domain.name, [task.partition.key])[task.partition.key])
