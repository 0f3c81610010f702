"""What a domain is made of: its declarations, its transforms and its sources, as plain records and Protocols."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Absent, Part, Payload, Unchanged, Unread
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition, Scope
from market_spine.core.reconcile import Unknown
from market_spine.core.revision import RowDiff
from market_spine.core.schema import Table, View

if TYPE_CHECKING:
    import polars as pl


class Publication(StrEnum):
    """Whether a partition can be expected from its source."""

    NOT_DUE = "not_due"
    """It is not published yet."""
    DUE = "due"
    """It is published during this day."""
    PUBLISHED = "published"
    """It has been published; if it is absent and was never captured, it is late."""


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of a partition.

    Attributes:
        name: ``ingest``, ``normalize``, ``calc`` or a window's stage name.
        pipeline: the name shown in the result, such as ``finra.otc_transparency.ingest_week``.
        version: raised by hand whenever the stage's code would compute something else from the same input.
    """

    name: str
    pipeline: str
    version: str


@dataclass(frozen=True, slots=True)
class Concern:
    """A reason to hold a payload that otherwise parsed; ``--force`` lets it through."""

    kind: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Normalized:
    """A payload read by its domain.

    Attributes:
        tables: table name to its rows, typed and ordered as declared. The domain's first table is
            the one whose rows a revision summary and ``diff`` count.
        scopes: table name to what a replace may touch; missing = the partition's own columns.
        rejects: rows refused, columns ``part`` (String), ``line`` (Int64), ``rule`` (String), ``raw`` (String).
        rows_read: data rows in the payload = accepted + rejected + duplicates.
        duplicates: exact repetitions that were dropped.
        concerns: what the domain itself found that should hold the payload.
        anomalies: what is odd but holds nothing.
        unknown: table name to the columns that the payload does not carry. Such a column is compared with
            nothing, and takes the value of the row before; without an entry every column is known.
        indistinct: table name to rows (key columns and their stand-ins) that were rejected only because the
            payload lacks what tells them apart; known rows that may be these stay.
        grows: rows with new keys continue what is known; only removed and changed rows make a revision.
        review: asked for further anomalies once the first table's rows were compared with those that stand
            in its scope.
    """

    tables: Mapping[str, pl.DataFrame]
    rejects: pl.DataFrame
    rows_read: int
    duplicates: int
    scopes: Mapping[str, Scope] = field(default_factory=dict)
    concerns: tuple[Concern, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    unknown: Mapping[str, tuple[Unknown, ...]] = field(default_factory=dict)
    indistinct: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    grows: bool = False
    review: Callable[[RowDiff], tuple[Anomaly, ...]] | None = None


class WindowCalc(Protocol):
    """A calculation that looks at neighbouring partitions; each result belongs to one partition."""

    @property
    def spec(self) -> StageSpec: ...
    @property
    def table(self) -> Table:
        """The table it fills."""

    @property
    def reads(self) -> tuple[str, tuple[str, ...]]:
        """The table it reads, filled by the ``calc`` stage, and the columns it needs."""

    def inputs(self, partition: Partition) -> Sequence[Partition]:
        """The partitions whose rows the window of ``partition`` covers, oldest first, itself last."""

    def compute(self, partition: Partition, present: Sequence[Partition], rows: pl.DataFrame) -> pl.DataFrame:
        """Compute the window of ``partition`` from the rows of the inputs that are present."""


class Domain(Protocol):
    """A domain's descriptor, found through the entry point group ``market_spine.domains``.

    Importing it must cost next to nothing: methods import what they need when they are called.
    """

    @property
    def name(self) -> str:
        """Full name, such as ``finra.otc_transparency``."""

    @property
    def scheduler(self) -> str:
        """The scheduler's name in the result, such as ``weekly_ingest``."""

    @property
    def partition_fields(self) -> tuple[str, ...]:
        """Names of a partition's values, such as ``("week_ending", "tier")``."""

    @property
    def tables(self) -> tuple[Table, ...]: ...
    @property
    def views(self) -> tuple[View, ...]: ...
    @property
    def migrations(self) -> str:
        """Package that holds the numbered SQL files, such as ``spine.domains.x.migrations``."""

    @property
    def stages(self) -> tuple[StageSpec, StageSpec, StageSpec]:
        """``ingest``, ``normalize`` and ``calc``."""

    @property
    def windows(self) -> tuple[WindowCalc, ...]: ...

    def partition(self, key: str) -> Partition:
        """Check and build a partition from its key; raises UsageError saying what a key looks like."""

    def capture_labels(self, partition: Partition) -> tuple[str, ...]:
        """The partition's values in the order a capture id shows them."""

    def publication(self, partition: Partition, today: date) -> Publication:
        """Where the partition stands in its publication calendar on that day."""

    def normalize(self, partition: Partition, parts: Sequence[Part]) -> Normalized:
        """Parse and normalize a payload; raises ContentError when it must be refused whole."""

    def compute(self, partition: Partition, tables: Mapping[str, pl.DataFrame]) -> Mapping[str, pl.DataFrame]:
        """Compute the ``calc`` tables of a partition from its normalized tables."""

    def grid(self, today: date, count: int, known: Collection[str]) -> Sequence[Sequence[Partition]]:
        """Rows of partitions for ``status``, newest first, at most ``count`` (FINRA: weeks x tiers).

        ``known`` names the partitions the store has, for domains whose partitions no calendar tells.
        """

    def commands(self) -> Mapping[str, str]:
        """Platform command group to ``module:attribute`` of a click command: ``schedule``, ``sample-data``, ..."""


class Source(Protocol):
    """Where payloads come from. Picklable; opens what it needs when it fetches."""

    def fetch(self, partition: Partition, known: Known) -> Payload | Absent | Unchanged | Unread:
        """Fetch one partition, given what the manifest knows of it; raises SourceError."""


@runtime_checkable
class Listing(Protocol):
    """What a Source may add: it can tell what it offers."""

    def lists(self, partition: Partition) -> bool | None:
        """Whether the partition is offered now; None where the source does not say."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a partition stands among those that can be compared with it.

    Attributes:
        line: names the line, such as a tier.
        position: the place on it, such as the number of the week; neighbours differ by one.
    """

    line: str
    position: int


@runtime_checkable
class Lined(Protocol):
    """What a Domain may add: its partitions stand in lines, such as the weeks of a tier."""

    @property
    def legs(self) -> tuple[str, ...]:
        """Names of the parts that are legs: each completes the others, and comes as a file of its own."""

    def place(self, partition: Partition) -> Place:
        """The partition's line, and its place there."""


@runtime_checkable
class PublicationCalendar(Protocol):
    """What a Domain may add: its partitions are published on days that can be told ahead."""

    def publication_day(self, partition: Partition) -> date:
        """The day on which the partition is expected."""

    def upcoming(self, today: date, count: int) -> Sequence[Partition]:
        """The next ``count`` partitions to be published, ``today`` included, soonest first."""


def place_of(domain: Domain, partition: Partition) -> Place | None:
    """Where a partition stands in its line, if its domain has lines."""
    return domain.place(partition) if isinstance(domain, Lined) else None


def legs_of(domain: Domain, parts: Iterable[str]) -> tuple[str, ...]:
    """Which of a domain's legs are among the names of parts."""
    names = set(parts)
    return tuple(leg for leg in domain.legs if leg in names) if isinstance(domain, Lined) else ()
