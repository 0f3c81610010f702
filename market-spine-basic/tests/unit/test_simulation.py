"""What simulators share: the clock, fault switches, counters, and serving beside a test."""

from __future__ import annotations

import socket
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import httpx2
import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from market_spine.errors import MarketSpineError, UsageError
from market_spine.simulation import KINDS, Faults, SimulatedClock, TrafficCounter, parse_moment, running, simulator
from market_spine.simulation.traffic import Exchange

if TYPE_CHECKING:
    from starlette.requests import Request

pytestmark = pytest.mark.server

START = datetime(2025, 12, 23, 18, tzinfo=UTC)


class Seconds:
    """A counter of seconds, moved by hand."""

    def __init__(self) -> None:
        self.value = 100.0

    def __call__(self) -> float:
        return self.value


def hello(_request: Request) -> Response:
    return PlainTextResponse("hello")


ROUTES = [Route("/hello", hello, name="hello"), Route("/other", hello, name="second")]


# --- clock ----------------------------------------------------------------------------------------


def test_clock_runs_on() -> None:
    """It starts where it is told and runs with real time, also after it was moved."""
    seconds = Seconds()
    clock = SimulatedClock(START, seconds=seconds)
    seconds.value += 5
    assert clock.now() == START + timedelta(seconds=5)
    clock.advance(timedelta(days=7))
    seconds.value += 1
    assert clock.now() == START + timedelta(days=7, seconds=6)
    clock.set(START - timedelta(days=1))
    assert clock.now() == START - timedelta(days=1)


def test_frozen_clock_stands_still() -> None:
    """Frozen it shows the same moment until it is moved or let go, and loses no time."""
    seconds = Seconds()
    clock = SimulatedClock(START, frozen=True, seconds=seconds)
    seconds.value += 3600
    assert clock.now() == START
    clock.freeze(frozen=False)
    seconds.value += 1
    assert clock.now() == START + timedelta(seconds=1)


def test_days_are_new_york_days() -> None:
    """Three hours after midnight in Greenwich it is still yesterday in New York."""
    assert SimulatedClock(datetime(2025, 12, 23, 3, tzinfo=UTC), frozen=True).today() == date(2025, 12, 22)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-12-23", datetime(2025, 12, 23, 17, tzinfo=UTC)),
        ("2025-07-01", datetime(2025, 7, 1, 16, tzinfo=UTC)),
        ("2025-12-23T18:00:00", START),
        ("2025-12-23T18:00:00Z", START),
        ("2025-12-23T13:00:00-05:00", START),
    ],
)
def test_moments(text: str, moment: datetime) -> None:
    """A date is noon in New York, a time without zone is UTC."""
    assert parse_moment("--now", text) == moment


@pytest.mark.parametrize("text", ["", "today", "2025-13-01", "23.12.2025"])
def test_texts_that_are_no_moment(text: str) -> None:
    """Anything else is refused by the flag's name."""
    with pytest.raises(UsageError, match="--now"):
        parse_moment("--now", text)


# --- faults ---------------------------------------------------------------------------------------


def test_every_nth_request() -> None:
    """every:3 hits the third, sixth, ... request of its route, whatever other routes are asked."""
    faults = Faults(["503@hello=every:3"])
    assert [faults.strike("hello") for _ in range(6)] == [None, None, "503"] * 2
    assert [faults.strike("second") for _ in range(6)] == [None] * 6


def test_share_of_requests_follows_from_the_seed() -> None:
    """A rate hits about its share of the requests, the same ones for the same seed, others for another."""

    def pattern(seed: int) -> list[str | None]:
        faults = Faults(["503=0.2"], seed=seed)
        return [faults.strike("hello") for _ in range(1000)]

    assert pattern(1) == pattern(1) != pattern(2)
    assert 150 < Counter(pattern(1))["503"] < 250


def test_first_switch_wins_and_all_count() -> None:
    """Where two faults meet the first is carried out, and neither loses its count."""
    faults = Faults(["429=every:2", "reset=every:3"])
    assert [faults.strike("hello") for _ in range(6)] == [None, "429", "reset", "429", None, "429"]


def test_own_kinds_are_left_to_the_routes() -> None:
    """A simulator's own kind is never carried out for it, and hits when asked for."""
    faults = Faults(["drift=every:1"], kinds=["drift"])
    assert faults.strike("hello") is None
    assert faults.strikes("drift", "hello")
    assert not faults.strikes("429", "hello")


