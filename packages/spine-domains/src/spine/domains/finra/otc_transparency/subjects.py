"""What can be told of a symbol and of a venue: which figures, drawn how."""

from __future__ import annotations

from market_spine.core.subject import Panel, Subject

SUBJECTS = (
    Subject(
        "symbols",
        "symbol",
        (
            Panel(
                "Shares a week off the exchanges",
                "finra_otc_symbol_week",
                "week_ending",
                "share_volume",
                ("tier",),
                "bars",
                "shares",
            ),
            Panel("Concentration on venues (HHI)", "finra_otc_symbol_week", "week_ending", "hhi", ("tier",), "line"),
            Panel(
                "Venues in the latest week",
                "finra_otc_venue_volume",
                "week_ending",
                "share_volume",
                ("venue_id", "venue_class"),
                "latest",
                "shares",
            ),
        ),
    ),
    Subject(
        "venues",
        "venue_id",
        (
            Panel(
                "Shares a week",
                "finra_otc_venue_week",
                "week_ending",
                "share_volume",
                ("tier", "venue_class"),
                "bars",
                "shares",
            ),
            Panel(
                "Share of its tier and class",
                "finra_otc_venue_week",
                "week_ending",
                "market_share",
                ("tier", "venue_class"),
                "line",
                "share",
            ),
            Panel(
                "Rank by shares", "finra_otc_venue_week", "week_ending", "volume_rank", ("tier", "venue_class"), "line"
            ),
            Panel(
                "Symbols in the latest week",
                "finra_otc_venue_volume",
                "week_ending",
                "share_volume",
                ("symbol", "tier"),
                "latest",
                "shares",
            ),
        ),
    ),
)
