"""How much of a symbol's weekly volume trades off the exchanges: FINRA's volumes beside consolidated ones.

A room of its own with one declared view. It depends on the tables of the two domains it joins, not on their
code, and the view exists once both are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from market_spine.core.domain import Domain
from market_spine.core.schema import View

if TYPE_CHECKING:
    from market_spine.core.subject import Subject

NAME = "off_exchange"

OFF_EXCHANGE_WEEK = View(
    "off_exchange_week",
    """\
SELECT f.week_ending, f.tier, f.symbol, p.source AS price_source,
       f.ats_share_volume, f.non_ats_share_volume,
       f.ats_share_volume + f.non_ats_share_volume AS off_exchange_volume,
       CASE WHEN p.is_complete THEN p.volume END AS consolidated_volume,
       CASE WHEN p.is_complete AND p.volume > 0 THEN f.ats_share_volume / p.volume END AS ats_share,
       CASE WHEN p.is_complete AND p.volume > 0 THEN f.non_ats_share_volume / p.volume END AS non_ats_share,
       CASE WHEN p.is_complete AND p.volume > 0
            THEN (f.ats_share_volume + f.non_ats_share_volume) / p.volume END AS off_exchange_share,
       f.capture_id AS finra_capture_id, p.capture_id AS prices_capture_id
  FROM finra_otc_symbol_week f
  LEFT JOIN market_data_symbol_week p
    ON p.week_ending = f.week_ending AND p.symbol = f.symbol
""",
    ("finra_otc_symbol_week", "market_data_symbol_week"),
    "FINRA's ATS and non-ATS shares of a symbol's week beside its consolidated volume, one row per price source;"
    " null where a leg, the prices or a session of the week is missing.",
)


class OffExchange(Domain):
    """A domain without partitions: nothing is fetched and nothing computed, a view is all there is."""

    name = NAME
    views = (OFF_EXCHANGE_WEEK,)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """How much of a symbol trades off the exchanges."""
        from market_spine.core.subject import Panel, Subject

        title, name = "Share that trades off the exchanges", OFF_EXCHANGE_WEEK.name
        by = ("tier", "price_source")
        return (
            Subject(
                "symbols", "symbol", (Panel(title, name, "week_ending", "off_exchange_share", by, "line", "share"),)
            ),
        )


DOMAIN = OffExchange()
