"""DuckDB in memory, which is dear to make: one statement after another has the same.

An engine is given to one statement at a time. What was made in it for a statement is dropped after it; an engine in
which anything went wrong, or of which an answer was not read to its end, is closed instead.
"""

from __future__ import annotations

import atexit
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import duckdb

from market_spine.errors import UsageError
from market_spine.store.sqlite.files import PROTOCOL, StoreFiles
from market_spine.store.views import quote

_SETTINGS = (
    f"allowed_directories = ['{PROTOCOL}://']",
    "enable_external_access = false",
    "enable_external_file_cache = false",
    "TimeZone = 'UTC'",
    # As PostgreSQL does it, so that a declared view means the same in both stores.
    "integer_division = true",
    "default_null_order = 'NULLS_LAST_ON_ASC_FIRST_ON_DESC'",
)


class Kind(NamedTuple):
    """What engines differ in.

    Attributes:
        memory: most that it takes, as DuckDB spells it.
        spill: a folder for what memory does not hold; empty: nothing goes to the disk.
        alone: it works in one thread.
        plans: it looks ahead, and runs nothing.
    """

    memory: str
    spill: str = ""
    alone: bool = True
    plans: bool = False


class Engine:
    """DuckDB with nothing but the files that ``files`` shows it.

    Attributes:
        duck: the connection.
        files: what it can read.
        locked: its settings can no longer be changed, for good.
        spoilt: it was stopped.
        busy: how much that began in it did not end well so far.
    """

    def __init__(self, kind: Kind) -> None:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": kind.memory,
            "temp_directory": kind.spill,
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        if kind.alone:
            config["threads"] = 1
        self.files = StoreFiles()
        self.duck = duckdb.connect(":memory:", config=config)
        self.duck.register_filesystem(self.files)
        for setting in _SETTINGS:
            self.duck.execute(f"SET {setting}")
        self.locked = False
        self.spoilt = False
        self.busy = 0
        self._made: list[str] = []

    def lock(self) -> None:
        """Let its settings be those that it has."""
        if not self.locked:
            self.duck.execute("SET lock_configuration = true")
            self.locked = True

    def make(self, what: str, name: str, body: str, values: object = None) -> None:
        """Make a view or a table of a SELECT, for this statement."""
        self._made.append(f"{what} {quote(name)}")
        self.duck.execute(f"CREATE {what} {quote(name)} AS {body}", values)

    def stop(self) -> None:
        """End what it does; from any thread."""
        self.spoilt = True
        self.duck.interrupt()

    def clear(self) -> None:
        """Drop what was made in it."""
        while self._made:
            self.duck.execute(f"DROP {self._made.pop()}")
        self.files.turn_to(None)


_idle: dict[Kind, Engine] = {}
"""At most one of each kind; what has a folder of its own is never kept."""
_left: list[dict[Kind, Engine]] = []
"""What a process was forked with: its threads are not there, so it can be neither used nor closed."""


@contextmanager
def lent(kind: Kind, source: sqlite3.Connection | None) -> Iterator[Engine]:
    """An engine, for what the files of a connection hold."""
    engine = _idle.pop(kind, None) or Engine(kind)
    engine.files.turn_to(source)
    try:
        yield engine
    except UsageError:
        _take_back(kind, engine)
        raise
    except BaseException:
        engine.duck.close()
        raise
    _take_back(kind, engine)


def _take_back(kind: Kind, engine: Engine) -> None:
    if not engine.spoilt and not engine.busy:
        with suppress(duckdb.Error):
            engine.clear()
            if not kind.spill and _idle.setdefault(kind, engine) is engine:
                return
    engine.duck.close()


def _close() -> None:
    while _idle:
        _idle.popitem()[1].duck.close()


def _leave() -> None:
    _left.append(dict(_idle))
    _idle.clear()


atexit.register(_close)
os.register_at_fork(after_in_child=_leave)
