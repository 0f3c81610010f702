"""What is removed, and when: runs after their time, what killed copies left, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from market_spine import registry
from market_spine.compose import Hooks
from market_spine.errors import StoreError, UsageError
from market_spine.settings import keep_runs
from market_spine.store import StoreUrl, check, open_reader, open_writer, parse_url
from market_spine.store.fresh import backup, unfinished
from market_spine.testing import run_command

NOW = datetime(2025, 3, 9, 12, tzinfo=UTC)
TABLES = ("core_run_starts", "core_run_ends", "core_run_partitions")


def counts(database: str) -> dict[str, int]:
    """How many rows each table of the platform has."""
    with open_reader(parse_url(database), registry.domains()) as reader:
        names = sorted(name for name in reader._db.relations() if name.startswith("core_"))
        names = [name for name in names if name not in ("core_runs", "core_anomalies")]
        return {name: reader._db.rows(f"SELECT COUNT(*) FROM {name}")[0][0] for name in names}


@pytest.fixture
def load(folder: Path, database: str, harbor: None) -> Callable[..., Any]:
    """Load a day of landings at some time."""
    from harbor import run_harbor

    def start(now: datetime, day: str = "2025-03-01") -> Any:
        ticks = iter(range(10**6))
        hooks = Hooks(clock=lambda: now + timedelta(milliseconds=next(ticks)))
        return run_harbor(folder, day, hooks, db=database, run_date="2025-03-09")

    return start


def test_runs_go_after_their_time_and_nothing_else_does(
    load: Callable[..., Any], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is older than MARKET_SPINE_KEEP_RUNS days goes with its start and partitions when another is
    recorded; commits, payloads and decisions stay, and the store is sound."""
    monkeypatch.setenv("MARKET_SPINE_KEEP_RUNS", "30")
    load(NOW)
    before = counts(database)
    load(NOW + timedelta(days=29), "2025-03-02")
    assert counts(database)["core_run_ends"] == 2
    load(NOW + timedelta(days=31), "2025-03-03")
    after = counts(database)
    assert {name: after[name] for name in TABLES} == {
        "core_run_starts": 2,
        "core_run_ends": 2,
        "core_run_partitions": 2 * before["core_run_partitions"],
    }
    assert all(after[name] >= before[name] for name in before if name not in TABLES)
    assert after["core_manifest"] > before["core_manifest"]
    assert [each for each in check(parse_url(database), registry.domains(), deep=True) if not each.ok] == []


@pytest.mark.parametrize(("setting", "kept"), [("", 2), ("0", 3)])
def test_runs_are_kept_for_three_years_or_for_ever(
    load: Callable[..., Any], database: str, monkeypatch: pytest.MonkeyPatch, setting: str, kept: int
) -> None:
    """By default a run of 1,101 days ago goes; with 0 none ever does."""
    monkeypatch.setenv("MARKET_SPINE_KEEP_RUNS", setting)
    for days in (0, 2, 1101):
        load(NOW + timedelta(days=days))
    assert counts(database)["core_run_ends"] == kept


