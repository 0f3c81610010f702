"""The database's own folder is all that can be written, or not even that: no temporary folder, no home."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from market_spine.app.scheduling import SchedulerResult

if TYPE_CHECKING:
    from tests.faults.conftest import Finra, Others

_READ_ONLY = """\
set -e
mount --bind {folder} {folder}
for each in / $(awk '$3 == "tmpfs" || $5 == "/" {{print $2}}' /proc/mounts); do
    test $each = {folder} || mount -o remount,bind,ro $each 2>/dev/null || :
done
if touch /tmp/written /dev/shm/written 2>/dev/null; then echo "a folder can still be written" >&2; exit 99; fi
test {writable} = yes || mount -o remount,bind,ro {folder}
cd /
exec {command}
"""
"""Runs a command in a view of the file system in which only one folder can be written, or none."""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command line where nothing but a folder can be written."""
    if os.geteuid() or shutil.which("unshare") is None:
        pytest.skip("only root can make a view of the file system of its own, with unshare")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a view of the file system of its own cannot be made here")

    def start(folder: Path, *arguments: str, writable: bool = True) -> subprocess.CompletedProcess[str]:
        command = shlex.join([sys.executable, "-m", "market_spine", *arguments])
        script = _READ_ONLY.format(folder=folder, writable="yes" if writable else "no", command=command)
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script], env=environ, capture_output=True, text=True, check=False
        )

    return start


def test_everything_works_with_the_databases_folder_alone(finra: Finra, tmp_path: Path, run: Run) -> None:
    """Loads, restatements, rebuilds, backups and queries that sort more than fits into SQLite's memory."""
    folder = tmp_path / "only"
    folder.mkdir()
    db = str(folder / "only.db")
    for data, revised in ((finra.first, False), (finra.restated, True)):
        done = run(folder, *finra.arguments(db, data))
        result = SchedulerResult.from_json(done.stdout)
        assert (result.exit_code, result.stats.succeeded) == (0, 2), done.stderr
        assert {one.is_revision for one in result.runs if one.pipeline.endswith("ingest_week")} == {revised}
    prices = run(folder, "schedule", "prices", "--source", "mock", "--symbols", "AAPL", "--sleep", "0", "--db", db)
    assert prices.returncode == 0, prices.stderr
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
    mixed = "SELECT DISTINCT CAST(i AS BIGINT) * 7919 % 300007 AS k, hex(i) FROM n ORDER BY k"
    sort = f"{many} SELECT COUNT(*) FROM ({mixed}) AS m"
    for arguments in (
        ["query", sort],
        [
            "query",
            "SELECT * FROM finra_otc_venue_volume ORDER BY share_volume",
            "--as-of",
            datetime.now(UTC).isoformat(),
        ],
        ["db", "check", "--deep"],
        ["db", "backup", str(folder / "copy.db")],
        ["rebuild", "--into", str(folder / "again.db")],
        ["status"],
        ["diff", finra.keys[0]],
    ):
        done = run(folder, *arguments, "--db", db)
        assert (done.returncode, done.stderr) == (0, ""), arguments
    assert finra.look(str(folder / "again.db")).values == finra.look(db).values
    assert finra.look(str(folder / "copy.db")) == finra.look(db)


def _timeless(text: str) -> list[str]:
    """Lines without the one that says what time it is."""
    return [line for line in text.splitlines() if not line.startswith("clock ")]


AFTER_THE_LOAD = "a moment after the load"
READINGS = (
    ("status",),
    ("runs",),
    ("anomalies",),
    ("captures", "2025-11-14|OTC"),
    ("diff", "2025-11-14|OTC"),
    ("query", "SELECT COUNT(*) FROM finra_otc_venue_volume"),
    ("query", "SELECT COUNT(*) FROM finra_otc_venue_volume", "--as-of", AFTER_THE_LOAD),
    ("db", "check"),
)


@pytest.mark.parametrize("by", ["root", "another user", "the owner"])
def test_a_read_only_folder_is_read_without_complaint(
    finra: Finra, place: Path, run: Run, others: Others, by: str
) -> None:
    """Whoever reads a database in a folder that cannot be written gets the answers as ever, and nothing on stderr."""
    folder = place / "archive"
    folder.mkdir()
    db = folder / "held.db"
    for data in (finra.first, finra.restated):
        finra.load(str(db), data)
    how: dict[str, Any] = {"cwd": place, "capture_output": True, "text": True}
    usual = {}
    now = datetime.now(UTC).isoformat()
    readings = [tuple(now if word is AFTER_THE_LOAD else word for word in each) for each in READINGS]
    for arguments in readings:
        command = [sys.executable, "-m", "market_spine", *arguments, "--db", str(db)]
        first = subprocess.run(command, check=False, **how)
        assert first.returncode == 0, first
        usual[arguments] = _timeless(first.stdout)
    assert all(usual.values())
    for path in folder.glob("held.db-*"):
        path.unlink()
    db.chmod(0o444)
    uid = 65101
    if by == "the owner":
        os.chown(db, uid, uid)
        os.chown(folder, uid, uid)
    folder.chmod(0o555)
    for arguments in readings:
        if by == "root":
            done = run(folder, *arguments, "--db", str(db), writable=False)
        else:
            command = [others.python, "-m", "market_spine", *arguments, "--db", str(db)]
            done = subprocess.run(command, check=False, **how, **others.how(uid))
        assert (done.returncode, done.stderr, _timeless(done.stdout)) == (0, "", usual[arguments]), arguments
        assert [path.name for path in folder.iterdir()] == ["held.db"]


def test_a_dry_run_reads_a_read_only_folder(finra: Finra, place: Path, run: Run) -> None:
    """A dry run compares with a database in a folder that cannot be written; a run says that it cannot be written."""
    folder = place / "archive"
    folder.mkdir()
    db = str(folder / "held.db")
    finra.load(db, finra.first)
    arguments = finra.arguments(db, finra.first)
    result = SchedulerResult.from_json(run(folder, *arguments, "--mode", "dry-run", writable=False).stdout)
    assert (result.exit_code, result.stats.skipped) == (0, 2)
    result = SchedulerResult.from_json(run(folder, *arguments, writable=False).stdout)
    assert result.error is not None
    assert (result.exit_code, result.error.kind) == (1, "store_unavailable")
    assert "cannot be written" in result.error.message
