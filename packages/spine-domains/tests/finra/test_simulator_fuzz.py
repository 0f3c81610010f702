"""Requests at random against the simulated API: whatever is asked, the answer is FINRA's and never a crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    import httpx2

pytestmark = pytest.mark.server

NAMES = (
    *("issueSymbolIdentifier", "issueName", "firmCRDNumber", "MPID", "tierIdentifier", "weekStartDate"),
    *("totalWeeklyShareQuantity", "totalNotionalSum", "summaryTypeCode", "lastUpdateDate", "historicalMonth"),
)
COMPARE = ("EQUAL", "equal", "NOT_EQUAL", "GREATER", "LESSER", "GTE", "LTE", "BEGINS_WITH", "LIKE")
VALUES = ("2026-09-14", "2024-09", "T1", "OTCE", "ATS_W_SMBL", "A", "1e3", "-1", "1E400", "NaN", "9" * 40)

names = st.sampled_from(NAMES) | st.text(max_size=8)
scalars = st.sampled_from(VALUES) | st.text(max_size=8) | st.integers() | st.floats() | st.none()
anything = st.recursive(scalars | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(names, inner))
compare = st.fixed_dictionaries(
    {"fieldName": names, "fieldValue": scalars, "compareType": st.sampled_from(COMPARE)},
    optional={"description": st.text(max_size=3)},
)
ranges = st.fixed_dictionaries({"fieldName": names, "startDate": scalars, "endDate": scalars})
domains = st.fixed_dictionaries({"fieldName": names, "values": st.lists(scalars, max_size=3)})
bodies = st.fixed_dictionaries(
    {},
    optional={
        "fields": st.lists(names, max_size=3),
        "compareFilters": st.lists(compare, max_size=3),
        "dateRangeFilters": st.lists(ranges, max_size=2),
        "domainFilters": st.lists(domains, max_size=2),
        "sortFields": st.lists(names, max_size=2),
        "limit": st.integers(-1, 20) | anything,
        "offset": st.integers(-1, 600_000) | anything,
        "delimiter": st.sampled_from([",", "|", "\t", "::"]),
        "quoteValues": st.booleans(),
        "async": st.booleans(),
    },
)
datasets = st.sampled_from(["weeklySummary", "WEEKLYSUMMARYHISTORIC", "weeklyDownloadDetails", "monthlySummary"])
accepts = st.sampled_from(["application/json", "text/plain", "*/*", "image/png"])


@pytest.fixture(scope="module")
def api(simulate: Callable[..., httpx2.Client]) -> httpx2.Client:
    return simulate("2026-11-20", per_minute=0, summary_weeks=4)


def check(answer: httpx2.Response) -> None:
    """The answer is one that the service documents, and consistent in itself."""
    assert answer.status_code in {200, 202, 204, 400, 404, 406}, answer.text
    if answer.status_code >= 400:
        assert answer.json()["statusCode"] == answer.status_code
        assert answer.json()["message"]
    elif answer.status_code != 202:
        on_page = int(answer.headers["Total-Records-On-Page"])
        total, offset = int(answer.headers["Record-Total"]), int(answer.headers["Record-Offset"])
        assert on_page == min(int(answer.headers["Record-Limit"]), max(0, total - offset))
        assert (answer.status_code == 204) == (on_page == 0)


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(dataset=datasets, body=bodies | anything, accept=accepts)
def test_posts(api: httpx2.Client, dataset: str, body: Any, accept: str) -> None:
    """Any JSON, and what Python takes for it, as the body of a data request."""
    headers = {"Accept": accept, "Content-Type": "application/json"}
    check(api.post(f"/data/group/otcMarket/name/{dataset}", content=json.dumps(body), headers=headers))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    dataset=datasets,
    parameters=st.dictionaries(
        st.sampled_from(["limit", "offset", "fields", "sortFields", "async", "delimiter", "quoteValues", "filter"]),
        st.sampled_from(["1", "0", "-5", "true", "mpid,issueName", "MPID", "", "|", "%"]) | st.text(max_size=6),
    ),
    accept=accepts,
)
def test_gets(api: httpx2.Client, dataset: str, parameters: dict[str, str], accept: str) -> None:
    """Any parameters of a data request."""
    check(api.get(f"/data/group/otcMarket/name/{dataset}", params=parameters, headers={"Accept": accept}))
