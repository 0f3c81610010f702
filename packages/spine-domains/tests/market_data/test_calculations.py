"""Adjusted prices, daily figures and weeks, against numbers worked out by hand or another way."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.calendar import sessions
from spine.domains.market_data import DOMAIN
from spine.domains.market_data.calculations import compute_adjustments, confirmed_splits
from spine.domains.market_data.schema import DIVIDENDS, PRICES, SPLITS

PARTITION = DOMAIN.partition("A|mock")
DAYS = sessions(date(2026, 1, 2), date(2026, 11, 20))


def bars(closes: Sequence[float], volumes: Sequence[float] | None = None, days: Sequence[date] = DAYS) -> pl.DataFrame:
    """Bars that open at the close before and have a vwap at their close."""
    count = len(closes)
    opens = [closes[0], *closes[:-1]]
    return pl.DataFrame(
        {
            "symbol": ["A"] * count,
            "source": ["mock"] * count,
            "trade_date": list(days[:count]),
            "open": opens,
            "high": [max(pair) for pair in zip(opens, closes, strict=True)],
            "low": [min(pair) for pair in zip(opens, closes, strict=True)],
            "close": list(closes),
            "volume": list(volumes or [1000.0] * count),
            "vwap": list(closes),
            "trade_count": [10] * count,
        },
        schema_overrides=dict.fromkeys(("open", "high", "low", "close", "volume", "vwap"), pl.Float64),
    ).select(PRICES.names)


def splits(*rows: tuple[date, float, float]) -> pl.DataFrame:
    data = [("A", "mock", day, old, new, "unknown") for day, old, new in rows]
    kinds = dict.fromkeys(SPLITS.names, pl.String) | {
        "ex_date": pl.Date,
        "split_from": pl.Float64,
        "split_to": pl.Float64,
    }
    return pl.DataFrame(data, schema=kinds, orient="row")


def dividends(*rows: tuple[date, float]) -> pl.DataFrame:
    data = [("A", "mock", day, "recurring", amount, "USD") for day, amount in rows]
    kinds = dict.fromkeys(DIVIDENDS.names, pl.String) | {"ex_date": pl.Date, "amount": pl.Float64}
    return pl.DataFrame(data, schema=kinds, orient="row")


def compute(frame: pl.DataFrame, split: pl.DataFrame | None = None, paid: pl.DataFrame | None = None) -> dict[str, Any]:
    tables = {
        PRICES.name: frame,
        SPLITS.name: splits() if split is None else split,
        DIVIDENDS.name: dividends() if paid is None else paid,
    }
    return {name.removeprefix("market_data_"): table for name, table in DOMAIN.compute(PARTITION, tables).items()}


def test_without_actions_there_is_one_interval_of_factor_one() -> None:
    """Prices that nothing happened to are their own adjusted prices."""
    rows = compute(bars([10, 11, 12]))["adjustments"].rows()
    assert rows == [("A", "mock", DAYS[0], DAYS[2], 1.0, 1.0)]


def test_factors_of_a_split_and_a_dividend() -> None:
    """Before a 4:1 split prices are a quarter; a dividend of 1 on a close of 20 takes 5 % off all before it."""
    frame = bars([80, 80, 20, 20, 19, 19])
    rows = compute(frame, splits((DAYS[2], 1, 4)), dividends((DAYS[4], 1.0)))["adjustments"].rows()
    assert [row[2:] for row in rows] == [
        (DAYS[0], DAYS[1], 0.25, 0.95),
        (DAYS[2], DAYS[3], 1.0, 0.95),
        (DAYS[4], DAYS[5], 1.0, 1.0),
    ]


def test_dividends_of_one_day_are_taken_off_together() -> None:
    """A regular 1 and a special 9 on a close of 20 halve all before them: 1 - (1 + 9) / 20."""
    paid = pl.concat([dividends((DAYS[2], 1.0)), dividends((DAYS[2], 9.0)).with_columns(kind=pl.lit("special"))])
    rows = compute(bars([20, 20, 10, 10]), None, paid)["adjustments"].rows()
    assert [row[5] for row in rows] == [0.5, 1.0]


def test_a_dividend_on_the_day_of_a_split_is_paid_on_new_shares() -> None:
    """1 on each new share of a 4:1 split is 5 % of the close before, 80 on old shares and 20 on new ones."""
    frame = bars([80, 80, 19, 19])
    rows = compute(frame, splits((DAYS[2], 1, 4)), dividends((DAYS[2], 1.0)))["adjustments"].rows()
    assert [row[4:] for row in rows] == [(0.25, 0.95), (1.0, 1.0)]


def test_a_dividend_in_another_currency_does_not_count() -> None:
    """50 yen are not 50 dollars: without a rate of exchange such a dividend adjusts nothing."""
    paid = dividends((DAYS[2], 50.0)).with_columns(currency=pl.lit("JPY"))
    assert [row[5] for row in compute(bars([180, 180, 180]), None, paid)["adjustments"].rows()] == [1.0]


def test_an_announced_split_waits_for_its_day() -> None:
    """A split whose ex-date lies after the latest bar adjusts nothing yet."""
    rows = compute(bars([80, 80]), splits((DAYS[2], 1, 4)))["adjustments"].rows()
    assert [row[4] for row in rows] == [1.0]


def test_a_split_that_the_prices_do_not_show_is_not_applied() -> None:
    """A reported 4:1 split without a jump is left alone; a ratio as small as a spin-off's is taken on trust."""
    frame = bars([80, 80, 79, 80])
    assert confirmed_splits(frame, splits((DAYS[2], 1, 4))) == {}
    assert confirmed_splits(frame, splits((DAYS[2], 1, 1.046))) == {DAYS[2]: 1.046}
    assert confirmed_splits(bars([80, 80, 21, 20]), splits((DAYS[2], 1, 4))) == {DAYS[2]: 4.0}
    assert confirmed_splits(bars([2, 2, 20, 20]), splits((DAYS[2], 10, 1))) == {DAYS[2]: 0.1}


