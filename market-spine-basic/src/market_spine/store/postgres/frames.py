"""Frames to PostgreSQL rows and back, as CSV in the COPY protocol: an exact round trip, and the fastest measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import polars as pl
from psycopg.postgres import types

from market_spine.core.kinds import frame_types, frame_value
from market_spine.core.partition import Value
from market_spine.core.schema import Table
from market_spine.errors import UsageError
from market_spine.store.database import ROW_ID
from market_spine.store.postgres.watching import Described

if TYPE_CHECKING:
    from psycopg.abc import Buffer

_ROWS = 100_000
"""Rows that are CSV text at one time: bounds memory."""
_PIECE_ROWS = 25_000
"""Rows of a frame of a user's answer, whose texts may be long."""
_KINDS: dict[str, pl.DataType] = {
    "int2": pl.Int64(),
    "int4": pl.Int64(),
    "int8": pl.Int64(),
    "float4": pl.Float64(),
    "float8": pl.Float64(),
    "bool": pl.Boolean(),
    "date": pl.Date(),
    "timestamptz": pl.Datetime("us", "UTC"),
    "numeric": pl.Float64(),
    "bytea": pl.Binary(),
}
"""Name of a type to that of a frame's column; others are text."""
_DIGITS = 38
"""Most digits of a decimal number in a frame."""


def encode(frame: pl.DataFrame) -> Iterator[bytes]:
    """A frame as CSV without a header, piece by piece: NULL is an empty field, empty text is quoted."""
    # SQLite keeps no sign of a zero, and both stores give the same rows back.
    floats = [name for name, kind in frame.schema.items() if kind == pl.Float64]
    for piece in frame.with_columns(pl.col(floats) + 0.0).iter_slices(_ROWS):
        text = BytesIO()
        piece.write_csv(text, include_header=False)
        yield text.getvalue()


def decode(
    data: bytes, table: Table, fetched: Sequence[str], constants: Mapping[str, Value], order: Sequence[str]
) -> pl.DataFrame:
    """Read CSV rows into a typed frame.

    Args:
        data: a field for each of ``fetched``, or one to be ignored if that is empty.
        table: whose declared types the columns get.
        fetched: names of the fetched columns; ``ROW_ID`` may be among them.
        constants: columns that are the same in every row, in their stored form.
        order: the names of the result's columns.
    """
    types = frame_types(table)
    kinds = {name: types.get(name, pl.String()) for name in fetched}
    # Booleans come as t and f.
    read = {name: pl.String() if kind == pl.Boolean else kind for name, kind in kinds.items()}
    frame = pl.read_csv(BytesIO(data), has_header=False, schema=read or {ROW_ID: pl.String()})
    flags = [name for name, kind in kinds.items() if kind == pl.Boolean]
    declared = {column.name: column.kind for column in table.columns}
    same = [pl.lit(frame_value(declared[name], value), types[name]).alias(name) for name, value in constants.items()]
    return frame.with_columns(*(pl.col(name) == "t" for name in flags), *same).select(order)


def types_of(columns: Sequence[Described]) -> dict[str, pl.DataType]:
    """The types in frames of a statement's columns."""
    names = {info.oid: info.name for info in types}
    found = {}
    for column in columns:
        name = names.get(column.kind, "")
        found[column.name] = _KINDS.get(name, pl.String())
        if name == "numeric" and column.modifier >= 4:
            # As numeric(precision, scale) keeps the two.
            precision, scale = divmod(column.modifier - 4, 1 << 16)
            if scale <= precision <= _DIGITS:
                found[column.name] = pl.Decimal(precision, scale)
    return found


def pieces(copy: Iterable[Buffer], kinds: Mapping[str, pl.DataType]) -> Iterator[pl.DataFrame]:
    """CSV rows of a constant and the columns, as they come, as frames of these types; raises UsageError."""
    rows: list[Buffer] = []
    for row in copy:
        rows.append(row)
        if len(rows) >= _PIECE_ROWS:
            yield _piece(rows, kinds)
            rows = []
    if rows:
        yield _piece(rows, kinds)


def _piece(rows: list[Buffer], kinds: Mapping[str, pl.DataType]) -> pl.DataFrame:
    read = {name: kind if kind in _AS_IT_IS else pl.String() for name, kind in kinds.items()}
    # The constant has no name that a column can have.
    frame = pl.read_csv(BytesIO(b"".join(rows)), has_header=False, schema={"\0": pl.String(), **read})
    try:
        return frame.select(_parsed(name, kind) for name, kind in kinds.items())
    except pl.exceptions.PolarsError as error:
        raise UsageError(
            "a value of the answer does not fit its type in a frame or Parquet", hint="cast its column to text"
        ) from error


_AS_IT_IS = (pl.Int64(), pl.Float64(), pl.Date(), pl.String())


def _parsed(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if kind == pl.Boolean:
        return column == "t"
    if kind == pl.Binary:
        return column.str.strip_prefix("\\x").str.decode("hex")
    if isinstance(kind, pl.Datetime):
        return column.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%#z", time_unit="us", time_zone="UTC")
    return column.cast(kind)
