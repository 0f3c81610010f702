"""The rows that stand for a partition, read from the store and not from the payload that brought them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from market_spine.app.draft import partition_scope
from market_spine.app.standing import normalize_fingerprint, standing
from market_spine.app.task import Task
from market_spine.core.domain import LacksFields, Normalized, rejected_rows
from market_spine.core.manifest import NORMALIZE
from market_spine.core.ports import Reader

if TYPE_CHECKING:
    from market_spine.core.reconcile import Unknown

LACKS = "lacks"
"""In the scope of a manifest entry beside tables' names: table name to what the payload does not carry of it."""


def lacks(normalized: Normalized) -> Mapping[str, Any]:
    """What a payload does not carry of each table that it fills, as a manifest entry keeps it."""
    return {
        name: [
            {
                "columns": list(each.columns),
                "where": dict(each.where),
                "stand_ins": dict(each.stand_ins),
                "tied_to": list(each.tied_to),
            }
            for each in normalized.unknown.get(name, ())
        ]
        for name in normalized.tables
    }


def held_rows(task: Task, store: Callable[[], Reader]) -> Normalized | None:
    """The current capture as ``replay`` would work it out, from the tables that it filled; its rows are in no order.

    None where these do not tell: other code normalized it, or it was completed from captures before, was refused
    rows, which the tables do not have, or was recorded by a program that did not keep what payloads lack.
    """
    current = task.known.current
    if current is None or LACKS not in current.entry.scope or current.entry.rejected or current.entry.input_captures:
        return None
    if standing(task, NORMALIZE) != normalize_fingerprint(task, current.entry):
        return None
    kept = current.entry.scope[LACKS]
    filled = [table for table in task.run.domain.tables if table.name in kept]
    return Normalized(
        {table.name: store().read(table, partition_scope(table, task.partition), in_order=False) for table in filled},
        rejected_rows(),
        rows_read=current.entry.row_count,
        partial=LacksFields({name: tuple(map(_unknown, each)) for name, each in kept.items()}),
    )


def _unknown(kept: Mapping[str, Any]) -> Unknown:
    from market_spine.core.reconcile import Unknown

    return Unknown(tuple(kept["columns"]), kept["where"], kept["stand_ins"], tied_to=tuple(kept["tied_to"]))
