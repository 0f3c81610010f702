"""Partitions of prices: symbols, how they are spelt, and which of them a run takes.

Case tells instruments apart (``AMpB`` is not ``AMPB``), but small letters are the vendor's: what a person writes
small otherwise is the same symbol. Its canonical form separates a class, unit or warrant suffix by a dot: ``BRK.B``.
A dash is taken for that dot.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.errors import UsageError
from spine.domains.market_data.schema import NAME, PRICES

_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9]{0,9}(?:\.[A-Za-z]{1,2}){0,2}")
_VENDORS_CASE = re.compile(r"[A-Z][A-Z0-9]*(?:p[A-Z]?|r|w|rw)(?:[.-][A-Z]+)*|[^a-z]*")
_LIKE_A_SYMBOL = re.compile(r"[A-Za-z0-9.$^/ -]{0,12}")
_HEADERS = frozenset(("symbol", "symbols", "ticker", "tickers"))
_DASHED_PREFERRED = re.compile(r"([A-Z][A-Z0-9]*)-P-([A-Z])")
_SOURCE = re.compile(r"[a-z][a-z0-9_]*")
_TYPED = re.compile(r"([^|]+?)[\s|/:,@]+([A-Za-z][A-Za-z0-9_]{2,})")
"""A symbol and a source, which is longer than the suffix of a symbol."""

NEVER = datetime.min.replace(tzinfo=UTC)


class Batch(NamedTuple):
    """The symbols of a run: those it takes, in order, and those left for the next one; ``postponed`` are those whose
    calls of the day go to splits and dividends of others."""

    taken: tuple[str, ...]
    left: tuple[str, ...]
    postponed: tuple[str, ...] = ()


def parse_symbol(text: str) -> str:
    """The canonical spelling of a symbol as people write it: ``aapl`` is ``AAPL``, ``BRK-B`` is ``BRK.B``, and
    ``ABR-P-D`` is ``ABRpD``; raises UsageError.

    Small letters stay only where a vendor writes them: ``ABRpD``, ``AIIAr``, ``ABCw``, ``BCATrw``.
    """
    given = text.strip()
    return _canonical(given if _VENDORS_CASE.fullmatch(given) else given.upper(), given)


def _canonical(symbol: str, given: str) -> str:
    if preferred := _DASHED_PREFERRED.fullmatch(symbol):
        return f"{preferred[1]}p{preferred[2]}"
    symbol = symbol.replace("-", ".")
    if not _SYMBOL.fullmatch(symbol):
        raise UsageError(
            f"{given!r} is not a symbol of a US listing",
            hint="write such as AAPL, BRK.B, ABRpD or ACHR.WS",
        )
    return symbol


def parse_symbols(flag: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Canonical symbols without repetitions, in order; raises UsageError naming the flag, if none also."""
    try:
        symbols = tuple(dict.fromkeys(parse_symbol(text) for text in texts if text.strip()))
    except UsageError as error:
        raise UsageError(f"{flag}: {error.message}", hint=error.hint) from error
    if not symbols:
        raise UsageError(f"{flag} names no symbol", hint="write such as --symbols AAPL,MSFT")
    return symbols


def parse_symbols_file(flag: str, text: str) -> tuple[str, ...]:
    """The symbols of a file without repetitions, in order: one a line, or one column of several under a header.

    ``#`` begins a comment, blank lines do not count. A first line that names a column ``symbol`` or ``ticker`` is a
    header.

    Raises:
        UsageError: naming the flag and the line of what is no symbol; there is none.
    """
    lines = enumerate(text.lstrip("\ufeff").splitlines(), start=1)
    rows = [(number, line) for number, raw in lines if (line := raw.partition("#")[0].strip())]
    header = [cell.casefold() for cell in _cells(rows[0][1])] if rows else []
    column = next((place for place, cell in enumerate(header) if cell in _HEADERS), None)
    symbols: dict[str, None] = {}
    for number, line in rows if column is None else rows[1:]:
        cells = [line] if column is None else _cells(line)
        cell = cells[column or 0] if (column or 0) < len(cells) else ""
        try:
            symbols.setdefault(parse_symbol(cell))
        except UsageError as error:
            # What does not look like a symbol at all may be a secret: the file is perhaps not the one that was meant.
            said = error.message if _LIKE_A_SYMBOL.fullmatch(cell) else f"{len(cell)} characters that are no symbol"
            raise UsageError(f"{flag}: line {number}: {said}", hint=error.hint) from error
    if not symbols:
        raise UsageError(f"{flag} names no symbol", hint="write one symbol a line")
    return tuple(symbols)


