"""Every version of the rows of a store as a lake gets them: with the moments between which each was known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from market_spine.core.kinds import frame_types
from market_spine.store.views import quote

if TYPE_CHECKING:
    from market_spine.core.partition import Partition
    from market_spine.core.schema import Table
    from market_spine.store.reader import StoreReader

SECONDS = 6 * 3600.0
"""How long one read may take: as much as a first publication may need."""
MOMENT = pl.Datetime("us", "UTC")
KNOWN = {"capture_id": pl.String(), "captured_at": MOMENT, "superseded_at": MOMENT}
"""What each published row has beside its table's columns."""
ENTRIES = "core_manifest"
"""The platform's table that is published, too."""

_ENTRIES = "SELECT * FROM core_manifest ORDER BY committed_at, domain, partition_key, stage, manifest_id"
_TOLD = (
    "committed_at",
    "captured_at",
    "domain",
    "partition_key",
    "stage",
    "status",
    "capture_id",
    "content_hash",
    "pipeline_version",
    "row_count",
)
"""What tells one history from another."""


def read_entries(reader: StoreReader) -> pl.DataFrame:
    """Every manifest entry, oldest first. What is committed later is of a later moment than all of them."""
    with reader.ask(_ENTRIES, seconds=SECONDS) as rows:
        schema = dict(rows.schema)
        pieces = list(rows.frames())
    return pl.concat([pl.DataFrame(schema=schema), *pieces])


def digest(entries: pl.DataFrame) -> str:
    """What is equal for equal histories, whatever number the store gave each entry."""
    rows = entries.sort(_TOLD).select(pl.col(_TOLD).cast(pl.String).fill_null("")).iter_rows()
    return hashlib.sha256("\n".join("\t".join(row) for row in rows).encode()).hexdigest()


def schema_of(table: Table) -> dict[str, pl.DataType]:
    """The columns of a published table and their types."""
    return {**frame_types(table), **KNOWN}


def read_versions(
    reader: StoreReader, table: Table, partitions: Sequence[Partition], entries: pl.DataFrame
) -> pl.DataFrame:
    """Every version of the rows of some partitions that the entries brought, with when each came and went.

    Args:
        reader: of which store.
        table: of which table.
        partitions: whose rows; taken into memory together.
        entries: of ``read_entries``. A version that a later one closed is open still.
    """
    chosen = " OR ".join(
        "("
        + " AND ".join(
            f"{quote(name)} = {_literal(value)}"
            for name, value in zip(table.partition_by, partition.values, strict=True)
        )
        + ")"
        for partition in partitions
    )
    columns = ", ".join(quote(name) for name in table.names)
    sql = f"SELECT {columns}, manifest_id, superseded_by FROM {quote(table.versions)} WHERE {chosen}"
    with reader.ask(sql, seconds=SECONDS) as rows:
        pieces = list(rows.frames())
    kinds = pl.Schema({**frame_types(table), "manifest_id": pl.Int64(), "superseded_by": pl.Int64()})
    found = pl.concat([pl.DataFrame(schema=kinds), *(piece.cast(kinds) for piece in pieces)])
    brought = entries.select("manifest_id", "capture_id", captured_at="committed_at")
    closed = entries.select(superseded_by="manifest_id", superseded_at="committed_at")
    return (
        found.join(brought, on="manifest_id")
        .join(closed, on="superseded_by", how="left")
        .sort([*(table.laid_by or table.key), "captured_at"])
        .select(pl.col(name).cast(kind) for name, kind in schema_of(table).items())
    )


def published_entries(entries: pl.DataFrame) -> pl.DataFrame:
    """Manifest entries as a published table; no entry is ever superseded."""
    return entries.drop("manifest_id").with_columns(
        pl.col("committed_at", "captured_at").cast(MOMENT), pl.lit(None, MOMENT).alias("superseded_at")
    )


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
