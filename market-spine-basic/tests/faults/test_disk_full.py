"""A disk without room, for whatever writes: named, nothing half is left, and done once there is room."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from market_spine.testing import run_command

if TYPE_CHECKING:
    from tests.faults.conftest import Finra


def mounted(disk: Path, megabytes: int, mode: str = "0755") -> bool:
    """Mount a small disk; False where that cannot be done."""
    disk.mkdir(parents=True)
    options = f"size={megabytes}m,mode={mode}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    able = not os.geteuid() and shutil.which("mount") is not None
    return able and not subprocess.run(mount, capture_output=True, check=False).returncode


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    place = tmp_path / "disk"
    if not mounted(place, 4):
        pytest.skip("a disk of our own cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def left(disk: Path) -> list[str]:
    """What is on the disk beside the ballast."""
    return sorted(path.name for path in disk.iterdir() if path.name != "ballast")


def fill(disk: Path, spare: int) -> None:
    """Leave so many bytes free."""
    room = os.statvfs(disk)
    (disk / "ballast").write_bytes(b"\0" * max(0, room.f_bavail * room.f_frsize - spare))


@pytest.mark.parametrize("spare", [0, 8192, 65_536])
def test_a_copy_that_has_no_room_is_named_and_leaves_nothing(
    finra: Finra, disk: Path, spare: int, record_property: Any
) -> None:
    """Backups, rebuilt databases, new ones and files of --out say that there is no room, and are not there."""
    record_property("full disks", 3)
    db = str(finra.cwd / "whole.db")
    finra.load(db, finra.first)
    fill(disk, spare)
    (capture,) = json.loads(run_command("captures", "2025-11-21|OTC", "--db", db, "--json", cwd=finra.cwd).stdout)[
        "captures"
    ][:1]
    commands = {
        "backup": ["db", "backup", str(disk / "b.db"), "--db", db],
        "rebuild": ["rebuild", "--into", str(disk / "r.db"), "--db", db],
        "payload": ["payload", capture["capture_id"], "--part", "ATS", "--out", str(disk / "p"), "--db", db],
    }
    for name, arguments in commands.items():
        done = run_command(*arguments, cwd=finra.cwd)
        if name == "payload" and spare > 8192:
            continue
        assert done.code == 1, name
        assert "full" in done.stderr or "No space left" in done.stderr, (name, done.stderr)
        assert "Traceback" not in done.stderr
        assert left(disk) == [], name
    (disk / "ballast").unlink()
    assert run_command(*commands["backup"], cwd=finra.cwd).code == 0


def test_room_is_looked_at_before_a_commit(finra: Finra, disk: Path) -> None:
    """A partition that has no room is not begun: the file is as it was, and the run is recorded in what is left."""
    db = str(disk / "own.db")
    finra.load(db, finra.first)
    before = finra.look(db)
    fill(disk, 200 * 1024)
    size = Path(db).stat().st_size
    result = finra.load(db, finra.restated)
    assert {run.error.kind for run in result.runs if run.error} == {"disk_full"}
    assert "needed" in next(run.error.message for run in result.runs if run.error)
    assert not any("not in core_runs" in warning for warning in result.warnings)
    assert Path(db).stat().st_size == size
    assert finra.look(db).tables == before.tables
    (disk / "ballast").unlink()
    assert finra.load(db, finra.restated).exit_code == 0


@pytest.fixture
def small_postgres(postgres_server: Callable[[int], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The address of a PostgreSQL database on a disk of sixteen megabytes, and how to fill that."""
    import psycopg

    if "TEST_DATABASE_URL" in os.environ:
        pytest.skip("the server is somebody else's")
    server = postgres_server(18)
    socket = Path(psycopg.conninfo.conninfo_to_dict(server)["host"])  # type: ignore[arg-type]
    place = socket.parent / "small-disk"
    if not mounted(place, 16, "0777"):
        pytest.skip("a disk of our own cannot be mounted here")
    owner = socket.stat()
    (place / "space").mkdir()
    os.chown(place / "space", owner.st_uid, owner.st_gid)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{place / 'space'}'".encode())
        connection.execute("CREATE DATABASE small TABLESPACE small TEMPLATE template0 ENCODING 'UTF8'")
    yield urlsplit(server)._replace(path="/small").geturl(), place
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE small WITH (FORCE)")
        connection.execute("DROP TABLESPACE small")
    subprocess.run(["umount", str(place)], check=True)
    place.rmdir()


def test_a_full_disk_of_the_server_is_named(finra: Finra, small_postgres: tuple[str, Path]) -> None:
    """Where PostgreSQL's disk is full, partitions fail as `disk_full` and keep what was there; so does a query that
    has to sort on disk; with room again the rerun completes."""
    db, place = small_postgres
    finra.load(db, finra.first)
    before = finra.look(db)
    fill(place, 0)
    result = finra.load(db, finra.restated)
    errors = [*(run.error for run in result.runs if run.error), *([result.error] if result.error else [])]
    assert {error.kind for error in errors} == {"disk_full"}
    (place / "ballast").unlink()
    assert finra.look(db).tables == before.tables
    fill(place, 2_000_000)
    series = "SELECT * FROM generate_series(1, 900000) AS g(n) ORDER BY n % 7919, n"
    spilt = run_command("query", series, "--format", "csv", "--db", db, cwd=finra.cwd)
    assert (spilt.code, "disk" in spilt.stderr, "Traceback" in spilt.stderr) == (1, True, False)
    (place / "ballast").unlink()
    assert finra.load(db, finra.restated).exit_code == 0
