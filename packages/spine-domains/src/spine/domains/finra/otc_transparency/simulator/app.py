"""The simulator's routes: FINRA's Query API and its token endpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from market_spine.simulation import Faults, SimulatedClock, TrafficCounter, simulator
from spine.domains.finra.otc_transparency.simulator import answers
from spine.domains.finra.otc_transparency.simulator.access import (
    CLIENT_ID,
    CLIENT_SECRET,
    Pending,
    Requests,
    Tokens,
    credentials,
)
from spine.domains.finra.otc_transparency.simulator.datasets import DATASETS, GROUP, Library, find_dataset
from spine.domains.finra.otc_transparency.simulator.market import SimulatedMarket
from spine.domains.finra.otc_transparency.simulator.query import QueryRefused, ServedQuery
from spine.domains.finra.otc_transparency.simulator.render import json_page, text_page

if TYPE_CHECKING:
    import polars as pl
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

Endpoint = Callable[["Request", bytes], "Response"]

FAULT_KINDS = ("short-page", "drift", "401-expiry")
"""Faults of this API's own: half a page; a row and a record total less; a token that expires early."""

RATE_PER_MINUTE = 1_200
"""FINRA's limit of synchronous requests per address."""
TOKEN_SECONDS = 43_169
"""How long a token was seen to last."""
TOKEN_PATH = "/fip/rest/ews/oauth2/access_token"  # noqa: S105 (a path)

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True)
class Settings:
    """What can be chosen about the service.

    Attributes:
        summary_weeks: the latest weeks that ``weeklySummary`` holds; 0 for all.
        empty_status: 204, or 200 with an empty array, for a result without rows.
        anonymous: answer requests without a token.
        token_seconds: how long a token is good for.
        per_minute: most requests in any 60 seconds; 0 for no limit.
    """

    summary_weeks: int = 0
    empty_status: int = 204
    anonymous: bool = True
    token_seconds: int = TOKEN_SECONDS
    per_minute: int = RATE_PER_MINUTE


def finra_simulator(
    market: SimulatedMarket,
    *,
    clock: SimulatedClock,
    faults: Faults | None = None,
    settings: Settings = Settings(),
) -> ASGIApp:
    """FINRA's Query API over a market, as an ASGI application.

    Args:
        market: the rows.
        clock: decides what is published, revised, forgotten and expired.
        faults: made with ``kinds=FAULT_KINDS``; default: none.
        settings: what can be chosen.

    Raises:
        MarketSpineError: if the extra ``simulate`` is not installed.
    """
    switches = faults or Faults(kinds=FAULT_KINDS)
    service = _Service(
        Library(market, settings.summary_weeks),
        clock,
        switches,
        settings,
        Tokens(clock, settings.token_seconds, anonymous=settings.anonymous),
        Requests(clock),
    )
    return simulator(
        service.routes(),
        clock=clock,
        faults=switches,
        traffic=TrafficCounter(settings.per_minute),
        error=answers.error_answer,
    )


