"""Records of the API become one canonical text, however they were spelt, ordered or paged."""

from __future__ import annotations

import json
import random
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.capture import Part
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.api import client as api_client
from spine.domains.finra.otc_transparency.api.payload import COLUMNS, read_records, render
from spine.domains.finra.otc_transparency.api.reading import Query
from spine.domains.finra.otc_transparency.api.totals import RECORD_TOTAL, VERIFIED_BY, differences
from spine.domains.finra.otc_transparency.simulator.generated import GeneratedMarket

from .api_helpers import load, rows, simulated

RECORD: dict[str, Any] = {
    "totalWeeklyShareQuantity": 1244587,
    "issueSymbolIdentifier": "AAPL",
    "issueName": "Apple Inc. Common Stock",
    "lastUpdateDate": "2022-05-02",
    "lastReportedDate": "2022-04-14",
    "tierDescription": "NMS Tier 1",
    "initialPublishedDate": "2022-05-02",
    "tierIdentifier": "T1",
    "summaryStartDate": "2022-04-11",
    "totalNotionalSum": 208908026,
    "totalWeeklyTradeCount": 15041,
    "weekStartDate": "2022-04-11",
    "MPID": "INCR",
    "firmCRDNumber": None,
    "productTypeCode": None,
    "marketParticipantName": "INCR INTELLIGENT CROSS LLC",
    "summaryTypeCode": "ATS_W_SMBL_FIRM",
}
PARTITION = DOMAIN.partition("2022-04-15|NMS_TIER_1")


