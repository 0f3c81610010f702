"""The simulator over kept records: served as they are, completed, and shown as time goes by."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from market_spine.errors import ContentError, MarketSpineError, UsageError
from spine.domains.finra.otc_transparency.simulator.recorded import RecordedMarket

pytestmark = pytest.mark.server

SUMMARY = "/data/group/otcMarket/name/weeklySummary"
JSON = {"Accept": "application/json"}

Simulate = Callable[..., httpx2.Client]
Record = dict[str, Any]


def load(path: Path) -> list[Record]:
    found: list[Record] = json.loads(path.read_text(), parse_float=Decimal)
    return found


def read(api: httpx2.Client, **values: str) -> list[Record]:
    """All records with these values, page by page."""
    filters = [{"fieldName": name, "fieldValue": value, "compareType": "EQUAL"} for name, value in values.items()]
    found: list[Record] = []
    while True:
        body = {"compareFilters": filters, "limit": 5000, "offset": len(found)}
        answer = api.post(SUMMARY, json=body, headers=JSON)
        found += json.loads(answer.text or "[]", parse_float=Decimal)
        if len(found) == int(answer.headers["Record-Total"]):
            return found


def canonical(records: list[Record]) -> list[str]:
    return sorted(json.dumps({key: str(value) for key, value in sorted(record.items())}) for record in records)


@pytest.fixture(scope="module")
def recorded(simulate: Simulate, finra_samples: Path) -> httpx2.Client:
    return simulate("2026-11-20", RecordedMarket(finra_samples / "api"))


@pytest.mark.samples
def test_records_are_served_as_they_are(recorded: httpx2.Client, finra_samples: Path) -> None:
    """All 6,653 records of one symbol come back, number for number, in the recorded key order."""
    expected = load(finra_samples / "api" / "weeklySummary_AAPL_T1_ATS_W_SMBL_FIRM.json")
    found = read(recorded, issueSymbolIdentifier="AAPL", summaryTypeCode="ATS_W_SMBL_FIRM")
    assert len(found) == 6653
    assert [list(record) for record in found[:1]] == [list(expected[0])]
    assert canonical(found) == canonical(expected)


@pytest.mark.samples
def test_given_rollups_win_and_others_are_computed(recorded: httpx2.Client, finra_samples: Path) -> None:
    """FINRA's own totals are served where kept, and equal the sums; under NMS, where none are, sums are served."""
    firms = load(finra_samples / "api" / "weeklySummary_AAPL_T1_ATS_W_SMBL_FIRM.json")
    kept = load(finra_samples / "api" / "weeklySummary_AAPL_T1_ATS_W_SMBL.json")
    sums: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for row in firms:
        total = sums[row["tierIdentifier"], row["weekStartDate"]]
        total[0] += row["totalWeeklyShareQuantity"]
        total[1] += row["totalWeeklyTradeCount"]
    found = read(recorded, issueSymbolIdentifier="AAPL", summaryTypeCode="ATS_W_SMBL")
    totals = {
        (row["tierIdentifier"], row["weekStartDate"]): [row["totalWeeklyShareQuantity"], row["totalWeeklyTradeCount"]]
        for row in found
    }
    assert len(found) == len(totals) == 248 + 17
    assert {key: totals[key] for key in sums} == sums
    assert {row["totalNotionalSum"] for row in kept} <= {row["totalNotionalSum"] for row in found}


@pytest.mark.samples
def test_row_without_symbol(recorded: httpx2.Client, finra_samples: Path) -> None:
    """The market-wide record under NMS is served with its nulls."""
    expected = load(finra_samples / "api" / "weeklySummary_2rows_null_symbol.json")[:1]
    assert canonical(read(recorded, summaryTypeCode="ATS_W_VOL_STATS")) == canonical(expected)


@pytest.mark.samples
def test_revised_record_is_shown_from_its_day(simulate: Simulate, finra_samples: Path) -> None:
    """A row that was updated on 29 July is not there on the 28th: its earlier value is unknown."""
    api = simulate("2022-07-28", RecordedMarket(finra_samples / "api"))

    def venues() -> set[str]:
        found = read(api, weekStartDate="2022-06-27", tierIdentifier="T1", summaryTypeCode="ATS_W_SMBL_FIRM")
        return {row["MPID"] for row in found}

    before = venues()
    api.post("/_simulator/clock", json={"now": "2022-07-29"})
    assert venues() - before == {"INCR"}
    assert before


