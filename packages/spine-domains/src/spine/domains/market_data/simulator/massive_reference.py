"""Massive's reference data: tickers, splits and dividends, filtered, sorted and paged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from hashlib import blake2b
from operator import ge, gt, itemgetter, le, lt
from typing import Any

from spine.domains.market_data.simulator.book import Instrument
from spine.domains.market_data.simulator.exchange import Reply
from spine.domains.market_data.simulator.massive_bars import plain
from spine.domains.market_data.simulator.massive_query import NO_TICKER, CallRefused, MassiveQuery

ANNOUNCED_DAYS = 14
"""How long before its day a split is on file."""

_OLD_SPLIT = ("id", "execution_date", "split_from", "split_to", "ticker")
_OLD_DIVIDEND = (
    *("id", "cash_amount", "currency", "declaration_date", "ex_dividend_date", "frequency", "pay_date"),
    *("record_date", "ticker"),
)
_COMPARISONS = {"gt": gt, "gte": ge, "lt": lt, "lte": le}


def tickers(query: MassiveQuery) -> Reply:
    """``/v3/reference/tickers``: those that traded on a day or, with ``active=false``, no longer did."""
    day = _as_of(query)
    wanted = query.parameters.get("active", "true").lower() != "false"
    rows = [
        _ticker(instrument, active=wanted)
        for instrument in query.book.values()
        if instrument.known(day) and instrument.known(query.today) and instrument.active(day) == wanted
    ]
    return _page(query, rows, sort="ticker", order="asc", default=100, most=1000)


def ticker(query: MassiveQuery) -> Reply:
    """``/v3/reference/tickers/{ticker}``: one that traded on a day."""
    instrument = query.book.get(query.call.parameters["ticker"])
    if instrument is None or not instrument.known(query.today) or not instrument.active(_as_of(query)):
        raise CallRefused(404, NO_TICKER)
    return query.document(_ticker(instrument, active=True))


def splits(query: MassiveQuery) -> Reply:
    """``/stocks/v1/splits``: those that happened or are announced."""
    return _page(query, list(_splits(query)), sort="execution_date", order="desc", default=100, most=5000)


def dividends(query: MassiveQuery) -> Reply:
    """``/stocks/v1/dividends``: those that were declared."""
    return _page(query, list(_dividends(query)), sort="ticker", order="asc", default=100, most=5000)


def splits_v3(query: MassiveQuery) -> Reply:
    """``/v3/reference/splits``, deprecated: without type and factor."""
    rows = [_only(row, _OLD_SPLIT) for row in _splits(query)]
    return _page(query, rows, sort="execution_date", order="desc", default=10, most=1000)


def dividends_v3(query: MassiveQuery) -> Reply:
    """``/v3/reference/dividends``, deprecated: without factors; ordinary ones are of type CD."""
    rows = [{**_only(row, _OLD_DIVIDEND), "dividend_type": "CD"} for row in _dividends(query)]
    return _page(query, rows, sort="ex_dividend_date", order="desc", default=10, most=1000)


def _as_of(query: MassiveQuery) -> date:
    return query.day("date", query.parameters.get("date", str(query.today)))


def _ticker(instrument: Instrument, *, active: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "ticker": instrument.symbol,
        "name": instrument.name,
        "market": "stocks",
        "locale": "us",
        "primary_exchange": "ARCX" if instrument.is_fund else "XNYS",
        "type": "ETF" if instrument.is_fund else "CS",
        "active": active,
        "currency_name": "usd",
        "last_updated_utc": f"{instrument.listed}T00:00:00Z",
    }
    if not active:
        row["delisted_utc"] = f"{instrument.delisted}T00:00:00Z"
    return row


def _splits(query: MassiveQuery) -> Iterator[dict[str, Any]]:
    until = query.today + timedelta(days=ANNOUNCED_DAYS)
    for instrument in query.book.values():
        for split in instrument.splits:
            if split.day <= until and instrument.known(query.today):
                yield {
                    "adjustment_type": "forward_split" if split.ratio > 1 else "reverse_split",
                    "execution_date": str(split.day),
                    "historical_adjustment_factor": round(
                        1 / instrument.split_ratio(split.day - timedelta(days=1), until), 6
                    ),
                    "id": _identity(instrument.symbol, split.day),
                    "split_from": plain(split.split_from),
                    "split_to": plain(split.split_to),
                    "ticker": instrument.symbol,
                }


def _dividends(query: MassiveQuery) -> Iterator[dict[str, Any]]:
    for instrument in query.book.values():
        if not instrument.known(query.today):
            continue
        declared = [dividend for dividend in instrument.dividends if dividend.declared <= query.today]
        factors = _dividend_factors(instrument, query.today)
        for dividend in declared:
            later = instrument.split_ratio(dividend.day, query.today)
            yield {
                "cash_amount": dividend.amount,
                "currency": "USD",
                "declaration_date": str(dividend.declared),
                "distribution_type": "recurring",
                "ex_dividend_date": str(dividend.day),
                "frequency": 4,
                "historical_adjustment_factor": factors.get(dividend.day, 1.0),
                "id": _identity(instrument.symbol, dividend.day),
                "pay_date": str(dividend.paid),
                "record_date": str(dividend.record),
                "split_adjusted_cash_amount": round(dividend.amount / later, 6),
                "ticker": instrument.symbol,
            }


def _dividend_factors(instrument: Instrument, today: date) -> Mapping[date, float]:
    """For each ex-dividend day, what prices before it are multiplied with, later dividends included."""
    factor = 1.0
    factors = {}
    for dividend in reversed(instrument.dividends):
        before = instrument.series.between(dividend.day - timedelta(days=10), dividend.day - timedelta(days=1))
        if dividend.day <= today and before:
            close = before[-1].close / instrument.split_ratio(before[-1].day, dividend.day)
            factor *= 1 - dividend.amount / close
            factors[dividend.day] = round(factor, 6)
    return factors


def _page(
    query: MassiveQuery, rows: Sequence[dict[str, Any]], *, sort: str, order: str, default: int, most: int
) -> Reply:
    """One page of the rows that the filters let through, in the order asked for."""
    rows = [row for row in rows if all(_matches(row, *item) for item in query.parameters.items())]
    column, _, direction = query.parameters.get("sort", sort).partition(".")
    if rows and column not in rows[0]:
        raise CallRefused(400, f"cannot sort by {column}")
    descending = (direction or query.parameters.get("order", order)) == "desc"
    rows = sorted(sorted(rows, key=itemgetter("ticker")), key=itemgetter(column), reverse=descending)
    size = query.limit(default, most)
    start = query.number("offset", 0)
    further: dict[str, Any] = {"count": len(rows[start : start + size])}
    if start + size < len(rows):
        kept = {name: text for name, text in query.parameters.items() if name not in {"apiKey", "cursor"}}
        further["next_url"] = query.next_url(query.call.path, **{**kept, "offset": start + size})
    return query.document(rows[start : start + size], **further)


def _matches(row: Mapping[str, Any], name: str, text: str) -> bool:
    """Whether a row passes a parameter such as ``ticker=AAPL`` or ``execution_date.gte=2026-01-01``."""
    column, _, comparison = name.partition(".")
    if column not in row or column == "active":
        return True
    held = str(row[column])
    if comparison == "any_of":
        return held in text.split(",")
    return _COMPARISONS[comparison](held, text) if comparison in _COMPARISONS else held == text


def _identity(symbol: str, day: date) -> str:
    return "E" + blake2b(f"{symbol}|{day}".encode(), digest_size=32).hexdigest()


def _only(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    return {column: row[column] for column in columns}
