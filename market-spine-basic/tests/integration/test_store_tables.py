"""Rows of tables and views by name: the same on every store, now and as of any moment, typed as declared."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.errors import UsageError
from market_spine.store import StoreUrl, open_reader, open_writer
from market_spine.store.asking import Question
from market_spine.store.reader import StoreReader
from market_spine.store.writer import StoreWriter

TYPES = {
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
LATER = "2030-01-01T00:00:00Z"
SOAK = int(os.environ.get("MARKET_SPINE_SOAK", "1"))


def rows(reader: StoreReader, name: str = "garden_harvest", **how: Any) -> pl.DataFrame:
    """All rows of a relation, sorted."""
    with reader.table(name, **how) as found:
        frame = pl.concat([pl.DataFrame(schema=dict(found.schema)), *found.frames()])
    return frame.sort(frame.columns)


@pytest.fixture
def reader(writer: StoreWriter, store_url: StoreUrl, domain: Domain, clock: Any) -> Iterator[StoreReader]:
    """A reader of the writer's store."""
    with open_reader(store_url, [domain], clock=clock) as opened:
        yield opened


@pytest.fixture
def known(planted: Callable[..., Any]) -> StoreReader:
    """A reader of a store whose second capture added to the first; only read."""
    day = "2025-01-03"
    second = {"kale": 1, "leek": 2, "mint": 3.5}
    opened: StoreReader = planted(("first", day, {"kale": 1}), ("second", day, second)).reader
    return opened


def test_a_table_without_rows_has_its_types(reader: StoreReader) -> None:
    """Before the first commit there are columns, and no rows; so with a view, and with columns chosen."""
    empty = rows(reader)
    assert (empty.height, dict(empty.schema)) == (0, TYPES)
    assert dict(rows(reader, columns=["sown", "crates"]).schema) == {"sown": pl.Date(), "crates": pl.Int64()}
    assert dict(rows(reader, "garden_total").schema) == {
        "day": pl.Date(),
        "plot": pl.String(),
        "weight": pl.Float64(),
    }
    assert dict(rows(reader, "core_manifest").schema)["committed_at"] == pl.Datetime("us", "UTC")


def test_rows_come_with_the_capture_that_brought_them(
    reader: StoreReader, put: Callable[..., Entry], clock: Any
) -> None:
    """A row that a second capture leaves alone keeps the first; as of a moment everything is as it was."""
    put("first", kale=1, leek=2)
    put("second", kale=1, leek=3)
    now = rows(reader, columns=["crop", "weight", "capture_id"])
    assert now.rows() == [("kale", 1.0, "first"), ("leek", 3.0, "second")]
    assert dict(rows(reader).schema) == TYPES
    assert rows(reader)["is_ripe"].to_list() == [True, True]
    assert rows(reader)["crates"].to_list() == [None, None]
    then = rows(reader, columns=["crop", "weight"], as_of="first")
    assert then.rows() == [("kale", 1.0), ("leek", 2.0)]
    assert rows(reader, as_of="2025-01-06T11:00:00Z").height == 0
    (first, _) = reader.query("SELECT committed_at FROM core_manifest ORDER BY 1").rows
    assert rows(reader, columns=["captured_at"])["captured_at"].to_list()[0] == datetime.fromisoformat(first[0])


@pytest.mark.parametrize(
    ("where", "crops"),
    [
        ({"crop": "kale"}, ["kale"]),
        ({"crop": ["kale", "leek", "none"]}, ["kale", "leek"]),
        ({"crop": {"kale"}}, ["kale"]),
        ({"crop": pl.Series(["kale"])}, ["kale"]),
        ({"crop": []}, []),
        ({"crop": [str(number) for number in range(2000)] + ["kale"]}, ["kale"]),
        ({"crop": "x' OR '1' = '1"}, []),
        ({"weight": 2}, ["leek"]),
        ({"weight": [1.0, 3.5]}, ["kale", "mint"]),
        ({"crates": None}, ["kale", "leek", "mint"]),
        ({"crates": [5, None]}, ["kale", "leek", "mint"]),
        ({"crates": 5}, []),
        ({"is_ripe": True}, ["kale", "leek", "mint"]),
        ({"is_ripe": False}, []),
        ({"sown": "2024-10-01"}, ["kale", "leek", "mint"]),
        ({"sown": [date(2024, 10, 1), None], "crop": "mint"}, ["mint"]),
        ({"day": date(2025, 1, 3), "plot": "north"}, ["kale", "leek", "mint"]),
        ({"plot": "south"}, []),
        ({"capture_id": "first"}, ["kale"]),
        ({"capture_id": ["second", "third"]}, ["leek", "mint"]),
        ({"captured_at": datetime(1999, 1, 1, tzinfo=UTC)}, []),
    ],
)
@pytest.mark.parametrize("as_of", [None, "second"])
def test_conditions_choose_rows(
    where: Mapping[str, Any], crops: list[str], as_of: str | None, known: StoreReader
) -> None:
    """Values, lists of them and missing ones of every kind of column choose the same rows on every store."""
    assert rows(known, columns=["crop"], where=where, as_of=as_of)["crop"].to_list() == crops


