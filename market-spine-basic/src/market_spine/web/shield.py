"""What stands before every page: which hosts may be asked for, who asks, what may be sent, what every answer says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from market_spine.web.identity import Identity

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy: nothing from elsewhere, nothing inline, nobody's frame."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
MOST_QUERY = 16_384
"""Most bytes of an address's query."""
_READING = ("GET", "HEAD")
_FOR_ALL = ("/healthz", "/readyz", "/login")
"""Addresses that tell nothing of the data."""
_ACTING = ("/actions/", "/login")
_FORM = "application/x-www-form-urlencoded"
Found = Mapping[str, Sequence[str]]


class Shield:
    """ASGI middleware: refuses what no page may see, and completes the headers of every answer."""

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str], identity: Identity) -> None:
        self._app = app
        self._hosts = hosts
        self._identity = identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                if b"cache-control" not in given:
                    added.append((b"cache-control", b"no-store"))
                message["headers"] = [*message["headers"], *(each for each in added if each[0] not in given)]
            await send(message)

        headers = _headers(scope)
        refusal = self._refusal(scope, headers) or self._unknown(scope, headers)
        if refusal is None:
            await self._app(scope, receive, send_guarded)
            return
        status, text = refusal
        body = (text + "\n").encode()
        answer = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        if status == 303:
            answer.append((b"location", b"/login"))
        await send_guarded({"type": "http.response.start", "status": status, "headers": answer})
        await send_guarded({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _refusal(self, scope: Scope, headers: Found) -> tuple[int, str] | None:
        """Status and words, if the request is not to be answered, whoever sent it."""
        hosts = headers.get("host", ())
        if len(hosts) != 1 or host_of(hosts[0]) not in self._hosts:
            # A page elsewhere may have pointed a name of its own at this machine.
            return 400, "This console does not answer to that host name: start it with --host-name NAME to allow it."
        if len(scope["query_string"]) > MOST_QUERY:
            return 414, f"The address is too long: its query may have {MOST_QUERY} bytes."
        if scope["method"] in _READING:
            return None
        if scope["method"] != "POST" or not scope["path"].startswith(_ACTING):
            return 405, "This address is only read."
        return _foreign(headers, hosts[0])

    def _unknown(self, scope: Scope, headers: Found) -> tuple[int, str] | None:
        """The same for somebody who may not ask; else the scope is told who asks."""
        path = scope["path"]
        if path in _FOR_ALL or path.startswith("/static/"):
            return None
        who = self._identity.who((scope.get("client") or ("",))[0], headers)
        if who is not None:
            scope["who"] = who
            return None
        if self._identity.login:
            return (303, "Log in.") if scope["method"] in _READING else (403, "Log in.")
        return 403, "Nobody who may ask: reach this console through the proxy that it trusts."


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _foreign(headers: Found, host: str) -> tuple[int, str] | None:
    """A refusal of what another site's page sends, and of what is no form."""
    origins = headers.get("origin", ())
    same = len(origins) == 1 and urlsplit(origins[0]).netloc.lower() == host.lower()
    if not same or any(each not in ("same-origin", "none") for each in headers.get("sec-fetch-site", ())):
        return 403, "What is sent here has to come from a page of this console."
    if [each.partition(";")[0].strip() for each in headers.get("content-type", ())] != [_FORM]:
        return 415, f"What is sent here has to be a form: {_FORM}."
    return None


def host_of(header: str) -> str:
    """The name in a Host header: small letters, without port or brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()
