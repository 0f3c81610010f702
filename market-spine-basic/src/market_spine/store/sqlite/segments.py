"""Bulk tables in columns: a partition's rows as immutable Parquet segments, small changes to them as rows.

A segment is what one manifest entry brought to one partition of a table. Its file holds the table's columns
without those of the partition, and nothing of the manifest. Rows that were closed since are named by their
number. Row ids: that of a segment's row is positive and holds both numbers; that of a row in
``<name>_versions`` is its negative address.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

import polars as pl

from market_spine.core.kinds import frame_types, read_value, write_value
from market_spine.core.partition import Scope
from market_spine.core.schema import Column, Table
from market_spine.errors import SchemaError, StoreCorrupt
from market_spine.store.database import ROW_ID, Database
from market_spine.store.records import insert_into
from market_spine.store.replacing import inside
from market_spine.store.sqlite.addresses import row_address
from market_spine.store.sqlite.frames import repeated
from market_spine.store.views import quote

MANY_ROWS = 1_000
LARGE_PART = 0.2
"""A change of more than so many rows, and more than this part of the scope, becomes a segment of its own."""

_NUMBERS = 2**32
"""Row numbers below which lie within one segment; a row id is ``segment id * _NUMBERS + row number``."""
_NOT = "__HIVE_DEFAULT_PARTITION__"
"""The one text that DuckDB takes for NULL in a path."""

_ROW_GROUP = 30_000
"""Rows of a segment that are read together: fewer make it larger, more let a search by symbol skip less."""
_SEGMENT_COLUMNS = "table_name, partition_key, manifest_id, row_count, closed, schema_id, size, sha256"
_CURRENT = """\
SELECT s.segment_id, s.row_count, s.closed, s.sha256, c.columns
  FROM core_segments s LEFT JOIN core_segment_schemas c ON c.schema_id = s.schema_id
 WHERE s.table_name = ? AND s.partition_key = ? AND s.superseded_by IS NULL
 ORDER BY s.segment_id
"""
_KEYS = """\
SELECT DISTINCT partition_key FROM core_segments WHERE table_name = ? AND superseded_by IS NULL ORDER BY partition_key
"""
_CLOSE_WHOLE = """\
UPDATE core_segments SET superseded_by = ? WHERE segment_id = ? AND superseded_by IS NULL AND row_count - closed = ?
"""
_CLOSE_SOME = "UPDATE core_segments SET closed = closed + ? WHERE segment_id = ? AND superseded_by IS NULL"


class Segment(NamedTuple):
    """One segment; ``columns`` as ``core_segment_schemas`` keeps them, None if it does not."""

    segment_id: int
    row_count: int
    closed: int
    sha256: str
    columns: str | None


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows as a segment's file."""

    data: bytes
    sha256: str
    row_count: int


def partition_key(table: Table, scope: Scope) -> str:
    """The key of the partition that a scope is; raises ValueError for a scope that is none."""
    values = [write_value(scope.equals.get(name, "|")) for name in table.partition_by]
    if scope.between or len(scope.equals) != len(values) or any("|" in value or value == _NOT for value in values):
        raise ValueError(f"{table.name} is replaced by equality on {', '.join(table.partition_by)}, not in {scope}")
    return "|".join(values)


def stored_columns(table: Table) -> list[Column]:
    """The columns of a segment's file: all but those of the partition."""
    return [column for column in table.columns if column.name not in table.partition_by]


def _matching(db: Database, table: Table, scope: Scope) -> list[tuple[Scope, list[Segment]]]:
    """The segments with current rows of every partition that may have rows in a scope."""
    if not scope.between and set(scope.equals) == set(table.partition_by):
        return [(scope, current(db, table, scope))]
    kinds = {column.name: column.kind for column in table.columns}
    found = []
    for (key,) in db.rows(_KEYS, (table.name,)):
        texts = dict(zip(table.partition_by, key.split("|"), strict=True))
        if all(write_value(value) == texts.get(name, write_value(value)) for name, value in scope.equals.items()):
            # Any text can be a value, though not each can stand in a partition's key.
            partition = Scope(
                {name: text if kinds[name] == "text" else read_value(kinds[name], text) for name, text in texts.items()}
            )
            found.append((partition, current(db, table, partition)))
    return found


