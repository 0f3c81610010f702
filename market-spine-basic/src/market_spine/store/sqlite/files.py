"""What a store keeps, shown to DuckDB as Parquet files that are nowhere but in memory while they are read.

DuckDB reads files of its own accord, as many as a statement needs and of each the columns it needs: those whose
path says that no row can match are never opened. So segments are given to it as the files they are, and rows in
tables as files that are made when they are opened.
"""

from __future__ import annotations

import io
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import IO, Any

from fsspec import AbstractFileSystem

PROTOCOL = "spine"
_MADE = 4
"""Made files that are kept, however large: each is opened more than once while it is read."""
_KEPT = 4 * 1024 * 1024
"""Bytes of made files that are kept, however many."""
_SMALL = 64 * 1024
"""Segments of at most so many bytes are read at once: their parts would each cost as much as the whole."""
_UNCHANGED = datetime(2000, 1, 1, tzinfo=UTC)


class StoreFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """A read-only file system over one connection in one read transaction, and one file to write to."""

    protocol = PROTOCOL
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self.turn_to(None)

    def turn_to(self, connection: sqlite3.Connection | None) -> None:
        """Show what a connection will be asked for, and nothing of before.

        Args:
            connection: may be used from DuckDB's threads, one at a time.
        """
        self._connection = connection
        self._segments: dict[str, tuple[int, int]] = {}
        self._folders: dict[str, list[str]] = {}
        self._makers: dict[str, Callable[[], bytes]] = {}
        self._made: OrderedDict[str, bytes] = OrderedDict()
        self._kept = 0
        self._output: IO[bytes] | None = None
        self.failure: Exception | None = None
        """What went wrong here: DuckDB tells only its text."""

    def add_segments(self, folder: str, segments: Mapping[str, tuple[int, int]]) -> str:
        """Show segments, path to id and size, that lie in a folder; returns the one name of them all."""
        self._segments.update(segments)
        return self._together(folder, segments)

    def add_files(self, folder: str, makers: Mapping[str, Callable[[], bytes]]) -> str:
        """Show files that are made once they are opened, path to maker; returns the one name of them all."""
        self._makers.update(makers)
        return self._together(folder, makers)

    def _together(self, folder: str, paths: Iterable[str]) -> str:
        # DuckDB asks for each name by itself, at every look at a statement, and for a pattern once.
        pattern = f"{folder}/*"
        self._folders[pattern] = list(paths)
        return pattern

    def write_to(self, output: IO[bytes]) -> str:
        """The path of a file whose bytes go to ``output``."""
        self._output = output
        return f"{PROTOCOL}://output"

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        """Open a file."""
        if mode != "rb":
            if self._output is None or path != f"{PROTOCOL}://output":
                raise PermissionError(path)
            return _Output(self, self._output)
        if path in self._segments:
            segment_id, size = self._segments[path]
            return io.BytesIO(self.part(segment_id, 0, size)) if size <= _SMALL else _Segment(self, segment_id, size)
        return io.BytesIO(self._bytes(path))

    def _bytes(self, path: str) -> bytes:
        with self._lock:
            if path not in self._made:
                try:
                    self._made[path] = self._makers[path]()
                except Exception as error:
                    self.failure = error
                    raise
                self._kept += len(self._made[path])
            self._made.move_to_end(path)
            while len(self._made) > _MADE and self._kept > _KEPT:
                _, dropped = self._made.popitem(last=False)
                self._kept -= len(dropped)
            return self._made[path]

    def part(self, segment_id: int, start: int, count: int) -> bytes:
        """Some bytes of a segment."""
        assert self._connection is not None
        with (
            self._lock,
            self._connection.blobopen("core_segment_data", "data", segment_id, readonly=True) as blob,
        ):
            blob.seek(start)
            return blob.read(count)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, size and kind of a file."""
        if path in self._segments:
            return {"name": path, "size": self._segments[path][1], "type": "file"}
        if path not in self._makers:
            raise FileNotFoundError(path)
        return {"name": path, "size": len(self._bytes(path)), "type": "file"}

    def glob(self, path: str, **_: Any) -> list[str]:
        """The files of a folder, or the one of this very name if there is one: what is escaped is no pattern."""
        if path in self._folders:
            return self._folders[path]
        return [path] if path in self._segments or path in self._makers else []

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is a file of that name."""
        return bool(self.glob(path))

    def unstrip_protocol(self, name: str) -> str:
        """Names are whole already."""
        return name

    def isdir(self, path: str) -> bool:
        """There are no folders."""
        return False

    def modified(self, path: str) -> datetime:
        """Files never change."""
        return _UNCHANGED


class _Segment:
    """An open segment, of which only the wanted bytes are read."""

    def __init__(self, files: StoreFiles, segment_id: int, size: int) -> None:
        self._files = files
        self._id = segment_id
        self._size = size
        self._at = 0

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        self._at = place + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int = -1) -> bytes:
        count = self._size - self._at if count < 0 else min(count, self._size - self._at)
        data = self._files.part(self._id, self._at, count)
        self._at += len(data)
        return data

    def close(self) -> None:
        pass


class _Output:
    """What is written goes out at once; closing leaves the stream open."""

    def __init__(self, files: StoreFiles, file: IO[bytes]) -> None:
        self._files = files
        self._file = file

    def write(self, data: bytes) -> int:
        try:
            self._file.write(data)
        except OSError as error:
            self._files.failure = error
            raise
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.flush()
