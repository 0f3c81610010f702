"""A PostgreSQL whose connections freeze: what we send is acknowledged, and no answer ever comes."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from market_spine import registry, stopping
from market_spine.app.scheduling import SchedulerResult
from market_spine.errors import Interrupted, StoreError
from market_spine.store import open_writer, opening, parse_url

if TYPE_CHECKING:
    from tests.faults.conftest import Finra


class Proxy:
    """Stands between clients and a PostgreSQL; told to freeze, it goes on reading and passes nothing on.

    Attributes:
        frozen: no byte is passed on, of old connections and new ones.
        seen: how many bytes came from clients while frozen.
    """

    def __init__(self, address: str) -> None:
        host = unquote(re.search(r"host=([^&]+)", address)[1])  # type: ignore[index]
        self._server = f"{host}/.s.PGSQL.5432"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._cold: set[int] = set()
        self._count = 0
        self._sockets: list[socket.socket] = []
        self.frozen = threading.Event()
        self.seen = threading.Event()
        port = self._listener.getsockname()[1]
        self.address = re.sub(r"host=[^&]+&?", "", address).replace("@/", f"@127.0.0.1:{port}/")
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze_present(self) -> None:
        """Freeze the connections there are; new ones work."""
        with self._lock:
            self._cold.update(range(self._count))

    def freeze_future(self) -> None:
        """Freeze the connections to come."""
        with self._lock:
            self._cold.update(range(self._count, self._count + 1000))

    def close(self) -> None:
        """Let everybody go."""
        self._listener.close()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with self._lock:
                    number, self._count = self._count, self._count + 1
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._sockets += [client, server]
                for source, target, up in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass, args=(number, source, target, up), daemon=True).start()

    def _pass(self, number: int, source: socket.socket, target: socket.socket, up: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.frozen.is_set() or number in self._cold:
                    if up:
                        self.seen.set()
                    continue
                target.sendall(data)
        if not (self.frozen.is_set() or number in self._cold):
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(new_postgres: Callable[[], str], record_property: Any) -> Iterator[Proxy]:
    """A proxy before a fresh schema."""
    record_property("freezes", 1)
    found = Proxy(new_postgres())
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen connections are noticed at once, and forgotten between tests."""
    from market_spine.store.postgres import watching

    monkeypatch.setattr(watching, "LOOK_AFTER", 0.2)
    monkeypatch.setattr(watching, "ANSWER_WITHIN", 2.0)
    monkeypatch.setattr(watching, "_frozen", {})


def test_a_frozen_connection_is_given_up(proxy: Proxy) -> None:
    """Where the server is not at work for a statement that gets no answer, it fails as store_unavailable."""
    with closing(opening.for_reading(parse_url(proxy.address), 5)) as db:
        assert db.rows("SELECT 1") == [(1,)]
        proxy.freeze_present()
        with pytest.raises(StoreError) as caught:
            db.rows("SELECT 2")
    assert (caught.value.kind, "has frozen" in caught.value.message) == ("store_unavailable", True)


def test_a_server_that_answers_nobody_is_given_up_and_not_asked_again(proxy: Proxy) -> None:
    """Where new connections freeze, too, the statement fails, and the next one at once."""
    with closing(opening.for_reading(parse_url(proxy.address), 5)) as db:
        proxy.frozen.set()
        with pytest.raises(StoreError, match="has frozen"):
            db.rows("SELECT 2")
        with pytest.raises(StoreError, match="just frozen"):
            db.rows("SELECT 3")
        with pytest.raises(StoreError, match="just frozen"):
            opening.for_reading(parse_url(proxy.address), 5)


def test_a_statement_that_takes_long_is_waited_for(proxy: Proxy) -> None:
    """A server that is at work is not taken for a frozen connection, however long it says nothing."""
    with closing(opening.for_reading(parse_url(proxy.address), 5)) as db:
        assert db.rows("SELECT 1 FROM pg_sleep(2.5)") == [(1,)]


def test_a_statement_is_left_when_the_run_is_to_stop(proxy: Proxy) -> None:
    """Whoever waits for a frozen connection hears that the run is to stop."""
    with closing(opening.for_reading(parse_url(proxy.address), 5)) as db:
        proxy.frozen.set()
        with stopping.heard(proxy.seen.is_set), pytest.raises(Interrupted):
            db.rows("SELECT 2")


def test_a_wait_for_a_lock_is_left_and_cancelled_when_the_run_is_to_stop(new_postgres: Callable[[], str]) -> None:
    """Whoever waits for another's lock hears that the run is to stop, and the server waits for it no longer."""
    url = parse_url(new_postgres())
    waiting = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with (
        closing(opening._for_writing(url, 60, False)) as holder,
        closing(opening._for_writing(url, 60, False)) as other,
        closing(opening.for_reading(url, 60)) as look,
    ):
        holder.begin("a lock of this test")
        with stopping.heard(lambda: look.rows(waiting) != [(0,)]), pytest.raises(Interrupted):
            other.begin("a lock of this test")
        while look.rows(waiting) != [(0,)]:
            pass


def test_a_connection_that_freezes_while_it_is_made_is_left(proxy: Proxy) -> None:
    """A server that accepts and never greets is given up, by the run's end or by the time for a connection."""
    proxy.frozen.set()
    with stopping.heard(proxy.seen.is_set), pytest.raises(Interrupted):
        open_writer(parse_url(proxy.address), registry.domains())
    with pytest.raises(StoreError) as caught:
        open_writer(parse_url(f"{proxy.address}&connect_timeout=2"), registry.domains())
    assert caught.value.kind == "store_unavailable"


def test_sigterm_is_heard_while_the_database_is_frozen(finra: Finra, proxy: Proxy, tmp_path: Path) -> None:
    """SIGTERM during a run whose database has frozen: one JSON document that says so, and exit code 1."""
    db = proxy.address
    finra.load(db, finra.first)
    proxy.freeze_future()
    command = [sys.executable, "-m", "market_spine", *finra.arguments(db, finra.restated)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert proxy.seen.wait(60)
        process.send_signal(signal.SIGTERM)
        stdout, _ = process.communicate(timeout=60)
    result = SchedulerResult.from_json(stdout)
    assert (process.returncode, result.error and result.error.kind) == (1, "interrupted")
