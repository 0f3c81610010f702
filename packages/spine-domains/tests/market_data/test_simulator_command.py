"""``market-spine simulate prices`` as a process, and its control while it runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from market_spine.errors import UsageError
from spine.domains.market_data.simulator.cli import simulate
from spine.domains.market_data.simulator.generated import generate_book
from spine.domains.market_data.simulator.server import RunningVendor, running_vendor

from . import patient

pytestmark = pytest.mark.process

NOW = datetime(2026, 11, 21, 17, tzinfo=UTC)


@contextmanager
def command(*arguments: str) -> Iterator[str]:
    """The command as a process; yields the address it prints, and checks that SIGTERM ends it well."""
    program = "from spine.domains.market_data.simulator.cli import simulate; simulate()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--port", "0", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=300) == 0
        process.stdout.close()


def test_serves_until_stopped(tmp_path: Path) -> None:
    """It prints its address, serves by its flags, and ends well on SIGTERM."""
    listed = tmp_path / "symbols.txt"
    listed.write_text("# favourites\nBRK.B  # Berkshire\n\nKO\n")
    flags = ("--vendor", "polygon", "--symbols-file", str(listed), "--split", "KO=2026-11-18:1:4")
    clock = ("--now", "2026-11-21T17:00:00Z", "--frozen", "--plan", "developer", "--set", "status=OK")
    with command(*flags, *clock) as address:
        path = "/v2/aggs/grouped/locale/us/market/stocks/2026-11-20"
        rows = patient.get(f"{address}{path}?apiKey=K").json()["results"]
        assert [row["T"] for row in rows[:2]] == ["BRK.B", "KO"]
        (split,) = patient.get(f"{address}/stocks/v1/splits?ticker=KO&apiKey=K").json()["results"]
        assert (split["ticker"], split["execution_date"]) == ("KO", "2026-11-18")


def test_serves_a_folder(tmp_path: Path) -> None:
    """It serves the bars of a folder, with faults from the start."""
    (tmp_path / "IBM.csv").write_text("date,open,high,low,close,volume\n2026-11-19,1,2,1,2,10\n")
    flags = (
        "--data",
        str(tmp_path),
        "--now",
        "2026-11-21",
        "--fault",
        "empty=every:2",
        "--set",
        "requests_per_second=9",
    )
    with command("--vendor", "alpha_vantage", *flags) as address:
        query = f"{address}/query?function=TIME_SERIES_DAILY&symbol=IBM&apikey=K"
        assert [*patient.get(query).json()["Time Series (Daily)"]] == ["2026-11-19"]
        assert patient.get(query).json() == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--vendor", "stooq"),
        ("--vendor", "polygon", "--plan", "premium"),
        ("--vendor", "polygon", "--set", "colour=red"),
        ("--vendor", "polygon", "--set", "colour"),
        ("--vendor", "polygon", "--fault", "burst=1"),
        ("--vendor", "polygon", "--split", "KO=2026-11-18:4"),
        ("--vendor", "polygon", "--split", "KO=soon:1:4"),
        ("--vendor", "polygon", "--now", "soon"),
        ("--vendor", "polygon", "--seed", "-1"),
    ],
)
def test_bad_arguments(arguments: tuple[str, ...]) -> None:
    """An argument that cannot be used is refused before anything is served, naming the flag."""
    with pytest.raises(UsageError, match=r"^--"):
        CliRunner().invoke(simulate, arguments, catch_exceptions=False)


def test_lists_switches() -> None:
    """It lists what can be switched and what can go wrong."""
    listed = CliRunner().invoke(simulate, ["--vendor", "alpha_vantage", "--switches"]).stdout
    assert {"premium_features", "missing-price", "truncated"} <= set(listed.split())


@pytest.fixture
def served() -> Iterator[RunningVendor]:
    with running_vendor("alpha_vantage", generate_book(1, ["IBM"]), NOW) as vendor:
        yield vendor


def test_control(served: RunningVendor) -> None:
    """Switches, clock and faults are shown and changed over HTTP, and the vendor's limits show what they counted."""
    query = f"{served.url}/query?function=TIME_SERIES_DAILY&symbol=IBM&apikey=K&outputsize=full"
    assert "premium feature" in patient.get(query).json()["Information"]
    changed = patient.post(f"{served.url}/_simulator/vendor", json={"plan": "premium", "premium_features": []}).json()
    assert (changed["switches"]["plan"], changed["switches"]["premium_features"]) == ("premium", [])
    assert changed["used"]["day"] == {"K": 1}
    assert "Time Series (Daily)" in patient.get(query).json()
    patient.post(f"{served.url}/_simulator/clock", json={"now": "2026-11-18T20:00:00Z"})
    refreshed = patient.get(query).json()["Meta Data"]["3. Last Refreshed"]
    assert refreshed == "2026-11-18 15:00:00"
    patient.post(f"{served.url}/_simulator/faults", json={"faults": ["empty=1"]})
    assert patient.get(query).json() == {}
    assert patient.get(f"{served.url}/_simulator/stats").json()["routes"]["query"]["requests"] == 4


@pytest.mark.parametrize("body", [b'{"plan": "gold"}', b'{"colour": 1}', b'["plan"]', b"nonsense"])
def test_control_refuses(served: RunningVendor, body: bytes) -> None:
    """A switch that is not known, a value that it does not take, or no JSON object is 400 with a sentence."""
    answer = patient.post(f"{served.url}/_simulator/vendor", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
