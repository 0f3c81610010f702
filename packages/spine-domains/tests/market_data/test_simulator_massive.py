"""The simulated Massive over real HTTP: bars by ticker, by day and of the day before, and every refusal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from market_spine.core.calendar import sessions
from spine.domains.market_data.simulator.book import Bar, Book, HeldSeries, Instrument, Split
from spine.domains.market_data.simulator.server import RunningVendor, running_vendor

from . import patient

if TYPE_CHECKING:
    import httpx2

pytestmark = pytest.mark.server

SATURDAY = datetime(2026, 11, 21, 17, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")
FIRST, LAST = date(2024, 1, 2), date(2026, 11, 30)
SPLIT_DAY = date(2026, 11, 18)
AUTHORIZED = {"authorization": "Bearer K"}
UPGRADE = "Please upgrade your plan at https://polygon.io/pricing"
OUT_OF_HISTORY = f"Your plan doesn't include this data timeframe. {UPGRADE}"
NOT_YET = f"Attempted to request today's data before end of day. {UPGRADE}"


def flat_book() -> Book:
    """A symbol that splits 4 for 1, its lower-case namesake without average price, and a renamed one."""
    days = sessions(FIRST, LAST)

    def bar(day: date) -> Bar:
        price = 400.0 if day < SPLIT_DAY else 100.0
        return Bar(day, price, price + 2, price - 1, price + 1.25, 70_790_813.0, price + 0.5, 645_365)

    namesake = [Bar(day, 10.0, 10.5, 9.75, 10.25, 16902.906) for day in days]
    renamed = date(2026, 11, 12)
    return {
        "AMPB": Instrument("AMPB", HeldSeries([bar(day) for day in days]), FIRST, splits=(Split(SPLIT_DAY, 1, 4),)),
        "AMpB": Instrument("AMpB", HeldSeries(namesake), FIRST),
        "ZI": Instrument("ZI", HeldSeries(namesake), FIRST, renamed=renamed),
        "GTM": Instrument("GTM", HeldSeries([bar for bar in namesake if bar.day >= renamed]), renamed),
    }


@pytest.fixture
def served() -> Iterator[RunningVendor]:
    with running_vendor("polygon", flat_book(), SATURDAY, requests_per_minute=1000) as vendor:
        yield vendor


def get(served: RunningVendor, path: str, **parameters: str) -> httpx2.Response:
    return patient.get(f"{served.url}{path}", params=parameters, headers=AUTHORIZED)


def ask(
    served: RunningVendor, first: str = "2026-11-16", last: str = "2026-11-20", ticker: str = "AMPB", **parameters: str
) -> dict[str, Any]:
    answer = get(served, f"/v2/aggs/ticker/{ticker}/range/1/day/{first}/{last}", **parameters)
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = answer.json()
    return read


def grouped(served: RunningVendor, day: str, **parameters: str) -> dict[str, Any]:
    answer = get(served, f"/v2/aggs/grouped/locale/us/market/stocks/{day}", **parameters)
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = answer.json()
    return read


def refusal(answer: httpx2.Response) -> tuple[int, str, str]:
    """Status, the vendor's word for it, and its sentence."""
    document = answer.json()
    assert re.fullmatch("[0-9a-f]{32}", document["request_id"])
    return answer.status_code, document["status"], document.get("error") or document["message"]


def new_york(stamp: int) -> str:
    return datetime.fromtimestamp(stamp / 1000, NEW_YORK).isoformat()


