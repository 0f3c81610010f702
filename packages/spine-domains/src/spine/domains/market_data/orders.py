"""What a run wants of a price source, and whether a partition is due. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from market_spine.core import calendar
from market_spine.core.manifest import Known
from market_spine.core.ports import Clock
from spine.domains.market_data import quality
from spine.domains.market_data.partitions import last_held
from spine.domains.market_data.vendors import BARS, SPLIT_RATIOS, Wanted

OUTPUTSIZES = ("compact", "full")
COMPACT_SESSIONS = 100
FULL_YEARS = 20
DEPTH = "depth"
"""Metadata of a bars part: ``full`` once a full answer has been captured."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a run wants of a source.

    Attributes:
        outputsize: ``compact`` (100 sessions) or ``full`` (20 years).
        until: the last day of which a session is wanted.
        clock: tells the present.
        dry: ask nobody, only say what would be asked.
        due: how many partitions of the run are due: many share an answer that covers the whole market.
        force: ask whatever is held.
    """

    outputsize: str
    until: date
    clock: Clock
    dry: bool = False
    due: int = 1
    force: bool = False

    @property
    def full(self) -> bool:
        """Whether all history is wanted."""
        return self.outputsize == "full"

    def latest(self) -> date:
        """The latest session that is over and not after the last day."""
        return min(quality.latest_session(self.clock()), calendar.previous_session(self.until))

    def wanted(self, symbol: str, latest: date) -> Wanted:
        """The bars of a symbol, up to a session."""
        return Wanted(
            symbol, years_before(latest, FULL_YEARS) if self.full else _compact_start(latest), latest, self.full
        )


def years_before(day: date, years: int) -> date:
    """The same day so many years before, as far as the calendar reaches."""
    leap_day = (day.month, day.day) == (2, 29)
    return max(date(day.year - years, day.month, 28 if leap_day else day.day), calendar.FIRST_DAY)


def is_due(known: Known, order: Order, latest: date) -> bool:
    """Whether the source is asked: it can have a later session, or history never asked for, or it is wanted anyway."""
    held = last_held(known)
    if order.force or held is None or held < latest:
        return True
    return order.full and noted(known).get(DEPTH) != "full"


def noted(known: Known) -> Mapping[str, str]:
    """What was noted with the bars of the current capture."""
    parts = known.current.entry.parts if known.current else ()
    return next((part.metadata for part in parts if part.name.partition("-")[0] == BARS), {})


def carried(known: Known, order: Order) -> dict[str, str]:
    """What a new capture remembers of the one before."""
    before = noted(known)
    facts = {name: before[name] for name in (DEPTH, SPLIT_RATIOS) if name in before}
    return facts | ({DEPTH: "full"} if order.full else {})


def _compact_start(latest: date) -> date:
    return calendar.sessions(latest - timedelta(days=2 * COMPACT_SESSIONS), latest)[-COMPACT_SESSIONS]
