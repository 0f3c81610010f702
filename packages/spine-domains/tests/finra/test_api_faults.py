"""Every fault at every endpoint ends in the right rows or in a failure with a name; never in wrong or partial rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from market_spine.compose import reader
from market_spine.simulation import KINDS
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.api.source import ApiSource
from spine.domains.finra.otc_transparency.simulator.access import CLIENT_ID, CLIENT_SECRET
from spine.domains.finra.otc_transparency.simulator.app import FAULT_KINDS
from spine.domains.finra.otc_transparency.simulator.generated import GeneratedMarket

from .api_helpers import AT_ONCE, Simulated, ingested, load, rows, simulated

pytestmark = pytest.mark.server

DAY, WEEK, TIER = "2026-11-23", "2026-11-06", ("NMS_TIER_1",)
PARTITION = "2026-11-06|NMS_TIER_1"
KINDS_BY_FAULT = {
    "403": "forbidden",
    "429": "rate_limited",
    "429-no-retry-after": "rate_limited",
    "500": "server_error",
    "502": "server_error",
    "503": "server_error",
    "504": "server_error",
    "timeout": "timeout",
    "truncated": "broken_off",
    "malformed": "bad_answer",
    "wrong-content-type": "bad_answer",
    "redirect-loop": "redirected",
    "reset": "broken_off",
    "drift": "unstable_source",
    "401-expiry": "unauthorized",
}
"""What a run is told when the fault never ends."""
HARMLESS = {"short-page", "cookie-redirect"}
"""Faults that a client has to live with even if they never end."""
FINAL = {"403", "redirect-loop"}
"""Faults that no repetition can be expected to cure."""
ROUTES = ("data", "partitions", "token")


@pytest.fixture(scope="module")
def service() -> Iterator[Simulated]:
    with simulated(GeneratedMarket(2, {"T1": 200, "T2": 10, "OTCE": 10}, 0.01), anonymous=False) as running:
        yield running


@pytest.fixture(scope="module")
def right(service: Simulated, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    db = tmp_path_factory.mktemp("right") / "right.db"
    service.faults.set([])
    assert load(service.source(DAY, credentials=(CLIENT_ID, CLIENT_SECRET)), db, DAY, WEEK, TIER).exit_code == 0
    return rows(db)


def test_the_table_of_faults_is_complete() -> None:
    """Each fault that the simulator can play is in the tables above."""
    assert {*KINDS_BY_FAULT, *HARMLESS} == {*KINDS, *FAULT_KINDS}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("kind", sorted({*KINDS, *FAULT_KINDS}))
def test_a_fault_that_never_ends_has_a_name_or_does_no_harm(
    service: Simulated, right: list[tuple[object, ...]], tmp_path: Path, kind: str, route: str
) -> None:
    """Without data or tokens: failed by the fault's name, nothing stored. Without the list of partitions: loaded."""
    service.faults.set([f"{kind}@{route}=1"])
    result = load(_source(service, kind), tmp_path / "a.db", DAY, WEEK, TIER)
    service.faults.set([])
    status, reason = ingested(result)[PARTITION]
    if status == "completed":
        assert route == "partitions" or kind in HARMLESS or _beside_the_point(kind, route)
        assert rows(tmp_path / "a.db") == right
    else:
        assert route != "partitions"
        assert (status, reason) == ("failed", KINDS_BY_FAULT[kind])
        assert _captures(tmp_path / "a.db") == 0


@pytest.mark.parametrize("kind", sorted({*KINDS, *FAULT_KINDS} - FINAL))
def test_a_fault_that_comes_and_goes_is_outlasted(
    service: Simulated, right: list[tuple[object, ...]], tmp_path: Path, kind: str
) -> None:
    """With every fifth answer at fault, the rows are those of a day without faults.

    A partition that moves at every fifth request is never still for the six that reading it takes.
    """
    service.faults.set([f"{kind}=every:{9 if kind == 'drift' else 5}"])
    result = load(_source(service, kind, silence=5), tmp_path / "a.db", DAY, WEEK, TIER)
    service.faults.set([])
    assert ingested(result) == {PARTITION: ("completed", None)}
    assert rows(tmp_path / "a.db") == right


@pytest.mark.parametrize("kind", sorted({*KINDS, *FAULT_KINDS}))
def test_a_fault_during_a_rerun_leaves_what_is_held(
    service: Simulated, right: list[tuple[object, ...]], tmp_path: Path, kind: str
) -> None:
    """Whatever the source does afterwards, the rows of the first load stay, and there is one capture of them."""
    service.faults.set([])
    assert load(_source(service, kind, silence=60), tmp_path / "a.db", DAY, WEEK, TIER).exit_code == 0
    service.faults.set([f"{kind}@data=1"])
    load(_source(service, kind), tmp_path / "a.db", DAY, WEEK, TIER)
    service.faults.set([])
    assert rows(tmp_path / "a.db") == right
    assert _captures(tmp_path / "a.db") == 1


def _source(service: Simulated, kind: str, silence: float = 0.5) -> ApiSource:
    """Patient, but where silence is the fault: how busy the machine is must not look like one."""
    policy = replace(AT_ONCE, timeout=silence) if kind == "timeout" else AT_ONCE
    return service.source(DAY, credentials=(CLIENT_ID, CLIENT_SECRET), policy=policy)


def _beside_the_point(kind: str, route: str) -> bool:
    """Faults of FINRA's own only concern the answers to queries."""
    return kind in FAULT_KINDS and route == "token"


def _captures(db: Path) -> int:
    store = reader(str(db))
    try:
        return len(store.known(DOMAIN.name, [PARTITION])[PARTITION].captures)
    finally:
        store.close()
