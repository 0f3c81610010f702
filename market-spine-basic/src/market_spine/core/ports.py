"""What the rooms promise each other: clocks, readers, writers and ledgers, as Protocols over plain records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any, Protocol

from market_spine.core.capture import Part
from market_spine.core.manifest import Committed, Entry, Known, Moves, RunRecord, RunStart
from market_spine.core.partition import Partition, Scope
from market_spine.core.revision import Change, RowDiff

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.anomaly import Anomaly
    from market_spine.core.decision import Decision
    from market_spine.core.figures import RunFigures
    from market_spine.core.kept import AnomalyRecord, CheckRecord, DecisionRecord, QueryResult, Reject
    from market_spine.core.notice import Notice, NoticeRecord
    from market_spine.core.quota import Limit, PlannedCall, Refusal
    from market_spine.core.relations import RelationInfo
    from market_spine.core.schema import Table


SECONDS = 600.0
"""How long a statement may run if nothing else is asked for."""


class Clock(Protocol):
    """Tells the current moment: UTC, with zone."""

    def __call__(self) -> datetime: ...


class Reader(Protocol):
    """Reads what is known. Cannot write. Every method raises StoreError."""

    def known(
        self, domain: str, keys: Sequence[str] | None = None, *, as_of: datetime | None = None
    ) -> Mapping[str, Known]:
        """The manifest's knowledge of each named partition, also of those it has never seen; with None, of
        every partition of the domain that it has seen; now or as of a moment that has passed."""

    def moved(self, domain: str, since: datetime) -> tuple[int, Sequence[str]]:
        """How many manifest entries a domain had at a moment, and the partitions of which an entry or a decision was
        recorded since: all whose ``known`` may differ from then."""

    def now(self) -> datetime:
        """The present by the clock that the store's moments go by."""

    def partition_keys(self, domain: str) -> Sequence[str]:
        """The keys of every partition of the domain that the manifest has an entry of, in text order."""

    def entry_counts(self, domain: str, *, as_of: datetime | None = None) -> Mapping[str, int]:
        """How many manifest entries each partition of the domain has, or had at a moment that has passed."""

    def capture_ids(self, prefix: str, most: int) -> Sequence[str]:
        """The ids of captures that begin so, in text order."""

    def moves(self, domain: str, versions: str) -> Moves:
        """What moved since the domain's windows were last found to stand under these versions of their code."""

    def history(self, domain: str, key: str) -> Sequence[Committed]:
        """Every manifest entry of a partition, oldest first."""

    def payload(self, sha256: str) -> bytes:
        """The exact bytes kept under a digest; raises StoreCorrupt if they are missing or do not match it."""

    def read(
        self,
        table: Table,
        scope: Scope,
        columns: Sequence[str] | None = None,
        *,
        as_of: datetime | None = None,
        in_order: bool = True,
    ) -> pl.DataFrame:
        """The rows known in a scope, now or as of a moment that has passed, typed as declared, sorted by key.

        ``in_order`` False: in any order, for what does not depend on it; sorting takes most of the time.
        """

    def anomalies(
        self,
        domain: str | None = None,
        *,
        open_only: bool = True,
        acknowledged: bool = False,
        as_of: datetime | None = None,
    ) -> Sequence[AnomalyRecord]:
        """Anomalies, newest first, now or as of a moment that has passed: those still open; with ``acknowledged``,
        also those that a person set aside."""

    def decisions(self, domain: str | None = None, key: str | None = None) -> Sequence[DecisionRecord]:
        """What was decided, oldest first; of one partition if ``key`` is given."""

    def runs(
        self, domain: str | None = None, limit: int = 20, *, key: str | None = None, before: str | None = None
    ) -> Sequence[RunRecord]:
        """Past scheduler results, newest first; those that met one partition, those before a run."""

    def find_run(self, run_id: str) -> RunRecord | None:
        """The result of one run."""

    def checks(self, domain: str, key: str, limit: int = 20, *, before: str | None = None) -> Sequence[CheckRecord]:
        """What the latest ``limit`` runs that met a partition found of it, newest run first."""

    def notices(self, domain: str) -> Sequence[NoticeRecord]:
        """What others were told about a domain, oldest first."""

    def run_figures(self, domain: str, scheduler: str) -> RunFigures | None:
        """What monitoring asks of a scheduler's runs; None if it never ran."""

    def calls(self) -> Mapping[str, int]:
        """How many calls to each metered source the quota ledger has."""

    def last_asked(self, source: str) -> Mapping[str, datetime]:
        """When a metered source was last asked, for each subject of the quota ledger (``core_requests``)."""

    def asked(self, source: str, key_hash: str, since: datetime) -> Sequence[datetime]:
        """The moments of the calls with a key that the quota ledger has from some moment on, in order."""

    def refusals(self, source: str, key_hash: str) -> Mapping[str, Refusal]:
        """What a source last said about each capability, also where that no longer holds."""

    def restated(self, since: datetime, until: datetime, most: int) -> Sequence[Committed]:
        """The commits between two moments by which captures replaced earlier ones, newest first, without parts."""

    def rejects(self, capture_id: str, most: int) -> Sequence[Reject]:
        """Rows of a capture that were refused, in the order of its parts and lines."""

    def find_capture(self, capture_id: str) -> Committed | None:
        """The first manifest entry (``ingest``) that brought a capture."""

    def query(self, sql: str, as_of: datetime | str | None = None) -> QueryResult:
        """Run one read-only statement and take all its rows; see ``ask``. Raises UsageError for very many."""

    def ask(
        self,
        sql: str,
        as_of: datetime | str | None = None,
        *,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        pinned: bool = False,
        seconds: float = SECONDS,
    ) -> AbstractContextManager[RowStream]:
        """Run one read-only statement, optionally as of a moment or of a capture id; its rows come piece by piece.

        ``params`` are the values of its ``$name``, or ``?``, parameters. With ``pinned``, ``as_of`` is the moment of
        what was the latest commit: as long as it still is, the statement may name all that it may name without one.

        Raises UsageError for anything but a single reading statement, for one that takes longer than ``seconds``
        or more memory than a statement may, for a moment that has not passed yet, and, with ``as_of``, for
        schema-qualified or physical names.
        """

    def table(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        start: date | str | None = None,
        end: date | str | None = None,
        as_of: datetime | str | None = None,
        pinned: bool = False,
        together: bool = False,
        spill: str | None = None,
        seconds: float = SECONDS,
    ) -> AbstractContextManager[FrameStream]:
        """Rows of a table or view, typed as declared, in no particular order; they come piece by piece.

        Args:
            name: a table or view of the store.
            columns: which of its columns; None: all.
            where: column to the value, to the values, or to the ``Between`` that a row may have; None is NULL.
            start: the first day, in the relation's first column of dates.
            end: the last day, itself included.
            as_of: as ``ask`` takes it.
            pinned: as ``ask`` takes it.
            together: let a table's rows come partition by partition.
            spill: a folder for what memory does not hold; None: what needs more memory than it may is refused.
            seconds: how long it may take until the last row was read.

        Raises UsageError for names that there are not, and for values that a column cannot have.
        """

    def described(self) -> Sequence[RelationInfo]:
        """Every table and view: those of the domains in the order of their declarations, then the platform's."""

    def settled(self, as_of: datetime | str) -> datetime:
        """The moment that a moment, its text, or a capture id stands for, once it has passed; see ``ask``."""

    def latest(self) -> datetime | None:
        """The moment of the latest commit; None in a store without commits."""

    def close(self) -> None: ...


