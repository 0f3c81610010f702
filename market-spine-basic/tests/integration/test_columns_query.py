"""What a statement reads of bulk tables: only what it needs, of one state, within its limits."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.errors import UsageError
from market_spine.store import StoreUrl, open_reader
from market_spine.store.sqlite.files import StoreFiles
from market_spine.store.writer import StoreWriter

HARVEST = "garden_harvest"
pytestmark = pytest.mark.parametrize("new_store", ["columns"], indirect=True)

NORTH = Scope({"day": "2025-01-03", "plot": "north"})


def test_only_the_segments_that_a_statement_needs_are_opened(
    store_url: StoreUrl,
    writer: StoreWriter,
    domain: Domain,
    enter: Callable[..., Entry],
    harvest: Callable[..., pl.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Conditions on partition columns, also through views and joins, leave the other segments closed."""
    for day in range(1, 10):
        key = Partition("garden", (f"2025-01-0{day}", "north"))
        with writer.commit(key) as commit:
            entry = enter(commit, key, capture_id=f"capture {day}")
            frame = harvest(kale=day).with_columns(day=pl.lit(key.values[0]).str.to_date())
            scope = Scope(dict(zip(("day", "plot"), key.values, strict=True)))
            commit.replace(domain.tables[0], scope, frame, entry.manifest_id)
    opened: list[int] = []
    part = StoreFiles.part

    def seen(self: StoreFiles, segment_id: int, start: int, count: int) -> bytes:
        opened.append(segment_id)
        return part(self, segment_id, start, count)

    monkeypatch.setattr(StoreFiles, "part", seen)
    for sql, needed in (
        ("SELECT SUM(weight) FROM garden_harvest WHERE day = '2025-01-03'", {3}),
        ("SELECT SUM(weight) FROM garden_total WHERE day BETWEEN '2025-01-04' AND '2025-01-05'", {4, 5}),
        ("SELECT doubled FROM garden_value WHERE day = DATE '2025-01-07'", {7}),
        ("SELECT COUNT(*) FROM garden_harvest WHERE plot = 'south'", set()),
        ("SELECT COUNT(*) FROM core_manifest", set()),
        ("SELECT SUM(weight) FROM garden_harvest", set(range(1, 10))),
    ):
        opened.clear()
        writer.query(sql)
        # One is looked at to learn the columns.
        assert needed <= set(opened) <= needed | {1}, sql
    opened.clear()
    assert writer.query("SELECT SUM(weight) FROM garden_harvest WHERE day > '2025-01-01'", "capture 3").rows == [(5.0,)]
    assert set(opened) <= {1, 2, 3}


