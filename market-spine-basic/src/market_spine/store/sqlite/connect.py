"""Opening SQLite files, and saying in our words what SQLite complains about."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from market_spine.errors import SchemaError, StoreCorrupt, StoreError, StoreLocked, StoreUnavailable

_UNAVAILABLE = {
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_READONLY: "cannot be written",
    sqlite3.SQLITE_PERM: "cannot be accessed",
    sqlite3.SQLITE_NOTADB: "is not an SQLite database",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full",
    sqlite3.SQLITE_IOERR: "cannot be read or written",
}


def connect_for_writing(path: str, wait_seconds: float, create_parent: bool) -> sqlite3.Connection:
    """Open a database file, creating it if it does not exist, in write-ahead mode."""
    _check_place(path, create_parent)
    with translated(path, wait_seconds):
        connection = sqlite3.connect(path, timeout=wait_seconds, isolation_level=None)
        try:
            # Of a new file only; twice the usual size makes a bulk load an eighth faster.
            connection.execute("PRAGMA page_size = 8192")
            _write_ahead(connection, path)
            # Every commit is on the disk before it is reported; measured to cost nothing against NORMAL.
            connection.execute("PRAGMA synchronous = FULL")
            # 64 MB: a large partition's index pages stay in memory while it is loaded.
            connection.execute("PRAGMA cache_size = -65536")
        except BaseException:
            connection.close()
            raise
        return connection


def _check_place(path: str, create_parent: bool) -> None:
    parent = Path(path).absolute().parent
    if Path(path).is_dir():
        raise StoreUnavailable(f"{path} is a folder, not a database file", hint="give the file's name too")
    if parent.is_dir():
        return
    if not create_parent:
        raise StoreUnavailable(f"the folder {parent} of the database does not exist", hint="create it")
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"the folder {parent} of the database cannot be created ({error.strerror})",
            hint="check the path and its permissions",
        ) from error


def _write_ahead(connection: sqlite3.Connection, path: str) -> None:
    # Switching needs the file alone and, unlike everything else, does not wait for that: when it fails
    # because several processes create the file together, wait for them by taking the lock once.
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
        else:
            if mode != "wal":
                raise StoreUnavailable(f"{path} cannot have a write-ahead log", hint="name a file on a local disk")


def connect_for_reading(path: str, wait_seconds: float, detect_types: int = 0) -> sqlite3.Connection:
    """Open an existing database file so that nothing can be written through the connection.

    ``detect_types`` is what ``sqlite3.connect`` takes.
    """
    if not Path(path).is_file():
        raise StoreUnavailable(
            f"there is no database at {path}" if not Path(path).exists() else f"{path} is not a file",
            hint="give the path with --db or DATABASE_URL, or run a scheduler first",
        )
    with translated(path, wait_seconds):
        connection = sqlite3.connect(
            read_only_uri(path), uri=True, timeout=wait_seconds, isolation_level=None, detect_types=detect_types
        )
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection


def read_only_uri(path: str) -> str:
    """A file's address for SQLite that allows reading only."""
    escaped = str(Path(path).absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{escaped}?mode=ro"


@contextmanager
def translated(path: str, wait_seconds: float) -> Iterator[None]:
    """Turn SQLite's errors into StoreError, naming the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path, wait_seconds) from error


def translate(error: sqlite3.Error, path: str, wait_seconds: float) -> StoreError:
    """The StoreError that says what an error of SQLite means."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreLocked(
            f"{path} was being written by another process for longer than {wait_seconds:g} s",
            hint="run again when that process has finished",
        )
    if code in _UNAVAILABLE:
        return StoreUnavailable(
            f"{path} {_UNAVAILABLE[code]} ({error})", hint="check the path, its permissions and the disk"
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CONSTRAINT):
        return StoreCorrupt(f"{path} is damaged or contradicts itself ({error})", hint="restore a backup")
    if code == sqlite3.SQLITE_ERROR:
        return SchemaError(
            f"{path} does not have the schema that this program expects ({error})",
            hint="run `market-spine db upgrade`",
        )
    return StoreError(f"{path}: {error}")
