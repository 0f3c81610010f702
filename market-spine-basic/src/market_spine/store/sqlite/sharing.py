"""Database files that several users share: whoever reads, the owner can go on writing.

SQLite keeps two side files beside a database, the log ``-wal`` and its index ``-shm``. Whoever opens it first makes
them, readers too, and the last one to close removes them. Made by another user than the owner they would stop the
owner's next write. So another user takes the side files that are there, else makes such as the owner can write, else
reads without them; and an owner who finds some that cannot be written removes them while nobody has the database open.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from market_spine import stopping
from market_spine.errors import StoreLocked, StoreUnavailable
from market_spine.store.sqlite.waiting import without_locks

opening = threading.RLock()
"""Held while files are made and opened: a process that closes a file loses its locks on it."""

_SHARED = (0x40000002, 510)
"""First byte and number of the bytes of a database that SQLite locks: shared as long as it is open, exclusively to
remove the side files."""

_FRESH_SECONDS = 1.0
"""How long after a change a further one may leave a file's time as it is."""

_PAUSE_SECONDS = 0.01


def side_files(real: Path) -> tuple[Path, Path]:
    """The log and the index of a database file."""
    return real.with_name(f"{real.name}-wal"), real.with_name(f"{real.name}-shm")


def create(path: Path, like: Path | None = None) -> None:
    """Make an empty database file unless there is one, readable and writable as its folder says.

    It has the folder's group bits where it has the folder's group, unless the umask denies the group everything and
    the folder does not hand its group on; what the umask or the folder denies to everybody stays denied.

    Args:
        path: the file.
        like: the file that it will be a copy of: what that denies to everybody stays denied too.
    """
    real = Path(os.path.realpath(path))
    with opening:
        try:
            descriptor = os.open(real, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError:
            return  # it is there, or SQLite will say why it cannot be
        try:
            allowed = like.stat().st_mode if like is not None and like.exists() else 0o777
            mode = _mode(os.fstat(descriptor), real.parent.stat(), allowed)
            with contextlib.suppress(OSError):  # some network shares have no modes
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)


def _mode(made: os.stat_result, folder: os.stat_result, allowed: int) -> int:
    handed_on = folder.st_mode & stat.S_ISGID
    if handed_on or (made.st_gid == folder.st_gid and made.st_mode & stat.S_IRGRP):
        group = folder.st_mode & (stat.S_IRGRP | stat.S_IWGRP)
    else:
        group = made.st_mode & folder.st_mode & stat.S_IRGRP
    everybody = made.st_mode & folder.st_mode & allowed & stat.S_IROTH if group & stat.S_IRGRP else 0
    return stat.S_IRUSR | stat.S_IWUSR | group | everybody


class Hold:
    """A shared lock on a database file, beside those of SQLite: while it lasts nobody removes its side files.

    Closing a file ends every lock that the process has on it, SQLite's too. So there is one for each file, which is
    closed when the last of the connections that share it is.
    """

    _held: dict[tuple[int, int], Hold] = {}  # noqa: RUF012 - one for the process

    def __init__(self, descriptor: int, key: tuple[int, int]) -> None:
        self._descriptor = descriptor
        self._key = key
        self._users = 0
        self._locks = 0

    @classmethod
    def take(cls, real: Path, wait_seconds: float) -> Hold:
        """Open and lock a file; raises OSError if it cannot be read, StoreLocked if it stays locked."""
        with opening:
            info = real.stat()
            key = (info.st_dev, info.st_ino)
            held = cls._held.get(key)
            if held is None:
                held = cls._held[key] = Hold(os.open(real, os.O_RDONLY | os.O_CLOEXEC), key)
            held._users += 1
            try:
                held._lock(real, wait_seconds)
            except BaseException:
                held.leave()
                raise
            return held

    def _lock(self, real: Path, wait_seconds: float) -> None:
        if not self._locks:
            _wait_for_lock(self._descriptor, real, wait_seconds, exclusive=False)
        self._locks += 1

    def unlock(self) -> None:
        """Let side files be removed again."""
        with opening:
            self._locks -= 1
            if not self._locks:
                _lock(self._descriptor, "F_UNLCK")

    def leave(self) -> None:
        """Say that a connection is closed."""
        with opening:
            self._users -= 1
            if not self._users:
                del self._held[self._key]
                os.close(self._descriptor)

    @property
    def has_log(self) -> bool:
        """Whether the database is one in write-ahead mode."""
        return os.pread(self._descriptor, 2, 18) == b"\2\2"


def _lock(descriptor: int, kind: str) -> None:
    import fcntl

    # Locks of the open file, not of the process: SQLite's own neither replace them nor end with them.
    start, length = _SHARED
    record = struct.pack("hhqqi4x", getattr(fcntl, kind), os.SEEK_SET, start, length, 0)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, record)


