"""Exact differences between two versions of the same rows."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.revision import Change, diff_rows

KEY = ("day", "plot")
SCHEMA = {"day": pl.Int64, "plot": pl.String, "depth": pl.Float64, "note": pl.String}
ROWS = st.dictionaries(
    st.tuples(st.integers(1, 2), st.sampled_from("abc")),
    st.tuples(st.sampled_from([None, 0.0, 0.1, 0.2]), st.sampled_from([None, "", "x"])),
)


def frame(rows: dict[Any, Any]) -> pl.DataFrame:
    """Rows by key as a frame, in the order of the dictionary."""
    return pl.DataFrame([(*key, *values) for key, values in rows.items()], schema=SCHEMA, orient="row")


def listed(rows: dict[Any, Any]) -> list[Any]:
    """The same rows as sorted tuples."""
    return [(*key, *rows[key]) for key in sorted(rows)]


@given(ROWS, ROWS)
def test_it_finds_what_a_comparison_of_dictionaries_finds(old: dict[Any, Any], new: dict[Any, Any]) -> None:
    """Rows are matched by key and compared exactly, null being equal to null; each part is sorted by key."""
    changed = [key for key in old if key in new and old[key] != new[key]]
    found = diff_rows(frame(old), frame(new), KEY)
    assert found.added.rows() == listed({key: new[key] for key in new if key not in old})
    assert found.removed.rows() == listed({key: old[key] for key in old if key not in new})
    assert found.old.rows() == listed({key: old[key] for key in changed})
    assert found.new.rows() == listed({key: new[key] for key in changed})
    assert found.change == Change(len(new.keys() - old.keys()), len(old.keys() - new.keys()), len(changed))


@given(ROWS, ROWS)
def test_columns_that_only_the_old_rows_have_are_kept_and_not_compared(
    old: dict[Any, Any], new: dict[Any, Any]
) -> None:
    """A row id beside the data changes nothing but comes back with the rows that are gone."""
    with_ids = frame(old).with_row_index("row_id")
    found, plain = diff_rows(with_ids, frame(new), KEY), diff_rows(frame(old), frame(new), KEY)
    assert found.change == plain.change
    assert found.removed.drop("row_id").equals(plain.removed)
    assert found.old.drop("row_id").equals(plain.old)
    ids = {key: number for number, key in enumerate(old)}
    gone = pl.concat([found.removed, found.old])
    assert gone["row_id"].to_list() == [ids[key] for key in gone.select(KEY).rows()]
