"""One message to one secret address, in bounded time: what goes wrong is told without the address."""

from __future__ import annotations

from contextlib import closing
from typing import Any
from urllib.parse import unquote, urlsplit

from market_spine.errors import MarketSpineError
from market_spine.sources.http import HttpClient, Policy
from market_spine.sources.limits import Deadline
from market_spine.sources.redaction import HIDDEN

ATTEMPTS = 2
TIMEOUT = 3.0
"""Seconds for one attempt."""
SECONDS = 6.5
"""Seconds for a message with its second attempt."""
_PART = 6
"""The shortest piece of an address that is hidden by itself, where an answer repeats it."""


def post(url: str, *, body: str | None = None, json: Any = None, seconds: float = SECONDS) -> None:
    """Send a text or a document.

    Args:
        url: where to; a secret as a whole.
        body: a text.
        json: a JSON-ready document instead.
        seconds: the longest that it may take.

    Raises:
        SourceError: it did not arrive; the kinds are those of ``sources.http``.
        Interrupted: the run is to stop.
    """
    policy = Policy(attempts=ATTEMPTS, timeout=TIMEOUT, total=TIMEOUT, first_wait=0.2, longest_wait=0.2)
    with closing(HttpClient(policy=policy, secrets=pieces(url))) as client:
        try:
            client.request("POST", url, read=lambda _answer: None, body=body, json=json, deadline=Deadline(seconds))
        except MarketSpineError as error:
            if error.kind == "bad_address":  # what is wrong with an address may be a piece of it
                error.message = f"{HIDDEN} is no address that can be used"
            if error.message.startswith(HIDDEN):
                error.message = f"its address{error.message.removeprefix(HIDDEN)}"
            raise


def pieces(url: str) -> tuple[str, ...]:
    """An address and its telling pieces, which must not be shown."""
    try:
        found = urlsplit(url)
        parts = [*found.path.split("/"), *found.query.replace("=", "&").split("&"), found.username, found.password]
    except ValueError:
        parts = [*url.split("/")]
    spelt = {each for part in parts if part for each in (part, unquote(part)) if len(each) >= _PART}
    return (url, *sorted(spelt))
