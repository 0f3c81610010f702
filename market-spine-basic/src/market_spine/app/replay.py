"""Rows as a capture made them known, worked out again from the kept payloads alone.

A capture whose source does not carry every field was completed from the capture before it, which its
manifest entry names; replaying it completes it from there again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from market_spine.core.domain import Domain, Normalized
from market_spine.core.manifest import INGEST, Entry
from market_spine.core.partition import Partition
from market_spine.core.ports import Reader, payloads
from market_spine.core.reconcile import Reconciled, reconcile
from market_spine.errors import StoreCorrupt

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Completed:
    """A payload completed from what was held before it.

    Attributes:
        normalized: the payload, its tables filled with what only the held rows knew.
        compared: table name to what the comparison with the held rows found.
    """

    normalized: Normalized
    compared: Mapping[str, Reconciled]

    @property
    def carried(self) -> bool:
        """Whether any value was taken from the held rows."""
        return any(each.carried for each in self.compared.values())

    @property
    def enriched(self) -> bool:
        """Whether the payload knows any value that the held rows lacked."""
        return any(each.enriched for each in self.compared.values())


def complete(domain: Domain, new: Normalized, held: Normalized) -> Completed:
    """Fill what ``new`` does not carry from ``held``, and compare the two on what both know."""
    compared = {
        table.name: reconcile(
            new.tables[table.name],
            new.unknown.get(table.name, ()),
            held.tables[table.name],
            held.unknown.get(table.name, ()),
            table.key,
            new.indistinct.get(table.name),
        )
        for table in domain.tables
        if table.name in new.tables and table.name in held.tables
    }
    filled: dict[str, pl.DataFrame] = {name: found.rows for name, found in compared.items() if found.carried}
    return Completed(replace(new, tables={**new.tables, **filled}) if filled else new, compared)


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
        rows = complete(domain, following, rows).normalized
    return rows
