"""The state of a partition: one function decides it, for the grid, for counts and for whoever selects by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from market_spine.core.anomaly import HELD, LATE
from market_spine.core.domain import Domain, Publication
from market_spine.core.kept import AnomalyRecord
from market_spine.core.manifest import Known, legs_of
from market_spine.core.partition import Partition
from market_spine.core.ports import Reader

if TYPE_CHECKING:
    from pydantic import ConfigDict


class State(StrEnum):
    """Where a partition stands: the first that applies, in this order. The set is open."""

    FAILED = "failed"
    """The last attempt ended with an error that is still open."""
    HELD = "held"
    """A guard keeps its latest payload back; a person has to decide."""
    LATE = "late"
    """It has been published, was to be loaded, and is not there."""
    RETRACTED = "retracted"
    """Its latest capture has been retracted; readers see what was known without it, if anything."""
    WARNED = "warned"
    """It is loaded, and a warning about it is open."""
    REVISED = "revised"
    """It is loaded, and the source has restated it since the first capture."""
    CAPTURED = "captured"
    """It is loaded."""
    PUBLISHED = "published"
    """It is published during this day."""
    NOT_LOADED = "not_loaded"
    """It has been published, and nobody ever asked for it."""
    NOT_DUE = "not_due"
    """It is not published yet."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """The kinds of a partition's unresolved anomalies.

    Attributes:
        errors: open ones of severity error, but for those of guards that hold a payload.
        holding: open ones of guards that hold a payload.
        warnings: the other open ones.
        acknowledged: those that a person has seen and set aside.
        holds: a guard's anomaly is unresolved, set aside or not.
    """

    errors: frozenset[str] = frozenset()
    holding: frozenset[str] = frozenset()
    warnings: frozenset[str] = frozenset()
    acknowledged: frozenset[str] = frozenset()
    holds: bool = False

    @classmethod
    def of(cls, records: Sequence[AnomalyRecord]) -> Noticed:
        """Sort a partition's unresolved anomalies."""
        found: dict[str, set[str]] = {"errors": set(), "holding": set(), "warnings": set(), "acknowledged": set()}
        for record in records:
            anomaly = record.anomaly
            if record.acknowledged_at is not None:
                place = "acknowledged"
            elif anomaly.severity != "error":
                place = "warnings"
            else:
                place = "holding" if HELD in anomaly.details else "errors"
            found[place].add(anomaly.kind)
        holds = any(HELD in record.anomaly.details for record in records)
        return cls(**{name: frozenset(kinds) for name, kinds in found.items()}, holds=holds)


