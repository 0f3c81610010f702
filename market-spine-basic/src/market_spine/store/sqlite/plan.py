"""Which columns a statement uses, and showing DuckDB the relations that it names."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from market_spine.core.kinds import write_value
from market_spine.core.partition import Value
from market_spine.core.schema import Table, View
from market_spine.store.asking import Condition, Question
from market_spine.store.selecting import BROUGHT, kinds_in
from market_spine.store.sqlite import visible
from market_spine.store.sqlite.catalog import TYPES, Relation, Rows, hive, text
from market_spine.store.sqlite.engines import Engine
from market_spine.store.sqlite.files import PROTOCOL
from market_spine.store.views import quote

if TYPE_CHECKING:
    import duckdb
    import polars as pl

_MARKED = re.compile(r"\bspine_(\d+)_(\d+)\b")
_UNREAD = "error('a column that the statement does not use was read')"


class Ahead(NamedTuple):
    """A statement, and what it reads.

    Attributes:
        sql: the statement.
        used: relation to the columns of it that are used.
        wanted: relation to what its rows must meet to matter, where that is known to leave few.
    """

    sql: str
    used: Mapping[str, set[str]]
    wanted: Mapping[str, Sequence[Condition]] = MappingProxyType({})


def look_ahead(
    engine: duckdb.DuckDBPyConnection,
    relations: Mapping[str, Relation],
    declared: Sequence[View],
    sql: str,
    narrow: Callable[[Mapping[str, str]], str] | None = None,
) -> Ahead:
    """What DuckDB needs for a statement, as it plans it over empty tables of the same types.

    ``narrow`` is as in ``Question``.
    """
    engine.execute("BEGIN")
    try:
        # What is empty is not to be planned away.
        engine.execute("SET disabled_optimizers = 'statistics_propagation,empty_result_pullup'")
        for number, (name, relation) in enumerate(relations.items()):
            kinds = relation.rows.kinds
            columns = ", ".join(f"spine_{number}_{at} {TYPES[kind]}" for at, kind in enumerate(kinds.values()))
            shown = ", ".join(f"spine_{number}_{at} AS {quote(column)}" for at, column in enumerate(kinds))
            engine.execute(f"CREATE TABLE spine_{number} ({columns})")
            engine.execute(f"CREATE VIEW {quote(name)} AS SELECT {shown} FROM spine_{number}")
        for view in declared:
            engine.execute(f"CREATE VIEW {quote(view.name)} AS {view.sql}")
        if narrow is not None:
            sql = narrow(kinds_in(schema(engine, sql)))
        ((_, tree),) = engine.execute(f"EXPLAIN (FORMAT JSON) {sql}").fetchall()
    finally:
        engine.execute("ROLLBACK")
        engine.execute("RESET disabled_optimizers")
    used: dict[str, set[str]] = {name: set() for name in relations}
    names = list(relations)
    for name, relation in relations.items():
        # Where DuckDB needs rows and none of their columns, it takes the first.
        used[name].update(list(relation.rows.kinds)[:1])
    for number, at in _MARKED.findall(tree):
        if int(number) < len(names):
            columns_of = list(relations[names[int(number)]].rows.kinds)
            used[names[int(number)]].update(columns_of[int(at) : int(at) + 1])
    # Where rows come in several pieces DuckDB counts them by the first column, whether that is used or not.
    used = {name: {*columns, next(iter(relations[name].rows.kinds))} for name, columns in used.items()}
    if narrow is None:
        return Ahead(sql, used)
    from market_spine.store.sqlite.narrowing import conditions

    return Ahead(sql, used, conditions(json.loads(tree), relations))


def schema(engine: duckdb.DuckDBPyConnection, sql: str) -> Mapping[str, pl.DataType]:
    """The columns of a statement's answer, and their types in frames."""
    import polars as pl

    return dict(pl.DataFrame(engine.sql(f"SELECT * FROM ({sql}\n) LIMIT 0")).schema)


def show(
    engine: Engine,
    source: sqlite3.Connection,
    relations: Mapping[str, Relation],
    declared: Sequence[View],
    ahead: Ahead,
    question: Question,
) -> None:
    """Make a view in DuckDB of each relation, and the declared views on top of them."""
    shower = _Shower(engine, source, question)
    for name, relation in relations.items():
        body = shower.few(relation, ahead.used[name], ahead.wanted.get(name, ()))
        engine.make("VIEW", name, body or shower.body(relation, ahead.used[name]))
    for view in declared:
        engine.make("VIEW", view.name, view.sql)


