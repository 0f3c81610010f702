"""The threads that make pages: few, and behind whatever else wants the processors."""

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

_LAST = 19
"""The niceness of what takes only what others leave."""


def stand_back() -> None:
    """Let every other program go first, a load above all, from this thread and those that it starts.

    Only Linux lets a thread do so; commands that pages start must not, and could not come forward again.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LAST)


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
