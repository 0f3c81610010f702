"""The simulated Query API over real HTTP: requests, pages, filters, order and errors."""

from __future__ import annotations

import csv
import io
import json
import operator
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    import httpx2

pytestmark = pytest.mark.server

SUMMARY = "/data/group/otcMarket/name/weeklySummary"
TODAY = "2026-11-20"
WEEK = "2026-09-14"
JSON = {"Accept": "application/json"}

# As recorded from the service.
KEY_ORDER = (
    "totalWeeklyShareQuantity",
    "issueSymbolIdentifier",
    "issueName",
    "lastUpdateDate",
    "lastReportedDate",
    "tierDescription",
    "initialPublishedDate",
    "tierIdentifier",
    "summaryStartDate",
    "totalNotionalSum",
    "totalWeeklyTradeCount",
    "weekStartDate",
    "MPID",
    "firmCRDNumber",
    "productTypeCode",
    "marketParticipantName",
    "summaryTypeCode",
)
COLUMN_ORDER = (
    "issueSymbolIdentifier,issueName,firmCRDNumber,MPID,marketParticipantName,tierIdentifier,tierDescription,"
    "summaryStartDate,totalWeeklyTradeCount,totalWeeklyShareQuantity,productTypeCode,summaryTypeCode,weekStartDate,"
    "lastUpdateDate,initialPublishedDate,lastReportedDate,totalNotionalSum"
)


def equal(name: str, value: Any) -> dict[str, Any]:
    return {"fieldName": name, "fieldValue": value, "compareType": "EQUAL"}


def partition(tier: str = "T1", *more: dict[str, Any]) -> dict[str, Any]:
    return {"compareFilters": [equal("weekStartDate", WEEK), equal("tierIdentifier", tier), *more]}