def test_range(served: RunningVendor) -> None:
    """A range holds the raw bars of both its ends and between, oldest first, in the recorded envelope."""
    answer = ask(served, adjusted="false")
    assert [*answer] == [
        *("ticker", "queryCount", "resultsCount", "adjusted", "results", "status", "request_id", "count"),
    ]
    assert (answer["ticker"], answer["adjusted"], answer["status"]) == ("AMPB", False, "OK")
    assert answer["queryCount"] == answer["resultsCount"] == answer["count"] == 5
    assert [bar["o"] for bar in answer["results"]] == [400, 400, 100, 100, 100]
    last = answer["results"][-1]
    assert [*last] == ["v", "vw", "o", "c", "h", "l", "t", "n"]
    assert [bar["t"] for bar in ask(served, sort="desc")["results"]] == [bar["t"] for bar in answer["results"]][::-1]


def test_range_starts_at_midnight(served: RunningVendor) -> None:
    """A range's bars are stamped with midnight in New York, in summer and in winter."""
    stamps = [bar["t"] for bar in ask(served, "2026-03-06", "2026-03-09")["results"]]
    assert [*map(new_york, stamps)] == ["2026-03-06T00:00:00-05:00", "2026-03-09T00:00:00-04:00"]


def test_grouped_ends_at_four(served: RunningVendor) -> None:
    """Bars of the whole market and of the day before are stamped with 16:00 in New York."""
    stamps = {bar["t"] for bar in grouped(served, "2026-11-19")["results"]}
    assert [*map(new_york, stamps)] == ["2026-11-19T16:00:00-05:00"]
    previous = get(served, "/v2/aggs/ticker/AMPB/prev").json()
    assert previous["ticker"] == "AMPB"
    assert [(bar["T"], new_york(bar["t"])) for bar in previous["results"]] == [("AMPB", "2026-11-20T16:00:00-05:00")]


def test_milliseconds(served: RunningVendor) -> None:
    """The ends of a range may be given in milliseconds."""
    first = int(datetime(2026, 11, 19, tzinfo=NEW_YORK).timestamp() * 1000)
    assert ask(served, str(first), "2026-11-20")["count"] == 2


def test_grouped(served: RunningVendor) -> None:
    """The whole market in one answer: every symbol that traded, and test tickers without vw and n."""
    answer = grouped(served, "2026-11-19", adjusted="false")
    assert "ticker" not in answer
    rows = {row["T"]: row for row in answer["results"]}
    assert {"AMPB", "AMpB", "GTM", "ZTST", "ZBZX"} <= set(rows)
    assert "ZI" not in rows
    assert (rows["ZTST"]["v"], rows["ZTST"]["o"]) == (0, 12345)
    assert not {"vw", "n"} & set(rows["ZTST"])
    assert answer["resultsCount"] == len(rows)


@pytest.mark.parametrize("day", ["2026-11-15", "2025-12-25"])
def test_grouped_without_session(served: RunningVendor, day: str) -> None:
    """A weekend or holiday is a success without the key ``results``."""
    answer = grouped(served, day)
    assert (answer["status"], answer["resultsCount"], "results" in answer) == ("OK", 0, False)


@pytest.mark.parametrize("ticker", ["NOSUCH", "ampb", "ZI"])
def test_empty_range(served: RunningVendor, ticker: str) -> None:
    """An unknown ticker, one in the wrong case and one given up all look like one that did not trade."""
    answer = ask(served, ticker=ticker)
    assert (answer["ticker"], answer["status"], answer["resultsCount"], answer["count"]) == (ticker, "OK", 0, 0)
    assert "results" not in answer
    assert get(served, "/v2/aggs/ticker/NOSUCH/prev").json()["resultsCount"] == 0


def test_case_and_missing_fields(served: RunningVendor) -> None:
    """Tickers that differ in case are different, and a bar may lack vw and n and have a fractional volume."""
    bar = ask(served, ticker="AMpB")["results"][-1]
    assert (bar["o"], bar["v"]) == (10, 16902.906)
    assert not {"vw", "n"} & set(bar)


