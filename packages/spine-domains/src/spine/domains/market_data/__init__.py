"""Daily prices of US stocks, as traded, with every restatement kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Part
from market_spine.core.domain import Awaited, Domain, Normalized
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.errors import UsageError
from spine.domains.market_data import schema
from spine.domains.market_data.thresholds import BarPlausibility

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.checking import CheckResult
    from market_spine.core.subject import Subject


class MarketData(Domain):
    """The descriptor of this domain."""

    name = schema.NAME
    scheduler = "daily_prices"
    unit = "prices"
    partition_fields = ("symbol", "source")
    tables = schema.TABLES
    views = schema.VIEWS
    migrations = "spine.domains.market_data.migrations"
    versions = ("1", "1", "2")
    plausibility = BarPlausibility()
    reviewed = frozenset(
        ("gap", "zero_volume", "vwap_outside", "frozen", "split_like_jump", "price_jump", "split_disagrees")
    )

    def partition(self, key: str) -> Partition:
        """Check and build a partition from a key such as ``AAPL|polygon``; raises UsageError."""
        from spine.domains.market_data.partitions import parse_partition

        return parse_partition(key)

    def awaited(self, day: date | None, today: date, known: Collection[str], *, whole_week: bool = False) -> Awaited:
        """Every known symbol, up to the session; without one up to the latest that ended before today."""
        from market_spine.core.calendar import is_session, previous_session

        found = super().awaited(day, today, known).partitions
        if day is None:
            return Awaited(found, previous_session(today - timedelta(days=1)))
        if whole_week:
            return Awaited(found, previous_session(day + timedelta(days=6 - day.weekday())))
        if not is_session(day):
            raise UsageError(f"{day} is no NYSE session", hint=f"the one before it was {previous_session(day)}")
        return Awaited(found, day)

    def reaches(self, known: Known, day: date) -> bool:
        """Whether the latest session that is known is that day or a later one."""
        from spine.domains.market_data.partitions import last_known

        last = last_known(known)
        return last is not None and last >= day

    def spelt(self, text: str) -> tuple[str, str | None]:
        """Symbol and source as people type them, in any case, the source left out or not; raises UsageError."""
        from spine.domains.market_data.partitions import read_typed

        return read_typed(text)

    def checkup(self, *, online: bool) -> Sequence[CheckResult]:
        """The source in effect, and whether its keys are set."""
        from spine.domains.market_data.checkup import checkup

        return list(checkup(online=online))

    def normalize(self, partition: Partition, parts: Sequence[Part]) -> Normalized:
        """Rows of ``market_data_prices``, and of splits and dividends where the payload has them."""
        from spine.domains.market_data.normalize import normalize_payload

        return normalize_payload(partition, parts, self.plausibility)

    def compute(self, partition: Partition, tables: Mapping[str, pl.DataFrame]) -> Mapping[str, pl.DataFrame]:
        """Adjustment factors, daily figures and weeks of the partition."""
        from spine.domains.market_data.calculations import compute_prices

        return compute_prices(partition, tables)

    def review(self, partition: Partition, tables: Mapping[str, pl.DataFrame]) -> Sequence[Anomaly]:
        """What is odd about all that is known of a symbol: gaps, jumps, splits that prices do not show."""
        from spine.domains.market_data.normalize import review_partition

        return review_partition(partition, tables)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """What can be told of a symbol."""
        from spine.domains.market_data.subjects import SUBJECTS

        return SUBJECTS

    def commands(self) -> Mapping[str, str]:
        """The scheduler and the simulated vendors."""
        module = "spine.domains.market_data"
        return {"schedule": f"{module}.cli:schedule", "simulate": f"{module}.simulator.cli:simulate"}


DOMAIN = MarketData()
