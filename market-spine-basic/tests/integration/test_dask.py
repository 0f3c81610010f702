"""A run on Dask's workers: the same tables as one process alone, whatever becomes of workers, scheduler and run."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from market_spine import registry
from market_spine.app.scheduling import SchedulerResult, SchedulerStatus
from market_spine.app.task import Outcome
from market_spine.compose import Hooks, utc_now
from market_spine.store import open_reader, parse_url

pytestmark = [pytest.mark.usefixtures("harbor"), pytest.mark.process, pytest.mark.server]

DAYS = [f"2025-03-{day:02}" for day in range(1, 13)]
RUN_DATE = "2025-03-20"
_TABLES = (
    *("harbor_landing", "harbor_tide", "harbor_total", "harbor_recent", "core_manifest", "core_rejects"),
    *("core_capture_parts", "core_payloads", "core_decisions"),
)
_MOMENTS = ("_at", "_seen", "manifest_id", "run_id", "superseded_by", "event_id", "_ms")


@pytest.fixture
def landings(tmp_path: Path) -> Path:
    """Twelve days of landings, one of which is refused and one partly."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number, day in enumerate(DAYS):
        (folder / f"{day}.txt").write_text(f"ada {number + 1}\nbela {2 * number + 20}\ncaro 7\n")
    (folder / f"{DAYS[4]}.txt").write_text("<html>")
    (folder / f"{DAYS[5]}.txt").write_text("ada 10\nbela much\n" + "".join(f"ship{each} 1\n" for each in range(40)))
    return folder


def digests(database: str) -> dict[str, str]:
    """The SHA-256 of every table that the domain and its commits have, times, run ids, order aside."""
    found = {}
    with open_reader(parse_url(database), registry.domains(), clock=utc_now) as reader:
        for name in _TABLES:
            answer = reader.query(f"SELECT * FROM {name}")
            kept = [place for place, column in enumerate(answer.columns) if not column.endswith(_MOMENTS)]
            rows = sorted(repr([row[place] for place in kept]) for row in answer.rows)
            found[name] = hashlib.sha256("\n".join(rows).encode()).hexdigest() if rows else ""
        # A partition that is done again may be seen to be odd twice: how often does not count.
        odd = [(each.anomaly.partition_key, each.anomaly.kind, each.anomaly.message) for each in reader.anomalies()]
        found["anomalies"] = repr(sorted(odd))
    return found


def told(result: SchedulerResult) -> list[tuple[Any, ...]]:
    """What a result says of each partition and window."""
    return [
        (each.partition_key, each.pipeline, each.status, each.reason, each.capture_id, each.row_count, each.legs)
        + ((each.error.kind, each.error.message) if each.error else ())
        for each in result.runs
    ]


def load(folder: Path, database: str, **flags: Any) -> SchedulerResult:
    """Run the tiny scheduler over all days."""
    from harbor import run_harbor

    found: SchedulerResult = run_harbor(folder, DAYS, db=database, run_date=RUN_DATE, **flags)
    return found


def workers() -> list[psutil.Process]:
    """The worker processes of this process's local cluster."""
    return [each for each in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(each.cmdline())]


class Killer:
    """Kills a worker whenever so many partitions have ended."""

    def __init__(self, every: int, targets: Callable[[], list[psutil.Process]]) -> None:
        self.every, self.targets, self.count, self.killed = every, targets, 0, 0

    def __call__(self, _outcome: Outcome) -> None:
        self.count += 1
        if self.count % self.every == 0 and (found := self.targets()):
            self.killed += 1
            with suppress(psutil.NoSuchProcess):
                found[self.killed % len(found)].kill()


def test_a_local_cluster_loads_what_one_process_loads(landings: Path, tmp_path: Path, database: str) -> None:
    """With workers killed on the way, result, manifest and every table are those of a run in one process."""
    alone = str(tmp_path / "alone.db")
    expected = load(landings, alone)
    killer = Killer(5, workers)
    found = load(landings, database, executor="dask", workers=2, hooks=Hooks(progress=killer))
    assert killer.killed == 2
    assert told(found) == told(expected)
    assert (found.stats, found.status) == (expected.stats, SchedulerStatus.PARTIAL)
    assert found.config["executor"] == "dask"
    assert digests(database) == digests(alone)


class Remote(NamedTuple):
    """A scheduler over TCP with two workers, and the store that they have."""

    address: str
    database: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]
    log: Path

    def processes(self) -> list[psutil.Process]:
        """The workers themselves, below their nannies."""
        return [
            each
            for parent in self.workers
            for each in psutil.Process(parent.pid).children(recursive=True)
            if "spawn_main" in " ".join(each.cmdline())
        ]


SECRET = "s3cr3t-of-the-store"