class Keeper(Reader, Protocol):
    """A Reader that also shows every version of what it keeps."""

    def versions(self, table: Table, scope: Scope) -> pl.DataFrame:
        """Every version of every row in a partition, with ``manifest_id`` and ``superseded_by``, in no order."""

    def rejected(self, key: str) -> Sequence[tuple[Any, ...]]:
        """The rejected rows of a partition: entry, capture, part, line, rule, text."""

    def counted(self, table: Table, entries: Collection[int] | None = None) -> int:
        """How many versions of rows these entries brought to a table, or all, whatever partition they are of."""


class FrameStream(Protocol):
    """Rows as frames. They can be read once; reading raises UsageError and StoreError."""

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """The columns' names, and their types in frames. Raises UsageError if two have the same name."""

    def frames(self) -> Iterator[pl.DataFrame]:
        """The rows as frames of these types, piece by piece; none if there are no rows."""


class RowStream(FrameStream, Protocol):
    """The rows of a statement. They can be read once, in one of three ways."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns' names."""

    def batches(self) -> Iterator[Sequence[tuple[Any, ...]]]:
        """The rows as plain Python values (str, int, float, bool, None), some thousands at a time."""

    def write_parquet(self, file: IO[bytes]) -> None:
        """Write the rows as a Parquet file whose columns have the statement's types."""


