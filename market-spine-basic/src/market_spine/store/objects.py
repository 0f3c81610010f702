"""Whether tables, columns, indexes and views are as they are declared, and making again what can be made again.

What is declared is learnt from the migrations themselves: they are applied to an empty database in memory, and what
that has is what the store should have.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from market_spine.core.domain import Domain
from market_spine.errors import SchemaError, StoreCorrupt
from market_spine.store import migrations, views
from market_spine.store.problems import REBUILD, RESTORE, UPGRADE, Problem
from market_spine.store.views import quote

if TYPE_CHECKING:
    from market_spine.store.database import Database

_ALIASES = {
    "timestamptz": "timestamp with time zone",
    "int": "integer",
    "int4": "integer",
    "int8": "bigint",
    "float8": "double precision",
    "bool": "boolean",
}
_OBSERVED = frozenset(
    (
        migrations.TABLE,
        "core_manifest",
        "core_capture_parts",
        "core_payloads",
        "core_run_starts",
        "core_run_ends",
        "core_anomaly_events",
        "core_decisions",
        "core_notifications",
    )
)
"""Tables whose rows nothing can make again: they were observed, told or decided."""


class KeptColumn(NamedTuple):
    """A column as the database has it."""

    kind: str
    required: bool
    key: int
    """Its place in the primary key, 0 if it is not part of it."""


class Index(NamedTuple):
    """An index beside the primary key's: its columns as the database spells them, in order."""

    table: str
    columns: tuple[str, ...]
    unique: bool


class Objects(NamedTuple):
    """What a schema holds.

    Attributes:
        tables: name to columns.
        indexes: name to index.
        views: name to its text.
        triggers: name to the table whose rows it acts upon; rules of PostgreSQL among them.
    """

    tables: Mapping[str, Mapping[str, KeptColumn]]
    indexes: Mapping[str, Index]
    views: Mapping[str, str]
    triggers: Mapping[str, str]


def kind(declared: str) -> str:
    """A column's declared type, in one spelling."""
    name = " ".join(declared.lower().split())
    return _ALIASES.get(name, name)


class Declared(NamedTuple):
    """What a store should hold, and the statements that make it.

    Attributes:
        objects: the tables and indexes.
        views: name to SELECT, in an order in which they can be made.
        statements: table or index to what makes it.
    """

    objects: Objects
    views: Mapping[str, str]
    statements: Mapping[str, str]


def declared(db: Database, domains: Sequence[Domain]) -> Declared:
    """What the migrations that a store has had make, and the declared views over it."""
    from market_spine.store.sqlite.database import SqliteDatabase

    applied = migrations.compare(db, migrations.load(db, domains), domains).applied
    present = {migrations.PLATFORM, *db.migrations, *(name.removeprefix("views:") for name, _ in applied)}
    there = [domain for domain in domains if domain.name in present]
    model = SqliteDatabase(sqlite3.connect(":memory:", isolation_level=None), None, 0.0)
    try:
        model.columnar, model.migrations, model.sessions = db.columnar, db.migrations, db.sessions
        model.script(migrations.CREATE)
        for migration in migrations.load(model, there):
            if (migration.set_name, migration.number) in applied:
                model.script(migration.sql)
        sets = views.declared_views(model, there, model.relations())
        rows = model.rows("SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL")
        shown = {name: body for each in sets.values() for name, body in each}
        return Declared(model.objects(), shown, dict(rows))
    finally:
        model.close()


def tables(db: Database, domains: Sequence[Domain]) -> str | list[Problem]:
    """Compare tables and columns with their declarations."""
    wanted, found = declared(db, domains), db.objects()
    problems = [_missing(name) for name in wanted.objects.tables if name not in found.tables]
    for name in wanted.objects.tables.keys() & found.tables.keys():
        problems += _columns(name, wanted.objects.tables[name], found.tables[name])
    if problems:
        return sorted(problems)
    return f"{len(wanted.objects.tables)} tables with the columns declared"


def _missing(table: str) -> Problem:
    if table in _OBSERVED:
        return Problem(f"table {table} is missing", RESTORE)
    return Problem(f"table {table} is missing", f"{UPGRADE}, which makes it anew, empty; then {REBUILD}")


