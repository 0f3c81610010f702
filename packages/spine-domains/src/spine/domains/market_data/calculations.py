"""What is computed from bars and corporate actions. Frames in, frames out; everything is per partition.

Sums run over a fixed order of columns or over frames sorted by key, so equal rows give equal bits however much
history surrounds them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, timedelta
from functools import reduce
from itertools import pairwise
from operator import add
from typing import TYPE_CHECKING

from market_spine.core import calendar
from market_spine.core.partition import Partition
from spine.domains.market_data.agreement import judge_splits, ratios_of
from spine.domains.market_data.schema import ADJUSTMENTS, DIVIDENDS, PRICES, PRICES_DAILY, SPLITS, SYMBOL_WEEK

if TYPE_CHECKING:
    import polars as pl

WINDOW = 20
"""Bars in the rolling average and volatility: about a month of sessions."""
SESSIONS_PER_YEAR = 252


def compute_prices(partition: Partition, tables: Mapping[str, pl.DataFrame]) -> Mapping[str, pl.DataFrame]:
    """All calculated tables of a partition from its bars, splits and dividends."""
    bars = tables[PRICES.name].sort("trade_date")
    splits = confirmed_splits(bars, tables[SPLITS.name])
    adjustments = compute_adjustments(bars, splits, tables[DIVIDENDS.name])
    factored = bars.join_asof(
        adjustments.select("first_date", "split_factor").sort("first_date"),
        left_on="trade_date",
        right_on="first_date",
    )
    return {
        ADJUSTMENTS.name: _owned(adjustments, partition).select(ADJUSTMENTS.names),
        PRICES_DAILY.name: compute_daily(factored).select(PRICES_DAILY.names),
        SYMBOL_WEEK.name: compute_weeks(factored).select(SYMBOL_WEEK.names),
    }


def confirmed_splits(bars: pl.DataFrame, splits: pl.DataFrame) -> dict[date, float]:
    """Ex-date to ratio (new shares for one old) of the splits to apply: those that prices agree with.

    A split counts from its ex-date on, once there is a bar. Vendors report splits that never were, of another
    ratio, or on a wrong day: such a one is not applied.
    """
    ratios = ratios_of(splits)
    return {day: ratios[day] for judged in judge_splits(bars, ratios) if judged.agrees for day in judged.days}


def compute_adjustments(bars: pl.DataFrame, splits: Mapping[date, float], dividends: pl.DataFrame) -> pl.DataFrame:
    """The intervals between corporate actions with the factors that bring prices to the latest bar's basis.

    Columns ``first_date``, ``last_date``, ``split_factor``, ``dividend_factor``, oldest first. A dividend's factor
    is 1 - amount / the close of the bar before its ex-date (the method of CRSP), with all dividends of a day taken
    together and the close on that day's share basis. One without such a bar, not smaller than that close, or not
    in USD does not count.
    """
    import polars as pl

    schema = {"first_date": pl.Date, "last_date": pl.Date, "split_factor": pl.Float64, "dividend_factor": pl.Float64}
    if bars.is_empty():
        return pl.DataFrame(schema=schema)
    first, last = bars["trade_date"][0], bars["trade_date"][-1]
    paid = _dividend_factors(bars, splits, dividends)
    events = sorted(day for day in {*splits, *paid} if first < day <= last)
    rows: list[tuple[date, date, float, float]] = []
    split_factor = dividend_factor = 1.0
    end = last
    for day in reversed(events):
        rows.append((day, end, split_factor, dividend_factor))
        split_factor /= splits.get(day, 1.0)
        dividend_factor *= paid.get(day, 1.0)
        end = day - timedelta(days=1)
    rows.append((first, end, split_factor, dividend_factor))
    return pl.DataFrame(rows[::-1], schema=schema, orient="row")


def _dividend_factors(bars: pl.DataFrame, splits: Mapping[date, float], dividends: pl.DataFrame) -> dict[date, float]:
    """Ex-date to factor of the dividends to apply."""
    import polars as pl

    days, closes = bars["trade_date"].to_list(), bars["close"].to_list()
    paid = dividends.filter(pl.col("currency") == "USD").sort("ex_date", "kind")
    amounts: dict[date, float] = {}
    for ex_date, amount in paid.select("ex_date", "amount").rows():
        amounts[ex_date] = amounts.get(ex_date, 0.0) + amount
    found: dict[date, float] = {}
    for ex_date, amount in amounts.items():
        after = next((place for place, day in enumerate(days) if day >= ex_date), None)
        if not after:
            continue
        ratio = math.prod(ratio for day, ratio in splits.items() if days[after - 1] < day <= ex_date)
        close = closes[after - 1] / ratio
        if amount < close:
            found[ex_date] = 1 - amount / close
    return found


def compute_daily(bars: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``market_data_prices_daily`` from bars with ``split_factor``, sorted by session."""
    import polars as pl

    close, factor, volume = pl.col("close"), pl.col("split_factor"), pl.col("volume")
    previous = close.shift(1) * (factor.shift(1) / factor)
    daily = bars.with_columns(
        previous.alias("previous_close"),
        (close / previous - 1).alias("return"),
        (close / previous).log().alias("log_return"),
        (pl.coalesce("vwap", "close") * volume).alias("dollar_volume"),
        # Shares of the latest basis; divided by the session's own factor below.
        (volume / factor).alias("comparable"),
        _sessions_missing(bars["trade_date"]),
    )
    # The mean stands in a column of its own, or it would be worked out again for each value of its window.
    with_mean = daily.with_columns(_mean("comparable").alias("mean_volume"), _mean("log_return").alias("mean_return"))
    squares = [(value - pl.col("mean_return")) ** 2 for value in _window("log_return")]
    return with_mean.with_columns(
        (pl.col("mean_volume") * factor).alias("average_volume_20"),
        ((reduce(add, squares) / (WINDOW - 1)).sqrt() * math.sqrt(SESSIONS_PER_YEAR)).alias("realised_volatility_20"),
    )


