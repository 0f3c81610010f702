"""``market-spine export``: every table and view in another tool's form, whole or not at all, on every store."""

from __future__ import annotations

import csv
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from market_spine.app.scheduling import SchedulerResult
from market_spine.cli.main import root
from market_spine.cli.main import run as command
from market_spine.errors import StoreUnavailable, UsageError
from market_spine.publish.export import export
from market_spine.publish.place import building
from market_spine.read.spine import Spine, connect
from market_spine.store import open_writer, parse_url

pytestmark = [pytest.mark.soak, pytest.mark.usefixtures("harbor")]

FORMATS = ("parquet", "csv", "duckdb", "sqlite")
TYPES = {
    "day": pl.Date(),
    "ship": pl.String(),
    "tons": pl.Float64(),
    "capture_id": pl.String(),
    "captured_at": pl.Datetime("us", "UTC"),
}
FEW = ("harbor_landing", "harbor_total", "core_runs")
"""What is exported where it does not matter what: tables and a view of a domain, and one of the platform's."""
FIRST = datetime(2025, 3, 9, 12, 0, 30, tzinfo=UTC)
NOW = datetime(2025, 3, 10, tzinfo=UTC)


@pytest.fixture
def store(run: Callable[..., SchedulerResult], folder: Path, database: str) -> str:
    """Three days of landings, the first restated a minute later; no tides."""
    run()
    (folder / "2025-03-01.txt").write_text('ada 11\nbela 20\n"x,y" 1\n')
    run()
    return database


@pytest.fixture
def spine(store: str) -> Any:
    """A handle on that store's present."""
    with connect(store, lambda: NOW) as opened:
        yield opened


def exported(place: Path, form: str, table: str) -> list[tuple[Any, ...]]:
    """A table's rows in an export, as that form's own reader gives them, sorted."""
    if form == "parquet":
        return sorted(pl.scan_parquet(place / table / "*.parquet").collect().rows())
    if form == "csv":
        files = sorted((place / table).iterdir())
        return sorted(tuple(row) for file in files for row in list(csv.reader(file.read_text().splitlines()))[1:])
    if form == "duckdb":
        with duckdb.connect(str(place), read_only=True) as opened:
            return sorted(opened.execute(f"FROM {table}").fetchall())
    with sqlite3.connect(place) as lite:
        return sorted(lite.execute(f"SELECT * FROM {table}").fetchall())


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_has_the_rows(form: str, spine: Spine, tmp_path: Path) -> None:
    """Days, texts, numbers and moments arrive as each form has them: dates as dates where there are dates."""
    place = tmp_path / "out"
    result = export(spine, place, form)
    frame = spine.table("harbor_landing").polars().sort("day", "ship")
    rows = [(*row[:-1], row[-1].astimezone(UTC)) for row in frame.rows()]
    found = exported(place, form, "harbor_landing")
    if form == "parquet":
        assert found == rows
    elif form == "duckdb":
        assert [(*row[:-1], row[-1].astimezone(UTC)) for row in found] == rows
    else:
        spelt = [
            (str(day), ship, tons, name, at.isoformat(timespec="microseconds")) for day, ship, tons, name, at in rows
        ]
        wanted = spelt if form == "sqlite" else [tuple(map(str, row)) for row in spelt]
        assert found == sorted(wanted)
    assert ("harbor_landing", 6) in [(each.name, each.rows) for each in result.tables]
    assert result.as_of == spine.store.latest()
    heavy = exported(place, form, "harbor_heavy")
    assert heavy == []
    names = {each.name for each in spine.tables()}
    assert {each.name for each in result.tables} == names
    assert {"harbor_total", "core_manifest", "core_runs", "core_payloads"} < names


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_shows_one_moment(form: str, spine: Spine, tmp_path: Path) -> None:
    """As of a moment it is what was known then, in the platform's tables, too."""
    place = tmp_path / "out"
    result = export(spine.as_of(FIRST), place, form, tables=FEW)
    assert result.as_of == FIRST
    assert [float(row[2]) for row in exported(place, form, "harbor_landing")][:2] == [10.0, 20.0]
    assert len(exported(place, form, "core_runs")) == 1


