"""The Python API: handles, frames and records, the same on every store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import market_spine as ms
from market_spine.app.scheduling import SchedulerResult
from market_spine.read.frame import Frame
from market_spine.read.spine import Spine, connect

pytestmark = pytest.mark.usefixtures("harbor")

LANDINGS = [("2025-03-01", "ada", 10.0), ("2025-03-01", "bela", 20.0), ("2025-03-02", "ada", 30.0)]
FIRST = datetime(2025, 3, 9, 12, 0, 30, tzinfo=UTC)
"""Between the first run and the second."""
NOW = datetime(2025, 3, 10, tzinfo=UTC)


@pytest.fixture
def own_store(run: Callable[..., SchedulerResult], folder: Path, database: str) -> str:
    """A store with three days of landings, of which the first was restated a minute later."""
    assert run().stats.failed == 0
    (folder / "2025-03-01.txt").write_text("ada 11\nbela 20\n")
    assert run().stats.failed == 0
    return database


@pytest.fixture
def own_spine(own_store: str) -> Iterator[Spine]:
    """A handle on the present of that store."""
    with connect(own_store, lambda: NOW) as opened:
        yield opened


@pytest.fixture(scope="module")
def stores() -> dict[str, str]:
    """Kind of database to a store of it that the tests share."""
    return {}


@pytest.fixture
def store(request: pytest.FixtureRequest, database: str, stores: dict[str, str]) -> str:
    """Such a store, which other tests read, too: not to be written."""
    kind = "postgresql" if database.startswith("postgresql") else "sqlite"
    if kind not in stores:
        stores[kind] = request.getfixturevalue("own_store")
    return stores[kind]


@pytest.fixture
def spine(store: str) -> Iterator[Spine]:
    """A handle on the present of that store."""
    with connect(store, lambda: NOW) as opened:
        yield opened


def landings(frame: Frame) -> list[tuple[str, str, float]]:
    """Day, ship and tons of the first two days."""
    found = frame.polars().filter(pl.col("day") < date(2025, 3, 3)).sort("day", "ship")
    return [(str(day), ship, tons) for day, ship, tons in found.select("day", "ship", "tons").iter_rows()]


@pytest.mark.process
def test_the_import_is_light() -> None:
    """Importing the package imports nothing of ours but itself, and no library."""
    code = (
        "import sys; before = set(sys.modules); import market_spine as ms; new = set(sys.modules) - before;"
        "print(sorted(name for name in new if name.partition('.')[0] not in sys.stdlib_module_names))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "['market_spine']"


def test_opening_says_what_is_not_there(tmp_path: Path) -> None:
    """A store that does not exist is an error at once, and none is made."""
    with pytest.raises(ms.StoreError, match="there is no database"):
        ms.open(str(tmp_path / "none.db"))
    assert not (tmp_path / "none.db").exists()


def test_open_takes_the_environments_database(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address it is the one that every command uses."""
    monkeypatch.setenv("DATABASE_URL", store)
    with ms.open() as spine:
        assert landings(spine.table("harbor_landing"))[0] == ("2025-03-01", "ada", 11.0)
        assert "now" in repr(spine)


def test_handles_show_now_and_then(spine: Spine) -> None:
    """A handle as of a moment, in any spelling, or of a capture shows what was known then, also in views."""
    restated = [("2025-03-01", "ada", 11.0), *LANDINGS[1:]]
    assert landings(spine.table("harbor_landing")) == restated
    (last,) = spine.captures("2025-03-03", "harbor")
    moments: list[Any] = [FIRST, FIRST.isoformat(), "2025-03-09T12:00:30Z", last.capture_id]
    for moment in moments:
        with spine.as_of(moment) as then:
            assert landings(then.table("harbor_landing")) == LANDINGS
            assert landings(then.sql("SELECT * FROM harbor_landing")) == LANDINGS
            assert then.table("harbor_total", where={"day": "2025-03-01"}).polars()["tons"].to_list() == [30.0]
    assert landings(spine.table("harbor_landing")) == restated