@dataclass(frozen=True)
class _Service:
    library: Library
    clock: SimulatedClock
    faults: Faults
    settings: Settings
    tokens: Tokens
    requests: Requests

    def routes(self) -> list[BaseRoute]:
        """The API's routes by the names that faults and counters use."""
        from starlette.routing import Route

        of_dataset = "/group/{group}/name/{name}"
        table: list[tuple[str, str, Endpoint, tuple[str, ...]]] = [
            ("data", f"/data{of_dataset}", self.data, ("GET", "POST")),
            ("metadata", f"/metadata{of_dataset}", self.metadata, ("GET",)),
            ("partitions", f"/partitions{of_dataset}", self.partitions, ("GET",)),
            ("datasets", "/datasets", self.datasets, ("GET",)),
            ("async", f"/async-requests{of_dataset}/{{id}}", self.status, ("GET",)),
            ("results", "/async-results/{id}", self.result, ("GET",)),
            ("token", TOKEN_PATH, self.token, ("POST",)),
            ("other", "/{path:path}", _not_found, tuple(_METHODS)),
        ]
        return [
            Route(path, self._endpoint(name, endpoint, methods), name=name, methods=_METHODS)
            for name, path, endpoint, methods in table
        ]

    def _endpoint(self, name: str, endpoint: Endpoint, methods: tuple[str, ...]) -> Callable[[Request], Any]:
        """The endpoint off the event loop, with authentication, and with errors in FINRA's shape."""
        from starlette.concurrency import run_in_threadpool

        def call(request: Request, body: bytes) -> Response:
            authorization = request.headers.get("authorization")
            try:
                if request.method not in {*methods, "HEAD"}:
                    raise QueryRefused(405, f"Request method '{request.method}' not supported")
                if name not in {"token", "results"}:
                    if authorization and self.faults.strikes("401-expiry", name):
                        self.tokens.expire(authorization)
                    self.tokens.check(authorization)
                return endpoint(request, body)
            except QueryRefused as error:
                document = answers.error_document(error.status, error.message, **_echo(request, name, body))
                return answers.respond_json(request, document, error.status)

        async def read_and_call(request: Request) -> Response:
            return await run_in_threadpool(call, request, await request.body())

        return read_and_call

    # --- data -------------------------------------------------------------------------------------

    def data(self, request: Request, body: bytes) -> Response:
        """A page of a dataset, or the promise of one."""
        dataset = _dataset(request)
        as_json = _wants_json(request)
        reader = DATASETS[dataset]
        if request.method == "POST":
            query = reader.body(_document(request, body))
        else:
            query = reader.parameters(dict(request.query_params))
        if query.wants_async:
            # What cannot be answered is refused at once.
            self.library.select(dataset, query, self.clock.today())
            pending = self.requests.add(dataset, query, as_json=as_json)
            location = f"{_base(request)}/async-requests/group/{GROUP}/name/{dataset}/{pending.request_id}"
            return answers.respond(request, b"", answers.JSON, status=202, headers={"Location": location})
        rows = self.library.select(dataset, query, self.clock.today())
        if rows.height > 1 and self.faults.strikes("drift", "data"):
            rows = rows.slice(1)
        limit = query.limit
        if self.faults.strikes("short-page", "data"):
            limit = max(1, limit // 2)
        return self._page(request, rows, query, limit, as_json=as_json)

    def _page(self, request: Request, rows: pl.DataFrame, query: ServedQuery, limit: int, *, as_json: bool) -> Response:
        page = rows.slice(query.offset, limit)
        media_type = answers.JSON if as_json else answers.TEXT
        if page.is_empty() and self.settings.empty_status == 204:
            headers = answers.page_headers(rows.height, query, 0)
            return answers.respond(request, b"", media_type, status=204, headers=headers)
        if as_json:
            content, count = json_page(page, query.fields)
        else:
            content, count = text_page(page, query.fields, query.delimiter, quote=query.quote)
        headers = answers.page_headers(rows.height, query, count)
        return answers.respond(request, content, media_type, headers=headers)

    # --- descriptions -----------------------------------------------------------------------------

    def metadata(self, request: Request, _body: bytes) -> Response:
        """The fields of a dataset."""
        return answers.respond_json(request, answers.metadata_document(_dataset(request)))

    def partitions(self, request: Request, _body: bytes) -> Response:
        """What a dataset holds now."""
        dataset = _dataset(request)
        keys = self.library.partitions(dataset, self.clock.today())
        return answers.respond_json(request, answers.partitions_document(dataset, keys))

    def datasets(self, request: Request, _body: bytes) -> Response:
        """The datasets there are."""
        group = request.query_params.get("group", GROUP)
        name = request.query_params.get("name")
        wanted = [each for each in DATASETS if name is None or each.lower() == name.lower()]
        return answers.respond_json(
            request, answers.datasets_document(wanted if group.lower() == GROUP.lower() else [])
        )

    # --- answers that come later ------------------------------------------------------------------

    def status(self, request: Request, _body: bytes) -> Response:
        """How an asynchronous request stands."""
        pending = self.requests.poll(request.path_params["id"])
        if pending.completed is None:
            return answers.respond_json(request, {"status": "pending"}, 202)
        document = {
            "status": "complete",
            "resultLink": f"{_base(request)}/async-results/{pending.request_id}?signature=simulated",
            "expires": f"{pending.expires:%Y-%m-%d %H:%M:%S} UTC",
            "requestId": pending.request_id,
        }
        return answers.respond_json(request, document)

    def result(self, request: Request, _body: bytes) -> Response:
        """The rows of an asynchronous request; the link is signed and takes no token."""
        if "authorization" in request.headers:
            raise QueryRefused(400, "Only one authentication mechanism is allowed")
        pending: Pending = self.requests.result(request.path_params["id"])
        query = pending.query
        rows = self.library.select(pending.dataset, query, self.clock.today()).slice(query.offset, query.limit)
        if pending.as_json:
            return answers.respond(request, json_page(rows, query.fields, most=None)[0], answers.JSON)
        content, _ = text_page(rows, query.fields, query.delimiter, quote=query.quote, most=None)
        return answers.respond(request, content, answers.TEXT)

    # --- authentication ---------------------------------------------------------------------------

    def token(self, request: Request, body: bytes) -> Response:
        """A bearer token for client credentials."""
        form = parse_qs(body.decode("utf-8", "replace"))
        grant = request.query_params.get("grant_type") or form.get("grant_type", [""])[0]
        given = credentials(request.headers.get("authorization"))
        if given is None:
            problem = {"error_message": "Client credentials is required", "error": "invalid_client"}
        elif given != (CLIENT_ID, CLIENT_SECRET):
            problem = {"error_message": "Invalid Credentials", "error": "invalid_client"}
        elif grant != "client_credentials":
            problem = {"error_message": "Unsupported grant type", "error": "unsupported_grant_type"}
        else:
            granted = {"access_token": self.tokens.issue(), "token_type": "Bearer", "expires_in": self.tokens.seconds}
            return answers.respond_json(request, granted)
        return answers.respond_json(request, problem, 400)


def _not_found(_request: Request, _body: bytes) -> Response:
    raise QueryRefused(404, "Resource not found")


def _dataset(request: Request) -> str:
    group, name = request.path_params["group"], request.path_params["name"]
    found = find_dataset(name) if group.lower() == GROUP.lower() else None
    if found is None:
        raise QueryRefused(404, f"Dataset {name} of group {group} not found")
    return found


def _wants_json(request: Request) -> bool:
    accept = request.headers.get("accept", "*/*").lower()
    if "application/json" in accept:
        return True
    if any(kind in accept for kind in ("*/*", "text/*", "text/plain")):
        return False
    raise QueryRefused(406, "Could not find acceptable representation")


def _document(request: Request, body: bytes) -> Mapping[str, Any]:
    """The JSON object that a POST request carries; nothing is an empty one."""
    kind = request.headers.get("content-type", "application/json")
    if "json" not in kind.lower():
        raise QueryRefused(415, f"Content type '{kind}' not supported")
    document = _json(body)
    if document is None:
        raise QueryRefused(400, "The request body is not a JSON object")
    return document


def _echo(request: Request, name: str, body: bytes) -> Mapping[str, Any]:
    """The request, as an error of a data route repeats it."""
    if name != "data":
        return {}
    dataset = find_dataset(request.path_params["name"]) or request.path_params["name"]
    return answers.data_request(request.method, dataset, _json(body) or {})


def _json(body: bytes) -> Mapping[str, Any] | None:
    """The JSON object of a body, empty for none; None if it is something else."""
    try:
        # Python would read NaN and Infinity, which JSON does not know.
        document = json.loads(body or b"{}", parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")
