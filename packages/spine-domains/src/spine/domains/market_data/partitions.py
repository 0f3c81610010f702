"""Partitions of prices: symbols, how they are spelt, and which of them a run takes.

A symbol is kept exactly as it is spelt, since case tells instruments apart (``AMpB`` is not ``AMPB``). Its
canonical form separates a class, unit or warrant suffix by a dot: ``BRK.B``. A dash is taken for that dot.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.errors import UsageError
from spine.domains.market_data.schema import NAME, PRICES

_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9]{0,9}(?:\.[A-Za-z]{1,2}){0,2}")
_DASHED_PREFERRED = re.compile(r"([A-Z][A-Z0-9]*)-P-([A-Z])")
_SOURCE = re.compile(r"[a-z][a-z0-9_]*")

NEVER = datetime.min.replace(tzinfo=UTC)


class Batch(NamedTuple):
    """The symbols of a run: those it takes, in order, and those left for the next one."""

    taken: tuple[str, ...]
    left: tuple[str, ...]


def parse_symbol(text: str) -> str:
    """The canonical spelling of a symbol: ``BRK-B`` is ``BRK.B``, ``ABR-P-D`` is ``ABRpD``; raises UsageError."""
    given = text.strip()
    if preferred := _DASHED_PREFERRED.fullmatch(given):
        return f"{preferred[1]}p{preferred[2]}"
    symbol = given.replace("-", ".")
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


def read_symbols_file(text: str) -> list[str]:
    """The symbols of a file: one a line, ``#`` begins a comment, blank lines do not count."""
    lines = (line.partition("#")[0].strip() for line in text.lstrip("\ufeff").splitlines())
    return [line for line in lines if line]


def make_partition(symbol: str, source: str) -> Partition:
    """The partition of a symbol's prices from one source."""
    return Partition(NAME, (symbol, source))


def parse_partition(key: str) -> Partition:
    """Check and build a partition from its key, such as ``AAPL|polygon``; raises UsageError."""
    symbol, bar, source = key.partition("|")
    if not bar or not _SOURCE.fullmatch(source):
        raise UsageError(f"{key!r} is not a partition key", hint="a key is SYMBOL|SOURCE, such as AAPL|polygon")
    return make_partition(parse_symbol(symbol), source)


def symbol_and_source(partition: Partition) -> tuple[str, str]:
    """The two values of a partition."""
    symbol, source = partition.values
    return symbol, source


def last_held(known: Known) -> date | None:
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
) -> Batch:
    """Choose the symbols of one run: what is due before what is up to date, least recently tried first.

    So a list longer than one run allows rotates: what was left is taken next time.

    Args:
        symbols: all that are wanted, in the user's order.
        source: where from.
        known: partition key to what the manifest knows, for all of them.
        attempts: partition key to the moment of its latest request, where there was one.
        due: partition keys of which the source can have something that is not known.
        most: how many one run takes.
    """

    def urgency(symbol: str) -> tuple[bool, datetime]:
        key = make_partition(symbol, source).key
        current = known[key].current
        captured = current.committed_at if current else NEVER
        return key not in due, max(captured, attempts.get(key, NEVER))

    if len(symbols) <= most:
        return Batch(tuple(symbols), ())
    ordered = sorted(symbols, key=urgency)
    taken = set(ordered[:most])
    left = tuple(symbol for symbol in ordered[most:])
    return Batch(tuple(symbol for symbol in symbols if symbol in taken), left)
