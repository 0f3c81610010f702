"""What the vendors' recorded answers mean, and the bars read out of them."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.capture import Part
from market_spine.errors import ContentError, SourceError
from spine.domains.market_data import vendors
from spine.domains.market_data.alpha_vantage import SOURCE as ALPHA_VANTAGE
from spine.domains.market_data.parse import read_csv, read_json
from spine.domains.market_data.polygon import SOURCE as POLYGON
from spine.domains.market_data.vendors import Call, Vendor, Wanted

VENDORS: dict[str, Vendor] = {"alphavantage": ALPHA_VANTAGE, "massive": POLYGON}
FETCHED = {"fetched_at": "2026-11-23T21:30:00+00:00"}


def bars_of(vendor: Any, data: bytes, symbol: str, **metadata: str) -> list[tuple[Any, ...]]:
    frame = vendor.parse_bars(Part("bars", data, "test", {**FETCHED, **metadata}), symbol).frame
    return list(frame.drop("line", "raw").rows())


@pytest.mark.samples
def test_every_recorded_answer_is_classified_as_its_manifest_says(price_samples: Path) -> None:
    """Successes are found to be good and each error is of the kind that the manifest names."""
    manifest = json.loads((price_samples / "manifest.json").read_text())
    wrong, seen = [], 0
    for record in manifest:
        if record["category"] == "documentation":
            continue
        status = record["http_status"] if isinstance(record["http_status"], int) else 406
        body = (price_samples / record["file"]).read_bytes()
        found = VENDORS[record["vendor"]].classify(status, body).kind
        seen += 1
        if found != record.get("error_kind", "ok"):
            wrong.append((record["file"], found))
    assert (wrong, seen) == ([], 36)


REFUSALS = [
    (403, {"status": "NOT_AUTHORIZED", "message": "You are not entitled to this data."}, "entitlement"),
    (403, {"status": "NOT_AUTHORIZED", "message": "Your plan doesn't include this data timeframe."}, "out_of_history"),
    (403, {"status": "NOT_AUTHORIZED", "message": "Attempted to request today's data before end of day."}, "not_yet"),
    (403, {"status": "ERROR", "error": "words nobody has seen"}, "entitlement"),
    (200, {"status": "NOT_AUTHORIZED", "message": "You are not entitled to this data."}, "entitlement"),
    (404, {"status": "NOT_FOUND", "message": "Ticker not found."}, "unknown_symbol"),
    (200, {"status": "DELAYED", "resultsCount": 1, "results": [{}]}, "ok"),
    (200, {"status": "OK", "resultsCount": 3, "results": None}, "transient"),
    (200, {"status": "OK", "results": []}, "ok"),
]


@pytest.mark.parametrize(("status", "body", "kind"), REFUSALS)
def test_massive_refuses_in_many_words(status: int, body: dict[str, Any], kind: str) -> None:
    """The three texts of a 403 mean three things, a refusal may come with 200, DELAYED is a success."""
    assert POLYGON.classify(status, json.dumps(body).encode()).kind == kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, b"", "throttle"),
        (504, b"<html>504 Gateway Time-out</html>", "transient"),
        (404, b"404 page not found", "bad_request"),
    ],
)
def test_massive_answers_without_json(status: int, body: bytes, kind: str) -> None:
    """A 429 may be empty, a gateway answers in HTML, a wrong path in plain text."""
    assert POLYGON.classify(status, body).kind == kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, b"Service Unavailable", "transient"),
        (200, b"<html></html>", "transient"),
        (200, b'{"Meta Data": {', "transient"),
        (200, b'{"Information": "new words"}', "unknown"),
        (200, b'{"Error Message": "This API function () does not exist."}', "bad_request"),
        (200, b'{"Information": "The **demo** API key is for demo purposes only."}', "auth"),
        (200, b'{"Information": "Thank you for using Alpha Vantage! This is a premium endpoint."}', "entitlement"),
        (200, b'{"Information": "Our standard API rate limit is 25 requests per day."}', "daily_quota"),
        (200, b"", "unknown"),
    ],
)
def test_alpha_vantage_is_told_by_its_body(status: int, body: bytes, kind: str) -> None:
    """Alpha Vantage says everything with status 200, so the words decide; new ones are told as unknown."""
    assert ALPHA_VANTAGE.classify(status, body).kind == kind


@given(st.integers(100, 599), st.binary(max_size=200))
def test_no_answer_breaks_the_classifiers(status: int, body: bytes) -> None:
    """Whatever arrives, it is classified."""
    for vendor in VENDORS.values():
        assert vendor.classify(status, body).kind


_NAMES = ("results", "resultsCount", "ticker", "t", "o", "Time Series (Daily)", "Meta Data", "2. Symbol")
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=5),
)


@given(_JSON)
def test_no_json_breaks_the_parsers(document: Any) -> None:
    """Any JSON document is read as bars or refused as content, never anything else."""
    part = Part("bars", json.dumps(document).encode(), "test", FETCHED)
    for vendor in VENDORS.values():
        with suppress(ContentError):
            vendor.parse_bars(part, "AAPL")


@pytest.mark.samples
def test_alpha_vantage_csv_and_json(price_samples: Path) -> None:
    """Bars come from CSV and JSON alike; in the adjusted series volume is the sixth member, not the fifth."""
    folder = price_samples / "alphavantage"
    rows = bars_of(ALPHA_VANTAGE, (folder / "TIME_SERIES_DAILY_42a08190.csv").read_bytes(), "IBM")
    assert len(rows) == 100
    assert rows[0] == (date(2026, 5, 15), 218.2, 220.91, 217.615, 219.3, 6154450.0, None, None)
    rows = bars_of(ALPHA_VANTAGE, (folder / "daily_adjusted_compact_IBM_2024-06-07.json").read_bytes(), "IBM")
    assert len(rows) == 100
    assert rows[0] == (date(2024, 6, 7), 168.18, 171.305, 168.06, 170.01, 3475495.0, None, None)


@pytest.mark.samples
def test_massive_ranges_and_grouped_days(price_samples: Path) -> None:
    """A range is stamped at midnight and a grouped day at 16:00 of New York: both give the New York date."""
    folder = price_samples / "massive"
    body = (folder / "aggs_AAPL_1day_2023-01-09_2023-02-10_raw.json").read_bytes()
    rows = bars_of(POLYGON, body, "AAPL", form="range", adjusted="true")
    assert len(rows) == 24
    assert rows[0] == (date(2023, 1, 9), 130.465, 133.41, 129.89, 130.15, 70790813.0, 131.6292, 645365.0)
    body = (folder / "aggs_option_SPY_6bars_DST_pair_2025.json").read_bytes()
    rows = bars_of(POLYGON, body, "O:SPY250314C00560000", form="range", adjusted="true")
    assert [row[0] for row in rows][2:4] == [date(2025, 3, 7), date(2025, 3, 10)]
    body = (folder / "grouped_2026-09-25_unadjusted_14rows_trimmed.json").read_bytes()
    rows = bars_of(POLYGON, body, "BRK.B", form="grouped", session="2026-09-25")
    assert rows == [(date(2026, 9, 25), 505.25, 505.87, 502.24, 505.48, 2994434.093355, 504.8007, 88853.0)]
    assert bars_of(POLYGON, body, "BRK-B", form="grouped", session="2026-09-25") == []
    with pytest.raises(ContentError, match="another session"):
        bars_of(POLYGON, body, "BRK.B", form="grouped", session="2026-09-24")


@pytest.mark.samples
def test_recorded_splits(price_samples: Path) -> None:
    """Splits come as one factor from Alpha Vantage, with a spin-off among them."""
    data = (price_samples / "alphavantage" / "SPLITS_358e2618.csv").read_bytes()
    frame = ALPHA_VANTAGE.parse_splits(Part("splits", data, "test"), "IBM")
    assert frame.rows() == [(date(1999, 5, 27), 1.0, 2.0, "unknown"), (date(2021, 11, 4), 1.0, 1.046, "unknown")]


def test_massive_splits_and_dividends_are_the_symbols_own() -> None:
    """Rows of other tickers are left out, and the dividends of one kind on one day are summed."""
    apple: dict[str, Any] = {"ticker": "AAPL", "execution_date": "2020-08-31", "split_from": 1, "split_to": 4}
    other = {"ticker": "GE", "execution_date": "2021-08-02", "split_from": 8, "split_to": 1}
    splits = {"results": [{**apple, "adjustment_type": "forward_split"}, other]}
    frame = POLYGON.parse_splits(Part("splits", json.dumps(splits).encode(), "test"), "AAPL")
    assert frame.rows() == [(date(2020, 8, 31), 1.0, 4.0, "forward_split")]
    one = {"ticker": "AAPL", "ex_dividend_date": "2025-08-11", "cash_amount": 0.25, "currency": "USD"}
    paid = {"results": [{**one, "distribution_type": kind} for kind in ("recurring", "recurring", "special")]}
    frame = POLYGON.parse_dividends(Part("dividends", json.dumps(paid).encode(), "test"), "AAPL")
    assert frame.rows() == [
        (date(2025, 8, 11), "recurring", 0.5, "USD"),
        (date(2025, 8, 11), "special", 0.25, "USD"),
    ]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"ticker": "aapl"}, "wrong_symbol"),
        ({"adjusted": True}, "adjusted"),
        ({"resultsCount": 2}, "count_mismatch"),
        ({"results": "none"}, "no_series"),
    ],
)
def test_an_envelope_that_is_not_what_was_asked_for_is_refused(change: dict[str, Any], kind: str) -> None:
    """Ticker, adjustment and count of a Massive answer must be those asked for."""
    envelope = {"ticker": "AAPL", "adjusted": False, "resultsCount": 1, "results": [{"t": 0}], **change}
    with pytest.raises(ContentError) as caught:
        bars_of(POLYGON, json.dumps(envelope).encode(), "AAPL", form="range")
    assert caught.value.kind == kind


def test_alpha_vantage_must_answer_for_the_symbol_asked() -> None:
    """The echoed symbol is compared in the vendor's notation."""
    body = {"Meta Data": {"2. Symbol": "BRK-B"}, "Time Series (Daily)": {}}
    assert bars_of(ALPHA_VANTAGE, json.dumps(body).encode(), "BRK.B") == []
    with pytest.raises(ContentError, match=r"not for BRK\.A"):
        bars_of(ALPHA_VANTAGE, json.dumps(body).encode(), "BRK.A")


