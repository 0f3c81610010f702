"""Queries: only reading, and as of any moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Part
from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry, PartRecord, RunRecord
from market_spine.core.partition import Partition
from market_spine.errors import UsageError
from market_spine.store import StoreUrl, open_reader
from market_spine.store.reader import StoreReader
from market_spine.store.writer import StoreWriter
from market_spine.testing import every_row

LATER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def first(planted: Callable[..., Any]) -> Any:
    """A store with one capture, ``first``, of kale = 1; only read."""
    return planted(("first", "2025-01-03", {"kale": 1}))


@pytest.fixture
def reader(first: Any) -> StoreReader:
    """A reader of that store."""
    opened: StoreReader = first.reader
    return opened


@pytest.mark.parametrize("as_of", [None, "first"])
@pytest.mark.parametrize(
    "sql",
    [
        "",
        "-- nothing",
        "INSERT INTO core_runs SELECT * FROM core_runs",
        "DELETE FROM core_manifest",
        "UPDATE garden_harvest_versions SET weight = 0",
        "WITH x AS (SELECT 1) DELETE FROM core_manifest",
        "WITH x AS (SELECT 1) INSERT INTO core_payloads SELECT 'a', 1, 'none', 'b' FROM x",
        "DROP TABLE core_manifest",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "ALTER TABLE core_manifest ADD COLUMN a",
        "ATTACH 'other.db' AS other",
        "DETACH main",
        "VACUUM INTO 'other.db'",
        "PRAGMA query_only = OFF",
        "PRAGMA user_version",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT s",
        "REINDEX",
        "ANALYZE",
        "EXPLAIN SELECT 1",
        "SELECT 1; SELECT 2",
        "SELECT 1; DELETE FROM core_manifest",
        "SELECT * FROM pragma_table_info('core_runs')",
        "SELECT * FROM pragma_database_list",
        "SELECT load_extension('x')",
        "SELECT writefile('x', 'y')",
        "SELECT readfile('x')",
        "SELECT ?",
        "SELECT * FROM no_such_table",
        "SELECT no_such_column FROM core_runs",
        "SELECT FROM WHERE",
        "SELECT json('{')",
        "SELECT 1 \x00",
        "SELECT '\ud800'",
    ],
)
def test_only_single_reading_statements_run(
    sql: str, as_of: str | None, first: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anything but one statement that reads is a usage error, and leaves the store and its folder alone."""
    monkeypatch.chdir(tmp_path)
    before = first.look()
    with pytest.raises(UsageError) as error:
        first.reader.query(sql, as_of)
    assert error.value.hint
    assert first.look() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM garden_harvest_versions",
        "SELECT COUNT(*) FROM garden_harvest_versions",
        "SELECT 1 FROM 'garden_harvest_versions'",
        'SELECT 1 FROM "GARDEN_HARVEST_VERSIONS"',
        "SELECT COUNT(*) FROM main.core_manifest",
        "SELECT * FROM main.garden_harvest",
        "WITH core_manifest AS (SELECT * FROM main.core_manifest) SELECT * FROM core_manifest",
        "WITH garden_harvest AS (SELECT * FROM garden_harvest_versions) SELECT * FROM garden_harvest",
        "SELECT (SELECT COUNT(*) FROM main.core_runs) FROM core_manifest",
        "SELECT * FROM nowhere.core_manifest",
        "SELECT name FROM sqlite_master",
        "SELECT COUNT(*) FROM sqlite_master",
        "SELECT sql FROM sqlite_temp_master",
    ],
)
def test_as_of_refuses_physical_and_qualified_names(sql: str, reader: StoreReader) -> None:
    """As of a moment the present cannot be reached past the views, whatever the spelling."""
    with pytest.raises(UsageError):
        reader.query(sql, "first")


@pytest.mark.parametrize("as_of", [None, "first"])
@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT crop, weight FROM garden_harvest", [("kale", 1.0)]),
        ("  -- a comment\n/* and\nanother */ SELECT 1", [(1,)]),
        ("VALUES (1, NULL), (2, 2.5)", [(1, None), (2, 2.5)]),
        (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n",
            [(1,), (2,), (3,)],
        ),
        ("SELECT 1;", [(1,)]),
        ("SELECT doubled FROM garden_value", [(2.0,)]),
        ("SELECT h.is_ripe FROM (SELECT * FROM garden_harvest) h", [(True,)]),
        (
            "SELECT 'a', 1, 1, NULL, '%s ?', weight > 3, 7 / 2 FROM garden_harvest",
            [("a", 1, 1, None, "%s ?", False, 3)],
        ),
        (
            "SELECT COUNT(*), SUM(row_count), AVG(manifest_id), MIN(weight) FROM core_manifest, garden_harvest",
            [(1, 0, 1.0, 1.0)],
        ),
    ],
)
def test_reading_statements_run(sql: str, rows: list[tuple[Any, ...]], as_of: str | None, reader: StoreReader) -> None:
    """Selections, values and recursion work in both ways of asking, with the same values of the same types."""
    found = reader.query(sql, as_of).rows
    assert found == rows
    assert [[type(value) for value in row] for row in found] == [[type(value) for value in row] for row in rows]


