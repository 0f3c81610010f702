"""How waits hear that the run is to stop: whoever waits does it here, in slices.

    with heard(asked):            # a composition root: who is asked, such as whether SIGTERM came
        sleep(200)                # raises Interrupted within a slice once ``asked()`` is true
        within(call, 300)         # the same for work that may hang; raises TimeoutError after 300 s

What is asked belongs to the context: threads that are started for a run are told with ``adopt(current())``, or
run in a copy of the context. Where nobody said anything, nothing stops.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from market_spine.errors import Interrupted

T = TypeVar("T")
Asked = Callable[[], bool]

SLICE = 0.2
"""Seconds after which a wait looks whether it was asked to stop."""


def _never() -> bool:
    return False


class _Hand(threading.Thread):
    """Does what it is given, one thing after another: starting a thread takes longer than reading a small file.

    A daemon: the process may end while it still hangs.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._given = threading.Event()
        self._work: list[tuple[Callable[[], None], threading.Event]] = []

    def give(self, work: Callable[[], None], done: threading.Event) -> None:
        """Let it do some work, which raises nothing; it says when it is done. It must be idle."""
        self._work.append((work, done))
        self._given.set()

    def run(self) -> None:
        while True:
            self._given.wait()
            self._given.clear()
            work, done = self._work.pop()
            work()
            del work  # and what it holds
            _idle.append(self)
            done.set()


_idle: deque[_Hand] = deque()
os.register_at_fork(after_in_child=_idle.clear)


_asked: contextvars.ContextVar[Asked] = contextvars.ContextVar("market_spine_stopping", default=_never)


@contextmanager
def heard(asked: Asked) -> Iterator[None]:
    """Let the waits inside the block end once ``asked`` says so."""
    token = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(token)


def current() -> Asked:
    """Who is asked here."""
    return _asked.get()


def adopt(asked: Asked) -> None:
    """Ask the same in this thread from now on."""
    _asked.set(asked)


def asked() -> bool:
    """Whether the run is to stop."""
    return _asked.get()()


def check() -> None:
    """Raise Interrupted if the run is to stop."""
    if asked():
        raise Interrupted("stopped by a signal while waiting", hint="run again: what was done is kept")


def sleep(seconds: float, pause: Callable[[float], None] = time.sleep) -> None:
    """Wait so long; raises Interrupted."""
    while seconds > 0:
        check()
        pause(min(seconds, SLICE))
        seconds -= SLICE


def within(work: Callable[[], T], seconds: float | None = None, *, grace: float = 0.0) -> T:
    """Do work that may hang, and leave it behind, on its thread, if it does.

    Args:
        work: what to do.
        seconds: how long it may take; None is for ever.
        grace: how long it may still take once the run is to stop.

    Raises:
        Interrupted: the run is to stop.
        TimeoutError: the work was not done in ``seconds``.
    """
    outcome: list[T] = []
    problem: list[BaseException] = []
    done = threading.Event()

    def attempt() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            problem.append(error)

    context = contextvars.copy_context()
    _hand().give(lambda: context.run(attempt), done)
    end = float("inf") if seconds is None else time.monotonic() + seconds
    last = float("inf")
    while not done.wait(max(0.0, min(SLICE, end - time.monotonic()))):
        now = time.monotonic()
        if asked():
            last = min(last, now + grace)
        if now >= last:
            check()
        if now >= end:
            raise TimeoutError(f"not done within {seconds:g} s")
    if problem:
        raise problem[0]
    return outcome[0]


def _hand() -> _Hand:
    """One that is idle, or a new one."""
    try:
        return _idle.pop()
    except IndexError:
        found = _Hand()
        found.start()
        return found
