"""Frames to SQLite rows and back."""

from __future__ import annotations

import sqlite3
from datetime import date

import polars as pl
import pytest

from market_spine.core.partition import Scope
from market_spine.core.schema import Column, Table
from market_spine.store.sqlite import frames
from market_spine.store.sqlite.database import SqliteDatabase

TABLE = Table(
    "beds",
    (
        Column("day", "date", "D."),
        Column("plot", "text", "P."),
        Column("is_wet", "boolean", "W."),
        Column("depth", "float", "M."),
        Column("count", "integer", "C."),
    ),
    ("day", "plot"),
    ("day",),
    "Beds.",
)
BATCH = frames._BOUND_VALUES // 4
"""Rows per statement of a frame in which all columns but the day vary."""


def beds(height: int) -> pl.DataFrame:
    """Rows of one day with every kind of value, nulls among them."""
    numbers = range(height)
    return pl.DataFrame(
        {
            "day": [date(2025, 1, 3)] * height,
            "plot": [f"plot '{number:04d}'\0|é" for number in numbers],
            "is_wet": [[True, False, None][number % 3] for number in numbers],
            "depth": [None if number % 5 == 0 else number / 7 for number in numbers],
            "count": [2**62 - number for number in numbers],
        },
        schema={"day": pl.Date, "plot": pl.String, "is_wet": pl.Boolean, "depth": pl.Float64, "count": pl.Int64},
    )


@pytest.mark.parametrize("height", [1, 2, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH, 1000])
@pytest.mark.parametrize("chunk", [100_000, 300])
def test_every_row_comes_back_as_it_was(height: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of rows in relation to those of a statement and of a chunk, none is lost or altered."""
    monkeypatch.setattr(frames, "_INSERT_ROWS", chunk)
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE beds_versions (day, plot, is_wet, depth, count, manifest_id, superseded_by)")
    frame = beds(height)
    frames.insert(connection, TABLE, frame, 7)
    found = SqliteDatabase(connection, None, 0.0).read_frame(TABLE, Scope({"day": "2025-01-03"}), TABLE.names)
    assert found.sort("plot").equals(frame.sort("plot"))
    brought = connection.execute("SELECT DISTINCT manifest_id, superseded_by FROM beds_versions").fetchall()
    assert brought == [(7, None)]
    connection.close()


def test_a_lone_row_of_constants_is_inserted() -> None:
    """A row whose every value stands in the statement itself is one row."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE beds_versions (day, plot, is_wet, depth, count, manifest_id, superseded_by)")
    frames.insert(connection, TABLE, beds(1).with_columns(plot=pl.lit("it's"), depth=pl.lit(None, pl.Float64)), 7)
    assert connection.execute("SELECT * FROM beds_versions").fetchall() == [
        ("2025-01-03", "it's", 1, None, 2**62, 7, None)
    ]
    connection.close()
