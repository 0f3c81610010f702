"""What was made of one state of the store, kept while the store is in that state.

Every transaction that pages show has a moment of its own, later than all before it (``store.moments``): the latest one
names the state. What was known at a past moment never changes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from market_spine.core.manifest import Known
from market_spine.core.ports import Reader

_STATES = 3
"""States of which something is kept: the present, and moments looked at lately."""
_ANSWERS = 128
"""Answers that are kept of each; they are what pages are made of, of some kilobytes each."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")


class _Slot:
    """Room for one answer; whoever wants it while it is made waits for it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.filled = False
        self.answer: Any = None


class Answers:
    """Answers that hold for one state. Any thread may ask; nobody may change what was answered."""

    def __init__(self) -> None:
        self._slots: OrderedDict[Hashable, _Slot] = OrderedDict()
        self._lock = Lock()

    def once(self, question: Hashable, ask: Callable[[], T]) -> T:
        """The answer to a question, asked if it is not kept; what fails is not kept."""
        with self._lock:
            slot = _latest(self._slots, question, _Slot, _ANSWERS)
        with slot.lock:
            if not slot.filled:
                slot.answer, slot.filled = ask(), True
            answer: T = slot.answer
            return answer


class Former(NamedTuple):
    """What was known of a domain's partitions at the latest commit, ``entries`` of them until then."""

    latest: datetime
    entries: int
    known: Mapping[str, Known]


class Recollection:
    """Answers by the state that they hold for."""

    def __init__(self) -> None:
        self._former: dict[str, Former] = {}
        self._states: OrderedDict[tuple[bool, datetime], Answers] = OrderedDict()
        self._lock = Lock()

    def known(self, store: Reader, domain: str, latest: datetime) -> Mapping[str, Known]:
        """What the manifest says of every partition of a domain; only of those that moved it is read again.

        Args:
            store: shows the present.
            domain: its name.
            latest: the moment of the present's latest commit, read from the store before.
        """
        before = self._former.get(domain)
        entries, moved = (-1, ()) if before is None else store.moved(domain, before.latest)
        if before is None or entries != before.entries:
            # The first look, or another history: the file was replaced by one that has grown since.
            known = store.known(domain)
        else:
            known = {**before.known, **store.known(domain, moved)} if moved else before.known
        entries, _ = store.moved(domain, latest)
        self._former[domain] = Former(latest, entries, known)
        return known

    def of(self, as_of: datetime | None, latest: datetime | None) -> Answers:
        """What is kept of a moment that has passed, or of the present.

        Args:
            as_of: the moment; None: the present.
            latest: the moment of the present's latest commit, read before anything that is to be kept; so an answer is
                never older than the state it is kept for. None: there is none, and nothing is kept.
        """
        moment = as_of or latest
        if moment is None:
            return Answers()
        with self._lock:
            if as_of is None:
                # What was the present before has passed.
                for state in [each for each in self._states if not each[0] and each[1] != moment]:
                    del self._states[state]
            return _latest(self._states, (as_of is not None, moment), Answers, _STATES)


def _latest(kept: OrderedDict[K, V], key: K, make: Callable[[], V], most: int) -> V:
    """What is kept under a key, or is made; what was wanted longest ago makes room."""
    if key not in kept:
        kept[key] = make()
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
    return kept[key]
