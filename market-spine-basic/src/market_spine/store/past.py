"""Rows of one table as they were known at a moment, read through the view that shows them."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from market_spine.core.manifest import QueryResult
from market_spine.core.partition import Scope, Value
from market_spine.core.schema import Table
from market_spine.store.replacing import data_types
from market_spine.store.views import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl


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

    types = data_types(table)
    columns = {
        name: [_value(row[number], types[name]) for row in found.rows] for number, name in enumerate(found.columns)
    }
    return pl.DataFrame(columns, schema={name: types[name] for name in found.columns})


def _value(value: object, kind: pl.DataType) -> object:
    import polars as pl

    if value is None:
        return None
    if kind == pl.Date:
        return date.fromisoformat(str(value))
    if kind == pl.Boolean:
        return bool(value)
    return float(str(value)) if kind == pl.Float64 else value


def _literal(value: Value) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
