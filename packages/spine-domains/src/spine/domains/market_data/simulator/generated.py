"""Invented bars: plausible, and a function of the seed, the symbol and the day alone.

A price follows slow waves plus daily noise around a level of its own, so that any bar can be computed without
those before it. Some symbols split once, most of them pay a quarterly dividend, and one was renamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from hashlib import blake2b
from math import exp, sin, tau
from struct import unpack

from market_spine.core.calendar import LAST_DAY, next_session, sessions
from spine.domains.market_data.simulator.book import Bar, Book, Dividend, Instrument, Split

FIRST_DAY = date(2022, 1, 3)
LAST_ACTION_YEAR = 2030
FRACTIONAL_SINCE = date(2026, 2, 23)
"""From this session on volumes have fractions of shares, as the vendor's do."""
SYMBOLS = (
    *("AAPL", "AMZN", "BRK.B", "GME", "GOOGL", "IBM", "JPM", "KO", "META", "MSFT", "NVDA", "TSLA", "XOM"),
    *("QQQ", "SPY", "AMPB", "AMpB", "BCpC", "PEBpF", "AIIAr", "NE.WS.A", "SBXD.U", "GTM", "ZI"),
)
"""Real symbols in all notations; the bars are invented."""
FUNDS = frozenset({"QQQ", "SPY"})
RENAMED = {"ZI": date(2025, 5, 13)}
"""Symbols given up, and the first day of the symbol that followed."""
LISTED = {"GTM": date(2025, 5, 13)}
NO_VWAP = frozenset({"NE.WS.A"})
"""Symbols whose bars come without average price and number of trades."""

_RATIOS = ((1, 4), (1, 2), (1, 10), (10, 1), (2, 3))
_WAVES = ((900.0, 0.30), (190.0, 0.12), (47.0, 0.05), (11.0, 0.02))
"""Length in days and height, as a logarithm, of the waves that a price follows."""


def generate_book(
    seed: int,
    symbols: Iterable[str] = SYMBOLS,
    *,
    first_day: date = FIRST_DAY,
    splits: Mapping[str, Sequence[Split]] | None = None,
) -> Book:
    """Instruments with invented bars.

    Args:
        seed: equal arguments give equal bars.
        symbols: which, in Massive's notation.
        first_day: the first day with bars.
        splits: the splits of these symbols, oldest first, instead of generated ones.
    """
    given = splits or {}
    return {
        symbol: _instrument(seed, symbol, first_day, tuple(given[symbol]) if symbol in given else None)
        for symbol in symbols
    }


class GeneratedSeries:
    """Bars computed when they are asked for, and kept."""

    def __init__(self, seed: int, symbol: str, first_day: date, splits: Sequence[Split]) -> None:
        self._key = f"{seed}|{symbol}|"
        self._symbol = symbol
        self._first_day = first_day
        self._splits = splits
        self._bars: dict[date, Bar] = {}
        level, size, *self._phases = _uniform(self._key, 2 + len(_WAVES))
        self._level = exp(2.5 + 3.2 * level)
        self._size = exp(10 + 7 * size)

    def between(self, first: date, last: date) -> Sequence[Bar]:
        days = sessions(max(first, self._first_day), min(last, LAST_DAY))
        return [self._bars.get(day) or self._bars.setdefault(day, self._bar(day)) for day in days]

    def _price(self, day: date, noise: float) -> float:
        """Today's share at the close, in dollars: splits do not show in it."""
        number = day.toordinal()
        waves = sum(
            height * sin(tau * (number / length + phase))
            for (length, height), phase in zip(_WAVES, self._phases, strict=True)
        )
        return self._level * exp(waves + 0.02 * (noise - 0.5))

    def _bar(self, day: date) -> Bar:
        noise, opening, up, down, busy, fraction = _uniform(f"{self._key}{day}", 6)
        old_shares = 1.0
        for split in self._splits:
            if day < split.day:
                old_shares *= split.ratio
        close = self._price(day, noise) * old_shares
        open_ = close * (1 + 0.02 * (opening - 0.5))
        high = max(open_, close) * (1 + 0.01 * up)
        low = min(open_, close) * (1 - 0.01 * down)
        volume = float(int(self._size * exp(1.2 * (busy - 0.5)) / old_shares))
        if day >= FRACTIONAL_SINCE:
            volume = round(volume + fraction, 6)
        known = self._symbol not in NO_VWAP
        return Bar(
            day,
            round(open_, 4),
            round(high, 4),
            round(low, 4),
            round(close, 4),
            volume,
            round((high + low + close) / 3, 4) if known else None,
            1 + int(volume / (40 + 160 * busy)) if known else None,
        )


def _instrument(seed: int, symbol: str, first_day: date, splits: tuple[Split, ...] | None) -> Instrument:
    listed = max(first_day, LISTED.get(symbol, first_day))
    if splits is None:
        splits = _splits(seed, symbol, listed)
    series = GeneratedSeries(seed, symbol, listed, splits)
    return Instrument(
        symbol,
        series,
        listed=listed,
        renamed=RENAMED.get(symbol),
        delisted=RENAMED.get(symbol),
        name=f"{symbol} (invented)",
        is_fund=symbol in FUNDS,
        splits=splits,
        dividends=_dividends(seed, symbol, listed, series),
    )


def _splits(seed: int, symbol: str, listed: date) -> tuple[Split, ...]:
    """One symbol in four splits once, within eight years of its first bar."""
    chance, when, which = _uniform(f"split|{seed}|{symbol}", 3)
    if chance >= 0.25:
        return ()
    split_from, split_to = _RATIOS[int(which * len(_RATIOS))]
    return (Split(next_session(listed + timedelta(days=30 + int(when * 2900))), split_from, split_to),)


def _dividends(seed: int, symbol: str, listed: date, series: GeneratedSeries) -> tuple[Dividend, ...]:
    """Two symbols in three pay half a percent of the price of the day each quarter."""
    chance, month, day = _uniform(f"dividend|{seed}|{symbol}", 3)
    if chance >= 2 / 3:
        return ()
    dividends = []
    for quarter in range(listed.year * 4, LAST_ACTION_YEAR * 4):
        ex = next_session(date(quarter // 4, quarter % 4 * 3 + 1 + int(month * 3), 1 + int(day * 25)))
        if ex <= listed:
            continue
        (bar,) = series.between(ex, ex)
        amount = round(bar.close * 0.005, 2)
        if amount:
            dividends.append(Dividend(ex, amount, ex - timedelta(days=14), ex, ex + timedelta(days=21)))
    return tuple(dividends)


def _uniform(text: str, count: int) -> list[float]:
    """Numbers in [0, 1) that follow from a text."""
    digest = blake2b(text.encode(), digest_size=8 * count).digest()
    return [number / 2**64 for number in unpack(f"<{count}Q", digest)]
