"""The quota ledger: shared by connections and processes, and remembering what was refused."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from market_spine.core.domain import Domain
from market_spine.core.quota import CALLS, InHand, Limit, PlannedCall, Refusal, key_hash
from market_spine.errors import SourceError
from market_spine.store import StoreUrl, open_ledger, open_writer, upgrade

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
FOREVER = timedelta(days=400)
START = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY = key_hash("secret")


class Watch:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def ask(caller: str = "run", subject: str = "A|vendor", key: str = KEY) -> PlannedCall:
    return PlannedCall("vendor", key, subject, caller)


@pytest.fixture
def watch() -> Watch:
    """A clock at noon."""
    return Watch()


@pytest.fixture
def open_it(store_url: StoreUrl, domain: Domain, watch: Watch) -> Callable[[], Any]:
    """Opens the ledger of one store, as often as it is called."""
    return lambda: open_ledger(store_url, [domain], clock=watch)


def test_calls_of_all_connections_count(open_it: Callable[[], Any]) -> None:
    """Two runs with one key share the limit of a minute; a run with another key does not wait."""
    with open_it() as one, open_it() as other:
        limits = (Limit(2, MINUTE),)
        free = {"floor": timedelta(), "patience": FOREVER}
        assert one.reserve(ask("one"), limits, **free) == timedelta()
        assert other.reserve(ask("two"), limits, **free) == timedelta()
        assert one.reserve(ask("one"), limits, **free) == MINUTE
        assert other.reserve(ask("two"), limits, **free) == MINUTE
        assert one.reserve(ask("one", key=key_hash("other")), limits, **free) == timedelta()


def test_the_floor_counts_from_the_reserved_slot(open_it: Callable[[], Any]) -> None:
    """The floor lies between one caller's calls, also those that are still to be made."""
    with open_it() as ledger:
        waits = [ledger.reserve(ask(), (), floor=12 * SECOND, patience=FOREVER) for _ in range(3)]
    assert waits == [timedelta(), 12 * SECOND, 24 * SECOND]


def test_a_spent_day_is_refused_and_not_written_down(
    open_it: Callable[[], Any], watch: Watch, store_url: StoreUrl, domain: Domain
) -> None:
    """Beyond the day's quota nothing is reserved; the error names the moment from which it is free again."""
    with open_it() as ledger:
        for _ in range(3):
            ledger.reserve(ask(), (Limit(3, DAY),), floor=timedelta(), patience=MINUTE)
        watch.now += timedelta(hours=1)
        with pytest.raises(SourceError, match="2026-11-24T05:00:00Z") as caught:
            ledger.reserve(ask(), (Limit(3, DAY),), floor=timedelta(), patience=MINUTE)
        assert caught.value.kind == "quota_exhausted"
        watch.now = START + DAY
        assert ledger.reserve(ask(), (Limit(3, DAY),), floor=timedelta(), patience=MINUTE) == timedelta()
    with open_writer(store_url, [domain], clock=watch) as writer:
        assert writer.query("SELECT COUNT(*) FROM core_requests").rows == [(4,)]


def test_a_subject_is_left_to_the_caller_that_asked(open_it: Callable[[], Any], watch: Watch) -> None:
    """For half a minute nobody else reserves a call for a subject just asked for; the caller itself may."""
    flags = {"floor": timedelta(), "patience": MINUTE, "alone": 30 * SECOND}
    with open_it() as one, open_it() as other:
        one.reserve(ask("one"), (), **flags)
        one.reserve(ask("one"), (), **flags)
        other.reserve(ask("two", "B|vendor"), (), **flags)
        for _ in range(2):
            with pytest.raises(InHand):
                other.reserve(ask("two"), (), **flags)
            watch.now += 29 * SECOND
        watch.now += 2 * SECOND - 29 * SECOND
        assert other.reserve(ask("two"), (), **flags) == timedelta()


def test_a_free_slot_can_be_looked_for_without_taking_it(open_it: Callable[[], Any]) -> None:
    """Asked how long a call would have to wait, the ledger says so and counts nothing."""
    flags = {"floor": timedelta(), "patience": MINUTE}
    limits = (Limit(1, MINUTE),)
    with open_it() as ledger:
        assert [ledger.wait(ask(), limits, **flags) for _ in range(2)] == [timedelta()] * 2
        ledger.reserve(ask(), limits, **flags)
        assert [ledger.wait(ask(), limits, **flags) for _ in range(2)] == [MINUTE] * 2


