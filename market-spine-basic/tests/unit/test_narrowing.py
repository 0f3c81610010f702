"""What DuckDB's plan says of the rows that a statement wants of each relation."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from market_spine.store.asking import Condition
from market_spine.store.sqlite.catalog import Relation, Rows
from market_spine.store.sqlite.narrowing import conditions

RELATIONS = {
    "weeks": Relation(Rows("SELECT 1", {"week": "date", "symbol": "text", "shares": "integer"})),
    "prices": Relation(Rows("SELECT 1", {"symbol": "text"})),
}
SYMBOL = "(spine_0_1 = 'A''B')"


def scan(number: int, *filters: str) -> dict[str, Any]:
    """A scan of a table, as DuckDB tells of it: several filters are a list, one is a text."""
    told: Any = list(filters) if len(filters) > 1 else "".join(filters)
    return {"name": "SEQ_SCAN", "extra_info": {"Table": f"memory.main.spine_{number}", "Filters": told}}


def join(*scans: dict[str, Any]) -> list[dict[str, Any]]:
    """A plan over some scans."""
    return [{"name": "HASH_JOIN", "children": list(scans), "extra_info": {"Conditions": "s = s"}}]


def test_values_and_days_are_found() -> None:
    """A text that is equal and days are told by relation; what is of another kind or form is left to DuckDB."""
    filters = (SYMBOL, "(spine_0_0 >= '2025-01-03'::DATE)", "(spine_0_2 = 3)", "optional: (spine_0_1 = 'X')")
    wanted = (Condition("symbol", ("A'B",)), Condition("week", None, date(2025, 1, 3), None))
    assert conditions(join(scan(0, *filters), scan(1)), RELATIONS) == {"weeks": wanted}


@pytest.mark.parametrize(
    "scans",
    [
        [scan(0, SYMBOL), scan(0)],
        [scan(0, SYMBOL), scan(0, "(spine_0_1 = 'C')")],
        [scan(0, "(spine_0_0 >= '2025-01-03'::DATE)")],
        [scan(0, "(spine_0_1 > 'A')")],
        [scan(0, f"{SYMBOL} OR {SYMBOL}")],
        # A text of several lines, of which one looks like a filter.
        [scan(0, "(spine_0_1 = 'A", "(spine_0_1 = '')", "')")],
    ],
)
def test_no_row_is_left_out_that_may_matter(scans: list[dict[str, Any]]) -> None:
    """Nothing is known where looks at a table differ, none names a value, or a filter is not all of one."""
    assert conditions(join(*scans), RELATIONS) == {}