def test_what_is_loaded_meanwhile_is_not_in_it(
    spine: Spine, run: Callable[..., SchedulerResult], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load that commits between two tables is in neither."""
    from market_spine.publish import folders

    add = folders.FileFolder.add
    loads = iter([None])

    def slowly(self: Any, relation: Any, rows: Any) -> int:
        written = add(self, relation, rows)
        for _ in loads:
            (folder / "2025-03-02.txt").write_text("ada 99\n")
            assert run().stats.failed == 0
        return written

    monkeypatch.setattr(folders.FileFolder, "add", slowly)
    export(spine, tmp_path / "out", "parquet", tables=["harbor_total", "harbor_landing", "core_runs"])
    landed = pl.scan_parquet(tmp_path / "out/harbor_landing/*.parquet").group_by("day").agg(pl.col("tons").sum())
    totals = pl.scan_parquet(tmp_path / "out/harbor_total/*.parquet").select("day", "tons")
    assert landed.sort("day").collect().equals(totals.sort("day").collect())
    assert len(exported(tmp_path / "out", "parquet", "core_runs")) == 2
    assert len(spine.runs()) == 3


def schema_of(place: Path, form: str, table: str) -> dict[str, str]:
    """Column to declared type in an export's own words."""
    if form == "parquet":
        (file,) = (place / table).iterdir()
        return {name: str(kind) for name, kind in pl.read_parquet_schema(file).items()}
    if form == "csv":
        (file,) = (place / table).iterdir()
        return dict.fromkeys(file.read_text().strip().split(","), "")
    if form == "duckdb":
        with duckdb.connect(str(place), read_only=True) as opened:
            return {row[0]: row[1] for row in opened.execute(f"DESCRIBE {table}").fetchall()}
    with sqlite3.connect(place) as lite:
        return {row[1]: row[2] for row in lite.execute(f"PRAGMA table_info({table})")}


@pytest.mark.parametrize(
    ("form", "types"),
    [
        ("parquet", ["Date", "String", "Float64", "String", "Datetime(time_unit='us', time_zone='UTC')"]),
        ("csv", [""] * 5),
        ("duckdb", ["DATE", "VARCHAR", "DOUBLE", "VARCHAR", "TIMESTAMP WITH TIME ZONE"]),
        ("sqlite", ["DATE", "TEXT", "DOUBLE PRECISION", "TEXT", "TIMESTAMPTZ"]),
    ],
)
def test_a_table_without_rows_has_its_schema(form: str, types: list[str], database: str, tmp_path: Path) -> None:
    """Before anything was loaded every table and view is there with the types of its columns."""
    from harbor import DOMAIN

    open_writer(parse_url(database), [DOMAIN]).close()
    with connect(database) as spine:
        result = export(spine, tmp_path / "out", form, tables=["harbor_landing", "harbor_heavy", "core_runs"])
    assert [each.rows for each in result.tables] == [0, 0, 0]
    assert result.as_of is None
    assert schema_of(tmp_path / "out", form, "harbor_landing") == dict(zip(TYPES, types, strict=True))
    assert list(schema_of(tmp_path / "out", form, "harbor_heavy").values()) == types[:2]


def test_exports_can_be_read_together(spine: Spine, tmp_path: Path) -> None:
    """Files of an empty export, of one as of a moment and of one of now have the same columns and types."""
    names = [each.name for each in spine.tables() if each.name.startswith(("harbor_", "core_"))]
    export(spine.as_of("2025-03-09"), tmp_path / "none", "parquet", tables=names)
    export(spine.as_of(FIRST), tmp_path / "then", "parquet", tables=names)
    export(spine, tmp_path / "now", "parquet", tables=names)
    for table in (tmp_path / "now").iterdir():
        if table.is_dir():
            files = [tmp_path / name / table.name / "*.parquet" for name in ("none", "then", "now")]
            every = pl.scan_parquet(files, glob=True).collect()
            parts = [pl.scan_parquet(file).collect().height for file in files]
            assert parts[0] <= parts[1]
            assert every.height == sum(parts)
            together = duckdb.sql(f"FROM read_parquet({[str(file) for file in files]})")
            assert together is not None
            assert len(together.columns) == every.width
    assert dict(pl.scan_parquet(tmp_path / "none/harbor_landing/*.parquet").collect_schema()) == TYPES


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_each_partition_is_a_file(form: str, spine: Spine, tmp_path: Path) -> None:
    """A file has the rows of one partition and tells in its name which; all columns are in it."""
    export(spine, tmp_path / "out", form, tables=["harbor_landing"])
    files = sorted(file.name for file in (tmp_path / "out/harbor_landing").iterdir())
    assert files == [f"{number:05d}-2025-03-0{number}.{form}" for number in (1, 2, 3)]
    described = json.loads((tmp_path / "out/export.json").read_text())
    (table,) = described["tables"]
    assert table["columns"]["day"] == "date"
    assert (described["rows"], described["format"]) == (6, form)


def test_conditions_choose_rows_of_the_tables_that_have_the_column(spine: Spine, tmp_path: Path) -> None:
    """Values, lists and bounds; a table without the column is whole, and the result says what held for which."""
    result = export(
        spine, tmp_path / "out", "parquet", tables=FEW, where=["ship=ada,bela", "day>=2025-03-02", "day<=2025-03-03"]
    )
    by_name = {each.name: each for each in result.tables}
    landing = pl.scan_parquet(tmp_path / "out/harbor_landing/*.parquet").collect()
    assert set(landing["ship"]) <= {"ada", "bela"}
    assert landing["day"].min() == date(2025, 3, 2)
    assert by_name["harbor_landing"].where == ("ship=ada,bela", "day>=2025-03-02", "day<=2025-03-03")
    assert by_name["harbor_total"].where == ("day>=2025-03-02", "day<=2025-03-03")
    assert (by_name["core_runs"].where, by_name["core_runs"].rows) == ((), 2)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tables": ["harbor_landing", "harbor_dock"]}, "no table or view 'harbor_dock'"),
        ({"where": ["dock=1"]}, "no table to be exported has such a column"),
        ({"where": ["ship"]}, "no condition"),
        ({"where": ["=ada"]}, "no condition"),
        ({"where": ["tons=heavy"]}, "'heavy' is no float"),
        ({"where": ["day=soon"]}, "cannot be a value of day"),
        ({"where": ["ship=ada", "ship=bela"]}, "named twice"),
    ],
)
def test_what_cannot_be_exported_is_said(asked: dict[str, Any], said: str, spine: Spine, tmp_path: Path) -> None:
    """Unknown tables, columns and values are usage errors, and leave nothing."""
    with pytest.raises(UsageError, match=said):
        export(spine, tmp_path / "here", "parquet", **asked)
    assert [file.name for file in tmp_path.iterdir() if "here" in file.name] == []


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_there_stays_unless_it_is_to_be_replaced(form: str, spine: Spine, tmp_path: Path) -> None:
    """An earlier export is kept, or replaced whole; whatever else lies there is never replaced."""
    place = tmp_path / "out"
    export(spine.as_of(FIRST), place, form, tables=FEW)
    with pytest.raises(UsageError, match="is there already"):
        export(spine, place, form, tables=FEW)
    assert len(exported(place, form, "core_runs")) == 1
    export(spine, place, form, tables=FEW, overwrite=True)
    assert len(exported(place, form, "core_runs")) == 2
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".out")] == []
    other = tmp_path / "papers"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is no"):
        export(spine, other, form, overwrite=True)
    assert (other / "thesis.txt").read_text() == "years of work"


