"""The embedded store's statements share what runs them: none is touched by what another was, or by how it ended."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import duckdb
import pytest

from market_spine.errors import UsageError
from market_spine.store import open_reader
from market_spine.store.reader import StoreReader
from market_spine.store.sqlite import engines

pytestmark = pytest.mark.parametrize("new_store", ["sqlite", "columns"], indirect=True)

DAY = "2025-01-03"
ROWS = "SELECT crop, weight FROM garden_harvest ORDER BY crop"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
AMID = "SELECT CASE WHEN i > 90000 THEN CAST('x' || i AS INTEGER) ELSE i END FROM range(100000) r(i)"


@pytest.fixture
def store(planted: Callable[..., Any]) -> Any:
    """A store whose second capture restated the first."""
    return planted(("first", DAY, {"kale": 1, "leek": 2}), ("second", DAY, {"kale": 1, "leek": 3, "mint": 4}))


@pytest.fixture
def other(planted: Callable[..., Any]) -> Any:
    """Another one."""
    return planted(("first", DAY, {"beet": 9}))


def take(reader: StoreReader, sql: str, seconds: float = 60) -> None:
    with reader.ask(sql, seconds=seconds) as answer:
        for _ in answer.batches():
            pass


def leave(reader: StoreReader, way: str) -> None:
    """Read the first piece of an answer of many."""
    with reader.ask("SELECT i FROM range(1000000) r(i)") as answer:
        next(iter(getattr(answer, way)()))


def refused(reader: StoreReader, sql: str, seconds: float = 60) -> None:
    with pytest.raises(UsageError):
        take(reader, sql, seconds)


def caught(reader: StoreReader) -> None:
    """Go on with an answer that failed."""
    with reader.ask(AMID) as answer:
        with pytest.raises(UsageError):
            list(answer.batches())
        assert len(answer.columns) == 1


ENDINGS: dict[str, Callable[[StoreReader], None]] = {
    "read": lambda reader: take(reader, "SELECT * FROM garden_value"),
    "refused": lambda reader: refused(reader, "SELECT * FROM read_text('x')"),
    "no column": lambda reader: refused(reader, "SELECT color FROM garden_harvest"),
    "failed": lambda reader: refused(reader, AMID),
    "caught": caught,
    "stopped": lambda reader: refused(reader, ENDLESS, 0.05),
    "left": lambda reader: leave(reader, "batches"),
    "left frames": lambda reader: leave(reader, "frames"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_statement_leaves_nothing_for_the_next(ending: str, store: Any, other: Any) -> None:
    """However it ended, the next have their own store's rows, now and as of then, and see no other names."""
    names = "SELECT regexp_replace(table_name, '[0-9]+', '') FROM information_schema.tables ORDER BY 1"
    before = store.reader.query(names).rows
    for _ in range(2):
        ENDINGS[ending](other.reader)
        assert store.reader.query(ROWS).rows == [("kale", 1.0), ("leek", 3.0), ("mint", 4.0)]
        assert store.reader.query(ROWS, "first").rows == [("kale", 1.0), ("leek", 2.0)]
        assert store.reader.query(names).rows == before
        assert other.reader.query(ROWS).rows == [("beet", 9.0)]


@pytest.mark.parametrize("seconds", [0.0001, 0.001, 0.005, 0.01, 0.02])
@pytest.mark.parametrize("way", ["batches", "frames"])
def test_a_statement_ends_with_its_time_whatever_is_being_done(seconds: float, way: str, store: Any) -> None:
    """Also where its time is over before it runs, or between two steps of it."""
    with (
        pytest.raises(UsageError, match="took longer"),
        store.reader.ask(ENDLESS.replace("(*)", "(*) AS n"), seconds=seconds) as answer,
    ):
        list(getattr(answer, way)())
    assert len(store.reader.query(ROWS).rows) == 3


def test_answers_can_be_read_at_once(store: Any, other: Any) -> None:
    """Each of several open answers has its own rows, in whatever order they are read."""
    with ExitStack() as stack:
        opened = [stack.enter_context(each.reader.ask(ROWS)) for each in (store, other, store)]
        found = [[row for piece in answer.batches() for row in piece] for answer in reversed(opened)]
    assert [len(rows) for rows in found] == [3, 1, 3]


def test_threads_ask_at_once(store: Any, other: Any) -> None:
    """Each of many statements of several threads has the answer that it has alone."""

    def ask(number: int) -> bool:
        where, rows = ((store, 3), (other, 1))[number % 2]
        with open_reader(where.url, [where.domain], clock=where.clock) as reader:
            return len(reader.query(ROWS).rows) == rows

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(40)))


def test_what_runs_statements_is_kept_locked(store: Any) -> None:
    """It is not made anew for each, and no statement could change its settings."""
    take(store.reader, ROWS)
    kept = {kind: engine for kind, engine in engines._idle.items() if not kind.plans and engine.locked}
    assert kept
    take(store.reader, ROWS)
    assert kept.items() <= engines._idle.items()
    for engine in kept.values():
        with pytest.raises(duckdb.Error, match="locked"):
            engine.duck.execute("SET enable_external_access = true")
