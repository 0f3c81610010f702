"""Six weeks of a symbol: hand-checked answers, an exact model, and the rules for nulls.

``answers/rolling.finra_otc_symbol_rolling.csv`` was worked out by hand from ``answers/rolling.csv``, whose volumes
are small enough to redo every mean and change on paper. Its one z-score is AAAAY's: earlier weeks 100, 300, 100,
300, mean 200, standard deviation sqrt(40000 / 3), z = 300 / that = 1.5 sqrt(3).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_spine.core.partition import Partition
from spine.domains.finra.otc_transparency.calculations import compute_symbol_rolling
from spine.domains.finra.otc_transparency.schema import SYMBOL_ROLLING

ANSWERS = Path(__file__).parent / "answers"
WEEK = date(2025, 11, 14)
TIER = "OTC"
INPUT = {
    "week_ending": pl.Date,
    "tier": pl.String,
    "symbol": pl.String,
    "legs": pl.String,
    "share_volume": pl.Float64,
    "trade_count": pl.Int64,
}
DTYPES: Mapping[str, type[pl.DataType]] = {
    "text": pl.String,
    "integer": pl.Int64,
    "float": pl.Float64,
    "date": pl.Date,
    "boolean": pl.Boolean,
}


def partition(lag: int) -> Partition:
    return Partition("finra.otc_transparency", (str(WEEK - timedelta(weeks=lag)), TIER))


WINDOW = [partition(lag) for lag in reversed(range(6))]


def week_rows(
    volumes: Mapping[str, Sequence[float | None]], trades: int = 1, legs: Sequence[str] = ("ATS",) * 6
) -> pl.DataFrame:
    """Rows of each symbol for up to six weeks, the last week last; None where it has no row."""
    rows = [
        (WEEK - timedelta(weeks=len(weeks) - 1 - at), TIER, symbol, legs[at], float(volume), trades)
        for symbol, weeks in volumes.items()
        for at, volume in enumerate(weeks)
        if volume is not None
    ]
    return pl.DataFrame(rows, schema=INPUT, orient="row")


def roll(rows: pl.DataFrame, held: Sequence[Partition] = WINDOW) -> pl.DataFrame:
    return compute_symbol_rolling(WINDOW[-1], held, rows)


def row_of(volumes: Sequence[float | None]) -> dict[str, Any]:
    """The one row of a symbol with these volumes."""
    return roll(week_rows({"ABC": volumes})).row(0, named=True)


def test_results_equal_the_reviewed_answers() -> None:
    """The whole table equals its answer file: values, nulls, columns, types and order."""
    rows = pl.read_csv(ANSWERS / "rolling.csv", schema=INPUT)
    name = f"rolling.{SYMBOL_ROLLING.name}.csv"
    with (ANSWERS / name).open(newline="") as file:
        answers = [{key: value or None for key, value in row.items()} for row in csv.DictReader(file)]
    convert: dict[str, Callable[[str], Any]] = {
        "text": str,
        "integer": int,
        "float": float,
        "date": date.fromisoformat,
        "boolean": {"true": True, "false": False}.__getitem__,
    }
    expected = [
        tuple(
            None if (text := row[column.name]) is None else convert[column.kind](text)
            for column in SYMBOL_ROLLING.columns
        )
        for row in answers
    ]
    result = roll(rows, WINDOW[1:])
    assert result.schema == {column.name: DTYPES[column.kind] for column in SYMBOL_ROLLING.columns}
    assert result.rows() == expected


def test_a_symbol_without_a_row_in_the_last_week_has_no_window() -> None:
    """Only symbols of the partition's own week get a row."""
    result = roll(week_rows({"OLD": [5, 5, 5, 5, 5, None], "NEW": [7]}))
    assert result["symbol"].to_list() == ["NEW"]


def test_rows_outside_the_six_weeks_do_not_count() -> None:
    """A seventh week, should it come along, changes nothing."""
    six = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    seven = week_rows({"ABC": [900.0, *six]}, legs=("ATS",) * 7)
    assert roll(seven).equals(roll(week_rows({"ABC": six})))


