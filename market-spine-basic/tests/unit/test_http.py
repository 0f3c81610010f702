"""The door to the network, against a real server on this machine; time passes only when it is told to."""

from __future__ import annotations

import gzip
import http.server
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from market_spine.errors import SourceError
from market_spine.sources.answers import Answer, Transient
from market_spine.sources.http import HttpClient, Policy
from market_spine.sources.limits import Deadline, RateLimiter
from market_spine.sources.redaction import redact

pytestmark = pytest.mark.server


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds


Reply = tuple[int, dict[str, str], bytes]


@contextmanager
def serving(answer: Callable[[http.server.BaseHTTPRequestHandler, int], Reply]) -> Iterator[str]:
    """A server that answers the Nth request with ``answer(request, N)``."""
    count = iter(range(1, 1000))

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = answer(self, next(count))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            if len(body) < int(headers.get("Content-Length", 0)):
                self.close_connection = True

        do_POST = do_GET  # noqa: N815 - the name that the base class looks for

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def client(clock: Time) -> Iterator[HttpClient]:
    """Waits 1, 2, 4, ... seconds, without any part left to chance."""
    policy = Policy(attempts=4, timeout=5, first_wait=1.0, longest_wait=3.0, max_bytes=1000)
    made = HttpClient(rate=1e9, policy=policy, clock=clock, sleep=clock.sleep, chance=lambda: 1.0)
    yield made
    made.close()


def body(answer: Answer) -> bytes:
    return answer.body


def waits(clock: Time) -> list[float]:
    return [seconds for seconds in clock.slept if seconds > 1e-6]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
def test_a_passing_failure_is_retried_with_growing_waits(client: HttpClient, clock: Time, status: int) -> None:
    """Three failures, then an answer: waits of one, two and at most three seconds."""
    with serving(lambda _, number: (status, {}, b"") if number < 4 else (200, {}, b"done")) as url:
        assert client.request("GET", url, read=body) == b"done"
    assert waits(clock) == [1, 2, 3]
    assert (client.traffic.requests, client.traffic.retries) == (4, 3)


@pytest.mark.parametrize(
    ("status", "kind", "requests"),
    [
        (400, "refused", 1),
        (401, "unauthorized", 1),
        (403, "forbidden", 1),
        (404, "not_found", 1),
        (429, "rate_limited", 4),
        (500, "server_error", 4),
        (504, "server_error", 4),
    ],
)
def test_a_lasting_failure_has_a_name(client: HttpClient, status: int, kind: str, requests: int) -> None:
    """What cannot get better is asked once, what can four times; message and hint tell what was answered."""
    with serving(lambda *_: (status, {}, b"the reason")) as url, pytest.raises(SourceError) as caught:
        client.request("GET", url, read=body)
    assert (caught.value.kind, client.traffic.requests) == (kind, requests)
    assert str(status) in caught.value.message
    assert "the reason" in caught.value.message
    assert caught.value.hint


def test_chance_shortens_a_wait_by_at_most_half(clock: Time) -> None:
    """With the smallest chance, waits are half of what they can be."""
    client = HttpClient(
        rate=1e9, policy=Policy(attempts=3, first_wait=4), clock=clock, sleep=clock.sleep, chance=lambda: 0
    )
    with serving(lambda *_: (500, {}, b"")) as url, pytest.raises(SourceError):
        client.request("GET", url, read=body)
    client.close()
    assert waits(clock) == [2, 4]


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "17"}, {"Retry-After": "Mon, 23 Nov 2026 10:00:17 GMT", "Date": "Mon, 23 Nov 2026 10:00:00 GMT"}],
)
def test_retry_after_is_waited_for_by_everybody(client: HttpClient, clock: Time, headers: dict[str, str]) -> None:
    """Seconds or a date beside the server's own: the request waits so long, and no other goes out meanwhile."""

    def answer(request: http.server.BaseHTTPRequestHandler, number: int) -> Reply:
        if number == 1:
            request.date_time_string = lambda *_: headers.get("Date", "")  # type: ignore[method-assign]
            return 429, {name: value for name, value in headers.items() if name != "Date"}, b""
        return 200, {}, b"done"

    with serving(answer) as url:
        assert client.request("GET", url, read=body) == b"done"
    assert waits(clock)[0] == 17
    assert clock.now == pytest.approx(17, abs=0.01)


