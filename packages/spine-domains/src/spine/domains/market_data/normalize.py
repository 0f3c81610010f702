"""From a vendor's answer to rows: the rules each bar must meet, what was left out, and what is odd."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING

from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Part
from market_spine.core.domain import CoversRange, Normalized, Range
from market_spine.core.partition import Partition
from market_spine.errors import ContentError
from spine.domains.market_data import quality, vendors
from spine.domains.market_data.agreement import noted_ratios, ratios_of, settle_splits, shown
from spine.domains.market_data.parse import day
from spine.domains.market_data.partitions import symbol_and_source
from spine.domains.market_data.schema import DIVIDENDS, PRICES, SPLITS
from spine.domains.market_data.thresholds import BarPlausibility
from spine.domains.market_data.vendors import FETCHED_AT, LATEST, SPLIT_RATIOS

if TYPE_CHECKING:
    import polars as pl

_VALUES = ("open", "high", "low", "close", "volume", "vwap", "trade_count")


def normalize_payload(partition: Partition, parts: Sequence[Part], rules: BarPlausibility) -> Normalized:
    """Read a payload into rows of the tables that it has parts of.

    Bars of a session that was not over when they were fetched are left out and noted; those of sessions after
    the latest wanted one, which a source without ranges sends along, are left out. The payload covers the range from
    the first to the last accepted bar.

    Args:
        partition: a symbol's.
        parts: what the source answered.
        rules: the thresholds in effect.

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
    broken = complete.filter(pl.col("rule").is_not_null())
    refused = broken.select("part", "line", "rule", "raw")
    bars, duplicates = _unique(complete.filter(pl.col("rule").is_null()), partition)
    if bars.is_empty():
        raise ContentError(
            f"{partition.key}: none of {checked.height} bars can be used"
            + (f": the session of {partial_days[-1]} was not over" if partial_days else ""),
            hint="run again after the session's close",
            kind="no_bars",
        )
    latest, ratios = _metadata(groups[vendors.BARS])
    tables = {PRICES.name: _owned(bars, partition).select(PRICES.names)}
    last = bars["trade_date"][-1]
    anomalies = [quality.stale(partition.key, last, latest)] if latest is not None and last < latest else []
    for table, read in ((SPLITS, _splits), (DIVIDENDS, _dividends)):
        frame, odd = read(source, partition, groups[_PART[table.name]], bars)
        anomalies += odd
        if frame is not None:
            tables[table.name] = _owned(frame, partition).select(table.names).sort(table.key)
    if SPLITS.name in tables:
        ratios = ratios_of(tables[SPLITS.name])
    noted = quality.partial_bars(partition.key, partial_days)
    concern = quality.far_bar(rules, partition.key, bars, ratios)
    return Normalized(
        tables=tables,
        rejects=refused.sort("part", "line"),
        rows_read=bars.height + refused.height + duplicates,
        duplicates=duplicates,
        concerns=(concern,) if concern else (),
        anomalies=(*anomalies, *([noted] if noted else [])),
        review=partial(quality.review_restatement, rules, partition.key, bars.height),
        partial=CoversRange({PRICES.name: Range("trade_date", bars["trade_date"][0], bars["trade_date"][-1])}),
        refused={PRICES.name: _owned(broken.filter(pl.col("trade_date").is_not_null()), partition).select(PRICES.key)},
    )


def review_partition(partition: Partition, tables: Mapping[str, pl.DataFrame]) -> list[Anomaly]:
    """What is odd about all that is known of a symbol."""
    ratios = ratios_of(tables[SPLITS.name])
    return quality.review_series(partition.key, tables[PRICES.name].sort("trade_date"), ratios)


_KINDS = (vendors.BARS, vendors.SPLITS, vendors.DIVIDENDS)
_PART = {SPLITS.name: vendors.SPLITS, DIVIDENDS.name: vendors.DIVIDENDS}


