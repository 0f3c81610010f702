"""Every version of what a store keeps, for whoever compares it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from market_spine.core.partition import Scope
from market_spine.core.schema import Table
from market_spine.store.database import Database
from market_spine.store.steady import steadily

if TYPE_CHECKING:
    import polars as pl

_REJECTS = "SELECT manifest_id, capture_id, part, line, rule, raw FROM core_rejects WHERE partition_key = ?"


@steadily
class Keeping:
    """What ``core.ports`` calls a Keeper has beyond a Reader."""

    _db: Database

    def versions(self, table: Table, scope: Scope) -> pl.DataFrame:
        """Every version of every row in a partition, with ``manifest_id`` and ``superseded_by``, in no order."""
        return self._db.read_versions(table, scope)

    def rejected(self, key: str) -> Sequence[tuple[Any, ...]]:
        """The rejected rows of a partition: entry, capture, part, line, rule, text."""
        return self._db.rows(_REJECTS, (key,))

    def counted(self, table: Table, entries: Collection[int] | None = None) -> int:
        """How many versions of rows these entries brought to a table, or all, whatever partition they are of."""
        moved = self._db.movements(table)
        return sum(int(brought) for entry, brought, _ in moved if entries is None or entry in entries)
