"""Decompression of payloads in memory: gzip and Zstandard, bounded, complete or refused."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from market_spine.errors import ContentError

MAX_BYTES = 1 << 29
"""How far a payload may expand; real ones are below a tenth of this."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
_GZIP_WINDOW = zlib.MAX_WBITS | 16
_GZIP_CHUNK = 1 << 22
# A Zstandard block of 3 bytes can stand for 128 KiB, and its decoder takes no output limit: feeding it
# little at a time keeps what a hostile stream can allocate at once below 50 MiB.
_ZSTD_CHUNK = 1 << 10


def decompress(data: bytes, origin: str, limit: int = MAX_BYTES) -> bytes:
    """Expand gzip or Zstandard data, told by its first bytes; anything else comes back as it is.

    Streams of several members or frames are read to their end.

    Args:
        data: the bytes as they were fetched.
        origin: their name for error messages.
        limit: how many bytes may come out.

    Raises:
        ContentError: kind ``truncated`` for a cut stream, ``corrupt`` for a damaged one, ``too_large``
            for one that expands beyond ``limit``.
    """
    if data.startswith(_GZIP_MAGIC):
        chunks = _gunzip(data, origin)
    elif data.startswith(_ZSTD_MAGIC) or (data[1:4] == _ZSTD_SKIPPABLE and data[0] >> 4 == 5):
        chunks = _unzstd(data, origin)
    else:
        return data
    out = bytearray()
    for chunk in chunks:
        out += chunk
        if len(out) > limit:
            raise ContentError(
                f"{origin} expands to more than {limit:,} bytes",
                kind="too_large",
                hint="check what the file is; split it if it is real",
            )
    return bytes(out)


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
