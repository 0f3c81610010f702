"""The quota ledger: calls to metered sources and what these refused, shared by every process and run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from market_spine.core.ports import Clock
from market_spine.core.quota import CALLS, InHand, Limit, PlannedCall, Refusal, next_slot, quota_spent
from market_spine.store.database import Database
from market_spine.store.moments import from_text, to_text
from market_spine.store.records import insert_into

_REFUSAL_COLUMNS = "source, key_hash, capability, reason, learnt_at, expires_at"
_MADE = """\
SELECT planned_at FROM core_requests WHERE source = ? AND key_hash = ? AND planned_at <= ?
 ORDER BY planned_at DESC LIMIT ?
"""
_OWN = "SELECT MAX(planned_at) FROM core_requests WHERE source = ? AND key_hash = ? AND caller = ? AND planned_at <= ?"
_IN_HAND = """\
SELECT COUNT(*) FROM core_requests
 WHERE source = ? AND key_hash = ? AND subject = ? AND caller <> ? AND planned_at > ? AND planned_at <= ?
"""
_REFUSALS = """\
SELECT capability, reason, learnt_at, expires_at FROM core_refusals
 WHERE source = ? AND key_hash = ? AND learnt_at <= ?{more}
 ORDER BY learnt_at
"""

_SKEW = timedelta(minutes=15)
"""How far the clocks of two hosts may differ: what was learnt later than that, a clock since set back wrote."""


def read_refusals(db: Database, source: str, key_hash: str, now: datetime, capability: str = "") -> dict[str, Refusal]:
    """What a source last said about one capability or each, also where that no longer holds."""
    more, named = (" AND capability = ?", (capability,)) if capability else ("", ())
    rows = db.rows(_REFUSALS.format(more=more), (source, key_hash, to_text(now + _SKEW), *named))
    return {
        what: Refusal(source, key_hash, what, reason, from_text(learnt_at), from_text(expires_at))
        for what, reason, learnt_at, expires_at in rows
    }


class StoreLedger:
    """The RequestLedger of ``core.ports`` over any Database. Closes as a context manager."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def reserve(
        self,
        request: PlannedCall,
        limits: Sequence[Limit],
        *,
        floor: timedelta,
        patience: timedelta,
        alone: timedelta = timedelta(),
    ) -> timedelta:
        """Write down one call and say how long to wait before making it; see ``core.ports``."""
        self._db.begin()
        try:
            now = self._clock()
            if alone and self._in_hand(request, now, alone):
                raise InHand(request.subject)
            slot = self._free_slot(now, request, limits, floor, patience)
            self._db.run(
                insert_into("core_requests", "source, key_hash, subject, caller, planned_at"),
                (request.source, request.key_hash, request.subject, request.caller, to_text(slot)),
            )
        except BaseException:
            self._db.rollback()
            raise
        self._db.commit()
        return slot - now

    def wait(
        self, request: PlannedCall, limits: Sequence[Limit], *, floor: timedelta, patience: timedelta
    ) -> timedelta:
        """How long a call reserved now would have to wait; see ``core.ports``."""
        now = self._clock()
        return self._free_slot(now, request, limits, floor, patience) - now

    def refuse(self, refusal: Refusal) -> None:
        """Remember what a source refused."""
        what = (refusal.source, refusal.key_hash, refusal.capability, refusal.reason)
        self._db.begin()
        try:
            # Others know it only from here on: answers as of any moment before must stay as they are.
            learnt_at = max(refusal.learnt_at, self._clock())
            moments = (to_text(learnt_at), to_text(refusal.expires_at))
            self._db.run(insert_into("core_refusals", _REFUSAL_COLUMNS), (*what, *moments))
        except BaseException:
            self._db.rollback()
            raise
        self._db.commit()

    def refusal(self, source: str, key_hash: str, capability: str) -> Refusal | None:
        """What the source last said about a capability, if that still holds."""
        now = self._clock()
        found = read_refusals(self._db, source, key_hash, now, capability).get(capability)
        return found if found is not None and now < found.expires_at else None

    def _in_hand(self, request: PlannedCall, now: datetime, alone: timedelta) -> bool:
        """Whether another caller planned a call for the subject a moment ago."""
        which = (request.source, request.key_hash, request.subject, request.caller)
        ((count,),) = self._db.rows(_IN_HAND, (*which, to_text(now - alone), to_text(now + alone)))
        return bool(count)

    def _free_slot(
        self, now: datetime, request: PlannedCall, limits: Sequence[Limit], floor: timedelta, patience: timedelta
    ) -> datetime:
        """The next free slot; raises SourceError, kind ``quota_exhausted``, if it lies too far ahead."""
        slot = self._slot(now, request, limits, floor, now + patience + _SKEW)
        if slot - now > patience:
            raise quota_spent(request.source, slot, "the quota ledger counts " + " and ".join(map(str, limits)))
        return slot

    def _slot(
        self, now: datetime, request: PlannedCall, limits: Sequence[Limit], floor: timedelta, horizon: datetime
    ) -> datetime:
        """The next free slot; calls planned beyond the horizon cannot be waited for and do not count."""
        who, until = (request.source, request.key_hash), to_text(horizon)
        if blocked := self.refusal(*who, CALLS):
            raise quota_spent(request.source, blocked.expires_at, blocked.reason)
        most = max((limit.calls for limit in limits), default=1)
        made = [from_text(text) for (text,) in reversed(self._db.rows(_MADE, (*who, until, most)))]
        ((own,),) = self._db.rows(_OWN, (*who, request.caller, until))
        return next_slot(now, made, from_text(own) if own else None, limits, floor)

    def close(self) -> None:
        """Release the connection."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
