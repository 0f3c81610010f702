"""Fault switches: which requests go wrong, and how.

A switch is written ``KIND[@ROUTE]=RATE``. RATE is a share of the requests (``0.1``) or ``every:N`` for each
Nth one. Which requests are hit follows from the seed and the request's number alone, so that a run with the
same requests meets the same faults.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from random import Random
from threading import Lock

from market_spine.errors import UsageError

STATUSES = {"403": 403, "429": 429, "429-no-retry-after": 429, "500": 500, "502": 502, "503": 503, "504": 504}
"""Faults that are an answer with an error status; ``429`` comes with Retry-After."""

KINDS = {
    **{kind: f"status {status}" for kind, status in STATUSES.items()},
    "timeout": "the answer comes late",
    "truncated": "the connection closes in the middle of the body",
    "malformed": "a complete answer whose body stops in the middle",
    "wrong-content-type": "an HTML page with status 200",
    "redirect-loop": "redirects without end",
    "cookie-redirect": "redirects until the cookie it sets comes back",
    "reset": "the connection is reset before an answer",
}
"""The faults that any simulator can have: kind to what happens."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One fault switched on.

    Attributes:
        kind: what goes wrong.
        route: the route it is for; None for all.
        rate: share of the requests, 0..1; 0 if ``every`` is set.
        every: hit each Nth request; 0 if ``rate`` is set.
    """

    kind: str
    route: str | None
    rate: float
    every: int

    def __str__(self) -> str:
        where = f"@{self.route}" if self.route else ""
        return f"{self.kind}{where}={f'every:{self.every}' if self.every else f'{self.rate:g}'}"


class Faults:
    """The switches of a simulator, changeable while it runs.

    Args:
        switches: texts such as ``503@data=0.05``.
        seed: equal seeds hit the same requests.
        kinds: further kinds, which the simulator's own routes carry out.
        slow_seconds: how late a ``timeout`` answers.
    """

    def __init__(
        self,
        switches: Iterable[str] = (),
        *,
        seed: int = 1,
        kinds: Collection[str] = (),
        slow_seconds: float = 30.0,
    ) -> None:
        self.slow_seconds = slow_seconds
        self._seed = seed
        self._kinds = (*KINDS, *kinds)
        self._lock = Lock()
        self.set(switches)

    def set(self, switches: Iterable[str]) -> None:
        """Replace all switches and count requests from one again; raises UsageError for a text it cannot read."""
        parsed = [self._parse(text) for text in switches]
        with self._lock:
            self._switches = parsed
            self._seen = [0] * len(parsed)

    def as_list(self) -> list[str]:
        """The switches as texts."""
        return [str(switch) for switch in self._switches]

    def strikes(self, kind: str, route: str) -> bool:
        """Whether this request to ``route`` meets the fault; asking counts as a request."""
        with self._lock:
            hits = [self._hit(index) for index, switch in enumerate(self._switches) if _concerns(switch, kind, route)]
        return any(hits)

    def strike(self, route: str) -> str | None:
        """The kind in ``KINDS`` that this request to ``route`` meets: the first of those that hit it, or None."""
        kinds = dict.fromkeys(switch.kind for switch in self._switches if switch.kind in KINDS)
        hits = [kind for kind in kinds if self.strikes(kind, route)]
        return hits[0] if hits else None

    def _hit(self, index: int) -> bool:
        switch = self._switches[index]
        self._seen[index] += 1
        number = self._seen[index]
        if switch.every:
            return number % switch.every == 0
        # Random is seeded with text: the same on every machine.
        return Random(f"{self._seed}|{switch.kind}|{switch.route}|{number}").random() < switch.rate  # noqa: S311

    def _parse(self, text: str) -> Switch:
        target, _, amount = text.partition("=")
        kind, at, route = target.partition("@")
        if kind not in self._kinds or (at and not route):
            raise UsageError(f"--fault: {text!r} is not allowed; KIND is one of {', '.join(self._kinds)}")
        try:
            every = int(amount.removeprefix("every:")) if amount.startswith("every:") else 0
            rate = 0.0 if every else float(amount)
        except ValueError:
            every, rate = 0, -1.0
        if every < 0 or not 0 <= rate <= 1 or amount == "every:0":
            raise UsageError(
                f"--fault: {text!r} is not allowed; it takes KIND[@ROUTE]=RATE with a share from 0 to 1 or every:N"
            )
        return Switch(kind, route or None, rate, every)


def _concerns(switch: Switch, kind: str, route: str) -> bool:
    return switch.kind == kind and switch.route in {None, route}
