"""The seam between the store's logic and a database: all that an adapter has to provide.

SQL that goes through it uses ``?`` for parameters and only what SQLite and PostgreSQL agree on. Every
method raises StoreError and nothing else of the database's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.domain import Domain
    from market_spine.core.partition import Scope
    from market_spine.core.ports import FrameStream, RowStream
    from market_spine.core.schema import Table
    from market_spine.store.asking import Choice, Question
    from market_spine.store.objects import Objects
    from market_spine.store.problems import Problem

T = TypeVar("T")

ROW_ID = "\0row_id"
"""Name of the frame column that holds the database's own address of a row."""

DENIED = "store_denied"
"""Kind of the StoreError that says the role lacks a privilege."""

ALONE = "store"
"""The lock of whatever is not one partition's, and of every commit's last step."""

MOVEMENTS = """\
SELECT id, SUM(brought), SUM(closed) FROM (
    SELECT manifest_id AS id, COUNT(*) AS brought, 0 AS closed FROM {table} GROUP BY manifest_id
    UNION ALL
    SELECT superseded_by, 0, COUNT(*) FROM {table} WHERE superseded_by IS NOT NULL GROUP BY superseded_by
) AS moved GROUP BY id ORDER BY id
"""
"""How many rows of a table of versions each entry brought and closed."""


class Database(Protocol):
    """One connection.

    Attributes:
        columnar: it keeps bulk tables in columns of its own, so that no view of them can be made in it.
        sessions: SELECT of the exchange's sessions in its own SQL; see ``sessions``.
        migrations: set name to package of the migrations that only this kind of database has.
    """

    columnar: bool
    sessions: str
    migrations: Mapping[str, str]

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one reading statement."""

    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run one writing statement; returns the number of rows it affected."""

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run one writing statement for each row of parameters; returns the rows affected in total."""

    def script(self, text: str) -> None:
        """Run several statements inside the current transaction."""

    def relations(self) -> frozenset[str]:
        """Names of all tables and views."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Let everything read in the block see one state; inside a transaction it adds nothing."""

    def steadily(self, work: Callable[[], T]) -> T:
        """Do what only reads, a second time where the database is a file that somebody changed meanwhile.

        All that is read for one purpose belongs into one call; one inside another adds nothing. Raises StoreLocked
        if the file changed each time.
        """

    def prepare_schema(self) -> None:
        """Make what the migrations build on, where it is missing, inside a transaction."""

    def outgrown(self, domains: Sequence[Domain]) -> bool:
        """Whether what is kept must be converted before the schema can be brought up to date."""

    def drop_views(self, names: Sequence[str]) -> None:
        """Drop the views that exist of these, whichever stands on which."""

    def begin(self, lock: str = ALONE) -> None:
        """Start a writing transaction that excludes others with the same lock; what it reads is up to date.

        A database may exclude more. Waits a bounded time for others, then raises StoreLocked.
        """

    def require_room(self, needed: int) -> None:
        """Raise StoreUnavailable, kind ``disk_full``, where it is known that so many bytes cannot be written."""

    def last_in_line(self) -> None:
        """Let no other transaction become visible between now and the end of this one; raises StoreLocked."""

    def commit(self) -> None:
        """Make the transaction durable and visible."""

    def rollback(self) -> None:
        """Undo the transaction, if one is open."""

    def next_id(self) -> int:
        """A fresh manifest id. Ids grow along the commits of one partition, and need not across partitions."""

    def reserve_ids(self, last: int) -> None:
        """Let ``next_id`` give only ids above one that was written without asking for it."""

    def now(self) -> datetime:
        """The present (UTC), by the clock that all who share the database go by."""

    def settle(self) -> None:
        """Return once no writer that was under way is left uncommitted; raises StoreLocked."""

    def read_frame(self, table: Table, scope: Scope, columns: Sequence[str], *, row_ids: bool = False) -> pl.DataFrame:
        """The named columns of the current rows in a scope, typed, in no order; ``ROW_ID`` on demand."""

    def read_versions(self, table: Table, scope: Scope) -> pl.DataFrame:
        """Every version of every row in a partition, typed, with ``manifest_id`` and ``superseded_by``, in no order."""

    def find_rows(self, table: Table, scope: Scope, keys: pl.DataFrame) -> list[tuple[int, Any]]:
        """Find the current rows in the scope that have these keys: (row number in ``keys``, row id)."""

    def close_rows(self, table: Table, row_ids: Sequence[Any], manifest_id: int) -> int:
        """Mark current rows as superseded by an entry; returns how many were."""

    def insert_frame(
        self, table: Table, scope: Scope, frame: pl.DataFrame, manifest_id: int, packed: object | None = None
    ) -> None:
        """Add rows as current, brought by an entry; ``packed`` is what ``pack`` made of them, if anything."""

    def count_rows(self, table: Table, scope: Scope) -> int:
        """How many rows are current in a scope."""

    def scope_state(self, table: Table, scope: Scope) -> object | None:
        """What is equal as long as a scope's current rows and their row ids are the same.

        None for a table of which the database does not tell: its changes are worked out under the lock.
        """

    def pack(self, table: Table, scope: Scope, frame: pl.DataFrame, before: int) -> object | None:
        """Encode rows that are to be added to a scope of ``before`` current rows; touches no database.

        None if they are to be added row by row.
        """

    def query(self, question: Question) -> AbstractContextManager[RowStream]:
        """Run a user's statement on a fresh connection that cannot write; see ``StoreReader.ask``.

        Raises UsageError for anything the statement does wrong, also while its rows are read.
        """

    def choose(self, choice: Choice) -> AbstractContextManager[FrameStream]:
        """Choose rows of a table on a fresh connection that cannot write; see ``StoreReader.table``."""

    def show_past(self, moment: str) -> None:
        """From now on, let the platform's tables show only what was known at a moment; of a reading connection."""

    def version(self) -> str:
        """Name and version of the database, and the encoding of its text."""

    def damage(self, *, deep: bool) -> list[str]:
        """What the database itself finds wrong with what it keeps; ``deep`` looks at everything."""

    def objects(self) -> Objects:
        """The tables, indexes, views and triggers that there are."""

    def replaced_views(self, declared: Mapping[str, str]) -> list[str] | None:
        """Which views of these (name to SELECT) are there and say something else; None if that cannot be told."""

    def movements(self, table: Table) -> list[tuple[int, int, int]]:
        """How many rows of a table each entry brought, and how many it closed: (manifest id, brought, closed)."""

    def own_checks(self, domains: Sequence[Domain], *, deep: bool) -> Mapping[str, Callable[[], str | list[Problem]]]:
        """Checks of what only this kind of database has, by name: each says what it found, or what is wrong."""

    def close(self) -> None:
        """Release the connection."""
