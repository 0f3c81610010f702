"""SIGKILL at random instants of a real process, and again during the rerun: nothing is lost, nothing is half."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Finra

KILLS = 3


def run_until(seconds: float, finra: Finra, arguments: Sequence[str]) -> int:
    """Start a command and kill it after so long, unless it ends before; returns the exit code."""
    command = [sys.executable, "-m", "market_spine", *arguments]
    output = (finra.cwd / "output.txt").open("w")
    with output, subprocess.Popen(command, cwd=finra.cwd, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    assert code in (0, -signal.SIGKILL), (finra.cwd / "output.txt").read_text()
    return code


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_instants(
    finra: Finra, new_database: Callable[[], str], seed: int, record_property: Callable[[str, object], None]
) -> None:
    """Runs killed one after another, of a first load and then of its restatement, never leave a partition empty or
    half; the run that is left alone completes what they left."""
    dice = random.Random(seed)
    undisturbed, db = new_database(), new_database()
    started = time.monotonic()
    assert run_until(900, finra, finra.arguments(undisturbed, finra.first)) == 0
    duration = time.monotonic() - started
    first = finra.look(undisturbed)
    finra.load(undisturbed, finra.restated)
    restated = finra.look(undisturbed)
    kills = 0
    steps = ((finra.first, type(first)({}, (), ()), first), (finra.restated, first, restated))
    for folder, before, after in steps:
        for _ in range(KILLS * finra.rounds):
            code = run_until(dice.uniform(0.1, 1.1) * duration, finra, finra.arguments(db, folder))
            kills += code != 0
            finra.check_whole(db)
            finra.check_all_or_nothing(db, before, after)
            if code == 0:
                db = new_database()
                if folder == finra.restated:
                    finra.load(db, finra.first)
        assert finra.load(db, folder).exit_code == 0
        assert finra.look(db) == after
    record_property("kills", kills)


def test_killed_while_another_process_loads(
    finra: Finra, new_database: Callable[[], str], record_property: Callable[[str, object], None]
) -> None:
    """A process killed beside another that loads the same partitions does not disturb that one."""
    dice = random.Random(7)
    undisturbed = new_database()
    started = time.monotonic()
    assert run_until(900, finra, finra.arguments(undisturbed, finra.first)) == 0
    duration = time.monotonic() - started
    expected = finra.look(undisturbed)
    for _ in range(2 * finra.rounds):
        db = new_database()
        command = [sys.executable, "-m", "market_spine", *finra.arguments(db, finra.first)]
        with subprocess.Popen(command, cwd=finra.cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as survivor:
            run_until(dice.uniform(0.4, 1.0) * duration, finra, finra.arguments(db, finra.first))
            assert survivor.wait(900) == 0
        finra.check_whole(db)
        assert finra.load(db, finra.first).exit_code == 0
        assert finra.look(db).tables == expected.tables
    record_property("kills", 2 * finra.rounds)
