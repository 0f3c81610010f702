"""Where memory is limited by ``ulimit``, a command works in a child, and its parent answers if it is ended.

A library that may not have more memory may abort the process: nothing within it could still write a result. Or one of
its threads dies, and what waits for that one waits for ever: then the child ends itself.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from types import FrameType

from market_spine.errors import MarketSpineError

_PR_SET_PDEATHSIG = 1
"""``prctl``'s number for the signal that a process gets when its parent dies, see prctl(2)."""
_STILL = 60
"""For how many ticks, of a second, a call into Polars may stand still: it waits only for whoever reads stdout."""
_NOTHING = 0.01
"""CPU seconds a tick that mean that nothing is computed: a schedule looks for signals at a tenth of that."""


def is_limited() -> bool:
    """Whether the process may have only so much memory (``ulimit -v`` or ``-d``)."""
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    return any(resource.getrlimit(kind)[0] != resource.RLIM_INFINITY for kind in kinds)


def attend(
    work: Callable[[], int],
    answer: Callable[[MarketSpineError], int],
    tick: Callable[[], None] = lambda: time.sleep(1),
) -> int:
    """Do the work in a child; returns its exit code, in both processes.

    Signals are passed on. The child is a process group of its own, so that Ctrl-C reaches it once.

    Args:
        work: returns the exit code.
        answer: tells of an error and returns the exit code; called where the child did not end by itself.
        tick: lets a second pass.
    """
    reading, writing = os.pipe()
    parent, child = os.getpid(), os.fork()
    if not child:
        os.close(reading)
        os.setpgid(0, 0)
        _die_with(parent)
        with suppress(RuntimeError):  # there is no room for a thread, and little for the work
            threading.Thread(target=_end_once_still, args=(tick,), daemon=True, name="attended").start()
        code = work()
        # From here on all is said: what a library does as the process ends changes nothing.
        os.write(writing, bytes([code]))
        return code
    os.close(writing)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, partial(_pass_on, child))
    said = os.read(reading, 1)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if said or ended >= 0:
        return said[0] if said else ended
    return answer(
        MarketSpineError(
            f"the process was ended from inside by {signal.Signals(-ended).name}: it may not have more memory",
            hint="give it more (ulimit, the container's limits), or less at once: fewer --workers, fewer partitions",
            kind="resources",
        )
    )


def _end_once_still(tick: Callable[[], None]) -> None:
    """End this process by SIGABRT once it stands still."""
    wait_until_still(_samples(tick))
    os.kill(os.getpid(), signal.SIGABRT)


def wait_until_still(samples: Iterable[tuple[bool, float]]) -> None:
    """Return once a call into Polars has stood still for too long.

    Args:
        samples: at each tick, whether some thread is in such a call and stdout takes more, and the CPU seconds that the
            process has spent.
    """
    still, before = 0, 0.0
    for called, spent in samples:
        still = still + 1 if called and spent - before < _NOTHING else 0
        before = spent
        if still == _STILL:
            return


def _samples(tick: Callable[[], None]) -> Iterator[tuple[bool, float]]:
    inside = f"{os.sep}polars{os.sep}"
    stdout = select.poll()
    stdout.register(1, select.POLLOUT)
    while True:
        tick()
        frames = sys._current_frames().values()  # noqa: SLF001 - a documented function
        called = any(inside in frame.f_code.co_filename for frame in frames) and bool(stdout.poll(0))
        yield called, time.process_time() - time.thread_time()


def _pass_on(child: int, number: int, _frame: FrameType | None) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)


def _die_with(parent: int) -> None:
    import ctypes

    with suppress(OSError, AttributeError):  # Linux alone has it; elsewhere the child ends its work
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