def test_a_retry_after_beyond_the_deadline_is_not_waited_for(client: HttpClient, clock: Time) -> None:
    """Told to come back in an hour with a minute left, the request fails at once, and others may go on."""
    with serving(lambda _, number: (429, {"Retry-After": "3600"}, b"") if number == 1 else (200, {}, b"ok")) as url:
        with pytest.raises(SourceError) as caught:
            client.request("GET", url, read=body, deadline=Deadline(60, clock))
        assert caught.value.kind == "rate_limited"
        assert client.request("GET", url, read=body) == b"ok"
    assert waits(clock) == []


def test_the_deadline_bounds_all_attempts_together(client: HttpClient, clock: Time) -> None:
    """With two and a half seconds, the second wait no longer fits; once it has passed nothing is asked."""
    deadline = Deadline(2.5, clock)
    with serving(lambda *_: (503, {}, b"")) as url:
        with pytest.raises(SourceError) as caught:
            client.request("GET", url, read=body, deadline=deadline)
        assert (caught.value.kind, waits(clock)) == ("server_error", [1])
        clock.now = 3
        with pytest.raises(SourceError) as late:
            client.request("GET", url, read=body, deadline=deadline)
    assert late.value.kind == "timeout"


def test_a_silent_server_times_out(clock: Time) -> None:
    """A server that accepts and says nothing: kind timeout after as many attempts as there are."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        policy = Policy(attempts=2, timeout=0.05, first_wait=0)
        client = HttpClient(rate=1e9, policy=policy, clock=clock, sleep=clock.sleep)
        with pytest.raises(SourceError) as caught:
            client.request("GET", f"http://127.0.0.1:{silent.getsockname()[1]}/", read=body)
        client.close()
    assert (caught.value.kind, client.traffic.requests) == ("timeout", 2)


def test_nobody_there_is_unreachable(client: HttpClient) -> None:
    """A port that nothing listens on, asked as often as there are attempts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SourceError) as caught:
        client.request("GET", f"http://127.0.0.1:{port}/", read=body)
    assert (caught.value.kind, client.traffic.requests) == ("unreachable", 4)


@pytest.mark.parametrize("url", ["ftp://example.org/", "no address", "http://[::1"])
def test_an_address_that_is_none_is_told(client: HttpClient, url: str) -> None:
    """Nothing is retried; the address is named."""
    with pytest.raises(SourceError) as caught:
        client.request("GET", url, read=body)
    assert caught.value.kind == "bad_address"


def test_a_body_that_breaks_off_is_retried(client: HttpClient) -> None:
    """A cut answer is never handed on: the next, whole one is."""
    with serving(
        lambda _, number: (200, {"Content-Length": "9"}, b"cut") if number == 1 else (200, {}, b"whole")
    ) as url:
        assert client.request("GET", url, read=body) == b"whole"


def test_a_damaged_compression_is_retried(client: HttpClient) -> None:
    """Bytes that are no gzip: asked again, and then read decompressed."""
    good = gzip.compress(b"whole")

    def answer(_: object, number: int) -> Reply:
        return 200, {"Content-Encoding": "gzip"}, b"no gzip" if number == 1 else good

    with serving(answer) as url:
        assert client.request("GET", url, read=body) == b"whole"


def test_what_read_cannot_make_sense_of_is_asked_again(client: HttpClient) -> None:
    """``read`` decides: Transient has another try, a SourceError is final."""

    def read(answer: Answer) -> int:
        if answer.body == b"never":
            raise SourceError("never", kind="content")
        if not answer.body.isdigit():
            raise Transient("no number", kind="bad_answer")
        return int(answer.body)

    with serving(lambda _, number: (200, {}, (b"what", b"42", b"never")[number - 1])) as url:
        assert client.request("GET", url, read=read) == 42
        with pytest.raises(SourceError, match="never"):
            client.request("GET", url, read=read)
    assert client.traffic.requests == 3


def test_an_answer_beyond_all_bounds_is_refused(client: HttpClient) -> None:
    """A small compressed answer that swells beyond the limit is not read to its end."""
    swollen = gzip.compress(b"0" * 1_000_000)
    with serving(lambda *_: (200, {"Content-Encoding": "gzip"}, swollen)) as url, pytest.raises(SourceError) as caught:
        client.request("GET", url, read=body)
    assert (caught.value.kind, client.traffic.requests) == ("too_large", 1)


