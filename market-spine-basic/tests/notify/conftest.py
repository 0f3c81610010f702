"""A real HTTP receiver, and the tiny domain's command to be told about."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from market_spine.cli.main import root
from market_spine.cli.main import run as run_cli


@dataclass(frozen=True)
class Message:
    """What was posted."""

    path: str
    kind: str
    body: str

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Receiver:
    """Keeps what is posted to it, and answers as it is told.

    Attributes:
        url: its address, ending in the secret part.
        status: what it answers.
        echo: it answers with the address that was asked for, as some services do.
        hang: it reads, and never answers until this is set.
    """

    url: str = ""
    status: int = 200
    echo: bool = False
    hang: threading.Event | None = None
    messages: list[Message] = field(default_factory=list)
    on_message: Callable[[Message], None] = lambda _message: None

    @property
    def paths(self) -> list[str]:
        """Where it was posted to, behind its address and without the query."""
        return [message.path.partition("?")[0].removeprefix(f"/{SECRET}") for message in self.messages]


SECRET = "hush-5f0c9a31"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver at an address of its own."""
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            message = Message(self.path, self.headers.get("Content-Type") or "", body)
            if kept.hang is not None:
                kept.hang.wait()
            kept.messages.append(message)
            kept.on_message(message)
            self.send_response(kept.status)
            self.end_headers()
            self.wfile.write(f"{'.' * 190} {self.path} {self.path}".encode() if kept.echo else b"ok")

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    kept.url = f"http://127.0.0.1:{server.server_port}/{SECRET}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield kept
    if kept.hang is not None:
        kept.hang.set()
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Finished:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def quay(tmp_path: Path) -> Path:
    """The folder of the landings."""
    folder = tmp_path / "quay"
    folder.mkdir()
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store that does not exist yet, of either kind."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("new_postgres")())
    return str(tmp_path / "harbor.db")


@pytest.fixture
def cli(harbor: None, database: str, capfd: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Run ``market-spine`` on the database."""

    def call(*arguments: str) -> Finished:
        code = run_cli(root, [*arguments, "--db", database], "market-spine")
        out, err = capfd.readouterr()
        return Finished(code, out, err)

    return call


@pytest.fixture
def load(cli: Callable[..., Finished], quay: Path) -> Callable[..., Finished]:
    """Run the tiny domain's scheduler over days of March 2025, on the tenth."""

    def call(*days: int, flags: tuple[str, ...] = ()) -> Finished:
        wanted = ",".join(f"2025-03-{day:02}" for day in days)
        return cli("schedule", "harbor", "--days", wanted, "--data-dir", str(quay), "--run-date", "2025-03-10", *flags)

    return call