def _window(name: str) -> list[pl.Expr]:
    """The last 20 values of a column, oldest first."""
    import polars as pl

    return [pl.col(name).shift(back) for back in reversed(range(WINDOW))]


def _mean(name: str) -> pl.Expr:
    """Mean of the last 20 values, null under 20: each window is summed by itself, oldest first.

    Additions one by one, since ``sum_horizontal`` adds in whatever order its threads come.
    """
    return reduce(add, _window(name)) / WINDOW


def _sessions_missing(days: pl.Series) -> pl.Series:
    """How many sessions lie between each day and the one before it in the series."""
    import polars as pl

    listed = days.to_list()
    if not listed:
        return pl.Series("sessions_missing", [], dtype=pl.Int64)
    place = {day: number for number, day in enumerate(calendar.sessions(listed[0], listed[-1]))}
    missing = [0, *(place[day] - place[before] - 1 for before, day in pairwise(listed))]
    return pl.Series("sessions_missing", missing, dtype=pl.Int64)


def compute_weeks(bars: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``market_data_symbol_week`` from bars with ``split_factor``, sorted by session."""
    import polars as pl

    friday = pl.col("trade_date").dt.truncate("1w").dt.offset_by("4d").alias("week_ending")
    with_week = bars.with_columns(friday)
    basis = pl.col("split_factor") / pl.col("split_factor").last().over("week_ending")
    same = with_week.sort("trade_date").with_columns(
        *((pl.col(name) * basis).alias(f"{name}_same") for name in ("open", "high", "low", "vwap")),
        (pl.col("volume") / basis).alias("volume_same"),
    )
    turnover = pl.col("vwap_same") * pl.col("volume_same")
    weeks = same.group_by("week_ending", maintain_order=True).agg(
        pl.col("symbol", "source").first(),
        pl.col("open_same").first().alias("open"),
        pl.col("high_same").max().alias("high"),
        pl.col("low_same").min().alias("low"),
        pl.col("close", "split_factor").last(),
        pl.col("volume").sum(),
        pl.when(pl.col("vwap").is_not_null().all() & (pl.col("volume_same").sum() > 0))
        .then(turnover.sum() / pl.col("volume_same").sum())
        .alias("vwap"),
        pl.len().cast(pl.Int64).alias("sessions"),
    )
    before = pl.col("close").shift(1) * (pl.col("split_factor").shift(1) / pl.col("split_factor"))
    follows = pl.col("week_ending").shift(1).dt.offset_by("7d") == pl.col("week_ending")
    expected = [calendar.sessions_between(week - timedelta(days=4), week) for week in weeks["week_ending"]]
    return weeks.with_columns(
        pl.when(follows).then(pl.col("close") / before - 1).alias("return"),
        (pl.col("sessions") == pl.Series(expected, dtype=pl.Int64)).alias("is_complete"),
    )


def _owned(frame: pl.DataFrame, partition: Partition) -> pl.DataFrame:
    import polars as pl

    symbol, source = partition.values
    return frame.with_columns(pl.lit(symbol).alias("symbol"), pl.lit(source).alias("source"))