def decide_state(known: Known, noticed: Noticed, publication: Publication, *, wanted: bool) -> State:
    """THE state of a partition: the first that applies.

    Args:
        known: what the manifest says of it.
        noticed: its unresolved anomalies.
        publication: where it stands in its calendar.
        wanted: it comes after the first known partition of its line, so that its absence is noticed.
    """
    published = publication is Publication.PUBLISHED
    wanted = (wanted and LATE not in noticed.acknowledged) or LATE in noticed.errors
    rules = {
        State.FAILED: bool(noticed.errors - {LATE}),
        State.HELD: known.held is not None and noticed.holds,
        State.LATE: known.current is None and published and wanted and not known.retracted,
        State.RETRACTED: bool(known.captures) and known.captures[-1] in known.retracted,
        State.WARNED: known.current is not None and bool(noticed.warnings),
        State.REVISED: known.current is not None and known.revisions > 0,
        State.CAPTURED: known.current is not None,
        State.PUBLISHED: publication is Publication.DUE,
        State.NOT_LOADED: published,
    }
    return next((state for state, applies in rules.items() if applies), State.NOT_DUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """One partition as ``market-spine status --json`` lists it: its state, and flags beside it."""

    __pydantic_config__: ClassVar[ConfigDict] = {"use_attribute_docstrings": True}

    partition_key: str
    """The partition's values joined by a bar."""
    state: str
    """The first word of docs/contract.md that applies; the set of words is open."""
    expected: date | None = None
    """The day it is published, while that lies ahead and the calendar can tell."""
    revisions: int = 0
    """How often the source has restated it since the first capture."""
    capture_id: str | None = None
    """The capture that readers see; null if there is none."""
    captured_at: datetime | None = None
    """When that capture was first committed; UTC."""
    row_count: int | None = None
    """Rows of that capture."""
    legs: tuple[str, ...] = ()
    """The legs of that capture, where the domain has legs: ATS, NON_ATS."""
    held_capture_id: str | None = None
    """The capture that a guard keeps back."""
    retracted: tuple[str, ...] = ()
    """The captures that have been retracted."""
    problems: tuple[str, ...] = ()
    """Kinds of the open anomalies of severity error."""
    warnings: tuple[str, ...] = ()
    """Kinds of the other open anomalies."""
    acknowledged: tuple[str, ...] = ()
    """Kinds of the anomalies that a person has seen and set aside."""

    @property
    def text(self) -> str:
        """The cell for people, such as ``warned: missing_leg, revised 2 times, ATS``."""
        told = [self.state.replace("_", " ") + (f" until {self.expected}" if self.expected else "")]
        kinds = [kind for kind in (*self.problems, *self.warnings) if kind != self.state]
        if kinds:
            told[0] += f": {', '.join(kinds)}"
        if self.revisions:
            times = "once" if self.revisions == 1 else f"{self.revisions} times"
            if self.state == State.REVISED:
                told[0] += f" {times}"
            else:
                told.append(f"revised {times}")
        if self.legs:
            told.append("+".join(self.legs))
        return ", ".join(told)

    def document(self) -> dict[str, Any]:
        """Its JSON form."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: value.isoformat() if isinstance(value, date) else list(value) if isinstance(value, tuple) else value
            for name, value in plain.items()
        }


@dataclass(frozen=True)
class Grid:
    """A domain's partitions as rows of the grid, newest first; ``today`` is the day on which they are judged."""

    domain: str
    today: date
    rows: Sequence[Sequence[PartitionState]] = field(default_factory=list)

    @property
    def states(self) -> list[PartitionState]:
        """All of them."""
        return [state for row in self.rows for state in row]

    @property
    def counts(self) -> dict[str, int]:
        """How many partitions are in each state, in the order of the states."""
        counted = Counter(each.state for each in self.states)
        return {state.value: counted[state] for state in State if counted[state]}

    def document(self) -> dict[str, Any]:
        """Its JSON form."""
        return {
            "domain": self.domain,
            "today": self.today.isoformat(),
            "counts": self.counts,
            "partitions": [state.document() for state in self.states],
        }


def partition_states(
    store: Reader, domain: Domain, today: date, count: int, known: Mapping[str, Known] | None = None
) -> Grid:
    """The states of a domain's partitions, at most ``count`` rows of the grid.

    ``known`` is what the manifest says of the domain, where it has been read already.
    """
    known = store.known(domain.name) if known is None else known
    rows = domain.grid(today, count, known.keys())
    states = iter(_decided(store, domain, today, [partition for row in rows for partition in row], known))
    return Grid(domain.name, today, [[next(states) for _ in row] for row in rows])


def states_of(
    store: Reader,
    domain: Domain,
    today: date,
    partitions: Sequence[Partition],
    known: Mapping[str, Known] | None = None,
) -> list[PartitionState]:
    """The states of some of a domain's partitions, in their order; ``known`` as for ``partition_states``."""
    return _decided(store, domain, today, partitions, store.known(domain.name) if known is None else known)


def _decided(
    store: Reader, domain: Domain, today: date, partitions: Sequence[Partition], known: Mapping[str, Known]
) -> list[PartitionState]:
    """The states of partitions, given all that is known of their domain."""
    records: dict[str, list[AnomalyRecord]] = {}
    for record in store.anomalies(domain.name, acknowledged=True):
        records.setdefault(record.anomaly.partition_key, []).append(record)
    first = _first_known(domain, known)

    def state(partition: Partition) -> PartitionState:
        own = known.get(partition.key) or Known(partition.key)
        noticed = Noticed.of(records.get(partition.key, ()))
        place = domain.place(partition)
        wanted = place is not None and place.line in first and first[place.line] < place.position
        return _described(
            domain,
            partition,
            own,
            noticed,
            decide_state(own, noticed, domain.publication(partition, today), wanted=wanted),
        )

    return [state(partition) for partition in partitions]


def _first_known(domain: Domain, known: Mapping[str, Known]) -> dict[str, int]:
    """Line of partitions to the position of the first that is known."""
    first: dict[str, int] = {}
    for key, own in known.items():
        place = domain.place(domain.partition(key)) if own.current else None
        if place is not None:
            first[place.line] = min(place.position, first.get(place.line, place.position))
    return first


def _described(domain: Domain, partition: Partition, known: Known, noticed: Noticed, state: State) -> PartitionState:
    current = known.current
    expected = domain.publication_day(partition) if state is State.NOT_DUE else None
    return PartitionState(
        partition_key=partition.key,
        state=state.value,
        expected=expected,
        revisions=known.revisions,
        capture_id=current.entry.capture_id if current else None,
        captured_at=current.captured_at if current else None,
        row_count=current.entry.row_count if current else None,
        legs=legs_of(current.entry, domain.legs) if current else (),
        held_capture_id=known.held.entry.capture_id if known.held else None,
        retracted=tuple(name for name in known.captures if name in known.retracted),
        problems=tuple(sorted(noticed.errors | noticed.holding)),
        warnings=tuple(sorted(noticed.warnings)),
        acknowledged=tuple(sorted(noticed.acknowledged)),
    )
