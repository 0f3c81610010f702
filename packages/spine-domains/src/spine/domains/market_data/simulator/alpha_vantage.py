"""Alpha Vantage: one address, every answer with status 200, every value a string.

Which key a refusal uses and its text are the vendor's own. Assumed, since nobody knows: the day of the quota
ends at midnight in New York, it is counted per key, and requests refused by the second do not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import pairwise
from typing import Any

from market_spine.core.calendar import FIRST_DAY
from spine.domains.market_data.simulator.alpha_vantage_texts import (
    BURST,
    DAILY_QUOTA,
    DEMO,
    INVALID,
    LEGACY_NOTE,
    NO_FUNCTION,
    NO_KEY,
    PREMIUM_BURST,
    PREMIUM_ENDPOINT,
    PREMIUM_MINUTE,
    PREMIUM_PARAMETER,
    SAMPLE_DATA,
)
from spine.domains.market_data.simulator.book import Bar, Book, Instrument
from spine.domains.market_data.simulator.exchange import CSV, Inquiry, Reply, Strikes, json_reply
from spine.domains.market_data.simulator.limits import DayCount, SlidingWindow
from spine.domains.market_data.simulator.switches import AlphaVantageSwitches
from spine.domains.market_data.simulator.trading_day import last_closed, new_york, session_under_way, so_far

COMPACT_BARS = 100
DEMO_KEY, DEMO_SYMBOL = "demo", "IBM"
PREMIUM_PER_SECOND = 30

FAULTS = {
    "empty": "{} instead of data",
    "invalid-call": "`Invalid API call` for a good symbol",
    "burst": "the refusal of a second request within a second",
    "daily-quota": "the refusal of the spent day, echoing the key",
    "minute-limit": "the refusal of a premium plan's minute",
    "legacy-note": "the refusal of 2018 to 2023, under Note",
    "sample-data": "made-up data beside a message",
    "missing-price": "the newest bar lacks its close",
    "missing-session": "the second newest bar is left out",
}
"""The vendor's own faults: kind to what the answer is."""

_ACCEPTED = ("*/*", "application/*", "application/json", "text/*", CSV)


def dashed(symbol: str) -> str:
    """Alpha Vantage's notation of a symbol in Massive's: ``BRK-B``, ``ABR-P-D``, ``AIIA-R``, ``AIIA-U``."""
    preferred = re.fullmatch(r"([A-Z]+)p([A-Z]?)", symbol)
    if preferred:
        return "-".join(filter(None, (preferred[1], "P", preferred[2])))
    if re.fullmatch(r"[A-Z]+r", symbol):
        return f"{symbol[:-1]}-R"
    return symbol.replace(".", "-")


