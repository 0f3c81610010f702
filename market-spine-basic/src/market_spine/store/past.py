"""Rows of one table as they were known at a moment, read through the view that shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from market_spine.core.kinds import frame_type, frame_value
from market_spine.core.partition import Scope, Value
from market_spine.core.schema import Table
from market_spine.store.views import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from market_spine.core.kept import QueryResult


def statement(table: Table, scope: Scope, columns: Sequence[str]) -> str:
    """SELECT of the named columns of a scope; a query as of a moment takes no parameters."""
    conditions = [f"{quote(name)} = {_literal(value)}" for name, value in scope.equals.items()]
    conditions += [
        f"{quote(name)} BETWEEN {_literal(low)} AND {_literal(high)}" for name, (low, high) in scope.between.items()
    ]
    names = ", ".join(map(quote, columns))
    return f"SELECT {names} FROM {quote(table.name)} WHERE {' AND '.join(conditions) or '1 = 1'}"


def typed(table: Table, found: QueryResult) -> pl.DataFrame:
    """The answer as a frame of the table's types; a query gives dates as text and booleans as numbers."""
    import polars as pl

    kinds = {column.name: column.kind for column in table.columns}
    columns = [
        pl.Series(
            name,
            [None if row[number] is None else frame_value(kinds[name], row[number]) for row in found.rows],
            dtype=frame_type(kinds[name]),
        )
        for number, name in enumerate(found.columns)
    ]
    return pl.DataFrame(columns)


def _literal(value: Value) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
