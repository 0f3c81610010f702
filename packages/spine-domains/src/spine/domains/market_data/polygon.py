"""Massive (formerly Polygon.io): requests, what its answers mean, and reading them. Pure; facts of 2026-11.

The free plan allows five calls a minute, two years of history, and a session from the day after it.
``api.massive.com`` and ``api.polygon.io`` are the same service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

from market_spine.core.calendar import ZONE
from market_spine.core.capture import Part
from market_spine.core.jsontext import read_json
from market_spine.core.quota import Limit
from market_spine.errors import ContentError
from spine.domains.market_data import parse
from spine.domains.market_data.vendors import BARS, DIVIDENDS, SPLITS, Call, Finding, RawBars, Wanted

if TYPE_CHECKING:
    import polars as pl

RANGE, GROUPED = "range", "grouped"

HOSTS = ("api.massive.com", "api.polygon.io")
"""Both names of the service: a further page may be on either."""

_NAMES = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume", "vw": "vwap", "n": "trade_count"}


@dataclass(frozen=True, slots=True)
class Polygon:
    """The source ``polygon``; a Vendor."""

    name: str = "polygon"
    offline: bool = False
    url: str = "https://api.massive.com"
    url_variable: str = "POLYGON_URL"
    key_variables: tuple[str, ...] = ("POLYGON_API_KEY", "MASSIVE_API_KEY")
    limits: tuple[Limit, ...] = (Limit(5, timedelta(minutes=1)),)
    limits_variable: str = "POLYGON_LIMITS"
    history_years: int | None = 2

    def notation(self, symbol: str) -> str:
        """The canonical spelling is theirs."""
        return symbol

    def credentials(self, key: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """The key goes into a header."""
        return {"Authorization": f"Bearer {key}"}, {}

    def bars(self, wanted: Wanted) -> Call:
        """A range of daily bars, both ends included."""
        path = f"/v2/aggs/ticker/{quote(wanted.symbol, safe='')}/range/1/day/{wanted.first}/{wanted.last}"
        return Call(BARS, RANGE, path, {"adjusted": "false", "sort": "asc", "limit": "50000"})

    def actions(self, symbol: str) -> Sequence[Call]:
        """One call each for splits and dividends."""
        return _actions({"ticker": symbol})

    def many_actions(self, symbols: Sequence[str]) -> Sequence[Call]:
        """The same two calls for any number of symbols."""
        return _actions({"ticker.any_of": ",".join(symbols)})

    def session(self, day: date) -> Call | None:
        """The whole market's bars of one session in one answer."""
        path = f"/v2/aggs/grouped/locale/us/market/stocks/{day}"
        return Call(f"{BARS}-{day}", GROUPED, path, {"adjusted": "false", "include_otc": "false"})

    def next_page(self, call: Call, body: bytes, page: int) -> Call | None:
        """What ``next_url`` names, which comes without key; an address elsewhere is refused.

        Raises:
            ContentError: kind ``foreign_page``.
        """
        document = read_json(body)
        following = document.get("next_url") if isinstance(document, dict) else None
        if not following:
            return None
        try:
            parts = urlsplit(str(following))
            asked = parse_qsl(parts.query)
        except ValueError as error:
            raise ContentError(f"polygon names a further page at {following!r}", kind="foreign_page") from error
        local = parts.hostname in ("localhost", "127.0.0.1")
        if parts.hostname not in HOSTS and not local:
            raise ContentError(
                f"polygon names a further page at {parts.hostname}, which is not its own host", kind="foreign_page"
            )
        query = {name: value for name, value in asked if name.lower() != "apikey"}
        return Call(f"{call.part.partition('-')[0]}-{page}", call.form, parts.path, query)

    def explain(self, symbol: str) -> Call | None:
        """Ask the reference data whether the ticker was delisted."""
        return Call("reference", "reference", "/v3/reference/tickers", {"ticker": symbol, "active": "false"})

    def explained(self, body: bytes, symbol: str) -> str:
        """``delisted on ...`` if the reference data has it among the inactive tickers."""
        document = read_json(body)
        for row in (document.get("results") if isinstance(document, dict) else None) or ():
            if isinstance(row, dict) and row.get("ticker") == symbol:
                return f"delisted on {str(row.get('delisted_utc', 'an unknown day'))[:10]}"
        return ""

    def classify(self, status: int, body: bytes) -> Finding:
        """Tell an answer by its status and body; a refusal may come with status 200."""
        if status == 429:
            return Finding("throttle", _words(body) or "too many requests")
        if status >= 500:
            return Finding("transient", f"HTTP {status}: {parse.shown(body)}")
        try:
            document = read_json(body)
        except ValueError:
            wrong_path = status == 404
            return Finding("bad_request" if wrong_path else "transient", f"HTTP {status}: {parse.shown(body)}")
        if status == 401:
            return Finding("auth", _words(body))
        state = document.get("status") if isinstance(document, dict) else None
        if status == 403 or state == "NOT_AUTHORIZED":
            return _refusal(_words(body))
        if status == 404:
            unknown = "ticker" in _words(body).lower()
            return Finding("unknown_symbol" if unknown else "no_data", _words(body))
        if status == 400:
            return Finding("bad_request", _words(body))
        if status != 200 or state == "ERROR":
            throttled = "maximum requests" in _words(body)
            return Finding(
                "throttle" if throttled else "unknown", f"HTTP {status}: {_words(body) or parse.shown(body)}"
            )
        return _success(document)

    def parse_bars(self, part: Part, symbol: str) -> RawBars:
        """Read a range, or the symbol's row of a whole session.

        Raises:
            ContentError: ``not_json``, ``wrong_symbol``, ``count_mismatch``, ``wrong_session``, ``adjusted``.
        """
        if part.metadata.get("form") == GROUPED:
            envelope, rows = _grouped(part.data, part.origin)
            found = rows.get(symbol, [])
        else:
            envelope = parse.read_json(part)
            found = list(enumerate(_results(envelope, part.origin), start=1))
            if envelope.get("ticker") != symbol:
                raise ContentError(
                    f"{part.origin} answered for {envelope.get('ticker')!r}, not for {symbol}", kind="wrong_symbol"
                )
        asked = part.metadata.get("adjusted", "false") == "true"
        if bool(envelope.get("adjusted")) != asked:
            raise ContentError(f"{part.origin} answered with {'un' if asked else ''}adjusted prices", kind="adjusted")
        frame = parse.bars_frame((json.dumps(row), _session(row.get("t")), _renamed(row)) for _, row in found)
        expected = parse.day(part.metadata.get("session"))
        if expected and any(session != expected for session in frame["trade_date"]):
            raise ContentError(f"{part.origin} answered for another session than {expected}", kind="wrong_session")
        return RawBars(frame, adjusted=asked)

    def parse_splits(self, part: Part, symbol: str) -> pl.DataFrame:
        """Read ``/stocks/v1/splits``."""
        rows = _own(part, symbol)
        return parse.splits_frame(
            (
                parse.day(row.get("execution_date")),
                parse.number(row.get("split_from")),
                parse.number(row.get("split_to")),
                str(row.get("adjustment_type") or "unknown"),
            )
            for row in rows
        )

    def parse_dividends(self, part: Part, symbol: str) -> pl.DataFrame:
        """Read ``/stocks/v1/dividends``; amounts are those declared, not adjusted for splits."""
        rows = _own(part, symbol)
        return parse.dividends_frame(
            (
                parse.day(row.get("ex_dividend_date")),
                str(row.get("distribution_type") or "unknown"),
                parse.number(row.get("cash_amount")),
                str(row.get("currency") or "USD"),
            )
            for row in rows
        )


