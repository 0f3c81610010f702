"""Writing: the Writer and the Commit of ``core.ports`` over any Database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Part
from market_spine.core.manifest import Entry, Known, RunRecord, RunStart
from market_spine.core.partition import Partition, Scope
from market_spine.core.ports import Clock, Replacement
from market_spine.core.revision import Change, RowDiff
from market_spine.core.schema import Table
from market_spine.errors import StoreError
from market_spine.store import manifest, moments, records
from market_spine.store.database import Database
from market_spine.store.reader import StoreReader

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.decision import Decision
    from market_spine.core.notice import Notice
    from market_spine.store.ledger import StoreLedger

logger = logging.getLogger(__name__)

_REJECT_COLUMNS = "manifest_id, capture_id, partition_key, part, line, rule, raw"
_REJECT_PARTS = ("part", "line", "rule", "raw")
_OPEN_KINDS = """\
SELECT kind FROM core_anomaly_events
 WHERE event = 'seen' AND event_id IN (SELECT MAX(event_id) FROM core_anomaly_events
                                        WHERE domain = ? AND partition_key = ? GROUP BY kind)
"""
_COMMITTED_SINCE = """\
SELECT MAX(committed_at), SUM(CASE WHEN run_id = ? THEN 0 ELSE 1 END) FROM core_manifest WHERE committed_at > ?
"""
_OF_RUNS = ("core_run_partitions", "core_run_ends", "core_run_starts")
_FIRST_CAPTURED = "SELECT MIN(captured_at) FROM core_manifest WHERE capture_id = ? AND stage = 'ingest'"


class StoreCommit:
    """One transaction of one partition; made by ``StoreWriter.commit``.

    Manifest entries, anomaly events and decisions are kept back until ``finish``, because only then is it known
    when they become visible.
    """

    def __init__(self, db: Database, partition: Partition) -> None:
        self._db = db
        self._partition = partition
        self._entries: list[Entry] = []
        self._events: list[tuple[str, Anomaly | None]] = []
        self._decisions: list[Decision] = []
        self._owners: set[int] = set()
        self._kept_payload = False

    def known(self) -> Known:
        """The partition's knowledge as committed before this transaction."""
        key = self._partition.key
        return manifest.read_known(self._db, self._partition.domain, [key])[key]

    def next_id(self) -> int:
        """A fresh manifest id."""
        return self._db.next_id()

    def last_in_line(self) -> None:
        """Let no other commit become visible before this one."""
        self._db.last_in_line()

    def add_payload(self, part: Part) -> None:
        """Keep a part's bytes, compressed, unless they are kept already."""
        if self._db.rows("SELECT 1 FROM core_payloads WHERE sha256 = ?", (part.sha256,)):
            return
        from market_spine.store import codec

        name, data = codec.encode(part.data)
        self._db.require_room(len(data))
        self._kept_payload = True
        # Another partition may bring the same bytes at the same time.
        self._db.run(
            f"{records.insert_into('core_payloads', 'sha256, size, codec, data')} ON CONFLICT DO NOTHING",
            (part.sha256, len(part.data), name, data),
        )

    def replace(
        self,
        table: Table,
        scope: Scope,
        frame: pl.DataFrame,
        manifest_id: int,
        *,
        diff: RowDiff | None = None,
    ) -> Change:
        """Make ``frame`` what is known in ``scope``; see ``Commit.replace`` in ``core.ports``."""
        from market_spine.store.replacing import prepare

        return self.put(prepare(self._db, table, scope, frame, diff), manifest_id)

    def put(self, prepared: Replacement, manifest_id: int) -> Change:
        """Replace what was prepared; see ``Commit.put`` in ``core.ports``."""
        from market_spine.store.replacing import Prepared, apply

        if not isinstance(prepared, Prepared):
            raise TypeError(f"{type(prepared).__name__} was not prepared by this store")
        change = apply(self._db, prepared, manifest_id)
        if change:
            self._owners.add(manifest_id)
        return change

    def add_entry(self, entry: Entry) -> None:
        """Write a manifest row; ``committed_at`` is set when the transaction commits."""
        if entry.partition != self._partition:
            raise ValueError(f"an entry of {entry.partition.key} in a commit of {self._partition.key}")
        self._entries.append(entry)

    def add_rejects(self, manifest_id: int, capture_id: str, rejects: pl.DataFrame) -> None:
        """Keep rejected rows (columns ``part``, ``line``, ``rule``, ``raw``)."""
        if not rejects.height:
            return
        self._owners.add(manifest_id)
        head = (manifest_id, capture_id, self._partition.key)
        rows = ((*head, *row, records.storable(raw)) for *row, raw in rejects.select(*_REJECT_PARTS).iter_rows())
        self._db.run_many(records.insert_into("core_rejects", _REJECT_COLUMNS), rows)

    def note(self, anomaly: Anomaly) -> None:
        """Open an anomaly, or count it again if one of its kind is open for the partition."""
        if anomaly.partition_key != self._partition.key:
            raise ValueError(f"an anomaly of {anomaly.partition_key} in a commit of {self._partition.key}")
        self._events.append((anomaly.kind, anomaly))

    def decide(self, decision: Decision) -> None:
        """Keep a decision."""
        if decision.partition_key != self._partition.key:
            raise ValueError(f"a decision about {decision.partition_key} in a commit of {self._partition.key}")
        self._decisions.append(decision)

    def resolve(self, kinds: Iterable[str] | None = None, *, keep: Iterable[str] = ()) -> None:
        """Close the partition's open anomalies: the named kinds, or all but ``keep``."""
        rows = self._db.rows(_OPEN_KINDS, (self._partition.domain, self._partition.key))
        state = {kind: True for (kind,) in rows}
        state.update((kind, anomaly is not None) for kind, anomaly in self._events)
        chosen = set(state) if kinds is None else set(kinds)
        chosen -= set(keep)
        self._events += [(kind, None) for kind, is_open in sorted(state.items()) if is_open and kind in chosen]

    def finish(self, clock: Clock) -> bool:
        """Write what was kept back, all with one moment; False if there is nothing to commit."""
        orphans = self._owners.difference(entry.manifest_id for entry in self._entries)
        if orphans:
            raise ValueError(f"rows were written for manifest ids without an entry: {sorted(orphans)}")
        if not (self._entries or self._events or self._decisions):
            return self._kept_payload
        moment = moments.to_text(moments.next_moment(self._db, clock))
        self._write_entries(moment)
        self._write_events(moment)
        self._write_decisions(moment)
        return True

    def _write_entries(self, moment: str) -> None:
        captured: dict[str, str] = {}
        for capture_id in {entry.capture_id for entry in self._entries}:
            ((first,),) = self._db.rows(_FIRST_CAPTURED, (capture_id,))
            captured[capture_id] = moment if first is None else first
        self._db.run_many(
            records.insert_into("core_manifest", records.MANIFEST_COLUMNS),
            [records.entry_row(entry, moment, captured[entry.capture_id]) for entry in self._entries],
        )
        self._db.run_many(
            records.insert_into("core_capture_parts", records.PART_COLUMNS),
            [records.part_row(entry.manifest_id, part) for entry in self._entries for part in entry.parts],
        )

    def _write_events(self, moment: str) -> None:
        ((latest,),) = self._db.rows("SELECT COALESCE(MAX(event_id), 0) FROM core_anomaly_events")
        head = (self._partition.domain, self._partition.key)
        rows: list[Sequence[Any]] = []
        for number, (kind, anomaly) in enumerate(self._events, start=int(latest) + 1):
            if anomaly is None:
                rows.append((number, *head, kind, "resolved", None, None, None, moment))
            else:
                details = records.to_json(anomaly.details)
                message = records.storable(anomaly.message)
                rows.append((number, *head, kind, "seen", anomaly.severity, message, details, moment))
        self._db.run_many(records.insert_into("core_anomaly_events", records.EVENT_COLUMNS), rows)

    def _write_decisions(self, moment: str) -> None:
        if not self._decisions:
            return
        ((latest,),) = self._db.rows("SELECT COALESCE(MAX(decision_id), 0) FROM core_decisions")
        self._db.run_many(
            records.insert_into("core_decisions", records.DECISION_COLUMNS),
            [
                records.decision_row(number, self._partition.domain, decision, moment)
                for number, decision in enumerate(self._decisions, start=int(latest) + 1)
            ],
        )


