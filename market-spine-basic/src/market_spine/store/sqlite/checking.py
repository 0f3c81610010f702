"""Whether the segments of a store are whole, and fit its manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO

from market_spine.core.domain import Domain
from market_spine.core.schema import Table
from market_spine.errors import StoreError
from market_spine.store.database import MOVEMENTS, Database
from market_spine.store.objects import Index, KeptColumn, Objects, kind
from market_spine.store.problems import REBUILD, Problem
from market_spine.store.views import quote

_UNKNOWN = "NOT EXISTS (SELECT 1 FROM core_manifest m WHERE m.manifest_id = {column})"
_WRONG = {
    "segments have a manifest_id that is not in the manifest": (
        f"SELECT COUNT(*) FROM core_segments s WHERE {_UNKNOWN.format(column='s.manifest_id')}"
    ),
    "segments have a superseded_by that is not in the manifest": (
        "SELECT COUNT(*) FROM core_segments s"
        f" WHERE s.superseded_by IS NOT NULL AND {_UNKNOWN.format(column='s.superseded_by')}"
    ),
    "closures have a superseded_by that is not in the manifest": (
        f"SELECT COUNT(*) FROM core_closures c WHERE {_UNKNOWN.format(column='c.superseded_by')}"
    ),
    "segments have no data of their size": """\
SELECT COUNT(*) FROM core_segments s
 WHERE NOT EXISTS (SELECT 1 FROM core_segment_data d WHERE d.segment_id = s.segment_id AND LENGTH(d.data) = s.size)
""",
    "pieces of data belong to no segment": """\
SELECT COUNT(*) FROM core_segment_data d
 WHERE NOT EXISTS (SELECT 1 FROM core_segments s WHERE s.segment_id = d.segment_id)
""",
    "segments have no columns": """\
SELECT COUNT(*) FROM core_segments s
 WHERE NOT EXISTS (SELECT 1 FROM core_segment_schemas c WHERE c.schema_id = s.schema_id)
""",
    "closures name a row that is not there": """\
SELECT COUNT(*) FROM core_closures c
 WHERE NOT EXISTS (SELECT 1 FROM core_segments s
                    WHERE s.segment_id = c.segment_id AND c.row_number BETWEEN 0 AND s.row_count - 1)
""",
    "segments have not as many closures as they say": """\
SELECT COUNT(*) FROM core_segments s
 WHERE s.closed <> (SELECT COUNT(*) FROM core_closures c WHERE c.segment_id = s.segment_id)
""",
}
_COLUMNS = """\
SELECT t.name, c.name, c.type, c."notnull" OR c.pk > 0, c.pk
  FROM sqlite_master t JOIN pragma_table_info(t.name) c
 WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'
"""
_INDEXES = """\
SELECT t.name, i.name, i."unique", COALESCE(c.name, 'an expression') || CASE WHEN c."desc" THEN ' DESC' ELSE '' END
  FROM sqlite_master t JOIN pragma_index_list(t.name) i JOIN pragma_index_xinfo(i.name) c
 WHERE t.type = 'table' AND i.origin = 'c' AND c."key"
 ORDER BY t.name, i.name, c.seqno
"""
_MOVED = """\
SELECT id, SUM(brought), SUM(closed) FROM (
    SELECT manifest_id AS id, row_count AS brought, 0 AS closed FROM core_segments WHERE table_name = ?
    UNION ALL
    SELECT superseded_by, 0, row_count - closed FROM core_segments WHERE table_name = ? AND superseded_by IS NOT NULL
    UNION ALL
    SELECT c.superseded_by, 0, 1 FROM core_closures c JOIN core_segments s ON s.segment_id = c.segment_id
     WHERE s.table_name = ?
) GROUP BY id
"""
_COUNTS = "SELECT COUNT(*), COALESCE(SUM(row_count), 0), COALESCE(SUM(closed), 0) FROM core_segments"


def objects(db: Database) -> Objects:
    """See ``Database.objects``."""
    tables: dict[str, dict[str, KeptColumn]] = {}
    for table, name, declared, required, key in db.rows(_COLUMNS):
        tables.setdefault(table, {})[name] = KeptColumn(kind(declared), bool(required), key)
    indexes: dict[str, Index] = {}
    for table, name, unique, column in db.rows(_INDEXES):
        before = indexes[name].columns if name in indexes else ()
        indexes[name] = Index(table, (*before, column), bool(unique))
    views = dict(db.rows("SELECT name, sql FROM sqlite_master WHERE type = 'view'"))
    triggers = dict(db.rows("SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'"))
    return Objects(tables, indexes, {name: sql.strip() for name, sql in views.items()}, triggers)


def movements(db: Database, table: Table) -> list[tuple[int, int, int]]:
    """See ``Database.movements``."""
    rows = db.rows(MOVEMENTS.format(table=quote(table.versions)))
    if not table.bulk:
        return rows
    found = {entry: (brought, closed) for entry, brought, closed in rows}
    for entry, brought, closed in db.rows(_MOVED, (table.name,) * 3):
        before = found.get(entry, (0, 0))
        found[entry] = (before[0] + brought, before[1] + closed)
    return sorted((entry, *counts) for entry, counts in found.items())


def segments(db: Database, domains: Sequence[Domain], *, deep: bool) -> str | list[Problem]:
    """Say what there is of segments, or what is missing, damaged or contradicts itself; ``deep`` also reads each."""
    wrong = [
        Problem(f"{count} {what}", REBUILD) for what, sql in _WRONG.items() for ((count,),) in [db.rows(sql)] if count
    ]
    wrong += _columns(db, domains)
    if deep:
        wrong += _damaged(db)
    if wrong:
        return wrong
    ((number, rows, closed),) = db.rows(_COUNTS)
    relations = db.relations()
    tables = [table.versions for domain in domains for table in domain.tables if table.bulk]
    beside = sum(db.rows(f"SELECT COUNT(*) FROM {quote(name)}")[0][0] for name in tables if name in relations)
    return f"{number} with {rows} rows, {closed} of them closed; {beside} rows beside them" + (
        ", each segment with the bytes it had" if deep else "; --deep reads them"
    )


def _columns(db: Database, domains: Sequence[Domain]) -> list[Problem]:
    """What says which columns segments have, and cannot be read."""
    from market_spine.store.sqlite.segments import kept_columns

    tables = {table.name: table for domain in domains for table in domain.tables}
    found = []
    for name, columns in db.rows("SELECT table_name, columns FROM core_segment_schemas ORDER BY schema_id"):
        if name not in tables:
            continue
        try:
            kept_columns(tables[name], columns)
        except StoreError as error:
            found.append(Problem(error.message, REBUILD))
    return found


def _damaged(db: Database) -> list[Problem]:
    import polars as pl

    found = []
    sql = "SELECT segment_id, table_name, partition_key, row_count, sha256 FROM core_segments ORDER BY segment_id"
    for segment_id, table, key, row_count, sha256 in db.rows(sql):
        ((data,),) = db.rows("SELECT data FROM core_segment_data WHERE segment_id = ?", (segment_id,)) or [(b"",)]
        name = f"segment {segment_id} of {table} {key}"
        if hashlib.sha256(data).hexdigest() != sha256:
            found.append(Problem(f"{name} does not match its digest", REBUILD))
            continue
        try:
            count = pl.scan_parquet(BytesIO(data)).select(pl.len()).collect().item()
        except pl.exceptions.PolarsError as error:
            found.append(Problem(f"{name} cannot be read ({error})", REBUILD))
            continue
        if count != row_count:
            found.append(Problem(f"{name} has {count} rows, not {row_count}", REBUILD))
    return found