ROW: Record = {
    "weekStartDate": "2025-11-10",
    "tierDescription": "OTC",
    "issueSymbolIdentifier": "AABB",
    "issueName": 'The "Quoted" Company',
    "MPID": "OTCN",
    "marketParticipantName": "OTCN OTC LINK NQB IDQS",
    "totalWeeklyShareQuantity": 100.25,
    "totalWeeklyTradeCount": 3,
    "lastUpdateDate": "2025-12-15",
}


def test_versions_of_a_row(simulate: Simulate, tmp_path: Path) -> None:
    """Of two records with one identity the later one counts from its day on, and the roll-ups follow."""
    later = {**ROW, "totalWeeklyShareQuantity": 90, "lastUpdateDate": "2026-01-08"}
    other = {**ROW, "MPID": "OTCX", "marketParticipantName": "OTCX OTC LINK ECN ATS"}
    (tmp_path / "kept_ATS_W_SMBL_FIRM.json").write_text(json.dumps([later, ROW, other]))
    api = simulate("2026-01-07", RecordedMarket(tmp_path))

    def shares(kind: str) -> list[Any]:
        found = read(api, tierIdentifier="OTCE", summaryTypeCode=kind)
        return sorted(row["totalWeeklyShareQuantity"] for row in found)

    assert shares("ATS_W_SMBL_FIRM") == [Decimal("100.25"), Decimal("100.25")]
    assert shares("ATS_W_SMBL") == [Decimal("200.5")]
    api.post("/_simulator/clock", json={"advance": {"days": 1}})
    assert shares("ATS_W_SMBL_FIRM") == [90, Decimal("100.25")]
    assert shares("ATS_W_SMBL") == [Decimal("190.25")]
    assert shares("ATS_W_FIRM") == [90, Decimal("100.25")]


def test_missing_fields_are_told_by_the_rest(simulate: Simulate, tmp_path: Path) -> None:
    """Tier, summary type and publication day follow from description, file name and calendar; quotes survive."""
    (tmp_path / "kept_ATS_W_SMBL_FIRM.json").write_text(json.dumps([ROW]))
    api = simulate("2025-12-14", RecordedMarket(tmp_path))
    assert api.get(SUMMARY).status_code == 204
    api.post("/_simulator/clock", json={"now": "2025-12-15"})
    (row,) = read(api, summaryTypeCode="ATS_W_SMBL_FIRM")
    told = {name: row[name] for name in ("tierIdentifier", "initialPublishedDate", "summaryStartDate", "issueName")}
    assert told == {
        "tierIdentifier": "OTCE",
        "initialPublishedDate": "2025-12-15",
        "summaryStartDate": "2025-11-10",
        "issueName": 'The "Quoted" Company',
    }


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ("[]", UsageError, "no records"),
        ("{", ContentError, "bad.json"),
        ('{"a": 1}', ContentError, "array of objects"),
        ('[{"weekStartDate": "2025-11-10"}]', ContentError, "record 1: it has no tierIdentifier"),
        (json.dumps([{**ROW, "lastUpdateDate": "soon"}]), ContentError, "record 1"),
        (json.dumps([{**ROW, "summaryTypeCode": "ATS_W_SMBL_FIRM", "MPID": 7}]), ContentError, "MPID"),
        (
            json.dumps([{**ROW, "summaryTypeCode": "ATS_W_SMBL_FIRM", "totalWeeklyTradeCount": 1.5}]),
            ContentError,
            "decimals",
        ),
    ],
)
def test_folders_that_cannot_be_served(tmp_path: Path, content: str, error: type[MarketSpineError], said: str) -> None:
    """A file that is no array of records is refused by name, with the record at fault."""
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(error) as caught:
        RecordedMarket(tmp_path)
    assert said in caught.value.message


def test_missing_folder(tmp_path: Path) -> None:
    """A folder that is not there is a usage error that names it."""
    with pytest.raises(UsageError, match="nowhere"):
        RecordedMarket(tmp_path / "nowhere")
