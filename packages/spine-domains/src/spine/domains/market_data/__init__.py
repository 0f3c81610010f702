"""Daily prices of US stocks, as traded, with every restatement kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from market_spine.core.capture import Part
from market_spine.core.domain import Domain, Normalized, Publication, StageSpec, WindowCalc
from market_spine.core.manifest import CALC, INGEST, NORMALIZE
from market_spine.core.partition import Partition
from market_spine.core.schema import Table, View
from spine.domains.market_data import partitions, schema

if TYPE_CHECKING:
    import polars as pl

_STAGES = (
    StageSpec(INGEST, f"{schema.NAME}.ingest_prices", "1"),
    StageSpec(NORMALIZE, f"{schema.NAME}.normalize_prices", "1"),
    StageSpec(CALC, f"{schema.NAME}.compute_prices", "1"),
)


@dataclass(frozen=True, slots=True)
class MarketData:
    """The descriptor of this domain; a Domain."""

    name: str = schema.NAME
    scheduler: str = "daily_prices"
    partition_fields: tuple[str, ...] = ("symbol", "source")
    tables: tuple[Table, ...] = schema.TABLES
    views: tuple[View, ...] = schema.VIEWS
    migrations: str = "spine.domains.market_data.migrations"
    stages: tuple[StageSpec, StageSpec, StageSpec] = _STAGES
    windows: tuple[WindowCalc, ...] = ()

    def partition(self, key: str) -> Partition:
        """Check and build a partition from a key such as ``AAPL|polygon``; raises UsageError."""
        return partitions.parse_partition(key)

    def capture_labels(self, partition: Partition) -> tuple[str, ...]:
        """Symbol, then source."""
        return partition.values

    def publication(self, partition: Partition, today: date) -> Publication:
        """Always published: which session is out yet is a matter of the source."""
        return Publication.PUBLISHED

    def normalize(self, partition: Partition, parts: Sequence[Part]) -> Normalized:
        """Rows of ``market_data_prices``, and of splits and dividends where the payload has them."""
        from spine.domains.market_data.normalize import normalize_payload

        return normalize_payload(partition, parts)

    def compute(self, partition: Partition, tables: Mapping[str, pl.DataFrame]) -> Mapping[str, pl.DataFrame]:
        """Adjustment factors, daily figures and weeks of the partition."""
        from spine.domains.market_data.calculations import compute_prices

        return compute_prices(partition, tables)

    def grid(self, today: date, count: int, known: Collection[str]) -> Sequence[Sequence[Partition]]:
        """The known partitions."""
        return partitions.grid(count, known)

    def commands(self) -> Mapping[str, str]:
        """The scheduler and the simulated vendors."""
        module = "spine.domains.market_data"
        return {"schedule": f"{module}.cli:schedule", "simulate": f"{module}.simulator.cli:simulate"}


DOMAIN: Domain = MarketData()