def test_renamed_is_not_spliced(served: RunningVendor) -> None:
    """The series of a new ticker starts on its first day; before it the old one has the bars."""
    assert new_york(ask(served, "2026-11-02", ticker="GTM")["results"][0]["t"]).startswith("2026-11-12")
    served.clock.set(datetime(2026, 11, 11, 17, tzinfo=UTC))
    assert ask(served, "2026-11-02", "2026-11-10", ticker="ZI")["resultsCount"] == 7
    assert ask(served, "2026-11-02", "2026-11-10", ticker="GTM")["resultsCount"] == 0


def test_scientific_notation(served: RunningVendor) -> None:
    """Of the large volumes some are written in scientific notation, all with the same value."""
    text = get(served, "/v2/aggs/ticker/AMPB/range/1/day/2026-09-01/2026-11-17", adjusted="false").text
    written = set(re.findall(r'"v":([^,]+),', text))
    assert written == {"7.0790813e+07", "70790813"}


def test_adjusted(served: RunningVendor) -> None:
    """By default price and volume are in today's shares, from the day of the split on and not before."""
    bar = ask(served)["results"][0]
    assert (bar["o"], bar["h"], bar["l"], bar["c"], bar["vw"]) == (100, 100.5, 99.75, 100.3125, 100.125)
    assert (bar["v"], bar["n"]) == (4 * 70_790_813, 645_365)
    served.clock.set(datetime(2026, 11, 17, 17, tzinfo=UTC))
    assert ask(served, last="2026-11-16")["results"][0]["o"] == 400


def test_pages(served: RunningVendor) -> None:
    """A small limit makes pages, each with the next one's address, which carries a cursor and no key."""
    seen, url = (
        [],
        f"{served.url}/v2/aggs/ticker/AMPB/range/1/day/2026-11-09/2026-11-20?limit=4&adjusted=false&apiKey=K",
    )
    while url:
        answer = patient.get(url, headers=AUTHORIZED).json()
        seen += [new_york(bar["t"])[:10] for bar in answer["results"]]
        assert (answer["adjusted"], answer["results"][0]["o"] in {400, 100}) == (False, True)
        url = answer.get("next_url", "")
        assert "apiKey" not in url
        assert not url or re.fullmatch(rf"{served.url}/v2/aggs/ticker/AMPB/range/1/day/\d+/2026-11-20\?cursor=\w+", url)
    assert seen == [str(day) for day in sessions(date(2026, 11, 9), date(2026, 11, 20))]


def test_pages_newest_first(served: RunningVendor) -> None:
    """Pages from newest to oldest meet without gap or overlap, too."""
    first = ask(served, sort="desc", limit="3")
    second = patient.get(first["next_url"], headers=AUTHORIZED).json()
    stamps = [new_york(bar["t"])[8:10] for bar in first["results"] + second["results"]]
    assert stamps == ["20", "19", "18", "17", "16"]
    assert "next_url" not in second


def test_official_cursor(served: RunningVendor) -> None:
    """The next address is the documented one: the cursor of two ascending bars, the start as midnight after them."""
    served.clock.set(datetime(2024, 6, 1, tzinfo=UTC))
    url = ask(served, "2024-01-02", "2024-01-10", limit="2")["next_url"]
    assert url.endswith("/range/1/day/1704344400000/2024-01-10?cursor=bGltaXQ9MiZzb3J0PWFzYw")


def test_keys(served: RunningVendor) -> None:
    """A key comes in a header or in the address; without one, or with one not known, the answer is 401."""
    url = f"{served.url}/v2/aggs/ticker/AMPB/prev"
    assert refusal(patient.get(url)) == (401, "ERROR", "API Key was not provided")
    assert patient.get(url, params={"apiKey": "K"}).status_code == 200
    served.vendor.switches.change("keys", "OTHER")
    assert refusal(patient.get(url, headers=AUTHORIZED)) == (401, "ERROR", "Unknown API Key")
    assert patient.get(url, headers={"authorization": "Bearer OTHER"}).status_code == 200