@given(
    st.lists(
        st.tuples(st.integers(1, 38), st.sampled_from([(1, 2), (2, 3), (4, 1), (10, 1), (1, 20)])),
        max_size=4,
        unique_by=lambda each: each[0],
    ),
    st.lists(st.integers(2, 50), min_size=40, max_size=40),
)
def test_split_factors_are_the_product_of_all_later_splits(events: list[Any], cents: list[int]) -> None:
    """For every bar the factor is old over new shares of the splits after it, worked out in exact fractions."""
    ratios = {DAYS[place]: Fraction(new, old) for place, (old, new) in events}
    frame = bars([float(cent) for cent in cents])
    table = compute_adjustments(frame, {day: float(ratio) for day, ratio in ratios.items()}, dividends())
    covered = []
    for first, last, factor, _ in table.rows():
        for day in (day for day in DAYS[:40] if first <= day <= last):
            exact = math.prod((1 / ratio for when, ratio in ratios.items() if when > day), start=Fraction(1))
            assert factor == pytest.approx(float(exact), rel=1e-12)
            covered.append(day)
    assert covered == DAYS[:40]


def test_daily_returns_are_free_of_splits() -> None:
    """80 to 21 over a 4:1 split is a return of 5 %, and yesterday's close is told on today's basis."""
    daily = compute(bars([80, 21]), splits((DAYS[1], 1, 4)))["prices_daily"]
    first, second = daily.select("previous_close", "return", "dollar_volume").rows()
    assert first == (None, None, 80_000.0)
    assert second == (20.0, pytest.approx(0.05), 21_000.0)


def test_average_volume_and_volatility_over_twenty_bars() -> None:
    """Both need 20 bars (returns), count the current one, and agree with the textbook formula."""
    closes = [100 * math.exp(0.01 * math.sin(number)) for number in range(30)]
    volumes = [1000.0 + 10 * number for number in range(30)]
    daily = compute(bars(closes, volumes))["prices_daily"]
    assert daily["average_volume_20"].to_list()[:19] == [None] * 19
    assert daily["average_volume_20"][19] == statistics.fmean(volumes[:20]) == 1095.0
    assert daily["realised_volatility_20"].to_list()[:20] == [None] * 20
    returns = [math.log(new / old) for old, new in pairwise(closes[9:])]
    expected = statistics.stdev(returns) * math.sqrt(252)
    assert daily["realised_volatility_20"][29] == pytest.approx(expected, rel=1e-9)


def test_average_volume_is_on_the_sessions_own_share_basis() -> None:
    """After a 4:1 split the volumes before it count fourfold."""
    frame = bars([80.0] * 10 + [20.0] * 10, [100.0] * 10 + [400.0] * 10)
    daily = compute(frame, splits((DAYS[10], 1, 4)))["prices_daily"]
    assert daily["average_volume_20"][19] == 400.0
    assert daily["realised_volatility_20"][19] is None


@pytest.mark.soak
@given(st.lists(st.tuples(st.integers(100, 9999), st.integers(1, 10**9)), min_size=25, max_size=60), st.integers(1, 20))
def test_more_history_changes_no_figure(rows: list[tuple[int, int]], cut: int) -> None:
    """To the last bit, a bar's figures are the same whether or not bars long before it are held."""
    frame = bars([cents / 100 for cents, _ in rows], [float(volume) for _, volume in rows])
    whole, later = compute(frame), compute(frame.slice(cut))
    assert later["prices_daily"].slice(21).equals(whole["prices_daily"].slice(cut + 21))
    assert later["symbol_week"].slice(2).equals(whole["symbol_week"].tail(max(0, later["symbol_week"].height - 2)))


def test_missing_sessions_are_counted() -> None:
    """Between Thursday and the Wednesday after lie three sessions."""
    days = [date(2026, 11, 12), date(2026, 11, 18)]
    assert compute(bars([10, 11], days=days))["prices_daily"]["sessions_missing"].to_list() == [0, 3]


