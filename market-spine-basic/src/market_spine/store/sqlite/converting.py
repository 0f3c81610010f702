"""An older store, whose bulk tables are rows, into one that keeps them in columns: in one transaction, verified.

The old file is copied first, and the copy stays. The store itself changes when the transaction commits, and only
then: if that never happens it is as it was.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import polars as pl

from market_spine.core.domain import Domain
from market_spine.core.kinds import frame_types
from market_spine.core.partition import Scope
from market_spine.core.schema import Table
from market_spine.errors import StoreCorrupt
from market_spine.store import room
from market_spine.store.database import ROW_ID
from market_spine.store.fresh import unfinished
from market_spine.store.records import insert_into
from market_spine.store.sqlite import frames, segments
from market_spine.store.sqlite.addresses import row_address
from market_spine.store.sqlite.connect import connect_for_reading, translated
from market_spine.store.sqlite.database import SqliteDatabase
from market_spine.store.views import quote, scope_condition

_VERSIONING = {"manifest_id": "integer", "superseded_by": "integer"}


def convert(db: SqliteDatabase, path: str, domains: Sequence[Domain], migrate: Callable[[], list[str]]) -> list[str]:
    """Convert a store while nobody else writes to it; returns what was applied, and where the old one is.

    Args:
        db: a writing connection to it, outside a transaction.
        path: the file.
        domains: whose bulk tables to convert.
        migrate: brings the schema up to date, inside a transaction.

    Raises:
        StoreError: it could not be converted, and is as it was.
    """
    copy = _free_name(path)
    # A copy, and the tables anew beside the old ones until the transaction ends.
    room.require(path, Path(path).stat().st_size)
    db.begin()
    try:
        with unfinished(str(copy), like=path) as partial:
            _copy(path, partial, db.wait_seconds)
        applied = migrate()
        with closing(connect_for_reading(str(copy), db.wait_seconds)) as old:
            for table in (table for domain in domains for table in domain.tables if table.bulk):
                if table.versions in db.relations():
                    _convert(db, old, table)
        db.commit()
    except BaseException:
        db.rollback()
        copy.unlink(missing_ok=True)
        raise
    # A reader that still looks at the store as it was lets this be done another time.
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return [*applied, f"bulk tables in columns; the database as it was is kept as {copy}"]


def _free_name(path: str) -> Path:
    names = (Path(f"{path}.before-upgrade{number or ''}") for number in range(1_000))
    return next(name for name in names if not name.exists())


def _copy(path: str, copy: Path, wait_seconds: float) -> None:
    with translated(str(copy), wait_seconds):
        with closing(connect_for_reading(path, wait_seconds)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
            (verdict,) = target.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StoreCorrupt(f"{path} is damaged: {verdict}", hint="restore a backup, then upgrade that")


def _convert(db: SqliteDatabase, old: sqlite3.Connection, table: Table) -> None:
    for scope in _scopes(old, table):
        where, params = scope_condition(scope)
        rows = _kept_as_rows(old, table, scope)
        db.run(f"DELETE FROM {quote(table.versions)} WHERE {where}", params)
        for entry in rows["manifest_id"].unique().sort():
            # Ids grow along the commits of a partition.
            before = rows.filter(pl.col("manifest_id") < entry, pl.col("superseded_by").fill_null(entry) >= entry)
            _add(db, table, scope, rows.filter(pl.col("manifest_id") == entry), before.height)
        order = [*table.key, "manifest_id"]
        if not rows.sort(order).equals(versions(db, table, scope).sort(order)):
            raise StoreCorrupt(
                f"{table.name} did not come out as it was for {', '.join(map(str, scope.equals.values()))}",
                hint="keep the database as it is, and the program that made it; this is a defect in Market Spine",
            )


def _scopes(old: sqlite3.Connection, table: Table) -> Iterator[Scope]:
    names = ", ".join(map(quote, table.partition_by))
    found = old.execute(f"SELECT DISTINCT {names} FROM {quote(table.versions)} ORDER BY {names}").fetchall()
    for values in found:
        yield Scope(dict(zip(table.partition_by, values, strict=True)))


def _kept_as_rows(connection: sqlite3.Connection, table: Table, scope: Scope) -> pl.DataFrame:
    """Every version of every row of a partition, in the order in which they were written."""
    where, params = scope_condition(scope)
    kinds = {**{column.name: column.kind for column in table.columns}, **_VERSIONING}
    names = ", ".join(map(quote, kinds))
    sql = f"SELECT {names} FROM {quote(table.versions)} WHERE {where} ORDER BY {row_address(table)}"
    return frames.fetch(connection.execute(sql, params), kinds)


def _add(db: SqliteDatabase, table: Table, scope: Scope, brought: pl.DataFrame, before: int) -> None:
    """Write what one entry brought as the store would have, and close what was closed since."""
    (entry,) = brought["manifest_id"].unique()
    rows = brought.select(table.names)
    packed = segments.pack(table, rows, before)
    if packed is None:
        names = ", ".join(map(quote, brought.columns))
        db.run_many(insert_into(quote(table.versions), names), zip(*frames.encode(brought), strict=True))
        return
    first = segments.insert(db, table, scope, packed, entry)
    closed = brought.with_row_index(ROW_ID, offset=0).filter(pl.col("superseded_by").is_not_null())
    for (closing_entry,), group in sorted(closed.group_by("superseded_by"), key=lambda each: each[0]):
        segments.close(db, [first + number for number in group[ROW_ID]], closing_entry)


def versions(db: SqliteDatabase, table: Table, scope: Scope) -> pl.DataFrame:
    """Every version of every row of a partition, from segments and rows."""
    found = segments.versions(db, table, scope) if table.bulk else ()
    order = [*table.names, *_VERSIONING]
    schema = {**frame_types(table), "manifest_id": pl.Int64(), "superseded_by": pl.Int64()}
    beside = _kept_as_rows(db.connection, table, scope)
    return pl.concat([pl.DataFrame(schema=schema), *(each.select(order) for each in found), beside])