def current(db: Database, table: Table, scope: Scope) -> list[Segment]:
    """The segments of a partition with rows that are current."""
    return [Segment(*row) for row in db.rows(_CURRENT, (table.name, partition_key(table, scope)))]


def pack(table: Table, frame: pl.DataFrame, before: int) -> Packed | None:
    """Rows as a segment's file; None if they are too few for one beside ``before`` current rows."""
    large = frame.height > MANY_ROWS and frame.height > LARGE_PART * before
    if not frame.height or (before and not large):
        return None
    file = BytesIO()
    rows = frame.select(column.name for column in stored_columns(table))
    # No column but the partition's: Parquet keeps the number of rows with their columns.
    rows = rows if rows.width else pl.DataFrame({"": [True] * frame.height})
    # Looking an empty text up in a dictionary of none, as Polars does, can take longer than writing all other columns.
    blank = [name for name, kind in rows.schema.items() if kind == pl.String and (rows[name] == "").any()]
    rows = rows.cast(dict.fromkeys(blank, pl.Categorical))
    rows.write_parquet(file, compression="zstd", compression_level=1, row_group_size=_ROW_GROUP)
    data = file.getvalue()
    return Packed(data, hashlib.sha256(data).hexdigest(), frame.height)


def insert(db: Database, table: Table, scope: Scope, packed: Packed, manifest_id: int) -> int:
    """Add a segment of current rows; returns the row id of its first."""
    columns = json.dumps([[column.name, column.kind] for column in stored_columns(table)])
    named = (table.name, columns)
    wanted = "SELECT schema_id FROM core_segment_schemas WHERE table_name = ? AND columns = ?"
    if not db.rows(wanted, named):
        db.run(insert_into("core_segment_schemas", "table_name, columns"), named)
    ((schema_id,),) = db.rows(wanted, named)
    key = partition_key(table, scope)
    db.run(
        insert_into("core_segments", _SEGMENT_COLUMNS),
        (table.name, key, manifest_id, packed.row_count, 0, schema_id, len(packed.data), packed.sha256),
    )
    ((segment_id,),) = db.rows("SELECT MAX(segment_id) FROM core_segments")
    db.run(insert_into("core_segment_data", "segment_id, data"), (segment_id, packed.data))
    return int(segment_id) * _NUMBERS


def read(
    db: Database, table: Table, scope: Scope, columns: Sequence[str], *, row_ids: bool = False
) -> list[pl.DataFrame]:
    """The named columns of the rows in a scope that are current in segments, typed; ``ROW_ID`` on demand."""
    needed = list(dict.fromkeys((*columns, *scope.equals, *scope.between)))
    return [
        _current_rows(db, table, partition, segment, needed)
        .filter(inside(table, scope))
        .select(*columns, *([ROW_ID] if row_ids else []))
        for partition, found in _matching(db, table, scope)
        for segment in found
    ]


def _current_rows(
    db: Database, table: Table, partition: Scope, segment: Segment, columns: Sequence[str]
) -> pl.DataFrame:
    frame = _decode(db, table, segment, columns).with_row_index(ROW_ID)
    if segment.closed:
        rows = db.rows("SELECT row_number FROM core_closures WHERE segment_id = ?", (segment.segment_id,))
        closed = pl.Series([number for (number,) in rows], dtype=pl.UInt32)
        frame = frame.filter(~pl.col(ROW_ID).is_in(closed.implode()))
    return frame.with_columns(
        pl.col(ROW_ID).cast(pl.Int64) + segment.segment_id * _NUMBERS,
        *(repeated(table, name, partition.equals[name], frame.height) for name in columns if name in partition.equals),
    )


