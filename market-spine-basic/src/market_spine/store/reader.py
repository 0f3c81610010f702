"""Reading what is known: the Reader of ``core.ports`` over any Database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from market_spine.core.manifest import Committed, Known, Moves, RunRecord
from market_spine.core.partition import Scope
from market_spine.core.schema import Table
from market_spine.errors import StoreCorrupt
from market_spine.store import manifest, moments, records
from market_spine.store.answering import AskingReader
from market_spine.store.keeping import Keeping
from market_spine.store.steady import steadily

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.commitlog import PastCommit, PastNotices, PastRun
    from market_spine.core.figures import RunFigures
    from market_spine.core.kept import AnomalyRecord, CheckRecord, DecisionRecord, Reject
    from market_spine.core.notice import NoticeRecord
    from market_spine.core.quota import Refusal

_MET = "run_id IN (SELECT run_id FROM core_run_partitions WHERE partition_key = ?)"
_BEFORE = "recorded_at < (SELECT recorded_at FROM core_runs WHERE run_id = ?)"
_MOST = 2**63 - 1
"""The largest number that a database takes."""


@steadily
class StoreReader(Keeping, AskingReader):
    """Reads through one connection; each method sees one state of the store. Closes as a context manager."""

    def known(
        self, domain: str, keys: Sequence[str] | None = None, *, as_of: datetime | None = None
    ) -> Mapping[str, Known]:
        """The manifest's knowledge of the named partitions, now or at a moment that has passed; a named one that
        was never seen is empty."""
        at = None if as_of is None else self._settled(as_of)
        with self._db.snapshot():
            return manifest.read_known(self._db, domain, keys, at)

    def now(self) -> datetime:
        """The present by the clock that the store's moments go by."""
        return self._clock()

    def partition_keys(self, domain: str) -> Sequence[str]:
        """The keys of every partition of the domain, in text order."""
        return manifest.read_keys(self._db, domain)

    def entry_counts(self, domain: str, *, as_of: datetime | None = None) -> Mapping[str, int]:
        """How many manifest entries each partition of the domain has, or had at a moment that has passed."""
        condition, params = "domain = ?", [domain]
        if as_of is not None:
            condition += " AND committed_at <= ?"
            params.append(self._settled(as_of))
        sql = f"SELECT partition_key, COUNT(*) FROM core_manifest WHERE {condition} GROUP BY partition_key"
        return dict(self._db.rows(sql, params))

    def capture_ids(self, prefix: str, most: int) -> Sequence[str]:
        """The ids of captures that begin so, in text order."""
        return manifest.read_capture_ids(self._db, prefix, most)

    def moves(self, domain: str, versions: str) -> Moves:
        """What moved since the domain's windows were last found to stand; see ``Reader.moves`` in ``core.ports``."""
        with self._db.snapshot():
            return manifest.read_moves(self._db, domain, versions)

    def moved(self, domain: str, since: datetime) -> tuple[int, Sequence[str]]:
        """How many entries a domain had at a moment, and the partitions of which something was recorded since."""
        with self._db.snapshot():
            return manifest.read_moved(self._db, domain, moments.to_text(since))

    def history(self, domain: str, key: str) -> Sequence[Committed]:
        """Every manifest entry of a partition, oldest first."""
        with self._db.snapshot():
            return list(manifest.read_entries(self._db, "domain = ? AND partition_key = ?", (domain, key)))

    def restated(self, since: datetime, until: datetime, most: int) -> Sequence[Committed]:
        """The commits between two moments by which captures replaced earlier ones, newest first, without parts."""
        return manifest.read_restated(self._db, moments.to_text(since), moments.to_text(until), most)

    def rejects(self, capture_id: str, most: int) -> Sequence[Reject]:
        """Rows of a capture that were refused, in the order of its parts and lines."""
        return manifest.read_rejects(self._db, capture_id, most)

    def payload(self, sha256: str) -> bytes:
        """The exact bytes kept under a digest; raises StoreCorrupt if they are missing or do not match it."""
        from market_spine.store import codec

        rows = self._db.rows("SELECT codec, size, data FROM core_payloads WHERE sha256 = ?", (sha256,))
        if not rows:
            raise StoreCorrupt(
                f"no payload is kept under {sha256}",
                hint="restore core_payloads from a backup of the database",
            )
        ((name, size, data),) = rows
        return codec.decode(sha256, name, size, data)

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
        from market_spine.store import past

        wanted = table.names if columns is None else tuple(columns)
        needed = [name for name in table.names if name in wanted or (in_order and name in table.key)]
        as_of = self._past if as_of is None else as_of
        if as_of is None:
            frame = self._db.read_frame(table, scope, needed)
        else:
            found = self.query(past.statement(table, scope, needed), as_of)
            frame = past.typed(table, found)
        if not in_order:
            return frame.select(wanted)
        # Not by what is the same in every row, which would take twice as long.
        return frame.sort([name for name in table.key if name not in scope.equals] or table.key).select(wanted)

    def last_asked(self, source: str) -> Mapping[str, datetime]:
        """When a metered source was last asked, for each subject of the quota ledger."""
        from market_spine.store import figures

        return figures.last_asked(self._db, source)

    def asked(self, source: str, key_hash: str, since: datetime) -> Sequence[datetime]:
        """The moments of the calls with a key that the quota ledger has from some moment on, in order."""
        from market_spine.store import figures

        return figures.asked(self._db, source, key_hash, since)

    def refusals(self, source: str, key_hash: str) -> Mapping[str, Refusal]:
        """What a source last said about each capability, also where that no longer holds."""
        from market_spine.store.ledger import read_refusals

        return read_refusals(self._db, source, key_hash, self._clock())

    def anomalies(
        self,
        domain: str | None = None,
        *,
        open_only: bool = True,
        acknowledged: bool = False,
        as_of: datetime | None = None,
    ) -> Sequence[AnomalyRecord]:
        """Anomalies, now or as of a moment that has passed; see ``Reader.anomalies`` in ``core.ports``."""
        conditions = ["resolved_at IS NULL"] if open_only else []
        conditions += ["acknowledged_at IS NULL"] if open_only and not acknowledged else []
        if domain is not None:
            name = domain.replace("'", "''")
            conditions.append(f"domain = '{name}'")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = (
            f"SELECT {records.ANOMALY_COLUMNS} FROM core_anomalies {where}"
            " ORDER BY last_seen DESC, domain, partition_key, kind, first_seen DESC"
        )
        rows = self._db.rows(sql, ()) if as_of is None else self.query(sql, as_of).rows
        return [records.anomaly_record(row) for row in rows]

    def decisions(self, domain: str | None = None, key: str | None = None) -> Sequence[DecisionRecord]:
        """What was decided, oldest first; of one partition if ``key`` is given."""
        asked = {"domain": domain, "partition_key": key}
        given = {name: value for name, value in asked.items() if value is not None}
        where = " AND ".join([*(f"{name} = ?" for name in given), "1 = 1"])
        return manifest.read_decisions(self._db, where, tuple(given.values()))

    def runs(
        self, domain: str | None = None, limit: int = 20, *, key: str | None = None, before: str | None = None
    ) -> Sequence[RunRecord]:
        """Past scheduler results, newest first.

        Args:
            domain: of this domain alone.
            limit: how many.
            key: of those that met this partition alone; with ``domain``.
            before: of those recorded before the run of this id.
        """
        asked = {"domain = ?": domain, _MET: key, _BEFORE: before}
        given = {condition: value for condition, value in asked.items() if value is not None}
        where = " AND ".join([*given, "1 = 1"])
        sql = f"SELECT {records.RUN_COLUMNS} FROM core_runs WHERE {where} ORDER BY recorded_at DESC LIMIT ?"
        return [records.run_record(row) for row in self._db.rows(sql, (*given.values(), min(limit, _MOST)))]

    def find_run(self, run_id: str) -> RunRecord | None:
        """The result of one run."""
        sql = f"SELECT {records.RUN_COLUMNS} FROM core_runs WHERE run_id = ?"
        return next((records.run_record(row) for row in self._db.rows(sql, (run_id,))), None)

    def checks(self, domain: str, key: str, limit: int = 20, *, before: str | None = None) -> Sequence[CheckRecord]:
        """What the latest ``limit`` runs that met a partition found of it, newest run first, each run in its order."""
        earlier = "" if before is None else f"AND {_BEFORE}"
        params = (domain, key) if before is None else (domain, key, before)
        sql = (
            f"SELECT {records.CHECK_COLUMNS} FROM core_run_partitions WHERE domain = ? AND partition_key = ?"
            f" AND recorded_at IN (SELECT DISTINCT recorded_at FROM core_run_partitions"
            f" WHERE domain = ? AND partition_key = ? {earlier} ORDER BY 1 DESC LIMIT ?)"
            " ORDER BY recorded_at DESC, position"
        )
        found = self._db.rows(sql, (domain, key, *params, min(limit, _MOST)))
        return [records.check_record(row) for row in found]

    def notices(self, domain: str) -> Sequence[NoticeRecord]:
        """What others were told about a domain, oldest first."""
        sql = f"SELECT {records.NOTICE_COLUMNS} FROM core_notifications WHERE domain = ? ORDER BY notification_id"
        return [records.notice_record(row) for row in self._db.rows(sql, (domain,))]

    def run_figures(self, domain: str, scheduler: str) -> RunFigures | None:
        """What monitoring asks of a scheduler's runs; None if it never ran."""
        from market_spine.store import figures

        with self._db.snapshot():
            return figures.run_figures(self._db, domain, scheduler)

    def calls(self) -> Mapping[str, int]:
        """How many calls to each metered source the quota ledger has."""
        from market_spine.store import figures

        return figures.calls(self._db)

    def log(self) -> Sequence[PastCommit | PastRun | PastNotices]:
        """Every transaction, oldest first, as of one state of the store."""
        from market_spine.store import commitlog

        with self._db.snapshot():
            return commitlog.read_log(self._db)

    def close(self) -> None:
        """Release the connection."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
