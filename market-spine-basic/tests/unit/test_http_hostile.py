"""Answers that never end, and headers that say nonsense, against real sockets on this machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from market_spine import stopping
from market_spine.errors import Interrupted, SourceError
from market_spine.sources.http import HttpClient, Policy
from market_spine.sources.limits import Deadline

pytestmark = pytest.mark.server


@contextmanager
def wire(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that hands each connection to ``serve``, once a request came, with an event that ends the test."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    def one(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            with suppress(OSError):  # the client may have gone
                serve(connection, over)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.close()


def dripping(head: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Send ``head``, then a byte again and again, faster than any limit between two bytes."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head)
        while not over.wait(0.01):
            connection.sendall(b"x")

    return serve


DRIPS = {
    "silent": lambda connection, over: over.wait(),
    "in the body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
    "in a header": dripping(b"HTTP/1.1 200 OK\r\nX-Long: "),
    "in chunks that stand for nothing": dripping(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\nFFFFFF\r\n"
        b"\x1f\x8b\x08\x08\0\0\0\0\0\x03"
    ),
}


@pytest.mark.parametrize("drip", DRIPS)
def test_an_answer_has_a_limit_as_a_whole(drip: str) -> None:
    """An answer that goes on for ever is a timeout, wherever it is that it never ends."""
    client = HttpClient(rate=1e6, policy=Policy(attempts=1, timeout=60, total=0.2))
    with wire(DRIPS[drip]) as url, pytest.raises(SourceError) as caught:
        client.request("GET", url, read=lambda answer: answer)
    assert caught.value.kind == "timeout"


@pytest.mark.parametrize("drip", DRIPS)
def test_a_deadline_ends_an_answer_that_never_does(drip: str) -> None:
    """The deadline of the work ends an answer in the middle, and no further attempt is made."""
    client = HttpClient(rate=1e6, policy=Policy(attempts=6, first_wait=0, longest_wait=0, timeout=60))
    with wire(DRIPS[drip]) as url, pytest.raises(SourceError) as caught:
        client.request("GET", url, read=lambda answer: answer, deadline=Deadline(0.2))
    assert (caught.value.kind, client.traffic.requests) == ("timeout", 1)


@pytest.mark.parametrize("drip", DRIPS)
def test_a_call_is_left_when_the_run_is_to_stop(drip: str) -> None:
    """Whatever a call is waiting for, it ends by Interrupted once the run is to stop, and is not repeated."""
    asked = threading.Event()

    def serve(connection: socket.socket, over: threading.Event) -> None:
        asked.set()
        DRIPS[drip](connection, over)

    client = HttpClient(rate=1e6, policy=Policy(timeout=60))
    with wire(serve) as url, stopping.heard(asked.is_set), pytest.raises(Interrupted):
        client.request("GET", url, read=lambda answer: answer)
    assert client.traffic.requests == 1


def answering(*headers: str, status: str = "429 Slow") -> Callable[[socket.socket, threading.Event], None]:
    """Answer with these headers and no body, and close."""

    def serve(connection: socket.socket, _over: threading.Event) -> None:
        head = "\r\n".join((f"HTTP/1.1 {status}", *headers, "Content-Length: 0", "Connection: close", "", ""))
        connection.sendall(head.encode("latin-1"))

    return serve


def test_a_pause_that_was_asked_for_is_left_when_the_run_is_to_stop() -> None:
    """A Retry-After of minutes does not make the client deaf."""
    asked = threading.Event()

    def serve(connection: socket.socket, over: threading.Event) -> None:
        answering("Retry-After: 200")(connection, over)
        asked.set()

    with wire(serve) as url, stopping.heard(asked.is_set), pytest.raises(Interrupted):
        HttpClient(rate=1e6).request("GET", url, read=lambda answer: answer)


@pytest.mark.parametrize("value", ["\xb2", "\xbd", "9" * 5000, "-1", "1e3", "0x10", "nan", "inf", "", "Tue, 99 Nov"])
def test_a_retry_after_that_says_nothing_is_no_defect(value: str) -> None:
    """A Retry-After that is no number of seconds and no date is as good as none: the client waits as it sees fit."""
    slept: list[float] = []
    client = HttpClient(rate=1e6, policy=Policy(attempts=2), sleep=slept.append, chance=lambda: 0.0)
    with wire(answering(f"Retry-After: {value}")) as url, pytest.raises(SourceError) as caught:
        client.request("GET", url, read=lambda answer: answer)
    assert (caught.value.kind, [each for each in slept if each > 0.01]) == ("rate_limited", [0.25])


def test_a_retry_after_of_years_is_not_waited_for() -> None:
    """Where no deadline says how long is too long, the policy does."""
    slept: list[float] = []
    client = HttpClient(rate=1e6, policy=Policy(total=300), sleep=slept.append)
    with wire(answering("Retry-After: 999999999999")) as url, pytest.raises(SourceError) as caught:
        client.request("GET", url, read=lambda answer: answer)
    assert (caught.value.kind, client.traffic.requests) == ("rate_limited", 1)
    assert not [each for each in slept if each > 0.01]


@pytest.mark.parametrize("location", ["http://[", "//[::1", "http://\u2100.example", "http://a:b:c/", "\xb2\x80"])
def test_a_location_that_is_no_address_is_a_redirect_that_cannot_be_followed(location: str) -> None:
    """A broken Location is told as such, and never a defect of ours."""
    with (
        wire(answering(f"Location: {location.encode().decode('latin-1')}", status="302 Found")) as url,
        pytest.raises(SourceError) as caught,
    ):
        HttpClient(rate=1e6, policy=Policy(attempts=1)).request("GET", url, read=lambda answer: answer)
    assert caught.value.kind in ("redirected", "bad_address")
