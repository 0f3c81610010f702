"""``market-spine publish --format iceberg``: tables that any engine reads as of any moment."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StaticTable

from market_spine.publish import iceberg
from market_spine.publish.iceberg import publish_iceberg
from market_spine.publish.lakefolder import LakeFolder
from market_spine.publish.unpublished import GRACE
from market_spine.read.spine import Spine, connect

from .lakes import EVERYTHING, TABLES, Port, Row, as_known, live

pytestmark = [pytest.mark.usefixtures("harbor"), pytest.mark.parametrize("database", ["sqlite"], indirect=True)]


@pytest.fixture
def port(database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Port:
    """A harbor without loads."""
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    return Port(tmp_path, database, capsys)


def publish(port: Port) -> Any:
    """Publish, and what it answers."""
    code, told = port("publish", "--to", str(port.lake), "--format", "iceberg")
    assert code == 0, told
    return told


def catalog_of(lake: Path) -> SqlCatalog:
    """The catalog of a lake, as its users open it."""
    return SqlCatalog("market_spine", uri=f"sqlite:///{lake}/catalog.db", warehouse=f"file://{lake}")


def by_catalog(lake: Path, moments: Sequence[datetime]) -> Iterator[list[Row]]:
    """All rows as of each moment, that pyiceberg finds by a condition, counted together by DuckDB."""
    catalog = catalog_of(lake)
    for moment in moments:
        at = f"'{moment.isoformat()}'"
        known = f"captured_at <= {at} and (superseded_at is null or superseded_at > {at})"
        with duckdb.connect() as engine:
            for name in TABLES:
                engine.register(name, catalog.load_table(f"market_spine.{name}").scan(known).to_arrow())
            yield sorted(engine.execute(EVERYTHING).fetchall())


def by_state(lake: Path, moments: Sequence[datetime]) -> Iterator[list[Row]]:
    """All rows as of each moment, that Polars finds in the states that ``_current.json`` names."""
    states = json.loads((lake / "_current.json").read_text())["tables"]
    yield from as_known({name: pl.scan_iceberg(str(lake / states[name])).collect() for name in TABLES}, moments)


def files_of(lake: Path, suffix: str = ".parquet") -> set[Path]:
    """The files of a lake."""
    return {path for path in lake.rglob(f"*{suffix}") if path.name != "_current.json"}


@pytest.mark.soak
def test_moments_read_from_iceberg_are_as_the_store_shows_them(port: Port) -> None:
    """After loads, restatements and decisions, pyiceberg with DuckDB, and Polars, read what ``query --as-of`` shows;
    a publication writes the partitions that something came to, and says at last through when."""
    dice = random.Random(34)
    port.load(d01="ada 10\nbela 20\n", d02="ada 30\n", d04="caro 5\n")
    assert publish(port)["status"] == "published"
    seen = {path: path.stat().st_mtime_ns for path in port.lake.rglob("*") if path.is_file()}
    assert publish(port)["status"] == "unchanged"
    assert {path: path.stat().st_mtime_ns for path in port.lake.rglob("*") if path.is_file()} == seen
    before = files_of(port.lake)
    port.load(d02="ada 31\nbela 1\n")
    told = {each["name"]: (each["files"], each["rows"]) for each in publish(port)["tables"]}
    assert told["harbor_landing"] == (1, 3)
    assert {path.parent.name for path in files_of(port.lake / "harbor_landing") - before} == {"day=2025-03-02"}
    for _ in range(2):
        live(port, dice)
    published_through = publish(port)["published_through"]
    catalog = catalog_of(port.lake)
    assert catalog.load_namespace_properties("market_spine")["published_through"] == published_through
    manifest = pl.scan_iceberg(catalog.load_table("market_spine.core_manifest")).collect()
    with connect(port.db) as spine:
        assert manifest.height == spine.store.query("SELECT COUNT(*) FROM core_manifest").rows[0][0]
    commits = manifest["committed_at"].unique().sort().to_list()
    assert published_through == port.current()["published_through"] == commits[-1].isoformat(timespec="microseconds")
    moments = [*commits, *(commits[0] + (commits[-1] - commits[0]) * dice.random() for _ in range(4))]
    wanted = port.stored(moments)
    assert len({str(rows) for rows in wanted}) > 3
    assert list(by_state(port.lake, moments)) == wanted
    assert list(by_catalog(port.lake, moments[-3:])) == wanted[-3:]


def test_a_state_that_a_reader_may_still_use_stays_for_a_day(port: Port) -> None:
    """What ``_current.json`` named is read as it was until the grace period is over; then its files go, and so does
    at once what a killed publication left."""
    port.load(d01="ada 10\n", d02="ada 20\n")
    publish(port)
    state = str(port.lake / port.current()["tables"]["harbor_landing"])
    (data,) = [path for path in files_of(port.lake / "harbor_landing") if "day=2025-03-01" in str(path)]
    orphan = data.with_name("0123.parquet")
    orphan.write_bytes(b"half")
    port.load(d01="ada 11\n")
    assert publish(port)["removed"] > 0
    assert not orphan.exists()
    now = datetime.now(UTC)
    for later, there in ((GRACE - timedelta(minutes=5), True), (GRACE + timedelta(minutes=5), False)):
        with connect(port.db, lambda at=now + later: at) as spine:
            assert publish_iceberg(spine, "lake", LakeFolder(port.lake)).status == "unchanged"
        assert data.exists() == there
        if there:
            assert sorted(pl.scan_iceberg(state).collect()["tons"]) == [10.0, 20.0]
    moment = datetime.fromisoformat(port.current()["published_through"])
    assert list(by_state(port.lake, [moment])) == list(by_catalog(port.lake, [moment])) == port.stored([moment])
    states = (StaticTable.from_metadata(str(port.lake / each)) for each in port.current()["tables"].values())
    known = {Path(task.file.file_path.removeprefix("file://")) for each in states for task in each.scan().plan_files()}
    assert files_of(port.lake) == known


def test_what_is_no_lake_of_this_store_and_form_is_refused(
    port: Port, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of Parquet files, another's history, an address, a publisher at work and a missing extra each have an
    error of their own; without ``_current.json`` everything is published anew."""
    port.load(d01="ada 10\n")
    publish(port)
    plain = Port(tmp_path, port.db, capsys)
    plain.lake = tmp_path / "plain"
    plain.publish()
    other = Port(tmp_path, str(tmp_path / "other.db"), capsys)
    other.load(d01="ada 11\n")

    def refused(who: Port, to: str, form: str = "iceberg") -> Any:
        code, told = who("publish", "--to", to, "--format", form)
        assert code == 1
        return told["error"]

    assert "format parquet" in refused(port, str(plain.lake))["message"]
    assert "format iceberg" in refused(port, str(port.lake), "parquet")["message"]
    assert "another store" in refused(other, str(port.lake))["message"]
    assert "lies in a folder" in refused(port, "s3://bucket/lake")["hint"]
    with LakeFolder(port.lake).publishing():
        assert refused(port, str(port.lake))["kind"] == "locked"
    (port.lake / "_current.json").unlink()
    assert publish(other)["status"] == "published"
    moment = datetime.fromisoformat(other.current()["published_through"])
    assert list(by_catalog(port.lake, [moment])) == other.stored([moment])
    monkeypatch.setattr(iceberg, "find_spec", lambda _name: None)
    assert refused(port, str(port.lake))["hint"] == "pip install 'market-spine-basic[iceberg]'"


