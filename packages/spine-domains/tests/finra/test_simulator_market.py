"""The simulated market over real HTTP: exact roll-ups, odd cases, and what the calendar does to it."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.server

SUMMARY = "/data/group/otcMarket/name/weeklySummary"
PARTITIONS = "/partitions/group/otcMarket/name/weeklySummary"
TIERS = ("T1", "T2", "OTCE")
IDENTITY = (
    *("weekStartDate", "tierIdentifier", "summaryTypeCode", "issueSymbolIdentifier", "MPID", "firmCRDNumber"),
    *("productTypeCode", "issueName"),
)

Simulate = Callable[..., httpx2.Client]
Record = dict[str, Any]


def read(api: httpx2.Client, week: str, tier: str) -> list[Record]:
    filters = [
        {"fieldName": "weekStartDate", "fieldValue": week, "compareType": "EQUAL"},
        {"fieldName": "tierIdentifier", "fieldValue": tier, "compareType": "EQUAL"},
    ]
    answer = api.post(SUMMARY, json={"compareFilters": filters, "limit": 5000}, headers={"Accept": "application/json"})
    if answer.status_code == 204:
        return []
    found: list[Record] = json.loads(answer.text, parse_float=Decimal)
    assert len(found) == int(answer.headers["Record-Total"])
    return found


def listed(api: httpx2.Client) -> list[tuple[str, str]]:
    return [tuple(each["partitions"]) for each in api.get(PARTITIONS).json()["availablePartitions"]]


def move(api: httpx2.Client, today: str) -> None:
    assert api.post("/_simulator/clock", json={"now": today}).status_code == 200


def sums(rows: list[Record], *names: str) -> dict[tuple[Any, ...], list[Decimal]]:
    """Shares, trades and notional by the values of some fields."""
    found: defaultdict[tuple[Any, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    measures = ("totalWeeklyShareQuantity", "totalWeeklyTradeCount", "totalNotionalSum")
    for row in rows:
        key = tuple(row[name] for name in names)
        found[key] = [total + row[name] for total, name in zip(found[key], measures, strict=True)]
    return dict(found)


def of(rows: list[Record], kind: str) -> list[Record]:
    return [row for row in rows if row["summaryTypeCode"] == kind]


@pytest.fixture(scope="module")
def api(simulate: Simulate) -> httpx2.Client:
    return simulate("2026-11-20", per_minute=0)


@pytest.fixture(scope="module")
def week(api: httpx2.Client) -> dict[str, list[Record]]:
    """The week of 14 September 2026, tier by tier."""
    return {tier: read(api, "2026-09-14", tier) for tier in (*TIERS, "NA")}


@pytest.mark.parametrize("prefix", ["ATS", "OTC"])
@pytest.mark.parametrize("tier", TIERS)
def test_rollups_are_exact(week: dict[str, list[Record]], tier: str, prefix: str) -> None:
    """Shares, trades and notional of each roll-up are exactly the sum of the rows below it."""
    rows = of(week[tier], f"{prefix}_W_SMBL_FIRM")
    by_symbol = sums(rows, "issueSymbolIdentifier", "issueName")
    by_firm = sums(rows, "MPID", "firmCRDNumber", "marketParticipantName")
    assert len(rows) > 50
    assert sums(of(week[tier], f"{prefix}_W_SMBL"), "issueSymbolIdentifier", "issueName") == by_symbol
    firms = of(week[tier], f"{prefix}_W_FIRM")
    assert sums(firms, "MPID", "firmCRDNumber", "marketParticipantName") == by_firm


def test_market_wide_rows(week: dict[str, list[Record]]) -> None:
    """Six rows under NA, without symbol and participant, add up to the three tiers."""
    assert len(week["NA"]) == 6
    assert {row["tierDescription"] for row in week["NA"]} == {"Not Applicable"}
    assert {(row["issueSymbolIdentifier"], row["MPID"]) for row in week["NA"]} == {(None, None)}
    for prefix in ("ATS", "OTC"):
        rows = [row for tier in TIERS for row in of(week[tier], f"{prefix}_W_SMBL_FIRM")]
        assert sums(of(week["NA"], f"{prefix}_W_VOL_STATS")) == sums(rows)


def test_row_identity(week: dict[str, list[Record]]) -> None:
    """The eight identity columns tell all rows apart, and fewer do not: names and product codes are needed."""
    for rows in week.values():
        assert max(Counter(tuple(row[name] for name in IDENTITY) for row in rows).values()) == 1
    shorter = Counter(tuple(row[name] for name in IDENTITY[:6]) for row in week["T1"])
    assert max(shorter.values()) == 2


def test_non_ats_rows(week: dict[str, list[Record]]) -> None:
    """Non-ATS rows have a number instead of an MPID, and each symbol one row of de minimis firms."""
    rows = of(week["T1"], "OTC_W_SMBL_FIRM")
    assert {row["MPID"] for row in rows} == {None}
    named = [row for row in rows if row["marketParticipantName"] != "De Minimis Firms"]
    assert all(row["firmCRDNumber"] > 0 for row in named)
    minimis = Counter(
        (row["issueSymbolIdentifier"], row["issueName"], row["productTypeCode"]) for row in rows if row not in named
    )
    assert set(minimis.values()) == {1}
    assert {symbol for symbol, _, _ in minimis} == {row["issueSymbolIdentifier"] for row in rows}


def test_ats_rows(week: dict[str, list[Record]]) -> None:
    """ATS rows have no firm number, and their participant's name begins with the MPID."""
    rows = [row for tier in TIERS for row in of(week[tier], "ATS_W_SMBL_FIRM")]
    assert {row["firmCRDNumber"] for row in rows} == {None}
    assert all(row["marketParticipantName"].startswith(row["MPID"]) for row in rows)


