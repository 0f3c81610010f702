"""The simulated Massive's tickers, splits and dividends over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

from market_spine.core.calendar import sessions
from spine.domains.market_data.simulator.book import Bar, Book, Dividend, HeldSeries, Instrument, Split
from spine.domains.market_data.simulator.server import RunningVendor, running_vendor

from . import patient

pytestmark = pytest.mark.server

SATURDAY = datetime(2026, 11, 21, 17, tzinfo=UTC)
AUTHORIZED = {"authorization": "Bearer K"}
FIRST = date(2026, 1, 2)


def flat_book() -> Book:
    """Five symbols that cost a hundred dollars: one splits and pays, one is delisted, one was renamed."""
    series = HeldSeries([Bar(day, 100, 100, 100, 100, 1000) for day in sessions(FIRST, date(2026, 11, 30))])
    splits = (Split(date(2026, 6, 10), 1, 4), Split(date(2026, 9, 1), 10, 1), Split(date(2026, 12, 1), 1, 2))
    dividends = tuple(
        Dividend(day, amount, date(2026, 3, 1), day, date(2026, 9, 30))
        for day, amount in ((date(2026, 3, 16), 1.0), (date(2026, 8, 17), 0.5))
    )
    return {
        "SPY": Instrument("SPY", series, FIRST, is_fund=True, name="SPDR"),
        "AAPL": Instrument("AAPL", series, FIRST, splits=splits, dividends=dividends, name="Apple"),
        "BCpC": Instrument("BCpC", series, FIRST, name="Brunswick preferred C"),
        "GONE": Instrument("GONE", series, FIRST, delisted=date(2026, 7, 1), name="Gone"),
        "ZI": Instrument("ZI", series, FIRST, renamed=date(2026, 5, 1), delisted=date(2026, 5, 1), name="Zoom"),
    }


@pytest.fixture
def served() -> Iterator[RunningVendor]:
    with running_vendor("polygon", flat_book(), SATURDAY, requests_per_minute=1000) as vendor:
        yield vendor


def get(served: RunningVendor, path: str, **parameters: str) -> dict[str, Any]:
    answer = patient.get(f"{served.url}{path}", params=parameters, headers=AUTHORIZED)
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = answer.json()
    return read


def symbols(answer: dict[str, Any]) -> list[str]:
    return [row["ticker"] for row in answer["results"]]


def test_tickers(served: RunningVendor) -> None:
    """Active tickers by default, delisted ones if asked for, renamed ones never; on a past day those of the day."""
    path = "/v3/reference/tickers"
    assert symbols(get(served, path)) == ["AAPL", "BCpC", "SPY"]
    assert symbols(get(served, path, ticker="BCpC")) == ["BCpC"]
    assert symbols(get(served, path, ticker="BCPC")) == []
    (gone,) = get(served, path, active="false")["results"]
    assert (gone["ticker"], gone["active"], gone["delisted_utc"]) == ("GONE", False, "2026-07-01T00:00:00Z")
    assert symbols(get(served, path, date="2026-06-01")) == ["AAPL", "BCpC", "GONE", "SPY"]
    assert symbols(get(served, path, type="ETF")) == ["SPY"]


def test_tickers_in_pages(served: RunningVendor) -> None:
    """A page that is not the last names the next one, without key, and the filters hold there, too."""
    first = get(served, "/v3/reference/tickers", limit="1", type="CS", apiKey="K")
    assert (symbols(first), first["count"]) == (["AAPL"], 1)
    assert "apiKey" not in first["next_url"]
    second = patient.get(first["next_url"], headers=AUTHORIZED).json()
    assert symbols(second) == ["BCpC"]
    assert "next_url" not in second


def test_ticker(served: RunningVendor) -> None:
    """One ticker, or 404 with a sentence: unknown, in the wrong case, renamed, or delisted unless a day is given."""
    assert get(served, "/v3/reference/tickers/AAPL")["results"]["name"] == "Apple"
    for symbol in ("NOSUCH", "aapl", "ZI", "GONE"):
        answer = patient.get(f"{served.url}/v3/reference/tickers/{symbol}", headers=AUTHORIZED)
        assert answer.status_code == 404
        assert (answer.json()["status"], answer.json()["message"]) == ("NOT_FOUND", "Ticker not found.")
    assert get(served, "/v3/reference/tickers/GONE", date="2026-06-30")["results"]["ticker"] == "GONE"


def test_splits(served: RunningVendor) -> None:
    """Splits newest first, announced ones included, with the factor that later prices are multiplied with."""
    rows = get(served, "/stocks/v1/splits", ticker="AAPL")["results"]
    assert [(row["execution_date"], row["split_from"], row["split_to"], row["adjustment_type"]) for row in rows] == [
        ("2026-12-01", 1, 2, "forward_split"),
        ("2026-09-01", 10, 1, "reverse_split"),
        ("2026-06-10", 1, 4, "forward_split"),
    ]
    # 1/2; ten old for one new on top of it: 10/2; then 1/4 of that.
    assert [row["historical_adjustment_factor"] for row in rows] == [0.5, 5.0, 1.25]
    served.clock.set(datetime(2026, 11, 16, 17, tzinfo=UTC))
    assert len(get(served, "/stocks/v1/splits", ticker="AAPL")["results"]) == 2


def test_filters(served: RunningVendor) -> None:
    """Columns can be compared with and be one of several values, and the order can be chosen."""

    def days(**parameters: str) -> list[str]:
        return [row["execution_date"] for row in get(served, "/stocks/v1/splits", **parameters)["results"]]

    assert days(**{"execution_date.gte": "2026-09-01"}) == ["2026-12-01", "2026-09-01"]
    assert days(**{"execution_date.gt": "2026-06-10", "execution_date.lt": "2026-12-01"}) == ["2026-09-01"]
    assert days(**{"execution_date.lte": "2026-06-10"}) == ["2026-06-10"]
    assert len(days(**{"ticker.any_of": "AAPL,SPY"})) == 3
    assert days(**{"ticker.any_of": "SPY"}) == []
    assert days(sort="execution_date.asc")[0] == "2026-06-10"


def test_dividends(served: RunningVendor) -> None:
    """Dividends with their dates, the amount in today's shares, and the factor for the prices before them."""
    earlier, later = get(served, "/stocks/v1/dividends", ticker="AAPL", sort="ex_dividend_date.asc")["results"]
    assert (earlier["ex_dividend_date"], earlier["pay_date"]) == ("2026-03-16", "2026-09-30")
    assert (earlier["cash_amount"], earlier["split_adjusted_cash_amount"]) == (1.0, 2.5)
    assert (later["cash_amount"], later["split_adjusted_cash_amount"]) == (0.5, 5.0)
    assert (later["historical_adjustment_factor"], earlier["historical_adjustment_factor"]) == (0.995, 0.98505)


def test_deprecated_endpoints(served: RunningVendor) -> None:
    """The endpoints of before 2026 still answer, without type and factor."""
    split = get(served, "/v3/reference/splits", ticker="AAPL", order="asc", limit="1")
    assert split["results"] == [
        {
            "id": split["results"][0]["id"],
            "execution_date": "2026-06-10",
            "split_from": 1,
            "split_to": 4,
            "ticker": "AAPL",
        }
    ]
    assert "next_url" in split
    (dividend, _) = get(served, "/v3/reference/dividends", ticker="AAPL")["results"]
    assert (dividend["dividend_type"], dividend["ex_dividend_date"]) == ("CD", "2026-08-17")
    assert "historical_adjustment_factor" not in dividend


@pytest.mark.parametrize("parameters", [{"limit": "many"}, {"sort": "colour"}, {"cursor": "%%%"}])
def test_bad_parameters(served: RunningVendor, parameters: dict[str, str]) -> None:
    """A limit, an order or a cursor that cannot be read is 400."""
    answer = patient.get(f"{served.url}/stocks/v1/splits", params=parameters, headers=AUTHORIZED)
    assert (answer.status_code, answer.json()["status"]) == (400, "ERROR")
