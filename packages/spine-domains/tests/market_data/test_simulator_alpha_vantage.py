"""The simulated Alpha Vantage over real HTTP: what it serves, what it refuses and in which words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx2
import pytest

from market_spine.core.calendar import sessions
from spine.domains.market_data.simulator.book import Bar, Book, Dividend, HeldSeries, Instrument, Split
from spine.domains.market_data.simulator.generated import generate_book
from spine.domains.market_data.simulator.server import RunningVendor, running_vendor

from . import patient

pytestmark = pytest.mark.server

SATURDAY = datetime(2026, 11, 21, 17, tzinfo=UTC)
FIRST, LAST = date(2026, 5, 1), date(2026, 11, 20)
SPLIT_DAY = date(2026, 11, 18)
EX_DAY = date(2026, 11, 19)
KEY = "SECRETKEY"
INVALID = "Invalid API call. Please retry or visit the documentation (https://www.alphavantage.co/documentation/) for "
PREMIUM = "You may subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to instantly unlock"


def flat_book() -> Book:
    """One symbol of 400 dollars before its split of four for one and 100 after it; and one delisted."""
    days = sessions(FIRST, LAST)

    def bar(day: date) -> Bar:
        price = 400.0 if day < SPLIT_DAY else 100.0
        return Bar(day, price, price + 2, price - 1, price + 1.25, 390_000.0)

    dividend = Dividend(EX_DAY, 0.51, date(2026, 11, 5), EX_DAY, date(2026, 12, 10))
    series = HeldSeries([bar(day) for day in days])
    splits = (Split(SPLIT_DAY, 1, 4),)
    gone = HeldSeries([bar(day) for day in days if day <= date(2026, 6, 30)])
    return {
        "AAPL": Instrument("AAPL", series, FIRST, name="Apple Inc", splits=splits, dividends=(dividend,)),
        "BRK.B": Instrument("BRK.B", series, FIRST, name="Berkshire"),
        "ABRpD": Instrument("ABRpD", series, FIRST, name="Arbor preferred D"),
        "IBM": Instrument("IBM", series, FIRST, name="IBM"),
        "SPY": Instrument("SPY", series, FIRST, name="SPDR", is_fund=True),
        "GONE": Instrument("GONE", gone, FIRST, delisted=date(2026, 7, 1), name="Gone Inc"),
    }


@pytest.fixture
def served() -> Iterator[RunningVendor]:
    with running_vendor("alpha_vantage", flat_book(), SATURDAY, requests_per_second=1000) as vendor:
        yield vendor


def ask(served: RunningVendor, **parameters: str) -> httpx2.Response:
    """A request with the defaults of a loader."""
    query = {"function": "TIME_SERIES_DAILY", "symbol": "AAPL", "apikey": KEY, **parameters}
    return patient.get(f"{served.url}/query", params={name: text for name, text in query.items() if text})


def document(served: RunningVendor, **parameters: str) -> dict[str, Any]:
    answer = ask(served, **parameters)
    assert answer.status_code == 200
    read: dict[str, Any] = answer.json()
    return read


def test_compact_series(served: RunningVendor) -> None:
    """A compact answer holds the last 100 sessions, newest first, every value a string with four decimals."""
    answer = document(served)
    assert answer["Meta Data"] == {
        "1. Information": "Daily Prices (open, high, low, close) and Volumes",
        "2. Symbol": "AAPL",
        "3. Last Refreshed": "2026-11-20",
        "4. Output Size": "Compact",
        "5. Time Zone": "US/Eastern",
    }
    series = answer["Time Series (Daily)"]
    assert [*series] == [str(day) for day in reversed(sessions(FIRST, LAST)[-100:])]
    assert series["2026-11-20"] == {
        "1. open": "100.0000",
        "2. high": "102.0000",
        "3. low": "99.0000",
        "4. close": "101.2500",
        "5. volume": "390000",
    }


def test_raw_across_split(served: RunningVendor) -> None:
    """Daily prices are as traded: they jump at a split."""
    series = document(served)["Time Series (Daily)"]
    assert (series["2026-11-17"]["4. close"], series["2026-11-18"]["4. close"]) == ("401.2500", "101.2500")


def test_csv(served: RunningVendor) -> None:
    """CSV has neither symbol nor metadata, but the same bars."""
    answer = ask(served, datatype="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    lines = answer.text.splitlines()
    assert lines[0] == "timestamp,open,high,low,close,volume"
    assert lines[1] == "2026-11-20,100.0000,102.0000,99.0000,101.2500,390000"
    assert len(lines) == 101


@pytest.mark.parametrize("datatype", ["json", "csv"])
def test_full_is_premium(served: RunningVendor, datatype: str) -> None:
    """A free key is refused the full series in the vendor's words, as JSON even where CSV was asked for."""
    assert document(served, outputsize="full", datatype=datatype) == {
        "Information": "Thank you for using Alpha Vantage! The outputsize=full parameter value is a premium feature for"
        f" the TIME_SERIES_DAILY endpoint. {PREMIUM} all premium features"
    }


