"""Random histories of loads and decisions equal a brute-force model, as of every moment, on every store.

``make soak`` tries more of them: SOAK=100 is a thousand on each store.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from random import Random

import pytest

from market_spine.app.decisions import Asked, decide
from market_spine.app.rebuild import MomentClock, rebuild
from market_spine.core.domain import Domain
from market_spine.core.partition import Scope
from market_spine.store import StoreUrl
from market_spine.store.fresh import new_store as fresh_store

pytestmark = pytest.mark.soak

SOAK = int(os.environ.get("MARKET_SPINE_SOAK", "1"))
BATCHES, STEPS = SOAK, 80
"""A batch is one store with the histories of so many slots, and so many steps among them."""


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(BATCHES))
def test_histories_equal_the_model(ledger: Domain, new_store: Callable[[], StoreUrl], seed: int) -> None:
    """Loads, forced loads, accepts, retractions and acknowledgements; then the same once it is rebuilt."""
    from ledger.book import Book

    book = Book(new_store(), ledger, Random(seed))
    book.begin()
    for _ in range(STEPS):
        book.step()
    book.check()
    target = new_store()
    clock = MomentClock(book.now)
    with book.reader() as old, fresh_store(target, [ledger], clock) as new:
        rebuild(old.log(), old, new, clock, [ledger], accept=False)
    book.check(target)


@pytest.mark.parametrize("slot", ["s0", "r0"])
def test_a_rejected_row_leaves_the_good_one_in_place(
    ledger: Domain, new_store: Callable[[], StoreUrl], slot: str
) -> None:
    """Also within a range, in a later load over it, once it is rebuilt, and when what it came from is retracted."""
    from ledger.book import Book
    from ledger.model import Slot

    url, lines = new_store(), [f"{number} {number}" for number in range(1, 41)]
    book = Book(url, ledger, Random(0), slots={slot: Slot(ranged=slot == "r0")})

    def load(*changes: str) -> dict[int, int]:
        changed = {line.partition(" ")[0]: line for line in changes}
        text = "\n".join(["noted", *(changed.get(line.partition(" ")[0], line) for line in lines)])
        book.run(slot, source={"a": text})
        return amounts()

    def amounts() -> dict[int, int]:
        with book.reader() as store:
            return {row[2]: row[3] for row in store.read(ledger.tables[0], Scope({"slot": slot})).iter_rows()}

    good = {number: number for number in range(1, 41)}
    assert load() == good
    assert load("7 ?", "8 80") == good | {8: 80}
    assert load("7 ?", "8 80", "9 90") == good | {8: 80, 9: 90}
    assert load("7 70", "8 80", "9 90") == good | {7: 70, 8: 80, 9: 90}
    assert load("7 ?", "8 80", "9 91") == good | {7: 70, 8: 80, 9: 91}
    with book.reader() as store:
        names = store.known("ledger", [slot])[slot].captures
    book.run(slot, work=partial(decide, Asked("retract", "wrong", capture_id=names[3])), force=True)
    assert amounts() == good | {8: 80, 9: 91}
    target, clock = new_store(), MomentClock(book.now)
    with book.reader() as old, fresh_store(target, [ledger], clock) as new:
        rebuild(old.log(), old, new, clock, [ledger], accept=False)
        assert {row[2]: row[3] for row in new.read(ledger.tables[0], Scope({"slot": slot})).iter_rows()} == amounts()
