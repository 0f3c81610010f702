"""What is computed from the venue rows: per week and tier, and over six weeks. Pure functions of frames.

Every result is bit-identical whatever the order of the rows, their chunks or the number of threads, since
nothing that depends on them is ever rounded: volumes are counted in whole micro-shares (FINRA publishes
up to six decimals), sums of those and of their squares are exact integers, and each figure is rounded by a
fixed sequence of operations from there on. A volume shown in shares is the double nearest the exact sum up to
9e9 shares, for whole shares up to 5e11, and at most one unit in the last place off beyond.

Definitions and their sources: ``docs/data-dictionary.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from functools import cache, reduce

import polars as pl

from market_spine.core.calendar import sessions_between
from market_spine.core.order import ascending
from market_spine.core.partition import Partition
from market_spine.core.schema import Table
from market_spine.errors import ContentError
from spine.domains.finra.otc_transparency.partitions import ROLLING_WEEKS, week_and_tier
from spine.domains.finra.otc_transparency.schema import (
    ATS,
    DE_MINIMIS,
    MARKET_WEEK,
    NON_ATS,
    SYMBOL_ROLLING,
    SYMBOL_WEEK,
    TRADING_DAYS,
    VENUE_CLASSES,
    VENUE_VOLUME,
    VENUE_WEEK,
)

_MICRO = 10**6
_LIMIT = 2**63 - 1
"""Most micro-shares of a partition: its sums fit Int64 and the square of any of them Int128."""
_TRADES_LIMIT = 2**53
"""Most trades of a partition: all its sums are whole doubles, too, and six of them fit Int64."""
_FLAT = 0.05
"""A change against the earlier mean of at most this size counts as flat."""
_Z_WEEKS = 4
"""Fewest earlier weeks that make a z-score."""
_DTYPES: dict[str, type[pl.DataType]] = {
    "text": pl.String,
    "integer": pl.Int64,
    "float": pl.Float64,
    "date": pl.Date,
    "boolean": pl.Boolean,
}


def compute_week(partition: Partition, tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Compute the tables of one week and tier from its venue rows.

    Args:
        partition: the week and tier.
        tables: ``finra_otc_venue_volume`` with the partition's rows. A leg (ATS, NON_ATS) without a row
            counts as not known.

    Returns:
        ``finra_otc_symbol_week``, ``finra_otc_venue_week``, ``finra_otc_market_week`` and
        ``finra_otc_trading_days``: columns and types as declared, sorted by key.

    Raises:
        ContentError: kind ``volume_overflow``, if the partition adds up to more than can be summed exactly.
        MarketSpineError: kind ``calendar_range``, if the week is outside the NYSE calendar.
    """
    rows = tables[VENUE_VOLUME.name]
    _check_totals(partition, rows)
    present = set(rows["venue_class"].unique())
    legs = [leg for leg in VENUE_CLASSES if leg in present]
    venues = _sum_venues(rows)
    whole = venues.group_by("venue_class", "venue_id").agg(pl.col("micro", "trade_count").sum(), symbol_count=pl.len())
    symbol_week = _symbol_week(venues, legs)
    frames = {
        SYMBOL_WEEK: symbol_week,
        VENUE_WEEK: _venue_week(whole, rows),
        MARKET_WEEK: _market_week(whole, venues),
        TRADING_DAYS: _trading_days(symbol_week, week_and_tier(partition)[0]),
    }
    return {table.name: _declared(frame, table, partition) for table, frame in frames.items()}


