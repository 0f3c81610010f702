"""Hashes of canonical rows and of a stage's inputs."""

from __future__ import annotations

import hashlib
from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.fingerprint import content_hash, fingerprint

KEY = ("day", "plot")
FRAME = pl.DataFrame(
    {
        "day": [date(2025, 1, 3)] * 3,
        "plot": ["a", "b", "c"],
        "depth": [0.1, 0.25, None],
        "note": [None, None, None],
    },
    schema={"day": pl.Date, "plot": pl.String, "depth": pl.Float64, "note": pl.String},
)


@given(st.permutations(range(FRAME.height)), st.integers(0, FRAME.height))
def test_neither_the_order_of_rows_nor_their_chunks_matter(order: list[int], cut: int) -> None:
    """The same rows have the same hash, however they came together."""
    shuffled = pl.concat([FRAME[order].head(cut), FRAME[order].slice(cut)], rechunk=False)
    assert content_hash([(shuffled, KEY)]) == content_hash([(FRAME, KEY)])


@pytest.mark.parametrize(
    "other",
    [
        FRAME.clear(),
        FRAME.head(1),
        FRAME.head(2),
        FRAME.rename({"note": "remark"}),
        FRAME.drop("note"),
        FRAME.with_columns(day=pl.lit(date(2025, 1, 10))),
        FRAME.with_columns(note=pl.lit("")),
        FRAME.with_columns(note=pl.lit("x")),
        FRAME.with_columns(depth=pl.col("depth").fill_null(0.0)),
        FRAME.with_columns(depth=pl.lit(0.1)),
        FRAME.with_columns(depth=pl.Series([0.1, 0.25000000000000006, None])),
        FRAME.with_columns(plot=pl.Series(["a", "b", "C"])),
    ],
)
def test_any_difference_shows(other: pl.DataFrame) -> None:
    """Fewer rows, another name or set of columns, and another value anywhere give another hash."""
    assert content_hash([(other, KEY)]) != content_hash([(FRAME, KEY)])


def test_a_hash_is_that_of_the_text_by_which_stores_know_their_rows() -> None:
    """Columns of equal values once, then the others, row by row: stores keep such hashes, so they never move."""
    text = "3\nday|note\n2025-01-03,\\N\nplot|depth\na,0.1\nb,0.25\nc,\\N\n"
    assert content_hash([(FRAME, KEY)]) == hashlib.sha256(text.encode()).hexdigest()


def test_a_column_of_equal_values_is_no_other_column_of_equal_values() -> None:
    """Rows that agree throughout differ from rows that agree throughout on something else."""
    rows = pl.DataFrame({"plot": ["a", "a"], "depth": [1, 1]})
    hashes = {
        content_hash([(frame, ("plot",))])
        for frame in (rows, rows.head(1), rows.with_columns(depth=pl.lit(2)), rows.with_columns(plot=pl.lit("b")))
    }
    assert len(hashes) == 4


def test_the_order_of_frames_matters() -> None:
    """Two tables with their contents exchanged are something else."""
    one, two = (FRAME.head(1), KEY), (FRAME.tail(1), KEY)
    assert content_hash([one, two]) != content_hash([two, one])


def test_a_fingerprint_tells_stage_version_and_inputs_apart() -> None:
    """Equal arguments give equal fingerprints; each argument counts, the order of the inputs, too."""
    same = fingerprint("calc", "1", ("a", "b"))
    assert same == fingerprint("calc", "1", iter(["a", "b"]))
    others = [
        ("normalize", "1", ("a", "b")),
        ("calc", "2", ("a", "b")),
        ("calc", "1", ("b", "a")),
        ("calc", "1", ("a",)),
    ]
    assert same not in {fingerprint(*other) for other in others}
