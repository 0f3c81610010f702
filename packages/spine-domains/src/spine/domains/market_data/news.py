"""Questions that brought nothing: remembered for all runs, and asked again later and later.

A symbol that is halted, unknown or delisted, and a session that the vendor has of nobody (it is not out yet, or the
market was shut on a day that the calendar has as a session) must not be asked for at every run.
"""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import date

from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.core.quota import Refusal
from market_spine.errors import SourceError
from spine.domains.market_data.calling import HINTS, Caller
from spine.domains.market_data.orders import Order, is_asked, is_waiting, lacks_history, news_of, next_wait, previous
from spine.domains.market_data.partitions import last_known
from spine.domains.market_data.schema import NAME
from spine.domains.market_data.vendors import Finding

DELISTED = "take it off the list; what is known of it stays"
NO_BARS = {
    "unknown_symbol": HINTS["unknown_symbol"],
    "no_data": HINTS["no_data"],
    "delisted": DELISTED,
}
"""Kinds of errors that say that a symbol has no bars, with their hints."""

WITNESSES = 3
"""So many symbols that had the session before, and do not have this one, speak for all."""


class News:
    """What one run finds out about who has something new. Threads share it."""

    def __init__(self, order: Order, caller: Caller) -> None:
        self._order = order
        self._caller = caller
        self._out = order.out
        self._witnesses: set[str] = set()
        self._guard = threading.Lock()

    def look(self, partition: Partition, latest: date) -> Known | None:
        """What the store knows of a partition now; None if there is nothing to ask, or it is not time to.

        Raises:
            SourceError: the answer that is remembered: the symbol has no bars, or none that could be taken.
        """
        with closing(self._caller.access.reader()) as store:
            known = store.known(NAME, [partition.key])[partition.key]
            if not is_asked(known, self._order, latest):
                return None
            if self._order.full or self._order.force or lacks_history(known, self._order):
                return known
            refusals = store.refusals(self._caller.vendor.name, self._caller.hash)
        now = self._caller.access.clock()
        own = refusals.get(news_of(partition.key))
        if own is not None and is_waiting(known, own, now, latest):
            kind, _, words = own.reason.partition(": ")
            if kind in NO_BARS or (known.current is None and not known.retracted):
                until = f"{own.expires_at:%Y-%m-%d %H:%M} UTC"
                hint = NO_BARS.get(kind, "run again later, or now with --force")
                raise SourceError(f"{words} (not asked again until {until})", hint=hint, kind=kind)
            return None
        session = refusals.get(news_of(str(latest)))
        if not self._out and last_known(known) == previous(latest) and is_waiting(known, session, now, latest):
            return None
        return known

    def moved(self, partition: Partition, known: Known) -> bool:
        """Whether another run committed a partition since the manifest was read."""
        with closing(self._caller.access.reader()) as store:
            return store.known(NAME, [partition.key])[partition.key].last_id != known.last_id

    def brought(self) -> None:
        """Some symbol has the latest session."""
        with self._guard:
            self._out = True

    def nothing(self, partition: Partition, known: Known, latest: date, words: str) -> None:
        """A symbol was asked for and does not have the latest session: its next question is put off."""
        self._put_off(news_of(partition.key), known, words)
        if last_known(known) != previous(latest):
            return
        with self._guard:
            self._witnesses.add(partition.key)
            again = news_of(str(latest)) in self._refusals()
            speak = not self._out and (again or len(self._witnesses) >= WITNESSES)
        if speak:
            self.shut(latest)

    def shut(self, session: date) -> None:
        """The vendor has a session of nobody."""
        self._put_off(news_of(str(session)), Known(""), f"no bar of {session} of any symbol")

    def _put_off(self, capability: str, known: Known, words: str) -> None:
        before = self._refusals().get(capability)
        if before is not None and before.learnt_at >= self._order.started:
            return
        self._caller.learn(capability, Finding("no_data", words), next_wait(known, before))

    def _refusals(self) -> dict[str, Refusal]:
        with closing(self._caller.access.reader()) as store:
            return dict(store.refusals(self._caller.vendor.name, self._caller.hash))
