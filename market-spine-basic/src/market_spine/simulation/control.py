"""Makes a simulator of routes: counts every request, carries out faults, answers ``/_simulator/...``."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from market_spine.errors import UsageError
from market_spine.simulation.clock import SimulatedClock, parse_moment
from market_spine.simulation.faults import STATUSES, Faults
from market_spine.simulation.serving import require
from market_spine.simulation.traffic import Exchange, TrafficCounter

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTROL = "/_simulator/"
_LOOP = "simulated_redirect"
_COOKIE = "simulated_visitor=1"
_RETRY_AFTER = 1
_HTML = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>"


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """A body and its content type."""

    body: bytes
    content_type: str = "application/json"


def _plain_error(status: int) -> ErrorAnswer:
    return ErrorAnswer(json.dumps({"status": status}).encode())


def simulator(
    routes: Sequence[BaseRoute],
    *,
    clock: SimulatedClock,
    faults: Faults,
    traffic: TrafficCounter | None = None,
    error: Callable[[int], ErrorAnswer] = _plain_error,
) -> ASGIApp:
    """An ASGI application of the routes, with clock, faults and counters.

    Args:
        routes: Starlette routes, each with a name.
        clock: what the routes take for now.
        faults: consulted before each request.
        traffic: the counters, with the rate limit if there is one; default: no limit.
        error: what an error status carries in this publisher's manner.

    Raises:
        MarketSpineError: if the extra ``simulate`` is not installed.
    """
    require()
    from starlette.applications import Starlette

    counters = traffic or TrafficCounter()
    inner = Starlette(routes=[*_control_routes(clock, faults, counters), *routes])
    return _Middleware(inner, routes, faults, counters, error)


class _Middleware:
    """Counts, limits and spoils; stands before everything else."""

    def __init__(
        self,
        app: ASGIApp,
        routes: Sequence[BaseRoute],
        faults: Faults,
        traffic: TrafficCounter,
        error: Callable[[int], ErrorAnswer],
    ) -> None:
        self._app = app
        self._routes = routes
        self._faults = faults
        self._traffic = traffic
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROL):
            await self._app(scope, receive, send)
            return
        route = self._route(scope)
        wait = self._traffic.arrive()
        kind = None if wait else self._faults.strike(route)
        if _LOOP in scope["query_string"].decode("latin-1"):
            kind = "redirect-loop"
        status = size = 0

        async def counting(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        if wait:
            await self._refuse(counting, 429, math.ceil(wait))
        elif kind:
            await self._spoil(kind, scope, receive, counting)
        else:
            await self._app(scope, receive, counting)
        query = scope["query_string"].decode("latin-1")
        path = scope["path"] + (f"?{query}" if query else "")
        fault = "rate-limit" if wait else kind
        self._traffic.record(Exchange(route, scope["method"], path, status, size, fault))

    def _route(self, scope: Scope) -> str:
        from starlette.routing import Match

        for route in self._routes:
            if route.matches(scope)[0] is not Match.NONE:
                return str(getattr(route, "name", "other"))
        return "other"

    async def _spoil(self, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        if kind in STATUSES:
            await self._refuse(send, STATUSES[kind], _RETRY_AFTER if kind == "429" else None)
        elif kind == "timeout":
            await asyncio.sleep(self._faults.slow_seconds)
            await self._app(scope, receive, send)
        elif kind == "wrong-content-type":
            await _answer(send, 200, ErrorAnswer(_HTML, "text/html; charset=UTF-8"))
        elif kind == "redirect-loop":
            await _redirect(send, f"{scope['path']}?{_LOOP}=1")
        elif kind == "cookie-redirect":
            if _COOKIE.encode() in dict(scope["headers"]).get(b"cookie", b""):
                await self._app(scope, receive, send)
            else:
                query = scope["query_string"].decode("latin-1")
                await _redirect(send, scope["path"] + (f"?{query}" if query else ""), (b"set-cookie", _COOKIE.encode()))
        elif kind == "reset":
            await _cut(receive, reset=True)
        else:
            await self._send_half(kind, scope, receive, send)

    async def _refuse(self, send: Send, status: int, retry_after: int | None) -> None:
        headers = [] if retry_after is None else [(b"retry-after", str(retry_after).encode())]
        await _answer(send, status, self._error(status), *headers)

    async def _send_half(self, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Half of the answer's body: promised whole (``truncated``) or as if it were all (``malformed``)."""
        # Half of a compressed body would be another fault: one that cannot be unpacked.
        uncompressed = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        start: Message = {}
        body = b""

        async def collect(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
            else:
                body += message.get("body", b"")

        await self._app({**scope, "headers": uncompressed}, receive, collect)
        half = body[: len(body) // 2]
        promised = len(body) if kind == "truncated" else len(half)
        headers = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
        if start["status"] != 204:
            headers.append((b"content-length", str(promised).encode()))
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": half, "more_body": promised > len(half)})
        if promised > len(half):
            await _cut(receive, reset=False)


async def _answer(send: Send, status: int, answer: ErrorAnswer, *headers: tuple[bytes, bytes]) -> None:
    fixed = [(b"content-type", answer.content_type.encode()), (b"content-length", str(len(answer.body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": answer.body})


async def _redirect(send: Send, location: str, *headers: tuple[bytes, bytes]) -> None:
    await _answer(send, 307, ErrorAnswer(b"", "text/html"), (b"location", location.encode("latin-1")), *headers)


async def _cut(receive: Receive, *, reset: bool) -> None:
    """End the connection under the server's feet.

    ASGI has no word for it, so this reaches for the connection that uvicorn's ``receive`` belongs to.
    """
    transport = receive.__self__.transport  # type: ignore[attr-defined]
    if reset:
        # Lingering for no time at all makes the kernel answer with RST instead of FIN.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    else:
        transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


# --- /_simulator/... ------------------------------------------------------------------------------


def _control_routes(clock: SimulatedClock, faults: Faults, traffic: TrafficCounter) -> list[BaseRoute]:
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def show_clock(request: Request) -> Response:
        if request.method == "POST":
            _move(clock, await _document(request))
        return JSONResponse({"now": clock.now().isoformat(), "frozen": clock.frozen})

    async def show_faults(request: Request) -> Response:
        if request.method == "POST":
            switches = (await _document(request)).get("faults")
            if not isinstance(switches, list) or not all(isinstance(switch, str) for switch in switches):
                raise UsageError('the body must be {"faults": ["KIND[@ROUTE]=RATE", ...]}')
            faults.set(switches)
        return JSONResponse({"faults": faults.as_list()})

    async def show_stats(request: Request) -> Response:
        if request.method == "DELETE":
            traffic.clear()
        return JSONResponse(traffic.as_document())

    return [
        Route(f"{CONTROL}clock", _guarded(show_clock), methods=["GET", "POST"]),
        Route(f"{CONTROL}faults", _guarded(show_faults), methods=["GET", "POST"]),
        Route(f"{CONTROL}stats", show_stats, methods=["GET", "DELETE"]),
    ]


def _guarded(endpoint: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """The endpoint, answering 400 with a sentence where it raises UsageError."""

    async def call(request: Request) -> Response:
        from starlette.responses import JSONResponse

        try:
            answer: Response = await endpoint(request)
        except UsageError as error:
            return JSONResponse({"error": error.message}, status_code=400)
        return answer

    return call


async def _document(request: Request) -> Mapping[str, Any]:
    try:
        document = json.loads(await request.body())
    except ValueError as error:
        raise UsageError(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise UsageError("the body must be a JSON object")
    return document


def _move(clock: SimulatedClock, document: Mapping[str, Any]) -> None:
    unknown = sorted(set(document) - {"now", "advance", "frozen"})
    if unknown or not document:
        raise UsageError(f"give now, advance or frozen, not {', '.join(unknown) or 'nothing'}")
    if "frozen" in document:
        clock.freeze(bool(document["frozen"]))
    if "now" in document:
        clock.set(parse_moment("now", str(document["now"])))
    if "advance" in document:
        try:
            clock.advance(timedelta(**document["advance"]))
        except (TypeError, OverflowError) as error:
            raise UsageError('advance takes parts of a duration, such as {"days": 7}') from error
