"""Massive, formerly Polygon.io: who is let in, and its bars by ticker, by day and of the day before.

Assumed, since nobody knows: the minute of the limit slides and refused requests do not count, a range that ends
today is refused on the free plan as is a request for today, and the grouped bar of a half day ends at 16:00, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from hashlib import blake2b
from math import ceil
from typing import Any

from spine.domains.market_data.simulator import massive_reference
from spine.domains.market_data.simulator.book import Bar, Book
from spine.domains.market_data.simulator.exchange import HTML, TEXT, Inquiry, Reply, Strikes, json_reply
from spine.domains.market_data.simulator.limits import SlidingWindow
from spine.domains.market_data.simulator.massive_bars import floor_day, known_bars, last_day, plain, row_text
from spine.domains.market_data.simulator.massive_query import (
    BACKWARDS,
    NO_DATA,
    NO_KEY,
    NOT_ENTITLED,
    NOT_YET,
    ONLY_DAYS,
    OUT_OF_HISTORY,
    THROTTLED,
    UNKNOWN_KEY,
    CallRefused,
    MassiveQuery,
)
from spine.domains.market_data.simulator.switches import MassiveSwitches
from spine.domains.market_data.simulator.trading_day import ONE_DAY, last_closed, milliseconds

DEFAULT_LIMIT, MOST_LIMIT = 5000, 50000
TEST_TICKERS = {"ATEST": 25.0, "CBOX": 10.0, "ZBZX": 25.0, "ZJZZT": 10.0, "ZTST": 12345.0, "ZVZZT": 10.0}
"""Some of the exchanges' test tickers in a grouped answer, and their price; they have no volume."""

FAULTS = {
    "empty-429": "429 without a body",
    "refused-200": "status 200 around a refusal",
    "no-results": "a success without bars",
    "null-results": "a success whose results are null",
    "missing-price": "the newest bar lacks its close",
    "wrong-count": "resultsCount is more than the bars that came",
    "wrong-ticker": "bars of another ticker than asked for",
    "wrong-adjusted": "says adjusted where raw was asked for, and the other way round",
    "foreign-next": "next_url leads to another host",
    "looping-next": "next_url leads to the same page",
}
"""The vendor's own faults: kind to what the answer is."""

_FEATURES = {"ticker": "tickers", "splits-v3": "splits", "dividends-v3": "dividends"}
"""Endpoints that a plan includes under the name of another."""
_GATEWAY = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
_GATEWAY_NAMES = {
    500: "500 Internal Server Error",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
}


