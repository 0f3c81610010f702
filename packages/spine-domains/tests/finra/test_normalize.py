"""From fields to rows: types, row rules, uniqueness, and whether the file is the right one."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from market_spine.core.capture import Part, Payload
from market_spine.core.domain import Normalized
from market_spine.core.manifest import Known
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.normalize import normalize_payload
from spine.domains.finra.otc_transparency.partitions import (
    make_partition,
    parse_partition,
    week_ending_of,
)
from spine.domains.finra.otc_transparency.schema import VENUE_VOLUME
from spine.domains.finra.otc_transparency.source import FileSource

WEEK = "2025-11-14"
SHORT = {
    "tierDescription": "OTC",
    "issueSymbolIdentifier": "AABB",
    "issueName": "Asia  Broadband, Inc",
    "marketParticipantName": "OTCN OTC LINK NQB IDQS",
    "MPID": "OTCN",
    "totalWeeklyShareQuantity": "6753871",
    "totalWeeklyTradeCount": "171",
    "lastUpdateDate": "2025-12-15",
}
"""A row of the website's layout."""
LONG = {
    **SHORT,
    "firmCRDNumber": "",
    "tierIdentifier": "OTCE",
    "summaryStartDate": "2025-11-10",
    "productTypeCode": "OTCE",
    "summaryTypeCode": "ATS_W_SMBL_FIRM",
    "weekStartDate": "2025-11-10",
    "initialPublishedDate": "2025-12-15",
    "lastReportedDate": "2025-11-14",
    "totalNotionalSum": "905668.2625",
}
"""A row of the API's layout."""
FIRM = {"MPID": "", "marketParticipantName": "CITADEL SECURITIES LLC"}
DE_MINIMIS = {"MPID": "", "marketParticipantName": "De Minimis Firms"}


def make_part(rows: list[dict[str, str]], name: str = "ATS") -> Part:
    lines = ["|".join(rows[0]), *("|".join(row.values()) for row in rows)]
    return Part(name, ("\n".join(lines) + "\n").encode(), "file.csv")


def normalize(*rows: dict[str, str], leg: str = "ATS", tier: str = "OTC") -> Normalized:
    return normalize_payload(parse_partition(f"{WEEK}|{tier}"), [make_part(list(rows), leg)])


def frame(normalized: Normalized) -> pl.DataFrame:
    return normalized.tables["finra_otc_venue_volume"]


def good_rows(count: int = 30) -> list[dict[str, str]]:
    return [{**LONG, "issueSymbolIdentifier": f"S{number:03}"} for number in range(count)]


def test_a_row_of_the_website() -> None:
    """The website's eight columns fill what they can; the rest is empty or null."""
    rows = frame(normalize(SHORT))
    assert rows.rows(named=True) == [
        {
            "week_ending": date(2025, 11, 14),
            "tier": "OTC",
            "venue_class": "ATS",
            "venue_id": "OTCN",
            "venue_name": "OTCN OTC LINK NQB IDQS",
            "symbol": "AABB",
            "issue_name": "Asia  Broadband, Inc",
            "product_type": "",
            "share_volume": 6753871.0,
            "trade_count": 171,
            "notional": None,
            "initial_published_date": None,
            "last_update_date": date(2025, 12, 15),
            "last_reported_date": None,
        }
    ]


def test_a_row_of_the_api() -> None:
    """The API's columns fill every column of the table."""
    row = frame(normalize(LONG)).row(0, named=True)
    assert row["product_type"] == "OTCE"
    assert row["notional"] == 905668.2625
    assert row["initial_published_date"] == date(2025, 12, 15)
    assert row["last_reported_date"] == date(2025, 11, 14)


def test_columns_and_types_are_as_declared() -> None:
    """The frame has the declared columns in order, with the declared types, whatever the layout."""
    types = {"text": pl.String(), "integer": pl.Int64(), "float": pl.Float64(), "date": pl.Date()}
    expected = [(column.name, types[column.kind]) for column in VENUE_VOLUME.columns]
    for row in (SHORT, LONG, {**SHORT, "issueSymbolIdentifier": ""}):
        normalized = normalize(row)
        assert list(frame(normalized).schema.items()) == expected
        assert list(normalized.rejects.schema.items()) == [
            ("part", pl.String()),
            ("line", pl.Int64()),
            ("rule", pl.String()),
            ("raw", pl.String()),
        ]


