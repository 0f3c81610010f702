"""Pings to a health check: what is told, when, and that a failing one costs a log line and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from market_spine.app.scheduling import SCHEMA_VERSION, SchedulerResult, SchedulerStats, SchedulerStatus
from market_spine.cli import telling
from market_spine.errors import SourceError, UsageError
from market_spine.notify import posting
from market_spine.notify.pings import LONGEST, Pings, address, summary

pytestmark = pytest.mark.server

SECRET = "hush-5f0c9a31"


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Pings are the same on every store."""
    return str(tmp_path / "harbor.db")


@pytest.fixture
def checked(receiver: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The receiver, named as the health check."""
    monkeypatch.setenv("HEALTHCHECK_URL", f"{receiver.url}?create=1")
    return receiver


def test_a_run_is_told_at_its_start_and_at_its_end(checked: Any, load: Callable[..., Any], quay: Path) -> None:
    """A good run is /start and /0 with one rid, the check's own query kept, and the counts in the body."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    assert load(1).code == 0
    assert checked.paths == ["/start", "/0"]
    queries = [parse_qs(urlsplit(message.path).query) for message in checked.messages]
    assert queries[0] == queries[1] == {"create": ["1"], "rid": queries[0]["rid"]}
    first, counts, run, *_ = checked.messages[1].body.splitlines()
    assert first == "harbor daily_landings: success (exit code 0)"
    assert counts.startswith("1 partitions attempted, 1 succeeded, 0 failed, 0 skipped, in ")
    assert run.startswith("run 2")


@pytest.mark.parametrize(("setting", "path"), [(None, "/2"), ("fail", "/2"), ("success", "/0"), ("nonsense", "/2")])
def test_whether_partial_counts_as_failure_is_a_setting(
    checked: Any,
    load: Callable[..., Any],
    quay: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: str | None,
    path: str,
) -> None:
    """A partial run is told as exit code 2, which health checks count as failure, or as 0 where that is asked for."""
    if setting:
        monkeypatch.setenv("HEALTHCHECK_PARTIAL", setting)
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    done = load(1, 2)
    assert done.code == 2
    assert checked.paths == ["/start", path]
    body = checked.messages[1].body
    assert "partial (exit code 2)" in body
    assert "failed 2025-03-02 ingest_day: late: " in body
    assert ("HEALTHCHECK_PARTIAL" in done.stderr) == (setting == "nonsense")


def test_a_dry_run_is_not_told(checked: Any, load: Callable[..., Any], quay: Path) -> None:
    """A dry run says nothing about whether the job lives."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    assert load(1, flags=("--mode", "dry-run")).code == 0
    assert load(1, flags=("--mode=dry-run", "--nonsense")).code == 1
    assert checked.messages == []


def test_a_decision_is_not_told(checked: Any, cli: Callable[..., Any]) -> None:
    """A person's decision is no run of the job."""
    assert cli("accept", "harbor:2025-03-01:20250310", "--reason", "seen").code == 1
    assert checked.messages == []


def test_a_run_without_a_database_is_told(
    checked: Any, load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    """Where the database cannot be used, the check hears of it."""
    Path(database).write_text("this is no database, but a text of some length\n" * 100)
    done = load(1)
    assert done.code == 1
    assert checked.paths == ["/start", "/1"]
    assert "\nstore_unavailable: " in checked.messages[1].body


@pytest.mark.parametrize("flags", [("--nonsense",), ("--mode", "nonsense"), ("--workers", "0"), ("--log-level", "x")])
def test_a_job_with_a_wrong_flag_is_told(checked: Any, load: Callable[..., Any], flags: tuple[str, ...]) -> None:
    """A job whose flags are wrong ends with exit code 1, and the check hears why, whoever refuses the flag."""
    done = load(1, flags=flags)
    assert done.code == 1
    assert checked.paths[-1] == "/1"
    assert flags[0] in checked.messages[-1].body


@pytest.mark.parametrize(
    "url",
    [
        f"http://127.0.0.1:1/{SECRET}",
        f"https://127.0.0.1:1/{SECRET}",
        f"http://{SECRET}.invalid/ping",
        f"http://127.0.0.1:{SECRET}/ping",
        f"ftp://127.0.0.1/{SECRET}",
        f"http://[::1/{SECRET}",
        f"{SECRET}",
        f"http://ann:{SECRET}@127.0.0.1:1/ping?key={SECRET}",
    ],
)
def test_a_ping_that_fails_is_a_log_line(
    load: Callable[..., Any], quay: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """An address that cannot be reached or used is logged without showing it; result and exit code are the run's."""
    monkeypatch.setenv("HEALTHCHECK_URL", url)
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    done = load(1, flags=("--json", "--log-level", "DEBUG"))
    assert done.code == 0
    assert json.loads(done.stdout)["status"] == "success"
    errors = [json.loads(line) for line in done.stderr.splitlines() if '"ERROR"' in line]
    assert [error["message"].partition(":")[0] for error in errors] == [
        "the health check was not told /start",
        "the health check was not told /0",
    ]
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("status", [404, 410, 500])
def test_a_refused_ping_is_a_log_line(checked: Any, load: Callable[..., Any], quay: Path, status: int) -> None:
    """A service that refuses and repeats the address in its answer gets a log line that does not show it."""
    checked.status, checked.echo = status, True
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    done = load(1)
    assert done.code == 0
    assert str(status) in done.stderr
    for part in (SECRET, SECRET[:8]):
        assert part not in done.stdout + done.stderr


def test_a_check_that_never_answers_is_left_alone(
    checked: Any, load: Callable[..., Any], quay: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that takes the connection and never answers costs bounded time."""
    monkeypatch.setattr(posting, "TIMEOUT", 0.2)
    checked.hang = threading.Event()
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    done = load(1)
    assert done.code == 0
    assert "was not told /0" in done.stderr


def test_what_hangs_beyond_all_bounds_is_left_behind(
    checked: Any, load: Callable[..., Any], quay: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Telling as a whole is given up after its time, and the run's answer stands."""
    forever = threading.Event()
    monkeypatch.setattr(telling, "SECONDS", 0.05)
    monkeypatch.setattr(Pings, "end", lambda _self, _result: forever.wait())
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    done = load(1)
    forever.set()
    assert done.code == 0
    assert "the health check could not be told: it took too long" in done.stderr


def test_the_address_may_stand_in_a_file(
    receiver: Any, load: Callable[..., Any], quay: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``HEALTHCHECK_URL_FILE`` names a file with the address; one that cannot be read is a log line."""
    (tmp_path / "address").write_text(f"{receiver.url}\n")
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    monkeypatch.setenv("HEALTHCHECK_URL_FILE", str(tmp_path / "address"))
    assert load(1).code == 0
    assert receiver.paths == ["/start", "/0"]
    monkeypatch.setenv("HEALTHCHECK_URL_FILE", str(tmp_path / "absent"))
    done = load(1)
    assert done.code == 0
    assert "HEALTHCHECK_URL_FILE" in done.stderr


def test_the_end_waits_for_the_start() -> None:
    """However slow the start's ping is, the end is told after it."""
    told: list[str] = []
    slow = threading.Event()

    def send(url: str, *, body: str) -> None:
        place = urlsplit(url).path
        if place == "/start":
            slow.wait(5)
        told.append(place)

    pings = Pings("https://check.example", send=send)
    pings.start()
    ending = threading.Thread(target=pings.end, args=(outcome(SchedulerStatus.SUCCESS),))
    ending.start()
    slow.set()
    ending.join()
    assert told == ["/start", "/0"]


def test_addresses() -> None:
    """The path is added behind the check's own, before its query; what is no web address is refused unseen."""
    assert address("https://hc-ping.com/abc", "start", "r") == "https://hc-ping.com/abc/start?rid=r"
    assert address("https://h.example/k/slug/?create=1#x", "2", "r") == "https://h.example/k/slug/2?create=1&rid=r"
    for url in ("ftp://h/abcdefgh", "abcdefgh", "http://", "http://[::1/abcdefgh"):
        with pytest.raises(UsageError) as caught:
            address(url, "0", "r")
        assert "abcdefgh" not in str(caught.value)


def test_a_summary_is_short() -> None:
    """A run with very many warnings makes a body below what every service keeps, and says that there is more."""
    text = summary(outcome(SchedulerStatus.FAILURE, warnings=("a long warning " * 10,) * 1000))
    assert LONGEST < len(text) < 10_000
    assert text.endswith("... and more: market-spine runs --json")


def test_posting_hides_the_address_and_its_pieces(receiver: Any) -> None:
    """Of an answer that repeats the address only what is no secret is told."""
    receiver.status, receiver.echo = 400, True
    with pytest.raises(SourceError) as caught:
        posting.post(f"{receiver.url}/T0123456/token99?sig=abcdef1", body="hello")
    for piece in ("hush", "T0123456", "token99", "abcdef1"):
        assert piece not in caught.value.message
    assert "400" in caught.value.message


TELLING = {"market_spine.notify", "httpx2", "stamina", "requests", "prometheus_client", "apprise", "openlineage"}
WORKING = {
    *("polars", "duckdb", "pydantic", "rich", "fsspec", "zstandard", "market_spine.core.compression"),
    *(f"market_spine.app.{name}" for name in ("derive", "examine", "guards", "held", "plausibility", "replay")),
    *(f"market_spine.app.{name}" for name in ("neighbours", "retracted", "windows")),
    *(f"market_spine.store.{name}" for name in ("asking", "codec", "figures", "past", "replacing", "statements")),
}
"""What compares, computes, writes or asks."""


@pytest.mark.process
def test_a_run_imports_only_what_it_needs(tmp_path: Path) -> None:
    """Without a setting a run imports nothing of what tells, and no network library; one that finds nothing new
    nothing of what works on rows either."""
    code = (
        "import sys\n"
        "from market_spine.cli.main import root, run\n"
        "code = run(root, sys.argv[2:], 'market-spine')\n"
        "sys.exit(f'{code} {sorted({*sys.argv[1].split()} & set(sys.modules))}')\n"
    )
    names = {name: value for name, value in os.environ.items() if not name.startswith(("HEALTHCHECK", "OPENLINEAGE"))}
    write = ["sample-data", "finra", "--out", "in", "--weeks", "1", "--rows", "5", "--run-date", "2025-12-23"]
    flags = ["--data-dir", "in", "--lookback-weeks", "1", "--run-date", "2025-12-23", "--log-level", "ERROR"]
    subprocess.run([sys.executable, "-m", "market_spine", *write], cwd=tmp_path, check=True, capture_output=True)
    for unwanted in (TELLING, TELLING | WORKING):
        command = [sys.executable, "-c", code, " ".join(unwanted), "schedule", "finra", *flags]
        done = subprocess.run(command, cwd=tmp_path, env=names, capture_output=True, text=True, check=False)
        assert done.stderr.strip() == "0 []", done.stdout


def outcome(status: SchedulerStatus, **fields: Any) -> SchedulerResult:
    """A result of one partition that ended in some way."""
    moment = datetime(2025, 3, 10, tzinfo=UTC)
    failed = int(status is SchedulerStatus.FAILURE)
    usual: dict[str, Any] = {"runs": (), "anomalies": (), "warnings": (), "config": {}}
    return SchedulerResult(
        schema_version=SCHEMA_VERSION,
        domain="harbor",
        scheduler="daily_landings",
        started_at=moment,
        finished_at=moment,
        status=status,
        stats=SchedulerStats(attempted=1, succeeded=1 - failed, failed=failed, skipped=0),
        **{**usual, **fields},
    )
