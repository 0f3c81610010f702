"""Random histories of loads and decisions equal a brute-force model, as of every moment, on every store.

``make soak`` tries more of them: SOAK=100 is a thousand on each store.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from market_spine.app.decisions import Asked, decide
from market_spine.app.rebuild import MomentClock, rebuild
from market_spine.app.report import Plan
from market_spine.app.runner import run_plan
from market_spine.app.scheduling import SchedulerResult
from market_spine.app.task import Options, Run, Stores
from market_spine.core.capture import Absent, Part, Payload
from market_spine.core.domain import Domain
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition, Scope
from market_spine.store import StoreUrl, moments, open_reader, open_writer
from market_spine.store.fresh import new_store as fresh_store
from market_spine.store.reader import StoreReader

if TYPE_CHECKING:
    from ledger.model import Rows, Slot, Texts

SOAK = int(os.environ.get("MARKET_SPINE_SOAK", "1"))
BATCHES, SLOTS, STEPS = SOAK, 10, 80
"""A batch is one store with the histories of so many slots, and so many steps among them."""
TINY = Path(__file__).parents[1] / "tiny"


_VERSIONS = """\
SELECT v.slot, v.leg, v.item, v.amount, v.note, m.committed_at, s.committed_at
  FROM ledger_row_versions v
  JOIN core_manifest m ON m.manifest_id = v.manifest_id
  LEFT JOIN core_manifest s ON s.manifest_id = v.superseded_by
