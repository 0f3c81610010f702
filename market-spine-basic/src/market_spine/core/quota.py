"""Vendors' request quotas: what is allowed, and when the next call may go out. Pure: moments are arguments."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from market_spine.core.calendar import ZONE
from market_spine.errors import SourceError, UsageError

_SPANS = {"s": timedelta(seconds=1), "min": timedelta(minutes=1), "h": timedelta(hours=1), "day": timedelta(days=1)}
_LIMIT = re.compile(r"([1-9][0-9]*)/(s|min|h|day)")

CALLS = "calls"
"""The capability that a spent quota takes away: any call at all."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many calls within any window of that length; a day is a calendar day in New York.

    When vendors begin a day is not documented; refusals teach what the guess gets wrong.
    """

    calls: int
    window: timedelta

    def free_after(self, moment: datetime) -> datetime:
        """From when on a call made at ``moment`` no longer counts."""
        if self.window < _SPANS["day"]:
            return moment + self.window
        return next_day(moment)

    def __str__(self) -> str:
        return f"{self.calls}/{next(name for name, span in _SPANS.items() if span == self.window)}"


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call about to be made.

    Attributes:
        source: whose quota it uses.
        key_hash: the short hash of the key it uses; never the key.
        subject: what it is for: a partition key, or empty.
        caller: which run makes it; the floor between calls is kept within one caller.
    """

    source: str
    key_hash: str
    subject: str
    caller: str


class InHand(Exception):
    """Another caller asked a source for the same subject a moment ago, and may still be about to write the answer."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something a source refused to a key, remembered so that it is not asked for again in vain.

    Attributes:
        capability: what was refused, such as ``outputsize=full``; ``calls`` for a spent quota.
        reason: the source's own words, without secrets.
        learnt_at: when it was refused.
        expires_at: from when on it may be tried again.
    """

    source: str
    key_hash: str
    capability: str
    reason: str
    learnt_at: datetime
    expires_at: datetime


def parse_limits(flag: str, text: str) -> tuple[Limit, ...]:
    """Read limits such as ``1/s,25/day`` (units s, min, h, day); empty text means none. Raises UsageError."""
    found = []
    for item in filter(None, (each.strip() for each in text.split(","))):
        match = _LIMIT.fullmatch(item)
        if match is None:
            raise UsageError(f"{flag}: {item!r} is no limit", hint="write such as 1/s,25/day; units: s, min, h, day")
        found.append(Limit(int(match[1]), _SPANS[match[2]]))
    return tuple(found)


def next_day(moment: datetime) -> datetime:
    """The first moment (UTC) of the day in New York that follows the one of ``moment``."""
    tomorrow = moment.astimezone(ZONE).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), ZONE).astimezone(UTC)


def key_hash(key: str) -> str:
    """Twelve hex digits that tell keys apart without giving them away."""
    return hashlib.sha256(f"market-spine:{key}".encode()).hexdigest()[:12]


def next_slot(
    now: datetime,
    made: Sequence[datetime],
    own: datetime | None,
    limits: Sequence[Limit],
    floor: timedelta,
) -> datetime:
    """The earliest moment, not before ``now``, at which one more call keeps every limit.

    Args:
        now: the present.
        made: moments of the calls made or reserved so far, in order, at least as many as the largest limit.
        own: the caller's own latest call, if it made one.
        limits: what the source allows.
        floor: the least time between two calls of one caller.
    """
    earliest = [now, *made[-1:]]
    earliest += [limit.free_after(made[-limit.calls]) for limit in limits if len(made) >= limit.calls]
    if own is not None:
        earliest.append(own + floor)
    return max(earliest)


def quota_spent(source: str, until: datetime, reason: str) -> SourceError:
    """The error, kind ``quota_exhausted``, that says until when a source cannot be asked."""
    moment = until.replace(microsecond=0).isoformat().replace("+00:00", "Z")
    return SourceError(
        f"the quota of {source} is spent until {moment}: {reason}",
        hint=f"run again after {moment}: only what is missing will be fetched; or use a plan with a larger quota",
        kind="quota_exhausted",
    )
