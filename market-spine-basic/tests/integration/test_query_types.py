"""Types of a statement's answer: the declared ones, in Parquet, in frames and as JSON, on every store."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

import polars as pl
import pytest

from market_spine.cli import output
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.core.schema import Table
from market_spine.errors import UsageError
from market_spine.store.writer import StoreWriter

LARGE = 2**63 - 1
DECLARED = {
    "day": pl.Date(),
    "plot": pl.String(),
    "crop": pl.String(),
    "weight": pl.Float64(),
    "crates": pl.Int64(),
    "is_ripe": pl.Boolean(),
    "sown": pl.Date(),
    "capture_id": pl.String(),
    "captured_at": pl.Datetime("us", "UTC"),
}


def parquet(store: StoreWriter, sql: str, as_of: str | None = None) -> pl.DataFrame:
    """The answer as a Parquet file has it, after comparing that with its frames."""
    file = BytesIO()
    with store.ask(sql, as_of) as answer:
        answer.write_parquet(file)
    read = pl.read_parquet(BytesIO(file.getvalue()))
    with store.ask(sql, as_of) as answer:
        schema = dict(answer.schema)
        frame = pl.concat([pl.DataFrame(schema=schema), *answer.frames()])
    assert dict(frame.schema) == schema == dict(read.schema)
    assert frame.sort(frame.columns).equals(read.sort(read.columns))
    return read


@pytest.fixture
def full(writer: StoreWriter, domain: Any, partition: Partition, enter: Callable[..., Entry]) -> StoreWriter:
    """A store with one row of values at the edges and one of missing ones."""
    table: Table = domain.tables[0]
    day = date(2025, 1, 3)
    rows = [
        (day, "north", "kale", 0.1, LARGE, True, date(1, 1, 1)),
        (day, "north", "leek", -2.5e-308, None, None, None),
    ]
    with writer.commit(partition) as commit:
        entry = enter(commit, partition, capture_id="first")
        scope = Scope({"day": "2025-01-03", "plot": "north"})
        commit.replace(table, scope, table.frame(rows), entry.manifest_id)
    return writer


@pytest.mark.parametrize("as_of", [None, "first"])
def test_columns_have_their_declared_types(full: StoreWriter, as_of: str | None) -> None:
    """Dates are dates, whole numbers whole to the last digit, moments moments; missing values are missing."""
    found = parquet(full, "SELECT * FROM garden_harvest ORDER BY crop", as_of)
    assert dict(found.schema) == DECLARED
    assert found.row(0)[:7] == (date(2025, 1, 3), "north", "kale", 0.1, LARGE, True, date(1, 1, 1))
    assert found.row(1)[2:7] == ("leek", -2.5e-308, None, None, None)
    (moment,) = full.query("SELECT committed_at FROM core_manifest").rows[0]
    assert found["captured_at"].to_list() == [datetime.fromisoformat(moment).astimezone(UTC)] * 2


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM garden_harvest",
        "SELECT * FROM garden_harvest WHERE crop = 'none'",
        "SELECT * FROM garden_harvest WHERE crates IS NULL",
        "SELECT * FROM garden_harvest ORDER BY crop LIMIT 1",
        "WITH x AS (SELECT * FROM garden_harvest) SELECT * FROM x WHERE is_ripe -- the end",
        "SELECT * FROM garden_harvest;",
    ],
)
def test_answers_of_one_table_can_be_read_together(full: StoreWriter, sql: str) -> None:
    """Whether an answer is empty, or a column of it: the types are the same."""
    assert dict(parquet(full, sql).schema) == DECLARED


def test_an_empty_store_has_the_types(writer: StoreWriter) -> None:
    """Nothing was ever loaded, and every column has its type, in views and in the platform's tables, too."""
    assert dict(parquet(writer, "SELECT * FROM garden_harvest").schema) == DECLARED
    view = {"day": pl.Date(), "plot": pl.String(), "weight": pl.Float64()}
    assert dict(parquet(writer, "SELECT * FROM garden_total").schema) == view
    core = parquet(writer, "SELECT run_id, started_at, exit_code, attempted FROM core_runs").schema
    assert list(core.values()) == [pl.String(), pl.Datetime("us", "UTC"), pl.Int64(), pl.Int64()]


