"""What of a partition stands as it is: told by hashes and fingerprints alone, without a row being read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from market_spine.app.draft import Draft
from market_spine.app.task import Task
from market_spine.core.capture import Payload
from market_spine.core.fingerprint import fingerprint
from market_spine.core.manifest import CALC, NORMALIZE, Entry
from market_spine.core.revision import Change
from market_spine.errors import GuardError

if TYPE_CHECKING:
    from market_spine.app.examine import Content
    from market_spine.app.replay import Comparison

_AGREES = ("same_bytes", "same_rows", "unchanged_at_source")
"""Reasons that say that the source has what we hold."""


class Ingest(NamedTuple):
    """What ingest found out.

    Attributes:
        target: the ingest entry that the derived stages work from (None: there is none, or it is held).
        content: the target's content where it was read on the way.
        found: the comparison with what was known, where one was needed.
        reason: why ingest was skipped, empty if it was not.
        change: the revision summary; None for a first capture.
        hold: the guard that held the payload.
        held: the id of the capture that it holds.
        overrode: kinds of the guards that would have held it.
    """

    draft: Draft
    target: Entry | None
    content: Content | None = None
    found: Comparison | None = None
    reason: str = ""
    change: Change | None = None
    hold: GuardError | None = None
    held: str = ""
    overrode: tuple[str, ...] = ()


def same_bytes(task: Task, payload: Payload) -> bool:
    """Whether every fetched part is known to hold the rows of the current capture."""
    accepted = task.known.accepted
    return task.known.current is not None and all(part.sha256 in accepted.get(part.name, ()) for part in payload.parts)


def skipped(task: Task, reason: str) -> Ingest:
    """Ingest had nothing to do. An error that was open for the partition has ended if the source agrees with us."""
    current = task.known.current
    ended = frozenset(kind for kind, severity in task.open_anomalies.items() if severity == "error")
    draft = Draft(resolves=ended if reason in _AGREES else frozenset())
    return Ingest(draft, current.entry if current else None, reason=reason)


def is_replay(entry: Entry) -> bool:
    """Whether an ingest entry is what a decision left: its rows are those of all captures that it names, itself
    last, replayed in this order."""
    return entry.input_captures[-1:] == (entry.capture_id,)


def normalize_fingerprint(task: Task, target: Entry) -> str:
    """What the normalize stage of a capture is computed from."""
    replayed = target.input_captures if is_replay(target) else ()
    return fingerprint(NORMALIZE, task.run.domain.stages[1].version, (target.capture_id, target.source_hash, *replayed))


def standing(task: Task, stage: str) -> str | None:
    """The fingerprint under which a stage was last committed."""
    committed = task.known.stages.get(stage)
    return committed.entry.fingerprint if committed else None


def calc_fingerprint(task: Task, normalized: str) -> str:
    """What the calc stage is computed from: the fingerprint of its normalize stage."""
    return fingerprint(CALC, task.run.domain.stages[2].version, (normalized,))


def stands(task: Task, ingest: Ingest, stage: str) -> bool:
    """Whether the rows of a derived stage are what it would work out again, and no force asks for that."""
    if task.run.options.force:
        return False
    if stage == NORMALIZE:
        return ingest.target is not None and standing(task, stage) == normalize_fingerprint(task, ingest.target)
    base = task.known.stages.get(NORMALIZE)
    if base is None or NORMALIZE in ingest.draft.stages:
        return False
    return standing(task, stage) == calc_fingerprint(task, base.entry.fingerprint)
