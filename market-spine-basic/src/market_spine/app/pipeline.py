"""One partition: fetch, examine, derive without any lock, then write everything in one transaction."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import cache
from typing import TypeVar

from market_spine.app import outcomes
from market_spine.app.draft import Draft, StageDraft
from market_spine.app.publication import DISAGREEMENTS, expect
from market_spine.app.scheduling import SkipReason
from market_spine.app.standing import Ingest, same_bytes, skipped, stands
from market_spine.app.task import Outcome, Task
from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Absent, Payload, Unchanged, Unread
from market_spine.core.domain import Publication
from market_spine.core.manifest import CALC, INGEST, NORMALIZE
from market_spine.core.ports import Reader, Writer
from market_spine.errors import ContentError, GuardError, MarketSpineError, SourceError, StoreLocked
from market_spine.telemetry import log_context

logger = logging.getLogger(__name__)

T = TypeVar("T")

_SCARCE = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN)
_SCARCITY = (
    r"(?i)cannot allocate|memory allocation|out of memory|can't start new thread|failed to spawn|too many open files"
    r"|resource temporarily unavailable|failed to map segment"
    r"|name 'Py\w+' is not defined"  # Polars goes on without its compiled part where that found no room
)
"""How libraries say that the process may not have more of something."""

ATTEMPTS = 5
"""How often a partition is worked out anew because another scheduler committed it meanwhile."""

_NOTED = (ContentError, GuardError, SourceError)
"""Failures that say something about the data or its source, and so are kept as anomalies."""


class Moved(Exception):
    """Another run committed this partition since it was examined."""


def run_partition(task: Task) -> Outcome:
    """Work through one partition. Never raises: whatever goes wrong is in the outcome."""
    return attempted(task, work_through)


def attempted(task: Task, work: Callable[[Task], Outcome]) -> Outcome:
    """Do some work on a partition, anew if another run committed it meanwhile. Never raises."""
    with log_context(run_id=task.run.id, partition=task.partition.key):
        for _ in range(ATTEMPTS):
            try:
                return _attempt(task, work)
            except Moved:
                logger.info("this partition was committed meanwhile: looking at it again")
                from market_spine.app.again import answered_before, renewed

                with closing(task.run.stores.reader()) as store:
                    task = renewed(task, store)
                    if done := answered_before(task, store):
                        return done
        return outcomes.skip(task, SkipReason.LOCKED)


def guarded(work: Callable[[], T]) -> T | MarketSpineError:
    """Run some work; what it raises comes back as an error to report, so that no partition touches another."""
    try:
        return work()
    except Moved:
        raise
    except MarketSpineError as error:
        return error
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic of Polars is no Exception
        logger.exception("unexpected error")
        return unexpected(error)


def unexpected(error: BaseException) -> MarketSpineError:
    """What an error that nobody foresaw means: that the process lacks something, or a defect."""
    text = f"{type(error).__name__}: {error}"
    scarce = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SCARCE)
    if scarce or re.search(_SCARCITY, text):
        return MarketSpineError(
            f"the process may not have more memory, threads or open files ({text})",
            hint="give it more (ulimit, the container's limits), or less at once: fewer --workers, fewer partitions",
            kind="resources",
        )
    if isinstance(error, ImportError):
        return MarketSpineError(
            f"a library cannot be loaded ({error})", hint="install the program anew: pip install market-spine-basic"
        )
    return MarketSpineError(text, hint="this is a defect in Market Spine or in the domain; the log has the traceback")


def _attempt(task: Task, work: Callable[[Task], Outcome]) -> Outcome:
    started = task.run.clock()
    result = guarded(lambda: work(task))
    if isinstance(result, StoreLocked):
        logger.warning("%s", result.message)
        return outcomes.skip(task, SkipReason.LOCKED)
    if isinstance(result, MarketSpineError):
        stage = INGEST if task.run.options.only_stage == "all" else task.run.options.only_stage
        run = outcomes.failure(task, stage, result, task.run.clock() - started)
        return Outcome(task.partition.key, (run,), _note_failure(task, result))
    return result


def work_through(task: Task) -> Outcome:
    """One attempt at a partition; raises what goes wrong, and Moved."""
    started = task.run.clock()
    payload: Payload | None = None
    unchanged = Unchanged()
    disagreement: Anomaly | None = None
    if task.run.options.wants(INGEST):
        publication, disagreement = expect(task)
        if publication is Publication.NOT_DUE:
            return outcomes.skip(task, SkipReason.NOT_DUE)
        fetched = task.run.source.fetch(task.partition, task.known)
        if isinstance(fetched, Absent | Unread):
            return _unfetched(task, publication, fetched)
        if isinstance(fetched, Unchanged):
            if fetched.moved:
                raise Moved
            unchanged = fetched
        else:
            payload = fetched
    with ExitStack() as stack:

        @cache
        def store() -> Reader:
            """Opened only when it is needed: an unchanged partition is done without it."""
            return stack.enter_context(closing((task.run.stores.writer or task.run.stores.reader)()))

        ingest = _examined(task, store, payload) if payload else skipped(task, SkipReason(unchanged.reason))
        ingest.draft.anomalies.extend(unchanged.anomalies)
        _note_disagreement(task, ingest, disagreement)
        elapsed = task.run.clock() - started
        if task.run.stores.writer is None:
            return outcomes.planned(task, ingest, elapsed)
        # Where all there ever was is retracted, there is nothing to derive from.
        nothing = ingest.target is None and ingest.reason == SkipReason.RETRACTED
        problem = ingest.hold or (None if nothing else derive(task, store, ingest))
        if isinstance(problem, _NOTED):
            ingest.draft.anomalies.append(outcomes.anomaly(task, problem, ingest.held))
    if ingest.draft:
        commit_draft(task, ingest.draft)
    return outcomes.outcome(task, ingest, elapsed)


def _examined(task: Task, store: Callable[[], Reader], payload: Payload) -> Ingest:
    """What a payload brings. What reads and compares rows is imported where there are rows to be read."""
    if same_bytes(task, payload) and not (payload.keep_record or task.run.options.force):
        return skipped(task, SkipReason.SAME_BYTES)
    from market_spine.app.examine import examine

    return examine(task, store, payload)


def _note_disagreement(task: Task, ingest: Ingest, disagreement: Anomaly | None) -> None:
    """Keep that calendar and source disagree about the partition, or that they no longer do."""
    if task.run.options.wants(INGEST):
        ingest.draft.resolves |= DISAGREEMENTS.intersection(task.open_anomalies)
    if disagreement is not None:
        ingest.draft.anomalies.append(disagreement)


def derive(task: Task, store: Callable[[], Reader], ingest: Ingest) -> MarketSpineError | None:
    """Draft the stages that are asked for; returns why one failed. They move together: if one fails none is
    written, but the capture is, and the next run starts from it."""
    draft = ingest.draft

    def work_out(stage: str) -> StageDraft | None:
        if stands(task, ingest, stage):
            return None
        from market_spine.app.derive import draft_calc, draft_normalize

        if stage == NORMALIZE:
            return draft_normalize(task, store, ingest)
        return draft_calc(task, store, draft.stages.get(NORMALIZE))

    for stage in filter(task.run.options.wants, (NORMALIZE, CALC)):
        drafted = guarded(lambda stage=stage: work_out(stage))  # type: ignore[misc]
        if isinstance(drafted, MarketSpineError):
            draft.stages.clear()
            draft.failed = (stage, drafted)
            _keep_reviewed(task, draft)
            return drafted
        if drafted is None:
            draft.up_to_date.append(stage)
        else:
            draft.stages[stage] = drafted
    _keep_reviewed(task, draft)
    return None


def _keep_reviewed(task: Task, draft: Draft) -> None:
    """What a review of the whole partition opened, only a review ends: a payload may show a range of it."""
    domain, calc = task.run.domain, draft.stages.get(CALC)
    if not draft:
        return
    if calc is None:
        draft.resolves -= domain.reviewed
    else:
        draft.anomalies.extend(calc.review)
        draft.resolves |= domain.reviewed.intersection(task.open_anomalies)


def commit_draft(task: Task, draft: Draft) -> None:
    """Write it; raises Moved if another run committed the partition since it was examined."""
    with closing(_writer(task)) as store:
        draft.prepare(store, task.run.domain, task.run.clock)
        with store.commit(task.partition) as commit:
            if commit.known().last_id != task.known.last_id:
                raise Moved
            draft.write(commit, task.run.domain, task.run.clock)


def _writer(task: Task) -> Writer:
    if task.run.stores.writer is None:
        raise MarketSpineError("a dry run was about to write")
    return task.run.stores.writer()


def _unfetched(task: Task, publication: Publication, answer: Absent | Unread) -> Outcome:
    if isinstance(answer, Unread):
        return outcomes.unread(task)
    if task.known.captures:
        return outcomes.skip(task, SkipReason.SOURCE_ABSENT)
    if publication is Publication.DUE or task.run.ahead:
        return outcomes.skip(task, SkipReason.NOT_DUE)
    raise SourceError(
        f"{task.partition.key} has been published, but the source has nothing for it"
        + (f": {answer.message}" if answer.message else ""),
        hint="fetch the file, or check the data directory and the file's name",
        kind="late",
    )


def _note_failure(task: Task, error: MarketSpineError) -> tuple[Anomaly, ...]:
    """Keep a failure of the data or its source as an anomaly, where the run may write at all."""
    if not isinstance(error, _NOTED):
        return ()
    found = outcomes.anomaly(task, error)

    def write() -> None:
        with closing(_writer(task)) as store, store.commit(task.partition) as commit:
            commit.note(found)

    if task.run.stores.writer is not None and isinstance(problem := guarded(write), MarketSpineError):
        logger.error("the anomaly could not be recorded: %s", problem.message)
    return (found,)