def _actions(tickers: Mapping[str, str]) -> Sequence[Call]:
    query = {**tickers, "limit": "5000"}
    return (
        Call(SPLITS, SPLITS, "/stocks/v1/splits", query),
        Call(DIVIDENDS, DIVIDENDS, "/stocks/v1/dividends", query),
    )


def _words(body: bytes) -> str:
    """The vendor's own words: ``error`` with status ERROR, ``message`` with the others."""
    try:
        document = read_json(body)
    except ValueError:
        return ""
    if not isinstance(document, dict):
        return ""
    return str(document.get("error") or document.get("message") or "")


def _refusal(words: str) -> Finding:
    if "before end of day" in words:
        return Finding("not_yet", words)
    return Finding("out_of_history" if "timeframe" in words else "entitlement", words)


def _success(document: Any) -> Finding:
    if not isinstance(document, dict):
        return Finding("ok")
    count, rows = document.get("resultsCount"), document.get("results")
    if count and not rows:
        return Finding("transient", f"{count} results are announced and none came")
    if count == 0 or (rows is None and "queryCount" in document):
        return Finding("no_data", "no bars in that range")
    return Finding("ok")


def _results(envelope: Any, origin: str) -> list[dict[str, Any]]:
    rows = envelope.get("results") if isinstance(envelope, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ContentError(f"{origin} has no list of results", kind="no_series")
    count = envelope.get("resultsCount", len(rows))
    if count != len(rows):
        raise ContentError(f"{origin} announces {count} results and has {len(rows)}", kind="count_mismatch")
    return rows


@lru_cache(maxsize=4)
def _grouped(data: bytes, origin: str) -> tuple[dict[str, Any], dict[str, list[tuple[int, dict[str, Any]]]]]:
    """A whole session by ticker, read once for all symbols: the envelope, and ticker to each (line, row) of it."""
    envelope = parse.read_json(Part(BARS, data, origin))
    rows = _results(envelope, origin)
    by_ticker: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for number, row in enumerate(rows, start=1):
        by_ticker.setdefault(str(row.get("T")), []).append((number, row))
    return {name: value for name, value in envelope.items() if name != "results"}, by_ticker


def _own(part: Part, symbol: str) -> list[dict[str, Any]]:
    """The symbol's rows, one of those that repeat each other under one id."""
    rows = _results(parse.read_json(part), part.origin)
    own = [row for row in rows if row.get("ticker") == symbol]
    return [row for place, row in enumerate(own) if row.get("id") is None or row not in own[:place]]


def _session(milliseconds: Any) -> date | None:
    """The session of a time stamp: its date in New York (00:00 there in ranges, 16:00 in grouped answers)."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone(ZONE).date()
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _renamed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {ours: row.get(theirs) for theirs, ours in _NAMES.items()}


SOURCE = Polygon()