@pytest.fixture
def remote(
    tiny_site: Path, tmp_path: Path, new_postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Remote]:
    """Started as docs/scale-out.md says; they end with the test."""
    database = new_postgres().replace("postgres@", f"postgres:{SECRET}@")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tiny_site),
        "DATABASE_URL": database,
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "60s",
    }
    file, log = tmp_path / "scheduler.json", tmp_path / "dask.log"
    dask = [sys.executable, "-m", "dask"]
    started = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            process = subprocess.Popen([*dask, *arguments], env=environment, cwd=tmp_path, stdout=out, stderr=out)
        started.append(process)
        return process

    scheduler = start(
        "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)
    )
    each = ("--scheduler-file", str(file), "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard")
    both = [start("worker", *each, "--name", name, "--local-directory", str(tmp_path)) for name in "ab"]
    for _ in range(1200):
        if file.exists() and file.read_text().endswith("}"):
            break
        time.sleep(0.1)
    address = json.loads(file.read_text())["address"].removeprefix("tcp://")
    monkeypatch.setattr("market_spine.execute.cluster.LOST", 3.0)
    yield Remote(f"dask://{address}", database, scheduler, both, log)
    for process in started:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those that it has started."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
    process.kill()
    process.wait(60)


def refuse_versions(landings: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker with another version of the product, of Python or of a domain does nothing for the run."""
    from market_spine.execute.worker import Build

    own = Build.own()
    for odd, words in (
        (own._replace(product="9.9"), "it has Market Spine"),
        (own._replace(python="3.99"), "it has Python"),
        (own._replace(domains={**own.domains, "harbor": "2 1 1 recent=1"}), "its domain harbor"),
    ):
        monkeypatch.setattr(Build, "own", classmethod(lambda _cls, odd=odd: odd))
        result = load(landings, remote.database, executor=remote.address)
        assert result.error is not None
        assert (result.error.kind, result.stats.attempted) == ("worker_refused", 0)
        assert words in result.error.message


def test_workers_over_the_network_load_what_one_process_loads(
    landings: Path,
    tmp_path: Path,
    remote: Remote,
    new_postgres: Callable[[], str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a scheduler's workers, too, killed on the way; others' databases and versions are refused, no secret told."""
    alone = str(tmp_path / "alone.db")
    expected = load(landings, alone)
    killer = Killer(4, remote.processes)
    found = load(landings, remote.database, executor=remote.address, hooks=Hooks(progress=killer))
    assert found.error is None
    assert told(found) == told(expected)
    assert digests(remote.database) == digests(alone)
    assert any("a web page" in each.getMessage() for each in caplog.records), "what workers log is told here"

    other = load(landings, new_postgres(), executor=remote.address)
    assert other.error is not None
    assert (other.error.kind, other.stats.attempted) == ("worker_refused", 0)
    assert "is another database than the run's" in other.error.message
    refuse_versions(landings, remote, monkeypatch)

    assert SECRET not in remote.log.read_text() + caplog.text + found.to_json() + other.to_json()


@pytest.mark.parametrize("victim", ["scheduler", "workers"])
def test_a_lost_cluster_ends_the_run_in_a_bound_and_the_result_is_true(
    landings: Path, remote: Remote, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the scheduler or all workers gone, what was committed is told as such, the rest as worker_lost."""
    lost: list[Outcome] = []

    def lose(outcome: Outcome) -> None:
        lost.append(outcome)
        if len(lost) == 4:
            monkeypatch.setattr("market_spine.execute.cluster.GONE", 5.0)
            for process in [remote.scheduler] if victim == "scheduler" else remote.workers:
                end(process)

    result = load(landings, remote.database, executor=remote.address, hooks=Hooks(progress=lose))
    kinds = {each.partition_key: each.error.kind for each in result.runs if each.error}
    done = {each.partition_key for each in result.runs if each.pipeline.endswith("ingest_day") and not each.error}
    assert "worker_lost" in kinds.values()
    assert result.stats.attempted == len(DAYS)
    with open_reader(parse_url(remote.database), registry.domains(), clock=utc_now) as reader:
        committed = {row[0] for row in reader.query("SELECT DISTINCT partition_key FROM core_manifest").rows}
    assert committed == done
    healed = load(landings, remote.database)
    assert {each.partition_key for each in healed.runs if each.error} == {DAYS[4]}


def test_a_signal_ends_a_run_on_workers_with_a_whole_result(landings: Path, tiny_site: Path, tmp_path: Path) -> None:
    """SIGTERM: what is in flight ends, the rest is named; stdout has the result alone, stderr lines of JSON."""
    command = [sys.executable, "-m", "market_spine", "schedule", "harbor", "--days", ",".join(DAYS), "--json"]
    command += ["--data-dir", str(landings), "--db", str(tmp_path / "it.db"), "--run-date", RUN_DATE]
    lines = []
    with subprocess.Popen(
        [*command, "--executor", "dask", "--workers", "2"],
        env={**os.environ, "PYTHONPATH": str(tiny_site)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            lines.append(line)
            if len(lines) == 1:
                process.send_signal(signal.SIGTERM)
        stdout = process.stdout.read()
        assert process.wait(120) == 2
    result = SchedulerResult.from_json(stdout)
    assert 1 <= result.stats.attempted < len(DAYS)
    assert any("stopped by a signal; not started: " in each for each in result.warnings)
    assert all(isinstance(json.loads(line), dict) for line in lines)
