"""Verifies rows per symbol and venue against FINRA's own roll-ups per symbol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Part
from market_spine.core.domain import Concern
from spine.domains.finra.otc_transparency import parse
from spine.domains.finra.otc_transparency.schema import ATS, NON_ATS

if TYPE_CHECKING:
    import polars as pl

TOTALS = {ATS: "ATS_TOTALS", NON_ATS: "NON_ATS_TOTALS"}
"""Venue class to the part that holds FINRA's roll-ups of it."""
TOTALS_TYPES = {ATS: "ATS_W_SMBL", NON_ATS: "OTC_W_SMBL"}
"""Venue class to the summaryTypeCode of its roll-ups."""

VERIFIED_BY = "totals_sha256"
"""Metadata of a part of rows: the digest of the roll-ups that were read with it."""
RECORD_TOTAL = "record_total"
"""Metadata of a part: how many records FINRA said there are."""

_SHOWN = 10
"""How many symbols a message names."""
_LEAST, _NOISE = 5e-7, 1e-12
"""Shares have up to six decimals; sums of doubles may differ by less than half of the last, or by this part."""


def check_count(part: Part, rows_read: int) -> tuple[Concern, ...]:
    """A concern, kind ``incomplete``, if a part has another number of rows than FINRA said there are."""
    told = part.metadata.get(RECORD_TOTAL)
    if told is None or int(told) == rows_read:
        return ()
    return (
        Concern(
            kind="incomplete",
            message=f"{part.origin} has {rows_read:,} rows where FINRA counts {int(told):,}",
            hint="fetch it again; market-spine accept CAPTURE takes it as it is",
        ),
    )


def unverified(partition_key: str, parts: Sequence[Part]) -> tuple[Anomaly, ...]:
    """A warning, kind ``unverified``, if FINRA's API had rows of a class but no totals to prove them by."""
    names = [part.name for part in parts if RECORD_TOTAL in part.metadata and VERIFIED_BY not in part.metadata]
    if not names:
        return ()
    message = f"{partition_key}: FINRA has no totals to verify the {' and '.join(names)} rows by"
    return (Anomaly("unverified", "warning", partition_key, message, {"venue_classes": names}),)


def check_totals(rows: pl.DataFrame, part: Part, totals: Part) -> tuple[Concern, ...]:
    """A concern, kind ``totals_disagree``, if the sums per symbol are not FINRA's totals.

    Args:
        rows: rows of ``finra_otc_venue_volume`` of one venue class.
        part: what they were read from.
        totals: FINRA's roll-ups per symbol of the same class, read at the same time.
    """
    import polars as pl

    told = parse.parse_file(totals.data, totals.origin).rows
    wrong = differences(
        rows.select("symbol", "share_volume", "trade_count"),
        told.select(
            parse.SYMBOL,
            pl.col(parse.SHARES).cast(pl.Float64, strict=False),
            pl.col(parse.TRADES).cast(pl.Float64, strict=False),
        ),
    )
    if wrong.is_empty():
        return ()
    named = "; ".join(
        f"{symbol} {shares - shares_told:+,.15g} shares, {trades - trades_told:+,.0f} trades"
        for symbol, shares, trades, shares_told, trades_told in wrong.head(_SHOWN).iter_rows()
    )
    more = f"; and {wrong.height - _SHOWN:,} more" if wrong.height > _SHOWN else ""
    return (
        Concern(
            kind="totals_disagree",
            message=f"{part.origin}: the sums of {wrong.height:,} symbols are not FINRA's own totals: {named}{more}",
            hint="FINRA may be in the middle of an update: run again later; market-spine accept takes it as it is",
        ),
    )


def kept_totals(partition_key: str, wrong: Sequence[Concern]) -> tuple[Anomaly, ...]:
    """What disagreeing with totals that an earlier reading of the API left says of rows from elsewhere: no more
    than that one of the two is newer."""
    return tuple(
        Anomaly(each.kind, "warning", partition_key, f"{each.message} (the totals are those read with earlier rows)")
        for each in wrong
    )


def differences(rows: pl.DataFrame, totals: pl.DataFrame) -> pl.DataFrame:
    """The symbols whose rows do not add up to their totals, sorted.

    Args:
        rows: symbol (String), shares and trades (numbers) of each row, in this order of columns.
        totals: the same of each roll-up; several of one symbol are added up. What has no symbol is left
            out on both sides.

    Returns:
        ``symbol``, ``shares``, ``trades``, ``shares_told``, ``trades_told``; 0 where a side has nothing.
    """
    import polars as pl

    both = (
        _sums(rows)
        .join(_sums(totals), on="symbol", how="full", coalesce=True, suffix="_told")
        .with_columns(pl.col("shares", "trades", "shares_told", "trades_told").fill_null(0.0))
    )
    shares = (pl.col("shares") - pl.col("shares_told")).abs()
    noise = pl.max_horizontal(pl.lit(_LEAST), pl.col("shares_told").abs() * _NOISE)
    return both.filter((shares > noise) | (pl.col("trades") != pl.col("trades_told"))).sort("symbol")


def _sums(rows: pl.DataFrame) -> pl.DataFrame:
    """Shares and trades per symbol; sorted first, since the last bit of a sum depends on the order."""
    import polars as pl

    named = rows.rename(dict(zip(rows.columns, ("symbol", "shares", "trades"), strict=True)))
    named = named.filter(pl.col("symbol").str.strip_chars() != "").cast({"shares": pl.Float64, "trades": pl.Float64})
    ordered = named.sort("symbol", "shares", "trades")
    return ordered.group_by("symbol", maintain_order=True).agg(pl.col("shares", "trades").sum())
