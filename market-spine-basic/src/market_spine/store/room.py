"""Room on a disk: looked at before something is written, and missed by name."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from market_spine.errors import StoreUnavailable

KIND = "disk_full"
"""Kind of the StoreUnavailable that says that there is no room."""
LEAST = 256 * 1024
"""Bytes that are to be left beside what is written: for journals and the record of the run."""


def full(name: str, detail: str) -> StoreUnavailable:
    """The error for a place that takes no more."""
    return StoreUnavailable(
        f"{name} cannot grow: the disk is full ({detail})",
        hint="free some of it and run again: what was committed is kept",
        kind=KIND,
    )


def require(path: str | Path, needed: int) -> None:
    """Raise StoreUnavailable, kind ``disk_full``, unless so many bytes can be added to a file, or make a new one.

    What is written goes into a journal and from there into the database: twice its size is asked for.
    """
    try:
        # Not shutil.disk_usage, which is dear to import for every run.
        found = os.statvfs(Path(path).absolute().parent)
    except OSError:
        return  # whatever is the matter, writing says it better
    free = found.f_bavail * found.f_frsize
    if free < 2 * needed + LEAST:
        raise full(str(path), f"{free:,} bytes are free, and {2 * needed + LEAST:,} needed")


@contextmanager
def missed(path: str | Path) -> Iterator[None]:
    """Turn what the system says of a file that cannot be made or moved into StoreUnavailable."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full(str(path), error.strerror or "no space") from error
        raise StoreUnavailable(
            f"{path} cannot be written ({error.strerror or error})", hint="check the path and its permissions"
        ) from error
