"""Waiting for another process's lock on an SQLite file: in slices, so that a signal is heard, and never for nothing.

SQLite's own wait is deaf. So connections wait a fraction of a second, and what meets a lock is tried again from here.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from market_spine import stopping
from market_spine.errors import StoreUnavailable

T = TypeVar("T")

SLICE = stopping.SLICE
"""Seconds that a connection itself waits."""

_gave_up: dict[str, float] = {}
"""File to when a wait for it ran out last: whoever comes soon after need not find that out again."""


def patiently(work: Callable[[], T], path: str | None, wait_seconds: float) -> T:
    """Do what may meet another process's lock, again until the lock is free or the time is over.

    Right after a wait for the file that was in vain, it is tried once.

    Raises:
        sqlite3.OperationalError: SQLITE_BUSY, once the time is over.
        Interrupted: the run is to stop.
        StoreUnavailable: the file system has no locks.
    """
    begun = time.monotonic()
    name = os.path.abspath(path) if path else ""  # noqa: PTH100 - asked for each statement, and six times as fast
    lost = _gave_up.get(name)
    looked = False
    limit = 0.0 if lost is not None and begun - lost < wait_seconds else wait_seconds
    while True:
        try:
            done = work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY):
                raise
            if path is not None and not looked:
                looked = True
                _check_locks(path)
            if time.monotonic() - begun >= limit:
                if limit:
                    _gave_up[name] = time.monotonic()
                raise
            stopping.check()
        else:
            _gave_up.pop(name, None)
            return done


def _check_locks(path: str) -> None:
    """Raise StoreUnavailable if no file beside this one can be locked: SQLite takes that for another process's lock."""
    import fcntl
    import tempfile

    try:
        # A file of our own: closing one that SQLite has open, too, would let go of SQLite's locks.
        with tempfile.TemporaryFile(dir=Path(path).absolute().parent) as probe:
            fcntl.lockf(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
    except OSError as error:
        if error.filename is not None:
            return  # no file can be made there, which says nothing of locks
        reason = os.strerror(error.errno or 0)
    raise without_locks(path, reason)


def without_locks(path: str, reason: str) -> StoreUnavailable:
    """The error that says that a file system has no working locks."""
    return StoreUnavailable(
        f"{path} lies on a file system without working locks ({reason})",
        hint="name a file on a local disk (not a network share), or use PostgreSQL through DATABASE_URL",
    )
