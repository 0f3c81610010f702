"""The folder that a lake lies in: immutable files, and one that is renamed into place last."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from market_spine.errors import StoreLocked, UsageError
from market_spine.publish.lakeplace import CURRENT, LOCK, OURS, parsed, write_rows
from market_spine.publish.place import resolved, sync, writing

if TYPE_CHECKING:
    import polars as pl

_NEW = ".new"


class LakeFolder:
    """A folder on a file system that has locks; raises UsageError, with a hint, for an address."""

    def __init__(self, folder: Path, hint: str = "") -> None:
        self._folder = resolved(folder, hint)

    @property
    def address(self) -> str:
        """Where engines find the files."""
        return str(self._folder)

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Be the only publisher while the block goes on; the lock of one that was killed is gone with it.

        Raises:
            UsageError: something else lies there, or as ``writing`` has it.
            StoreLocked: another process publishes there.
            StoreUnavailable: it cannot be written.
        """
        import fcntl

        with writing(self._folder):
            self._look()
            lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise StoreLocked(
                        f"--to: another process is publishing to {self._folder}", hint="wait until it has ended"
                    ) from None
                yield
            finally:
                os.close(lock)

    def _look(self) -> None:
        self._folder.mkdir(exist_ok=True)
        found = {each.name for each in self._folder.iterdir()}
        if found and not found & {CURRENT, LOCK}:
            raise UsageError(f"--to: {self._folder} holds something that is no lake", hint="name another folder")

    def current(self) -> dict[str, Any] | None:
        """What the last publication said; None before the first one."""
        path = self._folder / CURRENT
        return parsed(path.read_bytes(), str(path)) if path.exists() else None

    def write(self, name: str, frame: pl.DataFrame) -> None:
        """Add a data file."""
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("xb") as file:
            write_rows(frame, file)
            file.flush()
            os.fsync(file.fileno())

    def settle(self, tables: Sequence[str]) -> None:
        """Let the names of the files of some tables be on the disk."""
        for name in tables:
            sync(self._folder / name)
        sync(self._folder)

    def commit(self, content: bytes) -> None:
        """Rename what belongs together into place."""
        self.put(CURRENT, content)

    def put(self, name: str, content: bytes) -> None:
        """Let a file be there whole, or stay as it was; one that is the same is left alone."""
        path = self._folder / name
        if path.exists() and path.read_bytes() == content:
            return
        new = path.with_name(name + _NEW)
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        sync(self._folder)

    def files(self) -> Iterator[str]:
        """The names of all data files that there are, whichever publication they are of."""
        for folder in self._folder.iterdir():
            if folder.is_dir():
                names = (f"{folder.name}/{each.name}" for each in folder.iterdir())
                yield from filter(OURS.fullmatch, names)

    def remove(self, name: str) -> None:
        """Remove a data file."""
        (self._folder / name).unlink(missing_ok=True)
