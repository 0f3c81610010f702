"""What happens beside a run, and what a run makes of seeing the same thing twice or just at a limit."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from market_spine import registry
from market_spine.app.scheduling import PipelineRun, SchedulerResult
from market_spine.app.task import Outcome
from market_spine.app.windows import Window, WindowRunner
from market_spine.compose import Hooks, utc_now
from market_spine.core.domain import Domain
from market_spine.core.partition import Partition, Scope
from market_spine.errors import StoreCorrupt
from market_spine.store import open_reader, open_writer, parse_url
from market_spine.store.postgres.database import PostgresDatabase
from market_spine.store.writer import StoreCommit

DAYS = "2025-03-01,2025-03-02,2025-03-03"


class Port:
    """The tiny domain's scheduler over a folder and a database; every run starts a minute after the one before."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder, self.database = folder, database
        self._minutes = count()

    def land(self, day: int, *lines: str) -> None:
        """Write a day's file."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / f"2025-03-{day:02}.txt").write_text("".join(f"{line}\n" for line in lines))

    def run(self, days: str = DAYS, stop_after: int | None = None, **flags: Any) -> SchedulerResult:
        """Run the scheduler in this thread, on its own connections; told to stop once so many partitions are done."""
        from harbor import run_harbor

        ticks = count()
        base = datetime(2025, 3, 9, 12, tzinfo=UTC) + timedelta(minutes=next(self._minutes))
        done: list[Outcome] = []
        hooks = Hooks(
            clock=lambda: base + timedelta(milliseconds=next(ticks)),
            stop=lambda: len(done) == stop_after,
            progress=done.append,
        )
        result: SchedulerResult = run_harbor(self.folder, days, hooks, db=self.database, run_date="2025-03-09", **flags)
        return result

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a user sees."""
        with open_reader(parse_url(self.database), registry.domains(), clock=utc_now) as reader:
            return list(reader.query(sql).rows)


@pytest.fixture(params=["sqlite", "postgresql"])
def port(request: pytest.FixtureRequest, tmp_path: Path, harbor: None) -> Port:
    """The scheduler on a fresh store of either kind."""
    if request.param == "postgresql":
        return Port(tmp_path / "landings", request.getfixturevalue("new_postgres")())
    return Port(tmp_path / "landings", str(tmp_path / "harbor.db"))


@pytest.fixture
def server_port(new_postgres: Callable[[], str], tmp_path: Path, harbor: None) -> Port:
    """The scheduler on PostgreSQL, its connections under a name of their own."""
    return Port(tmp_path / "landings", f"{new_postgres()}&application_name={uuid.uuid4().hex}")


def recent(port: Port) -> list[tuple[Any, ...]]:
    """The windows: day and cargo."""
    return port.rows("SELECT day, tons FROM harbor_recent ORDER BY day")


def three_days(port: Port) -> None:
    """Ten, twenty and forty tons on three days."""
    for day, tons in ((1, 10), (2, 20), (3, 40)):
        port.land(day, f"ada {tons}")


def restate_first_day(port: Port) -> None:
    """Another scheduler loads a restated first day, and is stopped before it computes any window."""
    port.land(1, "ada 100")
    assert port.run("2025-03-01", stop_after=1).stats.succeeded == 1