@pytest.mark.parametrize("missing", [None, "", "n/a", "NaN", "Infinity", True, [], "1e999"])
def test_a_missing_price_is_never_a_number(missing: Any) -> None:
    """What is no finite number is missing, not 0."""
    body = {
        "Meta Data": {"2. Symbol": "A"},
        "Time Series (Daily)": {"2026-11-20": {"1. open": missing, "2. high": "2", "3. low": "1", "4. close": "1"}},
    }
    assert bars_of(ALPHA_VANTAGE, json.dumps(body).encode(), "A") == [
        (date(2026, 11, 20), None, 2.0, 1.0, 1.0, None, None, None)
    ]


NOTATION = [
    ("AAPL", "AAPL"),
    ("BRK.B", "BRK-B"),
    ("ABRpD", "ABR-P-D"),
    ("ACHR.WS", "ACHR-WS"),
    ("AIIAr", "AIIA-R"),
    ("SBXD.U", "SBXD-U"),
]


@pytest.mark.parametrize(("symbol", "dashed"), NOTATION)
def test_symbols_are_spelt_as_each_vendor_does(symbol: str, dashed: str) -> None:
    """Alpha Vantage writes dashes, Massive our own notation."""
    assert ALPHA_VANTAGE.notation(symbol) == dashed
    assert POLYGON.notation(symbol) == symbol


