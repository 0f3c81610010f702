"""A request to Massive: its parameters, what it may see, how it is refused, and its pages."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from spine.domains.market_data.simulator.book import Book
from spine.domains.market_data.simulator.exchange import Inquiry, Reply, Strikes, json_reply
from spine.domains.market_data.simulator.massive_bars import PLANS, VendorPlan
from spine.domains.market_data.simulator.switches import MassiveSwitches
from spine.domains.market_data.simulator.trading_day import day_of, new_york

FOREIGN_HOST = "http://foreign.invalid"

NO_KEY = "API Key was not provided"
UNKNOWN_KEY = "Unknown API Key"
THROTTLED = (
    "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue."
    " https://polygon.io/pricing"
)
NOT_ENTITLED = "You are not entitled to this data. Please upgrade your plan at https://massive.com/pricing"
OUT_OF_HISTORY = "Your plan doesn't include this data timeframe. Please upgrade your plan at https://polygon.io/pricing"
NOT_YET = "Attempted to request today's data before end of day. Please upgrade your plan at https://polygon.io/pricing"
BAD_TIME = "Could not parse the time parameter: '{}'. Use YYYY-MM-DD or Unix MS Timestamps"
BACKWARDS = "The parameter 'to' cannot be a time that occurs before 'from'"
ONLY_DAYS = "this simulator serves bars of one day"
NO_DATA = "Data not found."
NO_TICKER = "Ticker not found."

_WORDS = {403: "NOT_AUTHORIZED", 404: "NOT_FOUND"}


class CallRefused(Exception):
    """A request that is answered with an error.

    Args:
        status: the HTTP status.
        text: what the vendor says.
        headers: further headers.
    """

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers

    def reply(self, request_id: str) -> Reply:
        """The error as the vendor words it: under ``message`` for 403 and 404, else under ``error``."""
        word = _WORDS.get(self.status, "ERROR")
        document = {"status": word, "request_id": request_id, "message" if word != "ERROR" else "error": self.text}
        return json_reply(document, self.status, headers=self.headers)


@dataclass(frozen=True)
class MassiveQuery:
    """A request that was let in."""

    call: Inquiry
    now: datetime
    book: Book
    switches: MassiveSwitches
    request_id: str
    strikes: Strikes

    @property
    def plan(self) -> VendorPlan:
        """What the caller may see."""
        return PLANS[self.switches.plan]

    @property
    def today(self) -> date:
        """The day in New York."""
        return new_york(self.now).date()

    @property
    def status(self) -> str:
        """The word for a success."""
        if self.switches.status == "plan":
            return "DELAYED" if self.plan.delayed else "OK"
        return self.switches.status

    @cached_property
    def parameters(self) -> Mapping[str, str]:
        """The parameters: those that the cursor stands for, then those of the address."""
        cursor = self.call.query.get("cursor", "")
        try:
            text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        except ValueError as error:
            raise CallRefused(400, "cursor is not valid") from error
        return {**dict(parse_qsl(text)), **self.call.query}

    @property
    def adjusted(self) -> bool:
        """Whether bars are asked for in today's shares."""
        return self.parameters.get("adjusted", "true").lower() != "false"

    def limit(self, default: int, most: int) -> int:
        """How many items make a page."""
        return min(self.number("limit", default), most) or default

    def number(self, name: str, default: int) -> int:
        """A parameter that is a whole number."""
        text = self.parameters.get(name, str(default))
        if not text.isdecimal():
            raise CallRefused(400, f"{name} must be a whole number")
        return int(text)

    def day(self, name: str, text: str) -> date:
        """A day from text, a date or milliseconds since 1970."""
        try:
            return day_of(int(text)) if text.isdecimal() else date.fromisoformat(text)
        except (ValueError, OverflowError, OSError) as error:
            raise CallRefused(400, BAD_TIME.format(name)) from error

    def next_url(self, path: str, **cursor: object) -> str:
        """The address of the next page, without key."""
        host = FOREIGN_HOST if self.strikes("foreign-next") else self.call.base
        if self.strikes("looping-next"):
            path = self.call.path
            cursor = {name: text for name, text in self.parameters.items() if name not in {"apiKey", "cursor"}}
        token = base64.urlsafe_b64encode(urlencode(cursor).encode()).decode().rstrip("=")
        return f"{host}{quote(path)}?cursor={token}"

    def document(self, results: Any, **further: Any) -> Reply:
        """A success without bars."""
        return json_reply({"results": results, "status": self.status, "request_id": self.request_id, **further})
