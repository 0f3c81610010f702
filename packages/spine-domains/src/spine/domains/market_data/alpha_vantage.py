"""Alpha Vantage: requests, what its answers mean, and reading them. Pure; facts of 2026-11.

Everything arrives as HTTP 200, so an answer is told by its body. A free key may fetch the latest 100 bars
(``outputsize=full`` is refused), 25 times a day over all functions and once a second.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from market_spine.core.capture import Part
from market_spine.core.jsontext import read_json
from market_spine.core.quota import Limit
from market_spine.errors import ContentError, SourceError
from spine.domains.market_data import parse
from spine.domains.market_data.vendors import BARS, DIVIDENDS, SPLITS, Call, Finding, FindingKind, RawBars, Wanted

if TYPE_CHECKING:
    import polars as pl

_NOTES = ("Error Message", "Information", "Note", "message", "detail")
"""Members that carry words instead of data."""

_MEANINGS: tuple[tuple[str, FindingKind], ...] = (
    (r"apikey is invalid or missing|\*\*demo\*\*", "auth"),
    (r"detected your API key|standard API rate limit", "daily_quota"),
    (r"1 request per second|Burst pattern|Minute-level|call frequency", "throttle"),
    (r"premium (?:feature|endpoint)|sample data", "entitlement"),
    (r"Invalid API call", "unknown_symbol"),
    (r"does not exist|Accept header", "bad_request"),
)
"""In this order: the text about bursts also names the daily limit and the premium plans."""

_FIELDS = ("open", "high", "low", "close", "volume")
_PREFERRED = re.compile(r"([A-Z][A-Z0-9]*)p([A-Z])")
_RIGHTS = re.compile(r"([A-Z][A-Z0-9]*)r")
_PLAIN = re.compile(r"[A-Z0-9]+(?:\.[A-Z]+)*")


@dataclass(frozen=True, slots=True)
class AlphaVantage:
    """The source ``alpha_vantage``; a Vendor."""

    name: str = "alpha_vantage"
    offline: bool = False
    url: str = "https://www.alphavantage.co"
    url_variable: str = "ALPHA_VANTAGE_URL"
    key_variables: tuple[str, ...] = ("ALPHA_VANTAGE_API_KEY",)
    limits: tuple[Limit, ...] = (Limit(1, timedelta(seconds=1)), Limit(25, timedelta(days=1)))
    limits_variable: str = "ALPHA_VANTAGE_LIMITS"
    history_years: int | None = None

    def notation(self, symbol: str) -> str:
        """Dashes for dots (``BRK-B``), ``ABR-P-D`` for preferred ``ABRpD``, ``AIIA-R`` for rights ``AIIAr``."""
        if match := _PREFERRED.fullmatch(symbol):
            return f"{match[1]}-P-{match[2]}"
        if match := _RIGHTS.fullmatch(symbol):
            return f"{match[1]}-R"
        if not _PLAIN.fullmatch(symbol):
            raise SourceError(
                f"alpha_vantage has no spelling for {symbol}",
                hint="write the symbol in capitals if it is a common share; else use --source polygon",
                kind="unknown_symbol",
            )
        return symbol.replace(".", "-")

    def credentials(self, key: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """The key goes into the query: nothing else is accepted."""
        return {}, {"apikey": key}

    def bars(self, wanted: Wanted) -> Call:
        """All there is or the latest 100 bars: a range cannot be asked for."""
        size = "full" if wanted.full else "compact"
        return self._call(BARS, "TIME_SERIES_DAILY", wanted.symbol, {"outputsize": size, "datatype": "json"})

    def actions(self, symbol: str) -> Sequence[Call]:
        """One call each for splits and dividends."""
        return (
            self._call(SPLITS, "SPLITS", symbol, {"datatype": "csv"}),
            self._call(DIVIDENDS, "DIVIDENDS", symbol, {"datatype": "csv"}),
        )

    def many_actions(self, symbols: Sequence[str]) -> Sequence[Call]:
        """There is no such function."""
        return ()

    def session(self, day: date) -> Call | None:
        """There is no such function."""
        return None

    def next_page(self, call: Call, body: bytes, page: int) -> Call | None:
        """Answers are whole."""
        return None

    def explain(self, symbol: str) -> Call | None:
        """The list of delisted symbols; the same for every symbol."""
        return Call("listing", "LISTING_STATUS", "/query", {"function": "LISTING_STATUS", "state": "delisted"})

    def explained(self, body: bytes, symbol: str) -> str:
        """``delisted on ...`` if the list of delisted symbols has it."""
        wanted = self.notation(symbol)
        columns = ("symbol", "delistingDate")
        for row in parse.read_csv(Part("listing", body, "LISTING_STATUS"), columns):
            if row["symbol"] == wanted:
                return f"delisted on {row['delistingDate']}"
        return ""

    def classify(self, status: int, body: bytes) -> Finding:
        """Tell an answer by its body; the status counts only where it is not 200."""
        text = body.decode("utf-8", "replace").strip()
        if status >= 500 or text.startswith("<"):
            return Finding("transient", f"HTTP {status}: {parse.shown(body)}")
        if not text.startswith(("{", "[")):
            good = status == 200 and "," in text
            return Finding("ok") if good else Finding("unknown", f"HTTP {status}: {parse.shown(body)}")
        try:
            document = read_json(text)
        except ValueError:
            return Finding("transient", f"cut JSON: {parse.shown(body)}")
        if not isinstance(document, dict):
            return Finding("unknown", f"HTTP {status}: {parse.shown(body)}")
        if document == {}:
            return Finding("no_data", "an empty answer")
        note = next((str(document[name]) for name in _NOTES if name in document), None)
        if note is None:
            return Finding("ok") if status == 200 else Finding("unknown", f"HTTP {status}: {parse.shown(body)}")
        for pattern, kind in _MEANINGS:
            if re.search(pattern, note):
                return Finding(kind, _without_key(note))
        return Finding("throttle" if status == 429 else "unknown", _without_key(note))

    def parse_bars(self, part: Part, symbol: str) -> RawBars:
        """Read TIME_SERIES_DAILY or _ADJUSTED, JSON or CSV, prices as traded.

        Raises:
            ContentError: ``not_json``, ``not_csv``, ``wrong_symbol``, ``no_series``.
        """
        if not part.data.lstrip().startswith(b"{"):
            rows = parse.read_csv(part, ("timestamp", *_FIELDS))
            return RawBars(parse.bars_frame((",".join(row.values()), parse.day(row["timestamp"]), row) for row in rows))
        document = dict(parse.read_json_pairs(part))
        series = document.get("Time Series (Daily)")
        if not isinstance(series, tuple):
            raise ContentError(
                f"{part.origin} has no daily series: {parse.shown(part.data)}",
                hint="run again; if it stays so, the vendor has changed its answers",
                kind="no_series",
            )
        meta = document.get("Meta Data")
        echo = str(dict(meta).get("2. Symbol", "")) if isinstance(meta, tuple) else ""
        if echo.upper() != self.notation(symbol).upper():
            raise ContentError(f"{part.origin} answered for {echo!r}, not for {symbol}", kind="wrong_symbol")
        return RawBars(parse.bars_frame(_series_rows(series)))

    def parse_splits(self, part: Part, symbol: str) -> pl.DataFrame:
        """Read SPLITS as CSV: ``split_factor`` is new shares for one old share."""
        rows = parse.read_csv(part, ("effective_date", "split_factor"))
        return parse.splits_frame(
            (parse.day(row["effective_date"]), 1.0, parse.number(row["split_factor"]), "unknown") for row in rows
        )

    def parse_dividends(self, part: Part, symbol: str) -> pl.DataFrame:
        """Read DIVIDENDS as CSV."""
        rows = parse.read_csv(part, ("ex_dividend_date", "amount"))
        return parse.dividends_frame(
            (parse.day(row["ex_dividend_date"]), "unknown", parse.number(row["amount"]), "USD") for row in rows
        )

    def _call(self, part: str, function: str, symbol: str, params: Mapping[str, str]) -> Call:
        query = {"function": function, "symbol": self.notation(symbol), **params}
        return Call(part, function, "/query", query)


def _series_rows(series: parse.Pairs) -> Iterable[tuple[str, date | None, dict[str, Any]]]:
    """Each member of a series: its text, session, and values under names freed of ``1. ``, ``2. ``, ..."""
    for session, values in series:
        members = values if isinstance(values, tuple) else ()
        named = {name.partition(". ")[2]: value for name, value in members}
        yield json.dumps({session: dict(members)}), parse.day(session), named


def _without_key(text: str) -> str:
    return re.sub(r"(API key as )\S+", r"\1***", text)


SOURCE = AlphaVantage()