def test_five_a_minute() -> None:
    """Five requests in any 60 seconds; the sixth gets 429 until the first is a minute old."""
    with running_vendor("polygon", flat_book(), SATURDAY) as served:
        for _ in range(5):
            ask(served)
            served.clock.advance(timedelta(seconds=10))
        throttled = get(served, "/v2/aggs/ticker/AMPB/prev")
        assert refusal(throttled) == (
            429,
            "ERROR",
            "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue."
            " https://polygon.io/pricing",
        )
        assert "retry-after" not in throttled.headers
        served.vendor.switches.change("empty_429", "true")
        served.vendor.switches.change("retry_after", "true")
        throttled = get(served, "/v2/aggs/ticker/AMPB/prev")
        assert (throttled.status_code, throttled.content, throttled.headers["retry-after"]) == (429, b"", "10")
        served.clock.advance(timedelta(seconds=10))
        ask(served)
        assert get(served, "/v2/aggs/ticker/AMPB/prev").status_code == 429
        served.vendor.switches.change("plan", "starter")
        ask(served)


GROUPED = "/v2/aggs/grouped/locale/us/market/stocks"
RANGE = "/v2/aggs/ticker/AMPB/range/1/day"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (f"{GROUPED}/2026-11-20", NOT_YET),
        ("/v1/open-close/AMPB/2026-11-20", NOT_YET),
        (f"{RANGE}/2026-11-20/2026-11-20", NOT_YET),
        (f"{RANGE}/2026-11-16/2026-11-20", NOT_YET),
        (f"{GROUPED}/2026-11-23", OUT_OF_HISTORY),
        (f"{RANGE}/2026-11-16/2026-11-23", OUT_OF_HISTORY),
        (f"{GROUPED}/2024-11-19", OUT_OF_HISTORY),
        (f"{RANGE}/2024-01-02/2024-11-19", OUT_OF_HISTORY),
    ],
)
def test_outside_the_plan(served: RunningVendor, path: str, sentence: str) -> None:
    """At 19:00 in New York today is too early; a day to come and one two years back are outside the plan."""
    served.clock.set(datetime(2026, 11, 21, 0, tzinfo=UTC))
    assert refusal(get(served, path)) == (403, "NOT_AUTHORIZED", sentence)


def test_free_plan_is_a_day_late(served: RunningVendor) -> None:
    """On the free plan a session's bar is there from the next day on."""
    served.clock.set(datetime(2026, 11, 21, 4, 59, tzinfo=UTC))
    assert get(served, "/v2/aggs/ticker/AMPB/prev").json()["results"][0]["t"] == 1795122000000
    served.clock.set(datetime(2026, 11, 21, 5, 0, tzinfo=UTC))
    assert new_york(get(served, "/v2/aggs/ticker/AMPB/prev").json()["results"][0]["t"])[:10] == "2026-11-20"


def test_range_that_ends_today(served: RunningVendor) -> None:
    """Whether a range may end today is not known, so a switch lets it end yesterday instead."""
    served.clock.set(datetime(2026, 11, 21, 0, tzinfo=UTC))
    served.vendor.switches.change("range_today", "clip")
    assert new_york(ask(served)["results"][-1]["t"])[:10] == "2026-11-19"


def test_edge_of_history(served: RunningVendor) -> None:
    """A range that starts before the plan's two years is clipped on the free plan, or refused if told so."""
    assert new_york(ask(served, "2024-01-02", "2024-11-29")["results"][0]["t"])[:10] == "2024-11-21"
    served.clock.set(datetime(2028, 2, 29, 17, tzinfo=UTC))
    assert refusal(get(served, f"{RANGE}/2026-02-27/2026-02-27"))[2] == OUT_OF_HISTORY
    assert ask(served, "2026-02-27", "2026-03-02")["resultsCount"] == 1
    served.clock.set(SATURDAY)
    served.vendor.switches.change("edge", "refuse")
    assert refusal(get(served, f"{RANGE}/2024-01-02/2024-11-29"))[2] == OUT_OF_HISTORY
    served.vendor.switches.change("plan", "starter")
    assert ask(served, "2024-01-02", "2024-11-29")["resultsCount"] == 231


