"""What a simulated market offers, and the calendar by which it publishes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

from spine.domains.finra.otc_transparency.partitions import publication_date, week_of_publication
from spine.domains.finra.otc_transparency.simulator.fields import TIERS

if TYPE_CHECKING:
    import polars as pl

WEEK = timedelta(weeks=1)
_MONDAY_TO_FRIDAY = timedelta(days=4)


class Key(NamedTuple):
    """A partition as FINRA names it.

    Attributes:
        monday: weekStartDate.
        tier: T1, T2, OTCE, NMS or NA.
    """

    monday: date
    tier: str


class SimulatedMarket(Protocol):
    """The rows behind the simulator, as they are known on a day."""

    def keys(self, today: date) -> Sequence[Key]:
        """The partitions published by ``today``, however old."""

    def summary_types(self, key: Key) -> Sequence[str]:
        """The summary types that a published partition holds."""

    def rows(self, key: Key, today: date) -> pl.DataFrame:
        """The rows of a partition as FINRA would show them on ``today``: columns of ``fields.schema()``."""


def published(monday: date, tier: str) -> date:
    """The day on which a week of a tier (``T1``, ``T2``, ``OTCE``) is first published."""
    return publication_date(monday + _MONDAY_TO_FRIDAY, TIERS[tier])


def published_mondays(tier: str, first: date, today: date) -> Iterator[date]:
    """The Mondays of the weeks of a tier that are published by ``today``, oldest first."""
    latest = week_of_publication(today, TIERS[tier]) - _MONDAY_TO_FRIDAY
    monday = first
    while monday <= latest:
        # Only the newest week can still be waiting for the session after a holiday.
        if monday < latest or published(monday, tier) <= today:
            yield monday
        monday += WEEK