def compute_symbol_rolling(partition: Partition, present: Sequence[Partition], rows: pl.DataFrame) -> pl.DataFrame:
    """Compute the six calendar weeks that end with the partition's, for each symbol of its own week.

    Args:
        partition: the last week of the window, and the tier.
        present: those of the window's six partitions that are known.
        rows: their rows of ``finra_otc_symbol_week``: week_ending (Date), tier, symbol, legs (String),
            share_volume (Float64, shares), trade_count (Int64).

    Returns:
        ``finra_otc_symbol_rolling``: columns and types as declared, sorted by key.
    """
    week_ending, _ = week_and_tier(partition)
    frame = _weeks_side_by_side(rows, week_ending).with_columns(
        *_window_statistics(),
        *_changes(),
        share_volume=pl.col("share_volume_0"),
        trade_count=pl.col("trade_count_0"),
        is_complete=pl.lit(len(set(present)) == ROLLING_WEEKS),
        same_legs=pl.lit(rows["legs"].n_unique() <= 1),
    )
    return _declared(frame.with_columns(direction=_direction()), SYMBOL_ROLLING, partition)


def _check_totals(partition: Partition, rows: pl.DataFrame) -> None:
    """Refuse volumes whose sums would overflow: 9e12 shares, some 200 times what all venues report."""
    shares, trades = rows.select(
        _micro("share_volume").cast(pl.Int128).sum(), pl.col("trade_count").cast(pl.Int128).sum()
    ).row(0)
    if shares > _LIMIT or trades > _TRADES_LIMIT:
        raise ContentError(
            f"{partition.key} adds up to {shares // _MICRO:,} shares in {trades:,} trades, which no week can",
            kind="volume_overflow",
            hint=f"look for absurd rows in {VENUE_VOLUME.name}, and load a corrected file",
        )


# --- one week -------------------------------------------------------------------------------------


