"""Run a Market Spine command and kill this process, as SIGKILL does, at a chosen point of its work on the database.

    python killer.py POINT REPORT ARGUMENT...

A point is the instant before or after a call through the store's database seam that writes, or that begins or ends
a transaction; points are numbered from 1 in the order in which they are reached. POINT 0 never kills. Each point's
name is appended to the file REPORT as it is reached.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from market_spine.cli.main import root, run

_CALLS = ("begin", "run", "run_many", "insert_frame", "close_rows", "last_in_line", "commit")


class Killer:
    """Counts the points and kills at one of them."""

    def __init__(self, point: int, report: Path) -> None:
        self.left = point
        self.report = report.open("a", buffering=1)

    def reach(self, name: str) -> None:
        """Note a point; do not come back from the chosen one."""
        self.report.write(name + "\n")
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The call with a point before and after it."""

        @functools.wraps(call)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            what = f"{name} {_subject(arguments[1:])}".strip()
            self.reach(f"before {what}")
            result = call(*arguments, **named)
            self.reach(f"after {what}")
            return result

        return wrapped


def _subject(arguments: tuple[Any, ...]) -> str:
    """What a call is about: the table's name, or the statement's first words."""
    if not arguments:
        return ""
    text = getattr(arguments[0], "name", arguments[0])
    return " ".join(str(text).split()[:3])


def plant(point: int, report: Path) -> None:
    """Plant the points."""
    from market_spine.store.postgres.database import PostgresDatabase
    from market_spine.store.sqlite.database import SqliteDatabase

    killer = Killer(point, report)
    for adapter in (SqliteDatabase, PostgresDatabase):
        for name in _CALLS:
            setattr(adapter, name, killer.wrap(getattr(adapter, name), name))


def main() -> int:
    """Plant the points and run the command."""
    plant(int(sys.argv[1]), Path(sys.argv[2]))
    return run(root, sys.argv[3:], "market-spine")


if __name__ == "__main__":
    sys.exit(main())
