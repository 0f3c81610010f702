"""The tables of one week: hand-checked answers, an exact model, and identical bits whatever the order.

The answers in ``answers/`` were worked out by hand from ``week_*.csv``: its volumes are round numbers, so that
every share, index and average can be redone on paper.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_spine.core.partition import Partition
from market_spine.core.schema import Table
from market_spine.errors import ContentError
from spine.domains.finra.otc_transparency.calculations import compute_week
from spine.domains.finra.otc_transparency.schema import (
    MARKET_WEEK,
    SYMBOL_WEEK,
    TRADING_DAYS,
    VENUE_VOLUME,
    VENUE_WEEK,
)

ANSWERS = Path(__file__).parent / "answers"
TIER_1 = Partition("finra.otc_transparency", ("2025-11-28", "NMS_TIER_1"))
OTC = Partition("finra.otc_transparency", ("2025-11-14", "OTC"))
RESULTS = (SYMBOL_WEEK, VENUE_WEEK, MARKET_WEEK, TRADING_DAYS)
DTYPES: Mapping[str, type[pl.DataType]] = {
    "text": pl.String,
    "integer": pl.Int64,
    "float": pl.Float64,
    "date": pl.Date,
    "boolean": pl.Boolean,
}
ROUNDING = Fraction(1, 2**53)
"""Largest relative error of one rounding to a double."""


def schema(table: Table) -> dict[str, type[pl.DataType]]:
    return {column.name: DTYPES[column.kind] for column in table.columns}


def read_answer(name: str, table: Table) -> pl.DataFrame:
    """A reviewed file; an empty field is null, or empty text where the column cannot be null."""
    convert: dict[str, Callable[[str], Any]] = {"text": str, "integer": int, "float": float, "date": date.fromisoformat}
    with (ANSWERS / f"{name}.csv").open(newline="") as file:
        rows = [
            [
                None if row[column.name] == "" and column.nullable else convert[column.kind](row[column.name])
                for column in table.columns
            ]
            for row in csv.DictReader(file)
        ]
    return pl.DataFrame(rows, schema=schema(table), orient="row")


def venue_rows(partition: Partition, rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Rows given as (class, venue, symbol, shares, trades[, product type, venue name])."""
    records = [
        {
            "week_ending": date.fromisoformat(partition.values[0]),
            "tier": partition.values[1],
            "venue_class": venue_class,
            "venue_id": venue_id,
            "venue_name": more[1] if len(more) > 1 else venue_id,
            "symbol": symbol,
            "issue_name": "",
            "product_type": more[0] if more else "",
            "share_volume": float(shares),
            "trade_count": trades,
        }
        for venue_class, venue_id, symbol, shares, trades, *more in rows
    ]
    return pl.DataFrame(records, schema=schema(VENUE_VOLUME))


