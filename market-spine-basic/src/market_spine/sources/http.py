"""The one door to the network: an HTTP client that retries what deserves it and tells the rest by name.

    client = HttpClient(rate=10)
    rows = client.request("POST", url, json=query, read=parse_rows, deadline=Deadline(600))

A request is retried by the kind of its failure, with jitter, until it succeeds, its attempts are used up or
its deadline would pass. Every failure is a SourceError whose texts hold no secret:

    kind            retried  meaning
    timeout         yes      no answer in time
    unreachable     yes      no connection
    broken_off      yes      the connection ended inside the answer
    rate_limited    yes      429; a Retry-After that fits the deadline is waited for
    server_error    yes      5xx
    bad_answer      yes      an answer that ``read`` could not make sense of
    unauthorized    no       401
    forbidden       no       403
    not_found       no       404
    refused         no       any other 4xx
    redirected      no       more redirects than allowed, or one that leaves the host
    too_large       no       more bytes than allowed
    bad_address     no       the address cannot be used

Every wait ends within a fraction of a second once the run is to stop, by Interrupted.
"""

from __future__ import annotations

import contextlib
import json as json_module
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from market_spine import stopping
from market_spine.errors import SourceError
from market_spine.sources.answers import Answer, Transient, check_status
from market_spine.sources.limits import Deadline, RateLimiter, Seconds, Sleep
from market_spine.sources.redaction import redact

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BYTES = 64 * 2**20
MAX_REDIRECTS = 5


@dataclass(frozen=True, slots=True)
class Policy:
    """When to give up.

    Attributes:
        attempts: how often a request is made at most.
        timeout: seconds to wait for a connection and for each next piece of an answer.
        total: seconds for one answer as a whole, and the longest pause that is made because the other side asks.
        first_wait, longest_wait: seconds before the second attempt, doubling from there to the longest;
            each wait is a random part, at least half, of that.
        max_bytes: largest answer accepted, decompressed.
    """

    attempts: int = 6
    timeout: float = 60.0
    total: float = 300.0
    first_wait: float = 0.5
    longest_wait: float = 30.0
    max_bytes: int = MAX_BYTES


@dataclass
class Traffic:
    """What a client has used so far: requests made, retries among them, and bytes of answers, decompressed."""

    requests: int = 0
    retries: int = 0
    received: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, *, requests: int = 0, retries: int = 0, received: int = 0) -> None:
        """Add to the counts; safe from any thread."""
        with self._lock:
            self.requests += requests
            self.retries += retries
            self.received += received