def test_a_run_is_recorded_though_none_can_be_removed(
    load: Callable[..., Any], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where old runs cannot be removed the new one is recorded all the same."""
    monkeypatch.setenv("MARKET_SPINE_KEEP_RUNS", "1")
    load(NOW)
    with open_writer(parse_url(database), registry.domains(), clock=lambda: NOW) as writer:
        adapter = type(writer._db)
    run = adapter.run

    def refusing(self: Any, sql: str, params: Any = ()) -> int:
        if sql.startswith("DELETE FROM core_run"):
            raise StoreError("not today")
        return run(self, sql, params)

    monkeypatch.setattr(adapter, "run", refusing)
    assert load(NOW + timedelta(days=9), "2025-03-02").exit_code == 0
    assert counts(database)["core_run_ends"] == 2


def test_the_number_of_days_is_checked() -> None:
    """Whole days, 1,100 by default, 0 for ever."""
    assert keep_runs({}) == timedelta(days=1100)
    assert (keep_runs({"MARKET_SPINE_KEEP_RUNS": "0"}), keep_runs({"MARKET_SPINE_KEEP_RUNS": " 7\n"})) == (
        None,
        timedelta(days=7),
    )
    for text in ("-1", "1.5", "ten", "9999999", "²"):
        with pytest.raises(UsageError, match="KEEP_RUNS"):
            keep_runs({"MARKET_SPINE_KEEP_RUNS": text})


KILLED = """\
import os, signal, sys
from market_spine.store import StoreUrl
from market_spine.store.fresh import unfinished
with unfinished(sys.argv[1]) as partial:
    for suffix in ("", "-wal", "-shm"):
        partial.with_name(partial.name + suffix).write_bytes(b"SQLite format 3\\0" if not suffix else b"x")
    print("made", flush=True)
    signal.pause()
"""
"""A copy that never ends."""


@pytest.mark.process
def test_what_a_killed_copy_left_the_next_one_removes(tmp_path: Path) -> None:
    """Unfinished files of a killed process go with their side files once the next copy is made in the folder, whatever
    its name; those of a live process, and files that are no database, stay."""
    with open_writer(parse_url(str(tmp_path / "own.db")), []):
        pass
    command = [sys.executable, "-c", KILLED]
    copies = []
    for name in ("dead.db", "live.db"):
        copies.append(subprocess.Popen([*command, str(tmp_path / name)], stdout=subprocess.PIPE))
        assert copies[-1].stdout is not None
        assert copies[-1].stdout.readline() == b"made\n"
    dead, live = copies
    dead.kill()
    dead.wait()
    (tmp_path / "notes.0123abcd.partial").write_text("no database")
    (tmp_path / "own.partial").write_bytes(b"SQLite format 3\0")
    assert len(list(tmp_path.glob("dead.db.*"))) == 3
    backup(StoreUrl("sqlite", str(tmp_path / "own.db")), str(tmp_path / "copy.db"))
    names = {path.name.partition(".")[0] for path in tmp_path.glob("*.partial*")}
    assert names == {"live", "notes", "own"}
    assert len(list(tmp_path.glob("live.db.*"))) == 3
    live.kill()
    live.wait()
    with unfinished(str(tmp_path / "other.db")):
        pass
    assert not list(tmp_path.glob("live.db.*"))
    for each in copies:
        assert each.stdout is not None
        each.stdout.close()


@pytest.mark.process
def test_a_rebuild_that_was_killed_leaves_nothing_for_long(tmp_path: Path) -> None:
    """SIGKILL in the middle of a rebuild leaves an unfinished file, which the next rebuild removes; a signal that can
    be heard removes it at once."""
    run_command("sample-data", "finra", "--out", "data", cwd=tmp_path)
    assert run_command("schedule", "finra", "--data-dir", "data", "--db", "a.db", cwd=tmp_path).code in (0, 2)
    command = [sys.executable, "-m", "market_spine", "rebuild", "--db", "a.db", "--into", "b.db"]
    for number, stays in ((signal.SIGTERM, False), (signal.SIGKILL, True)):
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and not any(path.stat().st_size for path in tmp_path.glob("b.db.*.partial")):
                time.sleep(0.002)
            os.kill(process.pid, number)
        if not (tmp_path / "b.db").exists():
            assert bool(list(tmp_path.glob("b.db.*.partial"))) is stays
        (tmp_path / "b.db").unlink(missing_ok=True)
    assert run_command(*command[3:], cwd=tmp_path).code == 0
    assert not list(tmp_path.glob("*.partial*"))


@pytest.mark.process
def test_an_answer_from_before_the_first_commit_says_so(
    load: Callable[..., Any], database: str, tmp_path: Path, tiny_site: Path
) -> None:
    """Each command with --as-of tells on stderr that nothing was known then, and answers all the same."""
    load(NOW)
    commands = {
        "query": ["query", "SELECT * FROM harbor_landing", "--format", "csv"],
        "export": ["export", "--to", "out", "--format", "csv", "--overwrite"],
        "ready": ["ready", "harbor", "--run-date", "2025-03-01"],
    }
    for name, arguments in commands.items():
        for moment, told in (("2020-01-01", True), ("2025-03-10", False)):
            done = run_command(*arguments, "--as-of", moment, "--db", database, cwd=tmp_path, path=[tiny_site])
            assert ("nothing was known" in done.stderr) is told, (name, moment, done)
            assert "2025-03-09T12:00" in done.stderr or not told
            assert "Traceback" not in done.stderr