def test_computed_columns_have_types_of_both_stores(full: StoreWriter) -> None:
    """Decimals keep their digits, bytes are bytes, truth values are truth values, and nothing is text."""
    found = parquet(
        full,
        "SELECT COUNT(*) AS n, MAX(crates) AS most, AVG(weight) AS mean,"
        " CAST('12345678901234567.89' AS DECIMAL(38, 2)) AS d, CAST(NULL AS DATE) AS nothing, MIN(sown) AS earliest,"
        " COUNT(*) > 1 AS several, NULL AS unknown,"
        " CAST('a,\"b\"' AS TEXT) AS t, CAST(-1.5 AS DOUBLE PRECISION) AS f FROM garden_harvest",
    )
    assert found.row(0) == (
        2,
        LARGE,
        (0.1 - 2.5e-308) / 2,
        Decimal("12345678901234567.89"),
        None,
        date(1, 1, 1),
        True,
        None,
        'a,"b"',
        -1.5,
    )
    assert list(found.schema.values()) == [
        pl.Int64(),
        pl.Int64(),
        pl.Float64(),
        pl.Decimal(38, 2),
        pl.Date(),
        pl.Date(),
        pl.Boolean(),
        pl.String(),
        pl.String(),
        pl.Float64(),
    ]


def test_texts_survive_whatever_they_hold(writer: StoreWriter) -> None:
    """Line ends, quotes, empty text, commas and letters of any script; empty and missing are two things."""
    texts = ["", "a\nb", 'say "no"', ",", "\\x41", "\\N", "ß漢字", "NULL", "\t", "'"]
    values = ", ".join("('" + text.replace("'", "''") + f"', {number})" for number, text in enumerate(texts))
    found = parquet(writer, f"SELECT * FROM (VALUES {values}, (NULL, 99)) v (t, n) ORDER BY n")
    assert found["t"].to_list() == [*texts, None]
    alone = parquet(writer, f"SELECT t FROM (VALUES {values}, (NULL, 99)) v (t, n) ORDER BY n")
    assert alone["t"].null_count() == 1
    assert alone.height == len(texts) + 1


@pytest.mark.soak
def test_many_rows_come_whole(writer: StoreWriter) -> None:
    """An answer of many pieces has every row once."""
    found = parquet(
        writer, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000) SELECT i FROM n"
    )
    assert (found.height, found["i"].sum(), found["i"].n_unique()) == (120_000, 120_000 * 120_001 // 2, 120_000)


def test_json_has_the_values(full: StoreWriter, capsys: pytest.CaptureFixture[str]) -> None:
    """Dates and moments are ISO texts, whole numbers whole to the last digit, truth values and nothing themselves."""
    with full.ask("SELECT * FROM garden_harvest ORDER BY crop") as answer:
        names = answer.columns
        output.write_json_rows([dict(zip(names, row, strict=True)) for row in batch] for batch in answer.batches())
    first, second = json.loads(capsys.readouterr().out)
    assert {name: first[name] for name in list(DECLARED)[:7]} == {
        "day": "2025-01-03",
        "plot": "north",
        "crop": "kale",
        "weight": 0.1,
        "crates": LARGE,
        "is_ripe": True,
        "sown": "0001-01-01",
    }
    assert (second["crates"], second["is_ripe"], second["sown"]) == (None, None, None)
    assert datetime.fromisoformat(first["captured_at"]).tzinfo is not None


def test_names_that_are_not_distinct_are_refused(writer: StoreWriter) -> None:
    """A file keeps values apart by their names."""
    with pytest.raises(UsageError, match="are called a"), writer.ask("SELECT 1 AS a, 2 AS a") as answer:
        answer.write_parquet(BytesIO())


def take(store: StoreWriter, sql: str, seconds: float, way: str) -> None:
    """Read an answer to its end."""
    with store.ask(sql, seconds=seconds) as answer:
        if way == "parquet":
            answer.write_parquet(BytesIO())
        else:
            for _ in getattr(answer, way)():
                pass


@pytest.mark.parametrize("way", ["frames", "parquet", "batches"])
def test_what_stops_an_answer_is_said(way: str, writer: StoreWriter) -> None:
    """A value that cannot be computed amid the rows, and a limit of time, are usage errors however rows are taken."""
    wrong = "CASE WHEN i > 140000 THEN CAST('x' || i AS INTEGER) ELSE i END"
    with pytest.raises(UsageError, match="cannot be run"):
        take(writer, f"SELECT {wrong} AS i FROM generate_series(1, 150000) n(i)", 60, way)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) AS c FROM n"
    with pytest.raises(UsageError, match="took longer"):
        take(writer, endless, 0.05, way)