@pytest.mark.parametrize(
    ("bounds", "days"),
    [
        ({"start": "2025-01-03"}, [3, 10]),
        ({"start": date(2025, 1, 4)}, [10]),
        ({"end": "2025-01-09"}, [3]),
        ({"start": "2025-01-03", "end": date(2025, 1, 10)}, [3, 10]),
        ({"start": "2025-01-11"}, []),
    ],
)
@pytest.mark.parametrize("name", ["garden_harvest", "garden_total"])
def test_start_and_end_bound_the_first_column_of_dates(
    name: str, bounds: Mapping[str, Any], days: list[int], planted: Callable[..., Any]
) -> None:
    """Both days belong to the range, in tables and in views."""
    store = planted(("third", "2025-01-03", {"kale": 1}), ("tenth", "2025-01-10", {"kale": 1}))
    assert [day.day for day in rows(store.reader, name, columns=["day"], **bounds)["day"]] == days


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"columns": ["crop", "color"]}, "no column 'color'"),
        ({"columns": []}, "none, or one named twice"),
        ({"columns": ["crop", "crop"]}, "named twice"),
        ({"columns": "crop"}, "columns is a text"),
        ({"where": {"color": "red"}}, "no column 'color'"),
        ({"where": {"crates": "5"}}, "'5' cannot be a value of crates, which is of type integer"),
        ({"where": {"crates": 2**63}}, "cannot be a value of crates"),
        ({"where": {"weight": "1"}}, "which is of type float"),
        ({"where": {"weight": float("nan")}}, "cannot be a value of weight"),
        ({"where": {"crop": 5}}, "which is of type text"),
        ({"where": {"crop": "a\0"}}, "cannot be a value of crop"),
        ({"where": {"is_ripe": 1}}, "which is of type boolean"),
        ({"where": {"day": "yesterday"}}, "which is of type date"),
        ({"where": {"day": datetime(2025, 1, 3, tzinfo=UTC)}}, "which is of type date"),
        ({"where": {"captured_at": datetime(2025, 1, 3)}}, "which is of type moment"),  # noqa: DTZ001 - the point
        ({"start": "soon"}, "cannot be a value of day"),
        ({"start": "2025-01-04", "end": "2025-01-03"}, "comes after"),
        ({"as_of": LATER}, "has not passed"),
    ],
)
def test_what_cannot_be_asked_is_said(how: Mapping[str, Any], said: str, known: StoreReader) -> None:
    """Names that there are not, and values that a column cannot have, are usage errors."""
    with pytest.raises(UsageError, match=said):
        rows(known, **how)


def test_relations_without_what_is_asked_for(known: StoreReader) -> None:
    """Nothing of the name, or no column of dates, is a usage error."""
    with pytest.raises(UsageError, match="garden_color"):
        rows(known, "garden_color")
    with pytest.raises(UsageError, match="no column of dates"):
        rows(known, "core_runs", start="2025-01-01")


def test_a_pinned_read_is_of_its_moment(reader: StoreReader, put: Callable[..., Entry]) -> None:
    """What was the present keeps being read as it was, whatever is committed later; physical names end with it."""
    put("first", kale=1)
    then = reader.latest()
    assert then is not None
    with reader.ask("SELECT COUNT(*) FROM garden_harvest_versions", then, pinned=True) as answer:
        assert [*answer.batches()] == [[(1,)]]
    put("second", kale=2)
    assert rows(reader, columns=["weight"], as_of=then, pinned=True)["weight"].to_list() == [1.0]
    assert rows(reader, "garden_total", columns=["weight"], as_of=then, pinned=True)["weight"].to_list() == [1.0]
    assert rows(reader, columns=["weight"])["weight"].to_list() == [2.0]
    with (
        pytest.raises(UsageError),
        reader.ask("SELECT COUNT(*) FROM garden_harvest_versions", then, pinned=True) as answer,
    ):
        [*answer.batches()]