def test_an_empty_folder_is_a_place(spine: Spine, tmp_path: Path) -> None:
    """A folder that was made for the export is filled; one that does not exist is not made for others."""
    (tmp_path / "out").mkdir()
    export(spine, tmp_path / "out", "parquet", tables=["harbor_total"])
    assert (tmp_path / "out/export.json").exists()
    with pytest.raises(UsageError, match="does not exist"):
        export(spine, tmp_path / "none/out", "parquet")
    with pytest.raises(UsageError, match="is an address"):
        export(spine, Path("gs://bucket/out"), "parquet")


def test_the_store_itself_is_never_replaced(spine: Spine, store: str, tmp_path: Path) -> None:
    """Neither its file, nor a link to it, nor an export that somebody has open."""
    if spine.path is not None:
        before = Path(store).read_bytes()
        link = tmp_path / "link.db"
        link.symlink_to(store)
        for place in (Path(store), link):
            with pytest.raises(UsageError, match="holds the database"):
                export(spine, place, "sqlite", overwrite=True)
        assert Path(store).read_bytes() == before
    place = tmp_path / "out.db"
    export(spine, place, "sqlite", tables=FEW)
    with sqlite3.connect(place) as opened:
        opened.execute("PRAGMA journal_mode = WAL")
        opened.execute("CREATE TABLE mine (a)")
        opened.commit()
        with pytest.raises(UsageError, match="is open"):
            export(spine, place, "sqlite", overwrite=True)


