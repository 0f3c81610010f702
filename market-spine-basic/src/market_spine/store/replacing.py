"""The one write: make a frame what is known in a scope, touching only the rows that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from market_spine.core.kinds import frame_type, frame_types, frame_value
from market_spine.core.partition import Scope, Value
from market_spine.core.revision import Change, diff_rows
from market_spine.core.schema import Column, Table
from market_spine.errors import StoreCorrupt
from market_spine.store.database import ROW_ID, Database
from market_spine.store.views import quote

if TYPE_CHECKING:
    import polars as pl


def scope_condition(scope: Scope, alias: str = "") -> tuple[str, list[Value]]:
    """A scope as an SQL condition (always true for an empty scope) and its parameters."""
    conditions = [f"{alias}{quote(name)} = ?" for name in scope.equals]
    conditions += [f"{alias}{quote(name)} BETWEEN ? AND ?" for name in scope.between]
    bounds = [bound for pair in scope.between.values() for bound in pair]
    return " AND ".join(conditions) or "1 = 1", [*scope.equals.values(), *bounds]


def replace_rows(
    db: Database, table: Table, scope: Scope, frame: pl.DataFrame, manifest_id: int, current: pl.DataFrame | None
) -> Change:
    """See ``Commit.replace``; runs inside a writing transaction.

    Raises:
        ValueError: ``frame`` or ``current`` is not what the table declares, or has rows outside the scope.
        StoreCorrupt: the table does not hold the rows that ``current`` says it does.
    """
    import polars as pl

    check_frame(table, scope, frame)
    if current is not None:
        check_frame(table, scope, current)
        _check_count(db, table, scope, current.height)
    if _is_empty(db, table, scope):
        if frame.height:
            db.insert_frame(table, _laid(table, frame), manifest_id)
        return Change(added=frame.height)
    if current is None:
        current = db.read_frame(table, scope, table.names, row_ids=True)
    diff = diff_rows(current, frame, table.key)
    gone = pl.concat([diff.removed, diff.old])
    row_ids = gone[ROW_ID].to_list() if ROW_ID in gone.columns else _find(db, table, scope, gone)
    if row_ids and db.close_rows(table, row_ids, manifest_id) != len(row_ids):
        raise _contradiction(table)
    fresh = pl.concat([diff.added, diff.new])
    if fresh.height:
        db.insert_frame(table, _laid(table, fresh), manifest_id)
    return diff.change


def _laid(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """The rows in the order in which the table keeps those of one load."""
    return frame.sort(table.laid_by, maintain_order=True) if table.laid_by else frame


def check_frame(table: Table, scope: Scope, frame: pl.DataFrame) -> None:
    """Raise ValueError unless the frame's rows can be stored in the table under the scope."""
    import polars as pl

    declared = frame_types(table)
    if dict(frame.schema) != declared or tuple(frame.columns) != table.names:
        raise ValueError(f"columns of {table.name} should be {declared}, not {dict(frame.schema)}")
    for column in table.columns:
        if frame[column.name].null_count() and (not column.nullable or column.name in table.key):
            raise ValueError(f"{table.name}.{column.name} has nulls")
        if column.kind == "float" and frame[column.name].is_nan().any():
            raise ValueError(f"{table.name}.{column.name} has values that are not a number")
    kinds = {column.name: column for column in table.columns}
    inside = [pl.col(name) == _literal(kinds[name], value) for name, value in scope.equals.items()]
    inside += [
        pl.col(name).is_between(_literal(kinds[name], low), _literal(kinds[name], high))
        for name, (low, high) in scope.between.items()
    ]
    if inside and not frame.select(pl.all_horizontal(inside).fill_null(value=False).all()).item():
        raise ValueError(f"{table.name} has rows outside the scope {scope}")
    varying = [name for name in table.key if name not in scope.equals]
    distinct = frame.select(varying).n_unique() if varying else min(frame.height, 1)
    if distinct != frame.height:
        raise ValueError(f"{table.name} has several rows with the same key ({', '.join(table.key)})")


def _literal(column: Column, value: Value) -> pl.Expr:
    import polars as pl

    return pl.lit(frame_value(column.kind, value), frame_type(column.kind))


def _is_empty(db: Database, table: Table, scope: Scope) -> bool:
    where, params = scope_condition(scope)
    sql = f"SELECT 1 FROM {quote(table.versions)} WHERE {where} AND superseded_by IS NULL LIMIT 1"
    return not db.rows(sql, params)


def _check_count(db: Database, table: Table, scope: Scope, expected: int) -> None:
    where, params = scope_condition(scope)
    sql = f"SELECT COUNT(*) FROM {quote(table.versions)} WHERE {where} AND superseded_by IS NULL"
    if db.rows(sql, params) != [(expected,)]:
        raise _contradiction(table)


def _find(db: Database, table: Table, scope: Scope, gone: pl.DataFrame) -> list[Any]:
    if not gone.height:
        return []
    found = db.find_rows(table, scope, gone.select(table.key))
    if sorted(number for number, _ in found) != list(range(gone.height)):
        raise _contradiction(table)
    return [row_id for _, row_id in found]


def _contradiction(table: Table) -> StoreCorrupt:
    return StoreCorrupt(
        f"{table.versions} does not hold the rows that the manifest says it does",
        hint="rebuild the partition from its payload with --force, or restore a backup",
    )