class Replacement(Protocol):
    """A frame that is to become what is known in a scope, with what was worked out for that beforehand."""

    @property
    def table(self) -> Table: ...

    @property
    def frame(self) -> pl.DataFrame: ...


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
        diff: RowDiff | None = None,
    ) -> Change:
        """Make ``frame`` what is known in ``scope``: close what vanished or changed, add what is new.

        Args:
            table: where.
            scope: the rows this write owns; every row of ``frame`` lies in it.
            frame: the rows that are true now, columns as declared, keys unique and not null.
            manifest_id: the entry that brings them.
            diff: how ``frame`` differs from the rows now current in the scope, all columns as declared, if the
                caller knows that for certain; saves reading them back and comparing once more. If the table
                disagrees with its numbers of rows, or while closing rows, StoreCorrupt is raised and nothing is
                written.
        """

    def put(self, prepared: Replacement, manifest_id: int) -> Change:
        """Replace what ``Writer.prepare`` prepared; what changed since then is worked out anew."""

    def add_entry(self, entry: Entry) -> None:
        """Write a manifest row; ``committed_at`` is set when the transaction commits."""

    def add_rejects(self, manifest_id: int, capture_id: str, rejects: pl.DataFrame) -> None:
        """Keep rejected rows (columns ``part``, ``line``, ``rule``, ``raw``)."""

    def note(self, anomaly: Anomaly) -> None:
        """Open an anomaly, or count it again if one of its kind is open for the partition."""

    def decide(self, decision: Decision) -> None:
        """Keep a decision."""

    def resolve(self, kinds: Iterable[str] | None = None, *, keep: Iterable[str] = ()) -> None:
        """Close the partition's open anomalies: the named kinds, or all but ``keep``."""


class Writer(Keeper, Protocol):
    """Reads and writes."""

    def prepare(self, table: Table, scope: Scope, frame: pl.DataFrame, *, diff: RowDiff | None = None) -> Replacement:
        """Do before the transaction what can be done of ``Commit.replace`` without a lock; arguments are its own."""

    def commit(self, partition: Partition) -> AbstractContextManager[Commit]:
        """Open the partition's transaction, waiting a bounded time for other writers.

        Raises StoreLocked when the wait runs out. Leaving the block without an error assigns
        ``committed_at`` (strictly later than every commit before) and commits; an error rolls back.
        A block that wrote nothing commits nothing.
        """

    def record_start(self, run: RunStart) -> None:
        """Keep that a run has begun; until its result is recorded it is ``unfinished``."""

    def record_run(self, run: RunRecord) -> None:
        """Keep a scheduler result."""

    def record_notices(self, notices: Sequence[Notice]) -> None:
        """Keep what others were told, all with one moment."""

    def record_window_check(self, domain: str, versions: str, through: datetime, run_id: str) -> None:
        """Keep that all windows of a domain stand, as far as what was committed through a moment goes.

        What the named run, which computed them, committed since stands too, if no other run committed meanwhile.
        """


class RequestLedger(Protocol):
    """Keeps the quotas of metered sources, for all processes and runs that share a store."""

    def reserve(
        self,
        request: PlannedCall,
        limits: Sequence[Limit],
        *,
        floor: timedelta,
        patience: timedelta,
        alone: timedelta = timedelta(),
    ) -> timedelta:
        """Write down one call before it is made, and say how long to wait before making it.

        Raises SourceError, kind ``quota_exhausted``, when the source has refused all calls for now, or the
        wait would be longer than ``patience``, and InHand when another caller has planned a call for the same
        subject no longer than ``alone`` ago; nothing is written then.

        Args:
            request: the call.
            limits: what the source allows, over all callers.
            floor: the least time between two calls of this caller.
            patience: the longest wait that is accepted.
            alone: how long a subject is left to the caller that asked for it.
        """

    def wait(
        self, request: PlannedCall, limits: Sequence[Limit], *, floor: timedelta, patience: timedelta
    ) -> timedelta:
        """How long a call reserved now would have to wait; writes nothing, raises as ``reserve`` does."""

    def refuse(self, refusal: Refusal) -> None:
        """Remember what a source refused."""

    def refusal(self, source: str, key_hash: str, capability: str) -> Refusal | None:
        """What the source last said about a capability, if that still holds."""

    def close(self) -> None: ...


def payloads(reader: Reader, capture: Entry) -> Iterator[Part]:
    """The parts of a capture with their bytes, ordered by name."""
    for part in sorted(capture.parts, key=lambda each: each.name):
        yield Part(part.name, reader.payload(part.sha256), part.origin, part.metadata)
