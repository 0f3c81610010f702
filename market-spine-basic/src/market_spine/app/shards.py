"""Shares of a selection: which of ``N`` processes takes up a partition, by its key alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from market_spine.app.arguments import refused
from market_spine.core.partition import Partition

_SHARD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``count`` shares, the first of which has the index 0."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def has(self, key: str) -> bool:
        """Whether a partition is in this share: the first eight bytes of its key's SHA-256 (the key in UTF-8), as a
        number with the highest byte first, leave ``index`` when divided by ``count``."""
        return int.from_bytes(sha256(key.encode()).digest()[:8], "big") % self.count == self.index


class ShardOf(NamedTuple):
    """What a shard was taken of.

    Attributes:
        shard: as it was asked for.
        selected: how many partitions all shards have together.
        selection: names these: equal for the shards of one selection.
    """

    shard: Shard
    selected: int
    selection: str

    def config(self, planned: int) -> Mapping[str, Any]:
        """What the result tells of it; ``planned`` is how many partitions the run has to work through."""
        share = {"planned": planned, "selected": self.selected, "selection": self.selection}
        return {"shard": str(self.shard), "share": share}

    def told(self, planned: int) -> str:
        """The warning that this is not all."""
        return (
            f"Shard {self.shard} takes {planned} of {self.selected} partitions; windows, and comparisons with"
            " neighbours, are left to a run with --only-stage calc once all shards have ended."
        )


def parse_shard(given: str) -> Shard:
    """A shard given as ``I/N``; raises UsageError."""
    found = _SHARD.fullmatch(given.strip())
    shard = Shard(int(found[1]), int(found[2])) if found else Shard(0, 0)
    if shard.index >= shard.count:
        raise refused("--shard", given, "I/N: N shards, I from 0 to N - 1, such as 0/4, 1/4, 2/4 and 3/4")
    return shard


def share_of(partitions: Sequence[Partition], given: str) -> tuple[tuple[Partition, ...], ShardOf]:
    """The partitions of a shard, in their order, and what they were taken of; raises UsageError."""
    shard = parse_shard(given)
    keys = "\n".join(sorted(partition.key for partition in partitions))
    share = ShardOf(shard, len(partitions), sha256(keys.encode()).hexdigest()[:16])
    return tuple(partition for partition in partitions if shard.has(partition.key)), share
