"""Ingest, up to the point of writing: is what the source has new, and may it become what we know?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from market_spine.app import guards, plausibility
from market_spine.app.draft import Draft, covered_scopes, partition_scope
from market_spine.app.held import LACKS, held_rows, lacks
from market_spine.app.replay import WHOLE, Comparison, compare, growing_tables, is_whole, keep_refused_rows, replay
from market_spine.app.retracted import returning, same_bytes_retracted
from market_spine.app.standing import Ingest, same_bytes, skipped
from market_spine.app.task import Task
from market_spine.core.anomaly import MISSING_LEG, Anomaly
from market_spine.core.capture import Part, Payload, capture_id, source_hash
from market_spine.core.decision import Decision
from market_spine.core.domain import Concern, Normalized
from market_spine.core.fingerprint import content_hash, fingerprint
from market_spine.core.manifest import INGEST, Committed, Entry, ManifestStatus, PartRecord
from market_spine.core.ports import Reader, payloads
from market_spine.core.revision import Change, diff_rows

if TYPE_CHECKING:
    import polars as pl


class Content(NamedTuple):
    """A payload as its domain reads it, completed from what was known.

    Attributes:
        normalized: its rows, and what else the domain says of it.
        tables_hash: of the rows as they are, completed.
        content_hash: of the rows and rejects as the payload alone has them.
    """

    normalized: Normalized
    tables_hash: str
    content_hash: str


def read_content(task: Task, parts: tuple[Part, ...]) -> Content:
    """Parse and normalize parts and hash what came out."""
    return hashed(task, task.run.domain.normalize(task.partition, parts))


def hashed(task: Task, normalized: Normalized) -> Content:
    """A payload as it was read, with the hash of its rows, and of its rows with the rejects."""
    rows = tables_hash(task, normalized)
    rejects = normalized.rejects.select("part", "rule", "raw")
    rejects_hash = content_hash([(rejects, ("part", "rule", "raw"))])
    return Content(normalized, rows, fingerprint("content", "1", (rows, rejects_hash)))


def known_content(task: Task, store: Callable[[], Reader], capture: Entry) -> Content:
    """A capture's rows from its payload, and from those of the captures it was completed from."""
    normalized = replay(store(), task.run.domain, task.partition, capture)
    if not capture.input_captures:
        return hashed(task, normalized)
    return Content(normalized, tables_hash(task, normalized), capture.content_hash)


def tables_hash(task: Task, normalized: Normalized) -> str:
    """SHA-256 of a payload's canonical rows."""
    frames = normalized.tables
    return content_hash((frames[table.name], table.key) for table in task.run.domain.tables if table.name in frames)


def examine(task: Task, store: Callable[[], Reader], payload: Payload) -> Ingest:
    """Compare a fetched payload with the current capture and draft what to write.

    Raises:
        ContentError: the payload is refused whole.
    """
    current = task.known.current
    if current is not None and same_bytes(task, payload) and not task.run.options.force:
        ingest = skipped(task, "same_bytes")
        if payload.keep_record:
            parts = _overlay(store, current, payload)
            ingest.draft.ingest = _noted(task, current, payload, parts, proven=task.known.proven)
        return ingest
    agrees = current is not None and same_bytes(task, payload)
    if not agrees and same_bytes_retracted(task, store, payload):
        return skipped(task, "retracted")
    parts = _overlay(store, current, payload)
    content = read_content(task, parts)
    found = None
    if current is not None:
        if content.content_hash == current.entry.content_hash:
            if task.run.options.force and current.entry.input_captures:
                # Only a forced run writes rows again, and then with what the capture was completed from.
                content = known_content(task, store, current.entry)
            return _same_rows(task, payload, parts, content)
        found, content = _compared(task, store, current, content)
        if found.same:
            return _same_rows(task, payload, parts, content)
    back = returning(task, store, payload, found.diffs if found else None)
    if back.same:
        return skipped(task, "retracted")
    if back.told:
        told = content.normalized._replace(anomalies=(*content.normalized.anomalies, back.told))
        content = content._replace(normalized=told)
    return _judge(task, store, payload, parts, content, found)


