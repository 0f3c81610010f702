"""SIGKILL at random points of random histories: each step was made or was not, and the histories stay the model's.

``make soak`` tries more of them: SOAK=100 is a thousand on each store.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from market_spine.app.rebuild import MomentClock, rebuild
from market_spine.core.domain import Domain
from market_spine.store import parse_url
from market_spine.store.fresh import new_store as fresh_store

if TYPE_CHECKING:
    from ledger.book import Book, Step

FOLDER = Path(__file__).parent
ROUNDS = int(os.environ.get("MARKET_SPINE_SOAK", "1"))
STEPS = 24 if ROUNDS == 1 else 80
FARTHEST = 250
"""A process dies at one of so many points, which is within its first few steps."""


class Historian:
    """A process that carries out steps, and dies on the way."""

    def __init__(self, database: str, point: int) -> None:
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(FOLDER), str(FOLDER.parent / "tiny")]),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(FOLDER / "historian.py"), str(point), database],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )

    def carry_out(self, book: Book, step: Step) -> dict[str, str] | None:
        """Ask for a step; None if the process died of it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"now": book.now.isoformat(), "names": book.names, "step": step._asdict()}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if answer:
            return dict(json.loads(answer))
        self.end()
        assert self._process.returncode == -signal.SIGKILL
        return None

    def end(self) -> None:
        """Let it end if it has not, and wait."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.communicate()


def wrote(book: Book, slot: str) -> tuple[Any, ...]:
    """What tells whether anything was written of a slot."""
    with book.reader() as store:
        sql = f"SELECT COUNT(*) FROM core_anomaly_events WHERE partition_key = '{slot}'"
        decisions = store.decisions("ledger", slot)
        return store.known("ledger", [slot])[slot].last_id, len(decisions), store.query(sql).rows


def make(book: Book, step: Step, historian: Historian, new_historian: Callable[[], Historian]) -> tuple[Historian, int]:
    """Make a step, however often a process dies of it; the one that is left, and how many died."""
    kills = 0
    while True:
        before, slots = wrote(book, step.slot), deepcopy(book.slots)
        answer = historian.carry_out(book, step)
        told = book.expect(step)
        if answer is not None:
            book.now = datetime.fromisoformat(answer["now"])
            assert answer["told"] == told, step
            book.agree(step.slot)
            return historian, kills
        kills += 1
        book.now += timedelta(minutes=10)
        made = wrote(book, step.slot) != before
        if not made:
            book.slots = slots
        book.agree(step.slot)
        historian = new_historian()
        if made:
            # What follows from it, the windows, is up to the next run.
            book.run(step.slot, only_stage="calc")
            return historian, kills


@pytest.mark.process
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_histories_killed_anywhere_equal_the_model(
    ledger: Domain, new_database: Callable[[], str], seed: int, record_property: Callable[[str, object], None]
) -> None:
    """After each kill the slot is as before the step or as after it, never between; in the end the store says of every
    moment what the model says, and so does what is rebuilt from it."""
    from ledger.book import Book

    database, random, kills = new_database(), Random(seed), 0
    book = Book(parse_url(database), ledger, Random(seed))
    book.begin()

    with ExitStack() as stack:

        def new_historian() -> Historian:
            made = Historian(database, random.randrange(1, FARTHEST))
            stack.callback(made.end)
            return made

        historian = new_historian()
        for _ in range(STEPS):
            historian, died = make(book, book.choose(), historian, new_historian)
            kills += died
            book.write_down()
    assert kills >= STEPS // 10
    book.check()
    target, clock = parse_url(new_database()), MomentClock(book.now)
    with book.reader() as old, fresh_store(target, [ledger], clock) as new:
        rebuild(old.log(), old, new, clock, [ledger], accept=False)
    book.check(target)
    record_property("kills", kills)