@pytest.mark.parametrize("symbol", ["aapl", "PHXEp", "BCATrw"])
def test_a_symbol_without_a_known_spelling_is_refused(symbol: str) -> None:
    """No symbol is put into capitals: what no rule covers is refused with the way out."""
    with pytest.raises(SourceError, match=symbol) as caught:
        ALPHA_VANTAGE.notation(symbol)
    assert "polygon" in caught.value.hint


def test_requests_are_what_the_vendors_document() -> None:
    """Ranges include both ends and are not adjusted; the key is in a header, or in the query where it must."""
    wanted = Wanted("BRK.B", date(2026, 7, 1), date(2026, 11, 20))
    call = POLYGON.bars(wanted)
    assert call.path == "/v2/aggs/ticker/BRK.B/range/1/day/2026-07-01/2026-11-20"
    assert (call.params["adjusted"], call.params["limit"]) == ("false", "50000")
    assert POLYGON.credentials("K") == ({"Authorization": "Bearer K"}, {})
    call = ALPHA_VANTAGE.bars(wanted)
    assert call.params == {
        "function": "TIME_SERIES_DAILY",
        "symbol": "BRK-B",
        "outputsize": "compact",
        "datatype": "json",
    }
    assert ALPHA_VANTAGE.credentials("K") == ({}, {"apikey": "K"})


def test_a_further_page_is_asked_for_without_key_and_on_its_own_host_only() -> None:
    """``next_url`` is followed by path and query; a key in it is dropped, a foreign host refused."""
    call = Call("bars", "range", "/v2/x", {})
    body = b'{"next_url": "https://api.polygon.io/v2/x/1?cursor=abc&apiKey=K"}'
    assert POLYGON.next_page(call, body, 2) == Call("bars-2", "range", "/v2/x/1", {"cursor": "abc"})
    assert POLYGON.next_page(call, b"{}", 2) is None
    with pytest.raises(ContentError, match=r"example\.org"):
        POLYGON.next_page(call, b'{"next_url": "https://example.org/v2/x"}', 2)