def accept(task: Task, store: Callable[[], Reader], capture: Entry) -> Ingest:
    """Let a capture that a guard held become current: as if it came now, past every guard."""
    fetched = {part.name for part in capture.parts if not part.carried}
    own = tuple(part for part in payloads(store(), capture) if part.name in fetched)
    payload = Payload(own, whole=is_whole(task.run.domain, capture))
    current = task.known.current
    parts = _overlay(store, current, payload)
    content = read_content(task, parts)
    found = None
    if current is not None:
        found, content = _compared(task, store, current, content)
    return _judge(task, store, payload, parts, content, found, accepted=capture.capture_id)


def _compared(
    task: Task, store: Callable[[], Reader], current: Committed, content: Content
) -> tuple[Comparison, Content]:
    """A payload beside what is known, and completed from it."""
    found = _compare(task, store, current, content.normalized)
    rows_hash = tables_hash(task, found.normalized) if found.carried else content.tables_hash
    return found, Content(found.normalized, rows_hash, content.content_hash)


def _compare(task: Task, store: Callable[[], Reader], current: Committed, normalized: Normalized) -> Comparison:
    """Compare with what is known, and let the domain say what is odd about the difference."""
    if normalized.ranges:
        found = _compare_range(task, store(), normalized)
    else:
        before = held_rows(task, store) or replay(store(), task.run.domain, task.partition, current.entry)
        found = compare(task.run.domain, normalized, before)
    if normalized.review is None or not (seen := normalized.review(found.diff)):
        return found
    known = found.normalized
    anomalies = (*known.anomalies, *(each for each in seen if isinstance(each, Anomaly)))
    concerns = (*known.concerns, *(each for each in seen if isinstance(each, Concern)))
    return found._replace(normalized=known._replace(anomalies=anomalies, concerns=concerns))


def _compare_range(task: Task, store: Reader, normalized: Normalized) -> Comparison:
    """Compare a payload that covers only a range with the rows that stand in it."""
    compared = {table.name: table for table in task.run.domain.tables if table.name in normalized.tables}
    scopes = covered_scopes(task.run.domain, task.partition, normalized)
    before = {
        name: store.read(table, scopes.get(name) or partition_scope(table, task.partition))
        for name, table in compared.items()
    }
    rows, kept = keep_refused_rows(task.run.domain, normalized, before)
    diffs = {name: diff_rows(before[name], rows.tables[name], table.key) for name, table in compared.items()}
    growing = growing_tables(task.run.domain)
    return Comparison(rows, before, diffs, normalized.rejects.is_empty(), growing, carried=kept > 0, kept=kept)


def _primary(task: Task, content: Content) -> pl.DataFrame:
    return content.normalized.tables[task.run.domain.tables[0].name]


def _overlay(store: Callable[[], Reader], current: Committed | None, payload: Payload) -> tuple[Part, ...]:
    """The fetched parts, and those of the current capture that were not fetched: a part that left
    the source is still what we know, unless the payload says that it is whole."""
    if payload.whole:
        return payload.parts
    fetched = {part.name for part in payload.parts}
    kept = tuple(part for part in current.entry.parts if part.name not in fetched) if current else ()
    if current is None or not kept:
        return payload.parts
    carried = payloads(store(), current.entry._replace(parts=kept))
    return tuple(sorted((*payload.parts, *carried), key=lambda part: part.name))


def _same_rows(task: Task, payload: Payload, parts: tuple[Part, ...], content: Content) -> Ingest:
    current = task.known.current
    assert current is not None
    # What the content itself settles has ended, unless it says so again.
    settled = content.normalized.settles.intersection(task.open_anomalies)
    draft = Draft(resolves=skipped(task, "same_rows").draft.resolves | settled)
    if payload.keep_record or not same_bytes(task, payload):
        draft.ingest = _noted(task, current, payload, parts, proven=content.normalized.proven)
    draft.anomalies.extend(content.normalized.anomalies)
    if task.run.options.force:
        return Ingest(draft, current.entry, content, change=Change())
    return Ingest(draft, current.entry, content, reason="same_rows")


def _noted(task: Task, current: Committed, payload: Payload, parts: tuple[Part, ...], *, proven: bool | None) -> Entry:
    """The record that these parts, too, hold the rows of the current capture."""
    return current.entry._replace(
        status="noted",
        source_hash=source_hash({part.name: part.sha256 for part in parts}),
        run_id=task.run.id,
        is_revision=False,
        change=None,
        parts=_records(payload, parts),
        proven=proven,
    )


