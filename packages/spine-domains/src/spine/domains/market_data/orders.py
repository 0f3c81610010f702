"""What a run wants of a price source, and whether a partition is due. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from market_spine.core import calendar
from market_spine.core.manifest import Known
from market_spine.core.ports import Clock
from market_spine.core.quota import Refusal
from spine.domains.market_data import quality
from spine.domains.market_data.partitions import NEVER, last_known
from spine.domains.market_data.vendors import BARS, FETCHED_AT, SPLIT_RATIOS, Wanted

OUTPUTSIZES = ("compact", "full")
COMPACT_SESSIONS = 100
FULL_YEARS = 20
LOOK_BACK = 10
"""Sessions read again with each later one, in two weeks of which vendors make most of their corrections."""
DEPTH = "depth"
"""Metadata of a bars part: ``full`` once a full answer has been captured."""
SINCE = "since"
"""Metadata of a bars part: the day from which on bars were asked for, where ``--from`` asked for history."""
RANGED, ACTED = "ranged", "acted"
"""Metadata of a bars part: the day on which the symbol's bars were last read as a range, and its splits and
dividends at all."""

POSTPONED = "postponed"
"""How the reason begins with which a symbol's next question is put off without its having been asked."""

FIRST_WAIT, LONGEST_WAIT = timedelta(hours=1), timedelta(hours=24)
"""How long a question that brought nothing is not asked again: an hour, then twice as long each time, up to a day."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a run wants of a source.

    Attributes:
        outputsize: ``compact`` (100 sessions) or ``full`` (20 years).
        until: the last day of which a session is wanted.
        first: the day from which on history is wanted; None: as much as ``outputsize`` says.
        clock: tells the present.
        dry: ask nobody, only say what would be asked.
        due: how many partitions of the run are due: many share an answer that covers the whole market.
        force: ask whatever is known.
        started: when the run began: what was read since then is not read again.
        out: some symbol holds the latest session already, so the source has it.
        waiting: keys of those whose next question is put off.
        ranged: keys of those that are read as a range though answers for the whole market would do.
        acted: keys of those whose splits and dividends are read, too.
        together: symbols whose splits and dividends may be asked for in one call.
    """

    outputsize: str
    until: date
    clock: Clock
    dry: bool = False
    due: int = 1
    force: bool = False
    started: datetime = NEVER
    out: bool = False
    waiting: frozenset[str] = frozenset()
    ranged: frozenset[str] = frozenset()
    acted: frozenset[str] = frozenset()
    together: tuple[str, ...] = ()
    first: date | None = None

    @property
    def full(self) -> bool:
        """Whether all history is wanted."""
        return self.outputsize == "full"

    def latest(self) -> date:
        """The latest session that is over and not after the last day."""
        return min(quality.latest_session(self.clock()), calendar.previous_session(self.until))

    def wanted(self, symbol: str, known: Known, latest: date) -> Wanted:
        """The bars of a symbol, up to a session."""
        if self.first is not None and lacks_history(known, self):
            return Wanted(symbol, self.first, latest, self.first < _compact_start(latest))
        return Wanted(
            symbol, years_before(latest, FULL_YEARS) if self.full else _compact_start(latest), latest, self.full
        )


def recent_sessions(last: date) -> list[date]:
    """The sessions that are read again together with a later one, newest first."""
    return calendar.sessions(last - timedelta(days=2 * LOOK_BACK), last)[: -LOOK_BACK - 1 : -1]


def previous(session: date) -> date:
    """The session before one."""
    return calendar.previous_session(session - timedelta(days=1))


def years_before(day: date, years: int) -> date:
    """The same day so many years before, as far as the calendar reaches."""
    leap_day = (day.month, day.day) == (2, 29)
    return max(date(day.year - years, day.month, 28 if leap_day else day.day), calendar.FIRST_DAY)


def lacks_history(known: Known, order: Order) -> bool:
    """Whether ``--from`` asks for history that was never asked for."""
    if order.first is None:
        return False
    facts = noted(known)
    return facts.get(DEPTH) != "full" and not (SINCE in facts and facts[SINCE] <= order.first.isoformat())


def reading_until(known: Known, order: Order, latest: date) -> date:
    """The last session that is asked for: no earlier than what is known, so that no gap comes between."""
    last = last_known(known)
    return max(latest, last) if last is not None and lacks_history(known, order) else latest


def is_due(known: Known, order: Order, latest: date) -> bool:
    """Whether the source can have what is not known, a later session or history never asked for, or is asked anyway."""
    last = last_known(known)
    if order.force or last is None or last < latest:
        return True
    return (order.full and noted(known).get(DEPTH) != "full") or lacks_history(known, order)


def is_asked(known: Known, order: Order, latest: date) -> bool:
    """Whether the source is asked: something is due, or all history or anything at all was asked for by a flag and
    has not been read since the run began."""
    if not (order.full or order.force):
        return is_due(known, order, latest)
    facts = noted(known)
    read = FETCHED_AT in facts and datetime.fromisoformat(facts[FETCHED_AT]) > order.started
    return not (read and (not order.full or facts.get(DEPTH) == "full"))


def is_waiting(known: Known, refusal: Refusal | None, now: datetime, latest: date) -> bool:
    """Whether a question that brought nothing is not asked again yet.

    A session that ended since then permits it once more; a capture since then makes it a new question.
    """
    if refusal is None or now >= refusal.expires_at or not _stands(known, refusal):
        return False
    return refusal.learnt_at >= calendar.session_close(latest) + quality.SETTLE


def next_wait(known: Known, before: Refusal | None) -> timedelta:
    """How long not to ask again after an answer that brought nothing, given the one before."""
    if before is None or not asked_in_vain(known, before):
        return FIRST_WAIT
    return min(2 * (before.expires_at - before.learnt_at), LONGEST_WAIT)


def asked_in_vain(known: Known, refusal: Refusal | None) -> bool:
    """Whether a partition was asked for since its latest capture, and brought nothing."""
    return refusal is not None and not refusal.reason.startswith(POSTPONED) and _stands(known, refusal)


def set_aside(known: Known) -> str:
    """Why the vendor's answer, should it be what it was, is not taken: the one before was not; empty if it was."""
    if known.held is not None:
        return "held: the answer before is held"
    if known.captures and known.captures[-1] in known.retracted:
        return "retracted: the answer before is retracted"
    return ""


def _stands(known: Known, refusal: Refusal) -> bool:
    return known.current is None or known.current.committed_at <= refusal.learnt_at


def news_of(subject: str) -> str:
    """The capability that a question without an answer takes away: news of a partition, or of a session."""
    return f"news of {subject}"


def noted(known: Known) -> Mapping[str, str]:
    """What was last noted with the bars of the current capture, or with others that hold the same rows."""
    last = known.noted or known.current
    parts = last.entry.parts if last else ()
    return next((part.metadata for part in parts if part.name.partition("-")[0] == BARS), {})


def carried(known: Known, order: Order) -> dict[str, str]:
    """What a new capture remembers of the one before."""
    before = noted(known)
    facts = {name: before[name] for name in (DEPTH, RANGED, ACTED, SPLIT_RATIOS, SINCE) if name in before}
    if order.first is not None and lacks_history(known, order):
        facts[SINCE] = order.first.isoformat()
    return facts | ({DEPTH: "full"} if order.full else {})


def _compact_start(latest: date) -> date:
    return calendar.sessions(latest - timedelta(days=2 * COMPACT_SESSIONS), latest)[-COMPACT_SESSIONS]
