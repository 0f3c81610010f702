"""Rows as a capture made them known, worked out again from the kept payloads alone.

A capture whose source does not carry every field was completed from the capture before it, which its
manifest entry names; replaying it completes it from there again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from market_spine.app.standing import is_replay
from market_spine.core.domain import Domain, Normalized, Range
from market_spine.core.manifest import INGEST, NORMALIZE, Entry, PartRecord
from market_spine.core.partition import Partition
from market_spine.core.ports import Reader, payloads
from market_spine.core.revision import RowDiff
from market_spine.errors import StoreCorrupt

if TYPE_CHECKING:
    import polars as pl


WHOLE = "whole"
"""In the scope of a manifest entry beside tables' names: no part of an earlier capture belongs to it."""


class Comparison(NamedTuple):
    """A payload beside the rows that stood before it.

    Attributes:
        normalized: the payload, its tables filled with what only the rows before knew.
        before: the tables it was compared with, as they stood.
        diffs: table name to the rows that differ in the fields that both carry; the domain's first table first.
        same_rejects: it was refused the same rows.
        growing: names of the tables that grow.
        carried: some of its values were taken from the rows before.
        enriched: it knows values that the rows before lacked.
        kept: so many rows before stay because what would replace them was rejected.
    """

    normalized: Normalized
    before: Mapping[str, pl.DataFrame]
    diffs: Mapping[str, RowDiff]
    same_rejects: bool
    growing: frozenset[str] = frozenset()
    carried: bool = False
    enriched: bool = False
    kept: int = 0

    @property
    def diff(self) -> RowDiff:
        """The rows of the domain's first table that differ."""
        return next(iter(self.diffs.values()))

    @property
    def same(self) -> bool:
        """Neither has anything that the other lacks."""
        return self.same_rejects and not self.enriched and not any(each.change for each in self.diffs.values())

    @property
    def revised(self) -> bool:
        """It says something else, not merely more."""
        first = next(iter(self.diffs))
        if not self.same_rejects and first not in self.growing:
            return True
        return any(
            diff.change.removed or diff.change.changed or (diff.change.added and name not in self.growing)
            for name, diff in self.diffs.items()
        )


def compare(domain: Domain, new: Normalized, before: Normalized) -> Comparison:
    """Fill what ``new`` does not carry from ``before``, and compare the two on what both know."""
    from market_spine.core.reconcile import reconcile

    found = {
        table.name: reconcile(
            new.tables[table.name],
            new.unknown.get(table.name, ()),
            before.tables[table.name],
            before.unknown.get(table.name, ()),
            table.key,
            new.refused.get(table.name),
        )
        for table in domain.tables
        if table.name in new.tables and table.name in before.tables
    }
    filled: dict[str, pl.DataFrame] = {name: each.rows for name, each in found.items() if each.carried}
    return Comparison(
        new._replace(tables={**new.tables, **filled}) if filled else new,
        before.tables,
        {name: each.diff for name, each in found.items()},
        _same_rejects(new, before),
        growing_tables(domain),
        carried=bool(filled),
        enriched=any(each.enriched for each in found.values()),
        kept=sum(each.kept for each in found.values()),
    )


def growing_tables(domain: Domain) -> frozenset[str]:
    """Names of a domain's tables to which new rows are a continuation."""
    return frozenset(table.name for table in domain.tables if table.grows)


def _same_rejects(one: Normalized, other: Normalized) -> bool:
    """Whether two payloads were refused the same rows; told only of payloads that carry the same fields, for
    others spell the same row differently, or refuse what they cannot tell apart."""
    if one.unknown != other.unknown:
        return True
    columns = ["part", "rule", "raw"]
    return one.rejects.select(columns).sort(columns).equals(other.rejects.select(columns).sort(columns))


