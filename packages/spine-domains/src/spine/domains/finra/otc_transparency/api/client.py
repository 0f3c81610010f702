"""FINRA's Query API as calls: one page of a query, the partitions there are, and a token where one is wanted."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar

from market_spine.core.jsontext import read_json
from market_spine.errors import SourceError
from market_spine.sources.answers import Answer, Transient, check_status, whole_number
from market_spine.sources.http import HttpClient
from spine.domains.finra.otc_transparency.api import payload as api_payload

if TYPE_CHECKING:
    import polars as pl

    from market_spine.sources.limits import Deadline, Seconds

T = TypeVar("T")

API_URL = "https://api.finra.org"
TOKEN_URL = "https://ews.fip.finra.org/fip/rest/ews/oauth2/access_token"  # noqa: S105 - an address
GROUP = "otcMarket"
SUMMARY, HISTORIC = "weeklySummary", "weeklySummaryHistoric"
PAGE_ROWS = 5000
"""Most rows FINRA gives in one answer."""
MAX_OFFSET = 500_000
"""FINRA's largest offset: rows beyond it and one page cannot be read."""
REQUESTS_PER_SECOND = 16.0
"""Kept below the 20 per second and address that FINRA allows."""

_ACCEPT = {"Accept": "application/json"}
_TOKENS = 3
"""Tokens tried for one request: one that ended early, and perhaps one that another request saw end."""
_RENEW_EARLY = 60.0
"""Seconds before its end at which a token is replaced."""


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """Where the API is and who asks; without credentials it is asked anonymously.

    Attributes:
        url, token_url: base addresses.
        client_id, client_secret: OAuth2 client credentials, or both empty.
    """

    url: str = API_URL
    token_url: str = TOKEN_URL
    client_id: str = field(default="", repr=False)
    client_secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a query.

    Attributes:
        rows: the page's records: ``api_payload.SCHEMA``, fields that no record has are null.
        fields: the fields that some record has.
        total: Record-Total: how many records the query had when it was answered.
        request_id: FINRA's name for the request.
    """

    rows: pl.DataFrame
    fields: frozenset[str]
    total: int
    request_id: str


class _TokenRefused(SourceError):
    """The API answered 401 to a token."""


class FinraApi:
    """Calls to the API; safe to share between threads.

    Args:
        config: addresses and credentials.
        http: the client to use.
        clock: tells when a token ends.
    """

    def __init__(self, config: ApiConfig, http: HttpClient, *, clock: Seconds = time.monotonic) -> None:
        self._config = config
        self._http = http
        self._clock = clock
        self._lock = threading.Lock()
        self._token, self._token_end = "", 0.0
        basic = base64.b64encode(f"{config.client_id}:{config.client_secret}".encode()).decode()
        self._basic = f"Basic {basic}" if config.client_id else ""
        http.hide(config.client_secret, basic if self._basic else "")

    def address(self, dataset: str) -> str:
        """Where the records of a dataset are."""
        return f"{self._config.url.rstrip('/')}/data/group/{GROUP}/name/{dataset}"

    def page(self, dataset: str, query: Mapping[str, Any], deadline: Deadline) -> Page:
        """One page of a query; raises SourceError."""
        # Should a gateway lose our Accept header, values are quoted and the text can still be read.
        body = {**query, "delimiter": ",", "quoteValues": True}
        return self._call("POST", self.address(dataset), _read_page, deadline, json=body)

    def partitions(self, dataset: str, deadline: Deadline) -> frozenset[tuple[date, str]]:
        """(weekStartDate, tierIdentifier) of every partition that a dataset has now; raises SourceError."""
        url = f"{self._config.url.rstrip('/')}/partitions/group/{GROUP}/name/{dataset}"
        return self._call("GET", url, _read_partitions, deadline)

    def _call(self, method: str, url: str, read: Callable[[Answer], T], deadline: Deadline, json: Any = None) -> T:
        def request(headers: Mapping[str, str], check: Callable[[Answer], None] = check_status) -> T:
            return self._http.request(
                method, url, read=read, json=json, headers={**_ACCEPT, **headers}, check=check, deadline=deadline
            )

        if not self._basic:
            return request({})
        refused = ""
        for _ in range(_TOKENS):
            token = self._current_token(refused, deadline)
            try:
                return request({"Authorization": f"Bearer {token}"}, _check_token)
            except _TokenRefused as error:
                refused, last = token, error
        raise last

    def _current_token(self, refused: str, deadline: Deadline) -> str:
        """A token that is not ``refused``, asked for anew only if the one at hand ends soon or is that one."""
        with self._lock:
            if self._token in ("", refused) or self._clock() > self._token_end - _RENEW_EARLY:
                token, seconds = self._http.request(
                    "POST",
                    self._config.token_url,
                    params={"grant_type": "client_credentials"},
                    headers={**_ACCEPT, "Authorization": self._basic},
                    read=_read_token,
                    check=_check_credentials,
                    deadline=deadline,
                )
                self._http.hide(token)
                self._token, self._token_end = token, self._clock() + seconds
            return self._token


def _check_token(answer: Answer) -> None:
    if answer.status == 401:
        raise _TokenRefused(
            f"{answer.url} refused the token: {answer.excerpt()}",
            kind="unauthorized",
            hint="check what the credentials FINRA_CLIENT_ID and FINRA_CLIENT_SECRET are entitled to",
        )
    check_status(answer)


def _check_credentials(answer: Answer) -> None:
    if answer.status in (400, 401):
        raise SourceError(
            f"{answer.url} refused the credentials: {answer.excerpt()}",
            kind="unauthorized",
            hint="check FINRA_CLIENT_ID and FINRA_CLIENT_SECRET, or unset both: the data is open to everybody",
        )
    check_status(answer)


def _read_token(answer: Answer) -> tuple[str, float]:
    document = _json_object(answer)
    token, seconds = document.get("access_token"), document.get("expires_in")
    try:
        lifetime = float(seconds)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        lifetime = 0.0
    if not isinstance(token, str) or not token:
        raise Transient(f"{answer.url} answered without a token", kind="bad_answer", hint="try again later")
    return token, lifetime


def _read_partitions(answer: Answer) -> frozenset[tuple[date, str]]:
    if answer.status == 204:
        return frozenset()
    document = _json_object(answer)
    listed = document.get("availablePartitions")
    if listed is None and "no partitions found" in str(document.get("message", "")).lower():
        return frozenset()
    try:
        return frozenset(
            (date.fromisoformat(week), str(tier)) for week, tier in (entry["partitions"] for entry in listed or ())
        )
    except (TypeError, KeyError, ValueError) as error:
        raise _unreadable(answer, "no list of partitions") from error


def _json_object(answer: Answer) -> dict[str, Any]:
    try:
        document = read_json(answer.body)
    except ValueError as error:
        raise _unreadable(answer, str(error)) from error
    if not isinstance(document, dict):
        raise _unreadable(answer, "no JSON object")
    return document


def _read_page(answer: Answer) -> Page:
    """Read an answer to a query: records as JSON or as delimited text, or none at all.

    Raises:
        Transient: kind ``bad_answer``, for anything else.
    """
    try:
        rows, fields = api_payload.read_records(b"" if answer.status == 204 else answer.body)
    except ValueError as error:
        raise _unreadable(answer, str(error)) from error
    # An answer of no content cannot hold records, whether or not it counts them.
    total = whole_number(answer.headers.get("record-total", "0" if answer.status == 204 else ""))
    if total is None:
        raise _unreadable(answer, "no Record-Total")
    return Page(rows, fields, total, answer.headers.get("finra-api-request-id", ""))


def _unreadable(answer: Answer, why: str) -> Transient:
    kind = answer.content_type or "no content type"
    return Transient(
        f"{answer.url} sent an answer that cannot be read ({kind}, {len(answer.body):,} bytes: {why})",
        kind="bad_answer",
        hint="try again later; if it lasts, the service or a gateway on the way to it has changed",
    )
