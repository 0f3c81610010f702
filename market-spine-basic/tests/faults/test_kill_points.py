"""SIGKILL before and after every call that writes: partitions stay all old or all new, and a rerun completes them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Finra, State

SHARES = 2


def chosen(points: Sequence[str], share: int, rounds: int, every: int) -> list[int]:
    """One share's points, numbered from 1: all under ``make soak``; else both sides of each commit, and of the
    points before other calls one in ``every``."""
    calls = [number for number, name in enumerate(points, 1) if name.startswith("before")]
    commits = [number for number, name in enumerate(points, 1) if name in ("before commit", "after commit")]
    wanted = range(1, len(points) + 1) if rounds > 1 else sorted({*calls[::every], *commits})
    return list(wanted)[share::SHARES]


def kill_and_run_again(finra: Finra, db: str, folder: Path, point: int, before: State, after: State) -> None:
    """Kill a load of a folder at a point: nothing is there by half, and a rerun gives what no kill gives."""
    assert finra.killed(point, finra.cwd / "report.txt", finra.arguments(db, folder)).code == -signal.SIGKILL, point
    finra.check_whole(db)
    finra.check_all_or_nothing(db, before, after)
    finra.load(db, folder)
    assert finra.look(db) == after, point
    finra.check_whole(db)


@pytest.mark.parametrize("share", range(SHARES))
def test_a_restating_run_killed_anywhere_leaves_whole_partitions_and_a_rerun_completes_them(
    finra: Finra,
    new_database: Callable[[], str],
    share: int,
    record_property: Callable[[str, object], None],
) -> None:
    """After a kill each partition and window is all old or all new, never empty; a rerun gives what no kill gives."""
    undisturbed = new_database()
    finra.load(undisturbed, finra.first)
    before = finra.look(undisturbed)
    points = finra.points(finra.arguments(undisturbed, finra.restated))
    after = finra.look(undisturbed)
    assert before.tables != after.tables
    numbers = chosen(points, share, finra.rounds, 12)
    for number in numbers:
        db = new_database()
        finra.load(db, finra.first)
        kill_and_run_again(finra, db, finra.restated, number, before, after)
    record_property("kills", len(numbers))


@pytest.mark.parametrize("share", range(SHARES))
def test_a_first_run_killed_anywhere_leaves_nothing_half_and_a_rerun_completes_it(
    finra: Finra,
    new_database: Callable[[], str],
    share: int,
    record_property: Callable[[str, object], None],
) -> None:
    """On a database that does not exist yet: after a kill, also while its schema is made, nothing is there by half."""
    undisturbed = new_database()
    points = finra.points(finra.arguments(undisturbed, finra.first))
    after = finra.look(undisturbed)
    before = type(after)({}, (), ())
    numbers = chosen(points, share, finra.rounds, 24)
    for number in numbers:
        kill_and_run_again(finra, new_database(), finra.first, number, before, after)
    record_property("kills", len(numbers))
