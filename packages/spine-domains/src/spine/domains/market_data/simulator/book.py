"""What a simulated vendor knows: the instruments, their bars as traded, their splits and dividends."""

from __future__ import annotations

import csv
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from market_spine.errors import UsageError

T = TypeVar("T")

DELISTED_AFTER_DAYS = 10
"""Bars of a folder that end so many days before the newest of any file belong to a delisted instrument."""


class Bar(NamedTuple):
    """One session as traded, in dollars and shares; ``vwap`` and ``trade_count`` may be unknown."""

    day: date
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None = None
    trade_count: int | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """``split_from`` old shares became ``split_to`` new ones at the opening of ``day``."""

    day: date
    split_from: float
    split_to: float

    @property
    def ratio(self) -> float:
        """New shares for each old one."""
        return self.split_to / self.split_from


@dataclass(frozen=True, slots=True)
class Dividend:
    """Cash in dollars a share, as paid; ``day`` is the ex-dividend date."""

    day: date
    amount: float
    declared: date
    record: date
    paid: date


class Series(Protocol):
    """Bars of one instrument, oldest first."""

    def between(self, first: date, last: date) -> Sequence[Bar]:
        """The bars from ``first`` to ``last``, both included."""


class HeldSeries:
    """Bars held in memory."""

    def __init__(self, bars: Sequence[Bar]) -> None:
        self._bars = bars
        self._days = [bar.day for bar in bars]

    def between(self, first: date, last: date) -> Sequence[Bar]:
        return self._bars[bisect_left(self._days, first) : bisect_right(self._days, last)]


@dataclass(frozen=True, slots=True)
class Instrument:
    """A listed security under Massive's notation of its symbol, which is case-sensitive (``BRK.B``, ``BCpC``).

    ``delisted`` is the first day it no longer traded. ``renamed`` is the day its symbol was given up for
    another: from then on the vendor does not know the old symbol at all.
    """

    symbol: str
    series: Series
    listed: date
    delisted: date | None = None
    renamed: date | None = None
    name: str = ""
    is_fund: bool = False
    splits: tuple[Split, ...] = ()
    dividends: tuple[Dividend, ...] = field(default=(), repr=False)

    def known(self, today: date) -> bool:
        """Whether the vendor has it on file on ``today``."""
        return self.listed <= today and not (self.renamed and self.renamed <= today)

    def active(self, today: date) -> bool:
        """Whether it trades on ``today``."""
        return self.known(today) and not (self.delisted and self.delisted <= today)

    def split_ratio(self, after: date, until: date) -> float:
        """New shares on ``until`` for one share on ``after``."""
        return prod(split.ratio for split in self.splits if after < split.day <= until)


Book = Mapping[str, Instrument]
"""Instruments by symbol."""


def read_book(folder: Path) -> Book:
    """The instruments of a folder of bar files.

    Each ``SYMBOL.csv`` has the columns ``date,open,high,low,close,volume`` and, if known, ``wap`` or ``vwap``
    and ``count`` or ``trade_count``; prices as traded, oldest first. ``actions/splits.csv``
    (``symbol,execution_date,split_from,split_to``) and ``actions/dividends.csv``
    (``symbol,ex_dividend_date,cash_amount`` and, if known, ``declaration_date,record_date,pay_date``) may be there.

    Raises:
        UsageError: for a folder without bars, or a row that cannot be read.
    """
    held = {path.stem: _read(path, _bar) for path in sorted(folder.glob("*.csv"))}
    held = {symbol: bars for symbol, bars in held.items() if bars}
    if not held:
        raise UsageError(f"--data {folder}: no bars", hint="give a folder of SYMBOL.csv files with one bar a row")
    for symbol, bars in held.items():
        if any(later.day <= earlier.day for earlier, later in pairwise(bars)):
            raise UsageError(f"{folder / symbol}.csv: the bars are not in order of their days, each once")
    newest = max(bars[-1].day for bars in held.values())
    splits = _by_symbol(folder / "actions" / "splits.csv", _split)
    dividends = _by_symbol(folder / "actions" / "dividends.csv", _dividend)
    return {
        symbol: Instrument(
            symbol,
            HeldSeries(bars),
            listed=bars[0].day,
            delisted=bars[-1].day if (newest - bars[-1].day).days > DELISTED_AFTER_DAYS else None,
            name=symbol,
            splits=tuple(sorted(splits.get(symbol, ()), key=lambda split: split.day)),
            dividends=tuple(sorted(dividends.get(symbol, ()), key=lambda dividend: dividend.day)),
        )
        for symbol, bars in held.items()
    }


def _bar(row: Mapping[str, str]) -> Bar:
    open_, high, low, close, volume = (float(row[name]) for name in ("open", "high", "low", "close", "volume"))
    vwap = row.get("wap") or row.get("vwap")
    count = row.get("count") or row.get("trade_count")
    return Bar(
        date.fromisoformat(row["date"]),
        open_,
        high,
        low,
        close,
        volume,
        float(vwap) if vwap else None,
        int(float(count)) if count else None,
    )


def _split(row: Mapping[str, str]) -> Split:
    return Split(date.fromisoformat(row["execution_date"]), float(row["split_from"]), float(row["split_to"]))


def _dividend(row: Mapping[str, str]) -> Dividend:
    day = date.fromisoformat(row["ex_dividend_date"])
    declared, record, paid = (
        date.fromisoformat(row[name]) if row.get(name) else day
        for name in ("declaration_date", "record_date", "pay_date")
    )
    return Dividend(day, float(row["cash_amount"]), declared, record, paid)


def _by_symbol(path: Path, read: Callable[[Mapping[str, str]], T]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    if path.is_file():
        for symbol, item in _read(path, lambda row: (row["symbol"], read(row))):
            found.setdefault(symbol, []).append(item)
    return found


def _read(path: Path, read: Callable[[Mapping[str, str]], T]) -> list[T]:
    items = []
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        for row in rows:
            try:
                items.append(read(row))
            except (KeyError, TypeError, ValueError) as error:
                raise UsageError(f"{path}, line {rows.line_num}: {error!r} in {row}") from error
    return items
