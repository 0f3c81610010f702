"""PostgreSQL as a Database: transactions, locking and bulk load."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from market_spine.core.partition import Scope
from market_spine.core.schema import Table
from market_spine.store import binding
from market_spine.store.asking import Question
from market_spine.store.database import ALONE, MOVEMENTS, ROW_ID
from market_spine.store.location import StoreUrl
from market_spine.store.moments import from_text
from market_spine.store.postgres.connect import connect, encoding, translated
from market_spine.store.postgres.watching import Watched
from market_spine.store.sessions import for_postgres
from market_spine.store.views import as_of_views, quote, scope_condition

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.domain import Domain
    from market_spine.core.ports import FrameStream, RowStream
    from market_spine.store.asking import Choice
    from market_spine.store.objects import Objects
    from market_spine.store.problems import Problem

T = TypeVar("T")

_RELATIONS = """\
SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE nspname = %s AND relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_LOCALE_ORDERED = """\
SELECT c.relname, a.attname
  FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
   AND a.atttypid = 'text'::regtype AND a.attcollation <> '"C"'::regcollation
   AND c.relname = ANY(%s)
"""
_INVALID_INDICES = """\
SELECT c.relname FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ? AND NOT i.indisvalid
"""
_NOW = """\
SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
"""
_IDS = "core_manifest_ids"
_CLOSED_AT_ONCE = 10_000