def _splits(
    source: vendors.PriceSource, partition: Partition, parts: Sequence[Part], bars: pl.DataFrame
) -> tuple[pl.DataFrame | None, list[Anomaly]]:
    """The splits of an answer, one a day, and what is odd about them; None where they cannot be relied on."""
    symbol, _ = symbol_and_source(partition)
    frame, odd = _read(partition, parts, lambda part: source.parse_splits(part, symbol))
    if frame is None:
        return None, odd
    settled, conflicts = settle_splits(bars, frame)
    if conflicts:
        named = "; ".join(f"{day}: {' and '.join(map(shown, ratios))}" for day, ratios in conflicts.items())
        kept = "none of the answer's splits is taken" if settled is None else "the one that prices show is taken"
        details = {day.isoformat(): ratios for day, ratios in conflicts.items()}
        message = f"the source reports different splits of one day, and {kept}: {named}"
        odd.append(Anomaly("conflicting_splits", "warning", partition.key, message, details))
    return settled, odd


def _dividends(
    source: vendors.PriceSource, partition: Partition, parts: Sequence[Part], bars: pl.DataFrame
) -> tuple[pl.DataFrame | None, list[Anomaly]]:
    """The dividends of an answer, those of one day, kind and currency summed, and what is odd about them."""
    import polars as pl

    symbol, _ = symbol_and_source(partition)
    frame, odd = _read(partition, parts, lambda part: source.parse_dividends(part, symbol))
    if frame is None:
        return None, odd
    keys = ["ex_date", "kind", "currency"]
    listed = frame.sort(*keys, "amount").group_by(keys, maintain_order=True).agg("amount")
    several = listed.filter(pl.col("amount").list.len() > 1)
    if several.height:
        told = {f"{day} {kind}": amounts for day, kind, _, amounts in several.rows()}
        named = "; ".join(f"{what}: {' and '.join(f'{amount:g}' for amount in told[what])}" for what in told)
        message = f"the source reports different dividends of one day and kind; they are added up: {named}"
        odd.append(Anomaly("conflicting_dividends", "warning", partition.key, message, told))
    return listed.with_columns(pl.col("amount").list.sum()), odd


def _read(
    partition: Partition, parts: Sequence[Part], read: Callable[[Part], pl.DataFrame]
) -> tuple[pl.DataFrame | None, list[Anomaly]]:
    """All parts of one kind, read; None if there are none, or if one cannot be read, which is told."""
    import polars as pl

    if not parts:
        return None, []
    try:
        return pl.concat([read(part) for part in parts]).unique(maintain_order=True), []
    except ContentError as error:
        message = f"an answer about splits or dividends is left out: {error.message}"
        return None, [Anomaly("unread_actions", "warning", partition.key, message)]


def _checked(source: vendors.PriceSource, part: Part, symbol: str) -> pl.DataFrame:
    """A part's wanted bars with ``part``, ``partial`` and the ``rule`` they break; odd extras are null."""
    import polars as pl

    fetched_at = datetime.fromisoformat(part.metadata[FETCHED_AT])
    frame = source.parse_bars(part, symbol).frame
    if latest := day(part.metadata.get(LATEST)):
        closed = pl.col("trade_date") <= quality.latest_session(fetched_at)
        frame = frame.filter(((pl.col("trade_date") > latest) & closed).not_().fill_null(value=True))
    return quality.as_stored(frame).with_columns(
        pl.lit(part.name).alias("part"),
        quality.is_partial(fetched_at).fill_null(value=False).alias("partial"),
        quality.broken_rule(quality.sessions_of(frame["trade_date"]), fetched_at),
    )


def _unique(bars: pl.DataFrame, partition: Partition) -> tuple[pl.DataFrame, int]:
    """One bar a session, sorted, and how many exact repetitions were dropped."""
    names = ["trade_date", *_VALUES]
    distinct = bars.unique(names, keep="first", maintain_order=True)
    repeated = distinct.filter(distinct["trade_date"].is_duplicated())["trade_date"].unique().sort()
    if repeated.len():
        raise quality.conflict(partition.key, repeated[0])
    return distinct.sort("trade_date"), bars.height - distinct.height


def _owned(frame: pl.DataFrame, partition: Partition) -> pl.DataFrame:
    import polars as pl

    symbol, source = symbol_and_source(partition)
    return frame.with_columns(pl.lit(symbol).alias("symbol"), pl.lit(source).alias("source"))


def _metadata(parts: Sequence[Part]) -> tuple[date | None, dict[date, float]]:
    """The latest session that could be had, and the splits on file, as the source noted them."""
    facts: Mapping[str, str] = {name: value for part in parts for name, value in part.metadata.items()}
    return day(facts.get(LATEST)), noted_ratios(facts.get(SPLIT_RATIOS, ""))
