"""SQLite as a Database: transactions, locking and bulk load."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from market_spine.core.partition import Scope
from market_spine.core.schema import Table
from market_spine.store import room
from market_spine.store.database import ALONE, ROW_ID
from market_spine.store.sessions import for_sqlite
from market_spine.store.sqlite.addresses import row_address
from market_spine.store.sqlite.connect import (
    ATTEMPTS,
    Connection,
    connect_for_reading,
    never_steady,
    translated,
    untorn,
)
from market_spine.store.sqlite.waiting import SLICE, patiently
from market_spine.store.views import as_of_views, quote, scope_condition

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.domain import Domain
    from market_spine.core.ports import FrameStream, RowStream
    from market_spine.store.asking import Choice, Question
    from market_spine.store.objects import Objects
    from market_spine.store.problems import Problem

T = TypeVar("T")


class SqliteDatabase:
    """One connection to an SQLite file, or to an empty database in memory; see ``Database``.

    Args:
        connection: an open connection in autocommit mode.
        path: the file, or None for a database in memory.
        wait_seconds: how long to wait for other writers.
    """

    columnar = True
    sessions = for_sqlite()
    migrations: Mapping[str, str] = MappingProxyType({"embedded": "market_spine.store.sqlite.sql"})

    def __init__(self, connection: sqlite3.Connection, path: str | None, wait_seconds: float) -> None:
        self.connection = connection
        self._path = path
        self._name = path or "the empty store"
        self.wait_seconds = wait_seconds
        self._latest_id: int | None = None
        self._is_steady = False
        self._past: str | None = None

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with translated(self._name, self.wait_seconds):
            return patiently(lambda: self.connection.execute(sql, params).fetchall(), self._path, self.wait_seconds)

    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        with translated(self._name, self.wait_seconds):
            return patiently(lambda: self.connection.execute(sql, params).rowcount, self._path, self.wait_seconds)

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        with translated(self._name, self.wait_seconds):
            return self.connection.executemany(sql, rows).rowcount

    def script(self, text: str) -> None:
        # Not executescript, which commits the transaction that is open.
        statement = ""
        for piece in re.split("(?<=;)", text):
            statement += piece
            if sqlite3.complete_statement(statement):
                self.run(statement)
                statement = ""
        if statement.strip():
            self.run(statement)

    def relations(self) -> frozenset[str]:
        names = self.rows("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        return frozenset(name for (name,) in names)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        if self.connection.in_transaction:
            yield
            return
        self.run("BEGIN")
        try:
            yield
        finally:
            self.rollback()

    def steadily(self, work: Callable[[], T]) -> T:
        if self._is_steady or not self._is_bare():
            return work()
        self._is_steady = True
        try:
            return self._repeated(work)
        finally:
            self._is_steady = False

    def _is_bare(self) -> bool:
        return isinstance(self.connection, Connection) and self.connection.bare is not None

    def _repeated(self, work: Callable[[], T]) -> T:
        assert self._path is not None
        for _ in range(ATTEMPTS):
            assert isinstance(self.connection, Connection)
            # What has come since: from now on with the side files, if there are any.
            if self.connection.bare is not None and self.connection.bare.outdated():
                self.connection.close()
                self.connection = connect_for_reading(self._path, self.wait_seconds)
                self._shadow()
            if found := untorn(self.connection, work):
                return found[0]
        raise never_steady(self._path)

    def prepare_schema(self) -> None:
        pass

    def outgrown(self, domains: Sequence[Domain]) -> bool:
        relations = self.relations()
        if "core_manifest" not in relations or "core_segments" in relations:
            return False
        kept = [table.versions for domain in domains for table in domain.tables if table.bulk]
        return any(self.rows(f"SELECT 1 FROM {quote(name)} LIMIT 1") for name in kept if name in relations)

    def drop_views(self, names: Sequence[str]) -> None:
        for name in names:
            self.run(f"DROP VIEW IF EXISTS {quote(name)}")

    def begin(self, lock: str = ALONE) -> None:
        self.run("BEGIN IMMEDIATE")
        self._latest_id = None

    def require_room(self, needed: int) -> None:
        if self._path is not None:
            room.require(self._path, needed)

    def last_in_line(self) -> None:
        # SQLite lets in one writer at a time.
        pass

    def next_id(self) -> int:
        if self._latest_id is None:
            ((latest,),) = self.rows("SELECT COALESCE(MAX(manifest_id), 0) FROM core_manifest")
            self._latest_id = int(latest)
        self._latest_id += 1
        return self._latest_id

    def reserve_ids(self, last: int) -> None:
        # next_id looks at the ids that there are.
        pass

    def commit(self) -> None:
        try:
            self.run("COMMIT")
        except BaseException:
            self.rollback()
            raise

    def rollback(self) -> None:
        if self.connection.in_transaction:
            self.run("ROLLBACK")

    def now(self) -> datetime:
        return datetime.now(UTC)

    def settle(self) -> None:
        if self._path is None or self.connection.in_transaction or self._is_bare():
            return
        if not os.access(self._path, os.W_OK):
            return
        with translated(self._path, self.wait_seconds):
            other = sqlite3.connect(self._path, timeout=min(SLICE, self.wait_seconds), isolation_level=None)
            try:
                patiently(lambda: other.execute("BEGIN IMMEDIATE"), self._path, self.wait_seconds)
                other.execute("ROLLBACK")
            finally:
                other.close()

    def read_frame(self, table: Table, scope: Scope, columns: Sequence[str], *, row_ids: bool = False) -> pl.DataFrame:
        import polars as pl

        from market_spine.store.sqlite import frames

        where, params = scope_condition(scope)
        known = {name: value for name, value in scope.equals.items() if name in columns}
        fetched = [name for name in columns if name not in known]
        # Rows of segments have positive addresses.
        address = f"-{row_address(table)}" if table.bulk else row_address(table)
        selected = [*map(quote, fetched), *([address] if row_ids else [])] or ["1"]
        sql = f"SELECT {', '.join(selected)} FROM {quote(table.versions)} WHERE {where} AND superseded_by IS NULL"
        names = [*fetched, *([ROW_ID] if row_ids else [])]
        with self.snapshot(), translated(self._name, self.wait_seconds):
            cursor = self.connection.execute(sql, params)
            rows = frames.decode(cursor, table, names, known, [*columns, *names[len(fetched) :]])
            if not table.bulk:
                return rows
            from market_spine.store.sqlite import segments

            return pl.concat([*segments.read(self, table, scope, columns, row_ids=row_ids), rows])

    def read_versions(self, table: Table, scope: Scope) -> pl.DataFrame:
        from market_spine.store.sqlite.converting import versions

        with translated(self._name, self.wait_seconds):
            return versions(self, table, scope)

    def find_rows(self, table: Table, scope: Scope, keys: pl.DataFrame) -> list[tuple[int, Any]]:
        if table.bulk:
            current = self.read_frame(table, scope, keys.columns, row_ids=True)
            matched = keys.with_row_index("\0number").join(current, on=keys.columns)
            return list(matched.select("\0number", ROW_ID).iter_rows())
        from market_spine.store.sqlite import frames

        where, params = scope_condition(scope, "v.")
        names = [name for name in keys.columns if name not in scope.equals] or keys.columns
        # Names of its own, so that a column may be called as any of them.
        own = {name: f"key{place}" for place, name in enumerate(names)}
        columns = ", ".join(f"{quote(name)} AS {key}" for name, key in own.items())
        marks = ", ".join("?" for _ in names)
        same = " AND ".join(f"k.{key} = v.{quote(name)}" for name, key in own.items())
        # Typeless columns would not compare equal to typed ones, hence the copied declaration.
        self.run(f"CREATE TEMP TABLE wanted AS SELECT 0 AS number, {columns} FROM {quote(table.versions)} LIMIT 0")
        self.run(f"CREATE INDEX temp.wanted_key ON wanted ({', '.join(own.values())})")
        rows = zip(range(keys.height), *frames.encode(keys.select(names)), strict=True)
        self.run_many(f"INSERT INTO wanted VALUES (?, {marks})", rows)
        # CROSS JOIN fixes the order: one pass over the scope, not one for each key.
        found = self.rows(
            f"SELECT k.number, v.{row_address(table)} FROM {quote(table.versions)} v CROSS JOIN wanted k"
            f" ON {same} WHERE {where} AND v.superseded_by IS NULL",
            params,
        )
        self.run("DROP TABLE temp.wanted")
        return [(number, row_id) for number, row_id in found]

    def close_rows(self, table: Table, row_ids: Sequence[Any], manifest_id: int) -> int:
        closed = 0
        if table.bulk:
            from market_spine.store.sqlite import segments

            closed = segments.close(self, (row_id for row_id in row_ids if row_id > 0), manifest_id)
            row_ids = [-row_id for row_id in row_ids if row_id < 0]
        own = f"{row_address(table)} = ? AND superseded_by IS NULL"
        sql = f"UPDATE {quote(table.versions)} SET superseded_by = ? WHERE {own}"
        return closed + self.run_many(sql, ((manifest_id, row_id) for row_id in row_ids))

    def insert_frame(
        self, table: Table, scope: Scope, frame: pl.DataFrame, manifest_id: int, packed: object | None = None
    ) -> None:
        if packed is not None:
            from market_spine.store.sqlite import segments

            assert isinstance(packed, segments.Packed)
            self.require_room(len(packed.data))
            segments.insert(self, table, scope, packed, manifest_id)
            return
        from market_spine.store.sqlite import frames

        self.require_room(int(frame.estimated_size()))
        with translated(self._name, self.wait_seconds):
            frames.insert(self.connection, table, frame, manifest_id)

    def count_rows(self, table: Table, scope: Scope) -> int:
        where, params = scope_condition(scope)
        sql = f"SELECT COUNT(*) FROM {quote(table.versions)} WHERE {where} AND superseded_by IS NULL"
        ((count,),) = self.rows(sql, params)
        if table.bulk:
            from market_spine.store.sqlite import segments

            count += sum(each.row_count - each.closed for each in segments.current(self, table, scope))
        return int(count)

    def scope_state(self, table: Table, scope: Scope) -> object | None:
        if not table.bulk:
            return None
        from market_spine.store.sqlite import segments

        return segments.state(self, table, scope, *scope_condition(scope))

    def pack(self, table: Table, scope: Scope, frame: pl.DataFrame, before: int) -> object | None:
        if not table.bulk:
            return None
        from market_spine.store.sqlite import segments

        return segments.pack(table, frame, before)

    def query(self, question: Question) -> AbstractContextManager[RowStream]:
        from market_spine.store.sqlite import query

        return query.ask(self.connection if self._path is None else self._path, question, self.wait_seconds)

    def choose(self, choice: Choice) -> AbstractContextManager[FrameStream]:
        from market_spine.store.sqlite import tables

        return tables.choose(self.connection if self._path is None else self._path, choice, self.wait_seconds)

    def show_past(self, moment: str) -> None:
        self._past = moment
        self._shadow()

    def _shadow(self) -> None:
        """Put what was known at the moment before the tables, under their names."""
        if self._past is None:
            return
        self.run("PRAGMA query_only = OFF")
        try:
            for name, body in as_of_views((), self._past, "main", (), self.sessions):
                self.run(f"CREATE TEMP VIEW {quote(name)} AS {body}")
        finally:
            self.run("PRAGMA query_only = ON")

    def version(self) -> str:
        ((encoding,),) = self.rows("PRAGMA encoding")
        return f"SQLite {sqlite3.sqlite_version}, encoding {encoding}"

    def damage(self, *, deep: bool) -> list[str]:
        found = self.rows(f"PRAGMA {'integrity_check' if deep else 'quick_check'}(5)")
        return [text for (text,) in found if text != "ok"]

    def objects(self) -> Objects:
        from market_spine.store.sqlite import checking

        return checking.objects(self)

    def replaced_views(self, declared: Mapping[str, str]) -> list[str] | None:
        found = self.objects().views
        return sorted(
            name for name, body in declared.items() if found[name] != f"CREATE VIEW {quote(name)} AS {body.strip()}"
        )

    def movements(self, table: Table) -> list[tuple[int, int, int]]:
        from market_spine.store.sqlite import checking

        return checking.movements(self, table)

    def own_checks(self, domains: Sequence[Domain], *, deep: bool) -> Mapping[str, Callable[[], str | list[Problem]]]:
        from market_spine.store.sqlite import checking

        return {"segments": lambda: checking.segments(self, domains, deep=deep)}

    def close(self) -> None:
        self.connection.close()