class SimulatedAlphaVantage:
    """The simulated vendor.

    Args:
        book: what it knows.
        switches: how it behaves.
    """

    paths: Mapping[str, str] = {"query": "/query"}
    faults: Mapping[str, str] = FAULTS

    def __init__(self, book: Book, switches: AlphaVantageSwitches | None = None) -> None:
        self.switches: AlphaVantageSwitches = switches or AlphaVantageSwitches()
        self._book = book
        self._names = {dashed(symbol): symbol for symbol in book}
        self._day = DayCount()
        self._second = SlidingWindow(1)
        self._minute = SlidingWindow(60)
        self._functions: Mapping[str, tuple[str, Callable[[_Query], Reply]]] = {
            "TIME_SERIES_DAILY": ("daily", _daily),
            "TIME_SERIES_DAILY_ADJUSTED": ("adjusted", _adjusted),
            "SPLITS": ("splits", _splits),
            "DIVIDENDS": ("dividends", _dividends),
            "LISTING_STATUS": ("listing", self._listing),
        }

    def _known(self, name: str) -> Instrument | None:
        symbol = self._names.get(name)
        return self._book[symbol] if symbol else None

    def refusal(self, status: int) -> Reply:
        return json_reply({"detail": "Service unavailable."}, status)

    def used(self, now: datetime) -> Mapping[str, Mapping[str, int]]:
        return {
            "day": self._day.counts(now),
            "minute": self._minute.counts(now),
            "second": self._second.counts(now),
        }

    def answer(self, endpoint: str, call: Inquiry, now: datetime, strikes: Strikes) -> Reply:
        if endpoint not in self.paths:
            return json_reply({"detail": "Not Found"}, 404)
        accept = call.headers.get("accept", "*/*")
        if not any(kind in accept for kind in _ACCEPTED):
            return json_reply({"detail": "Could not satisfy the request Accept header."}, 406)
        function, key = call.query.get("function", ""), call.query.get("apikey", "")
        if function not in self._functions:
            return _error(NO_FUNCTION.format(function))
        if not key:
            return _error(NO_KEY)
        if key == DEMO_KEY and call.query.get("symbol") != DEMO_SYMBOL:
            return _information(DEMO)
        feature, compute = self._functions[function]
        refused = self._over_limit(key, now) or _spoiled(function, key, strikes) or self._premium(call, feature)
        if refused:
            return refused
        query = _Query(call, now, self._instrument(call.query.get("symbol", ""), now), self.switches, strikes)
        return compute(query) if query.sound else _error(INVALID.format(function))

    def _instrument(self, symbol: str, now: datetime) -> Instrument | None:
        instrument = self._known(symbol.replace(".", "-") if self.switches.dots else symbol)
        return instrument if instrument and instrument.active(new_york(now).date()) else None

    def _over_limit(self, key: str, now: datetime) -> Reply | None:
        free = self.switches.plan == "free"
        if free and self._day.count(key, now) >= self.switches.requests_per_day:
            return _information(DAILY_QUOTA.format(key, self.switches.requests_per_day))
        text = self._throttle(key, now, free=free)
        self._second.add(key, now)
        if text is None or self.switches.count_throttled:
            self._day.add(key, now)
            self._minute.add(key, now)
        return _information(text) if text else None

    def _throttle(self, key: str, now: datetime, *, free: bool) -> str | None:
        in_second = self._second.count(key, now)
        if free:
            return BURST if in_second >= self.switches.requests_per_second else None
        if in_second >= PREMIUM_PER_SECOND:
            return PREMIUM_BURST
        return PREMIUM_MINUTE if self._minute.count(key, now) >= self.switches.requests_per_minute else None

    def _premium(self, call: Inquiry, feature: str) -> Reply | None:
        if self.switches.plan == "premium":
            return None
        if feature in self.switches.premium_features:
            return _information(PREMIUM_ENDPOINT)
        if call.query.get("outputsize") == "full" and "full" in self.switches.premium_features:
            return _information(PREMIUM_PARAMETER.format(call.query["function"]))
        return None

    def _listing(self, query: _Query) -> Reply:
        today = new_york(query.now).date()
        day = query.day("date", today)
        state = query.call.query.get("state", "active")
        if day is None or day <= FIRST_DAY or state not in {"active", "delisted"}:
            return _error(INVALID.format("LISTING_STATUS"))
        rows = [
            (symbol, it.name, "NYSE ARCA" if it.is_fund else "NYSE", "ETF" if it.is_fund else "Stock", it.listed)
            + ((it.delisted, "Delisted") if state == "delisted" else ("null", "Active"))
            for symbol, it in sorted((dashed(symbol), it) for symbol, it in self._book.items())
            if it.known(day) and it.active(day) == (state == "active")
        ]
        return _csv(("symbol", "name", "exchange", "assetType", "ipoDate", "delistingDate", "status"), rows)


