"""An invented market: the same bars for the same symbol, on every machine and at every time. Pure.

A symbol walks at random from a price of its own, with one 4-for-1 split and quarterly dividends in its past.
Its rows carry the source ``mock`` and so never mix with real ones.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from market_spine.core.calendar import sessions
from market_spine.core.capture import Part
from spine.domains.market_data import parse
from spine.domains.market_data.vendors import BARS, DIVIDENDS, SPLITS, RawBars, Wanted

if TYPE_CHECKING:
    import polars as pl

EPOCH = date(2015, 1, 2)
"""The first session of the invented market."""
SPLIT = date(2020, 8, 31)
"""When every invented share was split 4 for 1."""
DIVIDEND_MONTHS = (2, 5, 8, 11)
DIVIDEND = 0.25


@dataclass(frozen=True, slots=True)
class Mock:
    """The source ``mock``; Offline."""

    name: str = "mock"
    offline: bool = True

    def notation(self, symbol: str) -> str:
        """Every symbol is known under its own name."""
        return symbol

    def generate(self, wanted: Wanted, fetched_at: datetime) -> Sequence[Part]:
        """Bars of the range; with ``full`` also all splits and dividends."""
        metadata = {"form": "mock", "fetched_at": fetched_at.isoformat()}
        bars = [bar for bar in _walk(wanted.symbol, wanted.last) if str(bar["date"]) >= wanted.first.isoformat()]
        parts = [Part(BARS, _json({"symbol": wanted.symbol, "bars": bars}), "mock", metadata)]
        if wanted.full:
            paid = [{"ex_date": day.isoformat(), "amount": DIVIDEND} for day in _ex_dates(wanted.last)]
            split = [{"ex_date": SPLIT.isoformat(), "from": 1, "to": 4}] if wanted.last >= SPLIT else []
            parts += [
                Part(SPLITS, _json({"symbol": wanted.symbol, "splits": split}), "mock", metadata),
                Part(DIVIDENDS, _json({"symbol": wanted.symbol, "dividends": paid}), "mock", metadata),
            ]
        return parts

    def parse_bars(self, part: Part, symbol: str) -> RawBars:
        """Read what ``generate`` made."""
        rows = parse.read_json(part)["bars"]
        return RawBars(parse.bars_frame((json.dumps(row), parse.day(row["date"]), row) for row in rows))

    def parse_splits(self, part: Part, symbol: str) -> pl.DataFrame:
        """Read what ``generate`` made."""
        rows = parse.read_json(part)["splits"]
        return parse.splits_frame(
            (parse.day(row["ex_date"]), parse.number(row["from"]), parse.number(row["to"]), "forward_split")
            for row in rows
        )

    def parse_dividends(self, part: Part, symbol: str) -> pl.DataFrame:
        """Read what ``generate`` made."""
        rows = parse.read_json(part)["dividends"]
        return parse.dividends_frame(
            (parse.day(row["ex_date"]), "recurring", parse.number(row["amount"]), "USD") for row in rows
        )


def _walk(symbol: str, last: date) -> Iterator[dict[str, object]]:
    """Every bar from the epoch on. Each session's numbers come from a digest of symbol and date, so that a
    bar never depends on how much is asked for; cents and whole shares keep them exact."""
    price = 80.0 + 240.0 * _uniform(symbol, "start", 0)
    for day in sessions(EPOCH, last):
        draws = [_uniform(symbol, day.isoformat(), number) for number in range(5)]
        if day == SPLIT:
            price /= 4
        opening = price * math.exp(0.012 * (draws[0] - 0.5))
        price = max(1.0, opening * math.exp(0.040 * (draws[1] - 0.5)))
        high = max(opening, price) * (1 + 0.010 * draws[2])
        low = min(opening, price) * (1 - 0.010 * draws[3])
        volume = round(2e6 * (0.5 + draws[4]) * (4 if day >= SPLIT else 1))
        yield {
            "date": day.isoformat(),
            "open": round(opening, 2),
            "high": round(high + 0.01, 2),
            "low": round(max(0.01, low - 0.01), 2),
            "close": round(price, 2),
            "volume": volume,
            "vwap": round((opening + price) / 2, 4),
            "trade_count": volume // 150,
        }


def _ex_dates(last: date) -> list[date]:
    """The first session of each dividend month."""
    days = sessions(EPOCH, last)
    firsts = {(day.year, day.month): day for day in reversed(days)}
    return sorted(day for (_, month), day in firsts.items() if month in DIVIDEND_MONTHS)


def _uniform(symbol: str, label: str, number: int) -> float:
    """A number in [0, 1) that depends on nothing but the arguments."""
    digest = hashlib.blake2b(f"{symbol}|{label}|{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


SOURCE = Mock()