def _wait_for_lock(descriptor: int, real: Path, wait_seconds: float, *, exclusive: bool) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return _lock(descriptor, "F_WRLCK" if exclusive else "F_RDLCK")
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise StoreLocked(
                    f"{real} was locked by another process for longer than {wait_seconds:g} s",
                    hint="run again when that process has finished",
                ) from error
        except OSError as error:
            raise without_locks(str(real), os.strerror(error.errno or 0)) from error
        stopping.check()
        time.sleep(_PAUSE_SECONDS)


class Bare:
    """A database that is read without side files, from the file alone: whole until somebody moves a log into it."""

    def __init__(self, real: Path, hold: Hold) -> None:
        self._real = real
        self._hold = hold
        self._before = real.stat()
        self._fresh = time.time() - self._before.st_mtime < _FRESH_SECONDS

    def outdated(self) -> bool:
        """Whether there is more to see by now."""
        return self._file_changed() or log_size(self._real) > 0

    def torn(self) -> bool:
        """Whether what was read may stem from two states.

        Nobody can change the file without a log, which the lock keeps from being removed.
        """
        return self._file_changed() or (self._fresh and log_size(self._real) > 0)

    def _file_changed(self) -> bool:
        try:
            now = self._real.stat()
        except OSError:
            return True
        names = ("st_dev", "st_ino", "st_size", "st_mtime_ns")
        return any(getattr(now, name) != getattr(self._before, name) for name in names)

    def leave(self) -> None:
        """Let writers remove their log again."""
        self._hold.unlock()


def is_others(real: Path) -> bool:
    """Whether side files that SQLite makes now would not be the owner's, in the group of the database."""
    try:
        info = real.stat()
    except OSError:
        return False
    owns = info.st_uid == os.geteuid() and info.st_gid == os.getegid() and os.access(real.parent, os.W_OK)
    return not owns and _has_locks()


def _has_locks() -> bool:
    """Whether this system has the locks that ``Hold`` needs; Linux has."""
    import fcntl

    return hasattr(fcntl, "F_OFD_SETLK")


def make_side_files(real: Path) -> bool:
    """Make the side files that are missing, such as the owner can write; False if there are not both to be read.

    Each appears with its owner, group and mode, so that a kill leaves none that would be in the owner's way.
    """
    info = real.stat()
    return all(_is_there(path, info) for path in side_files(real))


def _is_there(path: Path, database: os.stat_result) -> bool:
    if not path.exists():
        with contextlib.suppress(OSError, AttributeError):
            _make(path, database)
    return os.access(path, os.R_OK)


def _make(path: Path, database: os.stat_result) -> None:
    descriptor = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        if _is_the_owners(descriptor, database, path.parent.stat()):
            # A descriptor of a folder makes Python use the call that follows the link in /proc.
            os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _is_the_owners(descriptor: int, database: os.stat_result, folder: os.stat_result) -> bool:
    """Give a new file the database's owner, else its group; whether the owner can write it then."""
    # SQLite gives an empty side file the database's mode, whoever opens it: no other would last.
    mode = database.st_mode & 0o666
    os.fchmod(descriptor, mode)
    with contextlib.suppress(OSError):
        os.fchown(descriptor, database.st_uid, database.st_gid)
        return True
    if folder.st_mode & stat.S_ISVTX or not mode & stat.S_IWGRP:
        return False  # in a sticky folder nobody opens another's file in order to write, whatever its mode
    if mode & stat.S_IWOTH:
        return True
    os.fchown(descriptor, -1, database.st_gid)
    return _is_member(database.st_uid, database.st_gid)


def _is_member(user: int, group: int) -> bool:
    import pwd

    try:
        entry = pwd.getpwuid(user)
    except KeyError:
        return True  # users of containers have no entry; a file's group is usually one of its owner's
    return user == 0 or group in os.getgrouplist(entry.pw_name, entry.pw_gid)


def log_size(real: Path) -> int:
    """Bytes of a database's log; 0 if there is none."""
    return _size(side_files(real)[0])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def reclaim(real: Path, wait_seconds: float) -> None:
    """Remove side files that another user left and this one, who may write the database, cannot write.

    Raises:
        StoreLocked: the database stayed open elsewhere for too long.
        StoreUnavailable: they cannot be removed, or hold commits.
    """
    if not _stuck(real):
        return
    if _has_locks():
        with _alone(real, wait_seconds), contextlib.suppress(OSError):
            for path in _stuck(real):
                if path.name.endswith("-shm") or not _size(path):
                    path.unlink()
    if stuck := _stuck(real):
        raise StoreUnavailable(
            f"{' and '.join(map(str, stuck))}, which another user left, cannot be written",
            hint="let their owner open the database once, or remove them if nobody has it open and they are empty",
        )


def _stuck(real: Path) -> list[Path]:
    return [path for path in side_files(real) if path.exists() and not os.access(path, os.W_OK)]


@contextmanager
def _alone(real: Path, wait_seconds: float) -> Iterator[None]:
    with opening:
        # Never closed: that would end the locks of connections that this process may have.
        descriptor = os.open(real, os.O_RDWR | os.O_CLOEXEC)
        _wait_for_lock(descriptor, real, wait_seconds, exclusive=True)
        try:
            yield
        finally:
            _lock(descriptor, "F_UNLCK")
