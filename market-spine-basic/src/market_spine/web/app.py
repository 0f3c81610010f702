"""The console as an ASGI application: routes, and what becomes of a request."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import Route

from market_spine.errors import MarketSpineError, StoreError, UsageError
from market_spine.store import open_reader
from market_spine.web import acting, exports, rendering
from market_spine.web.console import Console
from market_spine.web.pages import (
    PageMissing,
    PageSpec,
    Visit,
    anomalies,
    calendar,
    captures,
    changes,
    grid,
    jobs,
    overview,
    partition,
    query,
    runs,
    search,
    subjects,
)
from market_spine.web.pages.plain import plain
from market_spine.web.reading import Reading, reading
from market_spine.web.shield import Shield
from market_spine.web.working import Hands

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

PAGES = (
    PageSpec("/", "overview.html", overview.record, "Overview"),
    PageSpec("/d/{domain}/partitions", "grid.html", grid.record, "Partitions", "partitions"),
    PageSpec("/d/{domain}/p/{key:path}", "partition.html", partition.record, "Partitions"),
    PageSpec("/captures/{capture_id:path}", "capture.html", captures.record, "Partitions", "rejects"),
    PageSpec("/runs", "runs.html", runs.listing, "Runs", "runs"),
    PageSpec("/runs/{run_id}", "run.html", runs.record, "Runs"),
    PageSpec("/anomalies", "anomalies.html", anomalies.record, "Anomalies", "anomalies"),
    PageSpec("/changes", "changes.html", changes.record, "Changes", "restatements"),
    PageSpec("/calendar", "calendar.html", calendar.record, "Calendar", "expected"),
    PageSpec("/query", "query.html", query.record, "SQL"),
    PageSpec("/jobs/{job}", "job.html", jobs.record),
    PageSpec("/search", "search.html", search.record, "Search", "found"),
)
_ENDINGS = ("json", *rendering.TABLES, "")
"""Of several routes the first that fits is taken, so the twins come before their pages."""
_SECTIONS = (("Runs", "/runs"), ("Anomalies", "/anomalies"), ("Changes", "/changes"), ("Calendar", "/calendar"))
_IMMUTABLE = {"cache-control": "public, max-age=31536000, immutable"}
_DIGEST = 64
_LEAST_PACKED = 500
"""Answers from so many bytes on are compressed."""


def application(console: Console, begin: Callable[[], None] = lambda: None) -> ASGIApp:
    """The console of one store; ``begin`` is what each thread that makes pages does first."""
    hands = Hands(console.threads, begin)
    sorts = list(subjects.gathered(console))
    pages = (*PAGES, *(page for sort in sorts for page in _of_sort(sort, sorts[0].capitalize())))
    routes = [
        Route(_path(page, ending), partial(_answer, console, hands, page, ending))
        for ending in _ENDINGS
        for page in pages
        if ending in ("json", "") or page.table
    ]
    app = Starlette(
        routes=[
            Route("/healthz", _healthy),
            Route("/readyz", partial(_ready, console, hands)),
            Route("/metrics", partial(_metrics, console, hands)),
            Route("/static/{path:path}", _static),
            Route("/payloads/{sha256}", partial(_payload, console, hands)),
            *(Route(f"/query.{each}", partial(_export, console, hands, each)) for each in exports.WRITERS),
            Route("/login", partial(_told, console, acting.log_in), methods=["GET", "POST"]),
            *(
                Route(f"/actions/{verb}", partial(_told, console, partial(acting.act, verb)), methods=["POST"])
                for verb in acting.VERBS
            ),
            Route("/calendar.ics", partial(_calendar, console, hands)),
            *routes,
        ],
        middleware=[Middleware(GZipMiddleware, minimum_size=_LEAST_PACKED, compresslevel=5)],
        exception_handlers={404: _nowhere, 500: _broken},
    )
    return Shield(app, hosts=console.hosts, identity=console.identity)


def _of_sort(sort: str, section: str) -> tuple[PageSpec, PageSpec]:
    """The pages of one sort of things that domains tell of."""
    return (
        PageSpec(f"/{sort}", "subjects.html", partial(subjects.listing, sort), section, "found"),
        PageSpec(f"/{sort}/{{name:path}}", "subject.html", partial(subjects.record, sort), section),
    )


def _path(page: PageSpec, ending: str) -> str:
    stem = "/index" if ending and page.path == "/" else page.path
    return f"{stem}.{ending}" if ending else stem


def _visit(request: Request) -> Visit:
    several = {name: request.query_params.getlist(name) for name in request.query_params}
    query = {name: values[0] for name, values in several.items()}
    return Visit({name: str(value) for name, value in request.path_params.items()}, query, several)


async def _answer(console: Console, hands: Hands, page: PageSpec, ending: str, request: Request) -> Response:
    visit = _visit(request)
    path = request.url.path.removesuffix(f".{ending}") if ending else request.url.path
    who = str(request.scope["who"])
    return await hands.do(_page, console, page, ending, visit, path, who)


def _page(console: Console, page: PageSpec, ending: str, visit: Visit, path: str, who: str) -> Response:
    """One page, in one of its forms."""
    try:
        with reading(console, visit.query.get("as_of")) as found:
            record = plain(page.record(found, visit))
            site = _site(found, page, visit, path, who)
    except MarketSpineError as error:
        return _problem(error, as_json=bool(ending))
    if ending == "json":
        return Response(rendering.twin(record), media_type="application/json")
    if ending:
        write, kind = rendering.TABLES[ending]
        name = path.strip("/").replace("/", "-") or "index"
        disposition = f"attachment; filename*=UTF-8''{rendering.escaped(name)}.{ending}"
        return Response(write(record[page.table]), media_type=kind, headers={"content-disposition": disposition})
    if record.get("go"):
        there = rendering.address("/" + "/".join(map(rendering.escaped, record["go"])), {"as_of": site["as_of"]})
        return Response(status_code=HTTPStatus.SEE_OTHER, headers={"location": there})
    return Response(rendering.html(page.template, record, site), media_type="text/html")


def _site(found: Reading, page: PageSpec, visit: Visit, path: str, who: str) -> dict[str, Any]:
    """What every page shows around its record."""
    first = next(iter(found.gridded), "")
    grids = [("Partitions", f"/d/{first}/partitions")] if first else []
    # One entry leads to all sorts: they are tabs of one page.
    sorts = [(sort.capitalize(), f"/{sort}") for sort in subjects.gathered(found.console)][:1]
    sections = [("Overview", "/"), *grids, *_SECTIONS, *sorts, *([("SQL", "/query")] if found.console.sql else [])]
    stem = "/index" if path == "/" else rendering.quoted(path)
    return {
        "title": page.section,
        "section": page.section,
        "sections": sections,
        "as_of": found.as_of.isoformat() if found.as_of else None,
        "moment": found.moment.isoformat(),
        "today": found.today.isoformat(),
        "errors": sum(each.anomaly.severity == "error" for each in found.open_anomalies),
        "store": found.console.url.display,
        "who": who,
        "acts": found.console.desk is not None and found.as_of is None,
        "stamp": acting.stamp(found.console, who),
        "twin": rendering.address(f"{stem}.json", visit.query),
        "path": rendering.quoted(path),
        "query": dict(visit.query),
        "link": rendering.linker(rendering.quoted(path), visit.query),
    }


def _problem(error: MarketSpineError, *, as_json: bool) -> Response:
    """An error as a page, or as JSON."""
    status = HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, PageMissing):
        status = HTTPStatus.NOT_FOUND
    elif isinstance(error, acting.Forbidden):
        status = HTTPStatus.FORBIDDEN
    elif isinstance(error, UsageError):
        status = HTTPStatus.BAD_REQUEST
    elif not isinstance(error, StoreError):
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    record = {"kind": error.kind, "message": error.message, "hint": error.hint}
    if as_json:
        return Response(rendering.twin({"error": record}), status, media_type="application/json")
    page = rendering.html("error.html", record | {"status": int(status), "phrase": status.phrase}, rendering.BARE_SITE)
    return Response(page, status, media_type="text/html")


async def _nowhere(request: Request, _error: Exception) -> Response:
    missing = PageMissing(f"there is no page {request.url.path[:200]!r}", hint="the navigation leads to all there are")
    return _problem(missing, as_json=request.url.path.endswith(".json"))


async def _broken(request: Request, _error: Exception) -> Response:
    broken = MarketSpineError("the console met an error of its own", hint="its log, on stderr, says which")
    return _problem(broken, as_json=request.url.path.endswith(".json"))


async def _static(request: Request) -> Response:
    found = rendering.assets().get(request.path_params["path"])
    if found is None:
        return await _nowhere(request, KeyError())
    data, kind = found
    return Response(data, media_type=kind, headers=_IMMUTABLE)


async def _healthy(_request: Request) -> Response:
    return Response("ok\n", media_type="text/plain")


async def _ready(console: Console, hands: Hands, _request: Request) -> Response:
    """Whether the store can be read, and fits the program."""

    def look() -> Response:
        try:
            open_reader(console.url, console.all_domains).close()
        except StoreError as error:
            document = {"ready": False, "kind": error.kind, "message": error.message, "hint": error.hint}
            return Response(rendering.twin(document), 503, media_type="application/json")
        return Response(rendering.twin({"ready": True}), media_type="application/json")

    return await hands.do(look)


async def _metrics(console: Console, hands: Hands, _request: Request) -> Response:
    """Figures for Prometheus, as ``market-spine metrics`` writes them."""

    def read() -> Response:
        from market_spine.notify.metrics import text

        try:
            with closing(open_reader(console.url, console.all_domains)) as store:
                found = text(store, console.all_domains, console.now())
        except MarketSpineError as error:
            return _problem(error, as_json=False)
        return Response(found, media_type="text/plain; version=0.0.4")

    return await hands.do(read)


async def _payload(console: Console, hands: Hands, request: Request) -> Response:
    """The exact bytes of a part, to be saved: never shown, whatever they are."""
    sha256 = request.path_params["sha256"]

    def fetch() -> Response:
        if len(sha256) != _DIGEST or not set(sha256) <= set("0123456789abcdef"):
            return _problem(
                PageMissing("a payload is named by its SHA-256, 64 small hexadecimal digits"), as_json=False
            )
        try:
            with reading(console) as found:
                data = found.payload(sha256)
        except MarketSpineError as error:
            return _problem(error, as_json=False)
        headers = {"content-disposition": f'attachment; filename="{sha256}.bin"'}
        return Response(data, media_type="application/octet-stream", headers=headers)

    return await hands.do(fetch)


async def _export(console: Console, hands: Hands, ending: str, request: Request) -> Response:
    """What a statement answers, to be saved."""

    def make() -> Response:
        try:
            return exports.export(console, _visit(request), ending)
        except MarketSpineError as error:
            return _problem(error, as_json=False)

    return await hands.do(make)


async def _told(console: Console, answer: acting.Answer, request: Request) -> Response:
    """What was sent, and a page that tells what is wrong with it."""
    try:
        return await answer(console, request)
    except MarketSpineError as error:
        return _problem(error, as_json=False)


async def _calendar(console: Console, hands: Hands, _request: Request) -> Response:
    """What is expected, for other calendars to subscribe to."""

    def make() -> Response:
        try:
            with reading(console) as found:
                record = plain(calendar.record(found, Visit({}, {}, {})))
                data = calendar.icalendar(record, found.now)
        except MarketSpineError as error:
            return _problem(error, as_json=False)
        return Response(data, media_type="text/calendar; charset=utf-8")

    return await hands.do(make)
