"""``market-spine publish``: a lake that any engine reads as of any moment, on every store."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import sqlglot

from market_spine.errors import StoreLocked, UsageError
from market_spine.publish.lake import publish
from market_spine.publish.lakefolder import LakeFolder
from market_spine.publish.unpublished import GRACE
from market_spine.read.spine import connect

from .lakes import Port, by_duckdb, by_polars, live

pytestmark = pytest.mark.usefixtures("harbor")


@pytest.fixture
def port(database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Port:
    """A harbor without loads."""
    return Port(tmp_path, database, capsys)


@pytest.mark.soak
def test_a_hundred_moments_are_as_the_store_shows_them(port: Port) -> None:
    """After loads, restatements, retractions and acceptances, published now and then, both engines read what
    ``query --as-of`` shows as of a hundred moments: those of the commits, just before them, and any."""
    dice = random.Random(15)
    port.load(d01="ada 10\nbela 20\n", d02="ada 30\n")
    for number in range(10):
        live(port, dice)
        if number % 4 == 0:
            port.publish()
    told = port.publish()
    manifest = pl.read_parquet([port.lake / file for file in port.current()["tables"]["core_manifest"]])
    commits = manifest["committed_at"].unique().sort().to_list()
    assert told["published_through"] == commits[-1].isoformat(timespec="microseconds")
    span = (commits[-1] - commits[0]).total_seconds()
    moments = [*commits, *(moment - timedelta(microseconds=1) for moment in commits[1:])][:60]
    moments += [commits[0] + timedelta(seconds=dice.random() * span) for _ in range(100 - len(moments))]
    wanted = port.stored(moments)
    assert len({len(rows) for rows in wanted}) > 3
    assert list(by_duckdb(port.lake, moments)) == wanted
    assert list(by_polars(port.lake, moments)) == wanted


def test_only_what_something_came_to_is_written(port: Port) -> None:
    """A restated day has new files where its own rows, or those of a window over it, changed; a publication with
    nothing new writes nothing, and says so."""
    port.load(d01="ada 10\n", d02="ada 20\n", d03="ada 30\n", d04="ada 40\n")
    first = port.publish()
    assert first["status"] == "published"
    before = port.current()
    seen = {path: path.stat().st_mtime_ns for path in port.lake.rglob("*") if path.is_file()}
    again = port.publish()
    assert (again["status"], again["files"], again["tables"], again["removed"]) == ("unchanged", 0, [], 0)
    assert {path: path.stat().st_mtime_ns for path in port.lake.rglob("*") if path.is_file()} == seen
    port.load(d03="ada 31\n")
    assert port.publish()["status"] == "published"
    after = port.current()
    kept = set(before["tables"]["harbor_landing"]) & set(after["tables"]["harbor_landing"])
    assert sorted(file.split("/")[1][:10] for file in kept) == ["2025-03-01", "2025-03-02", "2025-03-04"]
    recent = set(before["tables"]["harbor_recent"]) & set(after["tables"]["harbor_recent"])
    assert sorted(file.split("/")[1][:10] for file in recent) == ["2025-03-01", "2025-03-02"]
    assert all(len(files) == len({file.rpartition("-")[0] for file in files}) for files in after["tables"].values())


def test_what_a_reader_may_still_use_stays_for_a_day(port: Port) -> None:
    """Files that were replaced stay until the grace period is over; others that only publications leave go at once."""
    port.load(d01="ada 10\n", d02="ada 20\n")
    port.publish()
    (old,) = [file for file in port.current()["tables"]["harbor_landing"] if "2025-03-01" in file]
    orphan = port.lake / (old.rpartition("-")[0] + "-0123456789ab.parquet")
    orphan.write_bytes(b"half")
    mine = port.lake / "harbor_landing/notes.txt"
    mine.write_text("a reader's own")
    port.load(d01="ada 11\n")
    assert port.publish()["removed"] == 1
    assert not orphan.exists()
    assert pl.read_parquet(port.lake / old)["tons"].to_list() == [10.0]
    now = datetime.now(UTC)
    for later, there in ((GRACE - timedelta(minutes=5), True), (GRACE + timedelta(minutes=5), False)):
        with connect(port.db, lambda at=now + later: at) as spine:
            assert publish(spine, "lake", LakeFolder(port.lake)).status == "unchanged"
        assert (port.lake / old).exists() == there
    assert mine.exists()


def test_one_publisher_at_a_time(port: Port) -> None:
    """A second is refused while one is at work, and not after it."""
    port.load(d01="ada 10\n")
    place = LakeFolder(port.lake)
    with place.publishing():
        code, told = port("publish", "--to", str(port.lake), "--format", "parquet")
        assert code == 1
        assert told["error"]["kind"] == StoreLocked.default_kind
    assert port.publish()["status"] == "published"


def test_another_place_or_history_is_refused(port: Port, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with something else in it, one that cannot be made, and the lake of another store stay as they are."""
    port.load(d01="ada 10\n")
    port.publish()
    before = port.current()
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers/thesis.txt").write_text("years of work")
    refused = {
        str(tmp_path / "papers"): "no lake",
        str(tmp_path / "none/lake"): "does not exist",
        "gs://b/l": "address",
    }
    for place, said in refused.items():
        code, told = port("publish", "--to", place, "--format", "parquet")
        assert (code, told["error"]["kind"]) == (1, UsageError.default_kind)
        assert said in told["error"]["message"]
    assert [path.name for path in (tmp_path / "papers").iterdir()] == ["thesis.txt"]
    other = Port(tmp_path, str(tmp_path / "other.db"), capsys)
    other.load(d01="ada 11\n")
    code, told = other("publish", "--to", str(port.lake), "--format", "parquet")
    assert code == 1
    assert "another store" in told["error"]["message"]
    assert port.current() == before
    (port.lake / "_current.json").unlink()
    assert other.publish()["status"] == "published"
    moment = datetime.fromisoformat(other.current()["published_through"])
    assert list(by_polars(port.lake, [moment])) == other.stored([moment])


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_every_engine_takes_its_sql(port: Port) -> None:
    """What is shipped for engines that are not here parses in their dialects and names every file."""
    port.load(d01="ada 10\n")
    port.publish()
    files = [file for each in port.current()["tables"].values() for file in each]
    for engine in ("duckdb", "spark", "trino", "snowflake"):
        sql = (port.lake / f"views.{engine}.sql").read_text()
        kinds = {type(each).__name__ for each in sqlglot.parse(sql, read=engine) if each is not None}
        assert kinds <= {"Create", "Drop"}
        assert all(file.split("/")[1] in sql for file in files)


