"""A new store that comes into being whole, and a consistent copy of one."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from market_spine.core.domain import Domain
from market_spine.core.ports import Clock
from market_spine.errors import StoreUnavailable, UsageError
from market_spine.store import WAIT_SECONDS, opening, room
from market_spine.store.location import StoreUrl
from market_spine.store.sqlite import sharing
from market_spine.store.sqlite.connect import steadily, translated
from market_spine.store.writer import StoreWriter

logger = logging.getLogger(__name__)

_SIDE_FILES = ("", "-wal", "-shm", "-journal")
_ABANDONED = re.compile(r".+\.[0-9a-f]{8}\.partial")
_SQLITE = b"SQLite format 3\0"


@contextmanager
def new_store(
    url: StoreUrl, domains: Sequence[Domain], clock: Clock, *, like: StoreUrl | None = None
) -> Iterator[StoreWriter]:
    """Open an empty store to be filled.

    An SQLite file gets its name only when the block ends without an error; until then, and if the process
    dies, nothing is there but ``<name>.<digits>.partial``. Elsewhere the database must be empty, and a failed
    block leaves it half filled, to be dropped. What the file of the store that it is ``like`` denies to everybody,
    the new file does too.

    Raises:
        UsageError: there is something already.
        StoreError: as ``open_writer`` raises it.
    """
    if url.kind != "sqlite":
        with _opened(url, domains, clock) as store:
            if store.log():
                raise UsageError(f"{url.display} already holds data", hint="name an empty database")
            yield store
            store.reserve_ids()
        return
    copied = like.path if like is not None and like.kind == "sqlite" else None
    with unfinished(url.path, copied) as partial, _opened(StoreUrl("sqlite", str(partial)), domains, clock) as store:
        yield store


def _opened(url: StoreUrl, domains: Sequence[Domain], clock: Clock) -> StoreWriter:
    store, _ = opening.writer(url, domains, clock, WAIT_SECONDS, False, True)
    # What the log still has was to be kept.
    store.keep_runs = None
    return store


def backup(url: StoreUrl, path: str) -> int:
    """Copy an SQLite store as it stands at one moment, while others read and write; returns the copy's bytes.

    Raises:
        UsageError: the store is not an SQLite file, or there is something at ``path`` already.
        StoreError: the store cannot be read, the copy cannot be written, or the copy is damaged.
    """
    if url.kind != "sqlite":
        raise UsageError(
            "db backup copies SQLite files; this is a PostgreSQL database",
            hint='use its own tool: pg_dump --format=custom --file=FILE "$DATABASE_URL"',
        )
    with unfinished(path, like=url.path) as partial:
        if Path(url.path).exists():
            room.require(partial, Path(url.path).stat().st_size // 2)

        def copy(source: sqlite3.Connection) -> str:
            with translated(str(partial), WAIT_SECONDS), closing(sqlite3.connect(partial)) as target:
                target.execute("PRAGMA temp_store = MEMORY")
                # One step: a reader's snapshot of the write-ahead log, which neither waits for writers nor stops them.
                source.backup(target)
                target.execute("PRAGMA journal_mode = DELETE")
                (verdict,) = target.execute("PRAGMA quick_check(1)").fetchone()
                return str(verdict)

        if (verdict := steadily(url.path, WAIT_SECONDS, copy)) != "ok":
            raise StoreUnavailable(f"{url.display} is damaged: {verdict}", hint="market-spine rebuild makes a new one")
    return Path(path).stat().st_size


@contextmanager
def unfinished(path: str, like: str | None = None) -> Iterator[Path]:
    """A name of its own under which a file is made; it gets the final one when the block ends without an error.

    Files that processes have left unfinished in the same folder, because they were killed, are removed first.
    """
    final = Path(path)
    _refuse_existing(final)
    if not final.absolute().parent.is_dir():
        raise StoreUnavailable(f"the folder {final.absolute().parent} does not exist", hint="create it")
    _remove_abandoned(final.absolute().parent)
    with room.missed(path):
        partial, lock = _begun(final, None if like is None else Path(like))
    try:
        yield partial
        # SQLite tells nobody when closing could not move everything out of the log.
        if partial.with_name(f"{partial.name}-wal").exists():
            raise StoreUnavailable(f"{path} could not be completed", hint="look for room on the disk")
        _refuse_existing(final)
        with room.missed(path):
            partial.rename(final)
    except BaseException:
        _remove(partial)
        raise
    finally:
        os.close(lock)


def _begun(final: Path, like: Path | None) -> tuple[Path, int]:
    """A new file, and the lock on it that says that somebody is at work on it for as long as it is open."""
    while True:
        partial = final.with_name(f"{final.name}.{uuid.uuid4().hex[:8]}.partial")
        sharing.create(partial, like)
        try:
            lock = os.open(partial, os.O_RDONLY)
        except FileNotFoundError as error:
            if os.access(partial.parent, os.W_OK):
                continue  # somebody tidied up before it was locked
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error
        with suppress(OSError):  # a file system without locks: then nobody removes it either
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if partial.exists():
            return partial, lock
        os.close(lock)  # somebody tidied up before it was locked


def _remove_abandoned(folder: Path) -> None:
    """Remove unfinished files on which nobody is at work any more."""
    for path in folder.glob("*.partial"):
        if not _ABANDONED.fullmatch(path.name):
            continue
        with suppress(OSError):
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.read(lock, len(_SQLITE)) in (b"", _SQLITE):
                    _remove(path)
                    logger.warning("%s, which a process that was killed had left, is removed", path)
            finally:
                os.close(lock)


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise UsageError(f"{path} exists already", hint="name a file that does not, or move that one away")


def _remove(path: Path) -> None:
    # The file itself last: while it is there, another process can finish this.
    for suffix in reversed(_SIDE_FILES):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