def replay(reader: Reader, domain: Domain, partition: Partition, capture: Entry) -> Normalized:
    """A capture's payload as its domain reads it, completed from the captures it was completed from.

    Args:
        reader: the store that keeps the payloads.
        domain: whose capture it is.
        partition: of what.
        capture: its ``ingest`` entry.

    Raises:
        ContentError: the domain, as it is now, refuses a payload it once accepted.
        StoreCorrupt: the manifest names a capture or a payload that the store does not have.
    """
    if capture.input_captures and domain.tables[0].name in capture.scope:
        return _replay_range(reader, domain, partition, capture)
    chain = [capture]
    if capture.input_captures:
        ingests = committed_ingests(reader, domain, partition)
        while chain[-1].input_captures and not is_replay(chain[-1]):
            chain.append(_one_before(chain[-1], ingests))
    *following, first = chain
    if is_replay(first):
        wanted = _contributions(first, ingests)
        rows = fold(reader, domain, wanted).normalized
    else:
        rows = _read(reader, domain, first)
    for entry in reversed(following):
        rows = compare(domain, _read(reader, domain, entry), rows).normalized
    return rows


def _replay_range(reader: Reader, domain: Domain, partition: Partition, capture: Entry) -> Normalized:
    """The range of a payload in which rows before stay, because what would replace them was rejected."""
    before: list[Entry] = []
    history = reader.history(domain.name, partition.key)
    for entry in (each.entry for each in history if each.entry.manifest_id < capture.manifest_id):
        if entry.stage != INGEST or entry.status not in ("committed", "emptied"):
            continue
        if entry.status == "emptied":
            before = []
        elif is_replay(entry):
            before = _contributions(entry, committed_ingests(reader, domain, partition))
        else:
            before.append(entry)
    read = _read(reader, domain, capture)
    if not before:
        return read
    rows, _ = keep_refused_rows(domain, read, _within_ranges(read, fold(reader, domain, before).normalized.tables))
    return rows


def keep_refused_rows(domain: Domain, new: Normalized, before: Mapping[str, pl.DataFrame]) -> tuple[Normalized, int]:
    """A payload of a range with the rows before under whose keys it has rejected ones, and how many those are.

    Args:
        domain: whose payload it is.
        new: the payload.
        before: table name to the rows that stand in the range it covers.
    """
    from market_spine.core.reconcile import keep_refused

    kept = {
        table.name: keep_refused(new.tables[table.name], before[table.name], new.refused[table.name], table.key)
        for table in domain.tables
        if table.name in new.refused and table.name in new.tables and table.name in before
    }
    added = sum(rows.height - new.tables[name].height for name, rows in kept.items())
    if not added:
        return new, 0
    ordered = {table.name: kept[table.name].sort(table.key) for table in domain.tables if table.name in kept}
    return new._replace(tables={**new.tables, **ordered}), added


