"""What a simulator was asked and what it answered."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

WINDOW_SECONDS = 60.0
_RECENT = 200


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer.

    Attributes:
        route: the route's name, or ``other``.
        method: GET, POST, ...
        path: path and query.
        status: 0 if the connection was cut before an answer.
        bytes: of the answer's body, as sent.
        fault: the kind of fault it met, or None.
    """

    route: str
    method: str
    path: str
    status: int
    bytes: int
    fault: str | None


@dataclass
class _Route:
    requests: int = 0
    bytes: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    def as_document(self) -> dict[str, Any]:
        return {"requests": self.requests, "bytes": self.bytes, "statuses": dict(self.statuses)}


class TrafficCounter:
    """Counts requests; used from the server's event loop only.

    Args:
        per_minute: most requests in any 60 seconds before a caller is refused; 0 for no limit.
        seconds: a counter of real seconds that never goes back.
    """

    def __init__(self, per_minute: int = 0, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._seconds = seconds
        self.clear()

    def clear(self) -> None:
        """Start again at zero."""
        self._routes: dict[str, _Route] = {}
        self._faults: Counter[str] = Counter()
        self._recent: deque[Exchange] = deque(maxlen=_RECENT)
        self._window: deque[float] = deque()
        self._busiest = 0

    def arrive(self) -> float:
        """Note a request; the seconds its caller must wait, 0 if it is within the limit.

        A refused request does not count against the limit.
        """
        now = self._seconds()
        while self._window and self._window[0] <= now - WINDOW_SECONDS:
            self._window.popleft()
        if self._per_minute and len(self._window) >= self._per_minute:
            return self._window[0] + WINDOW_SECONDS - now
        self._window.append(now)
        self._busiest = max(self._busiest, len(self._window))
        return 0.0

    def record(self, exchange: Exchange) -> None:
        """Note an answered request."""
        route = self._routes.setdefault(exchange.route, _Route())
        route.requests += 1
        route.bytes += exchange.bytes
        route.statuses[str(exchange.status)] += 1
        if exchange.fault:
            self._faults[exchange.fault] += 1
        self._recent.append(exchange)

    def as_document(self) -> Mapping[str, Any]:
        """The counters as JSON: totals, ``routes``, ``faults``, ``busiest_minute`` and the ``recent`` requests."""
        return {
            "requests": sum(route.requests for route in self._routes.values()),
            "bytes": sum(route.bytes for route in self._routes.values()),
            "busiest_minute": self._busiest,
            "routes": {name: route.as_document() for name, route in sorted(self._routes.items())},
            "faults": dict(self._faults),
            "recent": [asdict(exchange) for exchange in self._recent],
        }
