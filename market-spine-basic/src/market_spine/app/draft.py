"""What one partition's run is about to write, worked out before any lock is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Part
from market_spine.core.domain import Domain, Normalized, Range
from market_spine.core.kinds import read_value, scope_value
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.core.ports import Clock, Commit, Replacement, Writer
from market_spine.core.revision import Change, RowDiff
from market_spine.core.schema import Table
from market_spine.errors import MarketSpineError

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.decision import Decision

_NOTHING = Change()


class StageDraft:
    """The rows of one derived stage.

    Attributes:
        entry: its manifest entry.
        frames: table name to its rows.
        scopes: table name to what its rows are of, where that is not the whole partition.
        diffs: table name to how its rows differ from those that stand, where that is surely known.
        is_revision: there were rows before.
        standing: the manifest has this very fingerprint already: only rows that differ are written.
        elapsed: how long it took so far.
        change: how many rows differed.
        review: what the domain finds odd about the partition as a whole, with these rows.
        prepared: what was worked out before the transaction.
    """

    def __init__(
        self,
        entry: Entry,
        frames: Mapping[str, pl.DataFrame],
        scopes: Mapping[str, Scope] | None = None,
        diffs: Mapping[str, RowDiff] | None = None,
        *,
        is_revision: bool = False,
        standing: bool = False,
        elapsed: timedelta = timedelta(),
        change: Change = _NOTHING,
        review: tuple[Anomaly, ...] = (),
    ) -> None:
        self.entry = entry
        self.frames = frames
        self.scopes = scopes or {}
        self.diffs = diffs or {}
        self.is_revision = is_revision
        self.standing = standing
        self.elapsed = elapsed
        self.change = change
        self.review = review
        self.prepared: list[Replacement] = []

    def prepare(self, store: Writer, domain: Domain, clock: Clock) -> None:
        """Do what can be done before the transaction."""
        started = clock()
        self.prepared = [
            store.prepare(
                table,
                self.scopes.get(table.name) or partition_scope(table, self.entry.partition),
                self.frames[table.name],
                diff=self.diffs.get(table.name),
            )
            for table in domain.tables
            if table.name in self.frames
        ]
        self.elapsed += clock() - started

    def write(self, commit: Commit, clock: Clock) -> None:
        """Replace each table, once prepared; the manifest row is written only if it says something new."""
        started = clock()
        manifest_id = commit.next_id()
        self.change = self.replace_rows(commit, manifest_id)
        if self.change or not self.standing:
            commit.add_entry(
                self.entry._replace(
                    manifest_id=manifest_id,
                    change=self.change,
                    is_revision=self.is_revision and bool(self.change),
                )
            )
        self.elapsed += clock() - started

    def replace_rows(self, commit: Commit, manifest_id: int) -> Change:
        """Replace each table's rows on behalf of a manifest entry; returns the counts over all tables."""
        counts = [commit.put(prepared, manifest_id) for prepared in self.prepared]
        return Change(
            sum(each.added for each in counts),
            sum(each.removed for each in counts),
            sum(each.changed for each in counts),
        )


class Draft:
    """Everything one transaction will write, and what became of the stages after ingest.

    Attributes:
        decisions: what was decided.
        taken: the capture that a decision takes back.
        ingest: the entry of a capture.
        parts: its parts that were fetched.
        rejects: its rows that were refused.
        stages: the derived stages to write, by name.
        up_to_date: those that stand as they are.
        failed: the first that failed; then none is written.
        anomalies: what is odd.
        resolves: kinds of open anomalies that this run puts an end to.
    """

    def __init__(
        self,
        *,
        decisions: Sequence[Decision] = (),
        taken: Entry | None = None,
        ingest: Entry | None = None,
        parts: tuple[Part, ...] = (),
        rejects: pl.DataFrame | None = None,
        resolves: frozenset[str] = frozenset(),
    ) -> None:
        self.decisions = list(decisions)
        self.taken = taken
        self.ingest = ingest
        self.parts = parts
        self.rejects = rejects
        self.stages: dict[str, StageDraft] = {}
        self.up_to_date: list[str] = []
        self.failed: tuple[str, MarketSpineError] | None = None
        self.anomalies: list[Anomaly] = []
        self.resolves = resolves

    def __bool__(self) -> bool:
        return bool(self.decisions or self.ingest or self.stages or self.anomalies or self.resolves)

    def prepare(self, store: Writer, domain: Domain, clock: Clock) -> None:
        """Do what can be done before the transaction."""
        for stage in self.stages.values():
            stage.prepare(store, domain, clock)

    def write(self, commit: Commit, domain: Domain, clock: Clock) -> None:
        """Write it all, once prepared, through one open transaction."""
        for decision in self.decisions:
            commit.decide(decision)
        if self.taken is not None:
            write_taken(commit, domain, self.taken._replace(manifest_id=commit.next_id()))
        if self.ingest is not None:
            entry = self.ingest._replace(manifest_id=commit.next_id())
            for part in self.parts:
                commit.add_payload(part)
            commit.add_entry(entry)
            if self.rejects is not None and self.rejects.height:
                commit.add_rejects(entry.manifest_id, entry.capture_id, self.rejects)
        for stage in self.stages.values():
            stage.write(commit, clock)
        noted = {anomaly.kind for anomaly in self.anomalies}
        if self.resolves - noted:
            commit.resolve(self.resolves - noted)
        for anomaly in self.anomalies:
            commit.note(anomaly)


def partition_scope(table: Table, partition: Partition, covered: Range | None = None) -> Scope:
    """The rows of one partition, its values in the table's partition columns; or a range of them."""
    kinds = {column.name: column.kind for column in table.columns}
    values = zip(table.partition_by, partition.values, strict=True)
    own = {name: read_value(kinds[name], text) for name, text in values}
    if covered is None:
        return Scope(own)
    return Scope(own, {covered.column: (scope_value(covered.first), scope_value(covered.last))})


def covered_scopes(domain: Domain, partition: Partition, normalized: Normalized) -> dict[str, Scope]:
    """Table name to the range of the partition that a payload covers, for the tables it does not cover whole."""
    ranges = normalized.ranges
    return {
        table.name: partition_scope(table, partition, ranges[table.name])
        for table in domain.tables
        if table.name in ranges
    }


def write_taken(commit: Commit, domain: Domain, taken: Entry) -> None:
    """Write the entry that takes a capture back; if nothing is left without it, close all rows of the partition."""
    commit.add_entry(taken)
    if taken.status == "emptied":
        for table in domain.tables:
            commit.replace(table, partition_scope(table, taken.partition), table.frame(()), taken.manifest_id)
