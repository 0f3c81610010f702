"""FINRA's answers as the client reads them, against a plain server that says whatever it is told to."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from market_spine.errors import SourceError
from market_spine.sources.http import HttpClient, Policy
from market_spine.sources.limits import Deadline
from spine.domains.finra.otc_transparency.api.client import ApiConfig, FinraApi

pytestmark = pytest.mark.server


@pytest.fixture
def answering() -> Iterator[Callable[[dict[str, str], bytes], FinraApi]]:
    """A client of a server that gives one answer to everything."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def make(headers: dict[str, str], body: bytes) -> FinraApi:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                # A question left unread would have the closing connection reset, and the answer lost with it.
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(200)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST  # noqa: N815 - the name that the base class looks for

            def log_message(self, *_: object) -> None:
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        url = f"http://127.0.0.1:{servers[-1].server_port}"
        return FinraApi(ApiConfig(url), HttpClient(rate=1e6, policy=Policy(attempts=1)))

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("total", ["\xb2", "-1", "1.5", "1e3", "many", "", "9" * 5000, "0x1"])
def test_a_record_total_that_is_no_number_makes_the_answer_unreadable(answering: Any, total: str) -> None:
    """A Record-Total that does not count is told as an answer that cannot be read."""
    api = answering({"Record-Total": total}, b"[]")
    with pytest.raises(SourceError) as caught:
        api.page("weeklySummary", {}, Deadline(60))
    assert (caught.value.kind, "no Record-Total" in caught.value.message) == ("bad_answer", True)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"availablePartitions":' + b"[" * 100_000, b'{"a":' * 100_000, b"\xff"]
)
def test_an_answer_nested_too_deep_cannot_be_read(answering: Any, body: bytes) -> None:
    """JSON that would break a parser is told as an answer that cannot be read, records and lists alike."""
    api = answering({"Record-Total": "1"}, body)
    with pytest.raises(SourceError) as page:
        api.page("weeklySummary", {}, Deadline(60))
    with pytest.raises(SourceError) as listed:
        api.partitions("weeklySummary", Deadline(60))
    assert (page.value.kind, listed.value.kind) == ("bad_answer", "bad_answer")