@pytest.mark.parametrize(
    ("changes", "venue_id"),
    [
        ({**FIRM, "MPID": "CDEL", "firmCRDNumber": "116797"}, "CDEL"),
        ({**FIRM, "firmCRDNumber": " 116797 "}, "116797"),
        ({**FIRM, "firmCRDNumber": ""}, "CITADEL SECURITIES LLC"),
        ({**DE_MINIMIS, "firmCRDNumber": ""}, "DE_MINIMIS"),
        ({**DE_MINIMIS, "firmCRDNumber": "0"}, "DE_MINIMIS"),
        ({"MPID": " ", "marketParticipantName": "DE MINIMIS FIRMS", "firmCRDNumber": "0"}, "DE_MINIMIS"),
    ],
)
def test_venue_ids(changes: dict[str, str], venue_id: str) -> None:
    """A venue is its MPID, or the unattributed mass, or its CRD number, or its name."""
    row = {**SHORT, "firmCRDNumber": "", **changes}
    assert frame(normalize(row, leg="NON_ATS"))["venue_id"].to_list() == [venue_id]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        (" 12 ", 12.0),
        ("0.000001", 0.000001),
        ("1234.567891", 1234.567891),
        ("1.776264414239084E9", 1776264414.239084),
        ("5e-1", 0.5),
        ("999999999999.999", 999999999999.999),
    ],
)
def test_numbers(text: str, value: float) -> None:
    """Fractions and E-notation are numbers, read to the nearest double."""
    row = frame(normalize({**LONG, "totalWeeklyShareQuantity": text, "totalNotionalSum": text}))
    assert row["share_volume"].to_list() == row["notional"].to_list() == [value]
    assert str(row["share_volume"][0]) == str(value)


def test_trades_in_e_notation() -> None:
    """A trade count in E-notation is a whole number all the same."""
    assert frame(normalize({**SHORT, "totalWeeklyTradeCount": "1.5E2"}))["trade_count"].to_list() == [150]


def test_symbols_and_names_stay_as_they_are() -> None:
    """Case, dots, inner and outer spaces of symbols and names are kept."""
    for symbol in ("BRK.B", "ABRpD", "TpC", " X"):
        assert frame(normalize({**SHORT, "issueSymbolIdentifier": symbol}))["symbol"].to_list() == [symbol]
    name = ' Ünïted  "Company", #1 '
    assert frame(normalize({**SHORT, "issueName": name}))["issue_name"].to_list() == [name]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"issueSymbolIdentifier": ""}, "blank_symbol"),
        ({"issueSymbolIdentifier": "  "}, "blank_symbol"),
        ({"MPID": "", "marketParticipantName": " "}, "missing_venue"),
        ({"MPID": "", "marketParticipantName": "CITADEL SECURITIES LLC"}, "missing_venue"),
        ({"totalWeeklyShareQuantity": ""}, "bad_number"),
        ({"totalWeeklyShareQuantity": "1,000"}, "bad_number"),
        ({"totalWeeklyShareQuantity": "NaN"}, "bad_number"),
        ({"totalWeeklyShareQuantity": "inf"}, "bad_number"),
        ({"totalWeeklyShareQuantity": "1e999"}, "bad_number"),
        ({"totalWeeklyShareQuantity": "1_000"}, "bad_number"),
        ({"totalWeeklyTradeCount": "many"}, "bad_number"),
        ({"totalNotionalSum": "?"}, "bad_number"),
        ({"totalWeeklyTradeCount": "1.5"}, "fractional_trades"),
        ({"totalWeeklyShareQuantity": "-1"}, "negative"),
        ({"totalWeeklyTradeCount": "-1"}, "negative"),
        ({"totalNotionalSum": "-0.01"}, "negative"),
        ({"totalWeeklyShareQuantity": "1E12"}, "out_of_range"),
        ({"totalWeeklyTradeCount": "1000000000000"}, "out_of_range"),
        ({"lastUpdateDate": "15.12.2025"}, "bad_date"),
        ({"lastUpdateDate": "2025-12-5"}, "bad_date"),
        ({"lastUpdateDate": "2025-02-30"}, "bad_date"),
        ({"lastReportedDate": "0001-01-01"}, "bad_date"),
        ({"weekStartDate": "soon"}, "bad_date"),
        ({"tierIdentifier": "T2"}, "wrong_tier"),
        ({"tierIdentifier": "NMS"}, "wrong_tier"),
        ({"tierDescription": "NMS Tier 1"}, "wrong_tier"),
        ({"tierDescription": "", "tierIdentifier": ""}, "wrong_tier"),
        ({"weekStartDate": "2025-11-17"}, "wrong_week"),
        ({"summaryTypeCode": "ATS_W_SMBL"}, "wrong_summary_type"),
        ({"summaryTypeCode": "OTC_W_SMBL_FIRM"}, "wrong_summary_type"),
    ],
)
def test_row_rules(changes: dict[str, str], rule: str) -> None:
    """A row that breaks a rule is rejected with line, text and rule; the others are accepted."""
    rows = good_rows()
    rows[4] = bad = {**rows[4], **changes}
    normalized = normalize(*rows)
    assert normalized.rejects.rows() == [("ATS", 6, rule, "|".join(bad.values()))]
    assert frame(normalized).height == 29
    assert normalized.rows_read == 30