class PostgresDatabase:
    """One connection to a schema of a PostgreSQL database; see ``Database``.

    Args:
        url: where it is.
        wait_seconds: how long to wait for other writers.
        read_only: let the server refuse every write.
    """

    columnar = False
    sessions = for_postgres()
    migrations: Mapping[str, str] = MappingProxyType({})

    def __init__(self, url: StoreUrl, wait_seconds: float, *, read_only: bool) -> None:
        self._url = url
        self._wait = wait_seconds
        self._read_only = read_only
        self._pinned = False
        self._past: str | None = None
        self._connection, self._schema = connect(url, wait_seconds, read_only=read_only)

    @contextmanager
    def _linked(self) -> Iterator[Watched]:
        """The connection; whatever it complains about is translated.

        One that was found lost is replaced, unless a transaction was lost with it: then every further statement
        fails until that is rolled back.
        """
        with translated(self._url, self._wait):
            if self._connection.closed and not self._pinned:
                self._connection, self._schema = connect(self._url, self._wait, read_only=self._read_only)
                self._shadow(self._connection)
            yield self._connection

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._linked() as connection:
            return connection.execute(*_prepared(sql, params)).fetchall()

    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        with self._linked() as connection:
            return connection.execute(*_prepared(sql, params)).rowcount

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        with self._linked() as connection, connection.cursor() as cursor:
            cursor.executemany(_marked(sql), rows)
            return cursor.rowcount

    def script(self, text: str) -> None:
        self.run(text)
        # Text compares and sorts by its bytes, as in SQLite: fast, and the same on every server for ever.
        named = sorted(self.relations().intersection(re.findall(r"\w+", text)))
        with self._linked() as connection:
            found = connection.execute(_LOCALE_ORDERED, (self._schema, named)).fetchall()
        ordered: dict[str, list[str]] = {}
        for relation, column in found:
            ordered.setdefault(relation, []).append(f'ALTER COLUMN {quote(column)} TYPE TEXT COLLATE "C"')
        # One statement for each table, because each makes its indexes anew.
        for relation, changes in ordered.items():
            self.run(f"ALTER TABLE {quote(relation)} {', '.join(changes)}")

    def relations(self) -> frozenset[str]:
        with self._linked() as connection:
            return frozenset(name for (name,) in connection.execute(_RELATIONS, (self._schema,)))

    def prepare_schema(self) -> None:
        # Looked for first, because IF NOT EXISTS asks for the privilege to create all the same.
        with self._linked() as connection:
            found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self._schema,))
            if not found.fetchone():
                self.run(f"CREATE SCHEMA {quote(self._schema)}")
        if self.rows(f"SELECT to_regclass('{_IDS}')") == [(None,)]:
            self.run(f"CREATE SEQUENCE {_IDS} AS INTEGER")
        if used := self._ids_used_beyond():
            self.reserve_ids(used)

    def outgrown(self, domains: Sequence[Domain]) -> bool:
        return False

    def drop_views(self, names: Sequence[str]) -> None:
        # In one statement, so that it does not matter which of them stands on which.
        if names:
            self.run(f"DROP VIEW IF EXISTS {', '.join(map(quote, names))}")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        if self._pinned:
            yield
            return
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._pinned = True
        try:
            yield
        finally:
            self.rollback()

    def steadily(self, work: Callable[[], T]) -> T:
        return work()

    def begin(self, lock: str = ALONE) -> None:
        # READ COMMITTED, so that what is read after the wait for a lock includes what its last holder wrote.
        self.run("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        self._pinned = True
        try:
            self._lock(lock)
        except BaseException:
            self.rollback()
            raise

    def require_room(self, needed: int) -> None:
        # What is left on the server's disk only the server knows, which says so when it is written to.
        pass

    def last_in_line(self) -> None:
        self._lock(ALONE)

    def _lock(self, name: str) -> None:
        self.rows("SELECT pg_advisory_xact_lock(?)", (self._lock_number(name),))

    def _lock_number(self, name: str) -> int:
        # Advisory locks are numbers, one space for the whole database. Two names that met in one number
        # would only wait for each other in vain.
        digest = hashlib.sha256(f"market-spine/{self._schema}/{name}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    def commit(self) -> None:
        try:
            self.run("COMMIT")
        except BaseException:
            self.rollback()
            raise
        self._pinned = False

    def rollback(self) -> None:
        self._pinned = False
        if self._in_transaction():
            # Losing the connection rolls back too, and must not hide the error that led here.
            try:
                self._connection.execute("ROLLBACK")
            except psycopg.Error:
                self._connection.close()

    def _in_transaction(self) -> bool:
        idle = (TransactionStatus.IDLE, TransactionStatus.UNKNOWN)
        return self._connection.info.transaction_status not in idle

    def now(self) -> datetime:
        # The server's clock: those of the hosts that load into it may differ.
        ((text,),) = self.rows(_NOW)
        return from_text(text)

    def settle(self) -> None:
        # Writers hold this lock from the choice of their moment until it is visible.
        self.rows("SELECT pg_advisory_xact_lock_shared(?)", (self._lock_number(ALONE),))

    def next_id(self) -> int:
        ((number,),) = self.rows(f"SELECT nextval('{_IDS}')")
        return int(number)

    def reserve_ids(self, last: int) -> None:
        self.rows(f"SELECT setval('{_IDS}', ?)", (last,))

    def read_frame(self, table: Table, scope: Scope, columns: Sequence[str], *, row_ids: bool = False) -> pl.DataFrame:
        from market_spine.store.postgres import frames

        where, params = scope_condition(scope)
        known = {name: value for name, value in scope.equals.items() if name in columns}
        fetched = [name for name in columns if name not in known]
        selected = ", ".join([*map(quote, fetched), *(["ctid"] if row_ids else [])]) or "1"
        rows = f"SELECT {selected} FROM {quote(table.versions)} WHERE {where} AND superseded_by IS NULL"
        added = [ROW_ID] if row_ids else []
        with self._copying(f"COPY ({rows}) TO STDOUT (FORMAT csv)", params) as copy:
            data = b"".join(copy)
        return frames.decode(data, table, [*fetched, *added], known, [*columns, *added])

    def read_versions(self, table: Table, scope: Scope) -> pl.DataFrame:
        import polars as pl

        from market_spine.store.postgres import frames

        where, params = scope_condition(scope)
        added = ["manifest_id", "superseded_by"]
        fetched = [name for name in table.names if name not in scope.equals]
        names = ", ".join(map(quote, [*fetched, *added]))
        with self._copying(
            f"COPY (SELECT {names} FROM {quote(table.versions)} WHERE {where}) TO STDOUT (FORMAT csv)", params
        ) as copy:
            data = b"".join(copy)
        rows = frames.decode(data, table, [*fetched, *added], scope.equals, [*table.names, *added])
        return rows.with_columns(pl.col(added).cast(pl.Int64))

    def find_rows(self, table: Table, scope: Scope, keys: pl.DataFrame) -> list[tuple[int, Any]]:
        # All keys of the scope are read: COPY and a join in memory beat a join with values sent to the server.
        current = self.read_frame(table, scope, keys.columns, row_ids=True)
        found = keys.with_row_index("\0number").join(current, on=keys.columns)
        return list(found.select("\0number", ROW_ID).iter_rows())

    def close_rows(self, table: Table, row_ids: Sequence[Any], manifest_id: int) -> int:
        sql = (
            f"UPDATE {quote(table.versions)} SET superseded_by = ? WHERE ctid = ANY(?::tid[]) AND superseded_by IS NULL"
        )
        starts = range(0, len(row_ids), _CLOSED_AT_ONCE)
        return sum(self.run(sql, (manifest_id, list(row_ids[at : at + _CLOSED_AT_ONCE]))) for at in starts)

    def insert_frame(
        self, table: Table, scope: Scope, frame: pl.DataFrame, manifest_id: int, packed: object | None = None
    ) -> None:
        import polars as pl

        from market_spine.store.postgres import frames

        rows = frame.select(table.names).with_columns(pl.lit(manifest_id).alias("manifest_id"))
        names = ", ".join(map(quote, rows.columns))
        with self._copying(f"COPY {quote(table.versions)} ({names}) FROM STDIN (FORMAT csv)") as copy:
            for piece in frames.encode(rows):
                copy.write(piece)

    def count_rows(self, table: Table, scope: Scope) -> int:
        where, params = scope_condition(scope)
        sql = f"SELECT COUNT(*) FROM {quote(table.versions)} WHERE {where} AND superseded_by IS NULL"
        ((count,),) = self.rows(sql, params)
        return int(count)

    def scope_state(self, table: Table, scope: Scope) -> object | None:
        # The server moves rows as it likes.
        return None

    def pack(self, table: Table, scope: Scope, frame: pl.DataFrame, before: int) -> object | None:
        return None

    @contextmanager
    def _copying(self, sql: str, params: Sequence[Any] = ()) -> Iterator[psycopg.Copy]:
        with self._linked() as connection, connection.cursor() as cursor, cursor.copy(*_prepared(sql, params)) as copy:
            yield copy

    def query(self, question: Question) -> AbstractContextManager[RowStream]:
        from market_spine.store.postgres import query

        return query.ask(self._url, self._wait, question)

    def choose(self, choice: Choice) -> AbstractContextManager[FrameStream]:
        from market_spine.store.postgres import query

        sql = binding.statement(choice.table.name, choice.columns, choice.conditions)
        if choice.together:
            sql += f" ORDER BY {', '.join(map(quote, choice.table.partition_by))}"
        question = Question(sql, choice.domains, choice.moment, choice.seconds, choice.pinned)
        return query.ask(self._url, self._wait, question)

    def show_past(self, moment: str) -> None:
        self._past = moment
        with self._linked() as connection:
            self._shadow(connection)

    def _shadow(self, connection: Watched) -> None:
        """Put what was known at the moment before the tables, under their names."""
        if self._past is None:
            return
        connection.execute(f"SET search_path = pg_temp, {quote(self._schema)}")
        with connection.transaction():
            connection.execute("SET TRANSACTION READ WRITE")
            for name, body in as_of_views((), self._past, quote(self._schema), (), self.sessions):
                connection.execute(f"CREATE TEMP VIEW {quote(name)} AS {body}")

    def version(self) -> str:
        with self._linked() as connection:
            server = connection.info.parameter_status("server_version")
            return f"PostgreSQL {server}, encoding {encoding(connection)}, schema {self._schema}"

    def damage(self, *, deep: bool) -> list[str]:
        invalid = self.rows(_INVALID_INDICES, (self._schema,))
        found = [f"index {name} is invalid: REINDEX it" for (name,) in invalid]
        if self.rows(f"SELECT to_regclass('{_IDS}')") == [(None,)]:
            found.append(f"sequence {_IDS} is missing: market-spine db upgrade makes it again")
        elif self._ids_used_beyond():
            found.append(f"sequence {_IDS} is behind the manifest: market-spine db upgrade sets it")
        return found

    def _ids_used_beyond(self) -> int:
        """The highest id of the manifest, if the sequence would give it out a second time, as after a restore."""
        if "core_manifest" not in self.relations():
            return 0
        ((last,),) = self.rows(f"SELECT last_value FROM {_IDS}")
        ((used,),) = self.rows("SELECT COALESCE(MAX(manifest_id), 0) FROM core_manifest")
        return int(used) if used > last else 0

    def objects(self) -> Objects:
        from market_spine.store.postgres import checking

        return checking.objects(self, self._schema)

    def replaced_views(self, declared: Mapping[str, str]) -> list[str] | None:
        from market_spine.store.postgres import checking

        return checking.replaced_views(self._url, self._wait, declared)

    def movements(self, table: Table) -> list[tuple[int, int, int]]:
        return self.rows(MOVEMENTS.format(table=quote(table.versions)))

    def own_checks(self, domains: Sequence[Domain], *, deep: bool) -> Mapping[str, Callable[[], str | list[Problem]]]:
        return {}

    def close(self) -> None:
        self._pinned = True
        self._connection.close()


def _marked(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")


def _prepared(sql: str, params: Sequence[Any]) -> tuple[Any, ...]:
    """The statement as psycopg takes it; without parameters the driver leaves the text alone."""
    return (_marked(sql), params) if params else (sql,)
