"""Commit moments: one spelling in which text order is time order, strictly increasing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from market_spine import stopping
from market_spine.core.ports import Clock
from market_spine.errors import StoreCorrupt, StoreError
from market_spine.store.database import Database

logger = logging.getLogger(__name__)

FURTHEST_AHEAD = timedelta(minutes=5)
"""How far the last commit may lie ahead of the clock: clocks differ by seconds, and a commit that has to come after it
would be of a moment that has not been."""

LATEST = """\
SELECT MAX(moment) FROM (
    SELECT MAX(committed_at) AS moment FROM core_manifest
    UNION ALL SELECT MAX(occurred_at) FROM core_anomaly_events
    UNION ALL SELECT MAX(decided_at) FROM core_decisions
    UNION ALL SELECT MAX(recorded_at) FROM core_run_starts
    UNION ALL SELECT MAX(recorded_at) FROM core_run_ends
    UNION ALL SELECT MAX(sent_at) FROM core_notifications
) AS moments
"""
"""SELECT of the latest commit moment, as ``to_text`` spells it; null in a store without commits."""


def to_text(moment: datetime) -> str:
    """Spell a moment as UTC ISO 8601 with microseconds and ``+00:00``; one without zone is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="microseconds")


@lru_cache(maxsize=1024)  # the stages of a partition share theirs
def from_text(text: str) -> datetime:
    """Read back what ``to_text`` wrote; raises StoreCorrupt for anything else."""
    try:
        moment = datetime.fromisoformat(text)
        if to_text(moment) == text:
            return moment
    except (ValueError, TypeError, OverflowError):
        pass
    raise StoreCorrupt(
        f"{text!r} is kept as a moment, and is none",
        hint="`market-spine db check` lists all that is damaged; restore a backup",
    )


def latest_moment(db: Database) -> datetime | None:
    """The latest commit moment that the connection can see; None in a store without commits."""
    ((latest,),) = db.rows(LATEST)
    return None if latest is None else from_text(latest)


def first_commit(db: Database) -> datetime | None:
    """The moment of the first commit of a partition that the connection can see; None if there is none."""
    ((first,),) = db.rows("SELECT MIN(committed_at) FROM core_manifest")
    return None if first is None else from_text(first)


def next_moment(db: Database, clock: Clock) -> datetime:
    """The moment for the commit at hand: now, but later than every commit before.

    Call it in a writing transaction as the last step that may take long: from here on no other transaction
    becomes visible before this one ends, so that what is committed later is later in time too, though clocks
    may go backwards.

    Raises:
        StoreError: kind ``clock``: the last commit lies too far ahead.
    """
    db.last_in_line()
    now, latest = clock(), latest_moment(db)
    if latest is None:
        return now
    if latest - now > FURTHEST_AHEAD:
        raise StoreError(
            f"the last commit is of {to_text(latest)}, and the clock says {to_text(now)}: what is committed now would"
            " be of a moment that has not been",
            hint="set the clock; if it is right, it was wrong then: "
            f"market-spine rebuild --into NEW --not-after {now.isoformat(timespec='seconds')} puts that right",
            kind="clock",
        )
    return max(now, latest + timedelta(microseconds=1))


def wait_out(db: Database, clock: Clock, most: float, pause: Callable[[float], None] = stopping.sleep) -> None:
    """Wait, but no longer than ``most`` seconds, until the last commit no longer lies too far ahead of the clock.

    Raises:
        Interrupted: the run is to stop.
    """
    latest = latest_moment(db)
    if latest is None:
        return
    ahead = (latest - clock() - FURTHEST_AHEAD).total_seconds()
    if 0 < ahead <= most:
        logger.warning("waiting %.0f s: the last commit is of %s, ahead of the clock", ahead, to_text(latest))
        pause(ahead)
