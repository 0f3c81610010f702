"""Decompression of payloads in memory: gzip, Zstandard and zip, bounded, complete or refused."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from market_spine.core.sizes import MAX_BYTES, too_large
from market_spine.errors import ContentError

_UNLIKELY_BYTES, _UNLIKELY_RATIO = 1 << 26, 100
"""Text expands to tens of times its size at most: beyond both of these it is counted before it is kept."""
_SHOWN = 60
"""How much of the name of an archive's file a message shows."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
"""A zip archive, and one without files."""
_ZIP_ERRORS = (zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, struct.error, IndexError)
"""What the standard library raises on damaged archives, besides its own error: NotImplementedError for a method or
version that it lacks, RuntimeError for a password, and what reading broken headers and streams comes to."""
_GZIP_WINDOW = zlib.MAX_WBITS | 16
_GZIP_CHUNK = 1 << 22
# A Zstandard block of 3 bytes can stand for 128 KiB, and its decoder takes no output limit: feeding it
# little at a time keeps what a hostile stream can allocate at once below 50 MiB.
_ZSTD_CHUNK = 1 << 10


def decompress(data: bytes, origin: str, limit: int = MAX_BYTES) -> bytes:
    """Expand gzip, Zstandard or zip data, told by its first bytes; anything else comes back as it is.

    Streams of several members or frames are read to their end; a zip archive holds one file.

    Args:
        data: the bytes as they were fetched.
        origin: their name for error messages.
        limit: how many bytes may come out.

    Raises:
        ContentError: kind ``truncated`` for a cut stream, ``corrupt`` for a damaged one, ``too_large``
            for one that expands beyond ``limit``, ``archive`` for a zip archive of no or several files, or one
            that needs a password.
    """
    chunks = _expanded(data, origin, limit)
    if chunks is None:
        return data
    out = bytearray()
    for chunk in chunks:
        out += chunk
        if len(out) > limit:
            raise too_large(origin, limit)
        if len(out) > _UNLIKELY_BYTES and len(out) > _UNLIKELY_RATIO * len(data):
            # A bomb, most likely: what is left is counted before more of it is kept.
            out.clear()
            refuse_expansion(data, origin, limit)
            return b"".join(_expanded(data, origin, limit) or ())
    return bytes(out)


def refuse_expansion(data: bytes, origin: str, limit: int) -> None:
    """Raise ContentError, kind ``too_large``, if the data expands to more than the limit; keeps none of it."""
    count = 0
    for chunk in _expanded(data, origin, limit) or ():
        count += len(chunk)
        if count > limit:
            raise too_large(origin, limit)


def _expanded(data: bytes, origin: str, limit: int) -> Iterator[bytes] | None:
    """What the data expands to, piece by piece; None if it is not compressed."""
    if data.startswith(_GZIP_MAGIC):
        return _gunzip(data, origin)
    if data.startswith(_ZSTD_MAGIC) or (data[1:4] == _ZSTD_SKIPPABLE and data[0] >> 4 == 5):
        return _unzstd(data, origin)
    return _unzip(data, origin, limit) if data.startswith(_ZIP_MAGIC) else None


def _gunzip(data: bytes, origin: str) -> Iterator[bytes]:
    rest = data
    # Zero bytes may pad a gzip file to a block size.
    while rest.strip(b"\0"):
        stream = zlib.decompressobj(_GZIP_WINDOW)
        while not stream.eof:
            try:
                chunk = stream.decompress(rest, _GZIP_CHUNK)
            except zlib.error as error:
                raise _corrupt(origin, "gzip", error) from error
            if not chunk and not stream.eof:
                raise _truncated(origin, "gzip")
            rest = stream.unconsumed_tail
            yield chunk
        rest = stream.unused_data


def _unzstd(data: bytes, origin: str) -> Iterator[bytes]:
    import zstandard

    stream = zstandard.ZstdDecompressor().decompressobj()
    for start in range(0, len(data), _ZSTD_CHUNK):
        rest = data[start : start + _ZSTD_CHUNK]
        while rest:
            if stream.eof:
                stream = zstandard.ZstdDecompressor().decompressobj()
            try:
                yield stream.decompress(rest)
            except zstandard.ZstdError as error:
                raise _corrupt(origin, "Zstandard", error) from error
            rest = stream.unused_data if stream.eof else b""
    if not stream.eof:
        raise _truncated(origin, "Zstandard")


def _unzip(data: bytes, origin: str, limit: int) -> Iterator[bytes]:
    import io
    import zipfile

    hint = "take the weekly text file out of it and put that into the folder"
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise _truncated(origin, "zip") from error
    except _ZIP_ERRORS as error:
        raise _corrupt(origin, "zip", error) from error
    # What macOS packs beside each file is no content of it.
    members = [each for each in archive.infolist() if not each.is_dir() and not each.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        named = ", ".join(each.filename[:_SHOWN] for each in members[:5]) or "none"
        raise ContentError(f"{origin} holds {len(members)} files ({named}), not one", kind="archive", hint=hint)
    if members[0].flag_bits & 1:
        raise ContentError(f"{origin} needs a password", kind="archive", hint=hint)
    if members[0].file_size > limit:
        raise too_large(origin, limit)
    try:
        with archive.open(members[0]) as stream:
            while chunk := stream.read(_GZIP_CHUNK):
                yield chunk
    except (zipfile.BadZipFile, *_ZIP_ERRORS) as error:
        raise _corrupt(origin, "zip", error) from error


def _truncated(origin: str, form: str) -> ContentError:
    return ContentError(
        f"{origin} is truncated: its {form} stream ends before its end mark",
        kind="truncated",
        hint="fetch the file again",
    )


def _corrupt(origin: str, form: str, error: Exception) -> ContentError:
    return ContentError(
        f"{origin} is damaged: its {form} stream cannot be read ({error})",
        kind="corrupt",
        hint="fetch the file again",
    )
