"""Commit moments: one spelling in which text order is time order, strictly increasing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from market_spine.core.ports import Clock
from market_spine.errors import StoreCorrupt
from market_spine.store.database import Database

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


def next_moment(db: Database, clock: Clock) -> datetime:
    """The moment for the commit at hand: now, but later than every commit before.

    Call it in a writing transaction as the last step that may take long: from here on no other transaction
    becomes visible before this one ends, so that what is committed later is later in time too, though clocks
    may go backwards.
    """
    db.last_in_line()
    now, latest = clock(), latest_moment(db)
    return now if latest is None else max(now, latest + timedelta(microseconds=1))
