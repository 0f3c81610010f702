"""A store whose last commit lies ahead of the clock: nothing more is committed, and what was is put right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from market_spine import registry
from market_spine.app.rebuild import MomentClock, Report, not_after, rebuild
from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import Hooks, utc_now
from market_spine.core.notice import Notice
from market_spine.errors import StoreError, UsageError
from market_spine.settings import clock_wait
from market_spine.store import StoreUrl, check, open_reader, open_writer, parse_url
from market_spine.store.fresh import new_store
from market_spine.store.moments import FURTHEST_AHEAD, wait_out
from market_spine.testing import run_command

NOW = datetime(2025, 3, 9, 12, tzinfo=UTC)
AHEAD = NOW.replace(year=2096)
DAYS = "2025-03-01,2025-03-02,2025-03-03"

Load = Callable[..., SchedulerResult]


@pytest.fixture
def load(folder: Path, database: str, harbor: None) -> Load:
    """Load landings while the clock says something."""
    from harbor import run_harbor

    def start(now: datetime, days: str = DAYS, **flags: Any) -> SchedulerResult:
        ticks = iter(range(10**6))
        hooks = Hooks(clock=lambda: now + timedelta(milliseconds=next(ticks)))
        result: SchedulerResult = run_harbor(folder, days, hooks, db=database, run_date="2025-03-09", **flags)
        return result

    return start


def counts(database: str) -> dict[str, int]:
    """How many rows the tables of records have."""
    names = ("core_manifest", "core_run_starts", "core_run_ends", "core_anomaly_events", "core_decisions")
    with open_reader(parse_url(database), registry.domains()) as reader:
        return {name: reader.query(f"SELECT COUNT(*) FROM {name}").rows[0][0] for name in names}


def moved_back(database: str, new: StoreUrl, last: datetime) -> Report:
    """Rebuild so that nothing is of a later moment."""
    clock = MomentClock(utc_now())
    with open_reader(parse_url(database), registry.domains(), clock=utc_now) as source:
        log = source.log()
        with new_store(new, registry.domains(), clock) as target:
            return rebuild(log, source, target, clock, registry.domains(), accept=False, last=last)


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path, database: str) -> StoreUrl:
    """Where a new store of the same kind can be made."""
    if parse_url(database).kind == "postgresql":
        return parse_url(request.getfixturevalue("new_postgres")())
    return parse_url(str(tmp_path / "new.db"))


def test_nothing_is_committed_before_the_last_commit(load: Load, database: str, folder: Path) -> None:
    """After one run whose clock was decades ahead the next is refused as `clock`, naming both moments, and has written
    nothing; `db check` says so of every table that knows such a moment."""
    assert load(AHEAD).exit_code == 0
    before = counts(database)
    (folder / "2025-03-01.txt").write_text("ada 11\n")
    result = load(NOW)
    assert (result.exit_code, result.error and result.error.kind) == (1, "clock")
    assert result.error is not None
    assert "2096-03-09T12:00" in result.error.message
    assert "2025-03-09T12:00" in result.error.message
    assert "--not-after" in result.error.hint
    assert counts(database) == before
    wrong = [each for each in check(parse_url(database), registry.domains()) if not each.ok]
    assert {each.name for each in wrong} == {"clock"}
    assert {each.message.split()[0] for each in wrong} >= {"core_manifest", "core_run_starts", "core_run_ends"}
    assert all("--not-after" in each.hint for each in wrong)


@pytest.mark.parametrize(("behind", "kind"), [(299, None), (301, "clock"), (3600, "clock")])
def test_five_minutes_are_the_limit(load: Load, database: str, behind: int, kind: str | None) -> None:
    """A clock that is less than five minutes behind the last commit commits after it; one that is more does not."""
    load(NOW, "2025-03-01")
    with open_reader(parse_url(database), registry.domains()) as reader:
        last = reader.history("harbor", "2025-03-01")[-1].committed_at
    result = load(last - timedelta(seconds=behind), "2025-03-02")
    assert (result.error.kind if result.error else None) == kind
    if kind is None:
        with open_reader(parse_url(database), registry.domains()) as reader:
            assert reader.history("harbor", "2025-03-02")[0].committed_at > last


def test_a_rebuild_moves_what_lies_ahead(load: Load, database: str, elsewhere: StoreUrl, folder: Path) -> None:
    """Commits, anomalies, runs and notices of a wrong clock come right before the moment named, in their order; what
    was before stays; the new store is sound, shows its rows, and is loaded on."""
    load(NOW, "2025-03-01")
    (folder / "2025-03-01.txt").write_text("ada 11\nbela 20\n")
    load(AHEAD)
    load(AHEAD + timedelta(hours=1), "2025-03-04")
    with open_writer(parse_url(database), registry.domains(), clock=lambda: AHEAD + timedelta(hours=2)) as writer:
        (late,) = [each for each in writer.anomalies() if each.anomaly.kind == "late"]
        told = Notice("webhook", "harbor", "2025-03-04", "late", late.first_seen, "opened", "error")
        writer.record_notices([told])
        old = writer.log()
    last = NOW + timedelta(hours=1)
    report = moved_back(database, elsewhere, last)
    assert len(report.moved) == len([past for past in old if past.moment > last])
    assert any(move.startswith("2025-03-01: 2096-03-09T12:00") for move in report.moved)
    with open_reader(elsewhere, registry.domains(), clock=utc_now) as reader:
        new = reader.log()
        moments = [past.moment for past in new]
        assert moments == sorted(set(moments))
        assert moments[-1] == last
        kept = len(old) - len(report.moved)
        assert [type(past) for past in new] == [type(past) for past in old]
        assert moments[:kept] == [past.moment for past in old[:kept]]
        rows = reader.query("SELECT ship, tons FROM harbor_landing WHERE day = '2025-03-01'", as_of=last).rows
        assert sorted(rows) == [("ada", 11.0), ("bela", 20.0)]
        (again,) = [each for each in reader.anomalies() if each.anomaly.kind == "late"]
        assert again.first_seen <= last
        assert reader.query("SELECT first_seen FROM core_notifications").rows == [(again.first_seen.isoformat(),)]
        assert all(run.started_at <= last and (run.finished_at or last) <= last for run in reader.runs())
    assert [each for each in check(elsewhere, registry.domains(), deep=True) if not each.ok] == []


def test_a_log_is_moved_only_where_it_must_be() -> None:
    """A log that ends in time stays; of one that does not, what the moved would overtake is moved, too."""
    from market_spine.core.commitlog import PastNotices

    moments = [NOW, NOW + timedelta(seconds=1), NOW + timedelta(days=1), NOW + timedelta(days=2)]
    log = [PastNotices(moment, ()) for moment in moments]
    assert not_after(log, moments[-1]) == (log, [])
    found, moved = not_after(log, moments[1])
    step = timedelta(microseconds=1)
    assert [past.moment for past in found] == [NOW, moments[1] - 2 * step, moments[1] - step, moments[1]]
    assert len(moved) == 3


def test_a_clock_can_be_waited_for(load: Load, database: str) -> None:
    """A wait that is long enough ends when the last commit is no longer too far ahead; a shorter one is not begun."""
    load(NOW, "2025-03-01")
    waited: list[float] = []
    with open_writer(parse_url(database), registry.domains(), clock=lambda: NOW) as writer:
        last = writer.log()[-1].moment
        behind = last - FURTHEST_AHEAD - timedelta(seconds=90)
        wait_out(writer._db, lambda: behind, 100, waited.append)
        wait_out(writer._db, lambda: behind, 80, waited.append)
        wait_out(writer._db, lambda: last, 100, waited.append)
    assert waited == [90.0]


def test_how_long_to_wait_is_a_number() -> None:
    """``MARKET_SPINE_CLOCK_WAIT`` takes seconds, none by default, and refuses anything else."""
    assert (clock_wait({}), clock_wait({"MARKET_SPINE_CLOCK_WAIT": " 600\n"})) == (0, 600)
    for text in ("-1", "nan", "inf", "ten"):
        with pytest.raises(UsageError, match="CLOCK_WAIT"):
            clock_wait({"MARKET_SPINE_CLOCK_WAIT": text})


def test_a_schema_is_not_changed_either(load: Load, database: str) -> None:
    """Migrations are commits, too."""
    load(AHEAD, "2025-03-01")
    with open_writer(parse_url(database), registry.domains(), clock=lambda: AHEAD) as writer:
        writer._db.run("DELETE FROM core_migrations WHERE set_name = 'views:harbor'")
    with pytest.raises(StoreError, match="the clock says") as error:
        open_writer(parse_url(database), registry.domains(), clock=lambda: NOW)
    assert error.value.kind == "clock"


@pytest.mark.process
def test_the_command_moves_and_says_so(tmp_path: Path, tiny_site: Path, load: Load, database: str) -> None:
    """`rebuild --not-after` names each move; a moment that has not been, or is none, is a usage error."""
    if parse_url(database).kind == "postgresql":
        pytest.skip("the command is the same on both")
    load(AHEAD, "2025-03-01")
    base = ("rebuild", "--db", database, "--into", "new.db", "--not-after")
    for wrong in ("2096-01-01", "yesterday", "9999-12-31T23:59:59-10:00"):
        refused = run_command(*base, wrong, cwd=tmp_path, path=[tiny_site])
        assert (refused.code, "--not-after" in refused.stderr, (tmp_path / "new.db").exists()) == (1, True, False)
    done = run_command(*base, "2025-03-10", cwd=tmp_path, path=[tiny_site])
    assert done.code == 0, done.stderr
    assert "moved: 2025-03-01: 2096-03-09T12:00" in done.stdout
    assert run_command("db", "check", "--db", "new.db", cwd=tmp_path, path=[tiny_site]).code == 0