def compute(partition: Partition, rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return compute_week(partition, {VENUE_VOLUME.name: rows})


def symbol_row(rows: Sequence[Sequence[Any]], symbol: str, partition: Partition = TIER_1) -> dict[str, Any]:
    return compute(partition, venue_rows(partition, rows))[SYMBOL_WEEK.name].row(
        by_predicate=pl.col("symbol") == symbol, named=True
    )


# --- reviewed answers -----------------------------------------------------------------------------


@pytest.mark.parametrize("table", RESULTS, ids=lambda table: table.name)
@pytest.mark.parametrize(("case", "partition"), [("two_legs", TIER_1), ("ats_only", OTC)])
def test_results_equal_the_reviewed_answers(case: str, partition: Partition, table: Table) -> None:
    """Each table of a week equals its answer file: values, nulls, columns, types and order."""
    rows = read_answer(f"week_{case}", VENUE_VOLUME)
    answer = read_answer(f"week_{case}.{table.name}", table)
    result = compute(partition, rows)[table.name]
    assert result.schema == answer.schema
    assert result.rows() == answer.rows()


def test_hhi_counts_attributed_venues_against_the_whole_volume() -> None:
    """Of 1,000 shares 600, 300 and 60 are attributed: hhi 0.4536, and 0.4552 with the other 40 as one venue."""
    row = symbol_row(
        [
            ("ATS", "UBSA", "ABC", 400, 4, "UTP"),
            ("ATS", "UBSA", "ABC", 200, 2, "CTS"),
            ("ATS", "INCR", "ABC", 300, 3),
            ("NON_ATS", "7", "ABC", 60, 6),
            ("NON_ATS", "DE_MINIMIS", "ABC", 40, 5),
        ],
        "ABC",
    )
    assert (row["hhi"], row["hhi_upper"]) == (0.4536, 0.4552)
    assert (row["venue_count"], row["top_venue_id"], row["top_venue_share"]) == (3, "UBSA", 0.6)
    assert (row["ats_share_volume"], row["non_ats_share_volume"]) == (900.0, 100.0)


def test_an_mpid_used_as_a_firm_id_is_another_venue() -> None:
    """A venue is class and id together: equal ids of two classes count twice and are not added up."""
    row = symbol_row([("ATS", "X", "ABC", 50, 1), ("NON_ATS", "X", "ABC", 50, 1)], "ABC")
    assert (row["venue_count"], row["hhi"], row["effective_venues"]) == (2, 0.5, 2.0)


def test_a_leg_that_is_not_held_is_null_and_a_held_one_without_rows_is_zero() -> None:
    """The held leg of a symbol without rows in it is 0; the leg no row of the partition has is null."""
    both = [("ATS", "UBSA", "ABC", 5, 1), ("NON_ATS", "7", "XYZ", 7, 1)]
    assert symbol_row(both, "ABC")["non_ats_share_volume"] == 0.0
    assert symbol_row(both, "XYZ")["ats_share_volume"] == 0.0
    assert symbol_row(both, "ABC")["legs"] == "ATS+NON_ATS"
    assert symbol_row(both[:1], "ABC")["non_ats_share_volume"] is None
    assert symbol_row(both[:1], "ABC")["legs"] == "ATS"
    assert symbol_row(both[1:], "XYZ")["ats_share_volume"] is None
    assert symbol_row(both[1:], "XYZ")["legs"] == "NON_ATS"


def test_only_the_held_legs_have_a_market_row() -> None:
    """The market table has one row per class with rows."""
    result = compute(OTC, venue_rows(OTC, [("NON_ATS", "7", "XYZ", 7, 1)]))[MARKET_WEEK.name]
    assert result["venue_class"].to_list() == ["NON_ATS"]


def test_a_zero_total_gives_null_for_whatever_divides_by_it() -> None:
    """Without volume there is no share, no index and no top venue; without trades no average size."""
    row = symbol_row([("ATS", "UBSA", "ABC", 0, 0)], "ABC")
    assert (row["share_volume"], row["trade_count"], row["venue_count"]) == (0.0, 0, 1)
    for column in ("average_trade_size", "top_venue_id", "top_venue_share", "hhi", "hhi_upper", "effective_venues"):
        assert row[column] is None


def test_a_venue_without_volume_among_none_has_no_market_share() -> None:
    """A class with a zero total has null shares, null indices and a rank nevertheless."""
    results = compute(OTC, venue_rows(OTC, [("ATS", "OTCN", "ABC", 0, 0)]))
    venue = results[VENUE_WEEK.name].row(0, named=True)
    market = results[MARKET_WEEK.name].row(0, named=True)
    assert (venue["market_share"], venue["volume_rank"]) == (None, 1)
    assert (market["hhi"], market["effective_venues"], market["top5_share"]) == (None, None, None)


def test_volume_that_nobody_is_named_for_has_an_hhi_between_nothing_and_one() -> None:
    """A symbol with a de-minimis row only has no venue: hhi 0 from below, 1 from above."""
    row = symbol_row([("NON_ATS", "DE_MINIMIS", "ABC", 0.5, 1)], "ABC")
    assert (row["venue_count"], row["top_venue_id"], row["top_venue_share"]) == (0, None, None)
    assert (row["hhi"], row["hhi_upper"], row["effective_venues"]) == (0.0, 1.0, None)


def test_the_top_venue_of_a_tie_is_the_lower_id_in_byte_order() -> None:
    """Equal volumes name the venue whose id comes first, upper case before lower."""
    row = symbol_row([("ATS", each, "ABC", 50, 1) for each in ("b", "a", "UBSA", "INCR")], "ABC")
    assert (row["top_venue_id"], row["top_venue_share"]) == ("INCR", 0.25)


def test_tied_venues_share_the_lower_rank_and_de_minimis_has_none() -> None:
    """Ranks are 1, 2, 2, 4 for 9, 5, 5, 1 shares, and the unattributed mass is not ranked."""
    shares = {"A": 5, "B": 9, "C": 1, "D": 5, "DE_MINIMIS": 100}
    rows = venue_rows(TIER_1, [("NON_ATS", venue, "ABC", size, 1) for venue, size in shares.items()])
    result = compute(TIER_1, rows)[VENUE_WEEK.name]
    ranks = {"A": 2, "B": 1, "C": 4, "D": 2, "DE_MINIMIS": None}
    assert dict(result.select("venue_id", "volume_rank").iter_rows()) == ranks


def test_top5_share_is_over_attributed_venues() -> None:
    """Of seven venues with 10 shares each and 30 unattributed, the five largest hold half."""
    rows = [("NON_ATS", f"{number}", "ABC", 10, 1) for number in range(7)]
    rows.append(("NON_ATS", "DE_MINIMIS", "ABC", 30, 1))
    assert compute(TIER_1, venue_rows(TIER_1, rows))[MARKET_WEEK.name]["top5_share"].to_list() == [0.5]


def test_a_holiday_week_has_fewer_trading_days() -> None:
    """Thanksgiving closes the exchange on 2025-11-27: four sessions, Friday's half day being one."""
    rows = venue_rows(TIER_1, [("ATS", "UBSA", "ABC", 10, 1)])
    result = compute(TIER_1, rows)[TRADING_DAYS.name]
    assert result.select("trading_days", "share_volume_per_day").row(0) == (4, 2.5)


def test_the_name_of_a_renamed_venue_is_the_last_in_byte_order() -> None:
    """BOSS traded as two names in one week: the later of the two in byte order is shown."""
    names = ("BOSS BRUCE MARKETS, LLC.", "BOSS BRUCE ATS")
    rows = venue_rows(TIER_1, [("ATS", "BOSS", f"S{at}", 1, 1, "", name) for at, name in enumerate(names)])
    assert compute(TIER_1, rows)[VENUE_WEEK.name]["venue_name"].to_list() == [names[0]]


def test_no_rows_give_empty_tables_of_the_declared_types() -> None:
    """An empty partition computes to empty tables."""
    results = compute(OTC, venue_rows(OTC, []))
    for table in RESULTS:
        assert results[table.name].height == 0
        assert results[table.name].schema == schema(table)


def test_volumes_no_week_can_have_are_refused_with_the_partition_named() -> None:
    """Ten rows just below the parser's limit add up to more than exact sums allow: an error, no wrong number."""
    rows = venue_rows(OTC, [("ATS", f"V{number}", "ABC", 999_999_999_999, 1) for number in range(10)])
    with pytest.raises(ContentError) as caught:
        compute(OTC, rows)
    assert caught.value.kind == "volume_overflow"
    assert "2025-11-14|OTC" in caught.value.message
    assert "9,999,999,999,990 shares" in caught.value.message
    assert VENUE_VOLUME.name in caught.value.hint


def test_the_largest_volumes_that_are_accepted_keep_their_exact_indices() -> None:
    """Nine rows of 10**12 - 1 shares, the most there can be, still square without overflow."""
    row = symbol_row([("ATS", f"V{number}", "ABC", 999_999_999_999, 1) for number in range(9)], "ABC")
    assert row["hhi"] == pytest.approx(1 / 9, rel=1e-15)
    assert row["share_volume"] == pytest.approx(8_999_999_999_991, rel=1e-15)


def test_whole_shares_stay_whole_up_to_half_a_trillion() -> None:
    """Sums of whole shares are exact far beyond what doubles hold in micro-shares."""
    row = symbol_row([("ATS", f"V{number}", "ABC", 100_000_000_001, 1) for number in range(5)], "ABC")
    assert row["share_volume"] == 500_000_000_005.0


# --- an exact model -------------------------------------------------------------------------------

Row = tuple[str, str, str, Fraction, int, str]
"""Class, venue, symbol, shares, trades, product type."""


def model_symbol_week(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Symbols in order, with exact fractions, straight from the definitions."""
    held = {row[0] for row in rows}
    for symbol in sorted({row[2] for row in rows}):
        own = [row for row in rows if row[2] == symbol]
        venues: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
        for venue_class, venue, _, shares, *_ in own:
            venues[venue_class, venue] += shares
        total = sum(venues.values())
        trades = sum(row[4] for row in own)
        known = {key: shares for key, shares in venues.items() if key[1] != "DE_MINIMIS"}
        rest = total - sum(known.values())
        squares = sum(shares**2 for shares in known.values())
        top = min(known.items(), key=lambda item: (-item[1], item[0][1]), default=None)
        by_class = {each: sum((s for (c, _), s in venues.items() if c == each), Fraction()) for each in held}
        yield {
            "symbol": symbol,
            "share_volume": total,
            "trade_count": trades,
            "legs": "+".join(sorted(held)),
            "ats_share_volume": by_class.get("ATS"),
            "non_ats_share_volume": by_class.get("NON_ATS"),
            "venue_count": len(known),
            "average_trade_size": total / trades if trades else None,
            "top_venue_id": top[0][1] if top and total else None,
            "top_venue_share": top[1] / total if top and total else None,
            "hhi": squares / total**2 if total else None,
            "hhi_upper": (squares + rest**2) / total**2 if total else None,
            "effective_venues": total**2 / squares if squares else None,
        }


def model_venue_week(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Venues in order."""
    volumes = {key: sum((row[3] for row in rows if row[:2] == key), Fraction()) for key in {row[:2] for row in rows}}
    for key in sorted(volumes):
        own = [row for row in rows if row[:2] == key]
        total = sum(shares for other, shares in volumes.items() if other[0] == key[0])
        trades = sum(row[4] for row in own)
        larger = [
            other
            for other, shares in volumes.items()
            if other[0] == key[0] and other[1] != "DE_MINIMIS" and shares > volumes[key]
        ]
        yield {
            "venue_class": key[0],
            "venue_id": key[1],
            "share_volume": volumes[key],
            "trade_count": trades,
            "symbol_count": len({row[2] for row in own}),
            "average_trade_size": volumes[key] / trades if trades else None,
            "market_share": volumes[key] / total if total else None,
            "volume_rank": None if key[1] == "DE_MINIMIS" else len(larger) + 1,
        }


def model_market_week(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Classes in order."""
    for venue_class in sorted({row[0] for row in rows}):
        own = [row for row in rows if row[0] == venue_class]
        total, trades = sum(row[3] for row in own), sum(row[4] for row in own)
        volumes = [sum(row[3] for row in own if row[1] == venue) for venue in {row[1] for row in own} - {"DE_MINIMIS"}]
        squares = sum(shares**2 for shares in volumes)
        yield {
            "venue_class": venue_class,
            "share_volume": total,
            "trade_count": trades,
            "symbol_count": len({row[2] for row in own}),
            "venue_count": len(volumes),
            "average_trade_size": total / trades if trades else None,
            "hhi": squares / total**2 if total else None,
            "effective_venues": total**2 / squares if squares else None,
            "top5_share": sum(sorted(volumes, reverse=True)[:5]) / total if total else None,
        }


def assert_equals_model(result: pl.DataFrame, expected: Sequence[Mapping[str, Any]]) -> None:
    """Volumes are the nearest doubles; other figures are off by four roundings at most; the rest is equal."""
    assert result.height == len(expected)
    for row, exact in zip(result.iter_rows(named=True), expected, strict=True):
        for name, value in exact.items():
            if not isinstance(value, Fraction):
                assert row[name] == value, name
            elif name.endswith("share_volume"):
                assert row[name] == float(value), name
            else:
                assert abs(Fraction(row[name]) - value) <= 4 * ROUNDING * value, name


SHARES = st.one_of(
    st.just(Fraction(0)),
    st.integers(1, 10**8).map(Fraction),
    st.integers(1, 10**12).map(lambda micro: Fraction(micro, 10**6)),
)
KEYS = st.tuples(
    st.sampled_from(["ATS", "NON_ATS"]),
    st.sampled_from(["UBSA", "INCR", "ubsa", "7", "DE_MINIMIS"]),
    st.sampled_from(["ABC", "ABRpD", "BRK.B"]),
    st.sampled_from(["", "UTP"]),
)
WEEKS = st.dictionaries(KEYS, st.tuples(SHARES, st.integers(0, 10**6)), min_size=1, max_size=25).map(
    lambda rows: [
        (venue_class, venue, symbol, shares, trades, product)
        for (venue_class, venue, symbol, product), (shares, trades) in rows.items()
    ]
)


@pytest.mark.soak
@given(WEEKS)
@settings(deadline=None)
def test_every_figure_equals_an_exact_model(rows: list[Row]) -> None:
    """Symbol, venue and market tables agree with rational arithmetic on the definitions."""
    results = compute(TIER_1, venue_rows(TIER_1, rows))
    assert_equals_model(results[SYMBOL_WEEK.name], list(model_symbol_week(rows)))
    assert_equals_model(results[VENUE_WEEK.name], list(model_venue_week(rows)))
    assert_equals_model(results[MARKET_WEEK.name], list(model_market_week(rows)))
    days = [
        {"symbol": row["symbol"], "share_volume": row["share_volume"], "share_volume_per_day": row["share_volume"] / 4}
        for row in model_symbol_week(rows)
    ]
    assert_equals_model(results[TRADING_DAYS.name], days)


@pytest.mark.soak
@given(WEEKS, st.randoms(use_true_random=False), st.integers(1, 5))
@settings(deadline=None)
def test_results_do_not_depend_on_row_order_or_chunks(rows: list[Row], random: Any, pieces: int) -> None:
    """The same rows shuffled and cut into chunks give the same tables, bit by bit."""
    shuffled = list(rows)
    random.shuffle(shuffled)
    parts = [venue_rows(TIER_1, shuffled[piece::pieces]) for piece in range(pieces)]
    expected = compute(TIER_1, venue_rows(TIER_1, rows))
    result = compute(TIER_1, pl.concat(parts, rechunk=False))
    for table in RESULTS:
        assert result[table.name].equals(expected[table.name], null_equal=True)


def test_results_are_sorted_by_key_and_typed_as_declared() -> None:
    """Every table comes in the declared columns and types, ordered by its key."""
    rows = [(each, venue, symbol, 3, 1) for each in ("NON_ATS", "ATS") for venue in "ba" for symbol in ("b", "B")]
    results = compute(TIER_1, venue_rows(TIER_1, rows))
    for table in RESULTS:
        frame = results[table.name]
        assert frame.schema == schema(table)
        keys = frame.select(table.key).rows()
        assert keys == sorted(keys)
        assert len(keys) == len(set(keys))
        for column in table.columns:
            assert column.nullable or frame[column.name].null_count() == 0
