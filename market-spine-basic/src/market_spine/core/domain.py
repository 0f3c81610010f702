"""What a domain is made of: its declarations, its transforms and its sources."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, runtime_checkable

from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Absent, Part, Payload, Unchanged, Unread
from market_spine.core.kinds import EXAMPLES, read_value, write_value
from market_spine.core.manifest import CALC, INGEST, NORMALIZE, Known
from market_spine.core.partition import Partition, Value
from market_spine.core.plausibility import Plausibility
from market_spine.core.revision import RowDiff
from market_spine.core.schema import Kind, Table, View
from market_spine.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.checking import CheckResult
    from market_spine.core.reconcile import Unknown
    from market_spine.core.subject import Subject


class Publication(StrEnum):
    """Whether a partition can be expected from its source."""

    NOT_DUE = "not_due"
    """It is not published yet."""
    DUE = "due"
    """It is published during this day."""
    PUBLISHED = "published"
    """It has been published; if it is absent and was never captured, it is late."""


class StageSpec(NamedTuple):
    """One stage of a partition.

    Attributes:
        name: ``ingest``, ``normalize``, ``calc`` or a window's stage name.
        pipeline: the name shown in the result, such as ``finra.otc_transparency.ingest_week``.
        version: raised by hand whenever the stage's code would compute something else from the same input.
    """

    name: str
    pipeline: str
    version: str


class Concern(NamedTuple):
    """A reason to hold a payload that otherwise parsed; ``--force`` lets it through."""

    kind: str
    message: str
    hint: str = ""


class Range(NamedTuple):
    """The rows of a table, within a partition, whose ``column`` lies between two values, both inclusive."""

    column: str
    first: Value | date
    last: Value | date


class CoversRange(NamedTuple):
    """A payload that tells of a range of its partition: what lies outside is neither compared nor touched.

    Attributes:
        ranges: table name to what the payload covers of it; a table without one is covered whole.
    """

    ranges: Mapping[str, Range]


class LacksFields(NamedTuple):
    """A payload that does not carry every field: what it cannot know is compared with nothing, and takes the
    value of the row before.

    Attributes:
        tables: table name to what the payload does not carry; a table without an entry is known in full.
    """

    tables: Mapping[str, tuple[Unknown, ...]]


class Normalized(NamedTuple):
    """A payload read by its domain.

    Attributes:
        tables: table name to its rows, typed as declared (``Table.frame`` does that). The domain's first table
            is the one whose rows a revision summary and ``diff`` count.
        rejects: rows refused, as ``rejected_rows`` makes them.
        rows_read: data rows in the payload = accepted + rejected + duplicates.
        duplicates: exact repetitions that were dropped.
        concerns: what the domain itself found that should hold the payload.
        anomalies: what is odd but holds nothing.
        review: asked for further anomalies and concerns once the first table's rows were compared with those that
            stand.
        partial: what of its partition the payload does not tell; by default it is all there is.
        refused: table name to what could be read of the keys of rejected rows, in columns of the table, null where
            nothing could: rows known under such a key stay.
        proven: the source's own totals prove the rows, so that nothing implausible about them holds them.
        settles: kinds of warnings about the content alone, such as that nothing proves it: if ``anomalies`` has
            none of one, it has ended.
    """

    tables: Mapping[str, pl.DataFrame]
    rejects: pl.DataFrame
    rows_read: int
    duplicates: int = 0
    concerns: tuple[Concern, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    review: Callable[[RowDiff], tuple[Anomaly | Concern, ...]] | None = None
    partial: CoversRange | LacksFields | None = None
    refused: Mapping[str, pl.DataFrame] = MappingProxyType({})
    proven: bool = False
    settles: frozenset[str] = frozenset()

    @property
    def ranges(self) -> Mapping[str, Range]:
        """What the payload covers of the tables that it does not cover whole."""
        return self.partial.ranges if isinstance(self.partial, CoversRange) else {}

    @property
    def unknown(self) -> Mapping[str, tuple[Unknown, ...]]:
        """What the payload does not carry of the tables that it does not know in full."""
        return self.partial.tables if isinstance(self.partial, LacksFields) else {}


def rejected_rows(rows: Sequence[tuple[str, int, str, str]] = ()) -> pl.DataFrame:
    """The frame of refused rows from (part, line, rule, raw text)."""
    import polars as pl

    schema = {"part": pl.String, "line": pl.Int64, "rule": pl.String, "raw": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


class Place(NamedTuple):
    """Where a partition stands among those that can be compared with it.

    Attributes:
        line: names the line, such as a tier.
        position: the place on it, such as the number of the week; neighbours differ by one.
    """

    line: str
    position: int


class Awaited(NamedTuple):
    """What downstream jobs wait for: partitions, and the day that each must reach to, if there is one."""

    partitions: Sequence[Partition]
    day: date | None = None


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


class Domain:
    """A domain's descriptor, found through the entry point group ``market_spine.domains``; to be inherited.

    Importing it must cost next to nothing: methods import what they need when they are called. It is pickled
    along with every task, so what it holds are declarations only.

    Attributes:
        name: full name, such as ``finra.otc_transparency``.
        scheduler: the scheduler's name in the result, such as ``weekly_ingest``.
        unit: what a partition is called in the names of the pipelines: ``week`` makes ``<name>.ingest_week``,
            ``<name>.normalize_week`` and ``<name>.compute_week``.
        versions: of ``ingest``, ``normalize`` and ``calc``; each raised by hand whenever the stage's code would
            compute something else from the same input.
        partition_fields: names of a partition's values, such as ``("week_ending", "tier")``.
        tables: the first is the one whose rows revision summaries and ``diff`` count.
        views: derived views.
        migrations: package that holds the numbered SQL files, such as ``spine.domains.x.migrations``; empty for
            a domain without tables.
        windows: calculations that look at neighbouring partitions.
        legs: names of the parts that are legs: each completes the others, and comes as a file of its own.
        refuses: the flags ``--force`` or ``--only-stage``, if the domain cannot honour them, each with the reason.
        reviewed: kinds of anomalies that only ``review`` opens and ends.
        plausibility: thresholds beyond which a payload cannot be right, those in effect while a run goes on; by
            ``RowPlausibility`` the platform judges the first table. None: none are known.
    """

    name: str
    scheduler: str = "none"
    unit: str = "partition"
    versions: tuple[str, str, str] = ("1", "1", "1")
    partition_fields: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    views: tuple[View, ...] = ()
    migrations: str = ""
    windows: tuple[WindowCalc, ...] = ()
    legs: tuple[str, ...] = ()
    refuses: Mapping[str, str] = MappingProxyType({})
    reviewed: frozenset[str] = frozenset()
    plausibility: Plausibility | None = None

    def widened(self, text: str) -> Self:
        """This domain with the thresholds that the text of its setting gives; raises UsageError."""
        if self.plausibility is None or not text:
            return self
        other = copy(self)
        other.plausibility = self.plausibility.widened(text)
        return other

    @property
    def stages(self) -> tuple[StageSpec, StageSpec, StageSpec]:
        """``ingest``, ``normalize`` and ``calc``."""
        ingest, normalize, calc = self.versions
        return (
            StageSpec(INGEST, f"{self.name}.ingest_{self.unit}", ingest),
            StageSpec(NORMALIZE, f"{self.name}.normalize_{self.unit}", normalize),
            StageSpec(CALC, f"{self.name}.compute_{self.unit}", calc),
        )

    def partition(self, key: str) -> Partition:
        """Check and build a partition from its key, each value as the kind of its column is spelt.

        Raises:
            UsageError: it is none; says what a key looks like.
        """
        kinds = self._partition_kinds()
        if not kinds:
            raise UsageError(f"{self.name} has no partitions")
        texts = key.split("|")
        try:
            values = [write_value(read_value(kind, text)) for kind, text in zip(kinds, texts, strict=True)]
        except ValueError as error:
            shape, example = "|".join(self.partition_fields), "|".join(EXAMPLES[kind] for kind in kinds)
            raise UsageError(
                f"{key!r} is not a partition of {self.name}", hint=f"a key is {shape}, such as {example}"
            ) from error
        return Partition(self.name, tuple(values))

    def spelt(self, text: str) -> Sequence[str | None]:
        """The values of the partition that a person means by ``text``, in their order; None for each left open.

        By default separated by ``|`` or ``/``, the last ones left open. What it gives need not be a partition:
        ``app.keys`` compares it with those that are known.
        """
        fields = len(self._partition_kinds())
        texts = [each.strip() for each in text.strip().split("|" if "|" in text else "/", max(0, fields - 1))]
        return [*(each or None for each in texts), *(None for _ in range(fields - len(texts)))]

    def _partition_kinds(self) -> tuple[Kind, ...]:
        """The kinds of the first table's partition columns."""
        if not self.tables:
            return ()
        kinds = {column.name: column.kind for column in self.tables[0].columns}
        return tuple(kinds[name] for name in self.tables[0].partition_by)

    def capture_labels(self, partition: Partition) -> tuple[str, ...]:
        """The partition's values in the order a capture id shows them."""
        return partition.values

    def publication(self, partition: Partition, today: date) -> Publication:
        """Where the partition stands in its publication calendar on that day; by default it is published."""
        return Publication.PUBLISHED

    def publication_day(self, partition: Partition) -> date | None:
        """The day on which the partition is expected, if that can be told ahead."""
        return None

    def upcoming(self, today: date, count: int) -> Sequence[Partition]:
        """The next ``count`` partitions to be published, ``today`` included, soonest first, as far as is known;
        each has a ``publication_day``."""
        return ()

    def awaited(self, day: date | None, today: date, known: Collection[str], *, whole_week: bool = False) -> Awaited:
        """What whoever works with a day waits for. By default all that the store has, whatever day it reaches to.

        Args:
            day: the session, or any day of the week; None for the latest that there can be.
            today: the day that decides what is published.
            known: keys of the partitions that the store has.
            whole_week: the day stands for its week.
        """
        return Awaited([self.partition(key) for key in sorted(known)])

    def reaches(self, known: Known, day: date) -> bool:
        """Whether what is current of a partition that was awaited for a day has that day; by default it does."""
        return True

    def checkup(self, *, online: bool) -> Sequence[CheckResult]:
        """What ``doctor`` says of the domain's settings, keys (whether they are set, never more) and sources.

        By default nothing.

        Args:
            online: also ask the sources whether they answer, in a way that costs no quota.
        """
        return ()

    def place(self, partition: Partition) -> Place | None:
        """Where the partition stands among those that it can be compared with, such as the weeks of a tier."""
        return None

    def normalize(self, partition: Partition, parts: Sequence[Part]) -> Normalized:
        """Parse and normalize a payload; raises ContentError when it must be refused whole.

        A domain that is all views has no payloads and need not say how: it is never asked.
        """
        raise NotImplementedError(f"{self.name} reads no payloads")

    def compute(self, partition: Partition, tables: Mapping[str, pl.DataFrame]) -> Mapping[str, pl.DataFrame]:
        """Compute the ``calc`` tables of a partition; by default there are none.

        Args:
            partition: whose.
            tables: every table that ``normalize`` fills, with all rows of the partition, also those that the
                latest payload left out.
        """
        return {}

    def review(self, partition: Partition, tables: Mapping[str, pl.DataFrame]) -> Sequence[Anomaly]:
        """What is odd about all that is known of a partition, from its normalized tables: for payloads that cover
        only a range of it. By default nothing."""
        return ()

    def grid(self, today: date, count: int, known: Collection[str]) -> Sequence[Sequence[Partition]]:
        """Rows of partitions for ``status``, newest first, at most ``count`` (FINRA: weeks x tiers).

        By default what is known, one a row: where the first value is a text in alphabetical order, else the
        highest first.

        Args:
            today: the day that decides what is due.
            count: how many rows.
            known: keys of the partitions that the store has, for domains whose partitions no calendar tells.
        """
        partitions = [self.partition(key) for key in known]
        kinds = self._partition_kinds()

        def order(partition: Partition) -> list[Value]:
            return [read_value(kind, text) for kind, text in zip(kinds, partition.values, strict=True)]

        ordered = sorted(partitions, key=order, reverse=kinds[:1] not in ((), ("text",)))
        return [[partition] for partition in ordered[:count]]

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """What can be told of things that rows name, such as symbols; by default nothing."""
        return ()

    def commands(self) -> Mapping[str, str]:
        """Platform command group to ``module:attribute`` of a click command: ``schedule``, ``sample-data``, ...

        By default a domain with partitions has ``schedule`` beside its descriptor.
        """
        return {"schedule": f"{type(self).__module__}:schedule"} if self.partition_fields else {}


class Source(Protocol):
    """Where payloads come from. Picklable; opens what it needs when it fetches."""

    def fetch(self, partition: Partition, known: Known) -> Payload | Absent | Unchanged | Unread:
        """Fetch one partition, given what the manifest knows of it; raises SourceError."""


@runtime_checkable
class Placed(Protocol):
    """What a Source may add: it reads a folder."""

    @property
    def location(self) -> str:
        """Where: a path or an fsspec URL."""


@runtime_checkable
class Listing(Protocol):
    """What a Source may add: it can tell what it offers."""

    def lists(self, partition: Partition) -> bool | None:
        """Whether the partition is offered now; None where the source does not say."""
