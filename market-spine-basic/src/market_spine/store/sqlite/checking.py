"""Whether the segments of a store are whole, and fit its manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO

from market_spine.core.domain import Domain
from market_spine.errors import StoreCorrupt
from market_spine.store.database import Database
from market_spine.store.views import quote

RESTORE = "restore a backup, or make a new store from the payloads with `market-spine rebuild`"
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
_COUNTS = "SELECT COUNT(*), COALESCE(SUM(row_count), 0), COALESCE(SUM(closed), 0) FROM core_segments"


def segments(db: Database, domains: Sequence[Domain], *, deep: bool) -> str:
    """Say what there is of segments; ``deep`` also reads each.

    Raises:
        StoreCorrupt: something is missing, damaged or contradicts itself.
    """
    wrong = [f"{count} {what}" for what, sql in _WRONG.items() for ((count,),) in [db.rows(sql)] if count]
    if deep:
        wrong += _damaged(db)
    if wrong:
        raise StoreCorrupt("; ".join(wrong), hint=RESTORE)
    ((number, rows, closed),) = db.rows(_COUNTS)
    relations = db.relations()
    tables = [table.versions for domain in domains for table in domain.tables if table.bulk]
    beside = sum(db.rows(f"SELECT COUNT(*) FROM {quote(name)}")[0][0] for name in tables if name in relations)
    return f"{number} with {rows} rows, {closed} of them closed; {beside} rows beside them" + (
        ", each segment with the bytes it had" if deep else "; --deep reads them"
    )


def _damaged(db: Database) -> list[str]:
    import polars as pl

    found = []
    sql = "SELECT segment_id, table_name, partition_key, row_count, sha256 FROM core_segments ORDER BY segment_id"
    for segment_id, table, key, row_count, sha256 in db.rows(sql):
        ((data,),) = db.rows("SELECT data FROM core_segment_data WHERE segment_id = ?", (segment_id,)) or [(b"",)]
        name = f"segment {segment_id} of {table} {key}"
        if hashlib.sha256(data).hexdigest() != sha256:
            found.append(f"{name} does not match its digest")
        elif pl.scan_parquet(BytesIO(data)).select(pl.len()).collect().item() != row_count:
            found.append(f"{name} has not {row_count} rows")
    return found
