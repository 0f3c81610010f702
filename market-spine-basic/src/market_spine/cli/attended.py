"""Where memory is limited by ``ulimit``, a command works in a child, and its parent answers if it is ended.

A library that may not have more memory may abort the process: nothing within it could still write a result.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType

from market_spine.errors import MarketSpineError

_PR_SET_PDEATHSIG = 1
"""``prctl``'s number for the signal that a process gets when its parent dies, see prctl(2)."""


def is_limited() -> bool:
    """Whether the process may have only so much memory (``ulimit -v`` or ``-d``)."""
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    return any(resource.getrlimit(kind)[0] != resource.RLIM_INFINITY for kind in kinds)


def attend(work: Callable[[], int], answer: Callable[[MarketSpineError], int]) -> int:
    """Do the work in a child; returns its exit code, in both processes.

    Signals are passed on. The child is a process group of its own, so that Ctrl-C reaches it once.

    Args:
        work: returns the exit code.
        answer: tells of an error and returns the exit code; called where the child did not end by itself.
    """
    reading, writing = os.pipe()
    parent, child = os.getpid(), os.fork()
    if not child:
        os.close(reading)
        os.setpgid(0, 0)
        _die_with(parent)
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


def _pass_on(child: int, number: int, _frame: FrameType | None) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)


def _die_with(parent: int) -> None:
    import ctypes

    with suppress(OSError, AttributeError):  # Linux alone has it; elsewhere the child ends its work
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
