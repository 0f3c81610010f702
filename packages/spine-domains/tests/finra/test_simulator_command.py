"""The command ``market-spine simulate finra`` as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from spine.domains.finra.otc_transparency.simulator.cli import parse_rows

pytestmark = pytest.mark.process

COMMAND = [sys.executable, "-c", "from market_spine.cli.main import main; main()", "simulate", "finra"]


@contextmanager
def process(*flags: str) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    with subprocess.Popen(
        [*COMMAND, "--port", "0", *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        address = running.stdout.readline().strip()
        try:
            with httpx2.Client(base_url=address, timeout=300) as client:
                yield running, client
        finally:
            running.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_address_and_clean_end(number: signal.Signals) -> None:
    """It prints its address, answers there, and ends with exit code 0 and no complaint when told to."""
    with process("--now", "2025-12-23", "--frozen", "--rows", "50", "--fault", "503@data=every:1") as (running, client):
        newest = client.get("/partitions/group/otcMarket/name/weeklySummary").json()["availablePartitions"][0]
        assert newest == {"partitions": ["2025-12-01", "T1"]}
        assert client.get("/_simulator/clock").json() == {"now": "2025-12-23T17:00:00+00:00", "frozen": True}
        assert client.get("/data/group/otcMarket/name/weeklySummary").status_code == 503
        running.send_signal(number)
        out, err = running.communicate(timeout=300)
        assert (running.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    "flags",
    [
        ("--now", "tomorrow"),
        ("--fault", "earthquake=1"),
        ("--rows", "T9=5"),
        ("--rows", "0"),
        ("--revised", "2"),
        ("--empty", "404"),
        ("--data", "nowhere"),
        ("--port", "70000"),
    ],
)
def test_usage_errors(flags: tuple[str, str], tmp_path: Path) -> None:
    """A flag that cannot be used is one line that names it, and exit code 1."""
    done = subprocess.run(
        [*COMMAND, "--port", "0", *flags], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert flags[0] in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_rows_of_each_tier() -> None:
    """Rows are one number for all tiers, numbers by tier, or those of the real market."""
    assert parse_rows("50") == {"T1": 50, "T2": 50, "OTCE": 50}
    assert parse_rows("T1=2000, OTCE=30") == {"T1": 2000, "T2": 1000, "OTCE": 30}
    assert parse_rows("full") == {"T1": 72_000, "T2": 168_000, "OTCE": 24_000}
