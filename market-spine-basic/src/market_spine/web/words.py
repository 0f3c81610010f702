"""Sentences about what was found. They tell a state; ``app.states`` decides it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from market_spine.app.states import PartitionState, State
from market_spine.core.domain import Domain
from market_spine.core.kept import AnomalyRecord

NEEDS_ATTENTION = (State.FAILED, State.HELD, State.LATE)
"""States in which somebody has to do something."""
BACKFILLED = (State.FAILED, State.LATE, State.NOT_LOADED)
"""States that loading again may end."""


class Reason(NamedTuple):
    """Why a partition is where it is, and what to do about it."""

    why: str
    todo: str


def day_text(day: date, today: date) -> str:
    """Such as ``23 Dec``, with the year if it is not this one."""
    return f"{day.day} {day:%b}" + ("" if day.year == today.year else f" {day.year}")


def moment_text(moment: datetime, today: date) -> str:
    """Such as ``23 Dec 11:05``."""
    return f"{day_text(moment.date(), today)} {moment:%H:%M}"


def plural(count: int, one: str, many: str = "") -> str:
    """Such as ``1 partition`` or ``1,200 partitions``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def reason(domain: Domain, state: PartitionState, anomalies: Sequence[AnomalyRecord], today: date) -> Reason:
    """Why a partition is in its state, in words.

    Args:
        domain: whose partition.
        state: as it was decided.
        anomalies: the partition's open ones, errors first.
        today: for which the words are.
    """
    told = anomalies[0].anomaly if anomalies else None
    hint = str(told.details.get("hint", "")) if told else ""
    if told and state.state in (*NEEDS_ATTENTION, State.WARNED):
        why = told.message + (
            f" And {plural(len(anomalies) - 1, 'more anomaly', 'more anomalies')}." * (len(anomalies) > 1)
        )
        return Reason(why, hint or _TODO.get(State(state.state), ""))
    match state.state:
        case State.LATE:
            expected = domain.publication_day(domain.partition(state.partition_key))
            since = f" on {day_text(expected, today)}" if expected else ""
            return Reason(f"It was published{since}, and no run has loaded it.", _TODO[State.LATE])
        case State.RETRACTED:
            names = ", ".join(state.retracted)
            return Reason(f"Retracted: {names}.", "Accept the capture to bring it back, or wait for a better one.")
        case State.PUBLISHED:
            return Reason("It is published today.", "The next run loads it.")
        case State.NOT_LOADED:
            return Reason("It has been published, and no run was ever asked for it.", "Backfill it, if you want it.")
        case State.NOT_DUE:
            when = f" It is expected on {day_text(state.expected, today)}." if state.expected else ""
            return Reason(f"It is not published yet.{when}", "Nothing.")
    return Reason(captured(state, today), "Nothing.")


def captured(state: PartitionState, today: date) -> str:
    """What is known of a partition."""
    if state.captured_at is None or state.row_count is None:
        return "Nothing is known."
    times = {0: "", 1: " It has been restated once."}.get(
        state.revisions, f" It has been restated {state.revisions} times."
    )
    return f"{plural(state.row_count, 'row')}, captured on {moment_text(state.captured_at, today)}.{times}"


_TODO = {
    State.FAILED: "See what the source has, then run it again.",
    State.HELD: "Look at what it would change, then accept it or wait for a better one.",
    State.LATE: "Load it, or look whether the source has it.",
    State.WARNED: "Look at it; set the anomaly aside if it is right.",
}
