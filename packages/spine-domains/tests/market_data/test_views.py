"""What the vendors restate, as views with values worked out by hand, on both stores."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

STATISTICS = "SELECT * FROM market_data_revision_statistics ORDER BY source"
REVISIONS = (
    "SELECT symbol, trade_date, sessions_later, close_before, close_after, volume_before, volume_after, close_change"
    " FROM market_data_revisions ORDER BY revised_at, trade_date"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def bars(request: pytest.FixtureRequest, desk: Any, part: Callable[..., Any]) -> Any:
    """Loads bars of a symbol, as day to close and volume, on either store."""
    if request.param == "postgresql":
        desk.db = request.getfixturevalue("new_postgres")()

    def load(symbol: str, now: datetime, days: dict[str, tuple[float, float]]) -> None:
        desk.now = now
        rows = [
            {"date": day, "open": close, "high": close, "low": close, "close": close, "volume": volume}
            for day, (close, volume) in days.items()
        ]
        content = json.dumps({"symbol": symbol, "bars": rows}).encode()
        result = desk.load(f"{symbol}|mock", part(content, "bars", now))
        assert result.exit_code == 0, result.to_json()

    load.desk = desk  # type: ignore[attr-defined]
    return load


def test_restated_bars_are_told_one_by_one_and_per_vendor(bars: Any) -> None:
    """A close and a volume that changed, sessions after their own; new bars continue the series and restate nothing."""
    desk = bars.desk
    bars("AAA", datetime(2026, 11, 20, 22, tzinfo=UTC), {"2026-11-19": (10.0, 100), "2026-11-20": (20.0, 200)})
    bars("BBB", datetime(2026, 11, 20, 22, tzinfo=UTC), {"2026-11-20": (5.0, 50)})
    assert desk.rows(REVISIONS) == []
    assert desk.rows(STATISTICS) == [("mock", 2, 3, 0, 0.0, 0, 0, None, None, None, None)]
    # Monday the 23rd: one session after the 20th, two after the 19th.
    bars(
        "AAA",
        datetime(2026, 11, 23, 22, tzinfo=UTC),
        {"2026-11-19": (10.0, 110), "2026-11-20": (21.0, 200), "2026-11-23": (22.0, 210)},
    )
    monday = [
        ("AAA", "2026-11-19", 2, 10.0, 10.0, 100.0, 110.0, 0.0),
        ("AAA", "2026-11-20", 1, 20.0, 21.0, 200.0, 200.0, 21.0 / 20.0 - 1),
    ]
    assert desk.rows(REVISIONS) == monday
    # Friday the 27th, the day after Thanksgiving: four sessions after the 20th.
    bars("AAA", datetime(2026, 11, 27, 22, tzinfo=UTC), {"2026-11-20": (20.0, 200), "2026-11-23": (22.0, 210)})
    assert desk.rows(REVISIONS) == [*monday, ("AAA", "2026-11-20", 4, 21.0, 20.0, 200.0, 200.0, 20.0 / 21.0 - 1)]
    assert desk.rows(STATISTICS) == [
        ("mock", 2, 4, 2, 0.5, 3, 0, (2 + 1 + 4) / 3, 4, 21.0 / 20.0 - 1, 110.0 / 100.0 - 1)
    ]
    assert desk.rows(REVISIONS, datetime(2026, 11, 23, 23, tzinfo=UTC)) == monday


def test_sessions_are_joined_to_bars(bars: Any) -> None:
    """Which sessions of a week a symbol has no bar of is one join."""
    bars("AAA", datetime(2026, 11, 27, 22, tzinfo=UTC), {"2026-11-23": (10.0, 100), "2026-11-27": (20.0, 200)})
    found = bars.desk.rows(
        "SELECT s.session, s.early_close FROM core_sessions s"
        " LEFT JOIN market_data_prices p ON p.trade_date = s.session"
        " WHERE s.week_ending = '2026-11-27' AND p.symbol IS NULL ORDER BY 1"
    )
    assert [row[0] for row in found] == ["2026-11-24", "2026-11-25"]
