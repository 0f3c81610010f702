"""Bulk tables in columns: what becomes a segment, what closes one, and what is read of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.core.revision import Change, diff_rows
from market_spine.core.schema import Column, Table
from market_spine.errors import SchemaError, StoreCorrupt
from market_spine.store import StoreUrl, check, open_writer
from market_spine.store.writer import StoreWriter

pytestmark = pytest.mark.parametrize("new_store", ["columns"], indirect=True)

NORTH = Scope({"day": "2025-01-03", "plot": "north"})


def _counts(writer: StoreWriter) -> tuple[int, int, int]:
    """Segments, closures and rows beside them."""
    names = ("core_segments", "core_closures", "garden_harvest_versions")
    one, two, three = (int(writer._db.rows(f"SELECT COUNT(*) FROM {name}")[0][0]) for name in names)
    return one, two, three


def _shown(writer: StoreWriter, as_of: str | None = None) -> list[tuple[Any, ...]]:
    return list(writer.query("SELECT crop, weight FROM garden_harvest ORDER BY crop", as_of).rows)


def test_a_first_load_is_a_segment_and_a_small_change_is_rows(writer: StoreWriter, put: Callable[..., Entry]) -> None:
    """The first rows of a partition are one segment; a small change closes rows of it and adds rows beside it."""
    put("first", kale=1, beet=2, leek=3)
    assert _counts(writer) == (1, 0, 0)
    put("second", kale=1, beet=20, fern=4)
    assert _counts(writer) == (1, 2, 2)
    assert _shown(writer, "first") == [("beet", 2.0), ("kale", 1.0), ("leek", 3.0)]
    assert _shown(writer) == [("beet", 20.0), ("fern", 4.0), ("kale", 1.0)]
    put("third", kale=1, beet=21, fern=4)
    assert _counts(writer) == (1, 2, 3)
    assert _shown(writer, "second") == [("beet", 20.0), ("fern", 4.0), ("kale", 1.0)]
    assert _shown(writer) == [("beet", 21.0), ("fern", 4.0), ("kale", 1.0)]
    # Also of no column.
    for as_of in ("first", "second", None):
        assert writer.query("SELECT COUNT(*) FROM garden_harvest", as_of).rows == [(3,)]
    assert writer.query("SELECT COUNT(*) FROM garden_harvest_versions").rows == [(6,)]


def test_a_partition_that_was_emptied_starts_again(writer: StoreWriter, put: Callable[..., Entry]) -> None:
    """A segment all of whose rows are closed at once needs no closures, and what comes next is a first load."""
    put("first", kale=1, beet=2)
    put("second")
    assert _counts(writer) == (1, 0, 0)
    put("third", kale=3)
    assert _counts(writer) == (2, 0, 0)
    assert (_shown(writer, "first"), _shown(writer, "second")) == ([("beet", 2.0), ("kale", 1.0)], [])
    assert _shown(writer) == [("kale", 3.0)]


@pytest.mark.parametrize(
    ("rows", "changed", "segment"),
    [(5_000, 999, False), (5_000, 1_000, False), (5_000, 1_001, True), (12_000, 2_400, False), (12_000, 2_401, True)],
)
def test_a_large_change_is_a_segment(
    rows: int,
    changed: int,
    segment: bool,
    writer: StoreWriter,
    partition: Partition,
    domain: Domain,
    enter: Callable[..., Entry],
) -> None:
    """More than 1,000 rows that are more than a fifth of the partition become a segment, fewer become rows."""

    def load(number: int, touched: int) -> Change:
        with writer.commit(partition) as commit:
            entry = enter(commit, partition, capture_id=f"capture {number}")
            return commit.replace(domain.tables[0], NORTH, _many(rows, touched), entry.manifest_id)

    load(1, 0)
    assert load(2, changed) == Change(changed=changed)
    assert _counts(writer) == ((2, changed, 0) if segment else (1, changed, changed))
    assert writer.query("SELECT SUM(weight) FROM garden_harvest").rows == [(float(changed),)]
    assert writer.query("SELECT SUM(weight) FROM garden_harvest", "capture 1").rows == [(0.0,)]


def _many(rows: int, touched: int) -> pl.DataFrame:
    """So many crops, of which the first ``touched`` weigh 1 and the others nothing."""
    return pl.DataFrame(
        {
            "day": pl.Series(["2025-01-03"] * rows).str.to_date(),
            "plot": ["north"] * rows,
            "crop": [f"crop {each:05d}" for each in range(rows)],
            "weight": [1.0 if each < touched else 0.0 for each in range(rows)],
            "crates": pl.Series([None] * rows, dtype=pl.Int64),
            "is_ripe": [True] * rows,
            "sown": pl.Series([None] * rows, dtype=pl.Date),
        }
    )


@pytest.mark.parametrize("first", [["", "kale", "leek"], ["beet", "kale"]], ids=["blank first", "blank later"])
def test_empty_texts_are_read_as_they_are(
    first: list[str], writer: StoreWriter, domain: Domain, enter: Callable[..., Entry], harvest: Callable[..., Any]
) -> None:
    """An empty text of a segment is a text like any other, also beside segments that have none, however it is read."""
    table, second = domain.tables[0], ["beet", "kale"] if "" in first else ["", "kale", "leek"]
    for day, crops in (("2025-01-03", first), ("2025-01-10", second)):
        scope = Scope({"day": day, "plot": "north"})
        rows = harvest(**dict.fromkeys(crops, 1.0)).with_columns(day=pl.lit(day).str.to_date())
        partition = Partition("garden", (day, "north"))
        with writer.commit(partition) as commit:
            commit.replace(table, scope, rows, enter(commit, partition).manifest_id)
        assert writer.read(table, scope).equals(rows)
        assert writer.read(table, scope).schema == rows.schema
        assert writer.versions(table, scope)["crop"].sort().to_list() == sorted(crops)
    assert _counts(writer) == (2, 0, 0)
    for where, expected in (({}, [*first, *second]), ({"crop": ""}, [""]), ({"crop": "kale"}, ["kale", "kale"])):
        with writer.table(table.name, columns=["crop"], where=where) as stream:
            found = pl.concat(list(stream.frames()))
        assert (found.schema, found["crop"].to_list()) == ({"crop": pl.String()}, expected)
    assert writer.query("SELECT COUNT(*) FROM garden_harvest WHERE crop = ''").rows == [(1,)]
    assert writer.query("SELECT DISTINCT crop FROM garden_harvest ORDER BY crop").rows == [
        (crop,) for crop in ("", "beet", "kale", "leek")
    ]


def test_every_version_shows_as_on_other_stores(writer: StoreWriter, put: Callable[..., Entry]) -> None:
    """``<name>_versions`` has each version of each row, with the entries that brought and closed it."""
    put("first", kale=1, beet=2)
    put("second", kale=5, beet=2)
    put("third")
    rows = writer.query(
        "SELECT crop, weight, manifest_id, superseded_by FROM garden_harvest_versions ORDER BY crop, manifest_id"
    ).rows
    assert rows == [("beet", 2.0, 1, 3), ("kale", 1.0, 1, 2), ("kale", 5.0, 2, 3)]


@pytest.mark.parametrize(
    "scope",
    [
        Scope({"plot": "north"}),
        Scope({}),
        Scope({"day": "2025-01-03"}, {"plot": ("a", "z")}),
        Scope({"day": "2025-01-03", "plot": "north", "crop": "kale"}),
        Scope({"day": "2025-01-03", "plot": "nor|th"}),
    ],
)
def test_a_bulk_table_is_replaced_by_whole_partitions(
    scope: Scope, writer: StoreWriter, partition: Partition, domain: Domain, harvest: Callable[..., pl.DataFrame]
) -> None:
    """Any scope but equality on the partition columns is refused, and leaves nothing."""
    with pytest.raises(ValueError, match="replaced by equality on day, plot"), writer.commit(partition) as commit:
        commit.replace(domain.tables[0], scope, harvest().clear(), commit.next_id())
    assert _counts(writer) == (0, 0, 0)


def test_what_another_writer_changed_meanwhile_is_worked_out_again(
    store_url: StoreUrl,
    writer: StoreWriter,
    domain: Domain,
    clock: Any,
    partition: Partition,
    put: Callable[..., Entry],
    enter: Callable[..., Entry],
    harvest: Callable[..., pl.DataFrame],
) -> None:
    """A replacement that was prepared before another commit of its partition still leaves exactly its own rows."""
    put("first", kale=1, beet=2)
    with open_writer(store_url, [domain], clock=clock) as other:
        prepared = other.prepare(domain.tables[0], NORTH, harvest(kale=1, beet=3))
        diff = diff_rows(harvest(kale=1, beet=2), harvest(kale=1, beet=3), domain.tables[0].key)
        claimed = other.prepare(domain.tables[0], NORTH, harvest(kale=1, beet=3), diff=diff)
        put("second", kale=4, leek=5)
        with pytest.raises(StoreCorrupt), other.commit(partition) as commit:
            commit.put(claimed, commit.next_id())
        with other.commit(partition) as commit:
            entry = enter(commit, partition, capture_id="third")
            assert commit.put(prepared, entry.manifest_id) == Change(added=1, removed=1, changed=1)
    assert _shown(writer) == [("beet", 3.0), ("kale", 1.0)]
    assert _shown(writer, "second") == [("kale", 4.0), ("leek", 5.0)]


def test_columns_that_came_later_are_null_in_older_segments(
    store_url: StoreUrl, make_domain: Callable[..., Domain], clock: Any, enter: Callable[..., Entry]
) -> None:
    """A table may gain columns; one that changes its kind, or may not be null, cannot be read."""
    ddl = "CREATE TABLE bed_versions (d DATE, a TEXT, {}manifest_id BIGINT, superseded_by BIGINT);"
    columns = (Column("d", "date", "D.", nullable=False), Column("a", "text", "A.", nullable=False))
    table = Table("bed", columns, ("d", "a"), ("d",), "Beds.", bulk=True)
    partition = Partition("garden", ("2025-01-03",))
    scope = Scope({"d": "2025-01-03"})

    def open_with(table: Table, *files: str) -> StoreWriter:
        named = {f"000{number}_x.sql": text for number, text in enumerate(files, start=1)}
        return open_writer(store_url, [make_domain(named, tables=(table,), views=())], clock=clock)

    def load(writer: StoreWriter, table: Table, frame: dict[str, Any], capture_id: str) -> None:
        with writer.commit(partition) as commit:
            entry = enter(commit, partition, capture_id=capture_id)
            rows = pl.DataFrame(frame).with_columns(pl.col("d").str.to_date())
            commit.replace(table, scope, rows, entry.manifest_id)

    first = ddl.format("")
    with open_with(table, first) as writer:
        load(writer, table, {"d": ["2025-01-03"] * 2, "a": ["x", "y"]}, "first")
    wider = table._replace(columns=(*columns, Column("n", "integer", "N.")))
    second = "ALTER TABLE bed_versions ADD COLUMN n BIGINT;"
    with open_with(wider, first, second) as writer:
        assert writer.query("SELECT a, n FROM bed ORDER BY a").rows == [("x", None), ("y", None)]
        assert writer.read(wider, scope).rows()[0][1:] == ("x", None)
    for other in (
        table._replace(columns=(columns[0], Column("a", "integer", "A.", nullable=False))),
        table._replace(columns=(*columns, Column("n", "integer", "N.", nullable=False))),
    ):
        with open_with(other, first, second) as writer:
            with pytest.raises(SchemaError, match="not kept as the installed code declares"):
                writer.read(other, scope)
            with pytest.raises(SchemaError, match="not kept as the installed code declares"):
                writer.query("SELECT a FROM bed")
    with open_with(wider, first, second) as writer:
        load(writer, wider, {"d": ["2025-01-03"] * 2, "a": ["x", "y"], "n": [None, 7]}, "second")
        assert writer.query("SELECT a, n FROM bed ORDER BY a").rows == [("x", None), ("y", 7)]
        assert writer.query("SELECT a, n FROM bed ORDER BY a", "first").rows == [("x", None), ("y", None)]


def test_a_damaged_segment_is_found(
    writer: StoreWriter, store_url: StoreUrl, domain: Domain, put: Callable[..., Entry]
) -> None:
    """Bytes that no longer have their digest are refused by a read and a query, and found by looking closer."""
    put("first", kale=1, beet=2)
    ((data,),) = writer._db.rows("SELECT data FROM core_segment_data")
    writer._db.run("UPDATE core_segment_data SET data = ?", (data[:40] + bytes(len(data) - 40),))
    with pytest.raises(StoreCorrupt, match="does not match its digest"):
        writer.read(domain.tables[0], NORTH)
    with pytest.raises(StoreCorrupt, match="segment"):
        writer.query("SELECT * FROM garden_harvest")
    assert all(finding.ok for finding in check(store_url, [domain]))
    (wrong,) = (finding for finding in check(store_url, [domain], deep=True) if not finding.ok)
    assert (wrong.name, "digest" in wrong.message) == ("segments", True)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM core_segment_data", "1 segments have no data"),
        ("UPDATE core_segments SET manifest_id = 99", "manifest_id"),
        ("UPDATE core_segments SET superseded_by = 99", "superseded_by"),
        ("UPDATE core_closures SET superseded_by = 99", "closures have a superseded_by"),
        ("UPDATE core_closures SET row_number = 99", "row that is not there"),
        ("DELETE FROM core_closures", "as many closures"),
        ("DELETE FROM core_segment_schemas", "no columns"),
        ("INSERT INTO core_segment_data VALUES (7, x'00')", "belong to no segment"),
        ("UPDATE core_segments SET size = size + 1", "1 segments have no data of their size"),
    ],
)
def test_contradictions_of_segments_are_found(
    damage: str, said: str, writer: StoreWriter, store_url: StoreUrl, domain: Domain, put: Callable[..., Entry]
) -> None:
    """Segments without data, counts and entries that do not fit are named; both counts are told where all is well."""
    put("first", kale=1, beet=2)
    put("second", kale=1, beet=3)
    (sound,) = (each for each in check(store_url, [domain]) if each.name == "segments")
    assert sound.ok
    assert "1 with 2 rows, 1 of them closed; 1 rows beside them" in sound.message
    writer._db.run(damage)
    (wrong,) = (finding for finding in check(store_url, [domain]) if finding.name == "segments")
    assert not wrong.ok
    assert said in wrong.message


def test_segments_hold_nothing_of_the_manifest(writer: StoreWriter, put: Callable[..., Entry]) -> None:
    """The same rows under another entry are the same bytes, kept with their digest, size and number of rows."""
    put("first", kale=1, beet=2)
    put("second")
    put("third", kale=1, beet=2)
    rows = writer._db.rows("SELECT sha256, size, row_count, schema_id FROM core_segments")
    assert len(rows) == 2
    assert len(set(rows)) == 1
    ((data,), (again,)) = writer._db.rows("SELECT data FROM core_segment_data")
    assert data == again
    names = json.loads(writer._db.rows("SELECT columns FROM core_segment_schemas")[0][0])
    assert [name for name, _ in names] == ["crop", "weight", "crates", "is_ripe", "sown"]
