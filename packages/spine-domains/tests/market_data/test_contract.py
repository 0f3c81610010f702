"""The suite that every domain inherits, for daily prices and for the view that relates them to FINRA's volumes."""

from __future__ import annotations

import json

from market_spine.core.capture import Part
from market_spine.testing import DomainContract
from spine.domains import market_data, off_exchange

BARS = [
    {"date": day, "open": 10.0, "high": 11.5, "low": 9.0, "close": close, "volume": 1000}
    for day, close in (("2026-11-18", 10.5), ("2026-11-19", 11.0), ("2026-11-20", 11.25))
]


class TestPricesContract(DomainContract):
    """Prices keep to what the platform asks of a domain."""

    domain = market_data.DOMAIN
    keys = ("AAPL|polygon", "BRK.B|alpha_vantage")
    payloads = {  # noqa: RUF012 - given once, as the suite asks
        "AAPL|mock": (
            Part(
                "bars",
                json.dumps({"symbol": "AAPL", "bars": BARS}).encode(),
                "mock",
                {"fetched_at": "2026-11-23T21:30:00+00:00"},
            ),
        )
    }


class TestOffExchangeContract(DomainContract):
    """A domain of one view keeps to it, too: it has no partition, no table and no command."""

    domain = off_exchange.DOMAIN
