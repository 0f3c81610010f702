"""A user of a database: does what lines on stdin say, each answered with one line of JSON on stdout.

write       record one more run, and close
open        open for writing, and leave it open
close       close what is open
read        how many runs there are: by the reader's own connection, by a query, by one as of now
hold        the same, and leave the reader open
look        the same on the reader that was left open
many N      write N times, moving the log into the file each time
watch N     read until there are N runs; answers with the counts seen
kill N DO   do it in a process that ends by SIGKILL at its Nth step; answers whether it came that far
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from market_spine.core.manifest import RunRecord
from market_spine.errors import MarketSpineError
from market_spine.store import open_reader, open_writer, parse_url
from market_spine.store.sqlite import connect, sharing

_STEPS = ("open", "link", "fchmod", "fchown", "close", "access", "pread")
"""Calls of the operating system that the opening of a file is made of."""

COUNT = "SELECT COUNT(*) FROM core_runs"


class User:
    """What one process does with one database."""

    def __init__(self, db: str) -> None:
        self.url = parse_url(db)
        self.opened: list[Any] = []

    def write(self) -> str:
        """Record one more run."""
        self.open()
        self.close()
        return "written"

    def open(self) -> str:
        """Record one more run, and leave the writer open."""
        store = open_writer(self.url, [], wait_seconds=5)
        self.opened.append(store)
        now = datetime.now(UTC)
        number = len(store.runs(limit=1000))
        store.record_run(RunRecord(f"run {number}", "none", "none", now, now, "success", 0, 1, 1, 0, 0, "{}"))
        return "written"

    def close(self) -> str:
        """Close all that is open."""
        while self.opened:
            self.opened.pop().close()
        return "closed"

    def read(self) -> list[int]:
        """Count the runs in three ways."""
        counts = self.hold()
        self.close()
        return counts

    def count(self) -> int:
        """Count the runs without a query."""
        with open_reader(self.url, [], wait_seconds=5) as store:
            return len(store.runs(limit=1000))

    def hold(self) -> list[int]:
        """Count the runs, and leave the reader open."""
        self.opened.append(open_reader(self.url, [], wait_seconds=5))
        return self.look()

    def look(self) -> list[int]:
        """Count the runs with the reader that is open."""
        store = self.opened[-1]
        now = datetime.now(UTC)
        counted = [len(store.runs(limit=1000)), store.query(COUNT).rows[0][0], store.query(COUNT, now).rows[0][0]]
        return list(map(int, counted))

    def many(self, number: str) -> str:
        """Record runs one by one, each moved into the file at once, by openings of their own."""
        for _ in range(int(number)):
            self.open()
            self.opened[-1]._db.rows("PRAGMA wal_checkpoint")
            self.close()
        return "written"

    def watch(self, number: str) -> list[int]:
        """Count until there are so many, by readers of their own and by one that stays open."""
        seen: list[int] = []
        with open_reader(self.url, [], wait_seconds=5) as staying:
            while not seen or seen[-1] < int(number):
                seen.append(len(staying.runs(limit=1000)))
                with open_reader(self.url, [], wait_seconds=5) as fresh:
                    seen.append(fresh.query(COUNT).rows[0][0])
        return seen

    def kill(self, number: str, what: str) -> bool:
        """Do something in a process of its own that gets no further than a step."""
        child = os.fork()
        if not child:
            steps = Steps(int(number))
            for name in _STEPS:
                setattr(os, name, steps.before(getattr(os, name)))
            for module, name in ((connect, "_connect"), (sharing, "_lock")):
                setattr(module, name, steps.before(steps.before(getattr(module, name), after=True)))
            getattr(self, what)()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


class Steps:
    """Counts steps, and ends the process at the chosen one."""

    def __init__(self, last: int) -> None:
        self.left = last

    def reach(self) -> None:
        """Be at a step."""
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, call: Callable[..., Any], *, after: bool = False) -> Callable[..., Any]:
        """The call with a step before it, or after it."""

        def stepped(*arguments: Any, **named: Any) -> Any:
            if not after:
                self.reach()
            result = call(*arguments, **named)
            if after:
                self.reach()
            return result

        return stepped


def main() -> None:
    """Do what is asked for until there is nothing more."""
    os.umask(int(sys.argv[2], 8))
    user = User(sys.argv[1])
    for line in sys.stdin:
        name, *arguments = line.split()
        try:
            answer = getattr(user, name)(*arguments)
        except MarketSpineError as error:
            answer = {"kind": error.kind, "message": error.message, "hint": error.hint}
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