@pytest.mark.parametrize("form", FORMATS)
def test_an_error_leaves_nothing(form: str, spine: Spine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a table cannot be read, or the export not be written, there is no export and nothing beside it."""
    then = spine.as_of(FIRST)
    read = then.store.table

    def fails(name: str, **how: Any) -> Any:
        if name == "harbor_total":
            raise StoreUnavailable("the database has gone")
        return read(name, **how)

    monkeypatch.setattr(then.store, "table", fails)
    with pytest.raises(StoreUnavailable, match="has gone"):
        export(then, tmp_path / "out", form, tables=FEW)
    assert [file.name for file in tmp_path.iterdir() if "out" in file.name] == []


def test_a_running_export_is_left_alone(tmp_path: Path) -> None:
    """Clearing what dead exports left spares what another builds at the same time."""
    target = tmp_path / "out"
    with building(target, overwrite=False, refuse=lambda _: None) as one:
        one.mkdir()
        (one / "a").touch()
        dead = tmp_path / ".out.0123456789ab.export"
        dead.mkdir()
        (dead / "content").touch()
        with building(target, overwrite=False, refuse=lambda _: None) as other:
            assert one.exists()
            assert not dead.exists()
            other.mkdir()
            (other / "b").touch()
        assert [file.name for file in target.iterdir()] == ["b"]
        (target / "b").unlink()
    assert [file.name for file in target.iterdir()] == ["a"]


def test_a_kill_while_replacing_loses_nothing(tmp_path: Path) -> None:
    """An export that was moved aside and never replaced lies in its place again."""
    aside = tmp_path / ".out.0123456789ab.export/old"
    aside.mkdir(parents=True)
    (aside / "export.json").touch()
    with (
        pytest.raises(UsageError, match="is there already"),
        building(tmp_path / "out", overwrite=False, refuse=lambda _: None),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]
    assert (tmp_path / "out/export.json").exists()


KILLED = """
import os, signal, sys
from market_spine.publish import folders
from market_spine.store import exported
for writer in (folders.FileFolder, exported.DuckdbFile, exported.SqliteFile):
    writer.close = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sys.argv = ["market-spine", "export", *sys.argv[1:]]
from market_spine.cli.main import main
main()
"""


@pytest.mark.process
@pytest.mark.parametrize("form", FORMATS)
def test_a_kill_leaves_nothing_that_looks_whole(
    form: str, store: str, spine: Spine, tmp_path: Path, tiny_site: Path
) -> None:
    """Killed after its last row, an export is not there; the next one clears what it left."""
    place = tmp_path / "out"
    arguments = ["--to", str(place), "--format", form, "--db", store, "--tables", ",".join(FEW)]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], env={"PYTHONPATH": str(tiny_site)}, check=False, capture_output=True
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not place.exists()
    assert len(list(tmp_path.glob(".out.*.export"))) == 1
    export(spine, place, form, tables=FEW)
    assert len(exported(place, form, "core_runs")) == 2
    assert list(tmp_path.glob(".out.*")) == []


def test_the_command_answers_with_json_and_exit_codes(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 and one document for an export, 1 and an error for what cannot be; the same document lies in the export."""
    asked = ["export", "--to", str(tmp_path / "out"), "--format", "parquet", "--db", store, "--json"]
    assert command(root, asked, "market-spine") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "out/export.json").read_text())
    assert {each["name"]: each["rows"] for each in told["tables"]}["harbor_landing"] == 6
    assert command(root, asked, "market-spine") == 1
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "usage"
    few = ["--overwrite", "--tables", ",".join(FEW)]
    assert command(root, [*asked, *few, "--as-of", FIRST.isoformat()], "market-spine") == 0
    assert json.loads(capsys.readouterr().out)["as_of"] == FIRST.isoformat()
    assert command(root, [*asked[:-1], "--overwrite", "--tables", "harbor_total, harbor_heavy"], "market-spine") == 0
    assert "2 tables and views as of" in capsys.readouterr().out
    assert command(root, [*asked, "--overwrite", "--as-of", "2100-01-01"], "market-spine") == 1
