"""How payload bytes are kept."""

from __future__ import annotations

import hashlib

from market_spine.errors import StoreCorrupt

ZSTD, NONE = "zstd", "none"


def encode(data: bytes) -> tuple[str, bytes]:
    """Compress with zstd level 1, or keep as is where that does not help; returns (codec, bytes)."""
    import zstandard

    packed = zstandard.ZstdCompressor(level=1).compress(data)
    return (ZSTD, packed) if len(packed) < len(data) else (NONE, data)


def decode(sha256: str, codec: str, size: int, kept: bytes) -> bytes:
    """Give the exact bytes back; raises StoreCorrupt when they do not have the digest ``sha256``."""
    data = kept
    if codec == ZSTD:
        import zstandard

        try:
            data = zstandard.ZstdDecompressor().decompress(kept, max_output_size=size)
        except (zstandard.ZstdError, TypeError, ValueError, OverflowError, MemoryError) as error:
            raise _damaged(sha256) from error
    if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
        raise _damaged(sha256)
    return data


def _damaged(sha256: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"the payload kept under {sha256} does not match its digest",
        hint="restore core_payloads from a backup of the database",
    )