_numbers = count()
"""Parts of paths: none is of two statements."""


class _Shower:
    """Turns relations into SQL over files."""

    def __init__(self, engine: Engine, source: sqlite3.Connection, question: Question) -> None:
        self._engine = engine
        self._files = engine.files
        self._source = source
        self._question = question
        self._moment = question.moment

    def few(self, relation: Relation, used: set[str], wanted: Sequence[Condition]) -> str:
        """SELECT of the rows of a relation that meet conditions; empty where they are not few."""
        if relation.table is None or not wanted:
            return ""
        from market_spine.store.sqlite.narrowing import few_rows

        fetched = [name for name in relation.rows.kinds if name in used]
        data = few_rows(self._source, relation.table, fetched, wanted, self._moment, self._question.seconds)
        if data is None:
            return ""
        folder = f"{PROTOCOL}://{next(_numbers)}"
        path = self._files.add_files(folder, {f"{folder}/rows.parquet": lambda: data})
        return f"SELECT {_columns(relation.rows.kinds, fetched)} FROM read_parquet({text(path)})"

    def body(self, relation: Relation, used: set[str]) -> str:
        """SELECT of a relation's rows."""
        pieces = self._rows(relation.rows, used)
        if relation.bulk is not None:
            pieces += self._segments(relation.bulk, relation, used)
        if not pieces:
            columns = ", ".join(f"NULL::{TYPES[kind]} AS {quote(name)}" for name, kind in relation.rows.kinds.items())
            return f"SELECT {columns} WHERE false"
        return "\nUNION ALL\n".join(pieces)

    def _rows(self, rows: Rows, used: set[str]) -> list[str]:
        """SELECTs of what SQLite keeps as rows: over a file for each partition, or over one for all."""
        folder = f"{PROTOCOL}://{next(_numbers)}"
        if rows.file is not None:
            path = self._files.add_files(folder, {f"{folder}/rows.parquet": rows.file})
            return [f"SELECT {_columns(rows.kinds, list(rows.kinds))} FROM read_parquet({text(path)})"]
        fetched = [name for name in rows.kinds if name in used and name not in rows.partition_by]
        if rows.partition_by and fetched:
            return self._partitions(rows, fetched, folder)
        fetched = [name for name in rows.kinds if name in used]
        if not self._source.execute(f"SELECT 1 FROM ({rows.sql}) LIMIT 1").fetchone():
            return []
        path = self._files.add_files(folder, {f"{folder}/rows.parquet": partial(self._fetch, rows, fetched, "", ())})
        return [f"SELECT {_columns(rows.kinds, fetched)} FROM read_parquet({text(path)})"]

    def _partitions(self, rows: Rows, fetched: Sequence[str], folder: str) -> list[str]:
        makers: dict[str, Callable[[], bytes]] = {}
        where = " AND ".join(f"{quote(name)} = ?" for name in rows.partition_by)
        for number, values in enumerate(self._source.execute(rows.partitions).fetchall()):
            told = {name: _told(rows.kinds[name], value) for name, value in zip(rows.partition_by, values, strict=True)}
            path = f"{folder}/{hive(told)}/{number}.parquet"
            makers[path] = partial(self._fetch, rows, fetched, f"WHERE {where}", values)
        if not makers:
            return []
        paths = self._files.add_files(folder, makers)
        types = ", ".join(f"{quote(name)}: {TYPES[rows.kinds[name]]}" for name in rows.partition_by)
        scan = f"read_parquet({text(paths)}, hive_partitioning = true, hive_types = {{{types}}})"
        return [f"SELECT {_columns(rows.kinds, [*fetched, *rows.partition_by])} FROM {scan}"]

    def _fetch(self, rows: Rows, fetched: Sequence[str], where: str, values: Sequence[object]) -> bytes:
        from market_spine.store.sqlite import frames

        names = ", ".join(map(quote, fetched)) or "1"
        cursor = self._source.execute(f"SELECT {names} FROM ({rows.sql}) {where}", values)
        return frames.parquet(cursor, {name: rows.kinds[name] for name in fetched})

    def _segments(self, table: Table, relation: Relation, used: set[str]) -> list[str]:
        """SELECTs of a bulk table's segments: those that have closed rows apart from those that have none."""
        from market_spine.store.sqlite.segments import kept_columns

        closed = visible.closures(self._source, table, self._moment, versions=relation.versions)
        segment = _segment_column(relation)
        groups: dict[tuple[str | None, bool], dict[str, tuple[int, int]]] = defaultdict(dict)
        folders: dict[tuple[str | None, bool], str] = defaultdict(lambda: f"{PROTOCOL}://{next(_numbers)}")
        brought = [name for name in BROUGHT if name in used]
        for each in visible.segments(self._source, table, self._moment, versions=relation.versions):
            values: dict[str, object] = dict(zip(table.partition_by, each.partition_key.split("|"), strict=True))
            if relation.versions:
                values |= {"manifest_id": each.manifest_id, "superseded_by": each.superseded_by or 0}
            else:
                values |= {name: getattr(each, name) for name in brought}
            group = (each.columns, each.segment_id in closed)
            path = f"{folders[group]}/{hive({**values, segment: each.segment_id})}/{each.segment_id}.parquet"
            groups[group][path] = (each.segment_id, each.size)
        return [
            self._scan(
                relation,
                kept_columns(table, group[0]),
                self._files.add_segments(folders[group], found),
                closed if group[1] else {},
                used,
            )
            for group, found in groups.items()
        ]

    def _scan(
        self,
        relation: Relation,
        kept: Mapping[str, bool],
        paths: str,
        closed: Mapping[int, list[tuple[int, int]]],
        used: set[str],
    ) -> str:
        kinds, segment = relation.rows.kinds, _segment_column(relation)
        unread = {name for name in BROUGHT if not relation.versions and name not in used}
        told = {name: kind for name, kind in kinds.items() if name not in kept and name not in unread}
        types = ", ".join(f"{quote(name)}: {TYPES[kind]}" for name, kind in {**told, segment: "integer"}.items())
        options = f"hive_partitioning = true, hive_types = {{{types}}}"
        columns = {name: quote(name) if kept.get(name, True) else f"NULL::{TYPES[kinds[name]]}" for name in kinds}
        columns |= {name: f"{_UNREAD}::{TYPES[kinds[name]]}" for name in unread}
        if relation.versions:
            columns["superseded_by"] = 'NULLIF("superseded_by", 0)'
        if not closed:
            shown = ", ".join(f"{column} AS {quote(name)}" for name, column in columns.items())
            return f"SELECT {shown} FROM read_parquet({text(paths)}, {options})"
        name = self._closed_table(closed)
        matched = f"c.segment_id = {segment} AND c.row_number = file_row_number"
        scan = f"read_parquet({text(paths)}, {options}, file_row_number = true)"
        if not relation.versions:
            shown = ", ".join(f"{column} AS {quote(name)}" for name, column in columns.items())
            return f"SELECT {shown} FROM {scan} WHERE NOT EXISTS (SELECT 1 FROM {name} c WHERE {matched})"
        columns["superseded_by"] = 'COALESCE(c.superseded_by, NULLIF(p."superseded_by", 0))'
        shown = ", ".join(
            f"{column if name == 'superseded_by' else 'p.' + column} AS {quote(name)}"
            if kept.get(name, True)
            else f"{column} AS {quote(name)}"
            for name, column in columns.items()
        )
        return f"SELECT {shown} FROM {scan} p LEFT JOIN {name} c ON {matched}"

    def _closed_table(self, closed: Mapping[int, list[tuple[int, int]]]) -> str:
        """A table in DuckDB of closed rows."""
        name = f"spine_closed_{next(_numbers)}"
        rows = [(segment_id, *each) for segment_id, found in closed.items() for each in found]
        segment_ids, numbers, entries = zip(*rows, strict=True)
        self._engine.make(
            "TABLE",
            name,
            "SELECT unnest($1::BIGINT[]) AS segment_id, unnest($2::BIGINT[]) AS row_number,"
            " unnest($3::BIGINT[]) AS superseded_by",
            [list(segment_ids), list(numbers), list(entries)],
        )
        return name


def _segment_column(relation: Relation) -> str:
    """The name of the column that says which segment a row is of: none of the relation's own."""
    taken = {name.lower() for name in relation.rows.kinds}
    name = "spine_segment"
    while name in taken:
        name += "_"
    return name


def _told(kind: str, value: Value) -> str:
    """A partition's value as its path tells it; SQLite keeps truth values as numbers."""
    return write_value(bool(value) if kind == "boolean" else value)


def _columns(kinds: Mapping[str, str], fetched: Sequence[str]) -> str:
    """All columns of a relation, those that were not fetched as errors."""
    return ", ".join(
        f"{quote(name) if name in fetched else f'{_UNREAD}::{TYPES[kind]}'} AS {quote(name)}"
        for name, kind in kinds.items()
    )