@pytest.mark.parametrize(
    "text", ["", "429", "429=", "429=x", "429=-1", "429=1.5", "429=every:0", "429=every:-1", "429@=1", "quake=1"]
)
def test_switches_that_cannot_be_read(text: str) -> None:
    """A switch is a known kind, perhaps a route, and a share from 0 to 1 or every:N."""
    with pytest.raises(UsageError, match="--fault"):
        Faults([text])


@pytest.mark.parametrize("text", [f"{kind}@hello=0.25" for kind in KINDS] + ["reset=every:7", "429=0"])
def test_switches_are_told_as_given(text: str) -> None:
    """What is switched on can be read back and switched on again."""
    assert Faults([text]).as_list() == [text]


# --- traffic --------------------------------------------------------------------------------------


def test_rate_limit_slides() -> None:
    """At most N requests in any 60 seconds; refused ones do not count, and the wait is told."""
    seconds = Seconds()
    traffic = TrafficCounter(per_minute=2, seconds=seconds)
    assert [traffic.arrive(), traffic.arrive()] == [0, 0]
    seconds.value += 45
    assert [traffic.arrive(), traffic.arrive()] == [15, 15]
    seconds.value += 15
    assert traffic.arrive() == 0
    assert traffic.as_document()["busiest_minute"] == 2


def test_counters_add_up() -> None:
    """Totals are the sums over routes, and the latest requests are listed."""
    traffic = TrafficCounter()
    traffic.record(Exchange("hello", "GET", "/hello", 200, 5, None))
    traffic.record(Exchange("second", "GET", "/other", 503, 7, "503"))
    document = traffic.as_document()
    assert (document["requests"], document["bytes"], document["faults"]) == (2, 12, {"503": 1})
    assert [each["route"] for each in document["recent"]] == ["hello", "second"]
    traffic.clear()
    assert traffic.as_document()["requests"] == 0


# --- over HTTP ------------------------------------------------------------------------------------


def test_clock_over_http() -> None:
    """The clock can be read, set, moved and let go; a wrong order is refused with a sentence."""
    clock = SimulatedClock(START, frozen=True)
    with (
        running(simulator(ROUTES, clock=clock, faults=Faults())) as address,
        httpx2.Client(base_url=address, timeout=300) as client,
    ):

        def order(**document: object) -> httpx2.Response:
            return client.post("/_simulator/clock", json=document)

        assert client.get("/_simulator/clock").json() == {"now": START.isoformat(), "frozen": True}
        assert order(advance={"days": 7}).json()["now"] == "2025-12-30T18:00:00+00:00"
        assert order(now="2026-01-05").json()["now"] == "2026-01-05T17:00:00+00:00"
        assert order(frozen=False).json()["frozen"] is False
        for wrong in ({}, {"advance": 7}, {"advance": {"fortnights": 1}}, {"now": "later"}, {"then": 1}):
            assert order(**wrong).status_code == 400
        assert client.post("/_simulator/clock", content="soon").status_code == 400


def test_requests_are_counted_by_route() -> None:
    """Each route has its numbers; what steers the simulator is neither counted nor spoilt."""
    faults = Faults(["503@second=every:1"])
    app = simulator(ROUTES, clock=SimulatedClock(START), faults=faults)
    with running(app) as address, httpx2.Client(base_url=address, timeout=300) as client:
        assert [client.get(path).status_code for path in ("/hello", "/hello", "/other", "/none")] == [
            200,
            200,
            503,
            404,
        ]
        client.post("/_simulator/faults", json={"faults": ["503=every:1"]})
        document = client.get("/_simulator/stats").json()
        assert {name: route["statuses"] for name, route in document["routes"].items()} == {
            "hello": {"200": 2},
            "second": {"503": 1},
            "other": {"404": 1},
        }
        assert document["routes"]["hello"]["bytes"] == 2 * len("hello")


def test_port_that_is_taken() -> None:
    """A port in use is a usage error that names it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        app = simulator(ROUTES, clock=SimulatedClock(START), faults=Faults())
        with pytest.raises(UsageError, match=str(port)), running(app, port=port):
            pass


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Starlette or uvicorn is missing the error says what to install."""
    monkeypatch.setattr("market_spine.simulation.serving.find_spec", lambda _name: None)
    with pytest.raises(MarketSpineError) as caught:
        simulator(ROUTES, clock=SimulatedClock(START), faults=Faults())
    assert (caught.value.kind, caught.value.hint) == ("missing_extra", "pip install 'market-spine-basic[simulate]'")
