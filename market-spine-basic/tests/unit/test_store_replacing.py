"""What a frame must be before it is stored."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.partition import Scope
from market_spine.core.schema import Column, Table
from market_spine.store.replacing import check_frame
from market_spine.store.views import scope_condition

TABLE = Table(
    "beds",
    (
        Column("day", "date", "D."),
        Column("plot", "text", "P."),
        Column("is_wet", "boolean", "W."),
        Column("depth", "float", "M.", nullable=False),
        Column("note", "text", "N."),
    ),
    ("day", "plot"),
    ("day",),
    "Beds.",
)
SCOPE = Scope({"day": "2025-01-03", "is_wet": 1}, {"plot": ("a", "m")})
FRAME = pl.DataFrame(
    {
        "day": [date(2025, 1, 3)] * 2,
        "plot": ["a", "m"],
        "is_wet": [True, True],
        "depth": [0.5, float("inf")],
        "note": [None, "x"],
    }
)


@pytest.mark.parametrize("frame", [FRAME, FRAME.clear(), FRAME.head(1)])
def test_rows_as_declared_pass(frame: pl.DataFrame) -> None:
    """Declared columns, distinct keys, values inside the scope, limits included."""
    check_frame(TABLE, SCOPE, frame)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (FRAME.drop("note"), "columns"),
        (FRAME.select(reversed(FRAME.columns)), "columns"),
        (FRAME.with_columns(pl.col("depth").cast(pl.Float32)), "columns"),
        (FRAME.with_columns(plot=pl.Series(["a", "a"])), "same key"),
        (FRAME.with_columns(plot=pl.Series(["a", None])), "plot has nulls"),
        (FRAME.with_columns(depth=pl.Series([1.0, None])), "depth has nulls"),
        (FRAME.with_columns(depth=pl.Series([1.0, float("nan")])), "not a number"),
        (FRAME.with_columns(plot=pl.Series(["a", "mm"])), "outside"),
        (FRAME.with_columns(day=pl.Series([date(2025, 1, 3), date(2025, 1, 4)])), "outside"),
        (FRAME.with_columns(is_wet=pl.Series([True, False])), "outside"),
        (FRAME.with_columns(is_wet=pl.Series([True, None], dtype=pl.Boolean)), "outside"),
    ],
)
def test_other_rows_are_refused(change: pl.DataFrame, said: str) -> None:
    """Wrong columns or types, nulls, NaN, equal keys and rows outside the scope are refused by name."""
    with pytest.raises(ValueError, match=said):
        check_frame(TABLE, SCOPE, change)


@given(st.lists(st.tuples(st.sampled_from("abm"), st.booleans()), max_size=8))
def test_equal_keys_are_found_in_any_order(keys: list[tuple[str, bool]]) -> None:
    """Rows pass in whatever order their keys are, and are refused wherever two have the same."""
    table = TABLE._replace(key=("plot", "is_wet"))
    rows = [(date(2025, 1, 3), plot, is_wet, 1.0, None) for plot, is_wet in keys]
    frame = pl.DataFrame(rows, schema=FRAME.schema, orient="row")
    with nullcontext() if len(set(keys)) == len(keys) else pytest.raises(ValueError, match="same key"):
        check_frame(table, Scope({"day": "2025-01-03"}), frame)


def test_a_key_inside_the_scope_allows_one_row() -> None:
    """Where the scope fixes the whole key, there can be one row."""
    scope = Scope({"day": "2025-01-03", "plot": "a"})
    check_frame(TABLE, scope, FRAME.head(1))
    with pytest.raises(ValueError, match="same key"):
        check_frame(TABLE, scope, pl.concat([FRAME.head(1)] * 2))


def test_a_scope_as_a_condition() -> None:
    """Equalities come first, ranges include both ends, and no condition is always true."""
    assert scope_condition(SCOPE) == (
        '"day" = ? AND "is_wet" = ? AND "plot" BETWEEN ? AND ?',
        ["2025-01-03", 1, "a", "m"],
    )
    assert scope_condition(Scope({})) == ("1 = 1", [])
