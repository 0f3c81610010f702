"""The vendors' limits, by the simulator's clock."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from datetime import date, datetime, timedelta

from spine.domains.market_data.simulator.trading_day import new_york


class SlidingWindow:
    """Requests of each key within the last so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._length = timedelta(seconds=seconds)
        self._seen: defaultdict[str, deque[datetime]] = defaultdict(deque)

    def count(self, key: str, now: datetime) -> int:
        """How many there are; those of a clock that has since been set back are forgotten."""
        seen = self._seen[key]
        while seen and not seen[0] <= now < seen[0] + self._length:
            seen.popleft()
        return len(seen)

    def add(self, key: str, now: datetime) -> None:
        """Note a request."""
        self._seen[key].append(now)

    def wait(self, key: str, now: datetime) -> float:
        """Seconds until the oldest leaves the window."""
        seen = self._seen[key]
        return (seen[0] + self._length - now).total_seconds() if seen else 0.0

    def counts(self, now: datetime) -> Mapping[str, int]:
        """The number of requests of every key."""
        return {key: self.count(key, now) for key in list(self._seen)}


class DayCount:
    """Requests of each key on a New York day."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, date], int] = {}

    def count(self, key: str, now: datetime) -> int:
        """How many there were today."""
        return self._used.get((key, new_york(now).date()), 0)

    def add(self, key: str, now: datetime) -> None:
        """Note a request."""
        self._used[key, new_york(now).date()] = self.count(key, now) + 1

    def counts(self, now: datetime) -> Mapping[str, int]:
        """The number of today's requests of every key."""
        return {key: used for (key, day), used in self._used.items() if day == new_york(now).date()}