@pytest.mark.parametrize(
    "changes",
    [
        {"tierIdentifier": ""},
        {"tierDescription": " "},
        {"weekStartDate": ""},
        {"summaryTypeCode": ""},
        {"lastUpdateDate": "", "lastReportedDate": "", "initialPublishedDate": ""},
        {"totalNotionalSum": ""},
        {"issueName": "", "productTypeCode": ""},
    ],
)
def test_what_may_be_blank(changes: dict[str, str]) -> None:
    """What a row leaves blank, where FINRA leaves things blank, is no reason to reject it."""
    rows = good_rows()
    rows[4] = {**rows[4], **changes}
    normalized = normalize(*rows)
    assert frame(normalized).height == 30
    assert normalized.concerns == ()


def test_exact_duplicates_are_counted() -> None:
    """Rows equal in every column of the table, though spelt differently, are kept once and counted."""
    again = {**SHORT, "totalWeeklyShareQuantity": "6.753871E6", "tierDescription": "OTCE"}
    normalized = normalize(SHORT, again, SHORT)
    assert frame(normalized).height == 1
    assert (normalized.rows_read, normalized.duplicates, normalized.rejects.height) == (3, 2, 0)


def test_all_rows_of_a_conflicting_key_are_rejected() -> None:
    """Where one key has several values none is believed, not even one that is there twice."""
    other = {**SHORT, "totalWeeklyTradeCount": "172"}
    apart = {**SHORT, "issueName": "Renamed"}
    normalized = normalize(SHORT, apart, other, SHORT)
    assert frame(normalized)["issue_name"].to_list() == ["Renamed"]
    assert normalized.rejects.select("line", "rule").rows() == [
        (2, "conflicting_key"),
        (4, "conflicting_key"),
        (5, "conflicting_key"),
    ]
    assert normalized.duplicates == 0


def test_null_is_a_value_in_conflicts() -> None:
    """A blank and a filled notional of one key conflict; two blank ones are duplicates."""
    blank = {**LONG, "totalNotionalSum": ""}
    assert normalize(LONG, blank).rejects.height == 2
    assert normalize(blank, blank).duplicates == 1


def test_rows_are_sorted_by_key() -> None:
    """Rows come out in the order of the table's key, in bytes, whatever the order of the file."""
    rows = [
        {**SHORT, "MPID": mpid, "issueSymbolIdentifier": symbol}
        for symbol in ("b", "B", "AA", "A.B")
        for mpid in ("ZZZZ", "ARCA")
    ]
    normalized = frame(normalize(*rows))
    expected = sorted((row["MPID"], row["issueSymbolIdentifier"]) for row in rows)
    assert normalized.select("venue_id", "symbol").rows() == expected


def test_both_legs() -> None:
    """Two parts give the rows of both venue classes; counts are totals and rejects name their part."""
    ats = make_part([SHORT, {**SHORT, "issueSymbolIdentifier": ""}, SHORT])
    firms = make_part([{**SHORT, **FIRM}, {**SHORT, **DE_MINIMIS}, {**SHORT, **FIRM, "totalWeeklyTradeCount": ""}])
    partition = parse_partition(f"{WEEK}|OTC")
    normalized = normalize_payload(partition, [Part("NON_ATS", firms.data, "b.csv"), ats])
    assert frame(normalized).select("venue_class", "venue_id").rows() == [
        ("ATS", "OTCN"),
        ("NON_ATS", "CITADEL SECURITIES LLC"),
        ("NON_ATS", "DE_MINIMIS"),
    ]
    assert (normalized.rows_read, normalized.duplicates) == (6, 1)
    assert normalized.rejects.select("part", "line", "rule").rows() == [
        ("ATS", 3, "blank_symbol"),
        ("NON_ATS", 4, "bad_number"),
    ]