class HttpClient:
    """One persistent client: keeps connections and cookies; safe to share between threads.

    Args:
        rate: most requests per second.
        policy: when to give up.
        secrets: values that must never be shown; ``hide`` adds to them.
        clock, sleep, chance: time, waiting and a random number in [0, 1), to be replaced in tests.
    """

    def __init__(
        self,
        *,
        rate: float = 10.0,
        policy: Policy | None = None,
        secrets: tuple[str, ...] = (),
        clock: Seconds = time.monotonic,
        sleep: Sleep = stopping.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.policy = policy or Policy()
        self.traffic = Traffic()
        self.limiter = RateLimiter(rate, clock=clock, sleep=sleep)
        self._secrets = set(secrets)
        self._clock, self._sleep, self._chance = clock, sleep, chance
        self._opening = threading.Lock()

    def hide(self, *secrets: str) -> None:
        """Never show these values from now on."""
        self._secrets.update(filter(None, secrets))

    def shown(self, text: str) -> str:
        """``text`` without secrets."""
        return redact(text, tuple(self._secrets))

    def request(
        self,
        method: str,
        url: str,
        *,
        read: Callable[[Answer], T],
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        body: str | None = None,
        deadline: Deadline | None = None,
        check: Callable[[Answer], None] = check_status,
    ) -> T:
        """Make a request and read its answer, repeating both while the failure is transient.

        Args:
            method: ``GET``, ``POST``, ...; it must be safe to repeat.
            url: absolute address.
            read: makes the result of an answer; may raise SourceError, or Transient to have another try.
            params: added to the address.
            headers: beside our own.
            json: sent as the body.
            body: a text that is sent instead.
            deadline: for all attempts and waits together.
            check: raises the error that an answer's status means.

        Raises:
            SourceError: see the module's table; or what ``read`` and ``check`` raised last.
        """
        import stamina

        sent: dict[str, Any] = {"method": method, "url": url, "params": params, "headers": dict(headers or {})}
        if json is not None:
            sent["content"] = json_module.dumps(json, separators=(",", ":"))
            sent["headers"]["Content-Type"] = "application/json"
        elif body is not None:
            sent["content"] = body.encode("utf-8", "backslashreplace")
            sent["headers"]["Content-Type"] = "text/plain; charset=utf-8"
        number = 1

        def again(error: Exception) -> bool | float:
            # stamina has no seam for its sleep; waiting here puts it under our clock and deadline.
            if not isinstance(error, Transient) or number >= self.policy.attempts:
                return False
            wait = self._wait(error, number)
            if wait >= (self.policy.total if deadline is None else deadline.remaining):
                return False
            if error.wait is not None:
                self.limiter.hold(wait)
            logger.info("retrying in %.1f s: %s", wait, error.message, extra={"kind": error.kind, "attempt": number})
            self.traffic.count(retries=1)
            self._sleep(wait)
            return 0.0

        for attempt in stamina.retry_context(on=again, attempts=self.policy.attempts, timeout=None):
            number = attempt.num
            with attempt, self._redacted():
                answer = self._once(sent, deadline)
                check(self._hidden(answer))
                return read(answer)
        raise AssertionError("stamina yields attempts until one succeeds or raises")

    def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        with self._opening:
            client = self.__dict__.pop("_client", None)
        if client is not None:
            client.close()

    @cached_property
    def _client(self) -> httpx2.Client:
        import httpx2

        # Libraries that log on their own would print addresses with keys in them.
        logging.getLogger("httpx2").addFilter(self._hide_in_log)
        logging.getLogger("stamina").addHandler(logging.NullHandler())
        agent = f"market-spine/{version('market-spine-basic')}"
        return httpx2.Client(headers={"User-Agent": agent}, timeout=self.policy.timeout, follow_redirects=False)

    def _hide_in_log(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self.shown(record.getMessage()), ()
        return True

    def _hidden(self, answer: Answer) -> Answer:
        """A refusal without secrets: hidden before its text is cut short, for half a secret is one, too."""
        if 200 <= answer.status < 300:
            return answer
        return replace(answer, body=self.shown(answer.body.decode("utf-8", "replace")).encode())

    def _wait(self, error: Transient, number: int) -> float:
        if error.wait is not None:
            return error.wait
        longest = min(self.policy.longest_wait, self.policy.first_wait * 2 ** (number - 1))
        half: float = longest / 2
        return half + half * self._chance()

    @contextlib.contextmanager
    def _redacted(self) -> Iterator[None]:
        try:
            yield
        except SourceError as error:
            error.message = self.shown(error.message)
            error.args = (error.message,)
            raise

    def _once(self, sent: dict[str, Any], deadline: Deadline | None) -> Answer:
        """One request, with the redirects that stay on its host followed in the same method."""
        with self._opening:
            client = self._client
        for _ in range(MAX_REDIRECTS + 1):
            self.limiter.wait()
            self.traffic.count(requests=1)
            answer, location = self._exchange(client, sent, deadline)
            if location is None:
                return answer
            sent = {**sent, "url": _target(answer, sent["url"], location), "params": None}
        raise SourceError(
            f"{answer.url} redirects in a circle: more than {MAX_REDIRECTS} times",
            kind="redirected",
            hint="a gateway refuses this network or client; try again later",
        )

    def _exchange(
        self, client: httpx2.Client, sent: dict[str, Any], deadline: Deadline | None
    ) -> tuple[Answer, str | None]:
        shown = self.shown(sent["url"])
        left = self.policy.total if deadline is None else min(self.policy.total, deadline.remaining)
        if left <= 0:
            raise _late(shown, deadline)
        ends = Deadline(left)

        def read() -> tuple[int, dict[str, str], bytes]:
            with _translated(shown), client.stream(**sent, timeout=min(self.policy.timeout, left)) as response:
                body = bytearray()
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > self.policy.max_bytes:
                        raise SourceError(
                            f"{shown} answered with more than {self.policy.max_bytes:,} bytes", kind="too_large"
                        )
                    # Nobody waits any more: let go of the connection.
                    if stopping.asked() or not ends.remaining:
                        break
                return response.status_code, {name.lower(): it for name, it in response.headers.items()}, bytes(body)

        try:
            # A name that is looked up, a header that comes byte by byte: neither has a limit of its own.
            status, headers, body = stopping.within(read, left)
            stopping.check()
        except TimeoutError as error:
            raise _late(shown, deadline, left) from error
        if not ends.remaining:
            raise _late(shown, deadline, left)
        self.traffic.count(received=len(body))
        location = headers.get("location") if status in (301, 302, 303, 307, 308) else None
        return Answer(status, headers, body, shown), location


def _late(shown: str, deadline: Deadline | None, seconds: float = 0.0) -> SourceError:
    """Not read in time: if the deadline has passed for good, else to be tried again."""
    if deadline is not None and not deadline.remaining:
        return SourceError(
            f"{shown} was not read within {deadline.seconds:g} s", kind="timeout", hint="try again later"
        )
    return Transient(f"{shown} was not read within {seconds:g} s", kind="timeout", hint="try again later")


def _target(answer: Answer, url: str, location: str) -> str:
    """Where an answer redirects to; raises SourceError, kind ``redirected``, unless it is the same host."""
    try:
        target = urljoin(url, location)
        if urlsplit(target)[:2] == urlsplit(url)[:2]:
            return target
    except ValueError as error:
        raise SourceError(
            f"{answer.url} redirects to an address that is none: {location!r}",
            kind="redirected",
            hint="try again later",
        ) from error
    raise SourceError(
        f"{answer.url} redirects to another host: {target}",
        kind="redirected",
        hint="if the service has moved, configure its new address",
    )


@contextlib.contextmanager
def _translated(shown: str) -> Iterator[None]:
    import httpx2

    try:
        yield
    except httpx2.TimeoutException as error:
        raise Transient(f"{shown} did not answer in time", kind="timeout", hint="try again later") from error
    except httpx2.ConnectError as error:
        raise Transient(
            f"{shown} cannot be reached: {error}", kind="unreachable", hint="check the network and the address"
        ) from error
    except (httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
        raise Transient(f"{shown} broke off: {error}", kind="broken_off", hint="try again later") from error
    except httpx2.DecodingError as error:
        raise Transient(f"{shown} sent a damaged answer: {error}", kind="bad_answer", hint="try again later") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise SourceError(f"{shown} cannot be used: {error}", kind="bad_address", hint="check the address") from error