def canonical(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return render(*read_records(data)).decode()


def test_a_record_in_canonical_text() -> None:
    """The example of the documentation, by hand: FINRA's field order, pipes, nothing for null."""
    header, line, end = canonical(json.dumps([RECORD])).split("\n")
    assert header == "|".join(COLUMNS)
    assert line == (
        "AAPL|Apple Inc. Common Stock||INCR|INCR INTELLIGENT CROSS LLC|T1|NMS Tier 1|2022-04-11|15041|1244587||"
        "ATS_W_SMBL_FIRM|2022-04-11|2022-05-02|2022-05-02|2022-04-14|208908026"
    )
    assert end == ""


@pytest.mark.parametrize(
    ("spelt", "kept"),
    [
        ("1.776264414239084E9", "1776264414.239084"),
        ("1.5E3", "1500"),
        ("1500.0", "1500"),
        ("905668.2625", "905668.2625"),
        ("0.000001", "1e-6"),
        ("null", ""),
    ],
)
def test_a_number_has_one_spelling(spelt: str, kept: str) -> None:
    """E-notation, a needless point and plain digits of one double are the same text, and read back as it."""
    text = json.dumps([RECORD]).replace("208908026", spelt)
    last = canonical(text).splitlines()[1].rpartition("|")[2]
    assert last == kept
    if kept:
        assert float(last) == float(spelt)


records = st.lists(
    st.tuples(
        st.sampled_from(["A", "a", "B.C", None]),
        st.sampled_from(["INCR", "UBSA", None]),
        st.floats(0, 1e12, allow_nan=False),
        st.integers(0, 10**6),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.soak
@given(records, st.randoms(use_true_random=False))
def test_neither_the_order_of_records_nor_that_of_keys_matters(
    given_records: list[tuple[str | None, str | None, float, int]], chance: random.Random
) -> None:
    """Shuffled records with shuffled keys give the same bytes, and every number survives exactly."""
    made = [
        {
            **RECORD,
            "issueSymbolIdentifier": symbol,
            "MPID": mpid,
            "totalNotionalSum": notional,
            "totalWeeklyTradeCount": n,
        }
        for symbol, mpid, notional, n in given_records
    ]
    shuffled = [dict(chance.sample(sorted(each.items(), key=str), len(each))) for each in made]
    chance.shuffle(shuffled)
    text = canonical(json.dumps(made))
    assert canonical(json.dumps(shuffled)) == text
    kept = sorted(float(line.rpartition("|")[2]) for line in text.splitlines()[1:])
    assert kept == sorted(notional for *_, notional, _ in given_records)


def test_a_delimiter_inside_a_name_becomes_a_space() -> None:
    """The layout has no quoting: a pipe or a line end in a value would break the line."""
    made = canonical(json.dumps([{**RECORD, "issueName": "A|B\nC\r"}]))
    assert made.splitlines()[1].split("|")[1] == "A B C "


def test_a_field_that_no_record_has_is_left_out() -> None:
    """It is unknown, not empty: the parser and the normalizer see a payload without it."""
    lacking = {name: value for name, value in RECORD.items() if name != "totalNotionalSum"}
    assert "totalNotionalSum" not in canonical(json.dumps([lacking]))
    assert canonical(json.dumps([lacking, RECORD])).count("208908026") == 1


@pytest.mark.parametrize("body", [b"", b"[]", b" [] \n"])
def test_nothing_is_no_records(body: bytes) -> None:
    """An empty body and an empty list."""
    assert read_records(body)[0].is_empty()


@pytest.mark.parametrize(
    "body",
    [
        b'[{"issueSymbolIdentifier":"A"',
        b'[{"issueSymbolIdentifier":"A","totalWeeklyShareQuantity":1,"totalWeeklyTradeCount":1},',
        b'{"statusCode":200,"message":"No data"}',
        b"<html><body>Just a moment...</body></html>",
        b"[1, 2]",
        b'[{"other":1}]',
        b'[{"issueSymbolIdentifier":"A","totalWeeklyShareQuantity":"many","totalWeeklyTradeCount":1}]',
        b'[{"issueSymbolIdentifier":"A","totalWeeklyShareQuantity":null,"totalWeeklyTradeCount":1}]',
        b"issueSymbolIdentifier,other\nA,1\n",
        b'issueSymbolIdentifier,totalWeeklyShareQuantity,totalWeeklyTradeCount\n"A",1\n',
        b"issueSymbolIdentifier,totalWeeklyShareQuantity,totalWeeklyTradeCount\nA,x,1\n",
        b'issueSymbolIdentifier,totalWeeklyShareQuantity,totalWeeklyTradeCount\n"A","1","2',
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_list_of_records_is_refused(body: bytes) -> None:
    """Cut, of another shape, or with wrong types: never part of it."""
    with pytest.raises(ValueError, match=r"."):
        read_records(body)


def test_delimited_text_is_read_like_json() -> None:
    """The same record as quoted, comma-delimited text with FINRA's header."""
    values = ["" if RECORD[name] is None else str(RECORD[name]) for name in COLUMNS]
    text = ",".join(COLUMNS) + "\r\n" + ",".join(f'"{value}"' for value in values) + "\r\n"
    assert canonical(text) == canonical(json.dumps([RECORD]))
    assert canonical(",".join(COLUMNS) + "\n").splitlines() == canonical(b"").splitlines()


@pytest.mark.server
def test_a_service_that_ignores_our_accept_header_gives_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answered in delimited text, as FINRA does by default, a load equals one from JSON."""
    day = "2026-11-23"
    with simulated(GeneratedMarket(1, {"T1": 300, "T2": 10, "OTCE": 10}, 0.0)) as service:
        for name, accept in (("json", "application/json"), ("text", "text/plain")):
            monkeypatch.setattr(api_client, "_ACCEPT", {"Accept": accept})
            result = load(service.source(day), tmp_path / name, day, tiers=("NMS_TIER_1",))
            assert result.exit_code == 0
    assert rows(tmp_path / "json") == rows(tmp_path / "text")


@pytest.mark.parametrize(
    ("field", "value"), [("tierIdentifier", "NMS"), ("weekStartDate", "2022-04-18"), ("summaryTypeCode", "ATS_W_SMBL")]
)
def test_records_that_were_not_asked_for_are_refused(field: str, value: str) -> None:
    """A service that ignores a filter answers with other weeks, with the doubled tier or with roll-ups."""
    from market_spine.errors import SourceError

    query = Query("weeklySummary", date(2022, 4, 11), "T1", ("ATS_W_SMBL_FIRM",))
    query.check(read_records(json.dumps([RECORD]).encode())[0])
    with pytest.raises(SourceError) as caught:
        query.check(read_records(json.dumps([RECORD, {**RECORD, field: value}]).encode())[0])
    assert caught.value.kind == "filters_ignored"


def part(name: str, made: list[dict[str, Any]], **metadata: str) -> Part:
    return Part(name, canonical(json.dumps(made)).encode(), name, {"source": "api", **metadata})


def verified(made: list[dict[str, Any]], told: list[dict[str, Any]]) -> list[str]:
    """The concerns about rows beside their totals."""
    totals = part("ATS_TOTALS", [{**RECORD, "summaryTypeCode": "ATS_W_SMBL", "MPID": None, **each} for each in told])
    ats = part("ATS", [{**RECORD, **each} for each in made], **{VERIFIED_BY: totals.sha256})
    return [f"{each.kind} {each.message}" for each in DOMAIN.normalize(PARTITION, (ats, totals)).concerns]


SHARES, TRADES, SYMBOL = "totalWeeklyShareQuantity", "totalWeeklyTradeCount", "issueSymbolIdentifier"


def test_sums_equal_to_finras_totals_raise_no_concern() -> None:
    """Two venues, two products, two spellings of a symbol in different case, and a record without a symbol."""
    made: list[dict[str, Any]] = [
        {SYMBOL: "TpC", "MPID": "INCR", SHARES: 10.25, TRADES: 1},
        {SYMBOL: "TpC", "MPID": "UBSA", SHARES: 20.5, TRADES: 2},
        {SYMBOL: "TPC", "MPID": "INCR", SHARES: 7, TRADES: 3, "productTypeCode": "CTS"},
        {SYMBOL: "TPC", "MPID": "INCR", SHARES: 8, TRADES: 4, "productTypeCode": "UTP"},
        {SYMBOL: None, "issueName": None, "MPID": "PPEX", SHARES: 1, TRADES: 1},
    ]
    told = [
        {SYMBOL: "TpC", SHARES: 30.75, TRADES: 3},
        {SYMBOL: "TPC", SHARES: 7, TRADES: 3, "productTypeCode": "CTS"},
        {SYMBOL: "TPC", SHARES: 8, TRADES: 4, "productTypeCode": "UTP"},
    ]
    assert verified(made, told) == []


def test_the_noise_of_adding_doubles_is_no_difference_but_a_millionth_of_a_share_is() -> None:
    """0.1 + 0.2 is 0.3 here; 0.300001 is not."""
    made = [{SHARES: 0.1, "MPID": "INCR", TRADES: 1}, {SHARES: 0.2, "MPID": "UBSA", TRADES: 1}]
    assert verified(made, [{SHARES: 0.3, TRADES: 2}]) == []
    assert len(verified(made, [{SHARES: 0.300001, TRADES: 2}])) == 1


def test_other_totals_hold_the_payload_and_name_the_symbols() -> None:
    """A symbol too many, one too few and one with another number: each with its difference."""
    made = [{SYMBOL: "A", SHARES: 10, TRADES: 1}, {SYMBOL: "B", SHARES: 5, TRADES: 5}]
    told = [{SYMBOL: "B", SHARES: 5, TRADES: 7}, {SYMBOL: "C", SHARES: 2, TRADES: 1}]
    (concern,) = verified(made, told)
    assert concern.startswith("totals_disagree")
    for named in ("3 symbols", "A +10 shares, +1 trades", "B +0 shares, -2 trades", "C -2 shares, -1 trades"):
        assert named in concern


def test_a_long_list_of_differences_is_cut() -> None:
    """Ten symbols are named, the others counted."""
    told = [{SYMBOL: f"S{number:02}", SHARES: 1, TRADES: 1} for number in range(14)]
    (concern,) = verified([{SYMBOL: "S00", SHARES: 1, TRADES: 1}], told)
    assert "13 symbols" in concern
    assert concern.endswith("; and 3 more")


def test_totals_of_another_reading_prove_nothing() -> None:
    """Rows that a file replaced are not compared with the roll-ups that the API gave with the old ones."""
    totals = part("ATS_TOTALS", [{**RECORD, "summaryTypeCode": "ATS_W_SMBL", SHARES: 1}])
    assert not DOMAIN.normalize(PARTITION, (part("ATS", [RECORD]), totals)).concerns


def test_fewer_rows_than_finra_counts_hold_the_payload() -> None:
    """The record total that came with the rows is checked again whenever they are read."""
    (concern,) = DOMAIN.normalize(PARTITION, (part("ATS", [RECORD], **{RECORD_TOTAL: "2"}),)).concerns
    assert (concern.kind, "1 rows" in concern.message, "2" in concern.message) == ("incomplete", True, True)


@given(st.lists(st.tuples(st.sampled_from(["A", "a", "B"]), st.integers(0, 10**9), st.integers(0, 10**6)), max_size=20))
def test_rows_and_their_own_sums_never_differ(made: list[tuple[str, int, int]]) -> None:
    """Totals computed with whole numbers by hand agree with the sums of the rows."""
    sums: dict[str, list[int]] = {}
    for symbol, shares, trades in made:
        total = sums.setdefault(symbol, [0, 0])
        total[0] += shares
        total[1] += trades
    schema = {"symbol": pl.String, "shares": pl.Int64, "trades": pl.Int64}
    told = [(symbol, *total) for symbol, total in sums.items()]
    found = differences(pl.DataFrame(made, schema, orient="row"), pl.DataFrame(told, schema, orient="row"))
    assert found.is_empty()
