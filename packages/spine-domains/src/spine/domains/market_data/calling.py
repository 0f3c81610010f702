"""One call to a vendor: within the quota that the ledger keeps, again where that helps, refusals remembered."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from market_spine.core import calendar
from market_spine.core.capture import Part
from market_spine.core.partition import Partition
from market_spine.core.ports import Clock, Reader, RequestLedger
from market_spine.core.quota import CALLS, InHand, Limit, PlannedCall, Refusal, key_hash, next_day, quota_spent
from market_spine.errors import SourceError
from market_spine.sources.redaction import redact
from spine.domains.market_data.vendors import FETCHED_AT, Call, Finding, FindingKind, Vendor

if TYPE_CHECKING:
    from market_spine.sources.answers import Answer
    from market_spine.sources.http import HttpClient

logger = logging.getLogger(__name__)

KEY = "key"
"""The capability that a refused key lacks: any call, until the key is right."""
SERVICE = "service"
"""The capability that an outage takes away."""

PATIENCE = timedelta(minutes=15)
"""The longest wait for a free slot, beside the floor; a day's quota is not waited for."""
_TURNS = 3
"""How often a free slot is waited for without taking it, while others may take it first."""
_ANSWERED = timedelta(seconds=30)
"""So long a symbol is left to the run that asked for it, until its answer is in the database."""
_GLANCE = timedelta(seconds=1)
WAITS = (5.0, 20.0, 60.0)
"""Seconds before each further attempt after a throttle or a passing failure."""

_PLAN_MEMORY = timedelta(days=7)
"""How long a refusal of a plan is believed: plans and entitlements change."""
_KEY_MEMORY = timedelta(minutes=10)
_PAUSE_MEMORY = timedelta(minutes=2)
_OUTAGE = 2
"""So many calls in a row that all attempts were in vain for are the vendor's trouble, not a symbol's."""


class NoLongerDue(Exception):
    """While this run waited for its turn, another one fetched what it was about to ask for."""


HINTS = {
    "auth": "check the key in {keys}; a free one is at the vendor's site",
    "entitlement": "the plan of this key does not include it: use --outputsize compact, or a larger plan",
    "not_yet": "the vendor gives out this session after its day: run again tomorrow",
    "out_of_history": "the plan of this key does not reach back so far: use --outputsize compact, or a larger plan",
    "unknown_symbol": "check spelling and case of the symbol; it may also be delisted or not a US listing",
    "no_data": "check spelling and case of the symbol; it may also be delisted or not have traded",
    "bad_request": "{url} does not take this request: check the address, or report a defect",
    "transient": "the vendor has a problem; run again later: only what is missing will be fetched",
    "throttle": "run again later, or raise --sleep: only what is missing will be fetched",
    "unknown": "read the vendor's words; if they are new, report them",
}
_KINDS = {
    "entitlement": "not_entitled",
    "transient": "unreachable",
    "throttle": "throttled",
    "unknown": "unknown_answer",
}
"""Finding to the kind of our error, where the words differ."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a vendor is reached.

    Attributes:
        url: its address.
        key: its key; shown nowhere.
        limits: what the key's plan allows.
        floor: the least time between two calls of this run.
        caller: names this run in the ledger.
        ledger: opens the quota ledger.
        clock: tells the present.
        pause: waits so many seconds.
        reader: opens the store that is asked what is known.
    """

    url: str
    key: str = field(repr=False)
    limits: tuple[Limit, ...]
    floor: timedelta
    caller: str
    ledger: Callable[[], RequestLedger]
    clock: Clock
    pause: Callable[[float], None]
    reader: Callable[[], Reader]