class _Query:
    """A request about one instrument."""

    def __init__(
        self,
        call: Inquiry,
        now: datetime,
        instrument: Instrument | None,
        switches: AlphaVantageSwitches,
        strikes: Strikes,
    ) -> None:
        self.call = call
        self.now = now
        self.symbol = call.query.get("symbol", "")
        self.size = call.query.get("outputsize", "compact")
        self.as_csv = call.query.get("datatype", "json") == "csv"
        self.strikes = strikes
        self._instrument = instrument
        self.under_way = session_under_way(now) if switches.partial_bars else None

    @property
    def sound(self) -> bool:
        """Whether its parameters make sense and its symbol is known."""
        parameters = self.call.query
        known = self._instrument is not None or parameters["function"] == "LISTING_STATUS"
        return known and self.size in {"compact", "full"} and parameters.get("datatype", "json") in {"json", "csv"}

    @property
    def instrument(self) -> Instrument:
        """The instrument of a sound query."""
        assert self._instrument is not None
        return self._instrument

    def day(self, name: str, default: date) -> date | None:
        """A parameter that is a date; None if it cannot be read."""
        try:
            return date.fromisoformat(self.call.query[name]) if name in self.call.query else default
        except ValueError:
            return None

    def bars(self) -> list[Bar]:
        """All bars by now, newest first."""
        bars = list(self.instrument.series.between(FIRST_DAY, self.under_way or last_closed(self.now)))
        if bars and bars[-1].day == self.under_way:
            bars[-1] = so_far(bars[-1], self.now)
        return bars[::-1]

    def shown(self, bars: Sequence[Bar]) -> list[Bar]:
        """The bars that the output size asks for, less what a fault takes away."""
        chosen = list(bars if self.size == "full" else bars[:COMPACT_BARS])
        if len(chosen) > 1 and self.strikes("missing-session"):
            del chosen[1]
        return chosen

    def series(self, title: str, rows: Mapping[date, Mapping[str, str]]) -> Reply:
        """A series in the form that was asked for."""
        if not rows:
            return _error(INVALID.format(self.call.query["function"]))
        newest = next(iter(rows))
        if self.strikes("missing-price"):
            rows = {**rows, newest: {name: "" if "close" in name else text for name, text in rows[newest].items()}}
        if self.as_csv:
            columns = [name.partition(" ")[2].replace(" ", "_") for name in rows[newest]]
            return _csv(("timestamp", *columns), [(day, *values.values()) for day, values in rows.items()])
        refreshed = f"{new_york(self.now):%Y-%m-%d %H:%M:%S}" if newest == self.under_way else str(newest)
        document: dict[str, Any] = {
            "Meta Data": {
                "1. Information": title,
                "2. Symbol": self.symbol,
                "3. Last Refreshed": refreshed,
                "4. Output Size": "Full size" if self.size == "full" else "Compact",
                "5. Time Zone": "US/Eastern",
            },
            "Time Series (Daily)": {str(day): values for day, values in rows.items()},
        }
        if self.strikes("sample-data"):
            document = {"message": SAMPLE_DATA, **document}
        return json_reply(document, indent=4)

    def table(self, rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> Reply:
        """Corporate actions in the form that was asked for."""
        if self.as_csv:
            return _csv(columns, [tuple(row.values()) for row in rows])
        return json_reply({"symbol": self.symbol, "data": rows}, indent=4)


def _daily(query: _Query) -> Reply:
    rows = {
        bar.day: {
            "1. open": f"{bar.open:.4f}",
            "2. high": f"{bar.high:.4f}",
            "3. low": f"{bar.low:.4f}",
            "4. close": f"{bar.close:.4f}",
            "5. volume": str(int(bar.volume)),
        }
        for bar in query.shown(query.bars())
    }
    return query.series("Daily Prices (open, high, low, close) and Volumes", rows)


def _adjusted(query: _Query) -> Reply:
    splits = {split.day: split.ratio for split in query.instrument.splits}
    dividends = {dividend.day: dividend.amount for dividend in query.instrument.dividends}
    bars = query.bars()
    adjusted = {bar.day: close for bar, close in zip(bars, _adjusted_closes(bars, splits, dividends), strict=True)}
    rows = {
        bar.day: {
            "1. open": str(bar.open),
            "2. high": str(bar.high),
            "3. low": str(bar.low),
            "4. close": str(bar.close),
            "5. adjusted close": str(adjusted[bar.day]),
            "6. volume": str(int(bar.volume)),
            "7. dividend amount": f"{dividends.get(bar.day, 0.0):.4f}",
            "8. split coefficient": str(splits.get(bar.day, 1.0)),
        }
        for bar in query.shown(bars)
    }
    return query.series("Daily Time Series with Splits and Dividend Events", rows)


def _adjusted_closes(
    bars: Sequence[Bar], splits: Mapping[date, float], dividends: Mapping[date, float]
) -> Iterator[float]:
    """Closes in today's shares, dividends reinvested on the day before; ``bars`` are newest first."""
    factor = 1.0
    for bar, before in pairwise(bars):
        yield bar.close * factor
        factor *= 1 - dividends.get(bar.day, 0.0) * splits.get(bar.day, 1.0) / before.close
        factor /= splits.get(bar.day, 1.0)
    if bars:
        yield bars[-1].close * factor


def _splits(query: _Query) -> Reply:
    today = new_york(query.now).date()
    rows = [
        {"effective_date": str(split.day), "split_factor": f"{split.ratio:.4f}"}
        for split in reversed(query.instrument.splits)
        if split.day <= today
    ]
    return query.table(rows, ("effective_date", "split_factor"))


def _dividends(query: _Query) -> Reply:
    today = new_york(query.now).date()
    rows = [
        {
            "ex_dividend_date": str(dividend.day),
            "declaration_date": str(dividend.declared),
            "record_date": str(dividend.record),
            "payment_date": str(dividend.paid),
            "amount": str(dividend.amount),
        }
        for dividend in reversed(query.instrument.dividends)
        if dividend.declared <= today
    ]
    return query.table(rows, ("ex_dividend_date", "declaration_date", "record_date", "payment_date", "amount"))


def _spoiled(function: str, key: str, strikes: Strikes) -> Reply | None:
    if strikes("empty"):
        return json_reply({})
    if strikes("invalid-call"):
        return _error(INVALID.format(function))
    if strikes("legacy-note"):
        return json_reply({"Note": LEGACY_NOTE}, indent=4)
    texts = {"burst": BURST, "daily-quota": DAILY_QUOTA.format(key, 25), "minute-limit": PREMIUM_MINUTE}
    struck = [text for kind, text in texts.items() if strikes(kind)]
    return _information(struck[0]) if struck else None


def _error(text: str) -> Reply:
    return json_reply({"Error Message": text}, indent=4)


def _information(text: str) -> Reply:
    return json_reply({"Information": text}, indent=4)


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Reply:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    return Reply("\n".join((*lines, "")).encode(), content_type=CSV)
