"""A market invented from a seed: drawn week by week when asked for, published and revised by the calendar.

The oddities of the real service come round by the week's number (weeks since 1970): a renamed issue and one
with two product codes every week, a blank symbol in every third, issues in two tiers and a week under the
tier ``NMS`` as well in every thirteenth, besides the seventeen of 2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from math import log
from typing import TYPE_CHECKING

from market_spine.core.calendar import previous_session, sessions_between
from spine.domains.finra.otc_transparency.simulator import rollup
from spine.domains.finra.otc_transparency.simulator.chance import normal, uniform
from spine.domains.finra.otc_transparency.simulator.fields import DESCRIPTIONS, SCALE, TIERS, schema
from spine.domains.finra.otc_transparency.simulator.market import Key, published, published_mondays
from spine.domains.finra.otc_transparency.simulator.universe import slots

if TYPE_CHECKING:
    import polars as pl

FIRST_WEEK = date(2016, 4, 4)
"""The first week in which FINRA published both ATS and non-ATS rows."""
FRACTIONS_FROM = date(2026, 2, 23)
"""The first week with fractional shares."""
DECIMALS_FROM = date(2025, 3, 10)
"""The first week whose notional has decimals."""

_NMS_WEEKS_2023 = frozenset(
    date.fromisoformat(f"2023-{day}")
    for day in (
        *("06-05", "06-12", "06-19", "06-26", "07-10", "07-17", "08-21", "08-28", "09-04", "09-11", "09-18"),
        *("10-02", "10-09", "10-16", "10-23", "10-30", "11-06"),
    )
)
_EPOCH = date(1970, 1, 5)
_CYCLE, _OVERLAP_WEEK, _NMS_WEEK = 13, 5, 9
_OVERLAP = 50
"""One issue in so many sits in both tiers in a week of reclassification."""
_BLANK_CYCLE = 3

_FIXED = 2
"""The first issues of a tier, which trade every week."""

_SHOCKS = (0.22, 0.18, 0.13, 0.08)
_ROW_SPREAD, _TRADE_SPREAD = 0.15, 0.3
_ABSENT = 0.03
_FRACTIONAL = 0.13
_PRICES = {"T1": (log(80), 0.9), "T2": (log(25), 1.0), "OTCE": (log(2), 1.8)}
_THIN = 3
"""A row of so few trades may have seen its last one before Friday."""
_EARLIEST_REVISION, _REVISION_DAYS = 7, 162
"""Days after publication: from one week to twenty-four."""


class GeneratedMarket:
    """A Market drawn from a seed.

    Args:
        seed: equal seeds give equal markets.
        rows: about how many rows each of ``T1``, ``T2`` and ``OTCE`` has in a week.
        revised: share of the rows that are revised after publication, 0..1.
    """

    def __init__(self, seed: int, rows: Mapping[str, int], revised: float) -> None:
        self._seed = seed
        self._rows = rows
        self._revised = revised
        self._slots = cache(lambda tier: slots(seed, tier, rows[tier]))

    def keys(self, today: date) -> Sequence[Key]:
        """All weeks of all tiers from ``FIRST_WEEK``, each from its publication day on."""
        found = [Key(monday, tier) for tier in TIERS for monday in published_mondays(tier, FIRST_WEEK, today)]
        doubled = [Key(key.monday, "NMS") for key in found if key.tier == "T1" and _is_doubled(key.monday)]
        whole = [Key(key.monday, "NA") for key in found if key.tier == "T2"]
        return [*found, *doubled, *whole]

    def summary_types(self, key: Key) -> Sequence[str]:
        """The market-wide rows stand under ``NA``, everything else under the tiers."""
        if key.tier == "NA":
            return ("ATS_W_VOL_STATS", "OTC_W_VOL_STATS")
        return tuple(f"{prefix}_W_{kind}" for prefix in ("ATS", "OTC") for kind in ("SMBL_FIRM", "SMBL", "FIRM"))

    def rows(self, key: Key, today: date) -> pl.DataFrame:
        """The partition with its roll-ups; the market-wide rows are split by product code."""
        import polars as pl

        if key.tier == "NA":
            return self._whole_market(key, today)
        if key.tier == "NMS":
            doubled = self.rows(Key(key.monday, "T1"), today)
            return doubled.with_columns(tierIdentifier=pl.lit("NMS"))
        trades = self._trades(key, today)
        product = pl.coalesce("productTypeCode", "product")
        return pl.concat([trades.select(list(schema())), rollup.per_symbol(trades, product), rollup.per_firm(trades)])

    def _whole_market(self, key: Key, today: date) -> pl.DataFrame:
        import polars as pl

        first = published(key.monday, "T2")
        tiers = [self._trades(Key(key.monday, tier), today) for tier in TIERS]
        rows = pl.concat(tiers).with_columns(
            tierIdentifier=pl.lit("NA"),
            tierDescription=pl.lit(DESCRIPTIONS["NA"]),
            initialPublishedDate=pl.lit(first),
            lastUpdateDate=pl.max_horizontal("lastUpdateDate", pl.lit(first)),
            productTypeCode=pl.coalesce("productTypeCode", "product"),
        )
        return rollup.whole_market(rows, "productTypeCode")

    def _trades(self, key: Key, today: date) -> pl.DataFrame:
        """The rows per symbol and participant, with the column ``product`` besides those of the schema."""
        import polars as pl

        traded = self._trading(key)
        dated = self._dated(key, today, self._sized(key, today, traded))
        fixed = {
            "tierIdentifier": pl.lit(key.tier),
            "tierDescription": pl.lit(DESCRIPTIONS[key.tier]),
            "summaryStartDate": pl.lit(key.monday),
            "weekStartDate": pl.lit(key.monday),
            "initialPublishedDate": pl.lit(published(key.monday, key.tier)),
        }
        rows = dated.with_columns(**fixed).select([*schema(), "product"])
        return pl.concat([rows, _blank(rows)]) if _has_blank(key) else rows

    def _trading(self, key: Key) -> pl.DataFrame:
        """The slots that trade in the week, those of the week's odd cases added."""
        import polars as pl

        number = _week_number(key.monday)
        present = self._slots(key.tier).with_columns(productTypeCode=pl.lit(None, pl.String()))
        if key.tier == "T2" and number % _CYCLE == _OVERLAP_WEEK:
            other = self._slots("T1").filter(pl.col("issue") % _OVERLAP == 1)
            moved = other.with_columns(productTypeCode=pl.lit(None, pl.String()))
            present = pl.concat([present, moved.with_columns(slot=pl.col("slot") + _offset(1))])
        issues = int(self._slots(key.tier)["issue"].n_unique())
        renamed, split = _chosen(7 * number, issues), _chosen(11 * number + 1, issues)
        absent = uniform(present["issue"], self._seed, key, "absent") < _ABSENT
        present = present.filter(~absent | (pl.col("issue") < _FIXED) | pl.col("issue").is_in([renamed, split]))
        second_name = present.filter(pl.col("issue") == renamed).with_columns(
            slot=pl.col("slot") + _offset(2), issueName=pl.col("issueName") + " (New)"
        )
        is_split = (pl.col("issue") == split) & (pl.col("product") != "OTCE")
        other_code = pl.when(pl.col("product") == "UTP").then(pl.lit("CTS")).otherwise(pl.lit("UTP"))
        second_code = present.filter(is_split).with_columns(
            slot=pl.col("slot") + _offset(4), productTypeCode=other_code
        )
        present = present.with_columns(productTypeCode=pl.when(is_split).then("product").otherwise("productTypeCode"))
        return pl.concat([present, second_name, second_code])

    def _sized(self, key: Key, today: date, rows: pl.DataFrame) -> pl.DataFrame:
        """Shares, trades and notional of the week; revised rows have other volumes from their day on."""
        import polars as pl

        revised_on, factor = self._revision(key, rows["slot"])
        sessions = sessions_between(key.monday, key.monday + timedelta(days=4))
        number = _week_number(key.monday)
        level = rows["volume"] + rows["offset"] + log(max(sessions, 1) / 5)
        for lag, weight in enumerate(_SHOCKS):
            level += weight * normal(rows["issue"], self._seed, key.tier, number - lag, "shock")
        level += _ROW_SPREAD * normal(rows["slot"], self._seed, key, "row")
        volume = level.exp()
        trade = (rows["trade_size"] + _TRADE_SPREAD * normal(rows["slot"], self._seed, key, "trade")).exp()
        mean, spread = _PRICES[key.tier]
        price = (mean + spread * normal(rows["issue"], self._seed, key.tier, "price")).exp() * (
            1 + 0.03 * normal(rows["issue"], self._seed, key, "price").clip(-5, 5)
        )
        fraction = uniform(rows["slot"], self._seed, key, "fraction")
        broken = (
            (uniform(rows["slot"], self._seed, key, "broken") < _FRACTIONAL)
            & (rows["summaryTypeCode"] == "OTC_W_SMBL_FIRM")
            & (key.monday >= FRACTIONS_FROM)
        )
        revised = (revised_on <= today).fill_null(value=False)
        unit = SCALE // 10_000 if key.monday >= DECIMALS_FROM else SCALE
        drawn = rows.with_columns(
            volume=volume, trade=trade, price=price, fraction=fraction, broken=broken, revised=revised, factor=factor
        )
        whole = (pl.col("volume").floor().clip(1, None) * pl.when("revised").then("factor").otherwise(1.0)).ceil()
        part = pl.when("broken").then((pl.col("fraction") * SCALE).floor()).otherwise(0.0)
        shares = (whole.cast(pl.Int64) * SCALE + part.cast(pl.Int64)).alias("totalWeeklyShareQuantity")
        trades = (pl.col("volume") / pl.col("trade")).round().clip(1, whole).cast(pl.Int64)
        sized = drawn.with_columns(shares, trades.alias("totalWeeklyTradeCount"))
        dollars = pl.col("totalWeeklyShareQuantity") * pl.col("price") / unit
        notional = (dollars.round().cast(pl.Int64) * unit).alias("totalNotionalSum")
        return sized.with_columns(notional, pl.Series("revised_on", revised_on))

    def _revision(self, key: Key, keys: pl.Series) -> tuple[pl.Series, pl.Series]:
        """The day each row is revised, null for most, and the factor of its new volume."""
        import polars as pl

        first = published(key.monday, key.tier)
        chosen = uniform(keys, self._seed, key, "revised") < self._revised
        days = (uniform(keys, self._seed, key, "revised on") * _REVISION_DAYS).floor().cast(pl.Int64)
        factor = 0.5 + uniform(keys, self._seed, key, "revised to")
        frame = pl.DataFrame({"chosen": chosen, "days": days, "factor": factor})
        day = pl.lit(first) + pl.duration(days=pl.col("days") + _EARLIEST_REVISION)
        weekend = (day.dt.weekday() - 5).clip(0, None)
        # A weekend's restatement comes on the Friday before.
        workday = pl.when("chosen").then(day - pl.duration(days=weekend)).cast(pl.Date)
        moved = pl.when((pl.col("factor") - 1).abs() < 0.01).then(1.1).otherwise("factor")
        drawn = frame.select(workday.alias("day"), moved.alias("factor"))
        return drawn["day"], drawn["factor"]

    def _dated(self, key: Key, today: date, rows: pl.DataFrame) -> pl.DataFrame:
        """When each row was last reported and updated."""
        import polars as pl

        last = previous_session(key.monday + timedelta(days=4))
        before = (uniform(rows["slot"], self._seed, key, "last day") * 4).floor().cast(pl.Int64)
        thin = pl.when(pl.col("totalWeeklyTradeCount") <= _THIN).then(pl.col("before")).otherwise(0)
        reported = pl.max_horizontal(pl.lit(last) - pl.duration(days=thin), pl.lit(key.monday)).cast(pl.Date)
        first = pl.lit(published(key.monday, key.tier))
        return rows.with_columns(before=before).with_columns(
            lastReportedDate=pl.when("revised").then("revised_on").otherwise(reported),
            lastUpdateDate=pl.when("revised").then("revised_on").otherwise(first),
        )


