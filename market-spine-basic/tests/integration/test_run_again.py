"""Workers that are lost, and tasks that are done twice in one run: every partition's outcome is true and complete."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from market_spine import compose, registry
from market_spine.app.pipeline import run_partition
from market_spine.app.runner import run_plan
from market_spine.app.scheduling import SchedulerResult
from market_spine.app.task import Outcome, Task
from market_spine.compose import utc_now
from market_spine.store import open_reader, parse_url

pytestmark = pytest.mark.usefixtures("harbor")

Run = Callable[..., SchedulerResult]


class Here:
    """Workers that are this thread; what becomes of each task is said by what they are given."""

    def __init__(self, work: Callable[[Task], Outcome]) -> None:
        self.work = work

    def slots(self) -> int:
        """Two tasks are in flight."""
        return 2

    def start(self, task: Task) -> Future[Outcome]:
        """Done at once."""
        future: Future[Outcome] = Future()
        try:
            future.set_result(self.work(task))
        except ConnectionError as error:
            future.set_exception(error)
        return future

    def tell_stop(self) -> None:
        """Nobody waits."""


def twice(task: Task) -> Outcome:
    """The first worker is lost after its commit; the second answers."""
    run_partition(task)
    return run_partition(task)


def lost_after_commit(task: Task) -> Outcome:
    """The worker is lost after its commit, and nobody answers."""
    run_partition(task)
    raise ConnectionError("gone")


def lost_on_the_second(task: Task) -> Outcome:
    """The worker of one partition is lost before it does anything."""
    if task.partition.key == "2025-03-02":
        raise ConnectionError("gone")
    return run_partition(task)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Task], Outcome]], None]:
    """Let runs use workers elsewhere from now on."""

    def use(work: Callable[[Task], Outcome]) -> None:
        monkeypatch.setattr(compose, "run_plan", partial(run_plan, executor=Here(work)))

    return use


def told(result: SchedulerResult) -> dict[str, Any]:
    """What a result says, but for times and its run's id."""
    return {
        "status": result.status,
        "stats": result.stats,
        "runs": [replace(run, duration_ms=0) for run in result.runs],
        "anomalies": sorted(result.anomalies, key=repr),
        "warnings": result.warnings,
    }


def sightings(database: str) -> list[tuple[Any, ...]]:
    """How often each anomaly was seen, and what the manifest has."""
    with open_reader(parse_url(database), registry.domains(), clock=utc_now) as reader:
        seen = reader.query("SELECT partition_key, kind, count FROM core_anomalies").rows
        entries = reader.query("SELECT partition_key, stage, status, capture_id FROM core_manifest").rows
    return [*sorted(seen), *sorted(entries)]


def restate(folder: Path) -> None:
    """A revision, a payload that is held, one whose calculation fails, one with other bytes but the same rows."""
    (folder / "2025-03-01.txt").write_text("ada 10000\nbela 20\ncaro 1\n")
    (folder / "2025-03-02.txt").write_text("".join(f"no number {each}\n" for each in range(30)) + "ada 30\n")
    (folder / "2025-03-03.txt").write_text("BREAK 5\ncaro 7\n")
    (folder / "2025-03-04.txt").write_text("caro 2\nada 1\n")


DAYS = "2025-03-01,2025-03-02,2025-03-03,2025-03-04"


@pytest.mark.parametrize("work", [twice, lost_after_commit])
def test_what_was_committed_before_a_worker_was_lost_is_the_answer(
    run: Run,
    folder: Path,
    tmp_path: Path,
    database: str,
    workers: Callable[..., None],
    work: Callable[[Task], Outcome],
) -> None:
    """A task done again after its commit, or whose worker is lost after it, answers as one that was done once."""
    from harbor import run_harbor

    (folder / "2025-03-04.txt").write_text("ada 1\ncaro 2\n")
    once = str(tmp_path / "once.db")
    serial = [run_harbor(folder, DAYS, db=once, run_date="2025-03-09")]
    restate(folder)
    serial.append(run_harbor(folder, DAYS, db=once, run_date="2025-03-09"))

    (folder / "2025-03-01.txt").write_text("ada 10\nbela 20\n")
    (folder / "2025-03-02.txt").write_text("ada 30\n")
    (folder / "2025-03-03.txt").write_text("ada 5\ncaro 7\n")
    (folder / "2025-03-04.txt").write_text("ada 1\ncaro 2\n")
    workers(work)
    found = [run(DAYS)]
    restate(folder)
    found.append(run(DAYS))
    assert [told(each) for each in found] == [told(each) for each in serial]
    assert sightings(database) == sightings(once)


def test_a_lost_worker_fails_its_partition_and_no_other(run: Run, workers: Callable[..., None], database: str) -> None:
    """What was lost before it was done is worker_lost of its partition alone, and the next run mends it."""
    workers(lost_on_the_second)
    result = run()
    failed = [(each.partition_key, each.error.kind) for each in result.runs if each.error]
    assert failed == [("2025-03-02", "worker_lost")]
    assert (result.stats.attempted, result.stats.succeeded, result.stats.failed) == (3, 2, 1)
    workers(run_partition)
    again = run()
    assert (again.stats.succeeded, again.stats.failed, again.stats.skipped) == (2, 0, 1)
    assert [each.status for each in again.runs if each.partition_key == "2025-03-02"][:3] == ["completed"] * 3


def test_a_signal_lets_tasks_in_flight_end_and_starts_no_other(run: Run, workers: Callable[..., None]) -> None:
    """Once told to stop, what is in flight is waited for, and the rest is named."""
    asked: list[str] = []

    def work(task: Task) -> Outcome:
        asked.append(task.partition.key)
        return run_partition(task)

    workers(work)
    result = run(hooks={"stop": lambda: len(asked) > 0})
    assert asked == ["2025-03-01"]
    assert result.stats.attempted == 1
    assert "stopped by a signal; not started: 2025-03-02, 2025-03-03" in result.warnings