class Massive:
    """The simulated vendor.

    Args:
        book: what it knows.
        switches: how it behaves.
    """

    paths: Mapping[str, str] = {
        "range": "/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{from}/{to}",
        "grouped": "/v2/aggs/grouped/locale/us/market/stocks/{date}",
        "prev": "/v2/aggs/ticker/{ticker}/prev",
        "open-close": "/v1/open-close/{ticker}/{date}",
        "tickers": "/v3/reference/tickers",
        "ticker": "/v3/reference/tickers/{ticker}",
        "splits": "/stocks/v1/splits",
        "dividends": "/stocks/v1/dividends",
        "splits-v3": "/v3/reference/splits",
        "dividends-v3": "/v3/reference/dividends",
    }
    faults: Mapping[str, str] = FAULTS

    def __init__(self, book: Book, switches: MassiveSwitches | None = None) -> None:
        self.switches: MassiveSwitches = switches or MassiveSwitches()
        self._book = book
        self._minute = SlidingWindow(60)
        self._requests = 0

    def refusal(self, status: int) -> Reply:
        if status in _GATEWAY_NAMES:
            return Reply(_GATEWAY.format(_GATEWAY_NAMES[status]).encode(), status, HTML)
        return CallRefused(status, THROTTLED if status == 429 else NOT_ENTITLED).reply(self._request_id())

    def used(self, now: datetime) -> Mapping[str, Mapping[str, int]]:
        return {"minute": self._minute.counts(now)}

    def answer(self, endpoint: str, call: Inquiry, now: datetime, strikes: Strikes) -> Reply:
        if endpoint not in _ENDPOINTS:
            return Reply(b"404 page not found", 404, TEXT)
        request_id = self._request_id()
        try:
            self._admit(call, now)
            if strikes("empty-429"):
                return Reply(b"", 429)
            if _FEATURES.get(endpoint, endpoint) in self.switches.not_entitled:
                raise CallRefused(403, NOT_ENTITLED)
            if strikes("refused-200"):
                return json_reply({"status": "NOT_AUTHORIZED", "request_id": request_id, "message": NOT_ENTITLED})
            return _ENDPOINTS[endpoint](MassiveQuery(call, now, self._book, self.switches, request_id, strikes))
        except CallRefused as refused:
            if refused.status == 429 and self.switches.empty_429:
                return Reply(b"", 429, headers=refused.headers)
            return refused.reply(request_id)

    def _request_id(self) -> str:
        self._requests += 1
        return blake2b(str(self._requests).encode(), digest_size=16).hexdigest()

    def _admit(self, call: Inquiry, now: datetime) -> None:
        scheme, _, key = call.headers.get("authorization", "").partition(" ")
        key = key if scheme.lower() == "bearer" else call.query.get("apiKey", "")
        if not key:
            raise CallRefused(401, NO_KEY)
        if self.switches.keys and key not in self.switches.keys:
            raise CallRefused(401, UNKNOWN_KEY)
        limited = self.switches.plan == "free" and self.switches.requests_per_minute
        refused = limited and self._minute.count(key, now) >= limited
        if not refused or self.switches.count_throttled:
            self._minute.add(key, now)
        if refused:
            wait = {"retry-after": str(ceil(self._minute.wait(key, now)))} if self.switches.retry_after else {}
            raise CallRefused(429, THROTTLED, **wait)


def _range(query: MassiveQuery) -> Reply:
    asked = query.call.parameters
    if (asked["multiplier"], asked["timespan"]) != ("1", "day"):
        raise CallRefused(400, ONLY_DAYS)
    first, last = _span(query)
    bars = _bars(query, asked["ticker"], first, last)
    newest_first = query.parameters.get("sort", "asc") == "desc"
    if newest_first:
        bars = bars[::-1]
    size = query.limit(DEFAULT_LIMIT, MOST_LIMIT)
    further: dict[str, Any] = {}
    if len(bars) > size:
        bars = bars[:size]
        from_, to = asked["from"], asked["to"]
        if newest_first:
            to = str(milliseconds(bars[-1].day - ONE_DAY))
        else:
            from_ = str(milliseconds(bars[-1].day + ONE_DAY))
        cursor = {"limit": size, "sort": "desc" if newest_first else "asc"}
        if not query.adjusted:
            cursor = {"adjusted": "false", **cursor}
        further["next_url"] = query.next_url(f"/v2/aggs/ticker/{asked['ticker']}/range/1/day/{from_}/{to}", **cursor)
    rows = [row_text(asked["ticker"], bar, named=False) for bar in bars]
    return _answer(query, rows, ticker=asked["ticker"], **further)


def _span(query: MassiveQuery) -> tuple[date, date]:
    """The days of a range that may be seen."""
    first = query.day("from", query.call.parameters["from"])
    last = query.day("to", query.call.parameters["to"])
    if last < first:
        raise CallRefused(400, BACKWARDS)
    floor = floor_day(query.plan, query.now)
    clips = query.switches.edge == "clip" or (query.switches.edge == "plan" and query.switches.plan == "free")
    if last < floor or (first < floor and not clips) or last > query.today:
        raise CallRefused(403, OUT_OF_HISTORY)
    if last == query.today and not query.plan.today and (first == last or query.switches.range_today == "refuse"):
        raise CallRefused(403, NOT_YET)
    return max(first, floor), last