def test_a_refusal_of_all_calls_stops_every_caller(open_it: Callable[[], Any], watch: Watch) -> None:
    """Once a source refused all calls to a key nobody reserves one with it until that has passed."""
    with open_it() as ledger:
        ledger.refuse(Refusal("vendor", KEY, CALLS, "25 requests per day", START, START + DAY))
    with open_it() as other:
        with pytest.raises(SourceError, match="25 requests per day"):
            other.reserve(ask("another"), (), floor=timedelta(), patience=FOREVER)
        watch.now += DAY
        assert other.reserve(ask("another"), (), floor=timedelta(), patience=FOREVER) == timedelta()


def test_a_refusal_is_remembered_until_it_expires(open_it: Callable[[], Any], watch: Watch) -> None:
    """The latest refusal of a capability holds for its key until it expires."""
    refusal = Refusal("vendor", KEY, "full", "premium", START, START + MINUTE)
    with open_it() as ledger:
        assert ledger.refusal("vendor", KEY, "full") is None
        ledger.refuse(refusal)
        assert ledger.refusal("vendor", KEY, "full") == refusal
        assert ledger.refusal("vendor", key_hash("other"), "full") is None
        watch.now += MINUTE
        assert ledger.refusal("vendor", KEY, "full") is None


def test_what_a_clock_since_set_back_wrote_blocks_nobody(open_it: Callable[[], Any], watch: Watch) -> None:
    """Calls and refusals of a year ahead do not count once the clock is right again; those a minute ahead do."""
    flags = {"floor": timedelta(), "patience": 15 * MINUTE}
    with open_it() as ledger:
        watch.now = START + 365 * DAY
        ledger.reserve(ask(), (Limit(1, DAY),), **flags)
        ledger.refuse(Refusal("vendor", KEY, CALLS, "25 requests per day", watch.now, watch.now + DAY))
        watch.now = START + MINUTE
        assert ledger.reserve(ask(), (Limit(1, MINUTE),), **flags) == timedelta()
        watch.now = START
        assert ledger.reserve(ask(), (Limit(1, MINUTE),), **flags) == 2 * MINUTE


def test_a_refusal_changes_no_answer_as_of_before(
    open_it: Callable[[], Any], watch: Watch, store_url: StoreUrl, domain: Domain
) -> None:
    """A refusal that took its time to be written down is known from then on, not from when the source said so."""
    sql = "SELECT COUNT(*) FROM core_refusals"
    with open_it() as ledger, open_writer(store_url, [domain], clock=watch) as writer:
        watch.now += 2 * SECOND
        between = START + SECOND
        assert writer.query(sql, between).rows == [(0,)]
        ledger.refuse(Refusal("vendor", KEY, "full", "premium", START, START + MINUTE))
        watch.now += SECOND
        assert writer.query(sql, between).rows == [(0,)]
        assert writer.query(sql, START + 2 * SECOND).rows == [(1,)]


def _reserve_ten(path: str, start: Any) -> None:
    from market_spine.store import parse_url

    start.wait()
    with open_ledger(parse_url(path), [], clock=lambda: START) as ledger:
        for _ in range(10):
            ledger.reserve(ask(), (Limit(1, SECOND),), floor=timedelta(), patience=FOREVER)


def test_processes_never_get_the_same_slot(tmp_path: Any) -> None:
    """Forty calls reserved by four processes at once lie a second apart each."""
    from market_spine.store import parse_url

    path = str(tmp_path / "shared.db")
    upgrade(parse_url(path), [], clock=lambda: START)
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    workers = [context.Process(target=_reserve_ten, args=(path, start)) for _ in range(4)]
    for worker in workers:
        worker.start()
    start.set()
    for worker in workers:
        worker.join()
    with open_writer(parse_url(path), [], clock=lambda: START) as writer:
        rows = writer.query("SELECT planned_at FROM core_requests ORDER BY planned_at").rows
    moments = [datetime.fromisoformat(str(moment)) for (moment,) in rows]
    assert moments == [START + number * SECOND for number in range(40)]