def test_payloads_are_decoded_only_where_they_are_selected(
    writer: StoreWriter, partition: Partition, enter: Callable[..., Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that names no ``data`` fetches none, and one that names one payload fetches that."""
    from market_spine.core.capture import Part
    from market_spine.store.sqlite import frames

    parts = [Part(f"part {number}", bytes([number]) * 10_000, "file") for number in range(5)]
    with writer.commit(partition) as commit:
        enter(commit, partition)
        for part in parts:
            commit.add_payload(part)
    fetched: list[tuple[tuple[str, ...], int]] = []
    fetch = frames.fetch

    def seen(cursor: sqlite3.Cursor, kinds: Any) -> pl.DataFrame:
        frame = fetch(cursor, kinds)
        fetched.append((tuple(kinds), frame.height))
        return frame

    monkeypatch.setattr(frames, "fetch", seen)
    assert writer.query("SELECT SUM(size) FROM core_payloads").rows == [(50_000,)]
    assert all("data" not in names for names, _ in fetched)
    fetched.clear()
    sql = f"SELECT octet_length(data) > 0 FROM core_payloads WHERE sha256 = '{parts[3].sha256}'"
    assert writer.query(sql).rows == [(True,)]
    assert {height for _, height in fetched} == {1}
    # The first file tells the columns, the other is the wanted one.
    assert len(fetched) <= 2


def test_a_statement_that_needs_too_much_memory_says_what_would_narrow_it(
    writer: StoreWriter, put: Callable[..., Entry], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Beyond the memory of a statement it is refused with the partition columns named; nothing goes to the disk."""
    from market_spine.store.sqlite import query

    put("first", kale=1, beet=2)
    monkeypatch.setattr(query, "MEMORY", "100MB")
    monkeypatch.chdir(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    sql = "SELECT r, md5(r::VARCHAR) FROM garden_harvest, range(20000000) t (r) ORDER BY 2"
    with pytest.raises(UsageError, match="more than 100MB of memory") as error:
        writer.query(sql)
    assert "day, plot" in error.value.hint
    assert {path.name for path in tmp_path.iterdir()} <= before | {"store0.db-wal", "store0.db-shm"}


@pytest.mark.process
def test_reading_needs_no_pyarrow_and_loading_no_duckdb(
    store_url: StoreUrl, writer: StoreWriter, put: Callable[..., Entry]
) -> None:
    """A process in which pyarrow cannot be imported asks; one in which DuckDB cannot be imported loads."""
    put("first", kale=1, beet=2)
    program = """
import sys
sys.modules[sys.argv[1]] = None
from market_spine.store import open_writer, parse_url
with open_writer(parse_url(sys.argv[2]), []) as writer:
    print(writer.query("SELECT status, COUNT(*) FROM core_manifest GROUP BY 1").rows)
"""
    command = [sys.executable, "-c", program, "pyarrow", store_url.path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[('committed', 1)]\n"
    load = """
import sys
sys.modules["duckdb"] = None
import pickle
exec(sys.stdin.read())
"""
    rows = """
import polars as pl
from market_spine.core.partition import Scope
from market_spine.core.schema import Column, Table
from market_spine.store import open_writer, parse_url
"""
    done = subprocess.run([sys.executable, "-c", load], input=rows, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_an_answer_is_one_state_of_the_store(
    store_url: StoreUrl, writer: StoreWriter, domain: Domain, clock: Any, put: Callable[..., Entry]
) -> None:
    """What is committed while an answer is read is not in it: not in segments, rows or platform tables."""
    put("first", kale=1, beet=2)
    sql = "SELECT (SELECT COUNT(*) FROM core_manifest), (SELECT SUM(weight) FROM garden_harvest)"
    with open_reader(store_url, [domain], clock=clock) as reader, reader.ask(sql) as answer:
        put("second", kale=10)
        assert [row for batch in answer.batches() for row in batch] == [(1, 3.0)]
    assert writer.query(sql).rows == [(2, 10.0)]


def test_parquet_has_the_declared_types(writer: StoreWriter, put: Callable[..., Entry], tmp_path: Path) -> None:
    """Each column of the file has the type that its table declares, and sums of integers are integers."""
    put("first", kale=1, beet=2)
    path = tmp_path / "rows.parquet"
    with path.open("wb") as file, writer.ask("SELECT * FROM garden_harvest ORDER BY crop") as answer:
        answer.write_parquet(file)
    frame = pl.read_parquet(path)
    kinds = [pl.Date, pl.String, pl.String, pl.Float64, pl.Int64, pl.Boolean, pl.Date, pl.String]
    assert list(frame.schema.values())[:8] == kinds
    assert frame.schema["captured_at"] == pl.Datetime("us", "UTC")
    assert frame["crop"].to_list() == ["beet", "kale"]
    with path.open("wb") as file, writer.ask("SELECT SUM(row_count) AS n FROM core_manifest") as answer:
        answer.write_parquet(file)
    assert pl.read_parquet(path).schema == {"n": pl.Int64()}


@pytest.mark.parametrize("as_of", [None, "first"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM read_blob('{file}')",
        "SELECT * FROM read_parquet('{file}')",
        "SELECT * FROM read_parquet('spine://0/rows.parquet')",
        "SELECT * FROM parquet_metadata('{file}')",
        "SELECT * FROM sniff_csv('{file}')",
        "SELECT * FROM glob('*')",
        "SELECT * FROM '{file}'",
        'SELECT * FROM "spine://0/rows.parquet"',
        "SELECT (SELECT content FROM read_text('{file}'))",
        "WITH x AS (SELECT * FROM read_text('{file}')) SELECT * FROM x",
        "SELECT 1 ORDER BY (SELECT COUNT(*) FROM read_text('{file}'))",
        "SELECT 1 UNION ALL SELECT COUNT(*) FROM glob('*')",
        "SELECT * FROM range(1), LATERAL (SELECT * FROM read_text('{file}')) t",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('core_runs')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM duckdb_views()",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM pragma_database_list()",
        "SELECT * FROM json_execute_serialized_sql('{{}}')",
        "SELECT * FROM arrow_scan(1, 2, 3)",
        "SELECT * FROM pandas_scan(1)",
        "SELECT * FROM python_map_function(1)",
        "SELECT * FROM seq_scan('core_runs')",
        "SELECT * FROM statement",
        "SELECT * FROM reader",
        "SELECT * FROM sqlite_temp_master",
        "SELECT * FROM pg_catalog.pg_class",
        "SELECT * FROM duckdb_tables",
        "SELECT * FROM (SHOW ALL TABLES)",
        "SELECT * FROM (DESCRIBE core_runs)",
        "SELECT current_setting('threads')",
        "SELECT getvariable('x')",
        "SELECT write_log('x')",
        "SELECT nextval('x')",
        "WITH x AS (UPDATE core_runs SET status = '' RETURNING 1) SELECT * FROM x",
        "WITH x AS (DELETE FROM core_runs RETURNING 1) SELECT * FROM x",
        "WITH x AS (INSERT INTO core_runs SELECT * FROM core_runs RETURNING 1) SELECT * FROM x",
        "SELECT 1; SET threads = 1",
        "SELECT $1",
        "SELECT $name",
        "SELECT 1) TO 'spine://output' (FORMAT csv); --",
        "SELECT 1; COPY (SELECT 1) TO '{file}.csv'",
    ],
)
def test_a_statement_reaches_nothing_but_the_store(
    sql: str, as_of: str | None, planted: Callable[..., Any], tmp_path: Path
) -> None:
    """Files, settings, memory, catalogues and other statements are refused, also deep inside a statement."""
    store = planted(("first", "2025-01-03", {"kale": 1}))
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UsageError) as error:
        store.writer.query(sql.format(file=secret), as_of)
    assert error.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_answer_is_as_wide_as_its_statement_says(writer: StoreWriter, put: Callable[..., Entry]) -> None:
    """Columns that only a star, a struct or a pattern names are read, and none that nothing names."""
    put("zeroth", kale=3, beet=2)
    put("first", kale=1, beet=2)
    for sql, rows in (
        ("SELECT COUNT(*) FROM (SELECT * FROM core_manifest)", [(2,)]),
        ("SELECT COUNT(*) FROM garden_harvest", [(2,)]),
        ("SELECT SUM(b.weight) FROM garden_harvest a, garden_harvest b", [(6.0,)]),
        ("SELECT SUM(b.weight) FROM core_manifest, (SELECT * FROM garden_harvest LIMIT 9) b", [(6.0,)]),
        ("SELECT COUNT(*) FROM (SELECT 1 FROM garden_harvest UNION ALL SELECT weight FROM garden_harvest)", [(4,)]),
        ("SELECT MAX((SELECT COUNT(*) FROM garden_harvest)) FROM garden_price, core_runs", [(None,)]),
        ("SELECT COUNT(*) FROM garden_harvest_versions a JOIN garden_harvest_versions b USING (manifest_id)", [(5,)]),
        ("SELECT COUNT(*) FROM core_payloads", [(0,)]),
        ("SELECT COLUMNS('manifest_.*') FROM core_manifest ORDER BY 1", [(1,), (2,)]),
        ("SELECT MIN(m.capture_id) FROM core_manifest m WHERE EXISTS (SELECT * FROM garden_harvest)", [("first",)]),
        ("SELECT DISTINCT struct_extract(m, 'status') FROM core_manifest m", [("committed",)]),
        (
            "SELECT h.crop FROM garden_harvest h JOIN garden_harvest USING (day, crop) ORDER BY 1",
            [("beet",), ("kale",)],
        ),
    ):
        assert writer.query(sql).rows == rows, sql


def test_the_page_on_reading_says_how_other_tools_read_segments(
    store_url: StoreUrl, writer: StoreWriter, put: Callable[..., Entry], capsys: pytest.CaptureFixture[str]
) -> None:
    """The example of docs/query.md, on this store, gives the rows of its segments."""
    put("first", kale=1, beet=2)
    page = (Path(__file__).resolve().parents[3] / "docs/query.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    adapted = example.replace("file:spine.db", f"file:{store_url.path}").replace("finra_otc_venue_volume", HARVEST)
    exec(adapted + "        print(key, frame['crop'].to_list())\n", {})
    assert capsys.readouterr().out == "2025-01-03|north ['kale', 'beet']\n"


def test_rows_that_come_in_several_pieces_are_counted(writer: StoreWriter, put: Callable[..., Entry]) -> None:
    """A statement that counts rows of a segment and of a small change beside it uses no column, and works."""
    crops = {f"crop{number}": float(number) for number in range(200)}
    put("first", **crops)
    put("second", **crops | {"crop7": 0.5, "leek": 1.0})
    pieces = "SELECT COUNT(*) FROM core_segments", "SELECT COUNT(*) FROM garden_harvest_versions WHERE crop = 'leek'"
    assert [writer.query(sql).rows for sql in pieces] == [[(1,)], [(1,)]]
    for sql in (
        "SELECT COUNT(*) FROM garden_harvest",
        "SELECT COUNT(*) FROM garden_harvest WHERE plot = 'north'",
        "SELECT COUNT(*) FROM garden_harvest WHERE plot = 'north' AND day >= '2025-01-01'",
        "SELECT COUNT(*) FROM garden_harvest WHERE plot = 'north' GROUP BY plot",
        "SELECT COUNT(*) FROM (SELECT 1 FROM garden_harvest) AS h",
    ):
        assert writer.query(sql).rows == [(201,)], sql
        assert writer.query(sql, "first").rows == [(200,)], sql
    assert writer.query("SELECT EXISTS (SELECT 1 FROM garden_harvest)").rows in ([(True,)], [(1,)])
