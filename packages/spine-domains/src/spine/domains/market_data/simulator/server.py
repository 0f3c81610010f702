"""A simulated vendor as an application that can be served."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from market_spine.errors import UsageError
from market_spine.simulation import ErrorAnswer, Faults, SimulatedClock, running, simulator
from spine.domains.market_data.simulator.alpha_vantage import SimulatedAlphaVantage
from spine.domains.market_data.simulator.book import Book
from spine.domains.market_data.simulator.exchange import TEXT, Inquiry, Reply, SimulatedVendor
from spine.domains.market_data.simulator.massive import Massive

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import ASGIApp

    from spine.domains.market_data.simulator.replay import Recordings

VENDORS: dict[str, Callable[[Book], SimulatedVendor]] = {
    "alpha_vantage": SimulatedAlphaVantage,
    "polygon": Massive,
}
"""The simulated vendors, by the name of their source."""

Endpoint = Callable[["Request"], Coroutine[Any, Any, "Response"]]


def vendor_faults(
    vendor: SimulatedVendor, switches: Iterable[str] = (), *, seed: int = 1, slow_seconds: float = 30.0
) -> Faults:
    """Fault switches that know the vendor's own kinds besides those of every simulator.

    Raises:
        UsageError: for a switch that cannot be read.
    """
    return Faults(switches, seed=seed, kinds=vendor.faults, slow_seconds=slow_seconds)


def vendor_app(
    vendor: SimulatedVendor,
    *,
    clock: SimulatedClock,
    faults: Faults | None = None,
    recordings: Recordings | None = None,
) -> ASGIApp:
    """The application: the vendor's endpoints and the simulator's own.

    ``GET /_simulator/vendor`` shows the vendor's switches, the requests that its limits count, and the recordings;
    ``POST`` sets switches, as in ``{"plan": "premium"}``. With recordings, a request that one of them answers is
    answered by it, without key and without limit, and ``/replay/FILE/...`` is answered with that file.

    Raises:
        MarketSpineError: if the extra ``simulate`` is not installed.
    """
    from starlette.routing import Route

    switched = faults or vendor_faults(vendor)

    def answer(endpoint: str, request: Request) -> Response:
        call = _call(request)
        recorded = recordings.matching(call) if recordings else None
        return _response(recorded or vendor.answer(endpoint, call, clock.now(), partial(_strikes, switched, endpoint)))

    def endpoint(name: str) -> Endpoint:
        async def handle(request: Request) -> Response:
            return answer(name, request)

        return handle

    async def replay(request: Request) -> Response:
        found = recordings.addressed(request.path_params["file"]) if recordings else None
        return _response(found or Reply(b"no such recording", 404, TEXT))

    routes = [Route(path, endpoint(name), name=name) for name, path in vendor.paths.items()]
    return simulator(
        [
            _control(vendor, clock, recordings),
            *([Route("/replay/{file:path}", replay, name="replay")] if recordings else []),
            *routes,
            Route("/{path:path}", endpoint("other"), name="other"),
        ],
        clock=clock,
        faults=switched,
        error=lambda status: _answer(vendor.refusal(status)),
    )


@dataclass(frozen=True, slots=True)
class RunningVendor:
    """A simulated vendor that is being served: its address, and what a test moves.

    Attributes:
        url: to be used as ``ALPHA_VANTAGE_URL`` or ``POLYGON_URL``.
        vendor: with its switches.
        clock: frozen at first.
        faults: the fault switches.
    """

    url: str
    vendor: SimulatedVendor
    clock: SimulatedClock
    faults: Faults


@contextmanager
def running_vendor(
    name: str,
    book: Book,
    now: datetime,
    *,
    recordings: Recordings | None = None,
    faults: Iterable[str] = (),
    **switches: object,
) -> Iterator[RunningVendor]:
    """Serve a simulated vendor on another thread while inside, with a clock that stands still.

    Args:
        name: ``alpha_vantage`` or ``polygon``.
        book: what it knows.
        now: what its clock shows.
        recordings: recorded answers that it gives first.
        faults: fault switches such as ``burst=every:3``.
        switches: its switches, such as ``plan="premium"``.
    """
    vendor = VENDORS[name](book)
    for switch, value in switches.items():
        vendor.switches.change(switch, value)
    clock = SimulatedClock(now, frozen=True)
    struck = vendor_faults(vendor, faults)
    with running(vendor_app(vendor, clock=clock, faults=struck, recordings=recordings)) as url:
        yield RunningVendor(url, vendor, clock, struck)


def _control(vendor: SimulatedVendor, clock: SimulatedClock, recordings: Recordings | None) -> Route:
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def control(request: Request) -> Response:
        if request.method == "POST":
            try:
                for name, value in (await request.json()).items():
                    vendor.switches.change(name, value)
            except UsageError as error:
                return JSONResponse({"error": error.message}, status_code=400)
            except (ValueError, AttributeError):
                return JSONResponse({"error": "the body must be a JSON object of switches"}, status_code=400)
        return JSONResponse(
            {
                "switches": vendor.switches.as_document(),
                "used": vendor.used(clock.now()),
                "recordings": recordings.names() if recordings else [],
            }
        )

    return Route("/_simulator/vendor", control, methods=["GET", "POST"], name="vendor")


def _strikes(faults: Faults, endpoint: str, kind: str) -> bool:
    return faults.strikes(kind, endpoint)


def _call(request: Request) -> Inquiry:
    return Inquiry(
        request.url.path,
        parameters=request.path_params,
        query=dict(request.query_params),
        headers=dict(request.headers),
        base=f"{request.url.scheme}://{request.url.netloc}",
    )


def _response(reply: Reply) -> Response:
    from starlette.responses import Response

    return Response(reply.body, reply.status, {**reply.headers, "content-type": reply.content_type})


def _answer(reply: Reply) -> ErrorAnswer:
    return ErrorAnswer(reply.body, reply.content_type)