def _decode(db: Database, table: Table, segment: Segment, columns: Iterable[str]) -> pl.DataFrame:
    """The named columns of all rows of a segment that its file has, in their order."""
    rows = db.rows("SELECT data FROM core_segment_data WHERE segment_id = ?", (segment.segment_id,))
    if not rows or hashlib.sha256(rows[0][0]).hexdigest() != segment.sha256:
        raise StoreCorrupt(
            f"segment {segment.segment_id} of {table.name} is missing or does not match its digest",
            hint="make a new store from the payloads with `market-spine rebuild`, or restore a backup",
        )
    kept = kept_columns(table, segment.columns)
    wanted = [name for name in columns if name not in table.partition_by]
    types = frame_types(table)
    file = BytesIO(rows[0][0])
    names = [name for name in wanted if kept[name]]
    frame = pl.read_parquet(file, columns=names) if names else pl.DataFrame({"": [None] * segment.row_count})
    frame = frame.cast({pl.Categorical: pl.String})
    return frame.with_columns(pl.lit(None, types[name]).alias(name) for name in wanted if not kept[name])


def kept_columns(table: Table, columns: str | None) -> Mapping[str, bool]:
    """Stored column to whether a segment's file has it; one that came later is null there.

    Args:
        table: whose segment it is.
        columns: what ``core_segment_schemas`` says of the segment.

    Raises:
        SchemaError: a column changed its kind, or came later and may not be null.
        StoreCorrupt: it says nothing that can be read.
    """
    try:
        kinds = dict(json.loads(columns or ""))
    except (ValueError, TypeError) as error:
        raise StoreCorrupt(
            f"what columns segments of {table.name} have cannot be read ({error})",
            hint="make a new store from the payloads with `market-spine rebuild`, or restore a backup",
        ) from error
    for column in stored_columns(table):
        if kinds.get(column.name, column.kind) != column.kind or (column.name not in kinds and not column.nullable):
            raise SchemaError(
                f"{table.name}.{column.name} is not kept as the installed code declares it",
                hint="make a new store from the payloads with `market-spine rebuild`",
            )
    return {column.name: column.name in kinds for column in stored_columns(table)}


def close(db: Database, row_ids: Iterable[int], manifest_id: int) -> int:
    """Mark current rows of segments as superseded by an entry; returns how many were."""
    numbers: dict[int, list[int]] = {}
    for row_id in row_ids:
        segment_id, number = divmod(row_id, _NUMBERS)
        numbers.setdefault(segment_id, []).append(number)
    count = 0
    for segment_id, found in numbers.items():
        if not db.run(_CLOSE_WHOLE, (manifest_id, segment_id, len(found))):
            if not db.run(_CLOSE_SOME, (len(found), segment_id)):
                continue
            rows = ((segment_id, number, manifest_id) for number in sorted(found))
            db.run_many(insert_into("core_closures", "segment_id, row_number, superseded_by"), rows)
        count += len(found)
    return count


def versions(db: Database, table: Table, scope: Scope) -> Iterator[pl.DataFrame]:
    """Every row of every segment of a partition, with ``manifest_id`` and ``superseded_by``."""
    sql = _CURRENT.replace("AND s.superseded_by IS NULL", "")
    for row in db.rows(sql, (table.name, partition_key(table, scope))):
        segment = Segment(*row)
        own = (segment.segment_id,)
        ((brought, ended),) = db.rows("SELECT manifest_id, superseded_by FROM core_segments WHERE segment_id = ?", own)
        closures = db.rows("SELECT row_number, superseded_by FROM core_closures WHERE segment_id = ?", own)
        closed = pl.DataFrame(closures, schema={ROW_ID: pl.UInt32, "superseded_by": pl.Int64}, orient="row")
        frame = _decode(db, table, segment, table.names).with_row_index(ROW_ID)
        yield frame.join(closed, on=ROW_ID, how="left", maintain_order="left").with_columns(
            pl.lit(brought, pl.Int64).alias("manifest_id"),
            pl.col("superseded_by").fill_null(pl.lit(ended, pl.Int64)),
            *(repeated(table, name, value, frame.height) for name, value in scope.equals.items()),
        )


def state(db: Database, table: Table, scope: Scope, where: str, params: Sequence[object]) -> object:
    """What is equal as long as a partition's current rows are the same; ``where`` is the scope as a condition."""
    shown = f"COUNT(*), MAX({row_address(table)})"
    sql = f"SELECT {shown} FROM {quote(table.versions)} WHERE {where} AND superseded_by IS NULL"
    # A row that is added has a higher address than all before it.
    return [*current(db, table, scope), *db.rows(sql, params)]
