"""The threads that make pages: few, and behind others that want the processors."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

T = TypeVar("T")

_BEHIND = 5
"""How much nicer: a third of the share of a load that wants the same processor. Much more, and where others keep every
processor busy no page would come at all."""


def stand_back() -> None:
    """Let other programs go first, a load above all, from this thread and those that it starts.

    Only Linux lets a thread do so; commands that pages start must not, and could not come forward again.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _BEHIND)


class Hands:
    """Makes so many answers at once; further ones wait.

    Args:
        count: how many.
        begin: what each thread does first.
    """

    def __init__(self, count: int, begin: Callable[[], None]) -> None:
        self._pool = ThreadPoolExecutor(count, "page", begin)

    async def do(self, work: Callable[..., T], *arguments: object) -> T:
        """What work comes to, once a thread is free for it."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *arguments))