def test_before_the_first_commit_there_are_empty_typed_frames(spine: Spine) -> None:
    """A date means its first instant in UTC; tables, views and statements have their columns and no rows."""
    for moment in (date(2025, 3, 9), "2025-03-09"):
        then = spine.as_of(moment)
        assert then.moment == datetime(2025, 3, 9, tzinfo=UTC)
        frame = then.table("harbor_landing").polars()
        assert (frame.height, dict(frame.schema)["day"], dict(frame.schema)["tons"]) == (0, pl.Date(), pl.Float64())
        assert dict(then.table("harbor_heavy").polars().schema) == {"day": pl.Date(), "ship": pl.String()}
        assert then.sql("SELECT SUM(tons) AS tons FROM harbor_landing").polars().rows() == [(None,)]
        assert then.captures("2025-03-01", "harbor") == []
        assert list(then.runs()) == []


@pytest.mark.parametrize("moment", [datetime(2025, 3, 9, 12), "2025-03-09T12:00:00", "2025-03-09 12:00"])  # noqa: DTZ001
def test_moments_without_zone_are_refused(moment: Any, spine: Spine) -> None:
    """Nobody knows what they mean."""
    with pytest.raises(ms.UsageError, match="no time zone"):
        spine.as_of(moment)


def test_moments_to_come_and_unknown_captures_are_refused(spine: Spine) -> None:
    """What will be known is not known."""
    with pytest.raises(ms.UsageError, match="not passed"):
        spine.as_of(datetime(2100, 1, 1, tzinfo=UTC))
    with pytest.raises(ms.UsageError, match="neither a moment nor a capture"):
        spine.as_of("harbor:nothing")


def test_a_frame_keeps_its_moment(own_spine: Spine, run: Callable[..., SchedulerResult], folder: Path) -> None:
    """Rows that were asked for before a commit are read as of then, however late and often."""
    table, statement = own_spine.table("harbor_landing"), own_spine.sql("SELECT * FROM harbor_landing")
    before = landings(table)
    assert table.as_of is not None
    (folder / "2025-03-02.txt").write_text("ada 99\n")
    run("2025-03-02")
    assert landings(table) == landings(statement) == before
    later = own_spine.table("harbor_landing")
    assert ("2025-03-02", "ada", 99.0) in landings(later)
    assert later.as_of is not None
    assert later.as_of > table.as_of


def test_a_frame_tells_moment_and_captures(spine: Spine) -> None:
    """Its text names the moment, the captures that brought its rows, and its columns with types."""
    newest = [each.capture_id for each in spine.captures("2025-03-01", "harbor")][-1]
    frame = spine.as_of(FIRST).table("harbor_landing")
    assert "2025-03-09T12:00:30+00:00" in repr(frame)
    assert "3 captures" in repr(frame)
    assert newest not in repr(frame)
    now = spine.table("harbor_landing", columns=["ship"], where={"day": "2025-03-01", "ship": "ada"})
    assert now.captures == (newest,)
    assert newest in repr(now)
    assert "ship String" in repr(now)
    assert spine.sql("SELECT DISTINCT capture_id FROM harbor_landing WHERE tons = 11").captures == (newest,)
    assert spine.table("harbor_heavy").captures == ()
    assert "no captures" in repr(spine.sql("SELECT 1 AS one"))


def test_a_frame_is_whatever_its_reader_wants(spine: Spine, tmp_path: Path) -> None:
    """Polars, DuckDB, PyArrow and pandas take it as it is; all of them see the same rows and types."""
    frame = spine.table("harbor_landing", ["day", "ship", "tons"])
    expected = frame.polars().sort("day", "ship")
    assert expected.height == 5
    assert pl.DataFrame(frame).sort("day", "ship").equals(expected)
    summed = duckdb.sql("SELECT day, SUM(tons) AS tons FROM frame WHERE ship = 'ada' GROUP BY 1 ORDER BY 1")
    assert pl.DataFrame(summed).row(0) == (date(2025, 3, 1), 11.0)
    assert pl.DataFrame(pa.table(frame)).sort("day", "ship").equals(expected)
    assert pl.DataFrame(pa.RecordBatchReader.from_stream(frame)).sort("day", "ship").equals(expected)
    assert frame.arrow().schema.field("ship").type == pa.large_string()
    assert frame.arrow().schema.field("day").type == pa.date32()
    table = frame.pandas()
    assert table["day"].dtype == pd.ArrowDtype(pa.date32())
    assert table["tons"].sum() == expected["tons"].sum()
    frame.to_parquet(tmp_path / "landing.parquet")
    assert pl.read_parquet(tmp_path / "landing.parquet").sort("day", "ship").equals(expected)
    assert [file.name for file in tmp_path.glob("*.part")] == []