@pytest.mark.parametrize("new_store", ["sqlite", "columns"], indirect=True)
@pytest.mark.parametrize("as_of", [None, "first"])
@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT value FROM json_each('[1, 2]')", [("1",), ("2",)]),
        ("SELECT '\\x00\\xff'::BLOB", [("00ff",)]),
    ],
)
def test_duckdb_statements_run(sql: str, rows: list[tuple[Any, ...]], as_of: str | None, reader: StoreReader) -> None:
    """JSON works in DuckDB's way; bytes show as hexadecimal."""
    assert reader.query(sql, as_of).rows == rows


@pytest.mark.parametrize("as_of", [None, "first"])
@pytest.mark.parametrize(
    ("sql", "offered"),
    [
        ("SELECT * FROM garden_harvst", "did you mean 'garden_harvest'?"),
        ("SELECT * FROM Garden_Totals", "did you mean 'garden_total'?"),
        ("SELECT wieght FROM garden_harvest", "weight"),
    ],
)
def test_a_slip_in_a_name_is_answered_with_the_nearest(
    sql: str, offered: str, as_of: str | None, reader: StoreReader
) -> None:
    """A table, view or column that is not there comes back on one line with one that is, now and as of a moment."""
    with pytest.raises(UsageError) as caught:
        reader.query(sql, as_of)
    assert offered in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("as_of", [None, "first"])
def test_a_statement_may_not_run_for_ever(as_of: str | None, reader: StoreReader) -> None:
    """A statement that takes too long is stopped, and said to have taken too long."""
    sql = "SELECT COUNT(*) FROM generate_series(1, 1000000000) a, generate_series(1, 100) b"
    with (
        pytest.raises(UsageError, match=r"longer than 0\.2 s"),
        reader.ask(sql, as_of, seconds=0.2) as answer,
    ):
        list(answer.batches())


def test_physical_tables_can_be_read_as_they_are_now(first: Any) -> None:
    """Without a moment, physical tables and schema-qualified names are open for reading."""
    schema = first.url.schema or "main"
    result = first.reader.query(f"SELECT crop, superseded_by FROM {schema}.garden_harvest_versions")
    assert (result.columns, result.rows) == (("crop", "superseded_by"), [("kale", None)])


def test_a_view_ends_with_its_capture(reader: StoreReader, partition: Partition) -> None:
    """A table's view shows the data columns, then which capture brought the row and when."""
    captured_at = reader.history("garden", partition.key)[0].captured_at
    for as_of in (None, "first"):
        result = reader.query("SELECT * FROM garden_harvest", as_of)
        names = ("day", "plot", "crop", "weight", "crates", "is_ripe", "sown", "capture_id", "captured_at")
        assert result.columns == names
        shown = captured_at.isoformat(timespec="microseconds")
        assert result.rows == [("2025-01-03", "north", "kale", 1.0, None, True, "2024-10-01", "first", shown)]


