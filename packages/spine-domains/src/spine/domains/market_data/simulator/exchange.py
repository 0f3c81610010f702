"""A request to a simulated vendor, the reply, and what each vendor's simulator is to its server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from spine.domains.market_data.simulator.switches import Switches

JSON = "application/json"
CSV = "text/csv"
HTML = "text/html"
TEXT = "text/plain; charset=utf-8"

Strikes = Callable[[str], bool]
"""Whether this request meets a fault of the vendor's own."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A request.

    Attributes:
        path: decoded, without query.
        parameters: the parts of the path that its template names.
        query: what stands behind the question mark; of a repeated name the last.
        headers: by lower-case name.
        base: scheme, host and port that the caller used.
    """

    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    base: str = "http://127.0.0.1"


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back."""

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class SimulatedVendor(Protocol):
    """A simulated vendor: a function of the request, the moment, its switches and the requests before."""

    @property
    def switches(self) -> Switches:
        """How it behaves."""

    @property
    def paths(self) -> Mapping[str, str]:
        """Its endpoints: name to path template."""

    @property
    def faults(self) -> Mapping[str, str]:
        """Its own faults: kind to what the answer is."""

    def answer(self, endpoint: str, call: Inquiry, now: datetime, strikes: Strikes) -> Reply:
        """The reply to a request to one of its endpoints, or to another path, that came at ``now``."""

    def refusal(self, status: int) -> Reply:
        """What an error status of the gateway carries."""

    def used(self, now: datetime) -> Mapping[str, Mapping[str, int]]:
        """Requests counted by each limit and key at ``now``."""


def json_reply(
    document: Any, status: int = 200, *, indent: int | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """A JSON document, indented or without a blank."""
    separators = (",", ":") if indent is None else None
    return Reply(json.dumps(document, indent=indent, separators=separators).encode(), status, JSON, headers or {})