def _columns(table: str, wanted: Mapping[str, KeptColumn], found: Mapping[str, KeptColumn]) -> list[Problem]:
    wrong = []
    for name, column in wanted.items():
        if name not in found:
            wrong.append(f"{name} is missing")
        elif found[name] != column:
            wrong.append(f"{name} is {_spelt(found[name])} and should be {_spelt(column)}")
    # A column of somebody else's is harmless as long as rows can be added without it.
    wrong += [f"{name} is not declared" for name, column in found.items() if name not in wanted and column.required]
    hint = RESTORE if table in _OBSERVED else REBUILD
    return [Problem(f"table {table}: column {what}", hint) for what in wrong]


def _spelt(column: KeptColumn) -> str:
    return column.kind + (" NOT NULL" if column.required else "") + (f", key {column.key}" if column.key else "")


def indexes(db: Database, domains: Sequence[Domain]) -> str | list[Problem]:
    """Compare indexes with their declarations, and look for what acts upon rows unasked."""
    wanted, found = declared(db, domains).objects, db.objects()
    wrong = {name: "is missing" for name in wanted.indexes if name not in found.indexes}
    wrong |= dict.fromkeys(_replaced(wanted, found), "is not as declared")
    problems = [
        Problem(f"index {name} of {wanted.indexes[name].table} {what}", UPGRADE) for name, what in wrong.items()
    ]
    problems += [
        Problem(
            f"trigger {name} acts upon the rows of {table}, and is not declared", f"DROP TRIGGER it, then {REBUILD}"
        )
        for name, table in found.triggers.items()
        if table in wanted.tables
    ]
    return problems or f"{len(wanted.indexes)} indexes as declared"


def _replaced(wanted: Objects, found: Objects) -> list[str]:
    both = wanted.indexes.keys() & found.indexes.keys()
    return sorted(name for name in both if wanted.indexes[name] != found.indexes[name])


def shown(db: Database, domains: Sequence[Domain]) -> str | list[Problem]:
    """Compare the views with their declarations."""
    wanted, found = declared(db, domains).views, db.objects().views
    wrong = {name: "missing" for name in wanted if name not in found}
    there = {name: body for name, body in wanted.items() if name in found}
    replaced = db.replaced_views(there)
    wrong |= dict.fromkeys(replaced or (), "not as declared")
    if problems := [Problem(f"view {name} is {what}", UPGRADE) for name, what in wrong.items()]:
        return problems
    status = migrations.compare(db, migrations.load(db, domains), domains)
    present = {name.removeprefix("views:") for name, _ in status.applied}
    stale = [name for name in status.stale if name.removeprefix("views:") in present]
    if stale:
        return [Problem(f"{name} are not as the installed program declares them", UPGRADE) for name in stale]
    told = "" if replaced is not None else "; not compared: this role may not make temporary views here"
    return f"{len(wanted)} views as declared{told}"


def mend_tables(db: Database, domains: Sequence[Domain]) -> list[str]:
    """Make tables again that are missing, empty, inside a writing transaction; returns what was done.

    Raises:
        StoreCorrupt: one is missing whose rows nothing can make again.
    """
    wanted = declared(db, domains)
    missing = [name for name in wanted.objects.tables if name not in db.relations()]
    if lost := sorted(_OBSERVED.intersection(missing)):
        raise StoreCorrupt(f"table {lost[0]} is missing, and nothing can make its rows again", hint=RESTORE)
    for name in missing:
        db.script(wanted.statements[name])
    return [f"table {name} made again, empty: market-spine rebuild --into NEW fills it" for name in missing]


def mend_others(db: Database, domains: Sequence[Domain]) -> list[str]:
    """Make indexes and views again that are missing or replaced, inside a writing transaction; says what was done."""
    wanted, found = declared(db, domains), db.objects()
    there = {name: body for name, body in wanted.views.items() if name in found.views}
    # Before anything is changed, for views may be compared over a connection of their own, which would wait for us.
    views_wrong = {*wanted.views.keys() - found.views.keys(), *(db.replaced_views(there) or ())}
    replaced = _replaced(wanted.objects, found)
    wrong = [name for name in wanted.objects.indexes if name not in found.indexes or name in replaced]
    for name in wrong:
        db.run(f"DROP INDEX IF EXISTS {quote(name)}")
        db.script(wanted.statements[name])
    done = [f"index {name} made again" for name in wrong]
    if views_wrong:
        if other := sorted(views_wrong.intersection(found.tables)):
            raise SchemaError(
                f"{other[0]} is a table where the view of that name should be", hint="move it away, and run again"
            )
        # All of them go and come back: others may stand on one that is replaced.
        db.drop_views(list(there))
        views.create(db, domains, {"": list(wanted.views.items())})
        done += [f"view {name} made again" for name in sorted(views_wrong)]
    return done