def test_a_week_by_hand() -> None:
    """Open of Monday, close of Friday, extremes, summed volume, vwap weighted by volume, return on last week."""
    days = [date(2026, 11, day) for day in (13, 16, 17, 18, 19, 20)]
    frame = bars([10, 11, 9, 12, 12, 11], [1, 100, 200, 300, 400, 500], days)
    before, week = compute(frame)["symbol_week"].rows(named=True)
    assert (before["week_ending"], before["sessions"], before["is_complete"], before["return"]) == (
        days[0],
        1,
        False,
        None,
    )
    assert (week["open"], week["high"], week["low"], week["close"]) == (10.0, 12.0, 9.0, 11.0)
    assert (week["volume"], week["sessions"], week["is_complete"]) == (1500.0, 5, True)
    assert week["vwap"] == pytest.approx((1100 + 1800 + 3600 + 4800 + 5500) / 1500)
    assert week["return"] == pytest.approx(0.1)


def test_a_holiday_week_is_complete_with_four_sessions() -> None:
    """Thanksgiving week has four sessions, and all of them make it complete."""
    days = sessions(date(2026, 11, 23), date(2026, 11, 27))
    (week,) = compute(bars([10] * 4, days=days))["symbol_week"].rows(named=True)
    assert (week["sessions"], week["is_complete"]) == (4, True)


def test_a_split_inside_a_week() -> None:
    """Prices of the week are told on Friday's basis; its volume is what was traded, as FINRA counts it."""
    days = [date(2026, 11, day) for day in (16, 17, 18, 19, 20)]
    frame = bars([80, 80, 20, 20, 20], [100, 100, 400, 400, 400], days).with_columns(
        pl.Series("open", [80.0, 80.0, 20.0, 20.0, 20.0]),
        pl.Series("high", [84.0, 80.0, 20.0, 20.0, 20.0]),
        pl.Series("low", [80.0, 76.0, 20.0, 20.0, 20.0]),
    )
    (week,) = compute(frame, splits((days[2], 1, 4)))["symbol_week"].rows(named=True)
    assert (week["open"], week["high"], week["low"], week["close"]) == (20.0, 21.0, 19.0, 20.0)
    assert (week["volume"], week["vwap"]) == (1400.0, 20.0)


def test_a_week_after_a_missing_one_has_no_return() -> None:
    """A return spans exactly one week; without bars in the week before there is none."""
    days = [date(2026, 11, 6), date(2026, 11, 20)]
    assert compute(bars([10, 11], days=days))["symbol_week"]["return"].to_list() == [None, None]


def test_a_week_without_a_vwap_of_each_session_has_none() -> None:
    """A session without vwap leaves the week's unknown."""
    frame = bars([10, 11], days=DAYS[1:3]).with_columns(pl.Series("vwap", [10.0, None]))
    assert compute(frame)["symbol_week"]["vwap"].to_list() == [None]


@pytest.mark.samples
def test_weeks_of_ten_real_years(bar_samples: Path) -> None:
    """AAPL's weekly volumes and closes equal those added up from the file."""
    with (bar_samples / "AAPL.csv").open() as file:
        rows = [
            (date.fromisoformat(row["date"]), float(row["close"]), float(row["volume"])) for row in csv.DictReader(file)
        ]
    frame = bars([row[1] for row in rows], [row[2] for row in rows], [row[0] for row in rows])
    expected: dict[date, list[Any]] = {}
    for day, close, volume in rows:
        week = expected.setdefault(day + timedelta(days=4 - day.weekday()), [0.0, 0.0, 0])
        week[0], week[1], week[2] = close, week[1] + volume, week[2] + 1
    table = compute(frame)["symbol_week"]
    got = {row[0]: list(row[1:]) for row in table.select("week_ending", "close", "volume", "sessions").rows()}
    assert got == expected


def test_adjusted_prices_as_of_a_past_moment(desk: Any, part: Callable[..., Any]) -> None:
    """The view shows the share basis that was known at a moment: before the split the old one, after it the new."""
    frame = {
        "symbol": "A",
        "bars": [
            {"date": str(day), "open": price, "high": price, "low": price, "close": price, "volume": 100 * 80 / price}
            for day, price in zip(sessions(date(2026, 11, 16), date(2026, 11, 20)), (80, 80, 80, 20, 20), strict=True)
        ],
    }
    split = {"symbol": "A", "splits": [{"ex_date": "2026-11-19", "from": 1, "to": 4}]}
    early = {"symbol": "A", "bars": frame["bars"][:3]}
    desk.load("A|mock", part(json.dumps(early).encode()))
    moment = desk.now + timedelta(minutes=1)
    desk.wait(timedelta(hours=1))
    desk.load("A|mock", part(json.dumps(frame).encode()), part(json.dumps(split).encode(), "splits"))
    sql = "SELECT close, volume FROM market_data_prices_adjusted ORDER BY trade_date"
    assert desk.rows(sql) == [(20.0, 400.0)] * 5
    assert desk.rows(sql, moment) == [(80.0, 100.0)] * 3
