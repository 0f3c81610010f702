"""A bar that is refused never takes the good bar of its session away."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from market_spine.core.calendar import sessions

DAYS = sessions(date(2025, 3, 3), date(2025, 4, 30))


def answer(**broken: dict[str, float]) -> bytes:
    """Some two months of bars, those of some days otherwise."""
    bars = [
        {
            "date": str(day),
            "open": 10.0,
            "high": 11.0,
            "low": 9.0,
            "close": 10.0 + place / 100,
            "volume": 1000.0 + place,
        }
        for place, day in enumerate(DAYS)
    ]
    return json.dumps({"symbol": "SOPA", "bars": [bar | broken.get(str(bar["date"]), {}) for bar in bars]}).encode()


def test_a_broken_bar_in_a_later_answer_leaves_the_good_one(desk: Any, part: Callable[..., Any]) -> None:
    """The range is replaced but for that session, which stays with a warning that counts it."""
    sql = "SELECT trade_date, close FROM market_data_prices ORDER BY 1"
    desk.load("SOPA|mock", part(answer()))
    good = desk.rows(sql)
    assert len(good) == len(DAYS)
    desk.wait(timedelta(hours=1))
    spoilt, moved = str(DAYS[10]), str(DAYS[20])
    result = desk.load("SOPA|mock", part(answer(**{spoilt: {"high": 1.0}, moved: {"close": 10.5}})))
    (found,) = [anomaly for anomaly in result.anomalies if anomaly.kind == "rejected_rows"]
    assert (found.details["rejected"], found.details["kept"]) == (1, 1)
    assert desk.rows(sql) == [(day, 10.5 if day == moved else close) for day, close in good]
    assert result.runs[0].revision_summary.rows_removed == 0
