"""Opening stores: which adapter, and whether the schema fits the code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from market_spine import settings
from market_spine.core.domain import Domain
from market_spine.core.ports import Clock
from market_spine.errors import SchemaError, StoreUnavailable
from market_spine.store import migrations, moments
from market_spine.store.database import Database
from market_spine.store.location import StoreUrl
from market_spine.store.moments import to_text
from market_spine.store.reader import StoreReader
from market_spine.store.writer import StoreWriter


def writer(
    url: StoreUrl,
    domains: Sequence[Domain],
    clock: Clock | None,
    wait_seconds: float,
    create_parent: bool,
    auto_migrate: bool,
) -> tuple[StoreWriter, list[str]]:
    """A writer over an up-to-date schema, and the names of the migrations that this took."""
    keep = settings.keep_runs()
    db = _for_writing(url, wait_seconds, create_parent)
    try:
        if (seconds := settings.clock_wait()) and migrations.TABLE in db.relations():
            moments.wait_out(db, clock or db.now, seconds)
        applied = migrations.migrate(db, domains, clock or db.now, allowed=auto_migrate)
    except BaseException:
        db.close()
        raise
    opened = StoreWriter(db, domains, clock or db.now)
    opened.keep_runs = keep
    return opened, applied


def upgraded(
    url: StoreUrl,
    domains: Sequence[Domain],
    clock: Clock | None,
    wait_seconds: float,
    create_parent: bool,
    adopt: bool = False,
) -> list[str]:
    """Bring a store up to date; says what was done.

    An SQLite file that has only tables of something else is left as it is, unless told to ``adopt`` it.
    """
    with closing(_for_writing(url, wait_seconds, create_parent, adopt)) as db:
        clock = clock or db.now
        if not db.outgrown(domains):
            return _mended(db, domains, lambda: migrations.migrate(db, domains, clock))
        from market_spine.store.sqlite.converting import convert
        from market_spine.store.sqlite.database import SqliteDatabase

        assert isinstance(db, SqliteDatabase)
        known = migrations.load(db, domains)
        return convert(db, url.path, domains, lambda: migrations.apply(db, known, domains, clock))


def _mended(db: Database, domains: Sequence[Domain], migrate: Callable[[], list[str]]) -> list[str]:
    """Migrate, and make again before and after that what of tables, indexes and views can be; says what was done."""
    if migrations.TABLE not in db.relations():
        return migrate()
    from market_spine.store import objects

    done = _within(db, lambda: objects.mend_tables(db, domains))
    return [*done, *migrate(), *_within(db, lambda: objects.mend_others(db, domains))]


def _within(db: Database, work: Callable[[], list[str]]) -> list[str]:
    db.begin("schema")
    try:
        db.prepare_schema()
        done = work()
        db.commit()
    except BaseException:
        db.rollback()
        raise
    return done


def reader(
    url: StoreUrl,
    domains: Sequence[Domain],
    clock: Clock | None,
    wait_seconds: float,
    missing_ok: bool,
    past: datetime | None = None,
) -> StoreReader:
    """A reader, of what was known at a moment if one is given; over an empty store in memory if there is none
    and ``missing_ok``."""
    if missing_ok and url.kind == "sqlite" and not Path(url.path).exists():
        return _empty(domains, clock)
    db = for_reading(url, wait_seconds)
    try:
        if not db.steadily(lambda: _is_readable(url, db, domains, missing_ok)):
            db.close()
            return _empty(domains, clock)
        if past is not None:
            db.show_past(to_text(past))
    except BaseException:
        db.close()
        raise
    return StoreReader(db, domains, clock or db.now, past)


def _is_readable(url: StoreUrl, db: Database, domains: Sequence[Domain], missing_ok: bool) -> bool:
    """Whether there is a store, where there need not be one; raises SchemaError unless the code fits it."""
    with db.snapshot():
        if migrations.TABLE not in (relations := db.relations()):
            refuse_foreign(url, relations)
            if missing_ok:
                return False
        migrations.check_readable(db, domains)
        return True


def exists(url: StoreUrl, wait_seconds: float) -> bool:
    """Whether there is a store already."""
    if url.kind == "sqlite" and not Path(url.path).exists():
        return False
    with closing(for_reading(url, wait_seconds)) as db:
        return migrations.TABLE in db.relations()


def refuse_foreign(url: StoreUrl, relations: frozenset[str]) -> None:
    """Raise SchemaError for an SQLite file of another program: one with tables, and none of a store's."""
    if url.kind != "sqlite" or migrations.TABLE in relations:
        return
    if tables := sorted(name for name in relations if not name.startswith("sqlite_")):
        shown = ", ".join(tables[:3]) + (", ..." if len(tables) > 3 else "")
        raise SchemaError(
            f"{url.display} is a database of something else, with the tables {shown}",
            hint="name another file; or make a store beside these tables with `market-spine db upgrade --adopt`",
        )


def _for_writing(url: StoreUrl, wait_seconds: float, create_parent: bool, adopt: bool = False) -> Database:
    if url.kind == "postgresql":
        return _postgres(url, wait_seconds, read_only=False)
    from market_spine.store.sqlite.connect import connect_for_writing
    from market_spine.store.sqlite.database import SqliteDatabase

    def look(relations: frozenset[str]) -> None:
        if not adopt:
            refuse_foreign(url, relations)

    return SqliteDatabase(connect_for_writing(url.path, wait_seconds, create_parent, look), url.path, wait_seconds)


def for_reading(url: StoreUrl, wait_seconds: float) -> Database:
    """A connection that cannot write; the schema is not looked at."""
    if url.kind == "postgresql":
        return _postgres(url, wait_seconds, read_only=True)
    from market_spine.store.sqlite.connect import connect_for_reading
    from market_spine.store.sqlite.database import SqliteDatabase

    return SqliteDatabase(connect_for_reading(url.path, wait_seconds), url.path, wait_seconds)


def _postgres(url: StoreUrl, wait_seconds: float, *, read_only: bool) -> Database:
    try:
        from market_spine.store.postgres.database import PostgresDatabase
    except ImportError as error:
        raise StoreUnavailable(
            f"the PostgreSQL driver cannot be loaded ({error})", hint="install it: pip install 'psycopg[binary]'"
        ) from error
    return PostgresDatabase(url, wait_seconds, read_only=read_only)


def _empty(domains: Sequence[Domain], clock: Clock | None) -> StoreReader:
    import sqlite3

    from market_spine.store.sqlite.database import SqliteDatabase

    db = SqliteDatabase(sqlite3.connect(":memory:", isolation_level=None), None, 0.0)
    migrations.migrate(db, domains, clock or db.now)
    return StoreReader(db, domains, clock or db.now)
