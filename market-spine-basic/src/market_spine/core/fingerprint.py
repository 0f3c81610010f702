"""Hashes that say whether something changed: of canonical rows and of a stage's inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.domain import Domain


def content_hash(frames: Iterable[tuple[pl.DataFrame, tuple[str, ...]]]) -> str:
    """SHA-256 of canonical rows: independent of row order, line ends and how numbers were spelt.

    Each frame is sorted by the columns given with it, which must order it totally, and rendered as CSV with the
    shortest digits that read back as the same double; a column whose rows are all equal is rendered once. Should
    another Polars version render differently, the hash moves though the rows do not; callers therefore compare
    rows before they call such a difference a revision.

    Args:
        frames: (frame, sort columns) in a fixed order.
    """
    import polars as pl

    digest = hashlib.sha256()
    for frame, order in frames:
        rows = frame.sort(order)
        is_constant = rows.select(pl.all().eq_missing(pl.all().first()).all()).row(0)
        constant = [name for name, same in zip(rows.columns, is_constant, strict=True) if same]
        digest.update(f"{rows.height}\n".encode())
        _add(digest, rows.select(constant).head(1))
        _add(digest, rows.drop(constant))
    return digest.hexdigest()


def _add(digest: hashlib._Hash, rows: pl.DataFrame) -> None:
    text = BytesIO()
    if rows.width:
        rows.write_csv(text, include_header=False, null_value="\\N")
    digest.update("|".join(rows.columns).encode() + b"\n")
    digest.update(text.getbuffer())


def fingerprint(stage: str, version: str, inputs: Iterable[str]) -> str:
    """Identify one computation: equal fingerprints mean that running it again cannot change anything.

    Args:
        stage: the stage's name.
        version: the pipeline version of the stage's code.
        inputs: the fingerprints (for ``ingest``: the capture id and source hash) of what it reads, in order.
    """
    text = "\n".join((stage, version, *inputs))
    return hashlib.sha256(text.encode()).hexdigest()


def window_versions(domain: Domain) -> str:
    """The versions of a domain's window calculations, as one text."""
    return " ".join(f"{calc.spec.name}={calc.spec.version}" for calc in domain.windows)