def test_a_reader_of_the_past_knows_nothing_later(
    reader: StoreReader,
    put: Callable[..., Entry],
    store_url: StoreUrl,
    domain: Domain,
    clock: Any,
    partition: Partition,
) -> None:
    """Every method of a reader that was opened as of a moment answers as it would have then."""
    put("first", kale=1)
    then = reader.latest()
    put("second", kale=2)
    with open_reader(store_url, [domain], clock=clock, as_of=then) as past:
        assert past.latest() == then
        assert past.known("garden")[partition.key].captures == ("first",)
        assert past.find_capture("second") is None
        assert [each.entry.capture_id for each in past.history("garden", partition.key)] == ["first"]
        scope = Scope({"day": partition.values[0], "plot": partition.values[1]})
        assert past.read(domain.tables[0], scope, ["weight"])["weight"].to_list() == [1.0]
        assert rows(past, columns=["weight"])["weight"].to_list() == [1.0]
        assert past.query("SELECT weight FROM garden_total").rows == [(1.0,)]
        assert past.query("SELECT COUNT(*) FROM core_manifest").rows == [(1,)]


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@pytest.mark.soak
@settings(max_examples=20 * SOAK, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, number=st.integers(-(2**63), 2**63 - 1), fraction=st.floats(allow_nan=False, allow_infinity=False))
def test_parameters_come_back_as_they_were_given(text: str, number: int, fraction: float, known: StoreReader) -> None:
    """Whatever a value holds, it is a value in the statement, and nothing but that."""
    day = date(2025, 1, 3)
    given_values = {"a": text, "b": number, "c": fraction, "d": day, "e": None, "f": True}
    sql = "SELECT $a AS a, $b AS b, $c AS c, $d AS d, $e AS e, $f AS f, '$a' AS g /* $a */ -- $b"
    with known.ask(sql, params=given_values) as answer:
        (row,) = [row for batch in answer.batches() for row in batch]
    assert row == (text, number, fraction, "2025-01-03", None, True, "$a")


def test_marks_take_the_values_of_a_list(known: StoreReader) -> None:
    """Each question mark outside of texts, names and remarks is the next value."""
    sql = "SELECT ? AS a, '?' AS b, ? AS \"c?\" /* ? */ WHERE 2 IN ? -- ?"
    with known.ask(sql, params=["x", None, [1, 2]]) as answer:
        assert [row for batch in answer.batches() for row in batch] == [("x", "?", None)]


def test_a_list_is_what_in_takes(reader: StoreReader, put: Callable[..., Entry]) -> None:
    """A list stands for its values in parentheses; an empty one holds nothing."""
    put("first", kale=1, leek=2, mint=3)
    sql = "SELECT crop FROM garden_harvest WHERE crop IN $crops ORDER BY 1"
    for crops, found in (["kale", "mint"], ["kale", "mint"]), ([], []):
        with reader.ask(sql, params={"crops": crops}) as answer:
            assert [row for batch in answer.batches() for row in batch] == [(crop,) for crop in found]


@pytest.mark.parametrize(
    ("sql", "params", "said"),
    [
        ("SELECT $a", {}, r"\$a has no value"),
        ("SELECT 1", {"a": 1}, r"no parameter \$a"),
        ("SELECT '$a'", {"a": 1}, r"no parameter \$a"),
        ("SELECT $a", {"a": object()}, "parameter \\$a"),
        ("SELECT $a", {"a": datetime(2025, 1, 3)}, "no time zone"),  # noqa: DTZ001 - the point
        ("SELECT $a", {"a": float("inf")}, "no value to compare with"),
        ("SELECT $a", {"a": 2**64}, "larger than"),
        ("SELECT $a", {"a": "\0"}, "no text has"),
        ("SELECT ?", [], "number 1 has no value"),
        ("SELECT '?'", [1], "no parameter number 1"),
        ("SELECT ?", "1", "params is a str"),
        ("SELECT ?", {1}, "params is a set"),
    ],
)
def test_parameters_that_cannot_be_are_said(sql: str, params: Any, said: str, known: StoreReader) -> None:
    """A parameter without a value, a value without a parameter, and what no database holds."""
    with pytest.raises(UsageError, match=said), known.ask(sql, params=params):
        pass