@pytest.mark.parametrize(("library", "way"), [("pyarrow", "arrow"), ("pyarrow", "pandas"), ("pandas", "pandas")])
def test_a_missing_library_is_named(library: str, way: str, spine: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only an extra brings is an error that says which."""
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ms.UsageError, match=f"needs {library}") as error:
        getattr(spine.table("harbor_landing"), way)()
    assert "[pandas]" in error.value.hint


def test_the_command_writes_parquet(store: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """``query --format parquet`` gives the declared types, of an empty answer, too."""
    from io import BytesIO

    from market_spine.cli.main import root
    from market_spine.cli.main import run as command

    for where, height in (("", 2), (" AND ship = 'none'", 0)):
        sql = f"SELECT * FROM harbor_landing WHERE day = '2025-03-01'{where}"
        assert command(root, ["query", sql, "--format", "parquet", "--db", store], "market-spine") == 0
        frame = pl.read_parquet(BytesIO(capfdbinary.readouterr().out))
        assert frame.height == height
        assert [*frame.schema.values()][:3] == [pl.Date(), pl.String(), pl.Float64()]


def test_an_empty_frame_keeps_its_types_everywhere(spine: Spine, tmp_path: Path) -> None:
    """No rows are rows of the declared types, in each form."""
    for frame in (
        spine.table("harbor_landing", ["day", "tons"], where={"ship": "none"}),
        spine.sql("SELECT day, tons FROM harbor_landing WHERE ship = 'none'"),
    ):
        types = {"day": pl.Date(), "tons": pl.Float64()}
        assert dict(frame.polars().schema) == types
        assert dict(pl.DataFrame(frame).schema) == types
        assert [piece.height for piece in frame.batches()] == [0]
        frame.to_parquet(tmp_path / "none.parquet")
        assert dict(pl.read_parquet_schema(tmp_path / "none.parquet")) == types
        assert frame.arrow().num_rows == 0


def test_a_file_that_cannot_be_written_leaves_nothing(spine: Spine, tmp_path: Path) -> None:
    """A folder that is not there is an error, and there is no file; an error while rows are read leaves none either."""
    with pytest.raises(ms.StoreError, match="cannot be written"):
        spine.table("harbor_landing").to_parquet(tmp_path / "none" / "file.parquet")
    with pytest.raises((ms.MarketSpineError, pl.exceptions.PolarsError)):
        spine.sql("SELECT CAST(ship AS DATE) AS d FROM harbor_landing").to_parquet(tmp_path / "file.parquet")
    assert list(tmp_path.glob("*file.parquet*")) == []


def test_statements_take_values_limits_and_time(spine: Spine) -> None:
    """Parameters are values, a limit is the first rows, and a statement ends with its time."""
    found = spine.sql("SELECT ship FROM harbor_landing WHERE tons > $tons ORDER BY tons", {"tons": 10}, limit=2)
    assert found.polars()["ship"].to_list() == ["ada", "bela"]
    assert spine.sql("SELECT ship FROM harbor_landing", limit=0).polars().shape == (0, 1)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) AS n FROM n"
    with pytest.raises(ms.UsageError, match="took longer than"):
        spine.sql(endless, timeout=0.3).polars()
    wrongs: list[dict[str, Any]] = [{"limit": -1}, {"timeout": 0}]
    for wrong in wrongs:
        with pytest.raises(ms.UsageError, match="positive"):
            spine.sql("SELECT 1 AS one", **wrong)
    with pytest.raises(ms.UsageError, match="only reading statements"):
        spine.sql("DELETE FROM harbor_landing").polars()
    with pytest.raises(ms.UsageError, match="are called"):
        spine.sql("SELECT 1 AS a, 2 AS a").polars()


def test_tables_tell_what_there_is(spine: Spine) -> None:
    """What can be read, with kinds and meaning; each can be read by its name."""
    found = {each.name: each for each in spine.tables()}
    assert found["harbor_landing"].doc == "What each ship landed."
    assert found["harbor_heavy"].document() == {
        "name": "harbor_heavy",
        "sort": "view",
        "domain": "harbor",
        "columns": {"day": "date", "ship": "text"},
        "partition_by": [],
        "doc": "Heavy cargo.",
    }
    for each in found.values():
        assert list(spine.table(each.name).schema) == list(each.columns)


def test_records_are_those_of_the_commands(
    own_spine: Spine, own_store: str, capsys: pytest.CaptureFixture[str], run: Callable[..., SchedulerResult]
) -> None:
    """The documents of captures, diff, runs, anomalies and status are what the commands write as JSON."""
    import json

    from market_spine.cli.main import root
    from market_spine.cli.main import run as command

    def told(*arguments: str) -> Any:
        capsys.readouterr()
        assert command(root, [*arguments, "--db", own_store, "--json"], "market-spine") == 0
        return json.loads(capsys.readouterr().out)

    run("2025-03-05", run_date="2025-03-09")  # late: an anomaly
    key, domain = "2025-03-01", ("--domain", "harbor")
    listed = [each.document() for each in own_spine.captures(key, "harbor")]
    assert told("captures", key, *domain)["captures"] == listed
    assert told("diff", key, *domain) == own_spine.diff(key, domain="harbor").document()
    assert told("runs") == [each.document() for each in own_spine.runs()]
    assert told("anomalies") == [each.document() for each in own_spine.anomalies()]
    since = own_spine.captures("2025-03-03", "harbor")[-1].capture_id
    assert told("changes", "--since", since, *domain) == own_spine.changes(since, domain="harbor").document()
    (grid,) = own_spine.status("harbor")
    assert told("status", *domain)[0]["partitions"] == grid.document()["partitions"]


def test_a_diff_shows_old_and_new(spine: Spine) -> None:
    """One ship's cargo moved; as of before there is nothing to compare."""
    found = spine.diff("2025-03-01", domain="harbor")
    assert (found.rows.change.added, found.rows.change.removed, found.rows.change.changed) == (0, 0, 1)
    ((old, new),) = found.rows.pairs()
    assert (old["ship"], old["tons"], new["tons"]) == ("ada", 10.0, 11.0)
    with spine.as_of(FIRST) as then, pytest.raises(ms.UsageError, match="two are needed"):
        then.diff("2025-03-01", domain="harbor")


def test_changes_tell_what_was_restated(spine: Spine) -> None:
    """Since a moment or a capture: one row of one day, its total before and after; nothing since the last commit."""
    (last,) = spine.captures("2025-03-03", "harbor")
    for since in (FIRST, last.capture_id):
        found = spine.changes(since, domain="harbor", table="harbor_landing")
        ((restated),) = found.restated
        assert (restated.partition.key, restated.diff.change.changed) == ("2025-03-01", 1)
        assert spine.changes(since, FIRST, domain="harbor").restated == []
    with spine.as_of(FIRST) as then:
        assert then.changes(last.capture_id, domain="harbor").restated == []
        with pytest.raises(ms.UsageError, match="comes before"):
            spine.changes(FIRST, "2025-03-09")


def test_records_of_the_past_are_those_of_then(spine: Spine) -> None:
    """Captures, runs and states as of a moment are what they were."""
    with spine.as_of(FIRST) as then:
        assert [each.status for each in then.captures("2025-03-01", "harbor")] == ["current"]
        assert len(then.runs()) == 1
        assert len(spine.runs()) == 2
        states = {each.partition_key: each.state for grid in then.status("harbor", 10) for each in grid.states}
        assert states["2025-03-01"] == "captured"
    now = {each.partition_key: each.state for grid in spine.status("harbor", 1000) for each in grid.states}
    assert now["2025-03-01"] == "revised"


def test_nothing_can_be_written_through_a_handle(spine: Spine) -> None:
    """A handle has no method that writes, and its connection refuses to, as of a moment, too."""
    for handle in (spine, spine.as_of(FIRST)):
        assert not [name for name in dir(handle) if name in ("commit", "execute", "write", "replace")]
        with pytest.raises(ms.StoreError):
            handle.store._db.run("DELETE FROM core_payloads")


def test_a_closed_handle_opens_anew(spine: Spine) -> None:
    """Closing releases the connection; the handle can be used again."""
    spine.close()
    spine.close()
    assert landings(spine.table("harbor_landing"))[0] == ("2025-03-01", "ada", 11.0)
