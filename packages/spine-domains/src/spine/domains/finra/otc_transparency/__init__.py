"""FINRA's weekly OTC transparency data: who traded how much of what off the exchanges."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from market_spine.core.capture import Part
from market_spine.core.domain import Awaited, Domain, Normalized, Place, Publication, StageSpec
from market_spine.core.partition import Partition
from market_spine.core.plausibility import RowPlausibility
from market_spine.core.schema import Table
from spine.domains.finra.otc_transparency import partitions, schema
from spine.domains.finra.otc_transparency.views import VIEWS

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.checking import CheckResult
    from market_spine.core.subject import Subject

_ROLLING = StageSpec("rolling", f"{schema.NAME}.compute_rolling", "1")


class SymbolRolling(NamedTuple):
    """The six weeks of a tier that end with a partition; a WindowCalc."""

    spec: StageSpec = _ROLLING
    table: Table = schema.SYMBOL_ROLLING
    reads: tuple[str, tuple[str, ...]] = (
        schema.SYMBOL_WEEK.name,
        ("week_ending", "tier", "symbol", "legs", "share_volume", "trade_count"),
    )

    def inputs(self, partition: Partition) -> Sequence[Partition]:
        """Six calendar weeks of the partition's tier, oldest first."""
        return partitions.weeks_ending_with(partition, partitions.ROLLING_WEEKS)

    def compute(self, partition: Partition, present: Sequence[Partition], rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of ``finra_otc_symbol_rolling`` for the partition."""
        from spine.domains.finra.otc_transparency.calculations import compute_symbol_rolling

        return compute_symbol_rolling(partition, present, rows)


class OtcTransparency(Domain):
    """The descriptor of this domain."""

    name = schema.NAME
    scheduler = "weekly_ingest"
    unit = "week"
    partition_fields = ("week_ending", "tier")
    tables = schema.TABLES
    views = VIEWS
    migrations = "spine.domains.finra.otc_transparency.migrations"
    windows = (SymbolRolling(),)
    legs = schema.VENUE_CLASSES
    plausibility = RowPlausibility(
        setting="FINRA_PLAUSIBILITY", measures=("share_volume", "trade_count"), apart="venue_class"
    )

    def partition(self, key: str) -> Partition:
        """Check and build a partition from a key such as ``2025-01-03|NMS_TIER_1``; raises UsageError."""
        return partitions.parse_partition(key)

    def spelt(self, text: str) -> tuple[str | None, str | None]:
        """Week and tier as people type them: any day of the week, any name of the tier; raises UsageError."""
        return partitions.read_typed(text)

    def place(self, partition: Partition) -> Place:
        """The week's number among those of its tier."""
        week_ending, tier = partitions.week_and_tier(partition)
        return Place(tier, week_ending.toordinal() // 7)

    def capture_labels(self, partition: Partition) -> tuple[str, ...]:
        """Tier, then week ending."""
        week_ending, tier = partition.values
        return tier, week_ending

    def publication(self, partition: Partition, today: date) -> Publication:
        """Where the partition stands in FINRA's publication calendar."""
        return partitions.publication(partition, today)

    def publication_day(self, partition: Partition) -> date:
        """The day on which FINRA first publishes the partition."""
        return partitions.publication_date(*partitions.week_and_tier(partition))

    def upcoming(self, today: date, count: int) -> Sequence[Partition]:
        """The next partitions of FINRA's calendar, soonest first."""
        return partitions.upcoming(today, count)

    def awaited(self, day: date | None, today: date, known: Collection[str], *, whole_week: bool = False) -> Awaited:
        """All tiers of the day's week; without a day the latest week that each tier has published."""
        return Awaited(partitions.plan(today, 1, [] if day is None else [day], schema.TIERS).partitions)

    def checkup(self, *, online: bool) -> Sequence[CheckResult]:
        """The source in effect, and whether its keys are set."""
        from spine.domains.finra.otc_transparency.checkup import checkup

        return list(checkup(online=online))

    def normalize(self, partition: Partition, parts: Sequence[Part]) -> Normalized:
        """Rows of ``finra_otc_venue_volume``; raises ContentError for files that must be refused whole."""
        from spine.domains.finra.otc_transparency.normalize import normalize_payload

        return normalize_payload(partition, parts)

    def compute(self, partition: Partition, tables: Mapping[str, pl.DataFrame]) -> Mapping[str, pl.DataFrame]:
        """The tables per symbol, venue, market and trading day of the partition."""
        from spine.domains.finra.otc_transparency.calculations import compute_week

        return compute_week(partition, tables)

    def grid(self, today: date, count: int, known: Collection[str]) -> Sequence[Sequence[Partition]]:
        """The latest weeks by FINRA's calendar, newest first, each with all tiers; ``known`` adds none."""
        return partitions.grid(today, count)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """What can be told of a symbol or a venue."""
        from spine.domains.finra.otc_transparency.subjects import SUBJECTS

        return SUBJECTS

    def commands(self) -> Mapping[str, str]:
        """The scheduler, the sample data generator and the simulator."""
        package = "spine.domains.finra.otc_transparency"
        return {
            "schedule": f"{package}.cli:schedule",
            "sample-data": f"{package}.cli:sample_data",
            "simulate": f"{package}.simulator.cli:simulate",
        }


DOMAIN = OtcTransparency()
