"""What a page may start: a backfill, a decision, a stop. Each is a command of the program, started by its name."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from anyio import to_thread
from starlette.responses import Response

from market_spine.errors import MarketSpineError, UsageError
from market_spine.web import rendering
from market_spine.web.console import Console
from market_spine.web.identity import COOKIE, Token
from market_spine.web.pages import PageMissing
from market_spine.web.pages.grid import backfill_words
from market_spine.web.reading import reading

if TYPE_CHECKING:
    from starlette.requests import Request

    from market_spine.web.jobs import Desk, Job

MOST_KEYS = 500
"""Most partitions of one backfill."""
_MOST_FORM = 65_536
_MOST_REASON = 1_000
Fields = Mapping[str, Sequence[str]]


async def fields_of(request: Request) -> Fields:
    """The fields of a form.

    Raises:
        UsageError: it is too large, or no form.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_FORM:
            raise UsageError(f"the form has more than {_MOST_FORM} bytes")
    try:
        return parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_KEYS + 20, errors="strict")
    except ValueError as error:
        raise UsageError("what was sent is no form") from error


def stamp(console: Console, who: str) -> str:
    """What a form of ours carries, so that no other page's form is taken for it."""
    return hmac.new(console.secret, who.encode(), "sha256").hexdigest()


def see(path: str) -> Response:
    """Go on with a page."""
    return Response(status_code=HTTPStatus.SEE_OTHER, headers={"location": path})


async def act(verb: str, console: Console, request: Request) -> Response:
    """Start what a form asks for, and show it; raises MarketSpineError."""
    desk = _desk(console)
    fields = await fields_of(request)
    who = str(request.scope["who"])
    if not hmac.compare_digest(_one(fields, "stamp").encode(), stamp(console, who).encode()):
        raise Forbidden(
            "this form was not made by this console, or before it was started anew", hint="load the page again"
        )
    job = await to_thread.run_sync(partial(_WORK[verb], console, desk, fields, who))
    return see(f"/jobs/{job.name}")


class Forbidden(MarketSpineError):
    """Whoever asks may not do that."""

    default_kind = "forbidden"


def _desk(console: Console) -> Desk:
    if console.desk is None:
        raise Forbidden("this console starts nothing", hint="whoever starts it can allow it with --allow-actions")
    return console.desk


def _one(fields: Fields, name: str) -> str:
    return next(iter(fields.get(name, ())), "").strip()


def _reason(fields: Fields) -> str:
    reason = _one(fields, "reason")
    if not reason:
        raise UsageError("reason: say why", hint="it is kept for ever, with your name")
    if len(reason) > _MOST_REASON or not reason.isprintable():
        raise UsageError(f"reason: one line of at most {_MOST_REASON} characters")
    return reason


def _backfill(console: Console, desk: Desk, fields: Fields, who: str) -> Job:
    """Load chosen partitions, or plan to: exactly the command that the page shows."""
    short, mode = _one(fields, "domain"), _one(fields, "mode") or "run"
    if short not in console.domains:
        raise PageMissing(f"there is no domain {short[:40]!r}")
    if mode not in ("run", "dry-run"):
        raise UsageError(f"mode: {mode[:40]!r} is neither run nor dry-run")
    domain = console.domains[short]
    keys = [domain.partition(key).key for key in fields.get("pick", ())]
    if not 0 < len(keys) <= MOST_KEYS:
        raise UsageError(f"pick: from 1 to {MOST_KEYS} partitions can be loaded at once")
    return desk.start(
        short, [*backfill_words(short, keys), *(["--mode", mode] if mode != "run" else []), "--json"], who
    )


def _decide(verb: str, console: Console, desk: Desk, fields: Fields, who: str) -> Job:
    """Accept or retract a capture that there is."""
    name, reason = _one(fields, "capture"), _reason(fields)
    with reading(console) as found:
        committed = found.store.find_capture(name)
        if committed is None:
            raise PageMissing(f"there is no capture {name[:120]!r}")
        short = found.short(committed.entry.partition.domain)
    return desk.start(short, [verb, name, "--reason", reason, "--by", who, "--json"], who)


def _ack(console: Console, desk: Desk, fields: Fields, who: str) -> Job:
    """Set aside an open anomaly."""
    short, kind, reason = _one(fields, "domain"), _one(fields, "kind"), _reason(fields)
    if short not in console.domains:
        raise PageMissing(f"there is no domain {short[:40]!r}")
    key = console.domains[short].partition(_one(fields, "partition")).key
    with reading(console) as found:
        if not any(each.anomaly.kind == kind for each in found.open_of(console.domains[short].name, key)):
            raise PageMissing(f"{key} has no open anomaly {kind[:40]!r}")
    words = ["anomalies", "ack", key, kind, "--domain", short, "--reason", reason, "--by", who, "--json"]
    return desk.start(short, words, who)


def _stop(console: Console, desk: Desk, fields: Fields, who: str) -> Job:
    """Ask a job to end."""
    job = desk.find(_one(fields, "job"))
    if job is None:
        raise PageMissing("there is no such job", hint="a console that was started anew knows none of before")
    desk.stop(job)
    return job


_WORK: Mapping[str, Callable[[Console, Desk, Fields, str], Job]] = {
    "backfill": _backfill,
    "accept": partial(_decide, "accept"),
    "retract": partial(_decide, "retract"),
    "ack": _ack,
    "stop": _stop,
}
VERBS = tuple(_WORK)
Answer = Callable[[Console, "Request"], Awaitable[Response]]


async def log_in(console: Console, request: Request) -> Response:
    """The page that asks for the token, and what becomes of the answer."""
    identity = console.identity
    if not isinstance(identity, Token):
        raise PageMissing("there is nothing to log in to")
    wrong = False
    if request.method == "POST":
        fields = await fields_of(request)
        if identity.opens(_one(fields, "token")):
            answer = see("/")
            answer.set_cookie(COOKIE, identity.cookie(), httponly=True, samesite="strict", path="/")
            return answer
        wrong = True
    page = rendering.html("login.html", {"wrong": wrong}, {**rendering.BARE_SITE, "sections": [], "title": "Log in"})
    return Response(page, HTTPStatus.FORBIDDEN if wrong else HTTPStatus.OK, media_type="text/html")