def _sum_venues(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per symbol and venue: FINRA may split one by product type or issue name."""
    key = ("venue_class", "venue_id", "symbol")
    venues = rows.select(*key, "trade_count", micro=_micro("share_volume"))
    # In the order of their keys, as they mostly are, rows that none shares need not be grouped.
    if ascending(venues, key):
        return venues
    return venues.group_by(key).agg(pl.col("micro", "trade_count").sum())


def _symbol_week(venues: pl.DataFrame, legs: Sequence[str]) -> pl.DataFrame:
    attributed = pl.col("venue_id") != DE_MINIMIS
    on_ats = pl.col("venue_class") == ATS
    totals = _concentration(
        venues.with_columns(ats=pl.when(on_ats).then("micro").otherwise(0)), "symbol", pl.col("ats").sum()
    )
    tops = (
        venues.filter(attributed)
        .filter(pl.col("micro") == pl.col("micro").max().over("symbol"))
        .group_by("symbol")
        .agg(pl.col("venue_id").min().alias("top_venue_id"), pl.col("micro").first().alias("top"))
    )
    there = {leg: leg in legs for leg in VENUE_CLASSES}
    traded = pl.col("micro") != 0
    return totals.join(tops, on="symbol", how="left").with_columns(
        legs=pl.lit("+".join(legs)),
        ats_share_volume=pl.when(pl.lit(there[ATS])).then(_shares(pl.col("ats"))),
        non_ats_share_volume=pl.when(pl.lit(there[NON_ATS])).then(_shares(pl.col("micro") - pl.col("ats"))),
        top_venue_id=pl.when(traded).then("top_venue_id"),
        top_venue_share=_ratio(pl.col("top"), pl.col("micro")),
        hhi_upper=_ratio(pl.col("squares") + _square(pl.col("micro") - pl.col("attributed")), _square(pl.col("micro"))),
    )


def _venue_week(whole: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    names = rows.group_by("venue_class", "venue_id").agg(pl.col("venue_name").max())
    ranked = pl.when(pl.col("venue_id") != DE_MINIMIS).then("micro")
    return whole.join(names, on=["venue_class", "venue_id"]).with_columns(
        share_volume=_shares(pl.col("micro")),
        average_trade_size=_average_trade_size(),
        market_share=_ratio(pl.col("micro"), pl.col("micro").sum().over("venue_class")),
        volume_rank=ranked.rank("min", descending=True).over("venue_class"),
    )


def _market_week(whole: pl.DataFrame, venues: pl.DataFrame) -> pl.DataFrame:
    symbols = venues.group_by("venue_class").agg(pl.col("symbol").n_unique().alias("symbol_count"))
    top5 = (
        whole.filter(pl.col("venue_id") != DE_MINIMIS)
        .group_by("venue_class")
        .agg(pl.col("micro").top_k(5).sum().alias("top5"))
    )
    return (
        _concentration(whole, "venue_class")
        .join(symbols, on="venue_class")
        .join(top5, on="venue_class", how="left")
        .with_columns(top5_share=_ratio(pl.col("top5").fill_null(0), pl.col("micro")))
    )


def _trading_days(symbol_week: pl.DataFrame, friday: date) -> pl.DataFrame:
    days = sessions_between(friday - timedelta(days=4), friday)
    return symbol_week.select(
        "symbol",
        "share_volume",
        trading_days=pl.lit(days),
        share_volume_per_day=_quotient(pl.col("share_volume"), _every_row(days)),
    )


def _concentration(venues: pl.DataFrame, by: str, *more: pl.Expr) -> pl.DataFrame:
    """Totals per ``by``, and the Herfindahl-Hirschman index of its attributed venues.

    ``squares`` (Int128, square micro-shares) and ``attributed`` (Int64, micro-shares) are added for further
    figures. The denominator is the whole volume, so without attributed venues the index is 0.
    """
    attributed = pl.col("venue_id") != DE_MINIMIS
    return (
        venues.with_columns(known=attributed, attributed=pl.when(attributed).then("micro").otherwise(0))
        .with_columns(squares=_square(pl.col("attributed")))
        .group_by(by)
        .agg(
            pl.col("micro", "trade_count", "attributed", "squares").sum(),
            *more,
            venue_count=pl.col("known").sum(),
        )
        .with_columns(
            share_volume=_shares(pl.col("micro")),
            average_trade_size=_average_trade_size(),
            hhi=_ratio(pl.col("squares"), _square(pl.col("micro"))),
        )
        .with_columns(effective_venues=_ratio(_every_row(1.0), pl.col("hhi")))
    )


# --- six weeks ------------------------------------------------------------------------------------

_OLDEST_FIRST = range(ROLLING_WEEKS - 1, -1, -1)
_BEFORE = range(ROLLING_WEEKS - 1, 0, -1)
"""Lags in weeks behind the window's last, in the order in which they are added up."""


def _weeks_side_by_side(rows: pl.DataFrame, last: date) -> pl.DataFrame:
    """One row per symbol of the last week: share_volume, micro and trade_count of each lag 0 to 5.

    ``weeks_before`` and ``micro_before`` are the count and the sum of those of lags 1 to 5.
    """

    def week(lag: int) -> pl.DataFrame:
        return rows.filter(pl.col("week_ending") == last - timedelta(weeks=lag)).select(
            "symbol",
            pl.col("share_volume").alias(f"share_volume_{lag}"),
            _micro("share_volume").cast(pl.Int128).alias(f"micro_{lag}"),
            pl.col("trade_count").alias(f"trade_count_{lag}"),
        )

    frame = week(0)
    for lag in _BEFORE:
        frame = frame.join(week(lag), on="symbol", how="left")
    before = [pl.col(f"micro_{lag}") for lag in _BEFORE]
    return frame.with_columns(weeks_before=_count(before), micro_before=_total(before))


@cache
def _window_statistics() -> list[pl.Expr]:
    volumes = [pl.col(f"share_volume_{lag}") for lag in _OLDEST_FIRST]
    trades = [pl.col(f"trade_count_{lag}") for lag in _OLDEST_FIRST]
    weeks = _count(volumes)
    micro = _total(pl.col(f"micro_{lag}") for lag in _OLDEST_FIRST)
    return [
        weeks.alias("weeks_in_window"),
        _ratio(micro, weeks * _MICRO).alias("volume_mean"),
        pl.min_horizontal(volumes).alias("volume_min"),
        pl.max_horizontal(volumes).alias("volume_max"),
        _ratio(_total(trades), weeks).alias("trades_mean"),
        pl.min_horizontal(trades).alias("trades_min"),
        pl.max_horizontal(trades).alias("trades_max"),
    ]


@cache
def _changes() -> list[pl.Expr]:
    """Changes and z-score of the last week against the weeks before it.

    With S the sum of the n earlier volumes, V - S / n is carried as n V - S: an exact integer.
    """
    now, previous = pl.col("micro_0"), pl.col("micro_1")
    weeks, total = pl.col("weeks_before"), pl.col("micro_before")
    excess = weeks * now - total
    deviations = [(weeks * pl.col(f"micro_{lag}") - total).cast(pl.Float64) for lag in _BEFORE]
    squares = _total(deviation * deviation for deviation in deviations)
    z = _quotient(excess, _quotient(squares, weeks - 1).sqrt())
    return [
        _ratio(now - previous, previous).alias("volume_change"),
        _ratio(excess, total).alias("volume_change_mean"),
        pl.when((weeks >= _Z_WEEKS) & (squares > 0)).then(z).alias("volume_z"),
    ]


@cache
def _direction() -> pl.Expr:
    change = pl.col("volume_change_mean")
    return (
        pl.when(change > _FLAT)
        .then(pl.lit("up"))
        .when(change < -_FLAT)
        .then(pl.lit("down"))
        .when(change.is_not_null())
        .then(pl.lit("flat"))
    )


# --- exact arithmetic -----------------------------------------------------------------------------


def _micro(shares: str) -> pl.Expr:
    """Micro-shares (Int64) of a column of shares below 1e12: exact for whole shares up to 5e11."""
    return (pl.col(shares) * _MICRO).round().cast(pl.Int64)


def _shares(micro: pl.Expr) -> pl.Expr:
    """Shares (Float64) of whole micro-shares."""
    return _quotient(micro, _every_row(_MICRO))


def _square(micro: pl.Expr) -> pl.Expr:
    wide = micro.cast(pl.Int128)
    return wide * wide


def _ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """The quotient (Float64); null where the denominator is 0 or either is null."""
    return pl.when(denominator != 0).then(_quotient(numerator, denominator))


def _quotient(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """The doubles' quotient, rounded once; both have a value for each row.

    Polars divides by a column of one row as by a literal: it multiplies by the reciprocal, which rounds twice, so
    that 49 / 49 is 0.9999999999999999. A row more makes it divide.
    """
    above, below = numerator.cast(pl.Float64), denominator.cast(pl.Float64)
    return (above.extend_constant(0.0, 1) / below.extend_constant(1.0, 1)).head(pl.len())


def _every_row(value: float) -> pl.Expr:
    return pl.repeat(value, pl.len())


def _average_trade_size() -> pl.Expr:
    return _ratio(_shares(pl.col("micro")), pl.col("trade_count"))


def _count(values: Iterable[pl.Expr]) -> pl.Expr:
    """How many of the columns are not null in a row (Int64)."""
    return _total(value.is_not_null().cast(pl.Int64) for value in values)


def _total(values: Iterable[pl.Expr]) -> pl.Expr:
    """The row's sum of columns of one type, strictly from left to right, null counting as 0."""
    return reduce(lambda left, right: left + right, (value.fill_null(0) for value in values))


def _declared(frame: pl.DataFrame, table: Table, partition: Partition) -> pl.DataFrame:
    """The table's columns, typed and ordered as declared, sorted by key."""
    week_ending, tier = week_and_tier(partition)
    within = [name for name in table.key if name not in table.partition_by]
    return (
        frame.sort(within)
        .with_columns(week_ending=pl.lit(week_ending), tier=pl.lit(tier))
        .select(pl.col(column.name).cast(_DTYPES[column.kind]) for column in table.columns)
    )