class StoreWriter(StoreReader):
    """Reads and writes through one connection.

    Attributes:
        keep_runs: how long runs are kept; what is older goes when a result is recorded. None: for ever.
    """

    keep_runs: timedelta | None = None

    def ledger(self) -> StoreLedger:
        """The quota ledger, over the same connection."""
        from market_spine.store.ledger import StoreLedger

        return StoreLedger(self._db, self._clock)

    def prepare(self, table: Table, scope: Scope, frame: pl.DataFrame, *, diff: RowDiff | None = None) -> Replacement:
        """Work a replacement out before the transaction; see ``Writer.prepare`` in ``core.ports``."""
        from market_spine.store.replacing import prepare

        return prepare(self._db, table, scope, frame, diff)

    @contextmanager
    def commit(self, partition: Partition) -> Iterator[StoreCommit]:
        """Open the partition's transaction; see ``Writer.commit`` in ``core.ports``."""
        records.check_partition(partition)
        self._db.require_room(0)
        self._db.begin(f"partition {partition.domain} {partition.key}")
        try:
            commit = StoreCommit(self._db, partition)
            yield commit
            wrote = commit.finish(self._clock)
        except BaseException:
            self._db.rollback()
            raise
        if wrote:
            self._db.commit()
        else:
            self._db.rollback()

    def reserve_ids(self) -> None:
        """Let the ids to come lie above those that there are, after entries were written with ids of their own."""
        ((last,),) = self._db.rows("SELECT MAX(manifest_id) FROM core_manifest")
        if last is not None:
            self._db.reserve_ids(last)

    def record_start(self, run: RunStart) -> None:
        """Keep that a run has begun."""
        self._record("core_run_starts", f"{records.START_COLUMNS}, recorded_at", records.start_row(run))

    def record_run(self, run: RunRecord) -> None:
        """Keep a scheduler result, and what it found of each partition."""

        def check(moment: str) -> None:
            columns = f"position, {records.CHECK_COLUMNS}"
            self._db.run_many(records.insert_into("core_run_partitions", columns), records.check_rows(run, moment))

        self._record("core_run_ends", f"{records.RUN_COLUMNS}, recorded_at", records.run_row(run), check)
        self._prune_runs()

    def _prune_runs(self) -> None:
        """Let go of runs that are older than they are to be kept; where that cannot be done now, another run does."""
        latest = moments.latest_moment(self._db)
        if self.keep_runs is None or latest is None:
            return
        before = (moments.to_text(latest - self.keep_runs),)
        if not any(self._db.rows(f"SELECT 1 FROM {table} WHERE recorded_at < ? LIMIT 1", before) for table in _OF_RUNS):
            return
        try:
            self._db.begin()
            for table in _OF_RUNS:
                self._db.run(f"DELETE FROM {table} WHERE recorded_at < ?", before)
            self._db.commit()
        except StoreError as error:
            self._db.rollback()
            logger.info("runs older than %s days could not be removed: %s", self.keep_runs.days, error.message)

    def record_notices(self, notices: Sequence[Notice]) -> None:
        """Keep what others were told."""
        self._db.begin()
        try:
            moment = moments.to_text(moments.next_moment(self._db, self._clock))
            ((latest,),) = self._db.rows("SELECT COALESCE(MAX(notification_id), 0) FROM core_notifications")
            self._db.run_many(
                records.insert_into("core_notifications", records.NOTICE_COLUMNS),
                [records.notice_row(number, each, moment) for number, each in enumerate(notices, start=latest + 1)],
            )
        except BaseException:
            self._db.rollback()
            raise
        self._db.commit()

    def record_window_check(self, domain: str, versions: str, through: datetime, run_id: str) -> None:
        """Keep that all windows of a domain stand; see ``Writer.record_window_check`` in ``core.ports``."""
        checked = moments.to_text(through)
        ((latest, others),) = self._db.rows(_COMMITTED_SINCE, (run_id, checked))
        if latest is not None and not others:
            checked = latest
        columns = "domain, versions, checked_through, checked_at"
        self._record("core_window_checks", columns, (domain, versions, checked))

    def _record(
        self, table: str, columns: str, values: tuple[Any, ...], then: Callable[[str], None] = lambda _moment: None
    ) -> None:
        """Add one row whose last column is the moment at which it becomes visible, and what goes with it."""
        self._db.begin()
        try:
            moment = moments.to_text(moments.next_moment(self._db, self._clock))
            self._db.run(records.insert_into(table, columns), (*values, moment))
            then(moment)
        except BaseException:
            self._db.rollback()
            raise
        self._db.commit()