def _within_ranges(new: Normalized, tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The rows that lie in the ranges a payload covers."""
    return {
        name: rows.filter(within(new.ranges[name])) if name in new.ranges else rows for name, rows in tables.items()
    }


class Fold(NamedTuple):
    """What some captures, replayed one after another into nothing, leave.

    Attributes:
        normalized: all rows of the partition.
        last: the last payload alone, with the parts that it took over.
        parts: where those parts are kept.
    """

    normalized: Normalized
    last: Normalized
    parts: tuple[PartRecord, ...]


def fold(reader: Reader, domain: Domain, captures: Sequence[Entry]) -> Fold:
    """Replay captures of a partition one after another, as if there had been no other.

    Args:
        reader: the store that keeps the payloads.
        domain: whose captures they are.
        captures: the entries with which they first became current, oldest first; at least one.

    Raises:
        ContentError: the domain, as it is now, refuses a payload it once accepted.
        StoreCorrupt: the manifest names a payload that the store does not have.
    """
    parts: tuple[PartRecord, ...] = ()
    rows: Normalized | None = None
    for capture in captures:
        parts = _parts_over(domain, capture, parts)
        last = _read(reader, domain, capture._replace(parts=parts))
        rows = _laid_over(domain, last, rows)
    assert rows is not None
    # What the captures left out brought alone is gone, too.
    nothing = {table.name: table.frame(()) for table in domain.tables if table.stage == NORMALIZE}
    partial = None if rows.ranges else rows.partial
    return Fold(rows._replace(tables=nothing | dict(rows.tables), partial=partial, review=None), last, parts)


def committed_ingests(reader: Reader, domain: Domain, partition: Partition) -> list[Entry]:
    """The partition's committed ``ingest`` entries, oldest first."""
    return [
        each.entry
        for each in reader.history(domain.name, partition.key)
        if each.entry.stage == INGEST and each.entry.status == "committed"
    ]


def contributions(ingests: Sequence[Entry]) -> list[Entry]:
    """The entries with which captures first became current, oldest first."""
    first: dict[str, Entry] = {}
    for entry in ingests:
        first.setdefault(entry.capture_id, entry)
    return list(first.values())


def _contributions(replayed: Entry, ingests: Sequence[Entry]) -> list[Entry]:
    first = {entry.capture_id: entry for entry in contributions(ingests)}
    if missing := [name for name in replayed.input_captures if name not in first]:
        raise StoreCorrupt(f"capture {replayed.capture_id} was replayed with {missing[0]}, which is missing")
    return [first[name] for name in replayed.input_captures]


def _one_before(capture: Entry, ingests: Sequence[Entry]) -> Entry:
    """The entry that was current when a capture came."""
    before = [entry for entry in ingests if entry.manifest_id < capture.manifest_id]
    name = capture.input_captures[0]
    if not before or before[-1].capture_id != name:
        raise StoreCorrupt(f"capture {capture.capture_id} was completed from {name}, which is missing")
    return before[-1]


def _parts_over(domain: Domain, capture: Entry, before: Sequence[PartRecord]) -> tuple[PartRecord, ...]:
    """The parts a capture was fetched with, and those before it that it did not replace, unless it is whole."""
    fetched = [part for part in capture.parts if not part.carried]
    if is_whole(domain, capture):
        return tuple(fetched)
    names = {part.name for part in fetched}
    kept = (part._replace(carried=True) for part in before if part.name not in names)
    return tuple(sorted((*fetched, *kept), key=lambda part: part.name))


def is_whole(domain: Domain, capture: Entry) -> bool:
    """Whether no part of an earlier capture belonged to one when it was fetched."""
    return domain.tables[0].name in capture.scope or WHOLE in capture.scope


def _read(reader: Reader, domain: Domain, entry: Entry) -> Normalized:
    return domain.normalize(entry.partition, tuple(payloads(reader, entry)))


def _laid_over(domain: Domain, new: Normalized, before: Normalized | None) -> Normalized:
    """The partition's rows after a payload; what it does not cover, or does not carry, stays from before."""
    if before is None:
        return new
    if not new.ranges:
        return compare(domain, new, before).normalized
    tables = dict(before.tables)
    new, _ = keep_refused_rows(domain, new, _within_ranges(new, before.tables))
    for table in domain.tables:
        if table.name not in new.tables:
            continue
        frame, covered = new.tables[table.name], new.ranges.get(table.name)
        if covered is not None and table.name in tables:
            frame = overlay(tables[table.name], frame, covered, table.key)
        tables[table.name] = frame
    return new._replace(tables=tables)


def overlay(rows: pl.DataFrame, fresh: pl.DataFrame, covered: Range, key: Sequence[str]) -> pl.DataFrame:
    """Rows with what a payload has in the range it covers in place of what they have there, sorted by key."""
    import polars as pl

    return pl.concat([rows.filter(~within(covered)), fresh]).sort(key)


def within(covered: Range) -> pl.Expr:
    """Whether a row lies in a range."""
    import polars as pl

    return pl.col(covered.column).is_between(pl.lit(covered.first), pl.lit(covered.last))