def records(answer: httpx2.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = json.loads(answer.text, parse_float=Decimal)
    return found


@pytest.fixture(scope="module")
def api(simulate: Callable[..., httpx2.Client]) -> httpx2.Client:
    return simulate(TODAY, per_minute=0)


def ask(api: httpx2.Client, body: dict[str, Any], path: str = SUMMARY) -> httpx2.Response:
    return api.post(path, json=body, headers=JSON)


def pages(api: httpx2.Client, body: dict[str, Any], size: int) -> Iterator[list[dict[str, Any]]]:
    """Every page, told by Record-Total when to stop."""
    offset, total = 0, 1
    while offset < total:
        answer = ask(api, {**body, "limit": size, "offset": offset})
        total = int(answer.headers["Record-Total"])
        page = records(answer)
        yield page
        offset += len(page)


@pytest.fixture(scope="module")
def tier_1(api: httpx2.Client) -> list[dict[str, Any]]:
    return records(ask(api, {**partition(), "limit": 5000}))


def test_json_has_the_recorded_key_order(tier_1: list[dict[str, Any]]) -> None:
    """Every record has FINRA's 17 keys in the order of the recordings."""
    assert {tuple(record) for record in tier_1} == {KEY_ORDER}


def test_chosen_fields_keep_the_order(api: httpx2.Client) -> None:
    """Asking for fields, in any case and order, gives just those in the service's own order."""
    found = records(ask(api, {**partition(), "fields": ["mpid", "WEEKSTARTDATE", "issueName"], "limit": 5}))
    assert {tuple(record) for record in found} == {("issueName", "weekStartDate", "MPID")}


def test_without_accept_the_answer_is_text(api: httpx2.Client, tier_1: list[dict[str, Any]]) -> None:
    """The default is comma-separated text with FINRA's columns; it holds the same values as the JSON."""
    answer = api.post(SUMMARY, json={**partition(), "limit": 5000, "quoteValues": True})
    assert answer.headers["Content-Type"] == "text/plain"
    header, *rows = answer.text.splitlines()
    assert header == COLUMN_ORDER
    found = [dict(zip(COLUMN_ORDER.split(","), row, strict=True)) for row in csv.reader(io.StringIO("\n".join(rows)))]
    assert [row["issueName"] for row in found] == [record["issueName"] or "" for record in tier_1]
    shares = [Decimal(row["totalWeeklyShareQuantity"]) for row in found]
    assert shares == [record["totalWeeklyShareQuantity"] for record in tier_1]


def test_text_takes_a_delimiter(api: httpx2.Client) -> None:
    """FINRA's own download files are this answer: pipes, no quotes."""
    body = {**partition(), "delimiter": "|", "quoteValues": False, "limit": 5}
    lines = api.post(SUMMARY, json=body).text.splitlines()
    assert [line.count("|") for line in lines] == [16] * 6


def test_headers(api: httpx2.Client) -> None:
    """An answer says how many records there are and which of them it holds, in the recorded spelling."""
    answer = ask(api, {**partition(), "limit": 7000, "offset": 3})
    spelt = {name.decode() for name, _ in answer.headers.raw}
    total = len(records(ask(api, {**partition(), "limit": 5000})))
    assert {
        "Record-Total": str(total),
        "Record-Offset": "3",
        "Record-Limit": "5000",
        "Record-Max-Limit": "5000",
        "Total-Records-On-Page": str(total - 3),
        "Response-Payload-Max-Size": "3mb",
        "Content-Type": "application/json",
    }.items() <= {name: answer.headers[name] for name in spelt}.items()
    assert "FINRA-api-request-id" in spelt


def test_default_limit(api: httpx2.Client) -> None:
    """Without a limit a page has a thousand records."""
    answer = ask(api, {})
    assert (answer.headers["Record-Limit"], len(records(answer))) == ("1000", 1000)


def test_get_ignores_what_it_does_not_know(api: httpx2.Client) -> None:
    """A filter sent as a GET parameter changes nothing, as in the real service."""
    plain = api.get(SUMMARY, params={"limit": 5, "offset": 2}, headers=JSON)
    filtered = api.get(SUMMARY, params={"limit": 5, "offset": 2, "tierIdentifier": "OTCE"}, headers=JSON)
    assert records(plain) == records(filtered)
    assert plain.headers["Record-Total"] == filtered.headers["Record-Total"]


def test_names_in_any_case(api: httpx2.Client, tier_1: list[dict[str, Any]]) -> None:
    """Group and dataset names match in any case."""
    found = ask(api, {**partition(), "limit": 5000}, "/data/group/OTCMARKET/name/WEEKLYSUMMARY")
    assert records(found) == tier_1


@settings(max_examples=15)
@given(size=st.integers(20, 400), descending=st.booleans(), sort=st.sampled_from([None, "issueSymbolIdentifier"]))
def test_pages_cover_each_record_once(
    api: httpx2.Client, tier_1: list[dict[str, Any]], size: int, descending: bool, sort: str | None
) -> None:
    """Pages of any size, sorted or not, put together are the whole partition, each record once."""
    body = partition() if sort is None else {**partition(), "sortFields": [("-" if descending else "") + sort]}
    found = [record for page in pages(api, body, size) for record in page]
    assert sorted(found, key=repr) == sorted(tier_1, key=repr)


def test_unsorted_order_is_arbitrary_but_stable(api: httpx2.Client, tier_1: list[dict[str, Any]]) -> None:
    """Without a sort the order follows no field, and is the same each time."""
    assert records(ask(api, {**partition(), "limit": 5000})) == tier_1
    symbols = [record["issueSymbolIdentifier"] or "" for record in tier_1]
    assert symbols not in (sorted(symbols), sorted(symbols, reverse=True))


@pytest.mark.parametrize("name", ["totalWeeklyShareQuantity", "totalWeeklyTradeCount"])
def test_sorted_numbers(api: httpx2.Client, name: str) -> None:
    """A minus sorts from the largest down, otherwise the smallest comes first."""
    up = [record[name] for record in records(ask(api, {**partition(), "sortFields": [name], "limit": 5000}))]
    down = [record[name] for record in records(ask(api, {**partition(), "sortFields": [f"-{name}"], "limit": 5000}))]
    assert up == sorted(up)
    assert down == up[::-1]


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ({}, "weekStartDate, tierIdentifier"),
        ({"compareFilters": [equal("weekStartDate", WEEK)]}, "tierIdentifier"),
        (
            {
                "compareFilters": [equal("tierIdentifier", "T1")],
                "dateRangeFilters": [{"fieldName": "weekStartDate", "startDate": WEEK, "endDate": WEEK}],
            },
            "weekStartDate",
        ),
        (
            {
                "compareFilters": [
                    equal("weekStartDate", WEEK),
                    {"fieldName": "tierIdentifier", "fieldValue": "T1", "compareType": "GTE"},
                ]
            },
            "tierIdentifier",
        ),
    ],
)
def test_sort_needs_the_partition(api: httpx2.Client, body: dict[str, Any], missing: str) -> None:
    """A sort is refused, in FINRA's words, unless EQUAL filters fix both partition fields."""
    answer = ask(api, {**body, "sortFields": ["-weekStartDate"]})
    assert answer.status_code == 400
    assert answer.json()["message"] == (
        "Sorting is allowed only if all partitions keys are specified in EQUAL CompareFilter."
        f"Partition keys missing or not using EQUAL CompareFilter: {missing}"
    )


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        ("EQUAL", operator.eq),
        ("NOT_EQUAL", operator.ne),
        ("GREATER", operator.gt),
        ("LESSER", operator.lt),
        ("gte", operator.ge),
        ("LTE", operator.le),
    ],
)
@pytest.mark.parametrize("name", ["totalWeeklyTradeCount", "totalWeeklyShareQuantity", "issueSymbolIdentifier"])
def test_compare_types(
    api: httpx2.Client, tier_1: list[dict[str, Any]], name: str, compare: str, holds: Callable[[Any, Any], bool]
) -> None:
    """Each compare type finds what Python's operator finds among the partition's records; nulls never match."""
    value = next(record[name] for record in tier_1 if record[name] is not None)
    sent = str(value) if isinstance(value, Decimal) else value
    condition = {"fieldName": name, "fieldValue": sent, "compareType": compare, "description": ""}
    answer = ask(api, {**partition("T1", condition), "limit": 5000})
    expected = [record for record in tier_1 if record[name] is not None and holds(record[name], value)]
    assert records(answer) == expected


