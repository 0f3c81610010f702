"""Workers that are lost, and tasks that are done twice in one run: every partition's outcome is true and complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from market_spine import compose, registry
from market_spine.app.executing import WindowName, compute_windows
from market_spine.app.pipeline import run_partition
from market_spine.app.runner import run_plan
from market_spine.app.scheduling import PipelineRun, SchedulerResult
from market_spine.app.task import Outcome, Run, Task
from market_spine.compose import utc_now
from market_spine.store import open_reader, parse_url

pytestmark = pytest.mark.usefixtures("harbor")

T = TypeVar("T")
Start = Callable[..., SchedulerResult]
Fate = Callable[[Callable[[], Any], str], Any]
"""Does a piece of work, named, or loses it."""


class Here:
    """Workers that are this thread; what becomes of each piece of work is said by what they are given."""

    def __init__(self, fate: Fate) -> None:
        self.fate = fate
        self.run: Run

    def slots(self) -> int:
        """Two tasks are in flight."""
        return 2

    def start(self, task: Task) -> Future[Outcome]:
        """Done at once."""
        self.run = task.run
        return self._answered(lambda: run_partition(task), task.partition.key)

    def start_windows(self, names: Sequence[WindowName]) -> Future[list[PipelineRun]]:
        """Done at once."""
        return self._answered(lambda: compute_windows(self.run, names, lambda: False), "windows")

    def tell_stop(self) -> None:
        """Nobody waits."""

    def _answered(self, work: Callable[[], T], name: str) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(self.fate(work, name))
        except ConnectionError as error:
            future.set_exception(error)
        return future


def once(work: Callable[[], Any], _name: str) -> Any:
    """Nothing happens to the worker."""
    return work()


def twice(work: Callable[[], Any], _name: str) -> Any:
    """The first worker is lost after its commits; the second answers."""
    work()
    return work()


def lost_after_commit(work: Callable[[], Any], _name: str) -> Any:
    """The worker is lost after its commits, and nobody answers."""
    work()
    raise ConnectionError("gone")


def lost_on_the_second(work: Callable[[], Any], name: str) -> Any:
    """The worker of one partition is lost before it does anything."""
    if name == "2025-03-02":
        raise ConnectionError("gone")
    return work()


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fate], None]:
    """Let runs use workers elsewhere from now on."""

    def use(fate: Fate) -> None:
        monkeypatch.setattr(compose, "run_plan", partial(run_plan, executor=Here(fate)))

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


@pytest.mark.parametrize("fate", [twice, lost_after_commit])
def test_what_was_committed_before_a_worker_was_lost_is_the_answer(
    run: Start,
    folder: Path,
    tmp_path: Path,
    database: str,
    workers: Callable[..., None],
    fate: Fate,
) -> None:
    """A task done again after its commit, or whose worker is lost after it, answers as one that was done once."""
    from harbor import run_harbor

    (folder / "2025-03-04.txt").write_text("ada 1\ncaro 2\n")
    serially = str(tmp_path / "serial.db")
    serial = [run_harbor(folder, DAYS, db=serially, run_date="2025-03-09")]
    restate(folder)
    serial.append(run_harbor(folder, DAYS, db=serially, run_date="2025-03-09"))

    (folder / "2025-03-01.txt").write_text("ada 10\nbela 20\n")
    (folder / "2025-03-02.txt").write_text("ada 30\n")
    (folder / "2025-03-03.txt").write_text("ada 5\ncaro 7\n")
    (folder / "2025-03-04.txt").write_text("ada 1\ncaro 2\n")
    workers(fate)
    found = [run(DAYS)]
    restate(folder)
    found.append(run(DAYS))
    assert [told(each) for each in found] == [told(each) for each in serial]
    assert sightings(database) == sightings(serially)


def test_a_lost_worker_fails_its_partition_and_no_other(
    run: Start, workers: Callable[..., None], database: str
) -> None:
    """What was lost before it was done is worker_lost of its partition alone, and the next run mends it."""
    workers(lost_on_the_second)
    result = run()
    failed = [(each.partition_key, each.error.kind) for each in result.runs if each.error]
    assert failed == [("2025-03-02", "worker_lost")]
    assert (result.stats.attempted, result.stats.succeeded, result.stats.failed) == (3, 2, 1)
    workers(once)
    again = run()
    assert (again.stats.succeeded, again.stats.failed, again.stats.skipped) == (2, 0, 1)
    assert [each.status for each in again.runs if each.partition_key == "2025-03-02"][:3] == ["completed"] * 3


def test_a_signal_lets_tasks_in_flight_end_and_starts_no_other(run: Start, workers: Callable[..., None]) -> None:
    """Once told to stop, what is in flight is waited for, and the rest is named."""
    asked: list[str] = []

    def noted(work: Callable[[], Any], name: str) -> Any:
        asked.append(name)
        return work()

    workers(noted)
    result = run(hooks={"stop": lambda: len(asked) > 0})
    assert asked == ["2025-03-01"]
    assert result.stats.attempted == 1
    assert "stopped by a signal; not started: 2025-03-02, 2025-03-03" in result.warnings