def test_adjusted_is_premium(served: RunningVendor) -> None:
    """A free key is refused the adjusted series as a premium endpoint."""
    assert document(served, function="TIME_SERIES_DAILY_ADJUSTED") == {
        "Information": f"Thank you for using Alpha Vantage! This is a premium endpoint. {PREMIUM} all premium endpoints"
    }


def test_entitlements_flip(served: RunningVendor) -> None:
    """What is premium can be switched while it runs: as in 2022, when daily was premium and adjusted free."""
    served.vendor.switches.change("premium_features", "daily")
    assert "premium endpoint" in document(served)["Information"]
    assert "Time Series (Daily)" in document(served, function="TIME_SERIES_DAILY_ADJUSTED", outputsize="full")


def test_premium_plan(served: RunningVendor) -> None:
    """A premium key gets all bars, and the adjusted ones with volume under its other name."""
    served.vendor.switches.change("plan", "premium")
    daily = document(served, outputsize="full")
    assert daily["Meta Data"]["4. Output Size"] == "Full size"
    assert len(daily["Time Series (Daily)"]) == len(sessions(FIRST, LAST))
    adjusted = document(served, function="TIME_SERIES_DAILY_ADJUSTED")["Time Series (Daily)"]
    assert adjusted["2026-11-19"] == {
        "1. open": "100.0",
        "2. high": "102.0",
        "3. low": "99.0",
        "4. close": "101.25",
        "5. adjusted close": "101.25",
        "6. volume": "390000",
        "7. dividend amount": "0.5100",
        "8. split coefficient": "1.0",
    }
    assert adjusted["2026-11-18"]["8. split coefficient"] == "4.0"
    # 18 November is before the dividend of 0.51; 17 November before the split as well.
    paid = 1 - 0.51 / 101.25
    assert float(adjusted["2026-11-18"]["5. adjusted close"]) == pytest.approx(101.25 * paid)
    assert float(adjusted["2026-11-17"]["5. adjusted close"]) == pytest.approx(401.25 * paid / 4)


def test_daily_quota(served: RunningVendor) -> None:
    """25 requests a day over all functions, then a refusal that echoes the key, until the day turns in New York."""
    for number in range(25):
        assert "Information" not in document(served, function=("SPLITS", "TIME_SERIES_DAILY")[number % 2])
    spent = {
        "Information": f"We have detected your API key as {KEY} and our standard API rate limit is 25 requests per day."
        " Please subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to instantly remove all"
        " daily rate limits."
    }
    assert document(served) == spent
    assert document(served, function="DIVIDENDS", datatype="csv") == spent
    assert "Time Series (Daily)" in document(served, apikey="ANOTHER")
    served.clock.set(datetime(2026, 11, 22, 4, 59, tzinfo=UTC))
    assert document(served) == spent
    served.clock.advance(timedelta(minutes=1))
    assert "Time Series (Daily)" in document(served)


def test_burst() -> None:
    """A second request within a second is told to spread out, does not count to the day, and succeeds later."""
    with running_vendor("alpha_vantage", flat_book(), SATURDAY) as served:
        document(served)
        assert document(served) == {
            "Information": "Thank you for using Alpha Vantage! Please consider spreading out your free API requests"
            " more sparingly (1 request per second). You may subscribe to any of the premium plans at"
            " https://www.alphavantage.co/premium/ to lift the free key rate limit (25 requests per day), raise the"
            " per-second burst limit, and instantly unlock all premium endpoints"
        }
        served.clock.advance(timedelta(seconds=1))
        assert "Time Series (Daily)" in document(served)
        assert served.vendor.used(served.clock.now())["day"] == {KEY: 2}


def test_premium_limits() -> None:
    """A premium key has no day but a minute: then, and in a burst of 30 a second, it is refused."""
    with running_vendor("alpha_vantage", flat_book(), SATURDAY, plan="premium", requests_per_minute=40) as served:
        for _ in range(30):
            assert "Information" not in document(served, function="SPLITS")
        assert document(served)["Information"].startswith("Burst pattern detected.")
        served.clock.advance(timedelta(seconds=1))
        for _ in range(10):
            assert "Information" not in document(served, function="SPLITS")
        assert document(served)["Information"].startswith("Minute-level rate limit exceed.")


