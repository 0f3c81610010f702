"""FINRA's roll-ups, computed exactly from the rows per symbol and participant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

SYMBOL_FIRM = ("ATS_W_SMBL_FIRM", "OTC_W_SMBL_FIRM")
"""The rows that everything else is a sum of."""

_PARTITION = ("weekStartDate", "summaryStartDate", "tierIdentifier", "tierDescription", "initialPublishedDate")
_SYMBOL = ("issueSymbolIdentifier", "issueName")
_FIRM = ("MPID", "firmCRDNumber", "marketParticipantName")


def per_symbol(rows: pl.DataFrame, product: pl.Expr) -> pl.DataFrame:
    """``ATS_W_SMBL`` and ``OTC_W_SMBL``: one row per issue, name and product code.

    Args:
        rows: rows per symbol and participant, of one or more partitions.
        product: the product code of a row, which the rows themselves mostly lack.
    """
    return _sum(rows.with_columns(product.alias("productTypeCode")), (*_SYMBOL, "productTypeCode"), "SMBL")


def per_firm(rows: pl.DataFrame) -> pl.DataFrame:
    """``ATS_W_FIRM`` and ``OTC_W_FIRM``: one row per participant."""
    return _sum(rows, _FIRM, "FIRM")


def whole_market(rows: pl.DataFrame, *keys: str) -> pl.DataFrame:
    """``ATS_W_VOL_STATS`` and ``OTC_W_VOL_STATS``: one row per combination of ``keys``.

    Args:
        rows: of the tiers that count, with equal partition columns.
        keys: columns by which the market is split.
    """
    return _sum(rows, keys, "VOL_STATS")


def _sum(rows: pl.DataFrame, keys: tuple[str, ...], kind: str) -> pl.DataFrame:
    import polars as pl

    from spine.domains.finra.otc_transparency.simulator.fields import schema

    kept = schema()
    named = pl.col("summaryTypeCode").str.slice(0, len("ATS_W_")) + kind
    summed = (
        rows.with_columns(named.alias("summaryTypeCode"))
        .group_by("summaryTypeCode", *_PARTITION, *keys)
        .agg(
            pl.col("totalWeeklyTradeCount", "totalWeeklyShareQuantity", "totalNotionalSum").sum(),
            pl.col("lastUpdateDate", "lastReportedDate").max(),
        )
    )
    missing = [pl.lit(None, kind_of).alias(name) for name, kind_of in kept.items() if name not in summed.columns]
    return summed.with_columns(missing).select(list(kept))
