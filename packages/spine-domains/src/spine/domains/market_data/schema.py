"""The tables of daily US stock prices: names, columns, keys, and what each number means."""

from __future__ import annotations

from market_spine.core.schema import Column, Table, View

NAME = "market_data"

_SYMBOL = Column("symbol", "text", "Canonical symbol, such as BRK.B; case is significant.", False)
_SOURCE = Column("source", "text", "Where the row comes from: alpha_vantage, polygon, mock, ...", False)
_DAY = Column("trade_date", "date", "XNYS session, a New York date.", False)
_EX_DATE = Column("ex_date", "date", "First session that trades without the entitlement.", False)
_WEEK = Column("week_ending", "date", "Friday of the trading week.", False)

_PARTITION = ("symbol", "source")

PRICES = Table(
    "market_data_prices",
    (
        _SYMBOL,
        _SOURCE,
        _DAY,
        Column("open", "float", "First price of the session as traded, USD.", False),
        Column("high", "float", "Highest price as traded, USD.", False),
        Column("low", "float", "Lowest price as traded, USD.", False),
        Column("close", "float", "Official close as traded, USD.", False),
        Column("volume", "float", "Consolidated shares traded, as traded; may be fractional.", False),
        Column("vwap", "float", "Volume-weighted average price, USD; null where the source has none."),
        Column("trade_count", "integer", "Trades; null where the source has none."),
    ),
    ("symbol", "trade_date", "source"),
    _PARTITION,
    "Daily bars as traded (not adjusted for splits or dividends), one row per symbol, session and source.",
    stage="normalize",
    grows=True,
    history=True,
    totals=("volume",),
)

SPLITS = Table(
    "market_data_splits",
    (
        _SYMBOL,
        _SOURCE,
        _EX_DATE,
        Column("split_from", "float", "Old shares: 1 in a 4-for-1 split.", False),
        Column("split_to", "float", "New shares: 4 in a 4-for-1 split.", False),
        Column("kind", "text", "forward_split, reverse_split, stock_dividend, or unknown.", False),
    ),
    ("symbol", "ex_date", "source"),
    _PARTITION,
    "Share splits as the source reports them.",
    stage="normalize",
    grows=True,
)

DIVIDENDS = Table(
    "market_data_dividends",
    (
        _SYMBOL,
        _SOURCE,
        _EX_DATE,
        Column("kind", "text", "recurring, special, ... as the source says; unknown if it does not.", False),
        Column("amount", "float", "Cash per share as declared, in currency.", False),
        Column("currency", "text", "ISO code; USD where the source does not say.", False),
    ),
    ("symbol", "ex_date", "source", "kind", "currency"),
    _PARTITION,
    "Cash dividends as the source reports them; several of one kind on one day are summed.",
    stage="normalize",
    grows=True,
    totals=("amount",),
)

ADJUSTMENTS = Table(
    "market_data_adjustments",
    (
        _SYMBOL,
        _SOURCE,
        Column("first_date", "date", "First day of the interval.", False),
        Column("last_date", "date", "Last day of the interval.", False),
        Column(
            "split_factor", "float", "Multiplies prices, divides volumes: old / new shares of all later splits.", False
        ),
        Column(
            "dividend_factor",
            "float",
            "Multiplies prices: (1 - USD dividends of a day / close before it) of all later ones.",
            False,
        ),
    ),
    ("symbol", "first_date", "source"),
    _PARTITION,
    "Intervals between corporate actions, and what brings prices in each to today's basis.",
)

PRICES_DAILY = Table(
    "market_data_prices_daily",
    (
        _SYMBOL,
        _SOURCE,
        _DAY,
        Column("close", "float", "Close as traded, USD.", False),
        Column("volume", "float", "Shares as traded.", False),
        Column(
            "previous_close", "float", "Close of the bar before, on this session's share basis; null for the first."
        ),
        Column("return", "float", "close / previous_close - 1, free of splits; null for the first bar."),
        Column("sessions_missing", "integer", "XNYS sessions without a bar since the bar before.", False),
        Column("dollar_volume", "float", "vwap (else close) x volume, USD.", False),
        Column(
            "average_volume_20",
            "float",
            "Mean volume of 20 bars, this one included, on its share basis; null under 20.",
        ),
        Column("realised_volatility_20", "float", "Sample deviation of 20 log returns x sqrt(252); null under 20."),
    ),
    ("symbol", "trade_date", "source"),
    _PARTITION,
    "A session next to the ones before it: return, average volume, volatility.",
    totals=("volume",),
)

