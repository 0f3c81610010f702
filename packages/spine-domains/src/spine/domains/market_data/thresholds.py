"""What prices must be to be plausible; docs/prices.md gives the reasons."""

from __future__ import annotations

from market_spine.core.plausibility import Plausibility


class BarPlausibility(Plausibility):
    """The thresholds of bars.

    Attributes:
        bar: a bar so many times its neighbours, or such a part of them, is held.
        rewritten: largest share of the known bars of a range that may be changed, but for one ratio.
        least_bars: with fewer known bars than this in a range, its share of changed ones means nothing.
    """

    def __init__(self, *, bar: float = 10.0, rewritten: float = 0.5, least_bars: int = 10) -> None:
        super().__init__("PRICE_PLAUSIBILITY")
        self.bar = bar
        self.rewritten = rewritten
        self.least_bars = least_bars