def _one_day(query: MassiveQuery) -> date:
    """The day of a request for one day, if it may be seen."""
    day = query.day("date", query.call.parameters["date"])
    if day == query.today and not query.plan.today:
        raise CallRefused(403, NOT_YET)
    if not floor_day(query.plan, query.now) <= day <= query.today:
        raise CallRefused(403, OUT_OF_HISTORY)
    return day


def _bars(query: MassiveQuery, symbol: str, first: date, last: date) -> Sequence[Bar]:
    instrument = query.book.get(symbol)
    if instrument is None or not instrument.known(query.today):
        return ()
    return known_bars(
        instrument,
        first,
        last,
        query.plan,
        query.now,
        adjusted=query.adjusted,
        revisions=query.switches.revisions,
    )


def _grouped(query: MassiveQuery) -> Reply:
    day = _one_day(query)
    bars = ((symbol, bar) for symbol in query.book for bar in _bars(query, symbol, day, day))
    rows = [row_text(symbol, bar, named=True) for symbol, bar in bars]
    if rows:
        tests = ((symbol, Bar(day, price, price, price, price, 0.0)) for symbol, price in TEST_TICKERS.items())
        rows += [row_text(symbol, bar, named=True) for symbol, bar in tests]
    return _answer(query, rows)


def _prev(query: MassiveQuery) -> Reply:
    symbol = query.call.parameters["ticker"]
    day = min(last_day(query.plan, query.now), last_closed(query.now))
    rows = [row_text(symbol, bar, named=True) for bar in _bars(query, symbol, day, day)]
    return _answer(query, rows, ticker=symbol)


def _open_close(query: MassiveQuery) -> Reply:
    day = _one_day(query)
    symbol = query.call.parameters["ticker"]
    bars = _bars(query, symbol, day, day)
    if not bars:
        raise CallRefused(404, NO_DATA)
    (bar,) = bars
    return json_reply(
        {
            "status": query.status,
            "from": str(day),
            "symbol": symbol,
            "open": bar.open,
            "high": bar.high,
            "low": bar.low,
            "close": bar.close,
            "volume": plain(bar.volume),
            "afterHours": bar.close,
            "preMarket": bar.open,
        }
    )


def _answer(query: MassiveQuery, rows: list[str], *, ticker: str | None = None, **further: Any) -> Reply:
    """Bars in their envelope; without bars there is no ``results``."""
    if query.strikes("no-results"):
        rows, further = [], {}
    count = len(rows)
    if rows and query.strikes("missing-price"):
        bar = json.loads(rows[-1])
        del bar["c"]
        rows[-1] = json.dumps(bar)
    if ticker and query.strikes("wrong-ticker"):
        ticker += "X"
    head = {
        **({"ticker": ticker} if ticker else {}),
        "queryCount": count,
        "resultsCount": count + query.strikes("wrong-count"),
        "adjusted": query.adjusted != query.strikes("wrong-adjusted"),
    }
    results = f'"results":[{",".join(rows)}],' if rows else ""
    if query.strikes("null-results"):
        results = '"results":null,'
    tail = {"status": query.status, "request_id": query.request_id, "count": count, **further}
    return Reply(f"{_compact(head)[:-1]},{results}{_compact(tail)[1:]}".encode())


def _compact(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


_ENDPOINTS: Mapping[str, Callable[[MassiveQuery], Reply]] = {
    "range": _range,
    "grouped": _grouped,
    "prev": _prev,
    "open-close": _open_close,
    "tickers": massive_reference.tickers,
    "ticker": massive_reference.ticker,
    "splits": massive_reference.splits,
    "dividends": massive_reference.dividends,
    "splits-v3": massive_reference.splits_v3,
    "dividends-v3": massive_reference.dividends_v3,
}
