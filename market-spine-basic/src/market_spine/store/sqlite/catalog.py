"""What a statement can read of a store: each relation as SQL for SQLite, and how DuckDB gets at it.

Rows are fetched from SQLite when DuckDB opens the file that they are shown as: only the columns that the
statement uses and, where a table has partitions, only those it opens. Segments are read by DuckDB itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache, lru_cache
from urllib.parse import quote as escape

from market_spine.core.domain import Domain
from market_spine.core.schema import Table, View
from market_spine.store import views
from market_spine.store.sessions import KINDS as KINDS_OF_SESSIONS
from market_spine.store.sessions import NAME as SESSIONS
from market_spine.store.sessions import for_sqlite
from market_spine.store.views import quote

KINDS = {
    "TEXT": "text",
    "BIGINT": "integer",
    "INTEGER": "integer",
    "DOUBLE PRECISION": "float",
    "DATE": "date",
    "BOOLEAN": "boolean",
    "TIMESTAMPTZ": "moment",
    "BYTEA": "bytes",
}
"""Declared type in SQLite to kind; whatever else there is shows as text."""

TYPES = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "float": "DOUBLE",
    "date": "DATE",
    "boolean": "BOOLEAN",
    "moment": "TIMESTAMPTZ",
    "bytes": "BLOB",
}
"""Kind to type in DuckDB."""

_BROUGHT = {"capture_id": "text", "captured_at": "moment"}
_LARGE = {"core_payloads": "sha256", "core_segment_data": "segment_id"}
"""Tables whose rows may be larger than memory together, and what tells the rows apart."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A relation, or the part of one, that SQLite keeps as rows.

    Attributes:
        sql: SELECT that gives them.
        kinds: column name to kind, in order.
        partition_by: the columns by whose values the rows are read apart.
        partitions: SELECT of these values; more of them than there are rows for do no harm.
        file: makes a Parquet file of them, where they are the same in every store.
    """

    sql: str
    kinds: Mapping[str, str]
    partition_by: tuple[str, ...] = ()
    partitions: str = ""
    file: Callable[[], bytes] | None = None


@dataclass(frozen=True, slots=True)
class Relation:
    """Something that a statement can name.

    Attributes:
        rows: the rows of it that SQLite keeps.
        bulk: the table whose segments belong to it, too.
        table: the declared table whose known rows it shows.
        versions: it shows every version of every row, with the entries that brought and closed it.
    """

    rows: Rows
    bulk: Table | None = None
    table: Table | None = None
    versions: bool = False


@dataclass(frozen=True, slots=True)
class Catalog:
    """All that can be read at a moment, by name in lower case. ``views`` are in an order to make them in.

    What is ``hidden`` only views can read: it shows more than was known at the moment.
    """

    relations: Mapping[str, Relation]
    views: Sequence[View] = field(default=())
    hidden: frozenset[str] = frozenset()

    def names(self) -> frozenset[str]:
        """Every name that a statement can use."""
        return frozenset((*self.relations, *(view.name.lower() for view in self.views))) - self.hidden

    def needed(self, names: Collection[str]) -> tuple[dict[str, Relation], list[View]]:
        """The relations and views that a statement stands on that uses these names."""
        wanted = set(names)
        shown = []
        for view in reversed(self.views):
            if view.name.lower() in wanted:
                shown.append(view)
                wanted.update(name.lower() for name in view.depends_on)
        return {name: found for name, found in self.relations.items() if name in wanted}, shown[::-1]


def catalog(connection: sqlite3.Connection, domains: Sequence[Domain], moment: str | None) -> Catalog:
    """What can be read now, or could be at a moment."""
    tables = {table.name: table for domain in domains for table in domain.tables}
    physical = dict(_physical(connection))
    bodies = dict(
        views.as_of_views(domains, moment, "main", physical, for_sqlite())
        if moment is not None
        else [(table.name, views.current_view(table)) for table in tables.values() if table.versions in physical]
    )
    sessions = Rows(for_sqlite(), KINDS_OF_SESSIONS, file=_sessions)
    found: dict[str, Relation] = {SESSIONS: Relation(sessions)}
    bulk = {table.versions: table for table in tables.values() if table.bulk}
    past = {table.versions for table in tables.values() if table.history}
    hidden = frozenset(name.lower() for name in past if moment is not None)
    for name, kinds in physical.items():
        if moment is None or name in past:
            found[name.lower()] = Relation(_whole(name, kinds), bulk.get(name), versions=name in bulk)
    for name, body in bodies.items():
        if name in tables:
            found[name.lower()] = _table(tables[name], body)
        elif name in physical:
            found[name.lower()] = Relation(_whole(name, physical[name], body))
    declared = [*views.PLATFORM, *(view for domain in domains for view in views.shown_by(domain))]
    present = {name for name in (*physical, *bodies, SESSIONS) if name.lower() in found}
    return Catalog(found, views.ready(declared, present), hidden)


def _physical(connection: sqlite3.Connection) -> Iterator[tuple[str, dict[str, str]]]:
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    for (name,) in names.fetchall():
        columns = connection.execute("SELECT name, type FROM pragma_table_info(?)", (name,))
        yield name, {column: KINDS.get(declared.upper(), "text") for column, declared in columns}


@cache
def _sessions() -> bytes:
    """The exchange's sessions, which no store keeps."""
    from market_spine.store.sqlite import frames

    with closing(sqlite3.connect(":memory:")) as connection:
        return frames.parquet(connection.execute(for_sqlite()), KINDS_OF_SESSIONS)


