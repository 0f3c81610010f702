"""A store with the tiny domain beside its model: random steps in both, and what they must have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, NamedTuple

from ledger.model import Rows, Slot, Texts
from market_spine.app.decisions import Asked, decide
from market_spine.app.report import Plan
from market_spine.app.runner import run_plan
from market_spine.app.scheduling import SchedulerResult
from market_spine.app.task import Options, Run, Stores
from market_spine.core.capture import Absent, Part, Payload
from market_spine.core.domain import Domain
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition, Scope
from market_spine.store import StoreUrl, moments, open_reader, open_writer
from market_spine.store.reader import StoreReader

SLOTS = 10
"""The histories of one store."""
_VERSIONS = """\
SELECT v.slot, v.leg, v.item, v.amount, v.note, m.committed_at, s.committed_at
  FROM ledger_row_versions v
  JOIN core_manifest m ON m.manifest_id = v.manifest_id
  LEFT JOIN core_manifest s ON s.manifest_id = v.superseded_by
"""


class Step(NamedTuple):
    """A load or a decision; fit for JSON."""

    slot: str
    verb: str
    number: int = 0
    until: str | None = None
    texts: Texts = {}  # noqa: RUF012 - never written to
    force: bool = False

    @property
    def day(self) -> date | None:
        """The last day of an acknowledgement."""
        return date.fromisoformat(self.until) if self.until else None


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

    def begin(self) -> None:
        """Make the store, and the slots: two in five cover ranges."""
        for number in range(SLOTS):
            ranged = number < SLOTS // 5 * 2
            self.slots[f"{'r' if ranged else 's'}{number}"] = Slot(ranged)
        self.names = {slot: [] for slot in self.slots}
        with open_writer(self.url, [self.domain], clock=self.clock):
            pass

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

    def choose(self) -> Step:
        """A random load or decision, some hours later."""
        self.now += timedelta(hours=self.random.choice([1, 7, 30]))
        slot = self.random.choice(sorted(self.slots))
        names = self.names[slot]
        choices = ["load"] * 5 + ["retract", "accept"] * (2 if names else 0) + ["ack"] * bool(self.slots[slot].odd)
        verb = self.random.choice(choices)
        if verb == "load":
            texts = texts_for(self.random, slot)
            return Step(slot, verb, texts=texts, force=self.random.random() < 0.15)
        if verb == "ack":
            until = self.random.choice([None, self.now.date(), self.now.date() + timedelta(days=1)])
            return Step(slot, verb, until=until.isoformat() if until else None)
        return Step(slot, verb, number=self.random.randrange(len(names)))

    def carry_out(self, step: Step) -> str:
        """The step in the store; what the answer says."""
        slot = step.slot
        if step.verb == "load":
            result = self.run(slot, source=step.texts, force=step.force)
        elif step.verb == "ack":
            asked = Asked("ack", "seen", kind="odd", until=step.day)
            result = self.run(slot, work=partial(decide, asked), force=True, only_stage="ingest")
        else:
            asked = Asked(step.verb, "because", capture_id=self.names[slot][step.number])  # type: ignore[arg-type]
            result = self.run(slot, work=partial(decide, asked), force=True)
        first = result.runs[0]
        assert all(run.status != "failed" for run in result.runs[1:]), result.runs
        return str(first.reason or first.status)

    def expect(self, step: Step) -> str:
        """The step in the model; what the answer has to say."""
        model = self.slots[step.slot]
        if step.verb == "load":
            return model.load(step.texts, self.now.date(), force=step.force)
        if step.verb == "ack":
            model.acknowledge(step.day)
            return "completed"
        return model.accept(step.number) if step.verb == "accept" else model.retract(step.number)

    def step(self) -> None:
        """A random load or decision, in the store and in the model, which say the same of it."""
        step = self.choose()
        told = self.carry_out(step)
        assert told == self.expect(step), step
        self.agree(step.slot)
        self.write_down()

    def agree(self, slot: str) -> None:
        """Fail unless the store says now of a slot what the model says."""
        model, names = self.slots[slot], self.names[slot]
        with self.reader() as store:
            known = store.known("ledger", [slot])[slot]
            rows = store.read(self.domain.tables[0], Scope({"slot": slot})).select("leg", "item", "amount", "note")
            odd = [each for each in store.anomalies("ledger") if each.anomaly.partition_key == slot]
        names += [name for name in known.captures if name not in names]
        assert len(names) == len(model.captures)
        current = names[model.current] if model.current is not None else None
        assert (known.current.entry.capture_id if known.current else None) == current
        assert known.retracted == {names[number] for number, each in enumerate(model.captures) if each.retracted}
        assert (known.held.entry.capture_id if known.held else None) == (
            names[model.held] if model.held is not None else None
        )
        assert {(leg, item): (amount, note) for leg, item, amount, note in rows.iter_rows()} == model.rows
        assert [each.anomaly.kind for each in odd if each.anomaly.kind == "odd"] == ["odd"] * bool(
            model.odd is not None and model.odd.open
        )

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