class Killed(BaseException):
    """What nothing on the way catches: from here on the publisher does nothing any more."""


COMMITS = ((SqlCatalog, "commit_table"), (SqlCatalog, "update_namespace_properties"), (LakeFolder, "commit"))
"""What makes something known to readers."""


def ends_before(number: int, spine: Spine, lake: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Publish, and end before the commit with a number, from 1; whether there was one."""
    left = iter(range(number - 1))

    def planted(call: Any) -> Any:
        def ending(*arguments: Any, **named: Any) -> Any:
            if next(left, None) is None:
                raise Killed
            return call(*arguments, **named)

        return ending

    with monkeypatch.context() as patch:
        for place, name in COMMITS:
            patch.setattr(place, name, planted(getattr(place, name)))
        try:
            publish_iceberg(spine, "lake", LakeFolder(lake))
        except Killed:
            return True
    return False


@pytest.mark.soak
def test_an_end_before_any_commit_is_healed_by_the_next(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended before any commit of a table, of the watermark or of ``_current.json``, a publication leaves the states
    that are named, and rows as of the watermark, as they were; the next one finishes it."""
    port.load(d01="ada 10\n", d02="ada 20\n")
    with connect(port.db) as spine:
        assert ends_before(3, spine, port.lake, monkeypatch)
    publish(port)
    old = datetime.fromisoformat(port.current()["published_through"])
    (was,) = port.stored([old])
    assert list(by_catalog(port.lake, [old])) == [was]
    port.load(d01="ada 11\n")
    kept = port.lake.rename(port.lake.with_name("kept"))
    with connect(port.db) as spine:
        new = spine.store.settled(spine.store.query("SELECT MAX(committed_at) FROM core_manifest").rows[0][0])
        for point in count(1):
            shutil.rmtree(port.lake, ignore_errors=True)
            shutil.copytree(kept, port.lake)
            if not ends_before(point, spine, port.lake, monkeypatch):
                break
            assert port.current()["published_through"] == old.isoformat(timespec="microseconds")
            assert list(by_state(port.lake, [old])) == [was]
            if point % 3 == 0:
                assert list(by_catalog(port.lake, [old])) == [was]
                publish_iceberg(spine, "lake", LakeFolder(port.lake))
                assert list(by_state(port.lake, [new])) == list(by_catalog(port.lake, [new])) == port.stored([new])
    assert point > 5