def test_a_redirect_repeats_the_request_as_it_was_and_keeps_cookies(client: HttpClient) -> None:
    """A gateway that sends a POST back with a cookie gets the same POST again, not a GET."""
    seen: list[Any] = []

    def answer(request: http.server.BaseHTTPRequestHandler, _: int) -> Reply:
        seen.append((request.command, request.path, request.headers.get("Cookie")))
        if request.headers.get("Cookie"):
            return 200, {}, b"in"
        return 302, {"Location": "/again", "Set-Cookie": "pass=1; Path=/"}, b""

    with serving(answer) as url:
        assert client.request("POST", url + "/first", json={}, read=body) == b"in"
    assert seen == [("POST", "/first", None), ("POST", "/again", "pass=1")]


def test_redirects_in_a_circle_end(client: HttpClient) -> None:
    """After five redirects it is told that they do not end."""
    with serving(lambda *_: (302, {"Location": "/"}, b"")) as url, pytest.raises(SourceError) as caught:
        client.request("GET", url, read=body)
    assert (caught.value.kind, client.traffic.requests) == ("redirected", 6)


def test_no_credentials_follow_a_redirect_to_another_host(client: HttpClient) -> None:
    """A redirect that leaves the host is refused; the other host is never asked."""
    asked: list[int] = []

    def other(_: object, number: int) -> Reply:
        asked.append(number)
        return 200, {}, b""

    with (
        serving(other) as elsewhere,
        serving(lambda *_: (307, {"Location": elsewhere}, b"")) as url,
        pytest.raises(SourceError) as caught,
    ):
        client.request("GET", url, headers={"Authorization": "Bearer t0ken"}, read=body)
    assert (caught.value.kind, asked) == ("redirected", [])


def test_no_secret_is_in_an_error_a_log_or_an_answer(client: HttpClient, caplog: pytest.LogCaptureFixture) -> None:
    """Keys in the address, hidden values and tokens in what a server echoes are never shown."""
    caplog.set_level(logging.DEBUG)
    client.hide("s3cret/value")

    def answer(*_: object) -> Reply:
        return 400, {}, b'{"error":"key s3cret/value is bad","access_token":"abc.def","url":"?q=s3cret%2Fvalue"}'

    with serving(answer) as url, pytest.raises(SourceError) as caught:
        client.request("GET", url, params={"apikey": "K3Y", "symbol": "AAPL"}, read=body)
    with serving(lambda *_: (200, {}, b"")) as url:
        shown = client.request("GET", f"{url}/?apiKey=K3Y&symbol=AAPL", read=lambda answer: answer.url)
    told = caught.value.message + shown + caplog.text + repr(caught.value.args)
    for secret in ("s3cret", "K3Y", "abc.def"):
        assert secret not in told
    assert "symbol=AAPL" in shown


@pytest.mark.parametrize("before", range(180, 201))
def test_no_half_of_a_secret_is_shown_where_an_answer_is_cut_short(client: HttpClient, before: int) -> None:
    """Wherever the excerpt of a refusal ends, also within a secret, no part of the secret is in it."""
    client.hide("s3cret-value-of-40-characters-0123456789")
    refused = b"." * before + b" s3cret-value-of-40-characters-0123456789"
    with serving(lambda *_: (403, {}, refused)) as url, pytest.raises(SourceError) as caught:
        client.request("GET", url, read=body)
    assert "s3" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pw@host/x?apikey=K&symbol=A", "https://host/x?apikey=***&symbol=A"),
        ("GET /q?outputsize=full&apiKey=K1-2_3", "GET /q?outputsize=full&apiKey=***"),
        ('{"client_secret": "x y", "a": 1}', '{"client_secret": "*** y", "a": 1}'),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("the tokens of a row", "the tokens of a row"),
        ("key figures: 5", "key figures: 5"),
    ],
)
def test_texts_are_shown_without_what_looks_like_a_secret(text: str, shown: str) -> None:
    """Values of fields named like a key or token go, everything else stays."""
    assert redact(text) == shown


def test_requests_are_spaced_evenly_over_threads() -> None:
    """Twenty requests of four threads at ten per second take the slots 0, 0.1, ... 1.9 s, each once."""
    lock, taken = threading.Lock(), []

    def sleep(seconds: float) -> None:
        with lock:
            taken.append(round(seconds, 6))

    limiter = RateLimiter(10, clock=lambda: 0.0, sleep=sleep)

    def five_requests() -> None:
        for _ in range(5):
            limiter.wait()

    threads = [threading.Thread(target=five_requests) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [round(number / 10, 6) for number in range(1, 20)]
