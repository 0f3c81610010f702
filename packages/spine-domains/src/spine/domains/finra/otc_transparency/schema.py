"""The tables of FINRA's weekly OTC transparency data: names, columns, keys, and what each number means."""

from __future__ import annotations

from market_spine.core.schema import Column, Table

NAME = "finra.otc_transparency"
TIERS = ("NMS_TIER_1", "NMS_TIER_2", "OTC")
ATS, NON_ATS = "ATS", "NON_ATS"
VENUE_CLASSES = (ATS, NON_ATS)
DE_MINIMIS = "DE_MINIMIS"
"""``venue_id`` of FINRA's unattributed per-symbol rows (``De Minimis Firms``): a mass, not a venue."""

_WEEK = Column("week_ending", "date", "Friday of FINRA's trading week (weekStartDate + 4 days).", False)
_TIER = Column("tier", "text", "NMS_TIER_1, NMS_TIER_2 or OTC.", False)
_CLASS = Column("venue_class", "text", "ATS or NON_ATS.", False)
_VENUE = Column("venue_id", "text", "MPID; for non-ATS firms the CRD number, else the name; DE_MINIMIS.", False)
_SYMBOL = Column("symbol", "text", "Issue symbol as FINRA spells it; case is significant.", False)
_LEGS = Column("legs", "text", "Which legs are known: ATS, NON_ATS or ATS+NON_ATS.", False)
_SHARES = Column("share_volume", "float", "Shares, summed over the known legs.", False)
_TRADES = Column("trade_count", "integer", "Trades, summed over the known legs.", False)
_AVERAGE = Column("average_trade_size", "float", "share_volume / trade_count, shares; null without trades.")

_PARTITION = ("week_ending", "tier")

VENUE_VOLUME = Table(
    "finra_otc_venue_volume",
    (
        _WEEK,
        _TIER,
        _CLASS,
        _VENUE,
        Column("venue_name", "text", "marketParticipantName as published.", False),
        _SYMBOL,
        Column("issue_name", "text", "issueName as published; empty if blank.", False),
        Column("product_type", "text", "productTypeCode (UTP, CTS, OTCE); empty if not given.", False),
        Column("share_volume", "float", "totalWeeklyShareQuantity, shares; may be fractional.", False),
        Column("trade_count", "integer", "totalWeeklyTradeCount, trades.", False),
        Column("notional", "float", "totalNotionalSum, USD; null where the source does not carry it."),
        Column("initial_published_date", "date", "initialPublishedDate; null where not carried."),
        Column("last_update_date", "date", "lastUpdateDate: when this row last changed; no week ending."),
        Column("last_reported_date", "date", "lastReportedDate; null where not carried."),
    ),
    ("week_ending", "tier", "venue_class", "venue_id", "symbol", "product_type", "issue_name"),
    _PARTITION,
    "FINRA's weekly rows per symbol and venue, normalized: one row per venue, symbol, product and issue.",
    stage="normalize",
    laid_by=("symbol",),
    bulk=True,
    history=True,
    totals=("share_volume", "trade_count"),
)

SYMBOL_WEEK = Table(
    "finra_otc_symbol_week",
    (
        _WEEK,
        _TIER,
        _SYMBOL,
        _LEGS,
        _SHARES,
        _TRADES,
        Column("ats_share_volume", "float", "Shares on ATSs; null if the ATS leg is not known."),
        Column("non_ats_share_volume", "float", "Shares off ATSs; null if the NON_ATS leg is not known."),
        Column("venue_count", "integer", "Attributed venues of the known legs.", False),
        _AVERAGE,
        Column(
            "top_venue_id",
            "text",
            "Attributed venue with most shares, ties to the lower venue_id; null without one or for a zero total.",
        ),
        Column("top_venue_share", "float", "Its share of share_volume, 0..1; null for a zero total."),
        Column("hhi", "float", "Sum of squared shares of share_volume over attributed venues, 0..1."),
        Column("hhi_upper", "float", "hhi with the unattributed DE_MINIMIS volume taken as one venue."),
        Column("effective_venues", "float", "1 / hhi."),
    ),
    ("week_ending", "tier", "symbol"),
    _PARTITION,
    "A symbol's week in one tier, over the known legs.",
    bulk=True,
    totals=("share_volume", "trade_count"),
)

