"""What a lake needs of the place that it lies in: immutable files, and one that says which of them belong together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import IO, TYPE_CHECKING, Any, Protocol

from market_spine.errors import StoreCorrupt

if TYPE_CHECKING:
    import polars as pl

CURRENT, LOCK = "_current.json", "_lock"
OURS = re.compile(r"[^/]+/[^/]+-[0-9a-f]{12}-[0-9a-f]{12}\.parquet")
"""Names of data files, which only publications give."""


class LakePlace(Protocol):
    """A place. What a publication did there counts from ``commit`` on."""

    @property
    def address(self) -> str:
        """Where engines find the files."""

    def publishing(self) -> AbstractContextManager[None]:
        """Publish while the block goes on.

        Raises:
            UsageError: something else lies there, or it is no place for a lake.
            StoreLocked: another process publishes there, or did so before this one had ended.
            StoreUnavailable: it cannot be read or written.
        """

    def current(self) -> dict[str, Any] | None:
        """What the last publication said; None before the first one."""

    def write(self, name: str, frame: pl.DataFrame) -> None:
        """Add a data file."""

    def settle(self, tables: Sequence[str]) -> None:
        """Let the data files of some tables be there for good."""

    def commit(self, content: bytes) -> None:
        """Say what belongs together from now on; no two publications follow the same one."""

    def put(self, name: str, content: bytes) -> None:
        """Let a file be there whole, or stay as it was; one that is the same is left alone."""

    def files(self) -> Iterable[str]:
        """The names of all data files that there are, whichever publication they are of."""

    def remove(self, name: str) -> None:
        """Remove a data file."""


def parsed(content: bytes, shown: str) -> dict[str, Any]:
    """What a publication said in a file; raises StoreCorrupt."""
    try:
        found = json.loads(content)
        if isinstance(found, dict) and {"tables", "published_through", "history"} <= found.keys():
            return found
    except ValueError:
        pass
    raise StoreCorrupt(f"{shown} cannot be read", hint="remove it: everything is then published anew")


def write_rows(frame: pl.DataFrame, file: IO[bytes]) -> None:
    """Write rows as a data file has them."""
    frame.write_parquet(file, compression="zstd", compression_level=1, row_group_size=100_000)
