"""Opening SQLite files, and saying in our words what SQLite complains about."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from market_spine.errors import SchemaError, StoreCorrupt, StoreError, StoreLocked, StoreUnavailable
from market_spine.store import room
from market_spine.store.sqlite import sharing
from market_spine.store.sqlite.sharing import Bare, Hold
from market_spine.store.sqlite.waiting import SLICE, patiently, without_locks

T = TypeVar("T")

_RELATIONS = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"

ATTEMPTS = 10
"""How often a file is read that changes under its reader."""

_UNAVAILABLE = {
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_READONLY: "cannot be written",
    sqlite3.SQLITE_PERM: "cannot be accessed",
    sqlite3.SQLITE_NOTADB: "is not an SQLite database",
    sqlite3.SQLITE_IOERR: "cannot be read or written",
}

_LOCKLESS = (
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_RDLOCK,
    sqlite3.SQLITE_IOERR_UNLOCK,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
    sqlite3.SQLITE_IOERR_SHMLOCK,
    sqlite3.SQLITE_IOERR_SHMMAP,
)
"""What a file system says that cannot lock a file, or cannot share its pages between processes."""


class Connection(sqlite3.Connection):
    """A connection that takes care of other users of its file.

    Attributes:
        address: the file as SQLite takes it, for a further connection beside this one.
        hold: the lock that keeps side files in place, where this user is not the owner.
        bare: what is read without side files.
    """

    address: str
    hold: Hold | None = None
    bare: Bare | None = None

    def close(self) -> None:
        """Close it, and let writers remove their side files."""
        super().close()
        bare, hold, self.bare, self.hold = self.bare, self.hold, None, None
        if bare is not None:
            bare.leave()
        if hold is not None:
            hold.leave()


def connect_for_writing(
    path: str, wait_seconds: float, create_parent: bool, look: Callable[[frozenset[str]], None] = lambda _names: None
) -> Connection:
    """Open a database file, creating it if it does not exist, in write-ahead mode.

    Before anything is changed ``look`` is shown the names of its tables and views, and may raise.
    """
    _check_place(path, create_parent)
    real = Path(os.path.realpath(path))
    sharing.create(real)
    # Before SQLite opens it: that would fall back to reading, and leave side files.
    if real.exists() and not os.access(real, os.W_OK):
        raise StoreUnavailable(f"{path} cannot be written", hint="check its permissions, or read it only")
    sharing.reclaim(real, wait_seconds)
    with translated(path, wait_seconds):
        connection = _open(real, "rw", wait_seconds)
        try:
            look(frozenset(name for (name,) in connection.execute(_RELATIONS)))
            if connection.hold is not None:
                with sharing.opening:
                    sharing.make_side_files(real)
            # Of a new file only; twice the usual size makes a bulk load an eighth faster.
            connection.execute("PRAGMA page_size = 8192")
            patiently(lambda: _write_ahead(connection, path), path, wait_seconds)
            # Every commit is on the disk before it is reported; measured to cost nothing against NORMAL.
            connection.execute("PRAGMA synchronous = FULL")
            # 64 MB: a large partition's index pages stay in memory while it is loaded.
            connection.execute("PRAGMA cache_size = -65536")
        except BaseException:
            connection.close()
            raise
        return connection


def _check_place(path: str, create_parent: bool) -> None:
    if path == ":memory:":
        raise StoreUnavailable(f"{path} cannot have a write-ahead log", hint="name a file on a local disk")
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


def connect_for_reading(path: str, wait_seconds: float) -> Connection:
    """Open an existing database file so that nothing can be written through the connection.

    What is read through one that is ``bare`` counts only if nobody has changed the file: see ``untorn``.
    Any thread may use it, one at a time.
    """
    _check_readable(path)
    with translated(path, wait_seconds):
        connection = _open(Path(os.path.realpath(path)), "ro", wait_seconds)
        try:
            connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
        return connection


def _check_readable(path: str) -> None:
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        problem = f"there is no database at {path}"
    except OSError as error:
        raise StoreUnavailable(
            f"{path} cannot be read ({error.strerror})", hint="check the permissions of the file and its folders"
        ) from error
    else:
        if stat.S_ISREG(mode) and os.access(path, os.R_OK):
            return
        problem = f"{path} cannot be read by this user" if stat.S_ISREG(mode) else f"{path} is not a file"
    raise StoreUnavailable(problem, hint="give the path with --db or DATABASE_URL, or run a scheduler first")


def _open(real: Path, mode: str, wait_seconds: float) -> Connection:
    if not sharing.is_others(real):
        return _connect(real, mode, wait_seconds)
    with sharing.opening:
        try:
            hold = Hold.take(real, wait_seconds)
        except OSError:
            return _connect(real, mode, wait_seconds)  # it cannot be read: SQLite says so
        bare = None
        try:
            if hold.has_log and not sharing.make_side_files(real) and mode == "ro":
                bare = _bare(real, hold)
            connection = _connect(real, "ro&immutable=1" if bare else mode, wait_seconds)
        except BaseException:
            hold.unlock()
            hold.leave()
            raise
        connection.hold, connection.bare = hold, bare
        if bare is None:
            # By now SQLite has a lock of its own that keeps the side files in place.
            hold.unlock()
        return connection


def _bare(real: Path, hold: Hold) -> Bare:
    bare = Bare(real, hold)
    if sharing.log_size(real):
        raise StoreUnavailable(
            f"{real} has commits in {real}-wal, which this user can only read where {real}-shm can be made and read",
            hint="let the owner open the database once, or give this user the rights of the database's group",
        )
    return bare


def _connect(real: Path, mode: str, wait_seconds: float) -> Connection:
    escaped = str(real).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    address = f"file:{escaped}?mode={mode}"
    connection = sqlite3.connect(
        address,
        uri=True,
        timeout=min(SLICE, wait_seconds),
        isolation_level=None,
        check_same_thread=mode == "rw",
        factory=Connection,
    )
    try:
        connection.address = address
        # Where the database's folder is all that can be written, SQLite has nowhere else to put them.
        connection.execute("PRAGMA temp_store = MEMORY")
        look = partial(connection.execute, "SELECT 1 FROM sqlite_master LIMIT 1")
        patiently(lambda: look().fetchall(), str(real), wait_seconds)
    except BaseException:
        connection.close()
        raise
    return connection


def steadily(path: str, wait_seconds: float, work: Callable[[Connection], T]) -> T:
    """Open a database file for reading and read from it; again if that met two states of a file.

    Raises:
        StoreLocked: the file changed each time.
    """
    for _ in range(ATTEMPTS):
        with closing(connect_for_reading(path, wait_seconds)) as connection:
            if found := untorn(connection, partial(work, connection)):
                return found[0]
    raise never_steady(path)


def untorn(connection: Connection, work: Callable[[], T]) -> tuple[T] | None:
    """What is read from a connection; None if it may stem from two states of the file, errors included."""
    try:
        result = work()
    except Exception:
        if connection.bare is not None and connection.bare.torn():
            return None
        raise
    return None if connection.bare is not None and connection.bare.torn() else (result,)


def never_steady(path: str) -> StoreLocked:
    """The error for a file that changed however often it was read."""
    return StoreLocked(
        f"{path} was changed while it was read",
        hint="run again, or give this user the rights of the database's group",
    )


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
    if getattr(error, "sqlite_errorcode", 0) in _LOCKLESS:
        return without_locks(path, str(error))
    if code == sqlite3.SQLITE_FULL:
        return room.full(path, str(error))
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
