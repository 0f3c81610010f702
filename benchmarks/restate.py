"""Small restatements of a store's partitions, one commit each: ``python restate.py DATABASE COUNT``."""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime

import polars as pl

from market_spine import registry
from market_spine.core.manifest import NORMALIZE, Entry
from market_spine.core.partition import Scope
from market_spine.store import open_writer, parse_url
from spine.domains.finra.otc_transparency.schema import NAME, VENUE_VOLUME

ROWS = 3
"""Rows that each changes."""


def main() -> None:
    """Change a few rows of a partition, again and again, as a publisher that corrects itself daily."""
    database, count = sys.argv[1], int(sys.argv[2])
    chance = random.Random(1)
    with open_writer(parse_url(database), registry.domains(), clock=lambda: datetime.now(UTC)) as store:
        keys = sorted(store.known(NAME))
        domain = next(each for each in registry.domains() if each.name == NAME)
        for number in range(count):
            partition = domain.partition(chance.choice(keys))
            scope = Scope(dict(zip(VENUE_VOLUME.partition_by, partition.values, strict=True)))
            rows = store.read(VENUE_VOLUME, scope)
            chosen = pl.int_range(pl.len()).is_in(chance.sample(range(rows.height), min(ROWS, rows.height)))
            frame = rows.with_columns(
                share_volume=pl.when(chosen).then(pl.col("share_volume") + 1 + number).otherwise("share_volume")
            )
            prepared = store.prepare(VENUE_VOLUME, scope, frame)
            with store.commit(partition) as commit:
                entry = commit.next_id()
                commit.put(prepared, entry)
                commit.add_entry(
                    Entry(
                        entry,
                        partition,
                        NORMALIZE,
                        "committed",
                        f"restated {number}",
                        "f",
                        "1",
                        "s",
                        "c",
                        ROWS,
                        "bench",
                    )
                )


if __name__ == "__main__":
    main()