KILLS = """
import os, shutil, signal, sys
from pathlib import Path
import duckdb, nanoarrow
from market_spine.cli.main import root, run

before, works, db = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
left = 0


def planted(call):
    def killing(*arguments, **named):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return killing


def publish(lake):
    child = os.fork()
    if child == 0:
        os._exit(run(root, ["publish", "--to", str(lake), "--format", "parquet", "--db", db], "market-spine"))
    return os.waitpid(child, 0)[1]


os.fsync, Path.replace, Path.unlink = planted(os.fsync), planted(Path.replace), planted(Path.unlink)
for point in range(1, 1000):
    lake = works / str(point)
    shutil.copytree(before, lake)
    left = point
    if publish(lake) != signal.SIGKILL:
        break
    if point % 3:
        continue
    shutil.copytree(lake, works / f"{point}-healed")
    left = 0
    assert publish(works / f"{point}-healed") == 0
"""


@pytest.mark.process
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_kill_anywhere_leaves_the_lake_as_it_was_or_as_it_will_be(
    port: Port, tmp_path: Path, tiny_site: Path
) -> None:
    """Killed before any call that settles, moves or removes a file, a publication has happened whole or not
    at all, and the next one finishes it and leaves no file that nobody knows."""
    port.load(d01="ada 10\n", d02="ada 20\n")
    port.publish()
    port.load(d01="ada 11\n")
    works = tmp_path / "works"
    works.mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", KILLS, str(port.lake), str(works), port.db],
        env={"PYTHONPATH": str(tiny_site)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    old = datetime.fromisoformat(port.current()["published_through"])
    with connect(port.db) as spine:
        new = spine.store.settled(spine.store.query("SELECT MAX(committed_at) FROM core_manifest").rows[0][0])
    ((was, will),) = [port.stored([old, new])]
    points = sorted(int(path.name) for path in works.iterdir() if path.name.isdigit())
    assert len(points) > 20
    outcomes = set()
    for point in points:
        lake = works / str(point)
        through = datetime.fromisoformat(json.loads((lake / "_current.json").read_text())["published_through"])
        assert list(by_polars(lake, [through])) == [{old: was, new: will}[through]]
        outcomes.add(through)
        healed = works / f"{point}-healed"
        if not healed.exists():
            continue
        said = json.loads((healed / "_current.json").read_text())
        assert list(by_duckdb(healed, [new])) == [will]
        known = {file for files in said["tables"].values() for file in files}
        known.update(each["file"] for each in said["replaced"])
        assert {str(path.relative_to(healed)) for path in healed.rglob("*.parquet")} == known
    assert outcomes == {old, new}
