"""Frames to PostgreSQL rows and back, as CSV in the COPY protocol: an exact round trip, and the fastest measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO

import polars as pl

from market_spine.core.kinds import frame_types, frame_value
from market_spine.core.partition import Value
from market_spine.core.schema import Table
from market_spine.store.database import ROW_ID

_ROWS = 100_000
"""Rows that are CSV text at one time: bounds memory."""


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
