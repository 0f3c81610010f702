"""THE CONTRACT: what every scheduler answers with, as records and as JSON.

A field without a default is always in the JSON, in this order; a field with one is an optional addition,
left out while it is None. Texts below fields become the descriptions in the JSON Schema. Nothing heavy is
imported until a result is parsed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from market_spine.core.anomaly import Anomaly
from market_spine.errors import MarketSpineError

if TYPE_CHECKING:
    from pydantic import ConfigDict, TypeAdapter

SCHEMA_VERSION: Literal["1.0.0"] = "1.0.0"
"""Stays as it is while changes are optional additions."""

_DESCRIBED: ConfigDict = {"use_attribute_docstrings": True}


class SchedulerStatus(StrEnum):
    """How a whole run ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    PARTIAL = "partial"
    DRY_RUN = "dry_run"


class RunStatus(StrEnum):
    """How one pipeline ended; ``planned`` is what a dry run says instead of ``completed``."""

    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    PLANNED = "planned"


class SkipReason(StrEnum):
    """Why a run was skipped. The set is open: later versions may give further reasons."""

    SAME_BYTES = "same_bytes"
    """The source's bytes are those already known."""
    SAME_ROWS = "same_rows"
    """Other bytes, but the same rows as already known."""
    UNCHANGED_AT_SOURCE = "unchanged_at_source"
    """The source told, without being read in full, that it has what is already known."""
    UP_TO_DATE = "up_to_date"
    """Every input of the stage is one it has already been computed from."""
    NOT_DUE = "not_due"
    """The partition is not published yet."""
    SOURCE_ABSENT = "source_absent"
    """The source no longer has the partition; what is known stays."""
    LOCKED = "locked"
    """Another scheduler was writing to the database for longer than this one waits."""
    RETRACTED = "retracted"
    """A person has retracted what the source has; only ``market-spine accept`` lifts that."""


EXIT_CODES: Mapping[SchedulerStatus, int] = {
    SchedulerStatus.SUCCESS: 0,
    SchedulerStatus.DRY_RUN: 0,
    SchedulerStatus.FAILURE: 1,
    SchedulerStatus.PARTIAL: 2,
}


