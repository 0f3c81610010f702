"""Who may ask, and answers that are fetched later: bearer tokens and asynchronous requests."""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from secrets import token_urlsafe
from threading import Lock
from uuid import uuid4

from market_spine.simulation import SimulatedClock
from spine.domains.finra.otc_transparency.simulator.query import QueryRefused, ServedQuery

CLIENT_ID = "market-spine"
CLIENT_SECRET = "simulated"  # noqa: S105 (opens nothing but the simulator)
_MOST_REQUESTS = 1_000
_RESULT_LIFE = timedelta(hours=2)
_REQUEST_LIFE = timedelta(hours=24)


class Tokens:
    """Bearer tokens that expire by the simulator's clock.

    Args:
        clock: what counts as now.
        seconds: how long a token is good for.
        anonymous: whether requests without one are answered.
    """

    def __init__(self, clock: SimulatedClock, seconds: int, *, anonymous: bool) -> None:
        self.seconds = seconds
        self._clock = clock
        self._anonymous = anonymous
        self._expiry: dict[str, datetime] = {}
        self._lock = Lock()

    def issue(self) -> str:
        """A new token."""
        token = token_urlsafe(24)
        with self._lock:
            self._expiry[token] = self._clock.now() + timedelta(seconds=self.seconds)
        return token

    def check(self, authorization: str | None) -> None:
        """Raise QueryRefused, status 401, unless the header's value, or its absence, is good."""
        if authorization is None:
            if self._anonymous:
                return
            raise QueryRefused(401, "Authentication is required")
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "basic" and credentials(authorization) == (CLIENT_ID, CLIENT_SECRET):
            return
        with self._lock:
            expiry = self._expiry.get(given.strip()) if scheme.lower() == "bearer" else None
        if expiry is None or expiry <= self._clock.now():
            raise QueryRefused(401, "Invalid or expired token")

    def expire(self, authorization: str | None) -> bool:
        """Forget the token in a header's value; whether there was one."""
        given = (authorization or "").partition(" ")[2].strip()
        with self._lock:
            return self._expiry.pop(given, None) is not None


def credentials(authorization: str | None) -> tuple[str, str] | None:
    """Client id and secret of a Basic Authorization header; None if it holds none."""
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, secret = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, secret) if colon and name else None


@dataclass
class Pending:
    """An asynchronous request.

    Attributes:
        dataset: what is asked.
        query: what is asked of it.
        as_json: JSON, or else delimited text.
        created: when it was made.
        polls: how often its status was asked for.
        completed: when its status was first ``complete``.
        request_id: its id.
    """

    dataset: str
    query: ServedQuery
    as_json: bool
    created: datetime
    polls: int = 0
    completed: datetime | None = None
    request_id: str = field(default_factory=lambda: str(uuid4()))

    @property
    def expires(self) -> datetime:
        """When its result is gone: two hours after it was first complete, a day after it was made at the latest."""
        latest = self.created + _REQUEST_LIFE
        return min(latest, self.completed + _RESULT_LIFE) if self.completed else latest


class Requests:
    """The asynchronous requests of the last day; pending when first asked for, then complete.

    Args:
        clock: what counts as now.
    """

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock
        self._held: OrderedDict[str, Pending] = OrderedDict()
        self._lock = Lock()

    def add(self, dataset: str, query: ServedQuery, *, as_json: bool) -> Pending:
        """Accept a request."""
        pending = Pending(dataset, query, as_json, self._clock.now())
        with self._lock:
            self._held[pending.request_id] = pending
            while len(self._held) > _MOST_REQUESTS:
                self._held.popitem(last=False)
        return pending

    def poll(self, request_id: str) -> Pending:
        """The request whose status is asked for; raises QueryRefused, status 404."""
        with self._lock:
            pending = self._held.get(request_id)
            if pending is None or pending.expires <= self._clock.now():
                raise QueryRefused(404, "Asynchronous request not found")
            pending.polls += 1
            if pending.polls > 1 and pending.completed is None:
                pending.completed = self._clock.now()
            return pending

    def result(self, request_id: str) -> Pending:
        """The complete request whose result is fetched; raises QueryRefused, status 403."""
        with self._lock:
            pending = self._held.get(request_id)
        if pending is None or pending.completed is None or pending.expires <= self._clock.now():
            raise QueryRefused(403, "Request has expired")
        return pending
