"""Captures: observed versions of a partition, kept byte for byte."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import NamedTuple

from market_spine.core.anomaly import Anomaly


class Part:
    """One named piece of a payload, such as the ATS file of a week.

    Attributes:
        name: the piece's name within the partition (FINRA: ``ATS``, ``NON_ATS``).
        data: the exact bytes as the source had them.
        origin: file name or address, without secrets.
        metadata: further facts about the fetch (request ids, record totals), JSON-ready.
    """

    def __init__(self, name: str, data: bytes, origin: str, metadata: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.data = data
        self.origin = origin
        self.metadata = metadata or {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Part):
            return NotImplemented
        own, its = ((each.name, each.data, each.origin, each.metadata) for each in (self, other))
        return own == its

    def __hash__(self) -> int:
        return hash((self.name, self.sha256, self.origin))

    def noting(self, **facts: str) -> Part:
        """The same with further metadata."""
        return Part(self.name, self.data, self.origin, {**self.metadata, **facts})

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of ``data``."""
        return hashlib.sha256(self.data).hexdigest()


class Payload:
    """What a source answered for one partition.

    Attributes:
        parts: its parts, ordered by name.
        keep_record: write down that it was fetched, as a ``noted`` manifest entry with the parts' metadata,
            even if nothing in it is new.
        whole: no part of an earlier capture belongs to this one; else parts that were not fetched are carried on.
    """

    def __init__(self, parts: Iterable[Part], keep_record: bool = False, whole: bool = False) -> None:
        self.parts = tuple(sorted(parts, key=lambda part: part.name))
        self.keep_record = keep_record
        self.whole = whole

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Payload):
            return NotImplemented
        own, its = ((each.parts, each.keep_record, each.whole) for each in (self, other))
        return own == its

    def __hash__(self) -> int:
        return hash((self.parts, self.keep_record, self.whole))

    @property
    def source_hash(self) -> str:
        """SHA-256 of the bytes: a single part's own, else that of the lines ``name:sha256``."""
        return source_hash({part.name: part.sha256 for part in self.parts})


class Absent(NamedTuple):
    """The source has nothing for this partition now."""

    message: str = ""


class Unchanged(NamedTuple):
    """The source could tell, without being read in full, that the current capture is what it has.

    Attributes:
        reason: the skip reason to report: ``up_to_date``, or ``unchanged_at_source`` if the source was asked.
        anomalies: what is odd about the partition all the same.
        moved: another run committed the partition since the manifest was read, and has to be read again.
    """

    reason: str = "up_to_date"
    anomalies: tuple[Anomaly, ...] = ()
    moved: bool = False


class Unread:
    """The source would be asked now, but not in a dry run: it counts its calls."""


def source_hash(parts: Mapping[str, str]) -> str:
    """Fold the SHA-256 of each named part into one; a lone part keeps its own hash."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    lines = "".join(f"{name}:{digest}\n" for name, digest in sorted(parts.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def capture_id(domain: str, labels: Sequence[str], day: date, taken: Collection[str]) -> str:
    """Name a new capture, such as ``finra.otc_transparency:NMS_TIER_1:2025-01-03:20250106``.

    A further capture of the same partition on the same day gets ``.2``, ``.3`` and so on.

    Args:
        domain: the domain's full name.
        labels: the partition's values in the order the domain shows them in a capture id.
        day: the UTC day of the capture, or ``--run-date``.
        taken: the capture ids that the partition already has.
    """
    stem = ":".join((domain, *labels, f"{day:%Y%m%d}"))
    if stem not in taken:
        return stem
    number = 2
    while f"{stem}.{number}" in taken:
        number += 1
    return f"{stem}.{number}"