class Caller:
    """Makes calls to one vendor with one key. Picklable; threads share its connections."""

    def __init__(self, vendor: Vendor, access: Access) -> None:
        self.vendor = vendor
        self.access = access
        self._client: HttpClient | None = None
        self._in_vain = 0
        self._opening = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Caller, (self.vendor, self.access)

    def call(
        self, partition: Partition, call: Call, still: Callable[[], bool] = lambda: True
    ) -> tuple[Part | None, Finding]:
        """Make one call; a refusal that something can be made of comes back as a finding, without a part.

        Args:
            partition: what it is for.
            call: what to ask.
            still: asked, after a wait for a free slot, whether the answer is still wanted.

        Raises:
            NoLongerDue: it is not.
            SourceError: ``quota_exhausted``, ``auth``, ``throttled``, ``unreachable``; as the HTTP client does where
                no repetition helps.
        """
        finding = Finding("unknown")
        for wait in (*WAITS, None):
            fetched_at = self._reserve(partition, still)
            finding, answer = self._attempt(call)
            if finding.kind != "transient":
                self._in_vain = 0
            if finding.kind == "ok" and answer is not None:
                metadata = {**call.params, "form": call.form, FETCHED_AT: fetched_at.isoformat()}
                return Part(call.part, answer.body, f"{self.vendor.name}{call.path}", metadata), finding
            if finding.kind == "daily_quota":
                raise self._spent(finding)
            if finding.kind == "auth":
                self.learn(KEY, finding, _KEY_MEMORY)
                raise self.error(finding)
            if finding.kind not in ("throttle", "transient"):
                return None, finding
            if wait is not None:
                seconds = (_retry_after(answer.headers) if answer else None) or wait
                logger.info("trying again in %g s: %s", seconds, finding.message)
                self.access.pause(seconds)
        if finding.kind == "throttle":
            self.learn(CALLS, finding, _PAUSE_MEMORY)
        else:
            self._in_vain += 1
            if self._in_vain >= _OUTAGE:
                self.learn(SERVICE, finding, _PAUSE_MEMORY)
        raise self.error(finding)

    def today(self) -> date:
        """The day in New York."""
        return self.access.clock().astimezone(calendar.ZONE).date()

    def error(self, finding: Finding, learnt: str = "") -> SourceError:
        """The error that a finding means to us."""
        hint = HINTS[finding.kind].format(keys=" or ".join(self.vendor.key_variables), url=self.access.url)
        verb = "cannot be used" if finding.kind == "transient" else "refuses"
        message = f"{self.vendor.name} {verb}: {finding.message}{learnt}"
        return SourceError(message, hint=hint, kind=_KINDS.get(finding.kind, finding.kind))

    def learn(self, capability: str, finding: Finding, memory: timedelta = _PLAN_MEMORY) -> None:
        """Remember a refusal for all runs with this key."""
        now = self.access.clock()
        refusal = Refusal(self.vendor.name, self.hash, capability, finding.message, now, now + memory)
        with self._ledger() as ledger:
            ledger.refuse(refusal)

    def refused(self, capability: str) -> Refusal | None:
        """The refusal of a capability that is remembered."""
        with self._ledger() as ledger:
            return ledger.refusal(self.vendor.name, self.hash, capability)

    def respect(self, capability: str, kind: FindingKind) -> None:
        """Raise the error of a remembered refusal, without asking again."""
        if refusal := self.refused(capability):
            learnt, until = (f"{moment:%Y-%m-%d %H:%M} UTC" for moment in (refusal.learnt_at, refusal.expires_at))
            raise self.error(Finding(kind, refusal.reason), f" (learnt {learnt}; not asked again until {until})")

    def _attempt(self, call: Call) -> tuple[Finding, Answer | None]:
        from market_spine.sources.answers import Transient

        try:
            answer = self._get(call)
        except Transient as error:
            return Finding("transient", error.message), None
        finding = self.vendor.classify(answer.status, answer.body)
        return replace(finding, message=redact(finding.message, (self.access.key,))), answer

    def _reserve(self, partition: Partition, still: Callable[[], bool]) -> datetime:
        """Wait for a free slot, take it, and wait until it is there; the moment before the call goes out."""
        request = PlannedCall(self.vendor.name, self.hash, partition.key, self.access.caller)
        floor = self.access.floor
        bounds: Any = {"floor": floor, "patience": PATIENCE + floor}
        for _ in range(_TURNS):
            with self._ledger() as ledger:
                wait = ledger.wait(request, self.access.limits, **bounds)
            if not self._waited(wait, still):
                break
        while True:
            # Only now is the slot taken: one that is not needed any more must not count against the quota.
            try:
                with self._ledger() as ledger:
                    wait = ledger.reserve(request, self.access.limits, **bounds, alone=_ANSWERED)
                break
            except InHand:
                logger.info("another run is asking for %s: waiting for what it finds", partition.key)
                self._waited(_GLANCE, still)
        self._waited(wait, still)
        return self.access.clock()

    def _waited(self, wait: timedelta, still: Callable[[], bool]) -> bool:
        if wait <= timedelta():
            return False
        self.access.pause(wait.total_seconds())
        if not still():
            raise NoLongerDue
        return True

    def _get(self, call: Call) -> Answer:
        headers, params = self.vendor.credentials(self.access.key)
        with self._opening:
            if self._client is None:
                self._client = _new_client(self.access)
        return self._client.request(
            "GET",
            self.access.url.rstrip("/") + call.path,
            params={**call.params, **params},
            headers={"Accept": "*/*", **headers},
            read=lambda answer: answer,
            check=lambda _answer: None,
        )

    def _spent(self, finding: Finding) -> SourceError:
        """The day's quota is gone: remember it until the next day begins in New York."""
        now = self.access.clock()
        midnight = next_day(now)
        self.learn(CALLS, finding, midnight - now)
        return quota_spent(self.vendor.name, midnight, finding.message)

    @contextmanager
    def _ledger(self) -> Iterator[RequestLedger]:
        with closing(self.access.ledger()) as ledger:
            yield ledger

    @property
    def hash(self) -> str:
        """What the key is called in the ledger."""
        return key_hash(self.access.key)


def _new_client(access: Access) -> HttpClient:
    """A client that makes each request once: every attempt has to stand in the ledger before it is made."""
    from market_spine.sources.http import HttpClient, Policy

    return HttpClient(rate=100.0, policy=Policy(attempts=1, timeout=30.0, total=120.0), secrets=(access.key,))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header, where it has a number of them; at most a minute."""
    from market_spine.sources.answers import whole_number

    seconds = whole_number(headers.get("retry-after", ""))
    return None if seconds is None else min(float(seconds), WAITS[-1])