VENUE_WEEK = Table(
    "finra_otc_venue_week",
    (
        _WEEK,
        _TIER,
        _CLASS,
        _VENUE,
        Column("venue_name", "text", "Name as published; the last in byte order if there are several.", False),
        Column("share_volume", "float", "Shares of the venue.", False),
        Column("trade_count", "integer", "Trades of the venue.", False),
        Column("symbol_count", "integer", "Distinct symbols traded.", False),
        _AVERAGE,
        Column("market_share", "float", "Share of its tier's and class's share_volume, 0..1; null for a zero total."),
        Column(
            "volume_rank",
            "integer",
            "1 = most shares in its tier and class, ties share the lower number; null for DE_MINIMIS.",
        ),
    ),
    ("week_ending", "tier", "venue_class", "venue_id"),
    _PARTITION,
    "A venue's week in one tier and class.",
    totals=("share_volume", "trade_count"),
)

MARKET_WEEK = Table(
    "finra_otc_market_week",
    (
        _WEEK,
        _TIER,
        _CLASS,
        Column("share_volume", "float", "Shares of the class.", False),
        Column("trade_count", "integer", "Trades of the class.", False),
        Column("symbol_count", "integer", "Distinct symbols.", False),
        Column("venue_count", "integer", "Attributed venues.", False),
        _AVERAGE,
        Column("hhi", "float", "Sum of squared shares of share_volume over attributed venues, 0..1."),
        Column("effective_venues", "float", "1 / hhi."),
        Column("top5_share", "float", "Share of the five largest attributed venues, 0..1."),
    ),
    ("week_ending", "tier", "venue_class"),
    _PARTITION,
    "Totals and venue concentration of one tier and class; one row per known leg.",
    totals=("share_volume", "trade_count"),
)

TRADING_DAYS = Table(
    "finra_otc_trading_days",
    (
        _WEEK,
        _TIER,
        _SYMBOL,
        Column("trading_days", "integer", "XNYS sessions from Monday to Friday of the week.", False),
        _SHARES,
        Column("share_volume_per_day", "float", "share_volume / trading_days, shares.", False),
    ),
    ("week_ending", "tier", "symbol"),
    _PARTITION,
    "Share volume per session: makes holiday weeks comparable.",
    bulk=True,
    totals=("share_volume",),
)

SYMBOL_ROLLING = Table(
    "finra_otc_symbol_rolling",
    (
        _WEEK,
        _TIER,
        _SYMBOL,
        Column("share_volume", "float", "Shares of the window's last week.", False),
        Column("trade_count", "integer", "Trades of the window's last week.", False),
        Column("weeks_in_window", "integer", "Weeks of the six in which the symbol has a row, 1..6.", False),
        Column("is_complete", "boolean", "All six partitions of the window are known.", False),
        Column(
            "same_legs",
            "boolean",
            "Every known partition of the window has the same legs; else volumes are not comparable.",
            False,
        ),
        Column("volume_mean", "float", "Mean of share_volume over weeks_in_window, current included.", False),
        Column("volume_min", "float", "Smallest share_volume in the window.", False),
        Column("volume_max", "float", "Largest share_volume in the window.", False),
        Column("trades_mean", "float", "Mean of trade_count over weeks_in_window, current included.", False),
        Column("trades_min", "integer", "Smallest trade_count in the window.", False),
        Column("trades_max", "integer", "Largest trade_count in the window.", False),
        Column(
            "volume_change",
            "float",
            "(V - V of the previous week) / that; null if the symbol has no row there or it is 0.",
        ),
        Column(
            "volume_change_mean",
            "float",
            "(V - mean of the up to five earlier weeks) / that mean; null without one or if it is 0.",
        ),
        Column(
            "volume_z",
            "float",
            "(V - mean) / sample standard deviation of the up to five earlier weeks; null under four of them or if it is 0.",
        ),
        Column(
            "direction", "text", "up, down or flat: volume_change_mean above 5 %, below -5 %, or between; null with it."
        ),
    ),
    ("week_ending", "tier", "symbol"),
    _PARTITION,
    "A symbol's six calendar weeks that end with this one, per tier; rows for symbols present in the last week.",
    stage="rolling",
    bulk=True,
    totals=("share_volume", "trade_count"),
)

TABLES = (VENUE_VOLUME, SYMBOL_WEEK, VENUE_WEEK, MARKET_WEEK, TRADING_DAYS, SYMBOL_ROLLING)