@pytest.mark.parametrize(
    "parameters",
    [
        {"symbol": "NOSUCH"},
        {"symbol": "GONE"},
        {"symbol": "BRK.B"},
        {"symbol": ""},
        {"outputsize": "huge"},
        {"datatype": "xml"},
        {"symbol": "NOSUCH", "datatype": "csv"},
    ],
)
def test_invalid_call(served: RunningVendor, parameters: dict[str, str]) -> None:
    """An unknown or delisted symbol and a bad parameter get the same sentence, as JSON with status 200."""
    assert document(served, **parameters) == {"Error Message": f"{INVALID}TIME_SERIES_DAILY."}


def test_keys_and_functions(served: RunningVendor) -> None:
    """Any key will do but none, and ``demo`` serves IBM only; an unknown function does not exist."""
    assert document(served, apikey="")["Error Message"].startswith("the parameter apikey is invalid or missing.")
    assert document(served, apikey="demo")["Information"].startswith("The **demo** API key is for demo purposes only.")
    assert "Time Series (Daily)" in document(served, apikey="demo", symbol="IBM")
    assert document(served, function="") == {"Error Message": "This API function () does not exist."}


def test_accept_header(served: RunningVendor) -> None:
    """The one answer with another status: a header that accepts neither JSON nor CSV."""
    answer = patient.get(f"{served.url}/query", headers={"accept": "image/png"})
    assert answer.status_code == 406
    assert answer.json() == {"detail": "Could not satisfy the request Accept header."}


@pytest.mark.parametrize("symbol", ["BRK-B", "ABR-P-D"])
def test_dashes(served: RunningVendor, symbol: str) -> None:
    """Share classes and preferred shares are asked for with dashes, and echoed so."""
    assert document(served, symbol=symbol)["Meta Data"]["2. Symbol"] == symbol


def test_dots_can_be_understood(served: RunningVendor) -> None:
    """Whether a dot is understood is not known, so it is a switch."""
    served.vendor.switches.change("dots", "true")
    assert "Time Series (Daily)" in document(served, symbol="BRK.B")


@pytest.mark.parametrize(
    ("moment", "newest", "refreshed"),
    [
        (datetime(2026, 11, 20, 14, 29, 59, tzinfo=UTC), "2026-11-19", "2026-11-19"),
        (datetime(2026, 11, 20, 19, 7, 3, tzinfo=UTC), "2026-11-20", "2026-11-20 14:07:03"),
        (datetime(2026, 11, 20, 21, 0, tzinfo=UTC), "2026-11-20", "2026-11-20"),
    ],
)
def test_partial_bar(served: RunningVendor, moment: datetime, newest: str, refreshed: str) -> None:
    """In trading hours, and only then, the newest bar is today's and the time of refreshing has a clock time."""
    served.clock.set(moment)
    answer = document(served)
    assert next(iter(answer["Time Series (Daily)"])) == newest
    assert answer["Meta Data"]["3. Last Refreshed"] == refreshed


def test_partial_bar_grows(served: RunningVendor) -> None:
    """An unfinished bar keeps its open, widens and gains volume, and is the final one at the close."""
    bars = []
    for hour, minute in ((14, 31), (16, 0), (19, 0), (20, 59), (21, 0)):
        served.clock.set(datetime(2026, 11, 20, hour, minute, tzinfo=UTC))
        bar = document(served)["Time Series (Daily)"]["2026-11-20"]
        bars.append([float(bar[name]) for name in ("1. open", "2. high", "3. low", "4. close", "5. volume")])
    for earlier, later in pairwise(bars):
        assert (earlier[0], earlier[1] <= later[1], earlier[2] >= later[2]) == (later[0], True, True)
        assert earlier[4] < later[4]
    assert all(low <= min(open_, close) <= max(open_, close) <= high for open_, high, low, close, _ in bars)
    assert bars[-1] == [100, 102, 99, 101.25, 390_000]


def test_splits(served: RunningVendor) -> None:
    """Splits come with their factor, newest first, from the day they happen."""
    assert document(served, function="SPLITS") == {
        "symbol": "AAPL",
        "data": [{"effective_date": "2026-11-18", "split_factor": "4.0000"}],
    }
    assert ask(served, function="SPLITS", datatype="csv").text == ("effective_date,split_factor\n2026-11-18,4.0000\n")
    served.clock.set(datetime(2026, 11, 17, 20, tzinfo=UTC))
    assert document(served, function="SPLITS") == {"symbol": "AAPL", "data": []}


