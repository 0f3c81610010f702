"""What is kept, and told, of runs that do not end well: killed, stopped, locked out, ended before they began."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from market_spine import compose, registry
from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import Hooks, Request, Selection, run_schedule, utc_now
from market_spine.core.capture import Absent
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.store import open_reader, open_writer, parse_url
from market_spine.testing import run_command
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule
from spine.domains.market_data.scheduler import run_prices_schedule

RUN_DATE = "2025-12-23"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "FINRA_DATA_DIR", "FINRA_SOURCE", "PRICE_SOURCE", "ALPHA_VANTAGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two weeks of one tier."""
    folder = tmp_path / "data"
    write_sample_data(folder, weeks=2, tiers=("OTC",), rows=50, seed=1, run_date=date.fromisoformat(RUN_DATE))
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of either kind."""
    return request.getfixturevalue("new_postgres")() if request.param == "postgresql" else str(tmp_path / "spine.db")


def load(db: str, data: Path, **flags: Any) -> SchedulerResult:
    flags = {"lookback_weeks": 2, "tiers": "OTC", "run_date": RUN_DATE, **flags}
    return run_finra_schedule(db=db, data_dir=str(data), **flags)


def runs(db: str) -> list[tuple[Any, ...]]:
    """Every run: status, exit code and id, oldest first."""
    with open_reader(parse_url(db), registry.domains(), clock=utc_now) as reader:
        return list(reader.query("SELECT status, exit_code, run_id FROM core_runs ORDER BY started_at").rows)


@pytest.mark.process
def test_a_killed_run_is_unfinished(database: str, data: Path, tmp_path: Path) -> None:
    """A run that is killed after it began stands in core_runs as unfinished, and the next one as what it was."""
    dies = (
        "import os, signal, runpy\n"
        "import spine.domains.finra.otc_transparency.source as source\n"
        "source.FileSource.fetch = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "runpy.run_module('market_spine', run_name='__main__', alter_sys=True)\n"
    )
    flags = ["--lookback-weeks", "2", "--tiers", "OTC", "--run-date", RUN_DATE, "--db", database]
    done = run_command("schedule", "finra", *flags, "--data-dir", data, cwd=tmp_path, program=("-c", dies))
    assert done.code == -signal.SIGKILL
    ((status, code, run_id),) = runs(database)
    assert (status, code) == ("unfinished", None)
    listed = json.loads(run_command("runs", "--json", "--db", database, cwd=tmp_path).stdout)
    assert [(each["status"], each["run_id"], each["config"]["mode"]) for each in listed] == [
        ("unfinished", run_id, "run")
    ]
    assert "unfinished" in run_command("runs", "--db", database, cwd=tmp_path).stdout
    assert load(database, data).exit_code == 0
    assert [status for status, _, _ in runs(database)] == ["unfinished", "success"]


def test_what_was_known_of_a_run_before_it_ended_stays(database: str, data: Path) -> None:
    """As of a moment between start and end the run is unfinished, for ever."""
    result = load(database, data)
    url = parse_url(database)
    with open_reader(url, registry.domains(), clock=utc_now) as reader:
        ((begun,),) = reader.query("SELECT recorded_at FROM core_run_starts").rows
        shown = reader.query("SELECT status, run_id FROM core_runs", as_of=begun).rows
        assert list(shown) == [("unfinished", result.run_id)]
        assert [status for status, _, _ in runs(database)] == ["success"]


CRITICAL: dict[str, tuple[Callable[..., SchedulerResult], dict[str, Any], str, dict[str, Any]]] = {
    "a missing folder": (
        run_finra_schedule,
        {"data_dir": "/nowhere/at/all"},
        "source_missing",
        {"data_dir": "/nowhere/at/all", "source": "file", "lookback_weeks": 4, "mode": "run"},
    ),
    "no price source": (
        run_prices_schedule,
        {"symbols": "AAPL"},
        "no_source",
        {"symbols": ["AAPL"], "outputsize": "compact", "sleep": 12.0, "mode": "run"},
    ),
    "a day outside the calendar": (
        run_finra_schedule,
        {"run_date": "2090-01-02"},
        "calendar_range",
        {"run_date": "2090-01-02", "lookback_weeks": 4, "tiers": ["NMS_TIER_1", "NMS_TIER_2", "OTC"]},
    ),
}


@pytest.mark.parametrize("case", CRITICAL)
def test_a_critical_error_is_heard(database: str, data: Path, case: str, caplog: pytest.LogCaptureFixture) -> None:
    """What ends a run before its first partition is in the log, has a run id and the values in effect, and stands
    in core_runs."""
    load(database, data)
    run, flags, kind, config = CRITICAL[case]
    caplog.clear()
    result = run(db=database, **flags)
    assert (result.exit_code, result.error and result.error.kind) == (1, kind)
    assert result.error is not None
    assert result.error.message in [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert {name: result.config.get(name) for name in config} == config
    assert runs(database)[-1] == ("failure", 1, result.run_id)
    assert load(database, data).status.value == "success"


@pytest.mark.parametrize("case", CRITICAL)
def test_a_critical_error_makes_no_database(tmp_path: Path, case: str, new_postgres: Callable[[], str]) -> None:
    """A database that does not exist is not made in order to record that a run failed; a dry run records nothing."""
    run, flags, _, _ = CRITICAL[case]
    for db in (str(tmp_path / "new.db"), new_postgres()):
        assert run(db=db, **flags).exit_code == 1
        with open_reader(parse_url(db), registry.domains(), missing_ok=True) as reader:
            assert reader.runs() == []
    assert not (tmp_path / "new.db").exists()


def test_a_dry_run_records_nothing(database: str, data: Path) -> None:
    """Neither the start nor the end of a dry run is kept, whether it ends well or not."""
    load(database, data)
    assert load(database, data, mode="dry-run").exit_code == 0
    assert load(database, Path("/nowhere"), mode="dry-run").exit_code == 1
    assert len(runs(database)) == 1


@pytest.mark.process
def test_every_error_and_warning_is_a_log_line_also_with_json(tmp_path: Path) -> None:
    """With --json a run that fails before it begins, and one with warnings, say so on stderr as well."""
    for flags, words in (
        (("--lookback-weeks", "x"), "--lookback-weeks"),
        (("--no-such-flag",), "no-such-flag"),
        (("--data-dir", "nowhere"), "nowhere does not exist"),
        (("--lookback-weeks", "20", "--data-dir", "nowhere"), "exceeds max 12"),
    ):
        if words == "exceeds max 12":
            (tmp_path / "nowhere").mkdir()
        done = run_command("schedule", "finra", "--json", "--db", "spine.db", *flags, cwd=tmp_path)
        assert done.result().exit_code == 1
        assert words in done.stderr, flags


def test_work_left_undone_for_a_lock_is_no_success(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process keeps the database, a run is partial if a partition was found unchanged, else failure."""
    db = str(tmp_path / "spine.db")
    load(db, data, lookback_weeks=1)
    monkeypatch.setattr(compose, "open_writer", partial(open_writer, wait_seconds=0.1))
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        mixed = load(db, data)
        assert [run.reason for run in mixed.runs] == ["locked", "same_bytes"]
        assert (mixed.status.value, mixed.exit_code) == ("partial", 2)
        alone = load(db, data, weeks="2025-11-14")
        assert ([run.reason for run in alone.runs], alone.exit_code) == (["locked"], 1)
        assert load(db, data, lookback_weeks=1).exit_code == 0
        other.execute("ROLLBACK")
    assert load(db, data).exit_code == 0


