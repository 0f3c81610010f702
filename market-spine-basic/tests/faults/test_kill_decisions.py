"""SIGKILL before and after every call that writes a decision: it was made, or it was not; asked again, it is."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from market_spine import registry
from market_spine.compose import utc_now
from market_spine.store import open_reader, parse_url

if TYPE_CHECKING:
    from tests.faults.conftest import Finra

KEY = "2025-11-21|OTC"


def newest(db: str) -> str:
    """The latest capture of the newest week."""
    with open_reader(parse_url(db), registry.domains(), clock=utc_now) as store:
        return store.known("finra.otc_transparency", [KEY])[KEY].captures[-1]


def test_a_retraction_killed_anywhere_is_whole_or_not_there(finra: Finra, new_database: Callable[[], str]) -> None:
    """The partition is as before or as after; asking again gives what no kill gives, with one decision."""

    def ask(db: str) -> list[str]:
        return ["retract", newest(db), "--reason", "wrong", "--by", "ann", "--db", db, "--json"]

    def restated() -> str:
        db = new_database()
        finra.load(db, finra.first)
        finra.load(db, finra.restated)
        return db

    undisturbed = restated()
    before = finra.look(undisturbed)
    points = finra.points(ask(undisturbed))
    after = finra.look(undisturbed)
    assert before.tables != after.tables
    commits = [number for number, name in enumerate(points, 1) if name in ("before commit", "after commit")]
    calls = [number for number, name in enumerate(points, 1) if name.startswith("before")]
    for point in range(1, len(points) + 1) if finra.rounds > 1 else sorted({*commits, *calls[::18]}):
        db = restated()
        assert finra.killed(point, finra.cwd / "report.txt", ask(db)).code == -signal.SIGKILL, point
        finra.check_whole(db)
        finra.check_all_or_nothing(db, before, after)
        assert finra.killed(0, finra.cwd / "report.txt", ask(db)).code == 0
        assert finra.look(db).tables == after.tables, point
        finra.check_whole(db)
        with open_reader(parse_url(db), registry.domains(), clock=utc_now) as store:
            assert [record.decision.verb for record in store.decisions()] == ["retract"]
