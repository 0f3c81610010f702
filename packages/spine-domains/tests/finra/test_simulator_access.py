"""Tokens, asynchronous requests, the historic dataset, descriptions and limits of the simulated API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from spine.domains.finra.otc_transparency.simulator.recorded import RecordedMarket

pytestmark = pytest.mark.server

SUMMARY = "/data/group/otcMarket/name/weeklySummary"
HISTORIC = "/data/group/otcMarket/name/weeklySummaryHistoric"
TOKEN = "/fip/rest/ews/oauth2/access_token?grant_type=client_credentials"
CLIENT = ("market-spine", "simulated")
JSON = {"Accept": "application/json"}

Simulate = Callable[..., httpx2.Client]


def equal(name: str, value: str) -> dict[str, Any]:
    return {"fieldName": name, "fieldValue": value, "compareType": "EQUAL"}


@pytest.fixture(scope="module")
def api(simulate: Simulate) -> httpx2.Client:
    return simulate("2026-11-20", token_seconds=1800)


def token(api: httpx2.Client) -> dict[str, str]:
    granted = api.post(TOKEN, auth=CLIENT).json()
    assert (granted["token_type"], granted["expires_in"]) == ("Bearer", 1800)
    return {**JSON, "Authorization": f"Bearer {granted['access_token']}"}


def test_token_expires_by_the_clock(api: httpx2.Client) -> None:
    """A token opens the API until its time is over."""
    bearer = token(api)
    assert api.get(SUMMARY, headers=bearer).status_code == 200
    api.post("/_simulator/clock", json={"advance": {"seconds": 1799}})
    assert api.get(SUMMARY, headers=bearer).status_code == 200
    api.post("/_simulator/clock", json={"advance": {"seconds": 1}})
    answer = api.get(SUMMARY, headers=bearer)
    assert (answer.status_code, answer.json()["statusCode"]) == (401, 401)
    assert api.get(SUMMARY, headers=token(api)).status_code == 200


def test_wrong_tokens_are_refused_and_none_is_fine(api: httpx2.Client) -> None:
    """Anonymous requests are answered; a bearer that was never issued is not."""
    assert api.get(SUMMARY, headers=JSON).status_code == 200
    assert api.get(SUMMARY, headers={**JSON, "Authorization": "Bearer invented"}).status_code == 401
    assert api.get(SUMMARY, headers=JSON, auth=CLIENT).status_code == 200
    assert api.get(SUMMARY, headers=JSON, auth=("market-spine", "wrong")).status_code == 401


def test_tokens_can_be_required(simulate: Simulate) -> None:
    """With the switch, anonymous requests are refused."""
    strict = simulate("2026-11-20", anonymous=False, token_seconds=1800)
    assert strict.get(SUMMARY, headers=JSON).status_code == 401
    assert strict.get(SUMMARY, headers=token(strict)).status_code == 200


@pytest.mark.samples
def test_token_errors_are_as_recorded(api: httpx2.Client, finra_samples: Path) -> None:
    """Missing and wrong credentials are answered as FINRA's token endpoint answers them."""
    errors = finra_samples / "api" / "errors"
    missing, wrong = api.post(TOKEN), api.post(TOKEN, auth=("market-spine", "wrong"))
    assert (missing.status_code, wrong.status_code) == (400, 400)
    assert missing.json() == json.loads((errors / "fip_token_400_credentials_required.json").read_text())
    assert wrong.json() == json.loads((errors / "fip_token_400_invalid_client.json").read_text())


# --- asynchronous requests ------------------------------------------------------------------------

PARTITION = {"compareFilters": [equal("weekStartDate", "2026-09-14"), equal("tierIdentifier", "T1")]}


def test_asynchronous_request(api: httpx2.Client) -> None:
    """202 and a place to ask; pending, then complete with a link that takes no token and has all rows."""
    accepted = api.post(SUMMARY, json={**PARTITION, "async": True, "limit": 100_000}, headers=JSON)
    assert (accepted.status_code, accepted.content) == (202, b"")
    status = accepted.headers["Location"]
    pending = api.get(status)
    assert (pending.status_code, pending.json()) == (202, {"status": "pending"})
    complete = api.get(status)
    assert (complete.status_code, complete.json()["status"]) == (200, "complete")
    link = complete.json()["resultLink"]
    assert api.get(link, headers=token(api)).status_code == 400
    everything = api.get(link).json()
    assert everything == api.post(SUMMARY, json={**PARTITION, "limit": 5000}, headers=JSON).json()
    api.post("/_simulator/clock", json={"advance": {"hours": 3}})
    assert (api.get(link).status_code, api.get(status).status_code) == (403, 404)


def test_asynchronous_request_is_checked_at_once(api: httpx2.Client) -> None:
    """A request that cannot be understood is refused when it is made; an unknown one is not found."""
    assert api.post(SUMMARY, json={"async": True, "fields": ["nothing"]}).status_code == 400
    assert api.get("/async-requests/group/otcMarket/name/weeklySummary/none").status_code == 404


# --- history --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def old(simulate: Simulate) -> httpx2.Client:
    return simulate("2026-11-20", per_minute=0)


