"""A clock that can be set, moved and stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from threading import Lock
from zoneinfo import ZoneInfo

from market_spine.errors import UsageError

MARKET_ZONE = ZoneInfo("America/New_York")


class SimulatedClock:
    """Starts at a moment of choice and, unless frozen, runs on in real time.

    Args:
        start: the first moment it shows; it needs a zone.
        frozen: stand still until told otherwise.
        seconds: a counter of real seconds that never goes back.
    """

    def __init__(self, start: datetime, *, frozen: bool = False, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._lock = Lock()
        self._shown = start.astimezone(UTC)
        self._since = seconds()
        self._frozen = frozen

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return self._frozen

    def now(self) -> datetime:
        """The moment it shows, in UTC."""
        with self._lock:
            return self._read()

    def today(self) -> date:
        """The date in New York, where markets and their publishers keep their days."""
        return self.now().astimezone(MARKET_ZONE).date()

    def set(self, moment: datetime) -> None:
        """Show another moment from now on; it may lie in the past."""
        with self._lock:
            self._shown, self._since = moment.astimezone(UTC), self._seconds()

    def advance(self, by: timedelta) -> None:
        """Move forward, or back if negative; raises OverflowError beyond the year 9999."""
        with self._lock:
            self._shown, self._since = self._read() + by, self._seconds()

    def freeze(self, frozen: bool = True) -> None:
        """Stand still, or run on."""
        with self._lock:
            self._shown, self._since = self._read(), self._seconds()
            self._frozen = frozen

    def _read(self) -> datetime:
        if self._frozen:
            return self._shown
        return self._shown + timedelta(seconds=self._seconds() - self._since)


def parse_moment(flag: str, text: str) -> datetime:
    """A moment from ISO 8601 text; a date alone means noon in New York, a time without zone is UTC.

    Raises:
        UsageError: naming the flag.
    """
    try:
        if len(text) == len("YYYY-MM-DD"):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), MARKET_ZONE).replace(hour=12)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, TypeError) as error:
        raise UsageError(
            f"{flag}: {text!r} is not allowed; it takes YYYY-MM-DD or a moment such as 2025-12-23T18:00:00Z"
        ) from error
