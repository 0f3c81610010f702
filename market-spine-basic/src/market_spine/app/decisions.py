"""What people decide: let a held capture through, take a capture back, set an anomaly aside.

Each is one transaction of its partition, with the decision in it, worked out and committed as a run's partition is.
"""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from market_spine.app import guards, outcomes
from market_spine.app.draft import Draft, partition_scope
from market_spine.app.examine import Content, accept, hashed, tables_hash
from market_spine.app.pipeline import attempted, commit_draft, derive
from market_spine.app.replay import committed_ingests, contributions, fold
from market_spine.app.scheduling import PipelineRun, RunStatus, SkipReason
from market_spine.app.standing import Ingest
from market_spine.app.task import Outcome, Task
from market_spine.core.anomaly import HELD
from market_spine.core.capture import source_hash
from market_spine.core.decision import Decision, Verb
from market_spine.core.fingerprint import fingerprint
from market_spine.core.manifest import INGEST, Entry
from market_spine.core.ports import Reader
from market_spine.core.revision import Change, diff_rows
from market_spine.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Asked(NamedTuple):
    """A decision as a person asks for it; fields as in ``Decision``."""

    verb: Verb
    reason: str
    capture_id: str = ""
    kind: str = ""
    until: date | None = None


def decide(asked: Asked, task: Task) -> Outcome:
    """Carry out a decision on its partition. Never raises: whatever goes wrong is in the outcome."""
    return attempted(task, partial(_decide, asked))


def _decide(asked: Asked, task: Task) -> Outcome:
    started = task.run.clock()
    with closing((task.run.stores.writer or task.run.stores.reader)()) as store:
        ingest = _WORK[asked.verb](asked, task, store)
        if not ingest.reason:
            ingest.draft.decisions.append(_decision(asked, task, ingest))
        writes = task.run.stores.writer is not None and not ingest.reason
        if writes and ingest.content is not None:
            problem = derive(task, lambda: store, ingest)
            if problem is not None:
                ingest.draft.anomalies.append(outcomes.anomaly(task, problem))
    if writes:
        commit_draft(task, ingest.draft)
    return _outcome(asked, task, ingest, task.run.clock() - started)


def _decision(asked: Asked, task: Task, ingest: Ingest) -> Decision:
    about = asked.kind or ",".join(ingest.overrode)
    by, run_id = task.run.options.by, task.run.id
    return Decision(
        asked.verb, task.partition.key, asked.reason, by, run_id, asked.capture_id or None, about, asked.until
    )


def _accept(asked: Asked, task: Task, store: Reader) -> Ingest:
    """The capture becomes current; if it once was and was taken back, it returns to its place."""
    ingests = committed_ingests(store, task.run.domain, task.partition)
    if any(entry.capture_id == asked.capture_id for entry in ingests):
        if asked.capture_id not in task.known.retracted:
            return _nothing(task, SkipReason.UP_TO_DATE)
        return _replayed(task, store, ingests, task.known.retracted - {asked.capture_id})
    return accept(task, lambda: store, _observed(asked, task, store))


def _retract(asked: Asked, task: Task, store: Reader) -> Ingest:
    """The partition becomes what it would be without the capture."""
    if asked.capture_id in task.known.retracted:
        return _nothing(task, SkipReason.RETRACTED)
    ingests = committed_ingests(store, task.run.domain, task.partition)
    retracted = task.known.retracted | {asked.capture_id}
    ended = _holding(task, store, asked.capture_id)
    taken = _taken(task, _observed(asked, task, store))
    if all(entry.capture_id != asked.capture_id for entry in ingests):
        # It never was current: nothing to undo.
        return Ingest(Draft(taken=taken, resolves=ended), None)
    if any(entry.capture_id not in retracted for entry in ingests):
        ingest = _replayed(task, store, ingests, retracted)
        ingest.draft.taken = taken
        return ingest
    rows = store.read(task.run.domain.tables[0], partition_scope(task.run.domain.tables[0], task.partition))
    draft = Draft(
        taken=taken._replace(status="emptied"),
        resolves=_open_kinds(task, store),
    )
    return Ingest(draft, None, change=Change(removed=rows.height))


def _acknowledge(asked: Asked, task: Task, store: Reader) -> Ingest:
    """The anomaly has been seen."""
    if asked.kind not in task.open_anomalies:
        known = ", ".join(sorted(task.open_anomalies)) or "none"
        raise UsageError(
            f"{task.partition.key} has no open anomaly '{asked.kind}'; it has: {known}",
            hint="market-spine anomalies lists them",
        )
    if asked.until is not None and asked.until < task.run.clock().astimezone(UTC).date():
        raise UsageError(
            f"--until: {asked.until} has passed: the anomaly would be open again as soon as it is seen",
            hint="name a day that is to come, or none",
        )
    return Ingest(Draft(), None)


