"""What a store's manifest knows: entries as they are written and read, and the knowledge of one partition."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from market_spine.core.partition import Partition
from market_spine.core.revision import Change

INGEST, NORMALIZE, CALC = "ingest", "normalize", "calc"
"""The three stages of a partition, in order. Window calculations bring stage names of their own."""

ManifestStatus = Literal["committed", "held", "noted", "retracted", "emptied"]
"""``committed``: it is what we know. ``held``: a guard kept it back. ``noted``: other bytes, same rows.
``retracted``: a person took the capture back. ``emptied``: likewise, and the partition holds nothing without it."""


class PartRecord(NamedTuple):
    """Where one part of a capture is kept: ``carried`` when an earlier capture brought it."""

    name: str
    sha256: str
    origin: str
    size: int
    carried: bool = False
    metadata: Mapping[str, str] = {}


class Entry(NamedTuple):
    """One row of ``core_manifest`` before it is committed; ``manifest_id`` comes from ``Commit.next_id``.

    ``proven``: of an ingest, whether totals that came with it prove its rows; None where that was not recorded.
    """

    manifest_id: int
    partition: Partition
    stage: str
    status: ManifestStatus
    capture_id: str
    fingerprint: str
    pipeline_version: str
    source_hash: str
    content_hash: str
    row_count: int
    run_id: str
    rejected: int = 0
    duplicates: int = 0
    is_revision: bool = False
    change: Change | None = None
    input_captures: tuple[str, ...] = ()
    scope: Mapping[str, Any] = {}
    parts: tuple[PartRecord, ...] = ()
    proven: bool | None = None


def legs_of(capture: Entry, legs: Sequence[str]) -> tuple[str, ...]:
    """Which of a domain's legs a capture has."""
    names = {part.name for part in capture.parts}
    return tuple(leg for leg in legs if leg in names)


class Committed(NamedTuple):
    """One row of ``core_manifest`` as read back. ``captured_at``: when its capture was first committed."""

    entry: Entry
    committed_at: datetime
    captured_at: datetime


class Known(NamedTuple):
    """All that the manifest says of one partition now.

    Attributes:
        partition_key: whose it is.
        stages: stage name to its latest committed entry.
        accepted: part name to the SHA-256 digests whose rows are known to be the current capture's.
        held: the latest held entry if no later ``ingest`` was committed.
        captures: every capture id the partition has, held ones included, oldest first.
        revisions: how many committed captures replaced an earlier one.
        last_id: the highest manifest id of the partition, 0 if none: equal means nothing happened since.
        noted: the latest ``noted`` entry of the current capture, if there is one.
        retracted: the captures that a person has retracted and not accepted again.
    """

    partition_key: str
    stages: Mapping[str, Committed] = {}
    accepted: Mapping[str, frozenset[str]] = {}
    held: Committed | None = None
    captures: tuple[str, ...] = ()
    revisions: int = 0
    last_id: int = 0
    noted: Committed | None = None
    retracted: frozenset[str] = frozenset()

    @property
    def current(self) -> Committed | None:
        """The ingest entry of the current capture."""
        return self.stages.get(INGEST)

    @property
    def proven(self) -> bool | None:
        """Whether totals prove the current capture's rows, as they were last observed; None if that is not known."""
        last = self.noted or self.current
        return last.entry.proven if last else None


class Moves(NamedTuple):
    """Which partitions of a domain moved since all of its windows were last found to stand.

    Attributes:
        through: the latest commit moment that was looked at; None in a store without commits.
        keys: partitions with a manifest entry committed since; None if windows were never found to stand
            under the versions at hand, so that any may be stale.
    """

    through: datetime | None
    keys: frozenset[str] | None


class RunStart(NamedTuple):
    """A run as it begins: ``document`` is what stands for its result, as JSON, while it has none."""

    run_id: str
    domain: str
    scheduler: str
    started_at: datetime
    document: str


class RunRecord(NamedTuple):
    """One row of ``core_runs``: a scheduler result, whole, as JSON; or a run that has not ended, ``unfinished``."""

    run_id: str
    domain: str
    scheduler: str
    started_at: datetime
    finished_at: datetime | None
    status: str
    exit_code: int | None
    attempted: int
    succeeded: int
    failed: int
    skipped: int
    result: str

    def document(self) -> dict[str, Any]:
        """The result, as docs/contract.md describes it; of a run without one, what was recorded at its start."""
        found: dict[str, Any] = json.loads(self.result)
        return found
