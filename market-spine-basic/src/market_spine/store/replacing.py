"""The one write: make a frame what is known in a scope, touching only the rows that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from market_spine.core.kinds import frame_type, frame_types, frame_value
from market_spine.core.order import ascending
from market_spine.core.partition import Scope, Value
from market_spine.core.revision import Change, RowDiff, diff_rows
from market_spine.core.schema import Column, Table
from market_spine.errors import StoreCorrupt
from market_spine.store.database import ROW_ID, Database

if TYPE_CHECKING:
    import polars as pl


class Prepared(NamedTuple):
    """A Replacement of ``core.ports``; see ``prepare``.

    Attributes:
        plan: what that takes, if it was worked out already.
    """

    table: Table
    scope: Scope
    frame: pl.DataFrame
    diff: RowDiff | None
    plan: _Plan | None


class _Plan(NamedTuple):
    """What turns the current rows of a scope into others, and the state of the scope for which this holds."""

    state: object | None
    change: Change
    gone: list[Any]
    fresh: pl.DataFrame
    packed: object | None


def prepare(db: Database, table: Table, scope: Scope, frame: pl.DataFrame, diff: RowDiff | None) -> Prepared:
    """Check a frame and do as much of the work of replacing as the database lets be done without a lock.

    Args:
        db: where.
        table: what.
        scope: the rows that are replaced.
        frame: the rows that are true now.
        diff: how ``frame`` differs from the rows now current in the scope, if that is known for certain.

    Raises:
        ValueError: ``frame`` or ``diff`` is not what the table declares, or has rows outside the scope.
    """
    check_frame(table, scope, frame)
    for part in () if diff is None else (_gone(diff), _fresh(diff)):
        check_frame(table, scope, part)
    prepared = Prepared(table, scope, frame, diff, None)
    with db.snapshot():
        state = db.scope_state(table, scope)
        try:
            return prepared if state is None else prepared._replace(plan=_plan(db, prepared, state))
        except StoreCorrupt:
            # Or another run has changed the scope since ``diff`` was made: under the lock it will be known.
            return prepared


def apply(db: Database, prepared: Prepared, manifest_id: int) -> Change:
    """Make the prepared frame what is known in its scope; runs inside a writing transaction.

    What was worked out beforehand is worked out again if the scope has changed since.

    Raises:
        StoreCorrupt: the table does not hold the rows that it was said to.
    """
    table, scope, plan = prepared.table, prepared.scope, prepared.plan
    state = db.scope_state(table, scope)
    if plan is None or plan.state != state:
        plan = _plan(db, prepared, state)
    if plan.gone and db.close_rows(table, plan.gone, manifest_id) != len(plan.gone):
        raise _contradiction(table)
    if plan.fresh.height:
        db.insert_frame(table, scope, plan.fresh, manifest_id, plan.packed)
    return plan.change


def _plan(db: Database, prepared: Prepared, state: object | None) -> _Plan:
    table, scope, frame, diff = prepared.table, prepared.scope, prepared.frame, prepared.diff
    before = db.count_rows(table, scope)
    if diff is not None and before - diff.removed.height + diff.added.height != frame.height:
        raise _contradiction(table)
    if not before:
        fresh = _laid(table, frame)
        return _Plan(state, Change(added=frame.height), [], fresh, db.pack(table, scope, fresh, before))
    if diff is None:
        diff = diff_rows(db.read_frame(table, scope, table.names, row_ids=True), frame, table.key)
    gone = _gone(diff)
    row_ids = gone[ROW_ID].to_list() if ROW_ID in gone.columns else _find(db, table, scope, gone)
    fresh = _laid(table, _fresh(diff))
    return _Plan(state, diff.change, row_ids, fresh, db.pack(table, scope, fresh, before))


def _gone(diff: RowDiff) -> pl.DataFrame:
    import polars as pl

    return pl.concat([diff.removed, diff.old])


def _fresh(diff: RowDiff) -> pl.DataFrame:
    import polars as pl

    return pl.concat([diff.added, diff.new])


def _laid(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """The rows in the order in which the table keeps those of one load."""
    return frame.sort(table.laid_by, maintain_order=True) if table.laid_by else frame


def check_frame(table: Table, scope: Scope, frame: pl.DataFrame) -> None:
    """Raise ValueError unless the frame's rows can be stored in the table under the scope."""
    import polars as pl

    declared = frame_types(table)
    if dict(frame.schema) != declared or tuple(frame.columns) != table.names:
        raise ValueError(f"columns of {table.name} should be {declared}, not {dict(frame.schema)}")
    nulls = dict(zip(frame.columns, frame.null_count().row(0), strict=True))
    is_nan = (pl.col(column.name).is_nan().any() for column in table.columns if column.kind == "float")
    found = frame.select(inside(table, scope).all().alias("\0inside"), *is_nan).row(0, named=True)
    for column in table.columns:
        if nulls[column.name] and (not column.nullable or column.name in table.key):
            raise ValueError(f"{table.name}.{column.name} has nulls")
        if column.kind == "float" and found[column.name]:
            raise ValueError(f"{table.name}.{column.name} has values that are not a number")
    if not found["\0inside"]:
        raise ValueError(f"{table.name} has rows outside the scope {scope}")
    varying = [name for name in table.key if name not in scope.equals]
    if not varying:
        unique = frame.height < 2
    else:
        unique = ascending(frame, varying) or frame.select(varying).n_unique() == frame.height
    if not unique:
        raise ValueError(f"{table.name} has several rows with the same key ({', '.join(table.key)})")


def inside(table: Table, scope: Scope) -> pl.Expr:
    """Whether a row of a table lies in a scope; never null."""
    import polars as pl

    kinds = {column.name: column for column in table.columns}
    conditions = [pl.col(name) == _literal(kinds[name], value) for name, value in scope.equals.items()]
    conditions += [
        pl.col(name).is_between(_literal(kinds[name], low), _literal(kinds[name], high))
        for name, (low, high) in scope.between.items()
    ]
    return pl.all_horizontal(pl.lit(True), *conditions).fill_null(value=False)


def _literal(column: Column, value: Value) -> pl.Expr:
    import polars as pl

    return pl.lit(frame_value(column.kind, value), frame_type(column.kind))


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
