"""Which symbols a run takes, which of them it looks at more closely, and how long all of them take on the quota."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from market_spine.core import calendar
from market_spine.core.manifest import Known
from market_spine.core.ports import Reader, RequestLedger
from market_spine.core.quota import CALLS, Limit, Refusal, next_day, next_slot
from spine.domains.market_data import partitions
from spine.domains.market_data.orders import (
    ACTED,
    POSTPONED,
    RANGED,
    Order,
    asked_in_vain,
    is_asked,
    is_due,
    is_waiting,
    lacks_history,
    news_of,
    noted,
)
from spine.domains.market_data.partitions import Batch, last_known
from spine.domains.market_data.schema import NAME

RANGE_ROUND = 20
"""Runs in which every symbol is read as a range once, though answers for the whole market would do."""
LONGEST_UNREAD = timedelta(days=30)
"""Once splits and dividends of a symbol were not read for so long, bars of others wait for a day."""
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Quota:
    """What calls cost at a source.

    Attributes:
        source: its name.
        key_hash: the key, as the ledger calls it.
        limits: what the plan allows; none where nothing is metered.
        floor: the least time between two calls of a run.
        calls: of one symbol's bars; 0 where no call is made.
        actions: of one symbol's splits and dividends.
        shares: these are asked for together, however many symbols.
    """

    source: str
    key_hash: str = ""
    limits: tuple[Limit, ...] = ()
    floor: timedelta = timedelta()
    calls: int = 0
    actions: int = 0
    shares: bool = False


def plan_run(store: Reader, symbols: Sequence[str], quota: Quota, order: Order, most: int) -> tuple[Batch, Order]:
    """The symbols that this run takes, and the order with what concerns single ones of them."""
    keys = {symbol: partitions.make_partition(symbol, quota.source).key for symbol in symbols}
    known = store.known(NAME, list(keys.values()))
    refusals = store.refusals(quota.source, quota.key_hash)
    latest, now = order.latest(), order.clock()
    waiting = {key for key in keys.values() if _waits(known[key], key, refusals, now, latest, order)}
    due = {key for key in keys.values() if is_due(known[key], order, latest)} - waiting
    vain = {key for key in keys.values() if asked_in_vain(known[key], refusals.get(news_of(key)))}
    batch = partitions.choose(symbols, quota.source, known, store.last_asked(quota.source), due, most, vain)
    asked = [
        symbol for symbol in batch.taken if keys[symbol] not in waiting and is_asked(known[keys[symbol]], order, latest)
    ]
    room = _room(store, [keys[symbol] for symbol in asked], known, quota, order)
    if room < len(asked):
        fitting = partitions.choose(asked, quota.source, known, store.last_asked(quota.source), due, room, vain)
        asked = list(fitting.taken)
        taken = tuple(symbol for symbol in batch.taken if symbol not in fitting.left)
        batch = Batch(taken, batch.left, postponed=fitting.left)
    acted = _acted(store, [keys[symbol] for symbol in asked], known, quota, order)
    return batch, replace(
        order,
        due=len(asked),
        waiting=frozenset(waiting),
        out=any(last_known(each) == latest for each in known.values()),
        ranged=_ranged([keys[symbol] for symbol in asked], known),
        acted=acted,
        together=tuple(symbol for symbol in asked if keys[symbol] in acted) if quota.shares else (),
    )


def _waits(known: Known, key: str, refusals: Mapping[str, Refusal], now: datetime, latest: date, order: Order) -> bool:
    if order.full or order.force or lacks_history(known, order):
        return False
    return is_waiting(known, refusals.get(news_of(key)), now, latest)


def _ranged(keys: Sequence[str], known: Mapping[str, Known]) -> frozenset[str]:
    """Those whose last look at a whole range is the oldest: all of them within so many runs."""
    ordered = sorted(keys, key=lambda key: noted(known[key]).get(RANGED, ""))
    return frozenset(ordered[: -(-len(ordered) // RANGE_ROUND)])


def _acted(
    store: Reader, keys: Sequence[str], known: Mapping[str, Known], quota: Quota, order: Order
) -> frozenset[str]:
    """Those whose splits and dividends are read: all where that is cheap, else those whose last look is the oldest,
    for half of what the bars leave of the day's calls."""
    left = _left_today(store, quota, order)
    if left is None:
        return frozenset(keys)
    spare = left - quota.calls * len(keys)
    ordered = sorted(keys, key=lambda key: noted(known[key]).get(ACTED, ""))
    count = max(0, spare // 2 // quota.actions)
    if not count and spare >= quota.actions and _is_overdue(ordered, known, order):
        count = 1
    return frozenset(ordered[:count])


def _room(store: Reader, keys: Sequence[str], known: Mapping[str, Known], quota: Quota, order: Order) -> int:
    """How many of the symbols' bars are asked for: all, unless nothing were left of the day's calls for the splits and
    dividends of one whose last look is long ago. Nobody's first bars wait for that."""
    left = _left_today(store, quota, order)
    if left is None or not quota.calls or any(known[key].current is None for key in keys):
        return len(keys)
    spare = left - quota.calls * len(keys)
    if not 0 <= spare < quota.actions or not _is_overdue(keys, known, order):
        return len(keys)
    room = (left - quota.actions) // quota.calls
    return room if room > 0 else len(keys)


def _left_today(store: Reader, quota: Quota, order: Order) -> int | None:
    """What is left of the day's calls; None where they do not decide whose splits and dividends are read."""
    daily = [limit.calls for limit in quota.limits if limit.window >= _DAY]
    if quota.shares or order.full or order.force or not daily or not quota.actions:
        return None
    return min(daily) - len(store.asked(quota.source, quota.key_hash, day_began(order.clock())))


def _is_overdue(keys: Sequence[str], known: Mapping[str, Known], order: Order) -> bool:
    """Whether splits and dividends of one of some symbols were not read for long."""
    since = (order.clock().astimezone(calendar.ZONE).date() - LONGEST_UNREAD).isoformat()
    return any(noted(known[key]).get(ACTED, "") < since for key in keys)


def postpone(ledger: Callable[[], RequestLedger], batch: Batch, quota: Quota, order: Order) -> None:
    """Let no run ask for what waits for tomorrow's calls before they are there."""
    if order.dry or not batch.postponed:
        return
    now = order.clock()
    for symbol in batch.postponed:
        subject = news_of(partitions.make_partition(symbol, quota.source).key)
        reason = f"{POSTPONED}: the day's calls went to splits and dividends"
        with closing(ledger()) as opened:
            opened.refuse(Refusal(quota.source, quota.key_hash, subject, reason, now, next_day(now)))


def day_began(now: datetime) -> datetime:
    """The first moment of the day in New York."""
    return datetime.combine(now.astimezone(calendar.ZONE).date(), time(), calendar.ZONE).astimezone(UTC)


def round_of(store: Reader, count: int, quota: Quota, order: Order, most: int) -> tuple[str, dict[str, float]]:
    """How long it takes to ask for every symbol of a list once: in words, and as figures.

    Args:
        store: its ledger says what is left of the quota.
        count: symbols on the list.
        quota: what calls cost.
        order: what each is asked for.
        most: symbols of one run.
    """
    calls = count * quota.calls
    if order.full:
        calls += quota.actions * (1 if quota.shares else count)
    runs = -(-count // most)
    now = order.clock()
    took = _time_for(calls, store, quota, now) if calls else timedelta()
    figures: dict[str, float] = {"symbols": count, "runs": runs, "calls": calls, "seconds": round(took.total_seconds())}
    limits = " and ".join(map(str, quota.limits)) or "no limit"
    words = (
        f"A full round of {_counted(count, 'symbol')} takes {_counted(runs, 'run')} and {_counted(calls, 'call')}:"
        f" {shown_time(took)} on {limits}, {quota.floor.total_seconds():g} s between calls."
    )
    return words, figures


def _time_for(calls: int, store: Reader, quota: Quota, now: datetime) -> timedelta:
    """How long so many calls take from now on, each at the first moment that the quota allows it."""
    made = list(store.asked(quota.source, quota.key_hash, min(now - timedelta(hours=1), day_began(now))))
    spent = store.refusals(quota.source, quota.key_hash).get(CALLS)
    start = max(now, spent.expires_at) if spent else now
    slot = start
    for number in range(calls):
        own = slot if number else None
        slot = next_slot(start if not number else slot, made, own, quota.limits, quota.floor)
        made.append(slot)
    return slot - now


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def shown_time(span: timedelta) -> str:
    """A duration as people say it."""
    seconds = span.total_seconds()
    for size, noun in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 1.5 * size:
            return f"about {_counted(round(seconds / size), noun)}"
    return "under two minutes"
