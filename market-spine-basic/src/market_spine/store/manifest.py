"""What the manifest knows, read in a few statements however many partitions are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from market_spine.core.manifest import INGEST, Committed, Known, Moves, PartRecord
from market_spine.store import moments, records
from market_spine.store.database import Database

if TYPE_CHECKING:
    from market_spine.core.kept import DecisionRecord, Reject

_CHUNK = 500
"""Partitions per statement: far below any database's limit on parameters."""

_LATEST_IDS = "SELECT MAX(manifest_id) FROM core_manifest WHERE {where} GROUP BY partition_key, stage, status"
_LATEST = f"""\
SELECT {records.MANIFEST_COLUMNS}
  FROM core_manifest
 WHERE manifest_id IN ({_LATEST_IDS})
 ORDER BY manifest_id
"""
# 2: it was committed as a revision, 1: as a first or fuller capture, 0: it never was.
_CAPTURES = """\
SELECT partition_key, capture_id,
       MAX(CASE WHEN status = 'committed' AND is_revision THEN 2 WHEN status = 'committed' THEN 1 ELSE 0 END)
  FROM core_manifest
 WHERE {where} AND stage = 'ingest'
 GROUP BY partition_key, capture_id
 ORDER BY MIN(manifest_id)
"""
_PARTS = f"""\
SELECT m.partition_key, m.capture_id, m.stage, m.status,
       p.manifest_id, p.part, p.sha256, p.origin, p.size, p.carried, p.metadata
  FROM core_manifest m
  JOIN core_capture_parts p ON p.manifest_id = m.manifest_id
 WHERE m.stage = 'ingest'
   AND m.capture_id IN (SELECT capture_id FROM core_manifest WHERE manifest_id IN ({_LATEST_IDS})) {{by}}
"""


_RETRACTED = """\
SELECT partition_key, capture_id
  FROM core_decisions
 WHERE verb = 'retract' AND decision_id IN (SELECT MAX(decision_id) FROM core_decisions
                                             WHERE {where} AND verb <> 'ack' GROUP BY partition_key, capture_id)
"""
_CHECKED = "SELECT MAX(checked_through) FROM core_window_checks WHERE domain = ? AND versions = ?"
_MOVED = "SELECT DISTINCT partition_key FROM core_manifest WHERE domain = ? AND committed_at > ?"


def read_known(db: Database, domain: str, keys: Sequence[str] | None, at: str | None = None) -> dict[str, Known]:
    """The knowledge of the named partitions; of all that the domain has if ``keys`` is None; ``at`` a moment."""
    if keys is None:
        return _read_known(db, "domain = ?", (domain,), at)
    found: dict[str, Known] = {key: Known(key) for key in keys}
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        marks = ", ".join("?" for _ in chunk)
        found.update(_read_known(db, f"domain = ? AND partition_key IN ({marks})", (domain, *chunk), at))
    return found


def _read_known(db: Database, which: str, keys: tuple[Any, ...], at: str | None) -> dict[str, Known]:
    where = which if at is None else f"{which} AND committed_at <= ?"
    params, moment = (keys, ()) if at is None else ((*keys, at), (at,))
    latest: dict[str, list[tuple[Any, ...]]] = {}
    for row in db.rows(_LATEST.format(where=where), params):
        latest.setdefault(row[2], []).append(row)
    if not latest:
        return {}
    captures: dict[str, dict[str, int]] = {}
    for key, capture_id, became in db.rows(_CAPTURES.format(where=where), params):
        captures.setdefault(key, {})[capture_id] = became
    parts: dict[str, list[tuple[Any, ...]]] = {}
    by = "" if at is None else "AND m.committed_at <= ?"
    for row in db.rows(_PARTS.format(where=where, by=by), (*params, *moment)):
        parts.setdefault(row[0], []).append(row)
    retracted: dict[str, set[str]] = {}
    decided = which if at is None else f"{which} AND decided_at <= ?"
    for key, capture_id in db.rows(_RETRACTED.format(where=decided), params):
        retracted.setdefault(key, set()).add(capture_id)
    return {
        key: _fold(key, rows, captures.get(key, {}), parts.get(key, []), frozenset(retracted.get(key, ())))
        for key, rows in latest.items()
    }


