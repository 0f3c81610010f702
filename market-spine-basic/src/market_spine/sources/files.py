"""A flat folder of files: a local path, or any address fsspec understands (``s3://``, ``memory://``, ...)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from market_spine import stopping
from market_spine.core.sizes import MAX_FILE_BYTES
from market_spine.errors import Interrupted, SourceError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_PIECE = 1 << 26
"""Bytes read at once: most files are one piece, which is not copied."""


def read_file(path: Path, most: int, what: str) -> bytes:
    """The bytes of a local file, told by its size beforehand, or as it is read where it has none.

    Args:
        path: of a file, a device or a pipe.
        most: how many bytes there may be.
        what: the file, for messages.

    Raises:
        OSError: it cannot be read.
        SourceError: kind ``too_large``.
    """
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise _too_large(what, most)
        pieces, left = [], most
        # Room for much more than there is takes longer to get than a small file to read.
        while piece := file.read(min(size + 1 if size else _PIECE, left + 1)):
            left -= len(piece)
            if left < 0:
                raise _too_large(what, most)
            pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(what: str, most: int) -> SourceError:
    return SourceError(
        f"{what} is larger than {most:,} bytes",
        kind="too_large",
        hint="check what the file is; split it, or allow more",
    )


class Folder(NamedTuple):
    """One folder, without those below it. Picklable: it holds its location only.

    A file system that hangs is left behind once the run is to stop: every method raises Interrupted.

    Attributes:
        location: a local path or an fsspec URL.
        most: how large a file may be, in bytes.
    """

    location: str
    most: int = MAX_FILE_BYTES

    @property
    def shown(self) -> str:
        """The location as messages may show it: without user, password or query."""
        if "://" not in self.location:
            return self.location
        from urllib.parse import urlsplit

        parts = urlsplit(self.location)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def names(self) -> list[str]:
        """Names of the files in the folder, sorted; links to files count as files.

        Raises:
            SourceError: kind ``source_missing`` if there is no such folder, ``source_denied`` if it may not
                be read, ``source_driver`` if its kind of address needs a package that is not installed,
                ``source_unavailable`` for any other failure.
        """
        if "://" not in self.location:
            with self._translated(self.shown):
                return stopping.within(self._local_names)
        with self._translated(self.shown):
            return stopping.within(self._remote_names)

    def read(self, name: str) -> bytes:
        """The exact bytes of one file of the folder; raises SourceError as ``names`` does.

        Raises:
            SourceError: also, kind ``source_name``, if ``name`` would lead out of the folder, and ``too_large``.
        """
        if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise SourceError(f"{name!r} is not the name of a file in {self.shown}", kind="source_name")
        if "://" not in self.location:
            with self._translated(f"{name} in {self.shown}"):
                return stopping.within(lambda: self._local_bytes(name))
        with self._translated(f"{name} in {self.shown}"):
            return stopping.within(lambda: self._remote_bytes(name))

    def _local_names(self) -> list[str]:
        with os.scandir(self.location) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())

    def _remote_names(self) -> list[str]:
        system, path = self._open()
        system.invalidate_cache(path)
        entries = system.ls(path, detail=True)
        return sorted(entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "file")

    def _local_bytes(self, name: str) -> bytes:
        return read_file(Path(self.location, name), self.most, f"{name} in {self.shown}")

    def _remote_bytes(self, name: str) -> bytes:
        system, path = self._open()
        address = f"{path.rstrip('/')}/{name}"
        if (system.size(address) or 0) > self.most:
            raise _too_large(f"{name} in {self.shown}", self.most)
        content: bytes = system.cat_file(address)
        return content

    def _open(self) -> tuple[AbstractFileSystem, str]:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(self.location)
        return system, path

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except (Interrupted, SourceError):
            raise
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SourceError(
                f"{what} does not exist" if isinstance(error, FileNotFoundError) else f"{what} is no folder",
                kind="source_missing",
                hint="create it and put the files there, or name another folder",
            ) from error
        except PermissionError as error:
            raise SourceError(
                f"{what} may not be read: {self._reason(error)}",
                kind="source_denied",
                hint="let this user read the folder and its files",
            ) from error
        except ImportError as error:
            raise SourceError(
                f"{what} needs a package that is not installed: {error}",
                kind="source_driver",
                hint="install the fsspec package for this kind of address, such as s3fs for s3://",
            ) from error
        except MemoryError:
            raise  # says nothing of the source
        except Exception as error:  # each fsspec backend raises types of its own
            raise SourceError(
                f"{what} cannot be read: {type(error).__name__}: {self._reason(error)}",
                kind="source_unavailable",
                hint="check the address, the network and the credentials of this environment",
            ) from error

    def _reason(self, error: Exception) -> str:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return reason.replace(self.location, self.shown)