"""


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Domain]:
    """The tiny domain that the model knows."""
    monkeypatch.syspath_prepend(str(TINY))
    from ledger import DOMAIN

    yield DOMAIN
    for name in [name for name in sys.modules if name.partition(".")[0] == "ledger"]:
        del sys.modules[name]


class Given(NamedTuple):
    """A source with these texts."""

    texts: Texts

    def fetch(self, partition: Partition, known: Known) -> Payload | Absent:
        parts = tuple(Part(leg, text.encode(), leg) for leg, text in self.texts.items())
        return Payload(parts, whole=partition.key.startswith("r"))


@dataclass
class Page:
    """What the model says at one moment: rows, totals, pairs and open anomalies of all slots."""

    moment: datetime
    rows: dict[str, Rows]
    pairs: dict[str, int]
    odd: set[str]
    retracted: set[str]


@dataclass
class Book:
    """A store under test beside its model."""

    url: StoreUrl
    domain: Domain
    random: Random
    now: datetime = datetime(2025, 1, 6, tzinfo=UTC)
    slots: dict[str, Slot] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    pages: list[Page] = field(default_factory=list)

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def run(self, slot: str, *, source: Texts | None = None, force: bool = False, **more: Any) -> SchedulerResult:
        """One run over one slot: a load, or a decision."""
        stage = more.pop("only_stage", "all")
        stores = Stores(
            partial(open_reader, self.url, [self.domain], clock=self.clock),
            partial(open_writer, self.url, [self.domain], clock=self.clock),
        )
        run = Run(
            id=f"r{self.now.timestamp()}",
            domain=self.domain,
            source=Given(source or {}),
            stores=stores,
            options=Options(force, stage, "ann"),
            today=self.now.date(),
            capture_day=date(2025, 1, 6),
            clock=self.clock,
        )
        return run_plan(Plan(run, [self.domain.partition(slot)], **more))

    def reader(self, url: StoreUrl | None = None) -> StoreReader:
        return open_reader(url or self.url, [self.domain], clock=self.clock)

    def step(self) -> None:
        """A random load or decision, in the store and in the model, which say the same of it."""
        self.now += timedelta(hours=self.random.choice([1, 7, 30]))
        slot = self.random.choice(sorted(self.slots))
        model, names = self.slots[slot], self.names[slot]
        choices = ["load"] * 5 + ["retract", "accept"] * (2 if names else 0) + ["ack"] * bool(model.odd)
        verb = self.random.choice(choices)
        if verb == "load":
            texts = texts_for(self.random, slot)
            force = self.random.random() < 0.15
            result = self.run(slot, source=texts, force=force)
            told = model.load(texts, self.now.date(), force=force)
        elif verb == "ack":
            until = self.random.choice([None, self.now.date(), self.now.date() + timedelta(days=1)])
            asked = Asked("ack", "seen", kind="odd", until=until)
            result = self.run(slot, work=partial(decide, asked), force=True, only_stage="ingest")
            model.acknowledge(until)
            told = "completed"
        else:
            number = self.random.randrange(len(names))
            asked = Asked(verb, "because", capture_id=names[number])  # type: ignore[arg-type]
            result = self.run(slot, work=partial(decide, asked), force=True)
            told = model.accept(number) if verb == "accept" else model.retract(number)
        first = result.runs[0]
        assert (first.reason or first.status) == told, (slot, verb, result.runs)
        assert all(run.status != "failed" for run in result.runs[1:]), result.runs
        with self.reader() as store:
            known = store.known("ledger", [slot])[slot]
        names += [name for name in known.captures if name not in names]
        assert len(names) == len(model.captures)
        current = names[model.current] if model.current is not None else None
        assert (known.current.entry.capture_id if known.current else None) == current
        assert known.retracted == {names[number] for number, each in enumerate(model.captures) if each.retracted}
        assert (known.held.entry.capture_id if known.held else None) == (
            names[model.held] if model.held is not None else None
        )
        self.write_down()

    def write_down(self) -> None:
        """What the model says now."""
        rows = {slot: dict(model.rows) for slot, model in self.slots.items()}
        total = {slot: sum(amount for amount, _ in rows[slot].values()) for slot in rows}
        known = {slot for slot, model in self.slots.items() if model.current is not None}
        self.pages.append(
            Page(
                self.now,
                rows,
                {slot: total[slot] + total[mate(slot)] for slot in known},
                {slot for slot, model in self.slots.items() if model.odd is not None and model.odd.open},
                {
                    self.names[slot][number]
                    for slot, model in self.slots.items()
                    for number, each in enumerate(model.captures)
                    if each.retracted
                },
            )
        )

    def check(self, url: StoreUrl | None = None) -> None:
        """The store says of every moment what the model said then."""
        row = self.domain.tables[0]
        with self.reader(url) as store:
            versions = store._db.rows(_VERSIONS)
            for page in self.pages:
                moment = moments.to_text(page.moment)
                found: dict[str, Rows] = {slot: {} for slot in page.rows}
                for slot, leg, number, amount, note, since, until in versions:
                    if since <= moment and (until is None or until > moment):
                        found[slot][leg, number] = (amount, note)
                assert found == page.rows, page.moment
            for page in self.pages[::8]:
                slot = self.random.choice(sorted(page.rows))
                assert store.read(row, Scope({"slot": slot}), as_of=page.moment).height == len(page.rows[slot])
                sql = "SELECT slot, amount FROM ledger_pair"
                assert dict(store.query(sql, page.moment).rows) == page.pairs
                totals = store.query("SELECT slot, rows, amount FROM ledger_total", page.moment).rows
                assert {slot: (count, amount) for slot, count, amount in totals} == {
                    slot: (len(rows), sum(amount for amount, _ in rows.values()))
                    for slot, rows in page.rows.items()
                    if slot in page.pairs
                }
                sql = (
                    "SELECT partition_key FROM core_anomalies"
                    " WHERE kind = 'odd' AND resolved_at IS NULL AND acknowledged_at IS NULL"
                )
                assert {key for (key,) in store.query(sql, page.moment).rows} == page.odd
                sql = "SELECT capture_id, verb FROM core_decisions WHERE verb <> 'ack' ORDER BY decision_id"
                verbs = dict(store.query(sql, page.moment).rows)
                assert {name for name, verb in verbs.items() if verb == "retract"} == page.retracted


def mate(slot: str) -> str:
    """The other slot of a pair."""
    return f"{slot[0]}{int(slot[1:]) ^ 1}"


def texts_for(random: Random, slot: str) -> Texts:
    """Random parts, small enough that contents come back."""
    legs = ["a"] if slot.startswith("r") else random.choice([["a"], ["b"], ["a", "b"], ["a", "b"]])
    return {leg: text_for(random, ranged=slot.startswith("r")) for leg in legs}


def text_for(random: Random, *, ranged: bool) -> str:
    head = "noted" if ranged or random.random() < 0.6 else "plain"
    head += " odd" if random.random() < 0.2 else ""
    numbers = range(1, 4)
    if ranged:
        start = random.randrange(1, 6)
        numbers = range(start, start + random.randrange(1, 4))
    noted = head.startswith("noted")
    chosen = numbers if ranged else random.sample(numbers, random.choice([2, 3]))
    lines = []
    for number in chosen:
        note = f" {random.choice('xy')}" if noted and random.random() < 0.7 else ""
        lines.append(f"{number} {random.choice([1, 2])}{note}")
    random.shuffle(lines)
    return "\n".join([head, *lines])


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(BATCHES))
def test_histories_equal_the_model(ledger: Domain, new_store: Callable[[], StoreUrl], seed: int) -> None:
    """Loads, forced loads, accepts, retractions and acknowledgements; then the same once it is rebuilt."""
    from ledger.model import Slot

    url = new_store()
    book = Book(url, ledger, Random(seed))
    for number in range(SLOTS):
        ranged = number < SLOTS // 5 * 2
        book.slots[f"{'r' if ranged else 's'}{number}"] = Slot(ranged)
    book.names = {slot: [] for slot in book.slots}
    with open_writer(url, [ledger], clock=book.clock):
        pass
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