def test_a_repeated_session_stays_visible() -> None:
    """A JSON object that names a session twice gives two bars, for the rules to judge."""
    twice = b'"2026-11-20": {"4. close": "1"}, "2026-11-20": {"4. close": "2"}'
    body = b'{"Meta Data": {"2. Symbol": "A"}, "Time Series (Daily)": {%s}}' % twice
    assert [row[4] for row in bars_of(ALPHA_VANTAGE, body, "A")] == [1.0, 2.0]


def test_all_sources_are_found_by_their_entry_points() -> None:
    """The installed sources are found by name, and an unknown one is refused with their names."""
    assert set(vendors.names()) >= {"alpha_vantage", "mock", "polygon"}
    assert vendors.load("polygon") == POLYGON
    with pytest.raises(Exception, match="no price source 'stooq'") as caught:
        vendors.load("stooq")
    assert "alpha_vantage" in getattr(caught.value, "hint", "")


def test_mock_bars_do_not_depend_on_how_they_are_asked_for() -> None:
    """The invented market gives the same bar whatever the range, and other ones for another symbol."""
    mock: Any = vendors.load("mock")
    moment = datetime(2026, 11, 23, 21, 30, tzinfo=UTC)

    def closes(symbol: str, first: date, last: date) -> dict[date, float]:
        (part,) = mock.generate(Wanted(symbol, first, last), moment)
        return dict(mock.parse_bars(part, symbol).frame.select("trade_date", "close").rows())

    short = closes("AAPL", date(2020, 8, 20), date(2020, 9, 10))
    long = closes("AAPL", date(2020, 6, 1), date(2021, 6, 1))
    assert short.items() <= long.items()
    assert closes("MSFT", date(2020, 8, 20), date(2020, 9, 10)) != short
    assert 3.5 < short[date(2020, 8, 28)] / short[date(2020, 8, 31)] < 4.5


HOSTILE = [
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'["Note"]',
    b'"Note"',
    b'{"results": [1, null, "x"], "resultsCount": 3}',
    b'{"Note": "half a character \\ud800 here"}',
    b'{"error": "half a character \\ud800 here", "status": "ERROR"}',
    b'{"next_url": 5}',
]


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("body", HOSTILE)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500])
def test_answers_that_nobody_would_send_are_findings(vendor: str, body: bytes, status: int) -> None:
    """Whatever JSON comes with whatever status is a finding, whose words any file or database takes."""
    VENDORS[vendor].classify(status, body).message.encode()


@pytest.mark.parametrize(
    "following", ["http://[", "http://[::1", "//\u2100.com", 5, ["x"], {"a": 1}, "?" + "a=1&" * 999]
)
def test_a_further_page_that_is_no_address_is_refused(following: object) -> None:
    """A next_url that cannot be read leads nowhere, and is refused by name."""
    body = json.dumps({"results": [], "next_url": following}).encode()
    with pytest.raises(ContentError) as caught:
        POLYGON.next_page(Call("bars", "range", "/"), body, 2)
    assert caught.value.kind == "foreign_page"


def test_reference_rows_that_are_no_objects_tell_nothing() -> None:
    """What the reference data has instead of objects is passed over."""
    rows = [None, 1, "A", {"ticker": "A", "delisted_utc": "2024-05-01T00:00:00Z"}]
    assert POLYGON.explained(json.dumps({"results": rows}).encode(), "A") == "delisted on 2024-05-01"


@pytest.mark.parametrize("size", [1_000_000, 1_000_001])
def test_a_field_of_an_answer_is_bounded(size: int) -> None:
    """An answer with a text of more than a million bytes is refused, one with a million is read."""
    text = ("a, " * size)[:size]
    part = Part("bars", f'{{"note": "{text}"}}'.encode(), "answer")
    if size == 1_000_000:
        assert read_json(part) == {"note": text}
        return
    with pytest.raises(ContentError) as caught:
        read_json(part)
    assert caught.value.kind == "field_too_large"


def test_a_long_field_of_delimited_text_is_refused() -> None:
    """Delimited text with a field that its reader does not take is refused by name, not as a defect."""
    part = Part("bars", b'a,b\n1,"' + b"x, " * 60_000 + b'"\n', "answer")
    with pytest.raises(ContentError) as caught:
        read_csv(part, ["a"])
    assert caught.value.kind == "not_csv"