KINDS: Mapping[str, tuple[str, ...]] = {
    "ErrorDetail": ("usage", "store_unavailable", "late", "truncated", "reject_budget", "shrunk", "internal"),
    "Anomaly": ("late", "rejected_rows", "shrunk", "large_revision", "missing_leg", "unverified"),
}
"""Examples of the ``kind`` of each record; docs/contract.md lists those there are. The sets are open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetail:
    """A failure, in the words of the exception that caused it."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    kind: str
    """A stable word for machines; the set of words is open."""
    message: str
    """What went wrong, and with which file, partition or flag."""
    hint: str
    """What to do next; empty if there is nothing to say."""

    @classmethod
    def of(cls, error: MarketSpineError) -> ErrorDetail:
        """Describe an error."""
        return cls(kind=error.kind, message=error.message, hint=error.hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionSummary:
    """How many rows a revision added, removed and changed, matched by key."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    rows_added: int
    """Keys that the previous capture did not have."""
    rows_removed: int
    """Keys that only the previous capture had."""
    rows_changed: int
    """Keys in both whose other values differ."""

    def __post_init__(self) -> None:
        _refuse_negative(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStats:
    """Counts of partitions: attempted = succeeded + failed + skipped."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    attempted: int
    """Partitions that were taken up."""
    succeeded: int
    """Every stage of the partition completed or was up to date, and at least one completed."""
    failed: int
    """A stage of the partition failed."""
    skipped: int
    """Nothing had to be done, or nothing could be done yet."""

    def __post_init__(self) -> None:
        _refuse_negative(self)
        if self.attempted != self.succeeded + self.failed + self.skipped:
            raise ValueError(f"attempted is not succeeded + failed + skipped: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRun:
    """One pipeline (stage) of one partition that ran, or was skipped as a whole."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    pipeline: str
    """Such as finra.otc_transparency.ingest_week."""
    partition_key: str
    """The partition's values joined by a bar, such as 2025-01-03|NMS_TIER_1."""
    status: RunStatus
    """completed, skipped, failed, or planned in a dry run."""
    duration_ms: int
    """Elapsed time in whole milliseconds."""
    capture_id: str | None
    """The capture the run brought or read; null if there is none."""
    row_count: int | None
    """Rows that the run accepted or computed; null if it got to none."""
    is_revision: bool | None
    """Whether the capture replaced an earlier one with other content; null if that was not decided."""
    revision_summary: RevisionSummary | None
    """What the revision changed; null for a first capture and where it was not compared."""
    reason: str | None = None
    """Why it was skipped; with every skipped run. The set of words is open."""
    error: ErrorDetail | None = None
    """Why it failed; with every failed run."""
    legs: tuple[str, ...] | None = None
    """The legs that the capture of an ingest has, where the domain has legs: ATS, NON_ATS."""

    def __post_init__(self) -> None:
        if self.duration_ms < 0 or (self.row_count or 0) < 0:
            raise ValueError(f"negative duration_ms or row_count: {self}")
        if (self.status is RunStatus.SKIPPED) != (self.reason is not None):
            raise ValueError(f"a run has a reason exactly when it was skipped: {self}")
        if (self.status is RunStatus.FAILED) != (self.error is not None):
            raise ValueError(f"a run has an error exactly when it failed: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerResult:
    """The whole answer of one scheduler run."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    schema_version: Literal["1.0.0"]
    """The contract's version."""
    domain: str
    """The domain's full name, such as finra.otc_transparency."""
    scheduler: str
    """The scheduler's name within the domain, such as weekly_ingest."""
    started_at: datetime
    """When the run began; UTC, in JSON with a closing Z."""
    finished_at: datetime
    """When the run ended; UTC, in JSON with a closing Z."""
    status: SchedulerStatus
    """How it ended; decides the exit code: success and dry_run 0, failure 1, partial 2."""
    stats: SchedulerStats
    """Counts of partitions."""
    runs: tuple[PipelineRun, ...]
    """One entry per pipeline run, in plan order: oldest partition first, stages in order."""
    anomalies: tuple[Anomaly, ...]
    """Odd data met in this run."""
    warnings: tuple[str, ...]
    """Odd requests and what was done with them, one sentence each."""
    config: Mapping[str, Any]
    """The values in effect, after clamping."""
    next_publication: date | None = None
    """The day on which something of what was selected is published next, this very day if it is still to come."""
    run_id: str | None = None
    """Identifies this run in core_runs and on every log line."""
    error: ErrorDetail | None = None
    """The critical error that ended the run before or between partitions."""

    def __post_init__(self) -> None:
        for name in ("started_at", "finished_at"):
            moment: datetime = getattr(self, name)
            if moment.utcoffset() is None:
                raise ValueError(f"{name} needs a time zone")
            # In UTC, equal moments are equal even where a zone's clock says the same hour twice.
            object.__setattr__(self, name, moment.astimezone(UTC))

    @property
    def exit_code(self) -> int:
        """0 for success and dry_run, 1 for failure, 2 for partial."""
        return EXIT_CODES[self.status]

    def to_json(self, indent: int | None = 2) -> str:
        """Render as one JSON document, without a closing line end; ``indent=None`` keeps it on one line.

        ``config`` and the ``details`` of anomalies must be JSON-ready. Numbers that JSON lacks (not-a-number
        and the infinities) become null, and the undecodable bytes of a file name are written as escapes.
        """
        return json.dumps(_plain(self), indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> SchedulerResult:
        """Parse and validate what ``to_json`` wrote; fields it does not know are ignored.

        Raises:
            MarketSpineError: kind ``contract``, naming the first fields that are missing or of another type.
        """
        from pydantic import ValidationError

        try:
            return _adapter().validate_json(text, strict=True)
        except ValidationError as error:
            found = "; ".join(
                f"{'.'.join(map(str, each['loc'])) or 'document'}: {each['msg']}" for each in error.errors()[:5]
            )
            raise MarketSpineError(
                f"not a scheduler result of schema {SCHEMA_VERSION}: {found}",
                kind="contract",
                hint="docs/contract.md describes every field",
            ) from error


def decide_status(
    stats: SchedulerStats,
    *,
    unchanged: int,
    window_failed: bool,
    critical: bool,
    undone: bool,
    dry_run: bool,
    idle: bool = False,
) -> SchedulerStatus:
    """Judge a whole run. The first line that applies decides:

    1. a critical error, or nothing attempted with nothing left undone (an empty selection): failure; but where
       ``--only`` left nothing of what was selected, line 5
    2. planned work left undone: partial if a partition succeeded or was found unchanged, else failure
    3. every attempted partition failed: failure
    4. some partition failed, or a window calculation outside the plan did: partial
    5. otherwise dry_run for a dry run, else success

    Args:
        stats: counts of partitions.
        unchanged: how many of the skipped partitions were found to hold what the source has.
        window_failed: a window calculation that ``stats`` does not count failed.
        critical: an error ended the run as a whole.
        undone: a signal or a spent quota left planned partitions untouched.
        dry_run: nothing was to be written.
        idle: partitions were selected, and none of them is in a state that ``--only`` names.
    """
    if critical or not (stats.attempted or undone or idle):
        return SchedulerStatus.FAILURE
    if undone:
        return SchedulerStatus.PARTIAL if stats.succeeded or unchanged else SchedulerStatus.FAILURE
    if stats.failed and stats.failed == stats.attempted:
        return SchedulerStatus.FAILURE
    if stats.failed or window_failed:
        return SchedulerStatus.PARTIAL
    return SchedulerStatus.DRY_RUN if dry_run else SchedulerStatus.SUCCESS


def result_schema() -> dict[str, Any]:
    """The contract as JSON Schema, draft 2020-12, built from the records above.

    ``status`` is a closed set. ``reason``, ``kind`` and ``state`` are open ones: their values are examples.
    """
    from pydantic import TypeAdapter

    from market_spine.app.states import PartitionState, State

    schema = _adapter().json_schema()
    defs = schema["$defs"]
    defs["PartitionState"] = TypeAdapter(PartitionState).json_schema()
    defs["PartitionState"]["properties"]["state"]["examples"] = [*State]
    defs["PipelineRun"]["properties"]["reason"]["examples"] = [*SkipReason]
    for name, kinds in KINDS.items():
        defs[name]["properties"]["kind"]["examples"] = [*kinds]
    for record in (RevisionSummary, SchedulerStats, PipelineRun):
        for prop in defs[record.__name__]["properties"].values():
            for option in prop.get("anyOf", [prop]):
                if option.get("type") == "integer":
                    option["minimum"] = 0
    defs["PipelineRun"]["allOf"] = [
        _only_with("status", RunStatus.SKIPPED, "reason"),
        _only_with("status", RunStatus.FAILED, "error"),
    ]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _only_with(name: str, value: str, companion: str) -> dict[str, Any]:
    """``companion`` is there, and not null, exactly when ``name`` has that value."""
    null = {"properties": {companion: {"type": "null"}}}
    return {
        "if": {"properties": {name: {"const": value}}},
        "then": {"required": [companion], "not": null},
        "else": null,
    }


@cache
def _adapter() -> TypeAdapter[SchedulerResult]:
    from pydantic import TypeAdapter

    return TypeAdapter(SchedulerResult)


def _plain(value: Any) -> Any:
    """``value`` as what the JSON writer understands."""
    if is_dataclass(value):
        return {
            each.name: _plain(content)
            for each in fields(value)
            if (content := getattr(value, each.name)) is not None or each.default is MISSING
        }
    if isinstance(value, Mapping):
        return {key: _plain(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(content) for content in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _refuse_negative(counts: RevisionSummary | SchedulerStats) -> None:
    if any(getattr(counts, each.name) < 0 for each in fields(counts)):
        raise ValueError(f"negative count: {counts}")