def test_a_z_score_needs_four_earlier_weeks() -> None:
    """Three earlier weeks give null; four, with or without a gap, give (V - mean) / standard deviation."""
    assert row_of([None, None, 1, 2, 3, 9])["volume_z"] is None
    # Mean of 2, 4, 4, 6 is 4, sum of squares 8: deviation sqrt(8/3), z = 4 / 1.632993... = 2.449489...
    for volumes in ([None, 2, 4, 4, 6, 8], [2, 4, None, 4, 6, 8], [2, 4, 4, 6, None, 8]):
        assert row_of(volumes)["volume_z"] == pytest.approx(2.449489742783178, rel=1e-15)


@pytest.mark.parametrize("volume", [0.0, 5.0, 0.1, 0.7, 123456.789012, 99_999_999.000001])
def test_equal_earlier_volumes_have_no_z_score(volume: float) -> None:
    """A standard deviation of exactly zero gives null, though the mean of such doubles would be rounded."""
    assert row_of([volume] * 5 + [volume + 1])["volume_z"] is None
    assert row_of([volume] * 5 + [volume + 1])["volume_mean"] == pytest.approx(volume + 1 / 6, rel=1e-15)


def test_the_change_against_the_previous_week_needs_that_week() -> None:
    """A gap in the previous week or a zero there gives null; the change against the mean stays."""
    assert row_of([None, None, None, None, 10, 15])["volume_change"] == 0.5
    gap = row_of([None, None, None, 10, None, 15])
    assert (gap["volume_change"], gap["volume_change_mean"]) == (None, 0.5)
    zero = row_of([None, None, None, 20, 0, 15])
    assert (zero["volume_change"], zero["volume_change_mean"]) == (None, 0.5)


def test_without_earlier_volume_there_is_no_change_and_no_direction() -> None:
    """A new symbol, and one that had zero volume only, have null changes and a null direction."""
    for volumes in ([None, None, None, None, None, 15], [0, 0, 0, 0, 0, 15]):
        row = row_of(volumes)
        assert (row["volume_change"], row["volume_change_mean"], row["volume_z"], row["direction"]) == (None,) * 4
    assert row_of([None] * 5 + [15])["weeks_in_window"] == 1


@pytest.mark.parametrize(
    ("volume", "direction"),
    [(35, "flat"), (35.000001, "up"), (36, "up"), (33, "flat"), (31.666667, "flat"), (31.666666, "down"), (0, "down")],
)
def test_direction_is_flat_up_to_exactly_five_percent(volume: float, direction: str) -> None:
    """Against a mean of 100/3, 35 is exactly 5 % more and still flat; a millionth of a share more is up."""
    assert row_of([None, None, 33, 33, 34, volume])["direction"] == direction


def test_a_window_is_complete_when_all_six_partitions_are_held() -> None:
    """Completeness is about partitions, not about the symbol's rows."""
    rows = week_rows({"ABC": [None, None, None, None, None, 3], "XYZ": [1, 2, 3, 4, 5, 6]})
    assert roll(rows)["is_complete"].to_list() == [True, True]
    assert roll(rows, WINDOW[1:])["is_complete"].to_list() == [False, False]


def test_a_leg_more_in_one_week_is_flagged() -> None:
    """Weeks with other legs are not comparable, and every row of the window says so."""
    volumes: dict[str, list[float | None]] = {"ABC": [1, 2, 3, 4, 5, 6], "XYZ": [None, None, None, None, None, 3]}
    assert roll(week_rows(volumes))["same_legs"].to_list() == [True, True]
    mixed = week_rows(volumes, legs=("ATS", "ATS", "ATS+NON_ATS", "ATS", "ATS", "ATS"))
    assert roll(mixed)["same_legs"].to_list() == [False, False]


def test_no_rows_give_an_empty_table_of_the_declared_types() -> None:
    """A held partition without symbols has no windows."""
    result = roll(week_rows({}))
    assert result.height == 0
    assert result.columns == list(SYMBOL_ROLLING.names)


# --- an exact model -------------------------------------------------------------------------------


