"""Answers that are made on a thread of their own and sent while they are made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Full, Queue

_AHEAD = 4
"""Pieces that wait to be taken."""
_LOOK = 0.5
"""Seconds between two looks whether anybody still wants the pieces."""

Give = Callable[[bytes], None]
"""Takes a piece; raises Abandoned when nobody wants it any more."""


class Abandoned(Exception):
    """Whoever wanted the pieces has gone away."""


class _Belt:
    """Carries pieces from the thread that makes them to whoever takes them; at its end None, or an error."""

    def __init__(self) -> None:
        self._queue: Queue[bytes | BaseException | None] = Queue(_AHEAD)
        self._gone = threading.Event()

    def give(self, piece: bytes | BaseException | None) -> None:
        """Put a piece on; raises Abandoned when nobody takes any more."""
        while not self._gone.is_set():
            try:
                self._queue.put(piece, timeout=_LOOK)
            except Full:
                continue
            return
        raise Abandoned

    def work(self, make: Callable[[Give], None]) -> None:
        """Make all pieces, and tell how it ended."""
        end: BaseException | None = None
        try:
            make(self.give)
        except BaseException as error:  # noqa: BLE001 - handed to whoever takes the pieces
            end = error
        with suppress(Abandoned):
            self.give(end)

    def taken(self) -> Iterator[bytes]:
        """The pieces in order; raises what ended them."""
        try:
            while (piece := self._queue.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            self._gone.set()


def pieces(make: Callable[[Give], None]) -> Iterator[bytes]:
    """The pieces that ``make`` gives, in order; what it raises is raised here, too.

    All of ``make`` happens on one thread, so that it may hold what belongs to a thread.
    """
    belt = _Belt()
    threading.Thread(target=belt.work, args=(make,), daemon=True, name="export").start()
    return belt.taken()