def test_the_real_last_line_without_a_symbol() -> None:
    """A real file ends with a row of blank symbol and name and no line end: a reject, no truncated file."""
    last = "OTC|||PPEX NORTH CAPITAL PRIVATE SECURITIES CORPORATION|PPEX|1|1|2025-12-29"
    text = "\n".join(["|".join(SHORT), "|".join({**SHORT, "lastUpdateDate": "2025-12-29"}.values()), last])
    part = Part("ATS", text.encode(), "finra_otc_weekly_otc_20251229.csv")
    normalized = normalize_payload(parse_partition("2025-11-28|OTC"), [part])
    assert normalized.rejects.rows() == [("ATS", 3, "blank_symbol", last)]
    assert frame(normalized).height == 1
    assert normalized.concerns == ()


def test_rejects_keep_the_text_of_lines_of_every_kind() -> None:
    """Rejects of parsing and of rules stand together in line order, each with its raw text."""
    header = "|".join(SHORT).encode()
    bad = [b"OTC|short", "|".join({**SHORT, "issueName": "é"}.values()).encode("latin-1")]
    negative = "|".join({**SHORT, "totalWeeklyShareQuantity": "-5"}.values()).encode()
    part = Part("ATS", b"\n".join([header, negative, *bad, b"", "|".join(SHORT.values()).encode()]), "x")
    normalized = normalize_payload(parse_partition(f"{WEEK}|OTC"), [part])
    assert normalized.rejects.select("line", "rule", "raw").rows() == [
        (2, "negative", negative.decode()),
        (3, "field_count", "OTC|short"),
        (4, "not_utf8", bad[1].decode("utf-8", "backslashreplace")),
    ]
    assert normalized.rows_read == 4


def test_a_file_of_rejects_only_gives_no_rows() -> None:
    """If every row is rejected the frame is empty and typed, for the guards to judge."""
    normalized = normalize({**SHORT, "totalWeeklyTradeCount": "x"})
    assert frame(normalized).height == 0
    assert normalized.rejects.height == normalized.rows_read == 1


@pytest.mark.samples
@pytest.mark.parametrize(
    ("week", "rows", "shares", "trades", "symbols"),
    [("2025-11-14", 5328, 1335995901, 472776, 3111), ("2025-11-21", 5192, 943802893, 497191, 2985)],
)
def test_real_weeks(finra_samples: Path, week: str, rows: int, shares: int, trades: int, symbols: int) -> None:
    """The real files give the totals counted by hand from them, without a reject or a doubt."""
    partition = DOMAIN.partition(f"{week}|OTC")
    payload = FileSource(str(finra_samples / "pipe")).fetch(partition, Known(partition.key))
    assert isinstance(payload, Payload)
    normalized = DOMAIN.normalize(partition, payload.parts)
    table = frame(normalized)
    assert table.height == normalized.rows_read == rows
    assert table["share_volume"].sum() == shares
    assert table["trade_count"].sum() == trades
    assert table["symbol"].n_unique() == symbols
    assert table["venue_id"].n_unique() == 9
    assert (normalized.rejects.height, normalized.duplicates, normalized.concerns) == (0, 0, ())


@pytest.mark.samples
def test_real_revisions(finra_samples: Path) -> None:
    """Of eight weeks that FINRA restated, the later file adds exactly the row it is known to have added."""
    folder = finra_samples / "two_captures"
    for monday, days, added in json.loads((folder / "manifest.json").read_text()):
        partition = make_partition(week_ending_of(date.fromisoformat(monday)), "NMS_TIER_1")
        tables = []
        for number, day in enumerate(days, start=1):
            name = f"week{monday}_capture{number}_asof{day}.csv".replace("-", "")
            normalized = normalize_payload(partition, [Part("ATS", (folder / name).read_bytes(), name)])
            assert (normalized.rejects.height, normalized.concerns) == (0, ())
            tables.append(set(frame(normalized).rows()))
        first, second = tables
        assert first < second
        columns = [VENUE_VOLUME.names.index(name) for name in ("venue_id", "share_volume", "trade_count")]
        new = [tuple(row[column] for column in columns) for row in second - first]
        assert new == [tuple(row[:3]) for row in added]
