"""How much of a symbol's weekly volume trades off the exchanges: FINRA's volumes beside consolidated ones.

A room of its own with one declared view. It depends on the tables of the two domains it joins, not on their
code, and the view exists once both are there.
"""

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
from market_spine.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

NAME = "off_exchange"

OFF_EXCHANGE_WEEK = View(
    "off_exchange_week",
    """\
SELECT f.week_ending, f.tier, f.symbol, p.source AS price_source,
       f.ats_share_volume, f.non_ats_share_volume,
       f.ats_share_volume + f.non_ats_share_volume AS off_exchange_volume,
       CASE WHEN p.is_complete THEN p.volume END AS consolidated_volume,
       CASE WHEN p.is_complete AND p.volume > 0 THEN f.ats_share_volume / p.volume END AS ats_share,
       CASE WHEN p.is_complete AND p.volume > 0 THEN f.non_ats_share_volume / p.volume END AS non_ats_share,
       CASE WHEN p.is_complete AND p.volume > 0
            THEN (f.ats_share_volume + f.non_ats_share_volume) / p.volume END AS off_exchange_share,
       f.capture_id AS finra_capture_id, p.capture_id AS prices_capture_id
  FROM finra_otc_symbol_week f
  LEFT JOIN market_data_symbol_week p
    ON p.week_ending = f.week_ending AND p.symbol = f.symbol
""",
    ("finra_otc_symbol_week", "market_data_symbol_week"),
    "FINRA's ATS and non-ATS shares of a symbol's week beside its consolidated volume, one row per price source;"
    " null where a leg, the prices or a session of the week is missing.",
)

_STAGES = (
    StageSpec(INGEST, f"{NAME}.none", "1"),
    StageSpec(NORMALIZE, f"{NAME}.none", "1"),
    StageSpec(CALC, f"{NAME}.none", "1"),
)


@dataclass(frozen=True, slots=True)
class OffExchange:
    """A Domain without partitions: nothing is fetched and nothing computed, a view is all there is."""

    name: str = NAME
    scheduler: str = "none"
    partition_fields: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    views: tuple[View, ...] = (OFF_EXCHANGE_WEEK,)
    migrations: str = "spine.domains.off_exchange.migrations"
    stages: tuple[StageSpec, StageSpec, StageSpec] = _STAGES
    windows: tuple[WindowCalc, ...] = ()

    def partition(self, key: str) -> Partition:
        """There are none; raises UsageError."""
        raise UsageError(f"{NAME} has no partitions: it is a view over other domains")

    def capture_labels(self, partition: Partition) -> tuple[str, ...]:
        """Those of a partition, of which there are none."""
        return partition.values

    def publication(self, partition: Partition, today: date) -> Publication:
        """Nothing is published."""
        return Publication.NOT_DUE

    def normalize(self, partition: Partition, parts: Sequence[Part]) -> Normalized:
        """There is nothing to read; raises UsageError."""
        raise UsageError(f"{NAME} reads no payloads: it is a view over other domains")

    def compute(self, partition: Partition, tables: Mapping[str, pl.DataFrame]) -> Mapping[str, pl.DataFrame]:
        """Nothing."""
        return {}

    def grid(self, today: date, count: int, known: Collection[str]) -> Sequence[Sequence[Partition]]:
        """No partitions."""
        return ()

    def commands(self) -> Mapping[str, str]:
        """No commands."""
        return {}


DOMAIN: Domain = OffExchange()