def _fold(
    key: str,
    rows: Sequence[tuple[Any, ...]],
    captures: Mapping[str, int],
    parts: Sequence[tuple[Any, ...]],
    retracted: frozenset[str],
) -> Known:
    by_entry: dict[int, list[PartRecord]] = {}
    for row in parts:
        by_entry.setdefault(row[4], []).append(records.part_record(row[4:]))
    stages: dict[str, Committed] = {}
    ingests: dict[str, Committed] = {}
    for row in rows:
        record = records.committed(row, _by_name(by_entry.get(row[0], [])))
        if record.entry.status == "committed":
            stages[record.entry.stage] = record
        else:
            ingests[record.entry.status] = record
    held, noted, emptied = map(ingests.get, ("held", "noted", "emptied"))
    # What was known before the partition's only capture was retracted stands no longer.
    stages = {stage: record for stage, record in stages.items() if _id(record) > _id(emptied)}
    current = stages.get(INGEST)
    # What a decision left is no newer payload: one that is held stays so.
    newer = current is not None and current.entry.input_captures[-1:] != (current.entry.capture_id,)
    if held and (
        (newer and _id(current) > _id(held)) or captures[held.entry.capture_id] or held.entry.capture_id in retracted
    ):
        held = None
    if noted and (current is None or noted.entry.capture_id != current.entry.capture_id or _id(current) > _id(noted)):
        noted = None
    accepted: dict[str, set[str]] = {}
    for _, capture_id, stage, status, entry_id, part, sha256, *_ in parts:
        same = current and stage == INGEST and capture_id == current.entry.capture_id and entry_id >= _id(current)
        if same and status in ("committed", "noted"):
            accepted.setdefault(part, set()).add(sha256)
    return Known(
        partition_key=key,
        stages=stages,
        accepted={part: frozenset(digests) for part, digests in accepted.items()},
        held=held,
        captures=tuple(captures),
        revisions=sum(became == 2 for name, became in captures.items() if name not in retracted),
        last_id=rows[-1][0],
        noted=noted,
        retracted=retracted,
    )


def _id(committed: Committed | None) -> int:
    return committed.entry.manifest_id if committed else 0


def read_decisions(db: Database, where: str, params: tuple[Any, ...]) -> list[DecisionRecord]:
    """The decisions that meet a condition on ``core_decisions``, oldest first."""
    sql = f"SELECT {records.DECISION_COLUMNS} FROM core_decisions WHERE {where} ORDER BY decision_id"
    return [records.decision_record(row) for row in db.rows(sql, params)]


def read_keys(db: Database, domain: str) -> list[str]:
    """The keys of every partition of the domain, in text order."""
    rows = db.rows("SELECT DISTINCT partition_key FROM core_manifest WHERE domain = ?", (domain,))
    return sorted(key for (key,) in rows)


def read_capture_ids(db: Database, prefix: str, most: int) -> list[str]:
    """The ids of captures that begin so, in text order."""
    begins = records.storable(prefix)
    rows = db.rows(
        "SELECT DISTINCT capture_id FROM core_manifest WHERE stage = 'ingest' AND status IN ('committed', 'held')"
        " AND SUBSTR(capture_id, 1, ?) = ? ORDER BY capture_id LIMIT ?",
        (len(begins), begins, most),
    )
    return [name for (name,) in rows]


def read_moves(db: Database, domain: str, versions: str) -> Moves:
    """See ``Reader.moves``."""
    # By moment and not by manifest id: on PostgreSQL a lower id can become visible later than a higher one.
    ((latest,),) = db.rows("SELECT MAX(committed_at) FROM core_manifest")
    ((checked,),) = db.rows(_CHECKED, (domain, versions))
    through = None if latest is None else moments.from_text(latest)
    if checked is None:
        return Moves(through, None)
    rows = db.rows(_MOVED, (domain, checked))
    return Moves(through, frozenset(key for (key,) in rows))


def read_moved(db: Database, domain: str, since: str) -> tuple[int, list[str]]:
    """See ``Reader.moved``."""
    ((count,),) = db.rows("SELECT COUNT(*) FROM core_manifest WHERE domain = ? AND committed_at <= ?", (domain, since))
    decided = "SELECT DISTINCT partition_key FROM core_decisions WHERE domain = ? AND decided_at > ?"
    keys = {key for sql in (_MOVED, decided) for (key,) in db.rows(sql, (domain, since))}
    return count, sorted(keys)


def read_entries(db: Database, where: str, params: tuple[Any, ...]) -> Iterator[Committed]:
    """The manifest entries that meet a condition on ``core_manifest``, oldest first."""
    parts: dict[int, list[PartRecord]] = {}
    ids = f"manifest_id IN (SELECT manifest_id FROM core_manifest WHERE {where})"
    for row in db.rows(f"SELECT {records.PART_COLUMNS} FROM core_capture_parts WHERE {ids}", params):
        parts.setdefault(row[0], []).append(records.part_record(row))
    sql = f"SELECT {records.MANIFEST_COLUMNS} FROM core_manifest WHERE {where} ORDER BY manifest_id"
    for row in db.rows(sql, params):
        yield records.committed(row, _by_name(parts.get(row[0], [])))


def _by_name(parts: list[PartRecord]) -> list[PartRecord]:
    return sorted(parts, key=lambda part: part.name)


def read_restated(db: Database, since: str, until: str, most: int) -> list[Committed]:
    """The commits between two moments by which captures replaced earlier ones, newest first, without their parts."""
    sql = (
        f"SELECT {records.MANIFEST_COLUMNS} FROM core_manifest WHERE stage = 'ingest' AND status = 'committed'"
        " AND is_revision AND committed_at > ? AND committed_at <= ? ORDER BY manifest_id DESC LIMIT ?"
    )
    return [records.committed(row, ()) for row in db.rows(sql, (since, until, most))]


def read_rejects(db: Database, capture_id: str, most: int) -> list[Reject]:
    """Rows of a capture that were refused, in the order of its parts and lines."""
    from market_spine.core.kept import Reject

    sql = "SELECT part, line, rule, raw FROM core_rejects WHERE capture_id = ? ORDER BY part, line LIMIT ?"
    return [Reject(*row) for row in db.rows(sql, (capture_id, most))]
