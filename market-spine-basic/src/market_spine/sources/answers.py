"""HTTP answers: what they hold, and the errors that their statuses and headers mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from market_spine.errors import SourceError

_EXCERPT = 200
"""How much of an answer an error shows."""
_DIGITS = 15
"""Longest number in a header that is taken for one."""


class Transient(SourceError):
    """A failure that may be gone at the next attempt; raised by ``read`` it has the request repeated.

    Attributes:
        wait: seconds the other side asked to wait, if it did.
    """

    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer read to its end.

    Attributes:
        status: the status code.
        headers: names in lower case.
        body: the content, decompressed.
        url: where it came from, without secrets.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def excerpt(self) -> str:
        """The beginning of the body for an error message."""
        return " ".join(self.body[:_EXCERPT].decode("utf-8", "replace").split())


def check_status(answer: Answer) -> None:
    """Raise the SourceError that an answer's status means; nothing for 2xx."""
    status = answer.status
    if 200 <= status < 300:
        return
    told = f"{answer.url} answered {status}: {answer.excerpt()}" if answer.body else f"{answer.url} answered {status}"
    if status == 429:
        problem = Transient(told, kind="rate_limited", hint="wait, or lower the number of requests")
        problem.wait = _retry_after(answer)
        raise problem
    if status in (408, 425):
        raise Transient(told, kind="timeout", hint="try again later")
    if status >= 500:
        problem = Transient(told, kind="server_error", hint="the service has a problem; try again later")
        problem.wait = _retry_after(answer)
        raise problem
    kind, hint = {
        401: ("unauthorized", "check the credentials"),
        403: ("forbidden", "these credentials, or this network, may not read it"),
        404: ("not_found", "check the address"),
    }.get(status, ("refused", "the service does not accept this request"))
    raise SourceError(told, kind=kind, hint=hint)


def whole_number(text: str) -> int | None:
    """The number that a header gives in plain digits; None if it gives none, or one that nobody would mean."""
    digits = text.strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS else None


def _retry_after(answer: Answer) -> float | None:
    """Seconds of a Retry-After header: a number, or a date beside the answer's own; None if it cannot be read."""
    text = answer.headers.get("retry-after", "").strip()
    if (seconds := whole_number(text)) is not None:
        return float(seconds)
    try:
        until, now = parsedate_to_datetime(text), parsedate_to_datetime(answer.headers.get("date", ""))
        return max(0.0, (until - now).total_seconds())
    except (TypeError, ValueError):
        return None