@pytest.mark.parametrize(
    ("name", "value", "weeks"),
    [
        ("weekStartDate", "2024-09-09", ["2024-09-09"]),
        ("weekStartDate", "2024-09-10", []),
        ("historicalWeek", "2024-09-13", ["2024-09-09"]),
        ("historicalMonth", "2024-09", ["2024-09-02", "2024-09-09", "2024-09-16", "2024-09-23", "2024-09-30"]),
        ("weekStartDate", "2026-09-14", []),
        ("weekStartDate", "2021-09-13", []),
    ],
)
def test_historic_periods(old: httpx2.Client, name: str, value: str, weeks: list[str]) -> None:
    """The historic dataset gives a week by its Monday or any of its days, or a month; four years, one year ago."""
    filters = [equal(name, value), equal("tierIdentifier", "T1")]
    answer = old.post(HISTORIC, json={"compareFilters": filters, "limit": 5000}, headers=JSON)
    found = answer.json() if answer.status_code == 200 else []
    assert sorted({record["weekStartDate"] for record in found}) == weeks
    assert answer.status_code == (200 if weeks else 204)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"compareFilters": [equal("tierIdentifier", "T1")]},
        {"compareFilters": [equal("weekStartDate", "2024-09-09"), equal("historicalMonth", "2024-09")]},
        {"compareFilters": [equal("weekStartDate", "2024-09-09"), equal("MPID", "UBSA")]},
        {"compareFilters": [{**equal("weekStartDate", "2024-09-09"), "compareType": "GTE"}]},
        {"compareFilters": [equal("historicalMonth", "September")]},
        {
            "compareFilters": [equal("weekStartDate", "2024-09-09"), equal("tierIdentifier", "T1")],
            "sortFields": ["MPID"],
        },
    ],
)
def test_historic_restrictions(old: httpx2.Client, body: dict[str, Any]) -> None:
    """Anything but one period and at most a tier is refused, and so is a sort."""
    assert old.post(HISTORIC, json=body, headers=JSON).status_code == 400


# --- descriptions and limits ----------------------------------------------------------------------


def test_metadata(api: httpx2.Client) -> None:
    """The metadata names the dataset in upper case and its 17 fields with their types."""
    document = api.get("/metadata/group/otcmarket/name/weeklysummary").json()
    assert (document["datasetGroup"], document["datasetName"]) == ("OTCMARKET", "WEEKLYSUMMARY")
    assert document["partitionFields"] == ["weekStartDate", "tierIdentifier"]
    types = {field["name"]: field["type"] for field in document["fields"]}
    assert len(types) == 17
    assert (types["MPID"], types["firmCRDNumber"], types["lastUpdateDate"]) == ("String", "Number", "Date")


def test_catalogue(api: httpx2.Client) -> None:
    """The catalogue lists the datasets of the group, by name if one is asked for."""
    names = [each["datasetName"] for each in api.get("/datasets").json()]
    assert names == ["weeklySummary", "weeklySummaryHistoric", "weeklyDownloadDetails"]
    assert len(api.get("/datasets", params={"group": "OTCMARKET", "name": "weeklysummary"}).json()) == 1
    assert api.get("/datasets", params={"group": "other"}).json() == []


def test_no_partitions(api: httpx2.Client) -> None:
    """A dataset without partitions is answered with FINRA's sentence for that."""
    document = api.get("/partitions/group/otcMarket/name/weeklyDownloadDetails").json()
    assert document["message"] == "No partitions found for specified dataset."


def test_rate_limit(simulate: Simulate) -> None:
    """Beyond the limit of requests a minute the answer is 429, and the statistics know it."""
    api = simulate("2026-11-20", per_minute=3)
    statuses = [api.get("/datasets").status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    stats = api.get("/_simulator/stats").json()
    assert (stats["requests"], stats["busiest_minute"], stats["faults"]) == (5, 3, {"rate-limit": 2})


def test_page_of_at_most_3_mb(simulate: Simulate, tmp_path: Path) -> None:
    """A page ends before 3 MB, though fewer rows than the limit are in it; the next one goes on from there."""
    rows = [
        {
            "weekStartDate": "2024-09-09",
            "tierIdentifier": "T2",
            "summaryTypeCode": "ATS_W_SMBL_FIRM",
            "issueSymbolIdentifier": f"S{number}",
            "issueName": "x" * 1000,
            "MPID": "UBSA",
            "marketParticipantName": "UBSA UBS ATS",
            "totalWeeklyShareQuantity": number,
            "totalWeeklyTradeCount": 1,
        }
        for number in range(5000)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    api = simulate("2026-11-20", RecordedMarket(tmp_path))
    body = {"domainFilters": [{"fieldName": "summaryTypeCode", "values": ["ATS_W_SMBL_FIRM"]}], "limit": 5000}
    symbols: list[str] = []
    while len(symbols) < 5000:
        answer = api.post(SUMMARY, json={**body, "offset": len(symbols)}, headers=JSON)
        page = [record["issueSymbolIdentifier"] for record in answer.json()]
        assert len(answer.content) <= 3 * 1024 * 1024
        assert answer.headers["Total-Records-On-Page"] == str(len(page))
        assert answer.headers["Record-Total"] == "5000"
        symbols += page
    assert sorted(symbols) == sorted(f"S{number}" for number in range(5000))
    assert len(page) < 5000
