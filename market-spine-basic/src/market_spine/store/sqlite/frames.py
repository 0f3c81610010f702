"""Frames to SQLite rows and back, by whole columns."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any, cast

import polars as pl

from market_spine.core.kinds import frame_type, frame_value
from market_spine.core.partition import Value
from market_spine.core.schema import Kind, Table
from market_spine.store.views import quote

_BOUND_VALUES = 900
"""Parameters of one statement, which SQLite limits to 999 or more: several rows in it save a third of the time."""
_INSERT_ROWS = 25_000
_FETCH_ROWS = 50_000
"""Rows that are Python objects at one time: bounds memory."""

_STORED = {pl.Date(): pl.String(), pl.Boolean(): pl.Int64()}
"""Frame types that SQLite has no like of, and those of the values that it keeps instead."""
_OTHERS: dict[str, pl.DataType] = {"moment": pl.String(), "bytes": pl.Binary()}
"""What only the platform's tables hold, and the types of the values that are kept."""


def encode(frame: pl.DataFrame) -> list[list[Any]]:
    """Columns as Python values in their stored form: dates as ISO text, booleans as 0 and 1."""
    return [_stored(column).to_list() for column in frame.get_columns()]


def _stored(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Date:
        return column.dt.strftime("%Y-%m-%d")
    return column.cast(pl.Int64) if column.dtype == pl.Boolean else column


def insert(connection: sqlite3.Connection, table: Table, frame: pl.DataFrame, manifest_id: int) -> None:
    """Add the rows of a frame as current ones."""
    literals = {
        name: literal
        for name in frame.columns
        if (literal := _constant(_stored(frame[name].head(1)), frame[name])) is not None
    }
    names = ", ".join(map(quote, table.names))
    # A value that all rows share stands in the statement: 40 % less time than binding it for each row.
    row = ", ".join((*(literals.get(name, "?") for name in table.names), str(int(manifest_id))))
    head = f"INSERT INTO {quote(table.versions)} ({names}, manifest_id) VALUES "
    bound = frame.select(name for name in table.names if name not in literals)
    if not bound.width:
        connection.executemany(f"{head}({row})", (() for _ in range(frame.height)))
        return
    together = max(1, _BOUND_VALUES // bound.width)
    for chunk in bound.iter_slices(_INSERT_ROWS):
        values = _row_by_row(encode(chunk))
        whole = chunk.height - chunk.height % together
        for first, end, count in ((0, whole, together), (whole, chunk.height, 1)):
            size = count * bound.width
            starts = range(first * bound.width, end * bound.width, size)
            sql = head + ", ".join([f"({row})"] * count)
            connection.executemany(sql, (values[start : start + size] for start in starts))


def _row_by_row(columns: list[list[Any]]) -> list[Any]:
    """The values of columns in the order of their rows."""
    values = [None] * (len(columns) * len(columns[0]))
    for position, column in enumerate(columns):
        values[position :: len(columns)] = column
    return values


def _constant(first: pl.Series, column: pl.Series) -> str | None:
    """The SQL literal of a column's only value; None if it has several or no exact literal."""
    if column.null_count():
        return "NULL" if column.null_count() == column.len() else None
    value = first.item()
    if not isinstance(value, str | int) or "\0" in str(value) or not (column == column[0]).all():
        return None
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def decode(
    cursor: sqlite3.Cursor,
    table: Table,
    fetched: Sequence[str],
    constants: Mapping[str, Value],
    order: Sequence[str],
) -> pl.DataFrame:
    """Read a cursor's rows into a typed frame.

    Args:
        cursor: yields a value for each of ``fetched``, or one to be ignored if that is empty.
        table: whose declared types the columns get.
        fetched: names of the fetched columns; ``ROW_ID`` may be the last.
        constants: columns that are the same in every row.
        order: the names of the result's columns.
    """
    kinds: dict[str, str] = {column.name: column.kind for column in table.columns}
    frame, height = _fetched(cursor, {name: kinds.get(name, "integer") for name in fetched})
    same = {name: repeated(table, name, value, height) for name, value in constants.items()}
    typed = [same[name] if name in same else _typed(frame[name], kinds.get(name)) for name in order]
    return pl.DataFrame(typed)


def fetch(cursor: sqlite3.Cursor, kinds: Mapping[str, str]) -> pl.DataFrame:
    """Read a cursor's rows, typed; of no columns, so that their number can be told.

    Args:
        cursor: yields a value for each of ``kinds``, or one to be ignored if that is empty.
        kinds: column name to kind: one of a declared table, ``moment`` or ``bytes``.
    """
    frame, height = _fetched(cursor, kinds)
    if not kinds:
        return pl.DataFrame({"": [None] * height})
    return pl.DataFrame([_typed(frame[name], kind) for name, kind in kinds.items()])


def parquet(cursor: sqlite3.Cursor, kinds: Mapping[str, str]) -> bytes:
    """A cursor's rows as a Parquet file; ``kinds`` as in ``fetch``."""
    file = BytesIO()
    fetch(cursor, kinds).write_parquet(file, compression="uncompressed")
    return file.getvalue()


def pieces(cursor: sqlite3.Cursor, kinds: Mapping[str, str], count: int) -> Iterator[pl.DataFrame]:
    """A cursor's rows as typed frames of at most ``count`` rows; ``kinds`` as in ``fetch``, at least one."""
    for piece in _chunks(cursor, kinds, count):
        yield pl.DataFrame([_typed(piece[name], kind) for name, kind in kinds.items()])


def _fetched(cursor: sqlite3.Cursor, kinds: Mapping[str, str]) -> tuple[pl.DataFrame, int]:
    """A cursor's rows in their stored form, and their number."""
    if not kinds:
        rows = cursor.fetchall()
        return pl.DataFrame(), len(rows)
    chunks = list(_chunks(cursor, kinds, _FETCH_ROWS))
    stored = {name: _stored_type(kind) for name, kind in kinds.items()}
    frame = pl.concat(chunks) if chunks else pl.DataFrame(schema=stored)
    return frame, frame.height


def _chunks(cursor: sqlite3.Cursor, kinds: Mapping[str, str], count: int) -> Iterator[pl.DataFrame]:
    stored = {name: _stored_type(kind) for name, kind in kinds.items()}
    while rows := cursor.fetchmany(count):
        yield pl.DataFrame(rows, schema=stored, orient="row")


def _stored_type(kind: str) -> pl.DataType:
    if kind in _OTHERS:
        return _OTHERS[kind]
    shown = frame_type(cast("Kind", kind))
    return _STORED.get(shown, shown)


def repeated(table: Table, name: str, value: Value, height: int) -> pl.Series:
    """A column of a table that has one value, in its stored form, in every row."""
    kinds = {column.name: column.kind for column in table.columns}
    return pl.Series(name, [frame_value(kinds[name], value)], dtype=frame_type(kinds[name])).new_from_index(0, height)


def _typed(column: pl.Series, kind: str | None) -> pl.Series:
    if kind == "date":
        return column.str.to_date("%Y-%m-%d")
    if kind == "moment":
        return moments(column)
    return column.cast(pl.Boolean) if kind == "boolean" else column


def moments(texts: pl.Series) -> pl.Series:
    """Moments from their text."""
    return texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC")