CROPS = st.dictionaries(st.sampled_from(["kale", "leek", "mint", "beet"]), st.integers(0, 3), max_size=4)


@pytest.mark.soak
@settings(max_examples=4 * SOAK, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(loads=st.lists(st.tuples(st.sampled_from(["north", "south"]), CROPS), min_size=1, max_size=6))
def test_any_history_reads_as_it_was(
    loads: list[tuple[str, dict[str, int]]],
    new_store: Callable[[], StoreUrl],
    domain: Domain,
    clock: Any,
    enter: Callable[..., Entry],
    harvest: Callable[..., pl.DataFrame],
) -> None:
    """Each moment's rows are those of the last load of each plot by then, with conditions and without."""
    url, moments = new_store(), []
    known: dict[str, dict[str, int]] = {"north": {}, "south": {}}
    with open_writer(url, [domain], clock=clock) as store:
        for number, (plot, crops) in enumerate(loads):
            where = Partition("garden", ("2025-01-03", plot))
            with store.commit(where) as commit:
                entry = enter(commit, where, capture_id=f"load{number}")
                frame = harvest(**crops).with_columns(plot=pl.lit(plot))
                commit.replace(domain.tables[0], Scope({"day": "2025-01-03", "plot": plot}), frame, entry.manifest_id)
            known = {**known, plot: crops}
            moments.append((store.latest(), known))
    with open_reader(url, [domain], clock=clock) as reader:
        for moment, plots in [*moments, (None, known)]:
            expected = sorted(
                (plot, crop, float(tons)) for plot, crops in plots.items() for crop, tons in crops.items()
            )
            for together in (False, True):
                with reader.table(
                    "garden_harvest", columns=["plot", "crop", "weight"], as_of=moment, together=together
                ) as found:
                    got = [row for piece in found.frames() for row in piece.iter_rows()]
                assert sorted(got) == expected
                assert not together or [row[0] for row in got] == sorted(row[0] for row in got)
            south = rows(reader, columns=["crop"], where={"plot": "south", "weight": [1, 2]}, as_of=moment)
            assert south["crop"].to_list() == [
                crop for plot, crop, tons in expected if plot == "south" and 0 < tons < 3
            ]


def test_what_memory_does_not_hold_goes_where_it_may(
    planted: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an embedded store a statement beyond its memory is refused, unless it is given a folder for the rest."""
    store = planted(("first", "2025-01-03", {"kale": 1}))
    if store.url.kind != "sqlite":
        pytest.skip("a server has its own limits")
    monkeypatch.setattr("market_spine.store.sqlite.query.MEMORY", "80MB")
    wide = "SELECT i, CAST(i AS TEXT) || 'abcdefghijklmnopqrstuvwxyz' AS t FROM range(1500000) r(i)"
    sql = f"SELECT COUNT(*) AS n FROM (SELECT * FROM ({wide}) a JOIN ({wide}) b USING (i) ORDER BY b.t)"
    question = Question(sql, [store.domain], None, 120)
    with pytest.raises(UsageError, match="more than 80MB"), store.reader._db.query(question) as answer:
        list(answer.frames())
    with store.reader._db.query(question._replace(spill=str(tmp_path / "spill"))) as answer:
        (frame,) = answer.frames()
    assert frame.rows() == [(1_500_000,)]


def test_the_relations_are_described(known: StoreReader) -> None:
    """Tables and views of the domain come as declared, then the platform's, with the kinds of their columns."""
    found = {each.name: each for each in known.described()}
    assert list(found)[:4] == ["garden_harvest", "garden_price", "garden_value", "garden_total"]
    assert found["garden_harvest"].columns == {
        "day": "date",
        "plot": "text",
        "crop": "text",
        "weight": "float",
        "crates": "integer",
        "is_ripe": "boolean",
        "sown": "date",
        "capture_id": "text",
        "captured_at": "moment",
    }
    assert found["garden_total"].columns == {"day": "date", "plot": "text", "weight": "float"}
    assert found["garden_harvest"].partition_by == ("day", "plot")
    assert found["core_payloads"].columns["data"] == "bytes"
    assert (found["core_runs"].sort, found["garden_total"].sort) == ("platform", "view")
    assert not [name for name in found if name.endswith("_versions")]
    kept = {name for name in known._db.relations() if name.startswith("core_")}
    own = {name for name in kept if name.startswith(("core_segment", "core_closures"))}
    assert {name for name in found if name.startswith("core_")} == kept - own
