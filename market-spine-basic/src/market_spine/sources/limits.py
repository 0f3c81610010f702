"""How much time and how many requests a source may take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from market_spine import stopping

Seconds = Callable[[], float]
"""A clock that only moves forward, in seconds from an arbitrary start."""
Sleep = Callable[[float], None]


class Deadline:
    """A moment by which some work has to be done, however many requests and retries it takes."""

    def __init__(self, seconds: float, clock: Seconds = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left; 0 once it has passed."""
        return max(0.0, self._end - self._clock())


class RateLimiter:
    """Spaces requests evenly; safe to share between threads.

    Args:
        per_second: most requests in a second.
        clock: tells the time.
        sleep: waits.
    """

    def __init__(self, per_second: float, *, clock: Seconds = time.monotonic, sleep: Sleep = stopping.sleep) -> None:
        self._gap = 1.0 / per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = clock()

    def wait(self) -> None:
        """Take the next free slot and wait until it comes."""
        with self._lock:
            now = self._clock()
            slot = max(now, self._next)
            self._next = slot + self._gap
        if slot > now:
            self._sleep(slot - now)

    def hold(self, seconds: float) -> None:
        """Give out no slot for so long: the other side has asked for a pause."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)