def _whole(name: str, kinds: Mapping[str, str], body: str = "") -> Rows:
    sql = body or f"SELECT * FROM {quote(name)}"
    if name in _LARGE:
        return Rows(sql, kinds, (_LARGE[name],), f"SELECT {_LARGE[name]} FROM {name}")
    return Rows(sql, kinds)


def _table(table: Table, body: str) -> Relation:
    kinds = {**{column.name: column.kind for column in table.columns}, **_BROUGHT}
    if table.bulk:
        return Relation(Rows(body, kinds), table, table)
    return Relation(Rows(body, kinds, table.partition_by, distinct(table)), table=table)


def distinct(table: Table) -> str:
    """SELECT of the values of a table's partition columns: a search in an index for each, not a scan."""
    kept, columns = quote(table.versions), list(map(quote, table.partition_by))
    steps = []
    for number, last in enumerate(columns):
        # Column by column: a comparison of whole rows would search by the first one alone.
        same = "".join(f"k.{name} = p{{0}}.{name} AND " for name in columns[:number])
        before = "".join(f"{name}, " for name in columns[:number])
        least = f"SELECT MIN(k.{last}) FROM {kept} k"
        first = f"{least} WHERE {same.format(number - 1)}1 = 1"
        start = (
            f"SELECT {before}({first}) FROM p{number - 1} WHERE {columns[number - 1]} IS NOT NULL" if number else first
        )
        step = f"SELECT {before}({least} WHERE {same.format(number)}k.{last} > p{number}.{last})"
        every = f"{start} UNION ALL {step} FROM p{number} WHERE {last} IS NOT NULL"
        steps.append(f"p{number} ({before}{last}) AS ({every})")
    found = f"SELECT * FROM p{len(columns) - 1} WHERE {columns[-1]} IS NOT NULL ORDER BY {', '.join(columns)}"
    return f"WITH RECURSIVE {', '.join(steps)} {found}"


def hive(values: Mapping[str, object]) -> str:
    """Column values as folders, from which DuckDB reads them without opening a file."""
    return "/".join([f"{_escaped(name)}={_escaped(str(value))}" for name, value in values.items()])


@lru_cache(maxsize=8192)
def _escaped(value: str) -> str:
    """A name or value as part of a path; thousands of paths share them."""
    return escape(value, safe="")


def text(value: str) -> str:
    """A text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"
