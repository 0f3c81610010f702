"""``market-spine web`` as a process: it starts, answers, and ends when it is told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from .conftest import Story

pytestmark = [pytest.mark.process, pytest.mark.server]


def ask_at_length(address: str, length: int) -> bytes:
    """What the console answers, if anything, to a query of so many bytes."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        with suppress(ConnectionError):
            connection.sendall(b"GET /?q=" + b"x" * length + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return connection.recv(100)


def niceness(process: int) -> set[int]:
    """How far the threads of a process stand back behind others, more than this one does."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    threads = [int(each.name) for each in Path(f"/proc/{process}/task").iterdir()]
    found = {os.getpriority(os.PRIO_PROCESS, each) for each in threads}
    return {each - own for each in found}


def test_it_serves_until_it_is_told_to_stop(story: Story) -> None:
    """The command says where it listens, answers there behind other programs, and ends with 0 on SIGTERM."""
    command = [sys.executable, "-m", "market_spine", "web", "--db", story.db, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = line.removeprefix("Market Spine console: ").strip()
            assert address.startswith("http://127.0.0.1:"), line
            with httpx2.Client(base_url=address, timeout=60) as client:
                assert client.get("/").status_code == 200
                assert client.get("/d/finra/p/2025-11-21%7COTC").status_code == 200
                assert client.get("/", headers={"host": "evil.example"}).status_code == 400
                assert ask_at_length(address, 1_000_000).startswith(b"HTTP/1.1 4")
                assert client.get("/healthz").text == "ok\n"
            assert not sys.platform.startswith("linux") or {0, 5} <= niceness(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_are_not_let_in(tmp_path: Path, host: str) -> None:
    """Listening beyond this machine is refused as long as nobody is asked who they are."""
    command = [sys.executable, "-m", "market_spine", "web", "--db", str(tmp_path / "x.db"), "--host", host]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"--host: {host}" in done.stderr