def test_begins_with(api: httpx2.Client, tier_1: list[dict[str, Any]]) -> None:
    """BEGINS_WITH compares the beginning of a text, case and all."""
    condition = {"fieldName": "issueSymbolIdentifier", "fieldValue": "BR", "compareType": "BEGINS_WITH"}
    found = records(ask(api, {**partition("T1", condition), "limit": 5000}))
    assert found == [record for record in tier_1 if (record["issueSymbolIdentifier"] or "").startswith("BR")]
    assert "BRK.B" in {record["issueSymbolIdentifier"] for record in found}


def test_date_ranges_include_both_ends(api: httpx2.Client) -> None:
    """A range of three Mondays gives three weeks, also with times of day."""
    for suffix in ("", " 00:00:00.000"):
        ranges = [{"fieldName": "weekStartDate", "startDate": f"2026-08-31{suffix}", "endDate": f"{WEEK}{suffix}"}]
        body = {"dateRangeFilters": ranges, "compareFilters": [equal("summaryTypeCode", "ATS_W_SMBL")], "limit": 5000}
        weeks = {record["weekStartDate"] for record in records(ask(api, body))}
        assert weeks == {"2026-08-31", "2026-09-07", "2026-09-14"}


def test_domain_filter(api: httpx2.Client, tier_1: list[dict[str, Any]]) -> None:
    """A domain filter finds each of its values."""
    values = ["ATS_W_SMBL_FIRM", "OTC_W_FIRM"]
    body = {**partition(), "domainFilters": [{"fieldName": "summaryTypeCode", "values": values}], "limit": 5000}
    assert records(ask(api, body)) == [record for record in tier_1 if record["summaryTypeCode"] in values]


