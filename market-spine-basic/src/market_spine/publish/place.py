"""Where an export comes to lie: it appears there whole, or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from market_spine.errors import StoreUnavailable, UsageError

_CONTENT, _OLD = "content", "old"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/.*", re.DOTALL)


def resolved(to: Path, hint: str = "name a folder, and copy it there with the tools of that place") -> Path:
    """The place that ``--to`` names, from the root; raises UsageError, with a hint, for an address."""
    if _ADDRESS.fullmatch(str(to)):
        raise UsageError(f"--to: {to} is an address, and files are written to folders of this machine", hint=hint)
    return to.resolve()


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Write to a place that ``--to`` names.

    Raises:
        UsageError: the folder that it is to lie in does not exist.
        StoreUnavailable: the block met an error of the file system.
    """
    if not target.parent.is_dir():
        raise UsageError(f"--to: the folder {target.parent} does not exist", hint="create it")
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"--to: {target} cannot be written: {error.strerror or error}",
            hint="check the folder, its permissions and the space on the disk",
            kind="output",
        ) from error


@contextmanager
def building(target: Path, *, overwrite: bool, refuse: Callable[[Path], None]) -> Iterator[Path]:
    """Give a path to build a file or a folder at; when the block ends without an error it becomes the target.

    It is built in a hidden folder beside the target, which this process has locked. What others left there that were
    killed is removed.

    Args:
        target: where it is to lie; nothing is there, or an empty folder.
        overwrite: something may lie there, and is replaced.
        refuse: raises UsageError for what must not be replaced.

    Raises:
        UsageError: something lies there, or as ``writing`` has it.
        StoreUnavailable: it cannot be written.
    """
    with writing(target):
        _clear(target)
        _look(target, overwrite=overwrite, refuse=refuse)
        work, lock = _work(target)
        try:
            yield work / _CONTENT
            _settle(work / _CONTENT)
            # Something may have come there meanwhile.
            _look(target, overwrite=overwrite, refuse=refuse)
            _move(work, target, overwrite=overwrite)
            sync(target.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)
            os.close(lock)


def _look(target: Path, *, overwrite: bool, refuse: Callable[[Path], None]) -> None:
    if not os.path.lexists(target) or _is_empty(target):
        return
    if not overwrite:
        raise UsageError(f"--to: {target} is there already", hint="--overwrite replaces it; or name another place")
    refuse(target)


def _is_empty(target: Path) -> bool:
    return target.is_dir() and not target.is_symlink() and not any(target.iterdir())


def _parts(target: Path) -> tuple[str, str]:
    return f".{target.name}.", ".export"


def _work(target: Path) -> tuple[Path, int]:
    """A fresh folder beside the target, and the descriptor that holds its lock."""
    before, after = _parts(target)
    while True:
        work = target.with_name(f"{before}{uuid4().hex[:12]}{after}")
        work.mkdir(mode=0o700)
        lock = _locked(work)
        # Until it is locked another export may take it for a dead one's.
        if lock is not None and work.is_dir():
            return work, lock
        if lock is not None:
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds a folder's lock; None if another process has it, or it is gone."""
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _clear(target: Path) -> None:
    """Remove what exports left that were killed; one that was being replaced then lies in its place again."""
    before, after = _parts(target)
    for found in target.parent.iterdir():
        if not (found.name.startswith(before) and found.name.endswith(after) and found.is_dir()):
            continue
        lock = _locked(found)
        if lock is None:
            continue
        try:
            if (found / _OLD).exists() and not os.path.lexists(target):
                (found / _OLD).rename(target)
            shutil.rmtree(found, ignore_errors=True)
        finally:
            os.close(lock)


def _move(work: Path, target: Path, *, overwrite: bool) -> None:
    content = work / _CONTENT
    if content.is_file() and (overwrite or not os.path.lexists(target)):
        if overwrite:
            content.replace(target)
        else:
            os.link(content, target)  # unlike a rename it replaces nothing that came there meanwhile
        return
    if os.path.lexists(target) and not _is_empty(target):
        target.rename(work / _OLD)
    elif content.is_file():
        target.rmdir()
    try:
        content.rename(target)
    except OSError:
        with suppress(OSError):
            (work / _OLD).rename(target)
        raise


def _settle(content: Path) -> None:
    """Let all of it be on the disk, with the permissions that a new file or folder gets."""
    mask = os.umask(0)
    os.umask(mask)
    for folder, _, names in os.walk(content, topdown=False):
        for name in names:
            sync(Path(folder) / name)
        Path(folder).chmod(0o777 & ~mask)
        sync(Path(folder))
    if content.is_file():
        sync(content)


def sync(path: Path) -> None:
    """Let a file or the names in a folder be on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
