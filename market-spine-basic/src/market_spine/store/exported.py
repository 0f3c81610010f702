"""Databases of other programs' that an export is written into."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl

from market_spine.store.views import quote

if TYPE_CHECKING:
    from market_spine.core.ports import FrameStream
    from market_spine.core.relations import RelationInfo

DESCRIBED = "market_spine_export"
"""The table with one row of JSON: what the export is."""


@contextmanager
def _written() -> Iterator[None]:
    """Tell what a database cannot write as what it is for every file: an OSError."""
    try:
        yield
    except (duckdb.Error, sqlite3.Error) as error:
        raise OSError(str(error).partition("\n")[0]) from error


class DuckdbFile:
    """A DuckDB database."""

    def __init__(self, path: Path) -> None:
        self._connection = duckdb.connect(str(path), config={"memory_limit": "512MB"})

    def add(self, relation: RelationInfo, rows: FrameStream) -> int:
        """Write a table's or view's rows; returns their number."""
        self._take(pl.DataFrame(schema=dict(rows.schema)), f"CREATE TABLE {quote(relation.name)} AS FROM piece")
        total = 0
        for piece in rows.frames():
            self._take(piece, f"INSERT INTO {quote(relation.name)} FROM piece")
            total += piece.height
        return total

    def _take(self, piece: pl.DataFrame, sql: str) -> None:
        with _written():
            self._connection.register("piece", piece)
            self._connection.execute(sql)
            self._connection.unregister("piece")

    def close(self, described: bytes) -> None:
        """Add what the export is, and let everything be in the file."""
        self._take(pl.DataFrame({"document": [described.decode()]}), f"CREATE TABLE {DESCRIBED} AS FROM piece")
        with _written():
            self._connection.execute("CHECKPOINT")
            self._connection.close()


class SqliteFile:
    """An SQLite database: columns have the declared types; its values are dates as ISO text, booleans as 0 and 1."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        # A file that was not finished is thrown away.
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("BEGIN")

    def add(self, relation: RelationInfo, rows: FrameStream) -> int:
        """Write a table's or view's rows; returns their number."""
        schema = rows.schema
        name = quote(relation.name)
        self._connection.execute(f"CREATE TABLE {name} ({_columns(schema)})")
        insert = f"INSERT INTO {name} VALUES ({', '.join('?' * len(schema))})"
        total = 0
        for piece in rows.frames():
            stored = piece.select(_stored(column, kind) for column, kind in schema.items())
            with _written():
                self._connection.executemany(insert, stored.iter_rows())
            total += piece.height
        return total

    def close(self, described: bytes) -> None:
        """Add what the export is, and let everything be in the file."""
        with _written():
            self._connection.execute(f"CREATE TABLE {DESCRIBED} (document TEXT)")
            self._connection.execute(f"INSERT INTO {DESCRIBED} VALUES (?)", (described.decode(),))
            self._connection.execute("COMMIT")
            self._connection.close()


def _columns(schema: Mapping[str, pl.DataType]) -> str:
    return ", ".join(f"{quote(name)} {_declared(kind)}" for name, kind in schema.items())


def _declared(kind: pl.DataType) -> str:
    if kind.is_integer():
        return "BIGINT"
    if kind.is_numeric():
        return "DOUBLE PRECISION"
    if isinstance(kind, pl.Datetime):
        return "TIMESTAMPTZ"
    return {pl.Date(): "DATE", pl.Boolean(): "BOOLEAN", pl.Binary(): "BLOB"}.get(kind, "TEXT")


def _stored(name: str, kind: pl.DataType) -> pl.Expr:
    """A column in the form in which SQLite keeps it."""
    column = pl.col(name)
    if kind == pl.Boolean:
        return column.cast(pl.Int64)
    if kind == pl.Date:
        return column.dt.strftime("%Y-%m-%d")
    if isinstance(kind, pl.Datetime):
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00")
    if kind.is_integer() or kind in (pl.String, pl.Binary):
        return column
    return column.cast(pl.Float64) if kind.is_numeric() else column.cast(pl.String)
