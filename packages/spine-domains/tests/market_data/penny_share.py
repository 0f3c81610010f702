"""An invented penny share, flat but for a split, as the mock source answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from market_spine.core.calendar import sessions

DAYS = sessions(date(2024, 4, 1), date(2024, 6, 3))
EX = date(2024, 5, 1)

PartOf = Callable[..., Any]


def sopa(scale: float = 15.0, ex_date: date = EX, volume: float = 1.0) -> list[dict[str, Any]]:
    """A penny share at 0.12 that is reversed on a day: flat, but for the jump."""
    return [
        {
            "date": str(day),
            "open": price,
            "high": price * 1.05,
            "low": price * 0.95,
            "close": price * (1.01 if place % 2 else 1.0),
            "volume": 1_500_000 / (scale if day >= ex_date else 1) * volume + place,
        }
        for place, day in enumerate(DAYS)
        for price in [0.12 * (scale if day >= ex_date else 1)]
    ]


def bars_part(part: PartOf, bars: Sequence[Mapping[str, Any]]) -> Any:
    return part(json.dumps({"symbol": "SOPA", "bars": bars}).encode(), "bars")


def splits_part(part: PartOf, *rows: tuple[str, float, float]) -> Any:
    listed = [{"ex_date": day, "from": old, "to": new} for day, old, new in rows]
    return part(json.dumps({"symbol": "SOPA", "splits": listed}).encode(), "splits")
