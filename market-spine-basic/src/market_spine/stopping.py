"""How waits hear that the run is to stop: whoever waits does it here, in slices.

    with heard(asked):            # a composition root: who is asked, such as whether SIGTERM came
        sleep(200)                # raises Interrupted within a slice once ``asked()`` is true
        within(call, 300)         # the same for work that may hang; raises TimeoutError after 300 s

What is asked belongs to the context: threads that are started for a run are told with ``adopt(current())``, or
run in a copy of the context. Where nobody said anything, nothing stops.
"""

from __future__ import annotations

import contextvars
import threading
import time
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
        finally:
            done.set()

    # A daemon: the process may end while it still hangs.
    threading.Thread(target=contextvars.copy_context().run, args=(attempt,), daemon=True).start()
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