def test_dividends(served: RunningVendor) -> None:
    """Dividends come with their four dates, from the day they are declared."""
    expected = "2026-11-19,2026-11-05,2026-11-19,2026-12-10,0.51"
    header = "ex_dividend_date,declaration_date,record_date,payment_date,amount"
    assert ask(served, function="DIVIDENDS", datatype="csv").text == f"{header}\n{expected}\n"
    (row,) = document(served, function="DIVIDENDS")["data"]
    assert ",".join(row.values()) == expected
    assert ",".join(row) == header
    served.clock.set(datetime(2026, 11, 4, 20, tzinfo=UTC))
    assert document(served, function="DIVIDENDS")["data"] == []


def test_listing(served: RunningVendor) -> None:
    """The listing tells a delisted symbol from an unknown one, now and on a past day."""
    active = ask(served, function="LISTING_STATUS", symbol="").text.splitlines()
    assert active[0] == "symbol,name,exchange,assetType,ipoDate,delistingDate,status"
    assert "AAPL,Apple Inc,NYSE,Stock,2026-05-01,null,Active" in active
    assert "SPY,SPDR,NYSE ARCA,ETF,2026-05-01,null,Active" in active
    assert {line.partition(",")[0] for line in active[1:]} == {"AAPL", "ABR-P-D", "BRK-B", "IBM", "SPY"}
    delisted = ask(served, function="LISTING_STATUS", symbol="", state="delisted").text.splitlines()
    assert delisted[1:] == ["GONE,Gone Inc,NYSE,Stock,2026-05-01,2026-07-01,Delisted"]
    then = ask(served, function="LISTING_STATUS", symbol="", date="2026-06-15").text
    assert "GONE,Gone Inc,NYSE,Stock,2026-05-01,null,Active" in then
    assert document(served, function="LISTING_STATUS", date="soon") == {"Error Message": f"{INVALID}LISTING_STATUS."}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("empty", {}),
        ("invalid-call", {"Error Message": f"{INVALID}TIME_SERIES_DAILY."}),
    ],
)
def test_faults_replace(served: RunningVendor, kind: str, body: dict[str, str]) -> None:
    """A fault takes the place of every second answer, if told so, and then goes again."""
    served.faults.set([f"{kind}=every:2"])
    assert "Time Series (Daily)" in document(served)
    assert document(served) == body
    served.faults.set([])
    assert "Time Series (Daily)" in document(served)


@pytest.mark.parametrize(
    ("kind", "key", "words"),
    [
        ("burst", "Information", "1 request per second"),
        ("daily-quota", "Information", f"detected your API key as {KEY}"),
        ("minute-limit", "Information", "Minute-level rate limit"),
        ("legacy-note", "Note", "5 calls per minute and 500 calls per day"),
    ],
)
def test_refusals_as_faults(served: RunningVendor, kind: str, key: str, words: str) -> None:
    """Every refusal can be had at any time."""
    served.faults.set([f"{kind}=1"])
    assert words in document(served)[key]


def test_faults_in_data(served: RunningVendor) -> None:
    """Data can lack a price or a session, or stand beside a message that says it is not real."""
    served.faults.set(["missing-price=1"])
    assert document(served)["Time Series (Daily)"]["2026-11-20"]["4. close"] == ""
    served.faults.set(["missing-session=1"])
    assert "2026-11-19" not in document(served)["Time Series (Daily)"]
    served.faults.set(["sample-data=1"])
    assert {"message", "Time Series (Daily)"} <= set(document(served))


def test_transport_faults(served: RunningVendor) -> None:
    """The faults of every simulator work here, too, and any other path is not found."""
    served.faults.set(["503=1"])
    assert ask(served).status_code == 503
    served.faults.set(["truncated=1"])
    with pytest.raises(httpx2.RemoteProtocolError):
        ask(served)
    served.faults.set([])
    assert patient.get(f"{served.url}/elsewhere").status_code == 404


def test_generated_bars() -> None:
    """Invented bars are sound, the same for the same seed, and jump by the ratio of a split that was asked for."""
    split = Split(date(2026, 11, 10), 1, 4)
    book = generate_book(7, ["BRK.B", "KO"], splits={"KO": [split]})
    with running_vendor("alpha_vantage", book, SATURDAY, requests_per_second=10) as served:
        series = document(served, symbol="KO")["Time Series (Daily)"]
        assert series == document(served, symbol="KO")["Time Series (Daily)"]
        assert document(served, symbol="BRK-B")["Time Series (Daily)"] != series
    for bar in series.values():
        low, high = float(bar["3. low"]), float(bar["2. high"])
        assert 0 < low <= min(float(bar["1. open"]), float(bar["4. close"]))
        assert high >= max(float(bar["1. open"]), float(bar["4. close"]))
        assert int(bar["5. volume"]) > 0
    ratio = float(series["2026-11-09"]["4. close"]) / float(series["2026-11-10"]["4. close"])
    assert ratio == pytest.approx(4, rel=0.06)
