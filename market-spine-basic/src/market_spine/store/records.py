"""Records to rows of the platform tables, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from market_spine.core.anomaly import Anomaly
from market_spine.core.manifest import Committed, Entry, PartRecord, RunRecord, RunStart
from market_spine.core.partition import Partition
from market_spine.core.revision import Change
from market_spine.errors import StoreCorrupt, UsageError
from market_spine.store.moments import from_text, to_text

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:
    from market_spine.core.commitlog import AnomalyEvent
    from market_spine.core.decision import Decision
    from market_spine.core.kept import AnomalyRecord, CheckRecord, DecisionRecord
    from market_spine.core.notice import Notice, NoticeRecord

MANIFEST_COLUMNS = (
    "manifest_id, domain, partition_key, stage, status, capture_id, fingerprint, pipeline_version,"
    " source_hash, content_hash, row_count, rejected, duplicates, is_revision, rows_added, rows_removed,"
    " rows_changed, input_captures, scope, run_id, committed_at, captured_at, proven"
)
PART_COLUMNS = "manifest_id, part, sha256, origin, size, carried, metadata"
RUN_COLUMNS = (
    "run_id, domain, scheduler, started_at, finished_at, status, exit_code, attempted, succeeded, failed,"
    " skipped, result"
)
START_COLUMNS = "run_id, domain, scheduler, started_at, document"
CHECK_COLUMNS = "run_id, domain, partition_key, pipeline, status, reason, kind, duration_ms, recorded_at"
ANOMALY_COLUMNS = (
    "domain, kind, severity, partition_key, message, details, first_seen, last_seen, count, resolved_at,"
    " acknowledged_at"
)
NOTICE_COLUMNS = "notification_id, sink, domain, partition_key, kind, first_seen, event, severity, sent_at"
EVENT_COLUMNS = "event_id, domain, partition_key, kind, event, severity, message, details, occurred_at"
DECISION_COLUMNS = (
    "decision_id, domain, partition_key, capture_id, verb, kind, decided_by, reason, quiet_until, run_id, decided_at"
)


def _kept_in(table: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """What reads a row of a table back; a row that cannot be read is StoreCorrupt, and is named."""

    def declare(read: Callable[P, R]) -> Callable[P, R]:
        @wraps(read)
        def reading(*arguments: P.args, **named: P.kwargs) -> R:
            try:
                return read(*arguments, **named)
            except (ValueError, TypeError, AttributeError, KeyError, RecursionError, StoreCorrupt) as error:
                row: Any = arguments[0]
                told = " ".join(str(value) for value in row[:3])
                raise StoreCorrupt(
                    f"a row of {table} cannot be read: {told} ({error})",
                    hint="`market-spine db check` lists all that is damaged; restore a backup",
                ) from error

        return reading

    return declare


def _fields(text: str) -> dict[str, Any]:
    """The object that a JSON text is; raises ValueError."""
    found = {} if text == "{}" else json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"{text[:40]!r} is no object")  # noqa: TRY004 - as for any other text that is none
    return found


@lru_cache(maxsize=1024)  # the stages of a partition share theirs
def _names(text: str) -> tuple[str, ...]:
    """The list of texts that a JSON text is; raises ValueError."""
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError(f"{text[:40]!r} is no list of texts")
    return tuple(found)


def insert_into(table: str, columns: str) -> str:
    """INSERT statement with one parameter for each of the comma-separated columns."""
    marks = ", ".join("?" for _ in columns.split(","))
    return f"INSERT INTO {table} ({columns}) VALUES ({marks})"


def to_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """Render JSON text, the same for the same value."""
    return storable(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def storable(text: str) -> str:
    r"""The text as every database takes it: a NUL character is spelt ``\0``, half a surrogate pair ``\ud800``."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def check_partition(partition: Partition) -> None:
    """Raise UsageError for a partition whose values cannot be told apart in its key."""
    if tuple(partition.key.split("|")) != partition.values:
        raise UsageError(f"a value of partition {partition.key!r} holds the separator '|'")