def _cells(line: str) -> list[str]:
    """The cells of a line, separated by commas, semicolons or tabs."""
    delimiter = next((mark for mark in ",;\t" if mark in line), ",")
    return [cell.strip() for cell in line.split(delimiter)] if '"' not in line else _quoted(line, delimiter)


def _quoted(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
    except csv.Error:
        return [""]


def make_partition(symbol: str, source: str) -> Partition:
    """The partition of a symbol's prices from one source."""
    return Partition(NAME, (symbol, source))


def parse_partition(key: str) -> Partition:
    """Check and build a partition from its key, such as ``AAPL|polygon``; raises UsageError."""
    symbol, bar, source = key.partition("|")
    if not bar or not _SOURCE.fullmatch(source):
        raise UsageError(f"{key!r} is not a partition key", hint="a key is SYMBOL|SOURCE, such as AAPL|polygon")
    return make_partition(_canonical(symbol, symbol), source)


def read_typed(text: str) -> tuple[str, str | None]:
    """Symbol and source as a person types them, the source left out or not: ``aapl``, ``AAPL/Polygon``, ``BRK/B``;
    raises UsageError."""
    found = _TYPED.fullmatch(text.strip())
    symbol, source = found.groups() if found else (text, None)
    return parse_symbol(re.sub(r"[/ ]", ".", symbol.strip())), source.lower() if source else None


def symbol_and_source(partition: Partition) -> tuple[str, str]:
    """The two values of a partition."""
    symbol, source = partition.values
    return symbol, source


def last_known(known: Known) -> date | None:
    """The latest session of the current capture; None if there is none."""
    if known.current is None:
        return None
    scope: Mapping[str, Any] = known.current.entry.scope.get(PRICES.name, {})
    bounds = scope.get("between", {}).get("trade_date")
    return date.fromisoformat(bounds[1]) if bounds else None


def choose(
    symbols: Sequence[str],
    source: str,
    known: Mapping[str, Known],
    attempts: Mapping[str, datetime],
    due: Collection[str],
    most: int,
    vain: Collection[str] = (),
) -> Batch:
    """Choose the symbols of one run: what is due before what is up to date, least recently tried first.

    So a list longer than one run allows rotates: what was left is taken next time. Those that were asked in vain
    come last.

    Args:
        symbols: all that are wanted, in the user's order.
        source: where from.
        known: partition key to what the manifest knows, for all of them.
        attempts: partition key to the moment of its latest request, where there was one.
        due: partition keys of which the source can have something that is not known.
        most: how many one run takes.
        vain: partition keys that were asked for since their latest capture, and brought nothing.
    """

    def in_vain(symbol: str) -> bool:
        return make_partition(symbol, source).key in vain

    def urgency(symbol: str) -> tuple[bool, bool, datetime]:
        key = make_partition(symbol, source).key
        current = known[key].current
        captured = current.committed_at if current else NEVER
        return key not in due, key in vain, max(captured, attempts.get(key, NEVER))

    ordered = sorted(symbols, key=urgency) if len(symbols) > most else list(symbols)
    taken = set(ordered[:most])
    left = tuple(symbol for symbol in ordered[most:])
    return Batch(tuple(sorted((symbol for symbol in symbols if symbol in taken), key=in_vain)), left)