def test_symbols_that_break_clients(week: dict[str, list[Record]]) -> None:
    """There are class shares with a dot and symbols that differ in case only."""
    assert "BRK.B" in {row["issueSymbolIdentifier"] for row in week["T1"]}
    assert {"TPC", "TpC"} <= {row["issueSymbolIdentifier"] for row in week["T2"]}


def test_two_names_and_two_products(week: dict[str, list[Record]]) -> None:
    """Each week holds an issue with two names, and an issue with two product codes."""
    names, codes = defaultdict(set), defaultdict(set)
    for row in of(week["T1"], "ATS_W_SMBL"):
        names[row["issueSymbolIdentifier"]].add(row["issueName"])
        codes[row["issueSymbolIdentifier"]].add(row["productTypeCode"])
    assert max(map(len, names.values())) == 2
    assert {"CTS", "UTP"} in codes.values()


def test_blank_symbol(api: httpx2.Client) -> None:
    """Every third week of the OTC tier has an ATS row without symbol and name."""
    blank = [
        sum(row["issueSymbolIdentifier"] is None for row in of(read(api, monday, "OTCE"), "ATS_W_SMBL_FIRM"))
        for monday in ("2026-09-07", "2026-09-14", "2026-09-21")
    ]
    assert sorted(blank) == [0, 0, 1]


def test_reclassified_and_doubled_weeks(simulate: Simulate) -> None:
    """In a quarter there are a week with symbols in both tiers, and one that the tier NMS repeats."""
    api = simulate("2026-11-20", summary_weeks=20, per_minute=0)
    weeks = sorted({monday for monday, tier in listed(api) if tier == "T2"})[-13:]
    both = []
    for monday in weeks:
        first, second = ({row["issueSymbolIdentifier"] for row in read(api, monday, tier)} for tier in ("T1", "T2"))
        both += [monday] if (first & second) - {None} else []
    doubled = [monday for monday, tier in listed(api) if tier == "NMS"]
    assert len(both) == 1
    assert len(doubled) in {1, 2}

    def without_tier(tier: str) -> set[str]:
        return {json.dumps({**row, "tierIdentifier": ""}, default=str) for row in read(api, doubled[0], tier)}

    assert {row["tierIdentifier"] for row in read(api, doubled[0], "NMS")} == {"NMS"}
    assert without_tier("NMS") == without_tier("T1")


def test_spelling_of_numbers(api: httpx2.Client, simulate: Simulate) -> None:
    """Large notional comes in E-notation, non-ATS shares have fractions; years ago both were whole numbers."""
    text = api.get(SUMMARY, params={"limit": 5000}, headers={"Accept": "application/json"}).text
    assert re.search(r'"totalNotionalSum":[1-9]\.[0-9]+E[0-9]', text)
    assert re.search(r'"totalWeeklyShareQuantity":[0-9]+\.[0-9]{1,6},', text)
    old = simulate("2025-03-01", per_minute=0)
    text = old.get(SUMMARY, params={"limit": 5000}, headers={"Accept": "application/json"}).text
    assert re.findall(r'"total[A-Za-z]+":[0-9]*[^0-9,][^,]*', text) == []


# --- the calendar ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("monday", "tier", "published"),
    [
        ("2026-08-17", "T2", "2026-09-21"),  # as seen by two clients
        ("2026-08-24", "T2", "2026-09-28"),
        ("2022-04-11", "T1", "2022-05-02"),  # a recorded row
        ("2025-11-10", "OTCE", "2025-12-15"),  # a real file
        ("2024-09-23", "T1", "2024-10-14"),  # Columbus Day publishes
        ("2025-05-05", "T1", "2025-05-27"),  # Memorial Day does not
        ("2023-11-27", "T1", "2023-12-18"),
        ("2023-12-04", "T1", "2023-12-26"),  # Christmas
        ("2026-08-03", "T2", "2026-09-08"),  # Labor Day
    ],
)
def test_publication(api: httpx2.Client, monday: str, tier: str, published: str) -> None:
    """A partition appears on its publication day, not the day before; its rows carry that day."""
    day = date.fromisoformat(published)
    move(api, str(day - timedelta(days=1)))
    assert (monday, tier) not in listed(api)
    assert read(api, monday, tier) == []
    move(api, published)
    assert (monday, tier) in listed(api)
    assert {row["initialPublishedDate"] for row in read(api, monday, tier)} == {published}