def entry_row(entry: Entry, committed_at: str, captured_at: str) -> tuple[Any, ...]:
    """An entry in the order of ``MANIFEST_COLUMNS``."""
    change = entry.change
    return (
        entry.manifest_id,
        entry.partition.domain,
        entry.partition.key,
        entry.stage,
        entry.status,
        entry.capture_id,
        entry.fingerprint,
        entry.pipeline_version,
        entry.source_hash,
        entry.content_hash,
        entry.row_count,
        entry.rejected,
        entry.duplicates,
        entry.is_revision,
        None if change is None else change.added,
        None if change is None else change.removed,
        None if change is None else change.changed,
        to_json(entry.input_captures),
        to_json(entry.scope),
        entry.run_id,
        committed_at,
        captured_at,
        entry.proven,
    )


@_kept_in("core_manifest")
def committed(row: Sequence[Any], parts: Sequence[PartRecord]) -> Committed:
    """Read back a row in the order of ``MANIFEST_COLUMNS``."""
    added, removed, changed = row[14:17]
    entry = Entry(
        manifest_id=row[0],
        partition=Partition(row[1], tuple(row[2].split("|"))),
        stage=row[3],
        status=row[4],
        capture_id=row[5],
        fingerprint=row[6],
        pipeline_version=row[7],
        source_hash=row[8],
        content_hash=row[9],
        row_count=row[10],
        rejected=row[11],
        duplicates=row[12],
        is_revision=bool(row[13]),
        change=None if added is None else Change(added, removed, changed),
        input_captures=_names(row[17]),
        scope=_fields(row[18]),
        run_id=row[19],
        parts=tuple(parts),
        proven=None if row[22] is None else bool(row[22]),
    )
    return Committed(entry, from_text(row[20]), from_text(row[21]))


def part_row(manifest_id: int, part: PartRecord) -> tuple[Any, ...]:
    """A part in the order of ``PART_COLUMNS``."""
    return (
        manifest_id,
        part.name,
        part.sha256,
        part.origin,
        part.size,
        part.carried,
        to_json(part.metadata),
    )


@_kept_in("core_capture_parts")
def part_record(row: Sequence[Any]) -> PartRecord:
    """Read back a row in the order of ``PART_COLUMNS``."""
    _, name, sha256, origin, size, carried, metadata = row
    return PartRecord(name, sha256, origin, size, bool(carried), _fields(metadata))


def start_row(run: RunStart) -> tuple[Any, ...]:
    """A run's start in the order of ``START_COLUMNS``."""
    return (run.run_id, run.domain, run.scheduler, to_text(run.started_at), run.document)


@_kept_in("core_run_starts")
def run_start(row: Sequence[Any]) -> RunStart:
    """Read back a row in the order of ``START_COLUMNS``."""
    run_id, domain, scheduler, started_at, document = row
    return RunStart(run_id, domain, scheduler, from_text(started_at), document)


def run_row(run: RunRecord) -> tuple[Any, ...]:
    """A run in the order of ``RUN_COLUMNS``."""
    return (
        run.run_id,
        run.domain,
        run.scheduler,
        to_text(run.started_at),
        None if run.finished_at is None else to_text(run.finished_at),
        run.status,
        run.exit_code,
        run.attempted,
        run.succeeded,
        run.failed,
        run.skipped,
        run.result,
    )


@_kept_in("core_runs")
def run_record(row: Sequence[Any]) -> RunRecord:
    """Read back a row in the order of ``RUN_COLUMNS``."""
    run_id, domain, scheduler, started_at, finished_at, *rest = row
    finished = None if finished_at is None else from_text(finished_at)
    return RunRecord(run_id, domain, scheduler, from_text(started_at), finished, *rest)


