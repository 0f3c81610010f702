"""What can be told of a symbol from its prices: which figures, drawn how."""

from __future__ import annotations

from market_spine.core.subject import Panel, Subject

SUBJECTS = (
    Subject(
        "symbols",
        "symbol",
        (
            Panel(
                "Close, as traded",
                "market_data_prices",
                "trade_date",
                "close",
                ("source",),
                "line",
                "USD",
            ),
            Panel(
                "Shares a session, all markets",
                "market_data_prices",
                "trade_date",
                "volume",
                ("source",),
                "bars",
                "shares",
            ),
        ),
    ),
)
