"""Rows of a PostgreSQL statement as a Parquet file, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import polars as pl
from polars.io.plugins import register_io_source
from psycopg.postgres import types

from market_spine.errors import UsageError

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
"""Name of a type to that of a column; others are text. Sums of integers, which are numeric, are whole numbers."""


def write(file: IO[bytes], columns: Sequence[tuple[str, int]], batches: Iterable[Sequence[tuple[Any, ...]]]) -> None:
    """Write rows as they come.

    Args:
        file: where.
        columns: name and number of the type of each.
        batches: the rows as plain values.
    """
    names = {number: info.name for info in types for number in (info.oid,)}
    kinds = {name: _KINDS.get(names.get(number, ""), pl.String()) for name, number in columns}

    def read(*_: Any) -> Iterator[pl.DataFrame]:
        for rows in batches:
            yield _frame(kinds, rows)

    register_io_source(read, schema=kinds).sink_parquet(file, compression="zstd")


def _frame(kinds: dict[str, pl.DataType], rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    found = []
    for (name, kind), values in zip(kinds.items(), zip(*rows, strict=True), strict=True):
        stored = pl.String() if isinstance(kind, pl.Date | pl.Datetime | pl.Binary | pl.String) else kind
        texts = [value if value is None or isinstance(value, str) else str(value) for value in values]
        try:
            column = pl.Series(name, texts if stored == pl.String() else values, dtype=stored)
        except (TypeError, OverflowError) as error:
            raise UsageError(f"column {name} does not fit its type in Parquet", hint="cast it, or use csv") from error
        if isinstance(kind, pl.Date):
            column = column.str.to_date("%Y-%m-%d")
        elif isinstance(kind, pl.Datetime):
            column = column.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC")
        elif isinstance(kind, pl.Binary):
            column = column.str.decode("hex")
        found.append(column)
    return pl.DataFrame(found)