@pytest.mark.soak
def test_every_table_and_view_answers_as_of_a_moment_for_ever(
    writer: StoreWriter, partition: Partition, put: Callable[..., Entry], enter: Callable[..., Entry], clock: Any
) -> None:
    """Whatever is committed later, an answer as of a past moment stays the same for data, views and core tables."""
    names = [
        "garden_harvest",
        "garden_price",
        "garden_total",
        "garden_value",
        "core_manifest",
        "core_capture_parts",
        "core_payloads",
        "core_rejects",
        "core_runs",
        "core_run_partitions",
        "core_anomaly_events",
        "core_anomalies",
        "core_migrations",
        "core_notifications",
    ]

    def ask(moment: datetime | None) -> dict[str, list[str]]:
        return every_row(writer, names, moment)

    def more(step: int) -> None:
        import polars as pl

        put(f"capture {step}", kale=1, beet=step)
        part = Part("p", f"payload {step}".encode(), "file")
        started = datetime(2025, 1, 6, tzinfo=UTC)
        with writer.commit(partition) as commit:
            commit.add_payload(part)
            parts = (PartRecord("p", part.sha256, "file", len(part.data)),)
            entry = enter(commit, partition, capture_id=f"file {step}", parts=parts)
            rejects = pl.DataFrame({"part": ["p"], "line": [step], "rule": ["r"], "raw": ["x"]})
            commit.add_rejects(entry.manifest_id, entry.capture_id, rejects)
            commit.resolve(["even"] if step % 2 else None)
            commit.note(Anomaly("even" if step % 2 else "odd", "info", partition.key, f"step {step}"))
        check = '{"partition_key": "k", "pipeline": "p", "status": "completed", "duration_ms": 1}'
        result = f'{{"runs": [{check}]}}'
        writer.record_run(RunRecord(f"run {step}", "garden", "s", started, started, "success", 0, 1, 1, 0, 0, result))

    answers = {}
    for step in range(4):
        more(step)
        moment = clock()
        clock.now += timedelta(seconds=1)
        answers[moment] = ask(moment)
        assert answers[moment] == ask(None)
    for moment, answer in answers.items():
        assert ask(moment) == answer
    assert len({len(answer["core_payloads"]) for answer in answers.values()}) == 4


def test_a_capture_names_the_moment_it_became_current(
    writer: StoreWriter, partition: Partition, put: Callable[..., Entry], enter: Callable[..., Entry]
) -> None:
    """As of a capture means as of its commit; of one that was held first, as of the later commit."""
    put("first", kale=1)
    with writer.commit(partition) as commit:
        enter(commit, partition, status="held", capture_id="second")
    with pytest.raises(UsageError, match="held back"):
        writer.query("SELECT 1", "second")
    put("second", kale=2)
    put("third", kale=3)
    sql = "SELECT weight FROM garden_harvest"
    assert [writer.query(sql, capture).rows for capture in ("first", "second", "third")] == [
        [(1.0,)],
        [(2.0,)],
        [(3.0,)],
    ]


def test_spellings_of_a_moment(store_url: StoreUrl, domain: Domain, put: Callable[..., Entry], clock: Any) -> None:
    """ISO text, dates, moments with another zone or none all work; without zone means UTC."""
    put("first", kale=1)
    with open_reader(store_url, [domain], clock=clock) as reader:
        spelt(reader, clock)


def spelt(reader: StoreReader, clock: Any) -> None:
    """Each spelling of the moment of the only commit finds its row, and of those before it none."""
    ((text,),) = reader.query("SELECT committed_at FROM core_manifest").rows
    moment = datetime.fromisoformat(text)
    clock.now += timedelta(days=2)
    zoned = moment.astimezone(datetime.fromisoformat("2025-01-01T00:00+05:30").tzinfo)
    sql = "SELECT COUNT(*) FROM garden_harvest"
    for spelling in (moment, zoned, moment.replace(tzinfo=None), text, text[:26], zoned.isoformat(), "2025-01-07"):
        assert reader.query(sql, spelling).rows == [(1,)]
    before = moment - timedelta(microseconds=1)
    for spelling in (before, before.isoformat(), "2025-01-06", "1999-01-01T00:00:00Z"):
        assert reader.query(sql, spelling).rows == [(0,)]


@pytest.mark.parametrize("as_of", [LATER, "2030-01-01", "no such capture", "\udcff", "9999-12-31T23:59:59-10:00"])
def test_a_moment_that_cannot_be_known_is_refused(as_of: datetime | str, reader: StoreReader) -> None:
    """The future and unknown captures are usage errors."""
    with pytest.raises(UsageError):
        reader.query("SELECT 1", as_of)


def test_the_very_present_is_not_past(
    store_url: StoreUrl, writer: StoreWriter, domain: Domain, put: Callable[..., Entry]
) -> None:
    """A moment equal to now is refused, because a commit may still get it; the last commit's own is not."""
    put("first", kale=1)
    ((text,),) = writer.query("SELECT committed_at FROM core_manifest").rows
    last = datetime.fromisoformat(text)
    now = last + timedelta(hours=1)
    with open_reader(store_url, [domain], clock=lambda: now) as reader:
        with pytest.raises(UsageError, match="not passed"):
            reader.query("SELECT 1", now)
        reader.query("SELECT 1", now - timedelta(microseconds=1))
    with open_reader(store_url, [domain], clock=lambda: last) as reader:
        assert reader.query("SELECT COUNT(*) FROM garden_harvest", last).rows == [(1,)]