def _judge(
    task: Task,
    store: Callable[[], Reader],
    payload: Payload,
    parts: tuple[Part, ...],
    content: Content,
    found: Comparison | None,
    accepted: str = "",
) -> Ingest:
    """A first capture, or one whose rows differ: through the guards, or held; ``accepted`` names one let through."""
    held = task.known.held
    change = found.diff.change if found else None
    primary = task.run.domain.tables[0].name
    before = found.before[primary].height if found and primary in content.normalized.ranges else None
    legs = tuple(leg for leg in task.run.domain.legs if any(part.name == leg for part in parts))
    odd = plausibility.judge(task, store, content.normalized, legs, found)
    judged = found is not None and task.run.rules is not None
    holds, told = guards.check(task, content.normalized, _primary(task, content).height, before, judged=judged)
    holds += guards.held_by(odd.concerns)
    hold = holds[0] if holds and not (task.run.options.force or accepted) else None
    digest = source_hash({part.name: part.sha256 for part in parts})
    again = held is not None and held.entry.source_hash == digest
    entry = _entry(
        task,
        parts,
        content,
        name=accepted or (held.entry.capture_id if held and again else _new_capture(task)),
        status="held" if hold else "committed",
        records=_records(payload, parts),
        found=found,
        whole=payload.whole,
    )
    draft = Draft()
    if not (hold and again):
        draft = Draft(ingest=entry, parts=payload.parts, rejects=content.normalized.rejects)
    if hold is None:
        noted = guards.rejected_rows(content.normalized, task.partition.key, found.kept if found else 0)
        draft.anomalies.extend([*content.normalized.anomalies, *odd.anomalies, *told, *([noted] if noted else [])])
        # A leg that never came is missing until it does.
        still = set() if set(legs) == set(task.run.domain.legs) else {MISSING_LEG}
        draft.resolves = frozenset(task.open_anomalies) - still
    overrode = tuple(guard.kind for guard in holds) if hold is None else ()
    if overrode and not accepted:
        by, past = task.run.options.by, ",".join(overrode)
        decision = Decision("accept", task.partition.key, "--force", by, task.run.id, entry.capture_id, past)
        draft.decisions.append(decision)
    held_id = entry.capture_id if hold else ""
    return Ingest(
        draft, None if hold else entry, content, found, change=change, hold=hold, held=held_id, overrode=overrode
    )


def _new_capture(task: Task) -> str:
    labels = task.run.domain.capture_labels(task.partition)
    return capture_id(task.run.domain.name, labels, task.run.capture_day, task.known.captures)


def _records(payload: Payload, parts: tuple[Part, ...]) -> tuple[PartRecord, ...]:
    fetched = {part.name for part in payload.parts}
    return tuple(
        PartRecord(part.name, part.sha256, part.origin, len(part.data), part.name not in fetched, part.metadata)
        for part in parts
    )


def _entry(
    task: Task,
    parts: tuple[Part, ...],
    content: Content,
    *,
    name: str,
    status: ManifestStatus,
    records: tuple[PartRecord, ...],
    found: Comparison | None,
    whole: bool,
) -> Entry:
    spec, current = task.run.domain.stages[0], task.known.current
    digest = source_hash({part.name: part.sha256 for part in parts})
    scopes: Mapping[str, object] = {
        name: {"equals": dict(scope.equals), "between": dict(scope.between)}
        for name, scope in covered_scopes(task.run.domain, task.partition, content.normalized).items()
    }
    if whole and not scopes:
        scopes = {WHOLE: True}
    if not content.normalized.ranges:
        scopes = {**scopes, LACKS: lacks(content.normalized)}
    return Entry(
        manifest_id=0,
        partition=task.partition,
        stage=INGEST,
        status=status,
        capture_id=name,
        fingerprint=fingerprint(INGEST, spec.version, (name, digest)),
        pipeline_version=spec.version,
        source_hash=digest,
        content_hash=content.content_hash,
        row_count=_primary(task, content).height,
        run_id=task.run.id,
        rejected=content.normalized.rejects.height,
        duplicates=content.normalized.duplicates,
        proven=content.normalized.proven,
        is_revision=found is not None and found.revised,
        change=found.diff.change if found else None,
        input_captures=(current.entry.capture_id,) if current and found and found.carried else (),
        scope=scopes,
        parts=records,
    )