def test_an_input_that_moves_while_a_window_is_computed(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window whose input another run restates meanwhile is computed again, from the rows that stand in the end."""
    from harbor import Recent

    three_days(port)
    compute = Recent.compute
    disturbances: Iterator[Callable[[], object]] = iter([lambda: restate_first_day(port)])

    def disturbed(self: Any, partition: Partition, *arguments: Any) -> Any:
        found = compute(self, partition, *arguments)
        if partition.key == "2025-03-03":
            next(disturbances, lambda: None)()
        return found

    monkeypatch.setattr(Recent, "compute", disturbed)
    assert port.run().exit_code == 0
    assert recent(port)[2] == ("2025-03-03", 160.0)
    assert port.run().exit_code == 0
    assert recent(port) == [("2025-03-01", 100.0), ("2025-03-02", 120.0), ("2025-03-03", 160.0)]


def test_an_input_that_moves_while_a_window_is_written(server_port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL, where partitions are committed side by side, an input may even move after its window's rows were
    written: that transaction is undone and the window computed again."""
    port = server_port
    three_days(port)
    in_line = StoreCommit.last_in_line
    disturbances: Iterator[Callable[[], object]] = iter([lambda: None, lambda: None, lambda: restate_first_day(port)])

    def disturbed(self: StoreCommit) -> None:
        next(disturbances, lambda: None)()
        in_line(self)

    monkeypatch.setattr(StoreCommit, "last_in_line", disturbed)
    result = port.run()
    assert result.exit_code == 0
    assert [run.status for run in result.runs if run.pipeline == "harbor.compute_recent"] == ["completed"] * 3
    assert recent(port)[2] == ("2025-03-03", 160.0)
    entries = port.rows("SELECT COUNT(*) FROM core_manifest WHERE stage = 'recent' AND partition_key = '2025-03-03'")
    assert entries == [(1,)]


def test_a_window_that_another_run_wrote_meanwhile_is_up_to_date(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs that compute the same window write it once: the later one says that it is up to date."""
    from harbor import Recent

    three_days(port)
    compute = Recent.compute
    disturbances: Iterator[Callable[[], object]] = iter([port.run])

    def disturbed(self: Any, partition: Partition, *arguments: Any) -> Any:
        found = compute(self, partition, *arguments)
        if partition.key == "2025-03-03":
            next(disturbances, lambda: None)()
        return found

    monkeypatch.setattr(Recent, "compute", disturbed)
    result = port.run()
    assert (result.runs[-1].partition_key, result.runs[-1].reason) == ("2025-03-03", "up_to_date")
    assert port.rows("SELECT COUNT(*) FROM core_manifest WHERE stage = 'recent'") == [(3,)]
    assert recent(port)[2] == ("2025-03-03", 70.0)


def test_a_window_whose_connection_is_cut_fails_alone(server_port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server drops every connection between two windows, the next window fails as store_unavailable, those
    after it are computed over a new connection, and a rerun completes the one."""
    import psycopg

    port = server_port
    three_days(port)
    url = parse_url(port.database)
    parameters = dict(url.parameters)
    doomed = parameters.pop("application_name")
    asked, compute = count(1), WindowRunner.run

    with psycopg.connect("", autocommit=True, **parameters) as admin:  # type: ignore[arg-type]

        def cut(self: WindowRunner, window: Window) -> PipelineRun:
            if next(asked) == 2:
                ended = admin.execute(
                    "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = %s",
                    (doomed,),
                ).fetchall()
                # One that had just been closed may still be listed, and cannot be ended any more.
                assert (True,) in ended
            return compute(self, window)

        monkeypatch.setattr(WindowRunner, "run", cut)
        result = port.run()
    windows = [run for run in result.runs if run.pipeline == "harbor.compute_recent"]
    assert [run.error.kind if run.error else run.status for run in windows] == [
        "completed",
        "store_unavailable",
        "completed",
    ]
    assert result.exit_code == 2
    assert recent(port) == [("2025-03-01", 10.0), ("2025-03-03", 70.0)]
    again = port.run()
    assert again.exit_code == 0
    assert recent(port) == [("2025-03-01", 10.0), ("2025-03-02", 30.0), ("2025-03-03", 70.0)]


def test_rows_that_somebody_else_closed(
    new_postgres: Callable[[], str],
    domain: Domain,
    partition: Partition,
    harvest: Callable[..., Any],
    enter: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row that a program beside ours closes between our reading and our closing it is a contradiction: the whole
    write is refused, and what the other did stands."""
    import psycopg

    url = parse_url(new_postgres())
    scope = Scope({"day": "2025-01-03", "plot": "north"})
    read_frame = PostgresDatabase.read_frame

    def meddle() -> Iterator[None]:
        parameters = dict(url.parameters)
        with psycopg.connect("", autocommit=True, **parameters) as other:  # type: ignore[arg-type]
            other.execute(f"UPDATE {url.schema}.garden_harvest_versions SET superseded_by = 9 WHERE crop = 'leek'")
        yield

    def meddled(self: PostgresDatabase, *arguments: Any, **options: Any) -> Any:
        found = read_frame(self, *arguments, **options)
        next(meddling, None)
        return found

    with open_writer(url, [domain]) as store:
        with store.commit(partition) as commit:
            entry = enter(commit, partition, capture_id="a")
            commit.replace(domain.tables[0], scope, harvest(leek=1, kale=2), entry.manifest_id)
        meddling = meddle()
        monkeypatch.setattr(PostgresDatabase, "read_frame", meddled)
        with pytest.raises(StoreCorrupt, match="does not hold the rows"), store.commit(partition) as commit:
            commit.replace(domain.tables[0], scope, harvest(onion=3), 7)
        assert store.read(domain.tables[0], scope)["crop"].to_list() == ["kale"]


def test_an_anomaly_seen_again_is_counted(port: Port) -> None:
    """The same failure on a later day is one anomaly seen twice; once it has ended, the next one is another."""
    columns = "kind, count, first_seen < last_seen, resolved_at IS NULL"
    found = f"SELECT {columns} FROM core_anomalies ORDER BY first_seen"
    port.land(1, "<html>")
    port.run("2025-03-01")
    assert port.rows(found) == [("html", 1, 0, 1)]
    first_seen = port.rows("SELECT first_seen FROM core_anomalies")
    port.run("2025-03-01")
    port.run("2025-03-01")
    assert port.rows(found) == [("html", 3, 1, 1)]
    assert port.rows("SELECT first_seen FROM core_anomalies") == first_seen
    port.land(1, "ada 1")
    port.run("2025-03-01")
    assert port.rows(found) == [("html", 3, 1, 0)]
    port.land(1, "<html>")
    port.run("2025-03-01")
    assert port.rows(found) == [("html", 3, 1, 0), ("html", 1, 0, 1)]


@pytest.mark.parametrize(("good", "bad", "held"), [(19, 1, False), (18, 1, True), (38, 2, False), (37, 2, True)])
def test_rejects_at_the_limit(port: Port, good: int, bad: int, held: bool) -> None:
    """Exactly five per cent of rejected rows are let through; a row less among the good ones holds the payload."""
    port.land(1, *(f"ship{number} 1" for number in range(good)), *(f"ship{number} x" for number in range(bad)))
    run = port.run("2025-03-01").runs[0]
    assert (run.error.kind if run.error else None) == ("reject_budget" if held else None)
    assert port.rows("SELECT COUNT(*) FROM harbor_landing") == [(0 if held else good,)]
    assert port.rows("SELECT COUNT(*) FROM core_rejects") == [(bad,)]


@pytest.mark.parametrize(("left", "held"), [(5, False), (4, True)])
def test_shrinking_to_the_limit(port: Port, left: int, held: bool) -> None:
    """A payload of exactly half the rows becomes current; one of fewer is held."""
    port.land(1, *(f"ship{number} 1" for number in range(10)))
    port.run("2025-03-01")
    port.land(1, *(f"ship{number} 1" for number in range(left)))
    run = port.run("2025-03-01").runs[0]
    assert (run.error.kind if run.error else None) == ("shrunk" if held else None)
    assert port.rows("SELECT COUNT(*) FROM harbor_landing") == [(10 if held else left,)]
