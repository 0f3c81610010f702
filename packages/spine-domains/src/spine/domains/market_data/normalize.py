"""From a vendor's answer to rows: the rules each bar must meet, what was left out, and what is odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING

from market_spine.core.capture import Part
from market_spine.core.domain import CoversRange, Normalized, Range
from market_spine.core.partition import Partition
from market_spine.errors import ContentError
from spine.domains.market_data import quality, vendors
from spine.domains.market_data.parse import day
from spine.domains.market_data.partitions import symbol_and_source
from spine.domains.market_data.schema import DIVIDENDS, PRICES, SPLITS
from spine.domains.market_data.vendors import FETCHED_AT, LATEST, SPLIT_DATES

if TYPE_CHECKING:
    import polars as pl

_VALUES = ("open", "high", "low", "close", "volume", "vwap", "trade_count")


def normalize_payload(partition: Partition, parts: Sequence[Part]) -> Normalized:
    """Read a payload into rows of the tables that it has parts of.

    Bars of a session that was not over when they were fetched are left out and noted; those of sessions after
    the latest wanted one, which a source without ranges sends along, are left out. The payload covers the range from
    the first to the last accepted bar.

    Raises:
        ContentError: as the vendor's parser does; ``conflicting_bars`` if two bars of one session differ,
            ``no_bars`` if no bar is left.
    """
    import polars as pl

    symbol, name = symbol_and_source(partition)
    source = vendors.load(name)
    groups = {kind: [part for part in parts if part.name.partition("-")[0] == kind] for kind in _KINDS}
    checked = pl.concat([_checked(source, part, symbol) for part in groups[vendors.BARS]])
    partial_days = checked.filter("partial")["trade_date"].unique().sort().to_list()
    complete = checked.filter(~pl.col("partial"))
    refused = complete.filter(pl.col("rule").is_not_null()).select("part", "line", "rule", "raw")
    bars, duplicates = _unique(complete.filter(pl.col("rule").is_null()), partition)
    if bars.is_empty():
        raise ContentError(
            f"{partition.key}: none of {checked.height} bars can be used"
            + (f": the session of {partial_days[-1]} was not over" if partial_days else ""),
            hint="run again after the session's close",
            kind="no_bars",
        )
    tables = {PRICES.name: _owned(bars, partition).select(PRICES.names)}
    for table, kind, read in (
        (SPLITS, vendors.SPLITS, source.parse_splits),
        (DIVIDENDS, vendors.DIVIDENDS, source.parse_dividends),
    ):
        if groups[kind]:
            frame = pl.concat([read(part, symbol) for part in groups[kind]]).unique(keep="first", maintain_order=True)
            tables[table.name] = _owned(frame, partition).select(table.names).sort(table.key)
    latest, splits = _metadata(groups[vendors.BARS])
    if SPLITS.name in tables:
        splits = tables[SPLITS.name]["ex_date"].to_list()
    noted = quality.partial_bars(partition.key, partial_days)
    return Normalized(
        tables=tables,
        rejects=refused.sort("part", "line"),
        rows_read=bars.height + refused.height + duplicates,
        duplicates=duplicates,
        anomalies=(*quality.odd_series(partition.key, bars, latest, splits), *([noted] if noted else [])),
        grows=True,
        review=partial(quality.uniform_restatement, partition.key),
        partial=CoversRange({PRICES.name: Range("trade_date", bars["trade_date"][0], bars["trade_date"][-1])}),
    )


_KINDS = (vendors.BARS, vendors.SPLITS, vendors.DIVIDENDS)


def _checked(source: vendors.PriceSource, part: Part, symbol: str) -> pl.DataFrame:
    """A part's wanted bars with ``part``, ``partial`` and the ``rule`` they break; odd extras are null."""
    import polars as pl

    fetched_at = datetime.fromisoformat(part.metadata[FETCHED_AT])
    frame = source.parse_bars(part, symbol).frame
    if latest := day(part.metadata.get(LATEST)):
        closed = pl.col("trade_date") <= quality.latest_session(fetched_at)
        frame = frame.filter(((pl.col("trade_date") > latest) & closed).not_().fill_null(value=True))
    count = pl.col("trade_count")
    return frame.with_columns(
        pl.lit(part.name).alias("part"),
        quality.is_partial(fetched_at).fill_null(value=False).alias("partial"),
        quality.broken_rule(quality.sessions_of(frame["trade_date"]), fetched_at),
        pl.when(pl.col("vwap") > 0).then(pl.col("vwap")).alias("vwap"),
        pl.when((count >= 0) & (count < 2**53)).then(count).cast(pl.Int64).alias("trade_count"),
        # Adding zero makes -0 the same as 0.
        pl.col("volume") + 0.0,
    )


def _unique(bars: pl.DataFrame, partition: Partition) -> tuple[pl.DataFrame, int]:
    """One bar a session, sorted, and how many exact repetitions were dropped."""
    names = ["trade_date", *_VALUES]
    distinct = bars.unique(names, keep="first", maintain_order=True)
    repeated = distinct.filter(distinct["trade_date"].is_duplicated())["trade_date"].unique().sort()
    if repeated.len():
        raise ContentError(
            f"{partition.key}: two bars of {repeated[0]} differ",
            hint="run again later; vendors answer so near midnight in New York",
            kind="conflicting_bars",
        )
    return distinct.sort("trade_date"), bars.height - distinct.height


def _owned(frame: pl.DataFrame, partition: Partition) -> pl.DataFrame:
    import polars as pl

    symbol, source = symbol_and_source(partition)
    return frame.with_columns(pl.lit(symbol).alias("symbol"), pl.lit(source).alias("source"))


def _metadata(parts: Sequence[Part]) -> tuple[date | None, list[date]]:
    """The latest session that could be had, and the splits on file, as the source noted them."""
    facts: Mapping[str, str] = {name: value for part in parts for name, value in part.metadata.items()}
    splits = [found for text in facts.get(SPLIT_DATES, "").split(",") if (found := day(text))]
    return day(facts.get(LATEST)), splits
