"""Rows as a capture made them known, worked out again from the kept payloads alone.

A capture whose source does not carry every field was completed from the capture before it, which its
manifest entry names; replaying it completes it from there again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from market_spine.core.domain import Domain, Normalized
from market_spine.core.manifest import INGEST, Entry
from market_spine.core.partition import Partition
from market_spine.core.ports import Reader, payloads
from market_spine.core.reconcile import reconcile
from market_spine.core.revision import RowDiff
from market_spine.errors import StoreCorrupt

if TYPE_CHECKING:
    import polars as pl


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
    """

    normalized: Normalized
    before: Mapping[str, pl.DataFrame]
    diffs: Mapping[str, RowDiff]
    same_rejects: bool
    growing: frozenset[str] = frozenset()
    carried: bool = False
    enriched: bool = False

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
    found = {
        table.name: reconcile(
            new.tables[table.name],
            new.unknown.get(table.name, ()),
            before.tables[table.name],
            before.unknown.get(table.name, ()),
            table.key,
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
    chain = [capture]
    if capture.input_captures:
        committed = {
            each.entry.capture_id: each.entry
            for each in reader.history(domain.name, partition.key)
            if each.entry.stage == INGEST and each.entry.status == "committed"
        }
        while chain[-1].input_captures:
            name = chain[-1].input_captures[0]
            if name not in committed:
                raise StoreCorrupt(f"capture {chain[-1].capture_id} was completed from {name}, which is missing")
            chain.append(committed[name])
    read = [domain.normalize(partition, tuple(payloads(reader, entry))) for entry in reversed(chain)]
    rows = read[0]
    for following in read[1:]:
        rows = compare(domain, following, rows).normalized
    return rows