_WORK = {"accept": _accept, "retract": _retract, "ack": _acknowledge}


def _nothing(task: Task, reason: SkipReason) -> Ingest:
    current = task.known.current
    return Ingest(Draft(), current.entry if current else None, reason=reason)


def _observed(asked: Asked, task: Task, store: Reader) -> Entry:
    """The entry that first brought the capture."""
    for each in store.history(task.run.domain.name, task.partition.key):
        if each.entry.stage == INGEST and each.entry.capture_id == asked.capture_id:
            return each.entry
    raise UsageError(f"there is no capture '{asked.capture_id}' of {task.partition.key}")


def _taken(task: Task, observed: Entry) -> Entry:
    """The entry that says that a capture was taken back."""
    return observed._replace(
        status="retracted",
        run_id=task.run.id,
        row_count=0,
        rejected=0,
        duplicates=0,
        is_revision=False,
        change=None,
        input_captures=(),
        scope={},
        parts=(),
    )


def _replayed(task: Task, store: Reader, ingests: Sequence[Entry], retracted: frozenset[str]) -> Ingest:
    """The partition as its captures leave it, replayed without those that are retracted."""
    domain = task.run.domain
    left = [entry for entry in contributions(ingests) if entry.capture_id not in retracted]
    found = fold(store, domain, left)
    last, table = left[-1], domain.tables[0]
    alone = hashed(task, found.last)
    content = Content(found.normalized, tables_hash(task, found.normalized), alone.content_hash)
    digest = source_hash({part.name: part.sha256 for part in found.parts})
    rows = found.normalized.tables[table.name]
    change = diff_rows(store.read(table, partition_scope(table, task.partition)), rows, table.key).change
    entry = last._replace(
        manifest_id=0,
        fingerprint=fingerprint(INGEST, domain.stages[0].version, (last.capture_id, digest)),
        pipeline_version=domain.stages[0].version,
        source_hash=digest,
        content_hash=alone.content_hash,
        row_count=rows.height,
        run_id=task.run.id,
        rejected=found.normalized.rejects.height,
        duplicates=found.normalized.duplicates,
        # The source restated nothing.
        is_revision=False,
        change=change,
        input_captures=tuple(each.capture_id for each in left),
        scope={},
        parts=found.parts,
    )
    noted = guards.rejected_rows(found.normalized, task.partition.key)
    draft = Draft(
        ingest=entry,
        rejects=found.normalized.rejects,
        resolves=_open_kinds(task, store),
    )
    draft.anomalies.extend([*found.normalized.anomalies, *([noted] if noted else [])])
    return Ingest(draft, entry, content, change=change)


def _holding(task: Task, store: Reader, capture_id: str) -> frozenset[str]:
    """Kinds of the unresolved anomalies of guards that hold a capture."""
    return frozenset(
        record.anomaly.kind
        for record in store.anomalies(task.run.domain.name, acknowledged=True)
        if record.anomaly.partition_key == task.partition.key and record.anomaly.details.get(HELD) == capture_id
    )


def _open_kinds(task: Task, store: Reader) -> frozenset[str]:
    """Kinds of the unresolved anomalies, but for those of a payload that stays held."""
    held = task.known.held
    return frozenset(task.open_anomalies) - (_holding(task, store, held.entry.capture_id) if held else frozenset())


def _outcome(asked: Asked, task: Task, ingest: Ingest, elapsed: timedelta) -> Outcome:
    """The decision's own entry, then those of the stages that followed from it."""
    dry = task.run.stores.writer is None
    done = RunStatus.SKIPPED if ingest.reason else RunStatus.PLANNED if dry else RunStatus.COMPLETED
    target = ingest.target
    emptied = ingest.draft.taken is not None and ingest.draft.taken.status == "emptied"
    if target is None and not emptied and task.known.current:
        target = task.known.current.entry
    change = ingest.change
    own = PipelineRun(
        pipeline=f"{task.run.domain.name}.{asked.verb}",
        partition_key=task.partition.key,
        status=done,
        duration_ms=max(0, round(elapsed / timedelta(milliseconds=1))),
        capture_id=target.capture_id if target else None,
        row_count=target.row_count if target else 0,
        is_revision=bool(change) if asked.verb != "ack" else None,
        revision_summary=outcomes.summary(change) if change is not None else None,
        reason=ingest.reason or None,
    )
    later: tuple[PipelineRun, ...] = ()
    if ingest.content is not None:
        made = outcomes.planned(task, ingest, elapsed) if dry else outcomes.outcome(task, ingest, elapsed)
        later = made.runs[1:]
    return Outcome(task.partition.key, (own, *later), tuple(ingest.draft.anomalies))
