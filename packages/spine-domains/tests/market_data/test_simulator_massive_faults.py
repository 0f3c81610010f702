"""The faults of the simulated Massive over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest

from market_spine.core.calendar import sessions
from spine.domains.market_data.simulator.book import Bar, HeldSeries, Instrument
from spine.domains.market_data.simulator.server import RunningVendor, running_vendor

from . import patient

if TYPE_CHECKING:
    import httpx2

pytestmark = pytest.mark.server

SATURDAY = datetime(2026, 11, 21, 17, tzinfo=UTC)
FIRST = date(2026, 11, 2)
AUTHORIZED = {"authorization": "Bearer K"}
RANGE = "/v2/aggs/ticker/AMPB/range/1/day"


@pytest.fixture
def served() -> Iterator[RunningVendor]:
    series = HeldSeries([Bar(day, 10.0, 10.5, 9.75, 10.25, 16_903.0) for day in sessions(FIRST, SATURDAY.date())])
    book = {"AMPB": Instrument("AMPB", series, FIRST)}
    with running_vendor("polygon", book, SATURDAY, requests_per_minute=1000) as vendor:
        yield vendor


def get(served: RunningVendor, path: str, **parameters: str) -> httpx2.Response:
    return patient.get(f"{served.url}{path}", params=parameters, headers=AUTHORIZED)


def ask(served: RunningVendor, **parameters: str) -> dict[str, Any]:
    read: dict[str, Any] = get(served, f"{RANGE}/2026-11-16/2026-11-20", **parameters).json()
    return read


@pytest.mark.parametrize(
    ("kind", "status", "part"),
    [
        ("504", 504, "<h1>504 Gateway Time-out</h1>"),
        ("502", 502, "<h1>502 Bad Gateway</h1>"),
        ("429-no-retry-after", 429, "exceeded the maximum requests per minute"),
        ("403", 403, "You are not entitled to this data."),
        ("empty-429", 429, ""),
        ("refused-200", 200, '"status":"NOT_AUTHORIZED"'),
        ("null-results", 200, '"results":null'),
        ("no-results", 200, '"resultsCount":0'),
        ("wrong-ticker", 200, '"ticker":"AMPBX"'),
        ("wrong-adjusted", 200, '"adjusted":false'),
        ("wrong-count", 200, '"resultsCount":6'),
    ],
)
def test_faults(served: RunningVendor, kind: str, status: int, part: str) -> None:
    """Every fault is what its name says, at the endpoint it is set for and at no other."""
    served.faults.set([f"{kind}@range=1"])
    answer = get(served, f"{RANGE}/2026-11-16/2026-11-20")
    assert answer.status_code == status
    assert part in answer.text
    assert bool(answer.content) == (kind != "empty-429")
    assert answer.headers.get("content-type", "").startswith("text/html") == (status in {502, 504})
    assert get(served, "/v2/aggs/ticker/AMPB/prev").json()["count"] == 1


def test_fault_missing_price(served: RunningVendor) -> None:
    """The newest bar can lack its close."""
    served.faults.set(["missing-price=1"])
    bars = ask(served)["results"]
    assert ["c" in bar for bar in bars] == [True, True, True, True, False]


def test_fault_next_url(served: RunningVendor) -> None:
    """The next address can lead to another host, or nowhere but to the same page."""
    served.faults.set(["foreign-next=1"])
    assert ask(served, limit="2")["next_url"].startswith("http://foreign.invalid/")
    served.faults.set(["looping-next=1"])
    first = ask(served, limit="2")
    again = patient.get(first["next_url"], headers=AUTHORIZED).json()
    assert (again["results"], again["next_url"]) == (first["results"], first["next_url"])