def check_rows(run: RunRecord, recorded_at: str) -> list[tuple[Any, ...]]:
    """The rows of ``core_run_partitions`` of a result: its position, then ``CHECK_COLUMNS``.

    Raises:
        StoreCorrupt: the result cannot be read.
    """
    # From the document itself: so the two cannot differ, also where a rebuild records an older one again.
    try:
        return [_check_row(run, position, each, recorded_at) for position, each in enumerate(_met(run.result), start=1)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreCorrupt(
            f"the result of run {run.run_id} cannot be read ({error})", hint="restore a backup"
        ) from error


def _met(result: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _fields(result).get("runs", [])
    return found


def _check_row(run: RunRecord, position: int, each: Mapping[str, Any], recorded_at: str) -> tuple[Any, ...]:
    return (
        position,
        run.run_id,
        run.domain,
        storable(each["partition_key"]),
        each["pipeline"],
        each["status"],
        each.get("reason"),
        each["error"]["kind"] if each.get("error") else None,
        each["duration_ms"],
        recorded_at,
    )


@_kept_in("core_run_partitions")
def check_record(row: Sequence[Any]) -> CheckRecord:
    """Read back a row in the order of ``CHECK_COLUMNS``."""
    from market_spine.core.kept import CheckRecord

    *fields, recorded_at = row
    return CheckRecord._make((*fields, from_text(recorded_at)))


@_kept_in("core_anomalies")
def anomaly_record(row: Sequence[Any]) -> AnomalyRecord:
    """Read back a row in the order of ``ANOMALY_COLUMNS``."""
    from market_spine.core.kept import AnomalyRecord

    domain, kind, severity, partition_key, message, details, first, last, count, resolved, acknowledged = row
    return AnomalyRecord(
        domain=domain,
        anomaly=Anomaly(kind, severity, partition_key, message, _fields(details)),
        first_seen=from_text(first),
        last_seen=from_text(last),
        count=count,
        resolved_at=None if resolved is None else from_text(resolved),
        acknowledged_at=None if acknowledged is None else from_text(acknowledged),
    )


@_kept_in("core_anomaly_events")
def anomaly_event(row: Sequence[Any]) -> tuple[datetime, AnomalyEvent]:
    """Read back a row in the order of ``EVENT_COLUMNS``, with its moment."""
    from market_spine.core.commitlog import AnomalyEvent

    _, _, key, kind, event, severity, message, details, occurred_at = row
    if event not in ("seen", "resolved"):
        raise ValueError(f"{event!r} is no event")
    seen = Anomaly(kind, severity, key, message, _fields(details)) if event == "seen" else None
    return from_text(occurred_at), AnomalyEvent(kind, seen)


def decision_row(number: int, domain: str, decision: Decision, moment: str) -> tuple[Any, ...]:
    """A decision in the order of ``DECISION_COLUMNS``."""
    until = None
    if decision.until is not None:
        # The whole day belongs to it, in UTC as all moments are.
        until = to_text(datetime.combine(decision.until + timedelta(days=1), time(), UTC))
    return (
        number,
        domain,
        decision.partition_key,
        decision.capture_id,
        decision.verb,
        decision.kind,
        storable(decision.decided_by),
        storable(decision.reason),
        until,
        decision.run_id,
        moment,
    )


@_kept_in("core_decisions")
def decision_record(row: Sequence[Any]) -> DecisionRecord:
    """Read back a row in the order of ``DECISION_COLUMNS``."""
    from market_spine.core.decision import Decision
    from market_spine.core.kept import DecisionRecord

    _, domain, key, capture_id, verb, kind, decided_by, reason, until, run_id, decided_at = row
    last_day = None if until is None else (from_text(until) - timedelta(days=1)).date()
    decision = Decision(verb, key, reason, decided_by, run_id, capture_id, kind, last_day)
    return DecisionRecord(domain, decision, from_text(decided_at))


def notice_row(number: int, notice: Notice, moment: str) -> tuple[Any, ...]:
    """A notice in the order of ``NOTICE_COLUMNS``."""
    return (
        number,
        notice.sink,
        notice.domain,
        notice.partition_key,
        notice.kind,
        to_text(notice.first_seen),
        notice.event,
        notice.severity,
        moment,
    )


@_kept_in("core_notifications")
def notice_record(row: Sequence[Any]) -> NoticeRecord:
    """Read back a row in the order of ``NOTICE_COLUMNS``."""
    from market_spine.core.notice import Notice, NoticeRecord

    _, sink, domain, key, kind, first_seen, event, severity, sent_at = row
    return NoticeRecord(Notice(sink, domain, key, kind, from_text(first_seen), event, severity), from_text(sent_at))