def _week_number(monday: date) -> int:
    return (monday - _EPOCH).days // 7


def _chosen(number: int, issues: int) -> int:
    """One of the issues that are not always there, or the number of none if there are too few."""
    return _FIXED + number % (issues - _FIXED) if issues > _FIXED else issues


def _is_doubled(monday: date) -> bool:
    return monday in _NMS_WEEKS_2023 or _week_number(monday) % _CYCLE == _NMS_WEEK


def _has_blank(key: Key) -> bool:
    return key.tier == "OTCE" and _week_number(key.monday) % _BLANK_CYCLE == 0


def _blank(rows: pl.DataFrame) -> pl.DataFrame:
    """One trade of one share in an issue without symbol and name, as seen in a real file."""
    import polars as pl

    name = "PPEX NORTH CAPITAL PRIVATE SECURITIES CORPORATION"
    nothing = dict.fromkeys(("issueSymbolIdentifier", "issueName", "productTypeCode"), pl.lit(None, pl.String()))
    return rows.head(1).with_columns(
        **nothing,
        MPID=pl.lit("PPEX"),
        marketParticipantName=pl.lit(name),
        firmCRDNumber=pl.lit(None, pl.Int64()),
        summaryTypeCode=pl.lit("ATS_W_SMBL_FIRM"),
        totalWeeklyShareQuantity=pl.lit(SCALE, pl.Int64()),
        totalWeeklyTradeCount=pl.lit(1, pl.Int64()),
        totalNotionalSum=pl.lit(SCALE, pl.Int64()),
    )


def _offset(case: int) -> pl.Expr:
    """Keeps the slots of an odd case (1, 2, 4: they can add up) apart from all others."""
    import polars as pl

    return pl.lit(case << 40, pl.UInt64())