def test_not_entitled(served: RunningVendor) -> None:
    """An endpoint can be outside the plan; it says so with a sentence of its own."""
    served.vendor.switches.change("not_entitled", "grouped,tickers")
    sentence = "You are not entitled to this data. Please upgrade your plan at https://massive.com/pricing"
    for path in (f"{GROUPED}/2026-11-19", "/v3/reference/tickers", "/v3/reference/tickers/AMPB"):
        assert refusal(get(served, path)) == (403, "NOT_AUTHORIZED", sentence)
    ask(served)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (
            f"{RANGE}/soon/2026-11-20",
            "Could not parse the time parameter: 'from'. Use YYYY-MM-DD or Unix MS Timestamps",
        ),
        (f"{RANGE}/2026-11-20/2026-11-16", "The parameter 'to' cannot be a time that occurs before 'from'"),
        (f"{RANGE.replace('day', 'minute')}/2026-11-16/2026-11-20", "this simulator serves bars of one day"),
    ],
)
def test_bad_parameters(served: RunningVendor, path: str, sentence: str) -> None:
    """What cannot be read is 400, with the sentence under ``error``."""
    assert refusal(get(served, path)) == (400, "ERROR", sentence)


def test_open_close(served: RunningVendor) -> None:
    """Open and close of one day, or 404 if there is nothing that day."""
    answer = get(served, "/v1/open-close/AMPB/2026-11-18", adjusted="false").json()
    assert answer == {
        "status": "OK",
        "from": "2026-11-18",
        "symbol": "AMPB",
        "open": 100,
        "high": 102,
        "low": 99,
        "close": 101.25,
        "volume": 70_790_813,
        "afterHours": 101.25,
        "preMarket": 100,
    }
    assert refusal(get(served, "/v1/open-close/AMPB/2026-11-15")) == (404, "NOT_FOUND", "Data not found.")


def test_wrong_path(served: RunningVendor) -> None:
    """A path that does not exist is 404 in plain text."""
    answer = get(served, "/v2/aggs/nowhere")
    assert (answer.status_code, answer.text) == (404, "404 page not found")


def test_delayed_plan(served: RunningVendor) -> None:
    """A delayed plan says so, and shows today's unfinished bar as it was fifteen minutes ago."""
    served.vendor.switches.change("plan", "starter")
    served.clock.set(datetime(2026, 11, 20, 14, 44, tzinfo=UTC))
    assert ask(served)["status"] == "DELAYED"
    assert new_york(ask(served)["results"][-1]["t"])[:10] == "2026-11-19"
    served.clock.set(datetime(2026, 11, 20, 16, 0, tzinfo=UTC))
    bar = ask(served, adjusted="false")["results"][-1]
    assert new_york(bar["t"])[:10] == "2026-11-20"
    assert bar["v"] == int(70_790_813 * 75 / 390)
    served.vendor.switches.change("status", "OK")
    assert ask(served)["status"] == "OK"


def test_next_day_revision(served: RunningVendor) -> None:
    """Until 11:00 of the next day volume, average and trades are provisional; prices stand."""
    served.clock.set(datetime(2026, 11, 20, 15, 59, tzinfo=UTC))
    before = ask(served, last="2026-11-19")["results"]
    served.clock.advance(timedelta(minutes=1))
    after = ask(served, last="2026-11-19")["results"]
    assert before[:-1] == after[:-1]
    assert {name for name in after[-1] if after[-1][name] != before[-1][name]} == {"v", "vw", "n"}
    assert (after[-1]["v"], after[-1]["vw"], after[-1]["n"]) == (70_790_813, 100.5, 645_365)
    assert 1 < before[-1]["v"] / after[-1]["v"] < 1.02
