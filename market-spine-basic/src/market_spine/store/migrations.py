"""Bringing a database to the code's schema: numbered SQL files, and the declared views.

Every set of migrations (``platform`` and each domain) is numbered by itself. What was applied stands in
``core_migrations``, append only; a set of views stands there too, under ``views:<set>``, with a new number
whenever its declarations changed.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from market_spine.core.domain import Domain
from market_spine.core.ports import Clock
from market_spine.errors import SchemaError, StoreError
from market_spine.store import moments, views
from market_spine.store.database import DENIED, Database
from market_spine.store.records import insert_into

PLATFORM = "platform"
UPGRADE_HINT = "run `market-spine db upgrade`"
_COLUMNS = "set_name, number, name, applied_at, checksum"
TABLE = "core_migrations"
CREATE = """\
CREATE TABLE core_migrations (
    set_name   TEXT NOT NULL,
    number     BIGINT NOT NULL,
    name       TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL,
    checksum   TEXT NOT NULL,
    PRIMARY KEY (set_name, number)
)
"""


class Migration(NamedTuple):
    """One numbered SQL file of a set."""

    set_name: str
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Digest of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.set_name}/{self.number:04d}_{self.name}"


class Status(NamedTuple):
    """How the database stands to the code.

    Attributes:
        applied: (set name, number) to (name, checksum).
        pending: migrations that the code has and the database has not, in the order to apply them.
        stale: sets of views whose declarations differ from what the database holds.
    """

    applied: dict[tuple[str, int], tuple[str, str]]
    pending: list[Migration]
    stale: dict[str, list[tuple[str, str]]]


def load(db: Database, domains: Sequence[Domain]) -> list[Migration]:
    """Read the migrations of the platform, of this kind of database and of the domains, in the order to apply them."""
    packages = {PLATFORM: "market_spine.store.sql", **db.migrations}
    packages.update((domain.name, domain.migrations) for domain in domains if domain.migrations)
    return [migration for set_name, package in packages.items() for migration in _load_set(set_name, package)]


@cache
def _load_set(set_name: str, package: str) -> tuple[Migration, ...]:
    # Once for a process, which opens a store several times.
    # The folder beside what is imported anyway and not importlib.resources, which costs 25 ms on every run to import.
    found = []
    parent, _, name = package.rpartition(".")
    folders = [Path(each, name) for each in importlib.import_module(parent).__path__] if parent else []
    folders = [each for each in folders if each.is_dir()]
    for folder in folders or map(Path, importlib.import_module(package).__path__):
        for file in folder.iterdir():
            number, _, title = file.stem.partition("_")
            if file.suffix == ".sql" and number.isdecimal():
                found.append(Migration(set_name, int(number), title, file.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.number)
    numbers = [migration.number for migration in found]
    if len(set(numbers)) != len(numbers):
        raise SchemaError(f"two migrations in {package} have the same number")
    return tuple(found)


def compare(db: Database, migrations: Sequence[Migration], domains: Sequence[Domain]) -> Status:
    """Compare the database with the code; raises SchemaError if it is newer or was built otherwise."""
    relations = db.relations()
    applied: dict[tuple[str, int], tuple[str, str]] = {}
    if TABLE in relations:
        rows = db.rows("SELECT set_name, number, name, checksum FROM core_migrations ORDER BY set_name, number")
        applied = {(set_name, number): (name, digest) for set_name, number, name, digest in rows}
    known = {(migration.set_name, migration.number): migration for migration in migrations}
    sets = {PLATFORM, *db.migrations, *(domain.name for domain in domains)}
    for (set_name, number), (name, digest) in applied.items():
        if set_name in sets:
            _check_applied(set_name, number, name, digest, known.get((set_name, number)))
    latest = {set_name: digest for (set_name, _), (_, digest) in applied.items()}
    stale = {
        set_name: declared
        for set_name, declared in views.declared_views(db, domains, relations).items()
        if latest.get(set_name) != views.checksum(declared)
    }
    pending = [migration for each, migration in known.items() if each not in applied]
    return Status(applied, pending, stale)


def _check_applied(set_name: str, number: int, name: str, digest: str, migration: Migration | None) -> None:
    if migration is None:
        raise SchemaError(
            f"the database is newer than this program: {set_name} has migration {number:04d}_{name}",
            hint="update the program, or use another database",
        )
    if migration.checksum != digest:
        raise SchemaError(
            f"migration {migration} differs from the one this database was built with",
            hint="applied migrations are never edited: use the released program, or a new database",
        )


def check_readable(db: Database, domains: Sequence[Domain]) -> None:
    """Raise SchemaError unless the code can read the database as it is.

    A domain of which the database has nothing yet may be missing; one that it has must be up to date.
    """
    status = compare(db, load(db, domains), domains)
    present = {PLATFORM, *db.migrations, *(set_name for set_name, _ in status.applied)}
    missing = [str(migration) for migration in status.pending if migration.set_name in present]
    if missing:
        raise SchemaError(f"the database's schema is older than this program: {', '.join(missing)}", hint=UPGRADE_HINT)


def migrate(db: Database, domains: Sequence[Domain], clock: Clock, *, allowed: bool = True) -> list[str]:
    """Apply what is pending, in one transaction; returns the names of the migrations applied.

    Several processes may call it at the same time: the first applies, the others wait and find it done.
    Views whose declarations changed are recreated.

    Raises:
        SchemaError: the database is newer than the code, or something is pending and ``allowed`` is False.
    """
    migrations = load(db, domains)
    with db.snapshot():
        status = compare(db, migrations, domains)
    if not status.pending and not status.stale:
        return []
    if not allowed:
        missing = ", ".join([*map(str, status.pending), *status.stale])
        raise SchemaError(f"the database's schema is older than this program: {missing}", hint=UPGRADE_HINT)
    if db.outgrown(domains):
        raise SchemaError(
            "the database was made by an older program, which kept bulk tables as rows",
            hint=f"{UPGRADE_HINT}: it converts them, and keeps the database as it was under another name",
        )
    db.begin("schema")
    try:
        done = apply(db, migrations, domains, clock)
    except StoreError as error:
        db.rollback()
        if error.kind != DENIED:
            raise
        missing = ", ".join([*map(str, status.pending), *status.stale])
        raise SchemaError(
            f"the database's schema is older than this program, {missing}, and this role may not change it:"
            f" {error.message}",
            hint="run `market-spine db upgrade` as a role that may create tables and views",
        ) from error
    except BaseException:
        db.rollback()
        raise
    db.commit()
    return done


def apply(db: Database, migrations: Sequence[Migration], domains: Sequence[Domain], clock: Clock) -> list[str]:
    """Apply what is pending inside the transaction that is open; see ``migrate``."""
    status = compare(db, migrations, domains)
    if not status.pending and not status.stale:
        return []
    db.prepare_schema()
    if TABLE not in db.relations():
        db.script(CREATE)
    # All of them go and come back: a database may refuse to change what a view stands on.
    db.drop_views(_views_there(status, domains))
    for migration in status.pending:
        try:
            db.script(migration.sql)
        except SchemaError as error:
            raise SchemaError(
                f"migration {migration} cannot be applied: {error.message}",
                hint="nothing was changed; use a database that only Market Spine creates tables in",
            ) from error
    stale = compare(db, migrations, domains).stale
    applied_at = moments.to_text(moments.next_moment(db, clock))
    rows = [(each.set_name, each.number, each.name, applied_at, each.checksum) for each in status.pending]
    views.create(db, domains, views.declared_views(db, domains, db.relations()))
    for set_name, declared in stale.items():
        number = max((number for name, number in status.applied if name == set_name), default=0)
        names = " ".join(name for name, _ in declared)
        rows.append((set_name, number + 1, names, applied_at, views.checksum(declared)))
    db.run_many(insert_into("core_migrations", _COLUMNS), rows)
    return [str(migration) for migration in status.pending]


def _views_there(status: Status, domains: Sequence[Domain]) -> list[str]:
    """Names of the views that the database holds of the platform and these domains."""
    latest = {set_name: names for (set_name, _), (names, _) in status.applied.items()}
    sets = (PLATFORM, *(domain.name for domain in domains))
    return [name for each in sets for name in latest.get(f"views:{each}", "").split()]
