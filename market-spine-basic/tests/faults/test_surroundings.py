"""The world around the process fails: no space, no permission, another writer, a clock that runs back, SIGTERM."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from market_spine import compose, registry
from market_spine.app.scheduling import RunStatus, SchedulerResult, SchedulerStatus
from market_spine.compose import Hooks, utc_now
from market_spine.store import open_reader, open_writer, parse_url
from market_spine.testing import run_command

if TYPE_CHECKING:
    from tests.faults.conftest import Finra

SIGNALLED = """\
import os, signal, sys
from market_spine.cli.main import root, run
from market_spine.store.writer import StoreCommit
finish = StoreCommit.finish
def signalled(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    return finish(*arguments)
StoreCommit.finish = signalled
sys.exit(run(root, sys.argv[1:], "market-spine"))
"""
"""The program, which gets a SIGTERM in the middle of its first commit of a partition."""


def start(finra: Finra, arguments: list[str], prefix: Sequence[str] = (), **how: Any) -> SchedulerResult:
    """Run the scheduler in a process of its own; it answers with one JSON document whatever happens."""
    command = [*prefix, sys.executable, "-m", "market_spine", *arguments]
    done = subprocess.run(command, cwd=finra.cwd, capture_output=True, text=True, check=False, **how)
    result = SchedulerResult.from_json(done.stdout)
    assert result.exit_code == done.returncode
    return result


def expected(finra: Finra, new_database: Callable[[], str], *folders: Path) -> Any:
    """What an undisturbed database says after loading these folders."""
    db = new_database()
    for folder in folders:
        finra.load(db, folder)
    return finra.look(db)


@pytest.mark.parametrize("blocks", [60, 200, 500, 700])
def test_a_file_that_may_not_grow_fails_the_partition_and_keeps_what_was_there(
    finra: Finra, tmp_path: Path, blocks: int
) -> None:
    """Where the database may not grow any more, partitions fail with a named error and the old rows stay; with
    room again the rerun completes."""
    db = str(tmp_path / "small.db")
    finra.load(db, finra.first)
    before = finra.look(db)
    size = Path(db).stat().st_size + blocks * 1024

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    after = expected(finra, lambda: str(tmp_path / "roomy.db"), finra.first, finra.restated)
    with closing(sqlite3.connect(db)) as filler:
        # Leaves next to no free pages, so that the restatement needs room.
        filler.execute("CREATE TABLE filling (bytes BLOB)")
        filler.execute("INSERT INTO filling VALUES (zeroblob(?))", (blocks * 1024 - 20480,))
        filler.commit()
    result = start(finra, finra.arguments(db, finra.restated), preexec_fn=limit)
    kinds = {run.error.kind for run in result.runs if run.error}
    if result.error:
        kinds.add(result.error.kind)
    assert kinds <= {"store_unavailable", "disk_full"}
    finra.check_whole(db)
    finra.check_partitions(db, before, after)
    assert start(finra, finra.arguments(db, finra.restated)).exit_code == 0
    assert finra.look(db).values == after.values


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if (
        os.geteuid()
        or shutil.which("mount") is None
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("a disk of our own cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("spare", [4096, 40_960, 122_880, 245_760])
def test_a_full_disk_fails_the_partition_and_keeps_what_was_there(
    finra: Finra, small_disk: Path, tmp_path: Path, spare: int
) -> None:
    """On a full disk partitions fail with disk_full; once space is freed the rerun completes."""
    db = str(small_disk / "full.db")
    after = expected(finra, lambda: str(tmp_path / "roomy.db"), finra.first, finra.restated)
    finra.load(db, finra.first)
    before = finra.look(db)
    ballast = small_disk / "ballast"
    room = os.statvfs(small_disk)
    ballast.write_bytes(b"\0" * max(0, room.f_bavail * room.f_frsize - spare))
    result = start(finra, finra.arguments(db, finra.restated))
    errors = [*(run.error for run in result.runs if run.error), *([result.error] if result.error else [])]
    assert {error.kind for error in errors} <= {"disk_full"}
    if spare == 4096:
        assert errors
    finra.check_partitions(db, before, after)
    ballast.unlink()
    finra.check_whole(db)
    assert start(finra, finra.arguments(db, finra.restated)).exit_code == 0
    assert finra.look(db).values == after.values


@pytest.fixture
def without_privilege() -> list[str]:
    """What to put before a command so that permissions hold for it: root may otherwise write anything."""
    if os.geteuid():
        return []
    prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if (
        shutil.which("setpriv") is None
        or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("root cannot give up its right to write anything here")
    return prefix


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_database_that_may_not_be_written_is_one_clear_failure(
    finra: Finra, tmp_path: Path, without_privilege: list[str], what: str
) -> None:
    """A read-only database, or one in a read-only folder, fails the run with store_unavailable and stays as it is."""
    place = tmp_path / "place"
    place.mkdir()
    db = place / "held.db"
    finra.load(str(db), finra.first)
    before = finra.look(str(db))
    with closing(sqlite3.connect(db)) as last:
        # Whoever may write and closes last removes the log and its index, which a reader leaves behind.
        last.execute("SELECT COUNT(*) FROM core_runs")
    db.chmod(0o444 if what == "file" else 0o666)
    place.chmod(0o555 if what == "folder" else 0o777)
    result = start(finra, finra.arguments(str(db), finra.restated), prefix=without_privilege)
    kinds = {run.error.kind for run in result.runs if run.error} | ({result.error.kind} if result.error else set())
    place.chmod(0o755)
    db.chmod(0o644)
    assert (result.exit_code, kinds) == (1, {"store_unavailable"})
    assert any(warning.startswith("This result is not in core_runs: ") for warning in result.warnings)
    assert finra.look(str(db)) == before


@contextmanager
def held(db: str) -> Iterator[None]:
    """Another connection holds the write lock."""
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_a_writer_that_stays_too_long_makes_partitions_locked(
    finra: Finra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process holds the database, partitions are skipped as locked after a bounded wait; nothing is
    written, and the next run does it all."""
    db = str(tmp_path / "busy.db")
    finra.load(db, finra.first)
    before = finra.look(db)
    monkeypatch.setattr(compose, "open_writer", partial(open_writer, wait_seconds=0.1))
    with held(db):
        result = finra.load(db, finra.restated)
        assert [(run.status, run.reason) for run in result.runs] == [(RunStatus.SKIPPED, "locked")] * 2
        assert finra.look(db) == before
    finra.load(db, finra.restated)
    assert finra.look(db) == expected(finra, lambda: str(tmp_path / "other.db"), finra.first, finra.restated)


def test_a_clock_that_runs_back_changes_no_answer(finra: Finra, tmp_path: Path) -> None:
    """With a clock that loses minutes between and within runs, commit moments still increase strictly, and every
    answer as of an earlier moment stays the same."""
    db = str(tmp_path / "clock.db")
    now = datetime(2025, 12, 23, 12, tzinfo=UTC)
    ticks = 0

    def clock() -> datetime:
        nonlocal ticks
        ticks += 1
        return now - timedelta(seconds=ticks // 10, microseconds=ticks)

    def read(moment: str) -> list[Any]:
        with open_reader(parse_url(db), registry.domains(), clock=utc_now) as reader:
            sql = "SELECT * FROM finra_otc_venue_volume ORDER BY 1, 2, 3, 4, 5, 6, 7, 8"
            return [*reader.query(sql, as_of=moment).rows, *reader.query("SELECT * FROM core_runs", as_of=moment).rows]

    seen: dict[str, list[Any]] = {}
    for folder in (finra.first, finra.restated, finra.first):
        result = finra.load(db, folder, hooks=Hooks(clock=clock))
        assert result.status is SchedulerStatus.SUCCESS
        assert all(run.duration_ms >= 0 for run in result.runs)
        SchedulerResult.from_json(result.to_json())
        with closing(sqlite3.connect(db)) as connection:
            moments = [moment for (moment,) in connection.execute("SELECT committed_at FROM core_manifest ORDER BY 1")]
            ordered = connection.execute("SELECT committed_at FROM core_manifest ORDER BY manifest_id").fetchall()
        assert [moment for (moment,) in ordered] == moments
        assert {moment: read(moment) for moment in seen} == seen
        seen = {moment: read(moment) for moment in dict.fromkeys(moments)}
    assert len({len(rows) for rows in seen.values()}) > 1


WRONG_CLOCK = """\
import datetime, runpy, sys

ahead, right = datetime.timedelta(hours=float(sys.argv.pop(1))), datetime.datetime

class Wrong(right):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp((right.now(tz) + ahead).timestamp(), tz)

datetime.datetime = Wrong
runpy.run_module("market_spine", run_name="__main__", alter_sys=True)
"""
"""Market Spine on a host whose clock is so many hours ahead."""


def test_on_postgresql_the_server_tells_the_time(finra: Finra, new_postgres: Callable[[], str]) -> None:
    """Hosts whose clocks differ by hours load into one PostgreSQL: every commit has the server's moment, and none of
    them answers as of a moment that has not passed on the server."""
    db = new_postgres()
    begun = utc_now()
    for hours, folder in ((30, finra.first), (-30, finra.restated)):
        command = [sys.executable, "-c", WRONG_CLOCK, str(hours), *finra.arguments(db, folder)]
        done = subprocess.run(command, cwd=finra.cwd, capture_output=True, text=True, check=False)
        result = SchedulerResult.from_json(done.stdout)
        assert (result.stats.succeeded, abs(result.started_at - begun) > timedelta(hours=29)) == (2, True), done.stdout
    moments = "SELECT committed_at FROM core_manifest UNION SELECT recorded_at FROM core_runs"
    with open_reader(parse_url(db), registry.domains()) as reader:
        found = [datetime.fromisoformat(moment) for (moment,) in reader.query(moments).rows]
    assert begun < min(found) < max(found) < utc_now()
    soon = (utc_now() + timedelta(hours=1)).isoformat()
    asked = ["query", "SELECT 1", "--as-of", soon, "--db", db]
    command = [sys.executable, "-c", WRONG_CLOCK, "30", *asked]
    refused = subprocess.run(command, cwd=finra.cwd, capture_output=True, text=True, check=False)
    assert (refused.returncode, "has not passed yet" in refused.stderr) == (1, True)


def test_sigterm_in_the_middle_writes_the_result_and_the_rerun_completes(finra: Finra, tmp_path: Path) -> None:
    """SIGTERM during a real run: the partition in hand is finished, the result is printed and recorded, the exit code
    is the table's, and a rerun does the rest."""
    weeks = 10
    folder = tmp_path / "many"
    sample = ["sample-data", "finra", "--out", str(folder), "--weeks", str(weeks), "--tiers", "OTC", "--rows", "2000"]
    made = [sys.executable, "-m", "market_spine", *sample, "--run-date", "2025-12-23"]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    db = str(tmp_path / "stopped.db")
    arguments = [*finra.arguments(db, folder), "--lookback-weeks", str(weeks)]
    process = run_command(*arguments, cwd=tmp_path, program=("-c", SIGNALLED))
    stdout, result = process.stdout, process.result()
    assert (process.code, result.status) == (2, SchedulerStatus.PARTIAL)
    assert 0 < result.stats.succeeded < weeks
    assert any(warning.startswith("stopped by a signal; not started: ") for warning in result.warnings)
    with closing(sqlite3.connect(db)) as connection:
        ((recorded, code),) = connection.execute("SELECT result, exit_code FROM core_runs").fetchall()
    assert (json.loads(recorded), code) == (json.loads(stdout), 2)
    finra.check_whole(db)
    assert finra.load(db, folder, lookback_weeks=weeks).exit_code == 0
    other = str(tmp_path / "undisturbed.db")
    finra.load(other, folder, lookback_weeks=weeks)
    assert finra.look(db).values == finra.look(other).values


def test_a_folder_that_may_not_be_written_takes_no_copy(
    finra: Finra, tmp_path: Path, without_privilege: list[str]
) -> None:
    """Backups and rebuilt databases say that the folder may not be written, and leave nothing."""
    db = str(finra.cwd / "own.db")
    finra.load(db, finra.first)
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    for arguments in (["db", "backup", str(folder / "b.db")], ["rebuild", "--into", str(folder / "r.db")]):
        command = [*without_privilege, sys.executable, "-m", "market_spine", *arguments, "--db", db, "--json"]
        done = subprocess.run(command, cwd=finra.cwd, capture_output=True, text=True, check=False)
        error = json.loads(done.stdout)["error"]
        assert (done.returncode, error["kind"], "Permission denied" in error["message"]) == (
            1,
            "store_unavailable",
            True,
        )
    assert not list(folder.iterdir())