@pytest.fixture
def slow_vendor() -> Iterator[tuple[str, threading.Event]]:
    """An address that takes calls and never answers, and whether it was called."""
    import socket

    called, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))
    kept = []

    def serve() -> None:
        try:
            while True:
                kept.append(listener.accept()[0])
                called.set()
        except OSError:
            pass

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", called
    listener.close()
    for each in kept:
        each.close()


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("domain", ["prices", "finra"])
def test_a_signal_is_heard_while_a_source_is_silent(
    tmp_path: Path, slow_vendor: tuple[str, threading.Event], domain: str, number: int
) -> None:
    """A run that waits for a vendor ends when it is told to, with one document that says which partition was
    interrupted, and the database has it."""
    url, called = slow_vendor
    flags = {
        "prices": ["--symbols", "AAPL,MSFT", "--source", "polygon", "--sleep", "0"],
        "finra": ["--source", "api", "--lookback-weeks", "1", "--run-date", RUN_DATE],
    }[domain]
    environ = {"POLYGON_API_KEY": "k", "POLYGON_URL": url, "FINRA_API_URL": url, "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "market_spine", "schedule", domain, *flags, "--json", "--db", "spine.db"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert called.wait(120)
        process.send_signal(number)
        stdout, _ = process.communicate(timeout=60)
    result = SchedulerResult.from_json(stdout)
    assert (process.returncode, result.exit_code) == (1, 1)
    assert result.runs[0].error is not None
    assert result.runs[0].error.kind == "interrupted"
    assert runs(str(tmp_path / "spine.db")) == [("failure", 1, result.run_id)]


STUCK = """\
import runpy, sys, time
import spine.domains.finra.otc_transparency.source as source

def fetch(*_):
    # Like a system call that nothing wakes: no part of ours is asked whether the run is to stop.
    print("stuck", file=sys.stderr, flush=True)
    while True:
        time.sleep(1)

source.FileSource.fetch = fetch
runpy.run_module("market_spine", run_name="__main__", alter_sys=True)
"""


@pytest.mark.process
def test_a_second_signal_ends_the_process_with_a_result(tmp_path: Path, data: Path) -> None:
    """What hears nothing is left behind at the second signal: one document with what was done, exit code 1, and the
    run stands as unfinished."""
    db = str(tmp_path / "spine.db")
    flags = ["--lookback-weeks", "2", "--tiers", "OTC", "--run-date", RUN_DATE, "--json", "--db", db]
    command = [sys.executable, "-c", STUCK, "schedule", "finra", *flags, "--data-dir", str(data)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "stuck" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=60)
    result = SchedulerResult.from_json(stdout)
    assert (process.returncode, result.exit_code) == (1, 1)
    assert any("at once; not finished: 2025-11-14|OTC, 2025-11-21|OTC" in warning for warning in result.warnings)
    assert [status for status, _, _ in runs(db)] == ["unfinished"]


class _Panic(BaseException):
    """What a library written in Rust raises when it panics: no Exception."""


class _Breaking:
    """A source that breaks for one partition as no error of ours would."""

    def __init__(self, problem: BaseException) -> None:
        self._problem = problem

    def fetch(self, partition: Partition, known: Known) -> Absent:
        if partition.key.startswith("2025-11-14"):
            raise self._problem
        return Absent()


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (_Panic("called unwrap on None"), "internal"),
        (_Panic("failed to spawn thread: Resource temporarily unavailable"), "resources"),
        (MemoryError(), "resources"),
        (OSError(24, "Too many open files"), "resources"),
        (RecursionError("deep"), "internal"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_panic_is_one_partitions_failure(tmp_path: Path, problem: BaseException, kind: str, workers: int) -> None:
    """Whatever breaks one partition leaves the others to go on, and the run has its result."""
    partitions = [DOMAIN.partition(f"{week}|OTC") for week in ("2025-11-14", "2026-12-18")]
    request = Request(db=str(tmp_path / "spine.db"), run_date=RUN_DATE, workers=workers)
    result = run_schedule(DOMAIN, request, lambda *_: Selection(partitions, _Breaking(problem)), Hooks())
    assert [(run.status, run.error.kind if run.error else run.reason) for run in result.runs] == [
        ("failed", kind),
        ("skipped", "not_due"),
    ]
    assert result.exit_code == 2


def test_an_error_before_the_first_partition_is_no_traceback(tmp_path: Path) -> None:
    """A panic while the run is planned is its critical error."""

    def select(*_: object) -> Selection:
        raise _Panic("called unwrap on None")

    result = run_schedule(DOMAIN, Request(db=str(tmp_path / "spine.db")), select, Hooks())
    assert (result.exit_code, result.error and result.error.kind) == (1, "internal")
