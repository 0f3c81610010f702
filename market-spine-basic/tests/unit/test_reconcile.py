"""Versions of the same rows from sources that carry different fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.reconcile import Unknown, reconcile
from market_spine.core.revision import Change

KEY = ("leg", "venue", "symbol", "product")
SCHEMA = {
    "leg": pl.String,
    "venue": pl.String,
    "name": pl.String,
    "symbol": pl.String,
    "product": pl.String,
    "shares": pl.Float64,
    "notional": pl.Float64,
}
POOR = Unknown(("product", "notional", "venue"), {"leg": "B"}, {"venue": "name"})
"""A source that tells neither product nor notional nor venue of leg B, whose venues it knows by name."""

Row = tuple[str, str, str, str, str, float, float | None]


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, SCHEMA, orient="row")


def poor(rows: Sequence[Row]) -> pl.DataFrame:
    """The rows as the poor source has them."""
    return frame(
        [
            (leg, name, name, symbol, "", shares, None)
            if leg == "B"
            else (leg, venue, name, symbol, product, shares, notional)
            for leg, venue, name, symbol, product, shares, notional in rows
        ]
    )


def full(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return frame(rows).sort(list(KEY)).to_dicts()


ROWS: list[Row] = [
    ("A", "X", "X ats", "S", "", 10.0, 1.0),
    ("B", "7", "Seven", "S", "UTP", 20.0, 2.0),
    ("B", "8", "Eight", "S", "UTP", 30.0, 3.0),
]


def test_the_poorer_version_takes_what_it_lacks_from_the_held_rows() -> None:
    """Venue, product and notional of leg B come from the held rows; nothing counts as changed."""
    found = reconcile(poor(ROWS), [POOR], frame(ROWS), [], KEY)
    assert found.rows.to_dicts() == full(ROWS)
    assert (found.diff.change, found.carried, found.enriched) == (Change(), True, False)


def test_the_richer_version_only_adds_knowledge() -> None:
    """The same rows with more fields differ in nothing, and are told to know more."""
    found = reconcile(frame(ROWS), [], poor(ROWS), [POOR], KEY)
    assert found.rows.to_dicts() == full(ROWS)
    assert (found.diff.change, found.carried, found.enriched) == (Change(), False, True)


def test_a_change_in_a_common_field_counts_and_keeps_what_is_not_carried() -> None:
    """Shares moved, notional is not told: one row changed, its notional and identity stay."""
    revised = [*ROWS[:2], (*ROWS[2][:5], 31.0, None)]
    found = reconcile(poor(revised), [POOR], frame(ROWS), [], KEY)
    assert found.diff.change == Change(0, 0, 1)
    assert found.rows.to_dicts() == full([*ROWS[:2], (*ROWS[2][:5], 31.0, 3.0)])


def test_a_field_that_is_carried_and_empty_is_no_gap() -> None:
    """Only declared columns are unknown: a null or an empty text of any other source is its word."""
    emptied = [ROWS[0], ROWS[1], (*ROWS[2][:5], 30.0, None)]
    found = reconcile(frame(emptied), [], frame(ROWS), [], KEY)
    assert found.diff.change == Change(0, 0, 1)
    assert found.rows.to_dicts() == full(emptied)


def test_rows_that_cannot_be_told_apart_are_not_matched() -> None:
    """Two products of one venue and symbol are held: a row without a product is neither of them."""
    held: list[Row] = [("B", "7", "Seven", "S", "UTP", 20.0, 2.0), ("B", "7", "Seven", "S", "CTS", 5.0, 1.0)]
    found = reconcile(poor(held[:1]), [POOR], frame(held), [], KEY)
    assert found.diff.change == Change(1, 2, 0)
    assert found.rows.to_dicts() == poor(held[:1]).to_dicts()


def test_held_rows_stay_for_lines_that_were_refused_only_because_they_look_alike() -> None:
    """The poor source has both products but cannot tell them apart: what is held of them stays."""
    held: list[Row] = [("B", "7", "Seven", "S", "UTP", 20.0, 2.0), ("B", "7", "Seven", "S", "CTS", 5.0, 1.0), ROWS[2]]
    found = reconcile(poor(held[2:]), [replace(POOR, indistinct=poor(held[:2]))], frame(held), [], KEY)
    assert found.diff.change == Change()
    assert found.rows.to_dicts() == full(held)


def test_another_identity_behind_the_same_known_part_is_another_row() -> None:
    """A venue that the newer version does identify is not overruled by a match on its name."""
    held: list[Row] = [("B", "7", "Seven", "S", "UTP", 20.0, 2.0)]
    newer = frame([("B", "9", "Seven", "S", "", 20.0, None)])
    found = reconcile(newer, [POOR], frame(held), [], KEY)
    assert found.diff.change == Change(1, 1, 0)


cells = st.tuples(st.sampled_from("AB"), st.integers(0, 4), st.sampled_from("STU"), st.sampled_from(["UTP", "CTS"]))
tables = st.dictionaries(cells, st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12)


def rows_of(table: dict[tuple[str, int, str, str], tuple[int, int]]) -> list[Row]:
    """Rows whose products are alone in their venue and symbol, so that every source tells them apart."""
    alone = {(leg, venue, symbol): (product, value) for (leg, venue, symbol, product), value in table.items()}
    return [
        (leg, str(venue), f"venue {venue}", symbol, product, float(shares), float(notional))
        for (leg, venue, symbol), (product, (shares, notional)) in alone.items()
    ]


@pytest.mark.soak
@given(tables, st.lists(st.booleans(), min_size=1, max_size=6))
def test_taking_turns_with_the_same_rows_is_never_a_revision(
    table: dict[tuple[str, int, str, str], tuple[int, int]], turns: list[bool]
) -> None:
    """Whatever the order of sources, no turn changes a row, and after one rich turn everything stays known."""
    rows = rows_of(table)
    versions = [(frame(rows), []) if rich else (poor(rows), [POOR]) for rich in turns]
    held, unknown = versions[0]
    for number, (newer, lacks) in enumerate(versions[1:], start=2):
        found = reconcile(newer, lacks, held, unknown, KEY)
        assert found.diff.change == Change()
        held, unknown = found.rows, lacks
        if any(turns[:number]):
            assert held.to_dicts() == full(rows)


@pytest.mark.soak
@given(tables, tables)
def test_the_counts_are_those_of_a_comparison_of_dictionaries(
    before: dict[tuple[str, int, str, str], tuple[int, int]], after: dict[tuple[str, int, str, str], tuple[int, int]]
) -> None:
    """From rich rows to poor ones: added, removed and changed by what the poor source tells."""
    old, new = rows_of(before), rows_of(after)
    found = reconcile(poor(new), [POOR], frame(old), [], KEY)

    def told(rows: list[Row]) -> dict[tuple[str, ...], tuple[object, ...]]:
        # In leg A everything is told; in leg B venue names, symbols and shares are.
        return {
            (leg, name, symbol) if leg == "B" else (leg, name, symbol, product): (
                shares,
                notional if leg == "A" else None,
            )
            for leg, _, name, symbol, product, shares, notional in rows
        }

    one, other = told(old), told(new)
    assert found.diff.change == Change(
        len(other.keys() - one.keys()),
        len(one.keys() - other.keys()),
        sum(one[key] != other[key] for key in one.keys() & other.keys()),
    )