def model(weeks: Sequence[tuple[Fraction, int] | None]) -> dict[str, Any]:
    """One symbol's row from the definitions, with exact fractions (the z-score with fifty digits)."""
    assert weeks[-1] is not None
    volume, trades = weeks[-1]
    present = [week for week in weeks if week is not None]
    earlier = [week[0] for week in weeks[:-1] if week is not None]
    volumes = [week[0] for week in present]
    previous = weeks[-2][0] if len(weeks) > 1 and weeks[-2] is not None else Fraction()
    mean = sum(earlier, Fraction()) / len(earlier) if earlier else Fraction()
    change = (volume - mean) / mean if mean else None
    return {
        "share_volume": volume,
        "trade_count": trades,
        "weeks_in_window": len(present),
        "volume_mean": sum(volumes, Fraction()) / len(volumes),
        "volume_min": min(volumes),
        "volume_max": max(volumes),
        "trades_mean": Fraction(sum(week[1] for week in present), len(present)),
        "trades_min": min(week[1] for week in present),
        "trades_max": max(week[1] for week in present),
        "volume_change": (volume - previous) / previous if previous else None,
        "volume_change_mean": change,
        "volume_z": model_z(volume, mean, earlier),
        "direction": None
        if change is None
        else "flat"
        if abs(change) <= Fraction(5, 100)
        else ("down", "up")[change > 0],
    }


def model_z(volume: Fraction, mean: Fraction, earlier: Sequence[Fraction]) -> Fraction | None:
    """(V - mean) / sample standard deviation of at least four earlier weeks."""
    squares = sum((each - mean) ** 2 for each in earlier)
    if len(earlier) < 4 or squares == 0:
        return None
    variance = Fraction(squares) / (len(earlier) - 1)
    with localcontext(prec=50):
        deviation = (Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt()
    return (volume - mean) / Fraction(deviation)


SHARES = st.one_of(
    st.integers(0, 10**9).map(Fraction), st.integers(0, 10**12).map(lambda micro: Fraction(micro, 10**6))
)
WEEK_ROWS = st.tuples(SHARES, st.integers(0, 10**6))
HISTORIES = st.dictionaries(
    st.sampled_from(["ABC", "ABRpD", "BRK.B", "abc"]),
    st.tuples(*[st.none() | WEEK_ROWS] * 5, WEEK_ROWS),
    min_size=1,
)


def history_rows(histories: Mapping[str, Sequence[tuple[Fraction, int] | None]]) -> list[tuple[Any, ...]]:
    return [
        (WEEK - timedelta(weeks=5 - at), TIER, symbol, "ATS", float(week[0]), week[1])
        for symbol, weeks in histories.items()
        for at, week in enumerate(weeks)
        if week is not None
    ]


@pytest.mark.soak
@given(HISTORIES)
@settings(deadline=None)
def test_every_figure_equals_an_exact_model(histories: dict[str, tuple[tuple[Fraction, int] | None, ...]]) -> None:
    """Volumes and counts are equal, means and changes within four roundings, z-scores within sixteen."""
    result = roll(pl.DataFrame(history_rows(histories), schema=INPUT, orient="row"))
    assert result["symbol"].to_list() == sorted(histories)
    for row in result.iter_rows(named=True):
        for name, exact in model(histories[row["symbol"]]).items():
            if not isinstance(exact, Fraction):
                assert row[name] == exact, name
            elif name in ("share_volume", "volume_min", "volume_max"):
                assert row[name] == float(exact), name
            else:
                roundings = 16 if name == "volume_z" else 4
                assert abs(Fraction(row[name]) - exact) <= roundings * Fraction(1, 2**53) * abs(exact), name


@pytest.mark.soak
@given(HISTORIES, st.randoms(use_true_random=False), st.integers(1, 5))
@settings(deadline=None)
def test_results_do_not_depend_on_row_order_or_chunks(
    histories: dict[str, tuple[tuple[Fraction, int] | None, ...]], random: Any, pieces: int
) -> None:
    """The same rows shuffled and cut into chunks give the same table, bit by bit."""
    rows = history_rows(histories)
    expected = roll(pl.DataFrame(rows, schema=INPUT, orient="row"))
    random.shuffle(rows)
    parts = [pl.DataFrame(rows[piece::pieces], schema=INPUT, orient="row") for piece in range(pieces)]
    assert roll(pl.concat(parts, rechunk=False)).equals(expected, null_equal=True)