BAD: dict[str, dict[str, Any]] = {
    "unknown field": {"fields": ["weekEnding"]},
    "unknown filter field": {"compareFilters": [equal("tier", "T1")]},
    "unknown operator": {"compareFilters": [{**equal("MPID", "X"), "compareType": "GREATER_THAN_OR_EQUAL"}]},
    "filter without value": {"compareFilters": [{"fieldName": "MPID", "compareType": "EQUAL"}]},
    "bad date": {"compareFilters": [equal("weekStartDate", "14.09.2026")]},
    "impossible date": {"compareFilters": [equal("weekStartDate", "2026-02-30")]},
    "bad number": {"compareFilters": [equal("totalWeeklyTradeCount", "many")]},
    "range of texts": {"dateRangeFilters": [{"fieldName": "MPID", "startDate": WEEK, "endDate": WEEK}]},
    "empty domain": {"domainFilters": [{"fieldName": "MPID", "values": []}]},
    "negative offset": {"offset": -1},
    "offset beyond the maximum": {"offset": 500_001},
    "no limit": {"limit": 0},
    "word as limit": {"limit": "all"},
    "word as async": {"async": "yes"},
    "unknown delimiter": {"delimiter": ";"},
    "unknown key": {"orFilters": []},
    "filters that are no list": {"compareFilters": {}},
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests(api: httpx2.Client, case: str) -> None:
    """What cannot be understood is refused with 400 in FINRA's documented shape."""
    answer = ask(api, BAD[case])
    assert answer.status_code == 400
    document = answer.json()
    assert list(document) == ["statusCode", "statusDescription", "requestId", "message", "dataRequest"]
    assert (document["statusCode"], document["statusDescription"]) == (400, "Bad Request")
    assert document["requestId"] == answer.headers["FINRA-api-request-id"]
    assert document["dataRequest"]["datasetName"] == "weeklySummary"
    if case == "bad date":
        expected = "Invalid date field format. Must be yyyy-MM-dd or yyyy-MM-dd HH:mm:ss.SSS"
        assert document["message"] == expected


def test_largest_offset(api: httpx2.Client) -> None:
    """An offset of 500,000 is allowed, and beyond the records finds nothing."""
    assert ask(api, {"offset": 500_000}).status_code == 204


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "status"),
    [
        ("PUT", SUMMARY, JSON, b"", 405),
        ("POST", "/partitions/group/otcMarket/name/weeklySummary", JSON, b"", 405),
        ("GET", SUMMARY, {"Accept": "image/png"}, b"", 406),
        ("POST", SUMMARY, {**JSON, "Content-Type": "application/x-www-form-urlencoded"}, b"limit=5", 415),
        ("POST", SUMMARY, {**JSON, "Content-Type": "application/json"}, b"{", 400),
        ("POST", SUMMARY, {**JSON, "Content-Type": "application/json"}, b"[]", 400),
        ("POST", SUMMARY, {**JSON, "Content-Type": "application/json"}, b"[" * 100_000, 400),
        ("GET", "/data/group/otcMarket/name/weeklysummery", JSON, b"", 404),
        ("GET", "/data/group/fixedIncomeMarket/name/weeklySummary", JSON, b"", 404),
        ("GET", "/", JSON, b"", 404),
    ],
)
def test_statuses(
    api: httpx2.Client, method: str, path: str, headers: dict[str, str], content: bytes, status: int
) -> None:
    """Wrong methods, types, bodies and names have their own statuses, told in JSON."""
    answer = api.request(method, path, headers=headers, content=content)
    assert (answer.status_code, answer.json()["statusCode"]) == (status, status)


def test_empty_result_is_204(api: httpx2.Client) -> None:
    """A result without records is 204 with a record total of 0 and no body."""
    answer = ask(api, partition("OTC"))
    assert (answer.status_code, answer.content, answer.headers["Record-Total"]) == (204, b"", "0")


def test_empty_result_can_be_200(simulate: Callable[..., httpx2.Client]) -> None:
    """With the switch it is 200 with an empty array, or a header row alone."""
    api = simulate(TODAY, empty_status=200)
    assert records(ask(api, partition("OTC"))) == []
    assert api.post(SUMMARY, json=partition("OTC")).text == COLUMN_ORDER + "\n"


def test_compressed_answers(api: httpx2.Client) -> None:
    """A client that can read gzip gets it; one that cannot gets the same bytes plain."""
    plain = api.post(SUMMARY, json=partition(), headers={**JSON, "Accept-Encoding": "identity"})
    packed = ask(api, partition())
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.content == plain.content