def test_tiers_of_a_week_arrive_apart(api: httpx2.Client) -> None:
    """Two weeks long only T1 of a week is there."""
    move(api, "2026-10-05")
    assert [tier for monday, tier in listed(api) if monday == "2026-09-14"] == ["T1"]
    move(api, "2026-10-19")
    assert [tier for monday, tier in listed(api) if monday == "2026-09-14"] == ["NA", "OTCE", "T1", "T2"]


def test_partitions_are_listed_newest_first(api: httpx2.Client) -> None:
    """The list begins with the newest week and holds as many weeks as are kept."""
    move(api, "2026-11-20")
    weeks = [monday for monday, _ in listed(api)]
    assert weeks == sorted(weeks, reverse=True)
    assert len(set(weeks)) == 10


def test_forgotten_weeks(api: httpx2.Client) -> None:
    """As a week is published, the oldest one leaves."""
    move(api, "2026-11-20")
    oldest = listed(api)[-1][0]
    assert read(api, oldest, "T1") != []
    move(api, "2026-11-23")
    assert read(api, oldest, "T1") == []
    assert oldest not in {monday for monday, _ in listed(api)}


def test_download_index(api: httpx2.Client) -> None:
    """The index of downloads lists weeks of a summary type and tier, newest first when so asked."""
    move(api, "2026-11-20")
    filters = [
        {"fieldName": "summaryTypeCode", "fieldValue": "ATS_W_SMBL", "compareType": "EQUAL"},
        {"fieldName": "tierIdentifier", "fieldValue": "T1", "compareType": "EQUAL"},
    ]
    body = {"compareFilters": filters, "fields": ["weekStartDate"], "sortFields": ["-weekStartDate"], "limit": 2}
    path = "/data/group/otcMarket/name/weeklyDownloadDetails"
    answer = api.post(path, json=body, headers={"Accept": "application/json"})
    assert answer.text == '[{"weekStartDate":"2026-10-26"},{"weekStartDate":"2026-10-19"}]'


def changes(before: list[Record], after: list[Record]) -> list[tuple[Record, Record]]:
    def key(row: Record) -> tuple[Any, ...]:
        return tuple(row[name] for name in (*IDENTITY, "marketParticipantName"))

    old = {key(row): row for row in before}
    assert set(old) == {key(row) for row in after}
    return [(old[key(row)], row) for row in after if row != old[key(row)]]


def test_revisions(api: httpx2.Client) -> None:
    """Week by week a few rows change, each on a weekday, and the roll-ups with them; old values are gone."""
    move(api, "2026-10-05")
    last = read(api, "2026-09-14", "T1")
    seen: Counter[str] = Counter()
    for week in range(1, 10):
        day = date(2026, 10, 5) + timedelta(weeks=week)
        move(api, str(day))
        now = read(api, "2026-09-14", "T1")
        for old, new in changes(last, now):
            assert new["lastUpdateDate"] == new["lastReportedDate"] > old["lastUpdateDate"]
            assert new["lastUpdateDate"] <= str(day)
            assert date.fromisoformat(new["lastUpdateDate"]).weekday() < 5
            assert new["totalWeeklyShareQuantity"] != old["totalWeeklyShareQuantity"] or (
                new["summaryTypeCode"] not in {"ATS_W_SMBL_FIRM", "OTC_W_SMBL_FIRM"}
            )
            seen[new["summaryTypeCode"]] += 1
        for prefix in ("ATS", "OTC"):
            rows = of(now, f"{prefix}_W_SMBL_FIRM")
            assert sums(of(now, f"{prefix}_W_SMBL"), "issueSymbolIdentifier") == sums(rows, "issueSymbolIdentifier")
        last = now
    assert seen["ATS_W_SMBL_FIRM"] >= 1
    assert seen["ATS_W_SMBL"] >= 1


def test_same_seed_same_market(simulate: Simulate, api: httpx2.Client) -> None:
    """Two simulators of one seed answer the same, whatever they were asked before."""
    move(api, "2026-11-20")
    other = simulate("2026-11-20", per_minute=0)
    for tier in (*TIERS, "NA"):
        assert read(other, "2026-09-14", tier) == read(api, "2026-09-14", tier)
