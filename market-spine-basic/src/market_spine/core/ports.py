"""What the rooms promise each other: domains, sources and stores, as Protocols over plain records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Absent, Part, Payload, Unchanged, Unread
from market_spine.core.manifest import (
    AnomalyRecord,
    Committed,
    Entry,
    Known,
    QueryResult,
    RunRecord,
)
from market_spine.core.partition import Partition, Scope
from market_spine.core.reconcile import Unknown
from market_spine.core.revision import Change, RowDiff
from market_spine.core.schema import Table, View

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.quota import Limit, Refusal, Request


class Clock(Protocol):
    """Tells the current moment: UTC, with zone."""

    def __call__(self) -> datetime: ...


# --- what a domain declares -----------------------------------------------------------------------


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
            nothing, and takes the value of the row held before; without an entry every column is known.
        indistinct: table name to rows (key columns and their stand-ins) that were rejected only because the
            payload lacks what tells them apart; held rows that may be these stay.
        grows: rows with new keys continue what is held; only removed and changed rows make a revision.
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

    def compute(self, partition: Partition, held: Sequence[Partition], rows: pl.DataFrame) -> pl.DataFrame:
        """Compute the window of ``partition`` from the rows of the held inputs."""


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

    def grid(self, today: date, count: int, held: Collection[str]) -> Sequence[Sequence[Partition]]:
        """Rows of partitions for ``status``, newest first, at most ``count`` (FINRA: weeks x tiers).

        ``held`` names the partitions the store has, for domains whose partitions no calendar tells.
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


@runtime_checkable
class PublicationCalendar(Protocol):
    """What a Domain may add: its partitions are published on days that can be told ahead."""

    def publication_day(self, partition: Partition) -> date:
        """The day on which the partition is expected."""

    def upcoming(self, today: date, count: int) -> Sequence[Partition]:
        """The next ``count`` partitions to be published, ``today`` included, soonest first."""


# --- what a store does ----------------------------------------------------------------------------


class Reader(Protocol):
    """Reads what is known. Cannot write. Every method raises StoreError."""

    def known(self, domain: str, keys: Sequence[str] | None = None) -> Mapping[str, Known]:
        """The manifest's knowledge of each named partition, also of those it has never seen; with None, of
        every partition of the domain that it has seen."""

    def history(self, domain: str, key: str) -> Sequence[Committed]:
        """Every manifest entry of a partition, oldest first."""

    def payload(self, sha256: str) -> bytes:
        """The exact bytes kept under a digest; raises StoreCorrupt if they are missing or do not match it."""

    def read(self, table: Table, scope: Scope, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows known now in a scope, typed as declared, sorted by key."""

    def anomalies(self, domain: str | None = None, *, open_only: bool = True) -> Sequence[AnomalyRecord]:
        """Anomalies, newest first."""

    def runs(self, domain: str | None = None, limit: int = 20) -> Sequence[RunRecord]:
        """Past scheduler results, newest first."""

    def find_capture(self, capture_id: str) -> Committed | None:
        """The first manifest entry (``ingest``) that brought a capture."""

    def query(self, sql: str, as_of: datetime | str | None = None) -> QueryResult:
        """Run one read-only statement, optionally as of a moment or of a capture id.

        Raises UsageError for anything but a single reading statement, for a moment that has not
        passed yet, and, with ``as_of``, for schema-qualified or physical names.
        """

    def close(self) -> None: ...


class Commit(Protocol):
    """One transaction of one partition. Everything in it becomes visible at once, or nothing does."""

    def known(self) -> Known:
        """The partition's knowledge, read again inside the lock."""

    def next_id(self) -> int:
        """A fresh manifest id."""

    def last_in_line(self) -> None:
        """From here on no other commit becomes visible before this one, so that what is read now still holds then."""

    def add_payload(self, part: Part) -> None:
        """Keep a part's bytes, compressed, unless they are kept already."""

    def replace(
        self,
        table: Table,
        scope: Scope,
        frame: pl.DataFrame,
        manifest_id: int,
        *,
        held: pl.DataFrame | None = None,
    ) -> Change:
        """Make ``frame`` what is known in ``scope``: close what vanished or changed, add what is new.

        Args:
            table: where.
            scope: the rows this write owns; every row of ``frame`` lies in it.
            frame: the rows that are true now, columns as declared, keys unique and not null.
            manifest_id: the entry that brings them.
            held: the rows now current in the scope, if the caller knows them for certain (it parsed
                them from the payload the manifest names); saves reading them back. If the table
                disagrees while closing rows, StoreCorrupt is raised and nothing is written.
        """

    def add_entry(self, entry: Entry) -> None:
        """Write a manifest row; ``committed_at`` is set when the transaction commits."""

    def add_rejects(self, manifest_id: int, capture_id: str, rejects: pl.DataFrame) -> None:
        """Keep rejected rows (columns ``part``, ``line``, ``rule``, ``raw``)."""

    def note(self, anomaly: Anomaly) -> None:
        """Open an anomaly, or count it again if one of its kind is open for the partition."""

    def resolve(self, kinds: Iterable[str] | None = None, *, keep: Iterable[str] = ()) -> None:
        """Close the partition's open anomalies: the named kinds, or all but ``keep``."""


class Writer(Reader, Protocol):
    """Reads and writes."""

    def commit(self, partition: Partition) -> AbstractContextManager[Commit]:
        """Open the partition's transaction, waiting a bounded time for other writers.

        Raises StoreLocked when the wait runs out. Leaving the block without an error assigns
        ``committed_at`` (strictly later than every commit before) and commits; an error rolls back.
        A block that wrote nothing commits nothing.
        """

    def record_run(self, run: RunRecord) -> None:
        """Keep a scheduler result."""


class RequestLedger(Protocol):
    """Keeps the quotas of metered sources, for all processes and runs that share a store."""

    def reserve(self, request: Request, limits: Sequence[Limit], *, floor: timedelta, patience: timedelta) -> timedelta:
        """Write down one call before it is made, and say how long to wait before making it.

        Raises SourceError, kind ``quota_exhausted``, when the source has refused all calls for now, or the
        wait would be longer than ``patience``; nothing is written then.

        Args:
            request: the call.
            limits: what the source allows, over all callers.
            floor: the least time between two calls of this caller.
            patience: the longest wait that is accepted.
        """

    def refuse(self, refusal: Refusal) -> None:
        """Remember what a source refused."""

    def refusal(self, source: str, key_hash: str, capability: str) -> Refusal | None:
        """What the source last said about a capability, if that still holds."""

    def close(self) -> None: ...


def payloads(reader: Reader, capture: Entry) -> Iterator[Part]:
    """The parts of a capture with their bytes, ordered by name."""
    for part in sorted(capture.parts, key=lambda each: each.name):
        yield Part(part.name, reader.payload(part.sha256), part.origin, part.metadata)
