"""Signals while a schedule runs: the first asks it to stop, the second ends the process, and both have a result.

The schedule works on a thread of its own, and this one listens: a system call that hangs, such as a name that is
looked up or a network file that is read, keeps the schedule from hearing anything, but not us.
"""

from __future__ import annotations

import contextvars
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from market_spine.errors import Interrupted

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds that a run gets for ending in order once it was asked to: less than the 30 s of Kubernetes."""
IDLE_PATIENCE = 1.5
"""The same while it has nothing in hand that could be finished."""
_SLICE = 0.05


class Signals:
    """While entered, SIGTERM and SIGINT are counted rather than end the process.

    Attributes:
        left: work was left behind, still at it: the process is to end without waiting for its threads.
    """

    def __init__(self) -> None:
        self.left = False
        self._count = 0
        self._before: dict[int, object] = {}

    def asked(self) -> bool:
        """Whether a signal came."""
        return self._count > 0

    def __enter__(self) -> Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1

    def supervise(self, work: Callable[[], T], busy: Callable[[], bool]) -> T:
        """Do the work, and stop waiting for it at a second signal, or when it takes too long after the first.

        Args:
            work: the schedule; never raises anything but defects.
            busy: whether it has something in hand that is worth finishing.

        Raises:
            Interrupted: it was not waited for.
        """
        outcome: list[T] = []
        problem: list[BaseException] = []
        done = threading.Event()

        def attempt() -> None:
            try:
                outcome.append(work())
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                problem.append(error)
            finally:
                done.set()

        threading.Thread(target=contextvars.copy_context().run, args=(attempt,), daemon=True, name="schedule").start()
        first: float | None = None
        # Short waits, because a handler only runs between them.
        while not done.wait(_SLICE):
            if not self._count:
                continue
            first = time.monotonic() if first is None else first
            waited = time.monotonic() - first
            if self._count > 1 or waited >= (PATIENCE if busy() else IDLE_PATIENCE):
                self.left = True
                raise Interrupted("stopped by a signal, at once", hint="run again: what was done is kept")
        if problem:
            raise problem[0]
        return outcome[0]