SYMBOL_WEEK = Table(
    "market_data_symbol_week",
    (
        _WEEK,
        _SYMBOL,
        _SOURCE,
        Column("open", "float", "Open of the first known session, USD, on the last one's share basis.", False),
        Column("high", "float", "Highest price, the same basis.", False),
        Column("low", "float", "Lowest price, the same basis.", False),
        Column("close", "float", "Close of the last known session, USD.", False),
        Column("volume", "float", "Shares as traded, summed: comparable with what FINRA reports.", False),
        Column("vwap", "float", "Sum of vwap x volume / sum of volume, the same basis; null if a session has no vwap."),
        Column("return", "float", "close / last close of the week before - 1, free of splits; null without that week."),
        Column("sessions", "integer", "Sessions with a bar.", False),
        Column("is_complete", "boolean", "Every XNYS session of the week has a bar.", False),
    ),
    ("week_ending", "symbol", "source"),
    _PARTITION,
    "A symbol's trading week.",
    totals=("volume",),
)

TABLES = (PRICES, SPLITS, DIVIDENDS, ADJUSTMENTS, PRICES_DAILY, SYMBOL_WEEK)

PRICES_ADJUSTED = View(
    "market_data_prices_adjusted",
    """\
SELECT p.symbol, p.source, p.trade_date,
       p.open * a.split_factor AS open,
       p.high * a.split_factor AS high,
       p.low * a.split_factor AS low,
       p.close * a.split_factor AS close,
       p.volume / a.split_factor AS volume,
       p.vwap * a.split_factor AS vwap,
       p.trade_count,
       p.close * a.split_factor * a.dividend_factor AS total_return_close,
       a.split_factor, a.dividend_factor, p.capture_id, p.captured_at
  FROM market_data_prices p
  JOIN market_data_adjustments a
    ON a.symbol = p.symbol AND a.source = p.source
   AND p.trade_date BETWEEN a.first_date AND a.last_date
""",
    ("market_data_prices", "market_data_adjustments"),
    "Prices and volumes on the share basis of the latest bar; total_return_close also reinvests dividends.",
)

REVISIONS = View(
    "market_data_revisions",
    """\
SELECT o.symbol, o.source, o.trade_date, o.known_from AS first_known_at, o.known_until AS revised_at,
       (SELECT MAX(s.number) FROM core_sessions s WHERE s.session <= o.known_until)
         - (SELECT s.number FROM core_sessions s WHERE s.session = o.trade_date) AS sessions_later,
       o.close AS close_before, n.close AS close_after, o.volume AS volume_before, n.volume AS volume_after,
       CASE WHEN o.close > 0 THEN n.close / o.close - 1 END AS close_change,
       CASE WHEN o.volume > 0 THEN n.volume / o.volume - 1 END AS volume_change
  FROM market_data_prices_history o
  JOIN core_manifest e ON e.manifest_id = o.superseded_by
  JOIN core_manifest i
    ON i.domain = e.domain AND i.partition_key = e.partition_key AND i.committed_at = e.committed_at
   AND i.stage = 'ingest' AND i.status = 'committed'
  LEFT JOIN market_data_prices_history n
    ON n.manifest_id = o.superseded_by AND n.symbol = o.symbol AND n.trade_date = o.trade_date
   AND n.source = o.source
""",
    ("market_data_prices_history", "core_manifest", "core_sessions"),
    "One row per bar that a later capture changed or took away: how many exchange sessions after its own, and close and"
    " volume before and after, null after if it was taken away.",
)

REVISION_STATISTICS = View(
    "market_data_revision_statistics",
    """\
SELECT b.source, b.symbols, b.bars, COALESCE(r.bars_revised, 0) AS bars_revised,
       CAST(COALESCE(r.bars_revised, 0) AS DOUBLE PRECISION) / b.bars AS bars_revised_share,
       COALESCE(r.revisions, 0) AS revisions, COALESCE(r.removed, 0) AS removed,
       r.sessions_later_mean, r.sessions_later_max, r.close_change_max, r.volume_change_max
  FROM (SELECT source, COUNT(DISTINCT symbol) AS symbols, COUNT(*) AS bars
          FROM market_data_prices GROUP BY source) b
  LEFT JOIN (SELECT source, COUNT(*) AS revisions,
                    CAST(SUM(bar) AS BIGINT) AS bars_revised, CAST(SUM(removed) AS BIGINT) AS removed,
                    AVG(CAST(sessions_later AS DOUBLE PRECISION)) AS sessions_later_mean,
                    MAX(sessions_later) AS sessions_later_max,
                    MAX(ABS(close_change)) AS close_change_max, MAX(ABS(volume_change)) AS volume_change_max
               FROM (SELECT source, sessions_later, close_change, volume_change,
                            CASE WHEN close_after IS NULL THEN 1 ELSE 0 END AS removed,
                            CASE WHEN ROW_NUMBER() OVER (PARTITION BY source, symbol, trade_date ORDER BY revised_at) = 1
                                 THEN 1 ELSE 0 END AS bar
                       FROM market_data_revisions) d
              GROUP BY source) r
    ON r.source = b.source
""",
    ("market_data_revisions", "market_data_prices"),
    "How often, how late and how largely each source restates bars: bars known and revised, revisions, bars taken away,"
    " exchange sessions after the bar's own, and the largest changes of close and volume, as parts of what they were.",
)

VIEWS = (PRICES_ADJUSTED, REVISIONS, REVISION_STATISTICS)
