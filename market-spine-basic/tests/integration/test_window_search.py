"""Which windows a run looks at: what moved since all of them last stood, wherever and whenever that was committed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from market_spine import registry
from market_spine.app.rebuild import MomentClock, rebuild
from market_spine.app.scheduling import SchedulerResult
from market_spine.app.task import Outcome
from market_spine.compose import reader
from market_spine.core.domain import StageSpec
from market_spine.core.partition import Partition
from market_spine.store import parse_url
from market_spine.store.fresh import new_store

if TYPE_CHECKING:
    import harbor

pytestmark = pytest.mark.usefixtures("harbor")

Run = Callable[..., SchedulerResult]
RECENT = "harbor.compute_recent"


def computed(result: SchedulerResult) -> list[str]:
    """The partitions whose windows a run computed."""
    return [run.partition_key for run in result.runs if run.pipeline == RECENT]


def without_windows() -> dict[str, Any]:
    """Flags of a run that loads one day and is stopped before its windows."""
    done: list[Outcome] = []
    return {"hooks": {"stop": lambda: bool(done), "progress": done.append}}


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The partitions whose windows' inputs were asked for, as they are."""
    import harbor

    seen: list[str] = []
    inputs = harbor.Recent.inputs

    def listen(self: harbor.Recent, partition: Partition) -> Sequence[Partition]:
        seen.append(partition.key)
        return inputs(self, partition)

    monkeypatch.setattr(harbor.Recent, "inputs", listen)
    return seen


def test_a_run_that_finds_nothing_looks_at_no_window_once_all_stood(run: Run, looked_at: list[str]) -> None:
    """After a run that computed every window, a run without news asks for the inputs of none."""
    run()
    looked_at.clear()
    assert computed(run()) == []
    assert looked_at == []


def test_only_windows_near_what_moved_are_worked_out(run: Run, folder: Path, database: str) -> None:
    """A new day far from the others computes its own window and no other, and they stay as they were."""
    run()
    run()
    (folder / "2025-03-08.txt").write_text("ada 1\n")
    assert computed(run("2025-03-08")) == ["2025-03-08"]
    assert computed(run()) == []


def test_a_window_that_failed_is_looked_for_until_it_succeeds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window that could not be computed is computed by a later run that has nothing else to do."""
    import harbor

    compute = harbor.Recent.compute

    def break_once(*_args: object) -> None:
        monkeypatch.setattr(harbor.Recent, "compute", compute)
        raise RuntimeError("broken")

    monkeypatch.setattr(harbor.Recent, "compute", break_once)
    assert run().exit_code == 2
    assert computed(run("2025-03-03")) == ["2025-03-01"]
    assert computed(run("2025-03-03")) == []


def test_another_version_of_a_window_is_computed_everywhere_though_nothing_moved(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raised code computes every window once more, and so does the older code when it comes back."""
    import harbor

    run()
    run()
    newer = (harbor.Recent(spec=StageSpec("recent", RECENT, "2")),)
    for windows in (newer, harbor.Harbor.windows):
        monkeypatch.setattr(harbor.Harbor, "windows", windows)
        assert computed(run("2025-03-01")) == ["2025-03-01", "2025-03-02", "2025-03-03"]
        assert computed(run("2025-03-01")) == []


def test_what_another_run_commits_while_windows_are_computed_is_found_by_the_next(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day that another run loads, without its windows, while this one computes is not taken for looked at."""
    import harbor

    (folder / "2025-03-07.txt").write_text("ada 4\n")
    compute = harbor.Recent.compute

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(harbor.Recent, "compute", compute)
        assert run("2025-03-07", **without_windows()).runs
        return compute(*arguments)

    monkeypatch.setattr(harbor.Recent, "compute", meanwhile)
    assert computed(run()) == ["2025-03-01", "2025-03-02", "2025-03-03"]
    assert computed(run()) == ["2025-03-07"]
    assert computed(run()) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_windows_left_stale_before_a_rebuild_are_found_after_it(run: Run, folder: Path, tmp_path: Path) -> None:
    """A rebuilt store takes no window for standing: one that was stale in the old store is computed in the new."""
    import harbor

    run()
    run()
    (folder / "2025-03-03.txt").write_text("ada 6\n")
    run("2025-03-03", **without_windows())
    database, fresh = tmp_path / "harbor.db", tmp_path / "fresh.db"
    clock = MomentClock(datetime(2025, 3, 10, tzinfo=UTC))
    with (
        closing(reader(str(database))) as old,
        new_store(parse_url(str(fresh)), registry.domains(), clock) as new,
    ):
        rebuild(old.log(), old, new, clock, registry.domains(), accept=False)
    later = harbor.run_harbor(folder, "2025-03-01", db=str(fresh), run_date="2025-03-11")
    assert computed(later) == ["2025-03-03"]
