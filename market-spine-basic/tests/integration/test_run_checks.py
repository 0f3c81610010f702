"""What every run found of every partition, as rows, and runs by id, by partition and page by page."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from market_spine.app.scheduling import SchedulerResult
from market_spine.cli.main import root
from market_spine.compose import reader, utc_now
from market_spine.core.ports import Reader
from market_spine.errors import StoreError

pytestmark = pytest.mark.usefixtures("harbor")

Run = Callable[..., SchedulerResult]
CHECKS = (
    "SELECT run_id, partition_key, pipeline, status, reason, kind, duration_ms FROM core_run_partitions"
    " ORDER BY recorded_at, position"
)


def told(result: SchedulerResult) -> list[tuple[Any, ...]]:
    """The same as the result has it."""
    return [
        (
            result.run_id,
            each.partition_key,
            each.pipeline,
            each.status.value,
            each.reason,
            each.error.kind if each.error else None,
            each.duration_ms,
        )
        for each in result.runs
    ]


def opened(database: str) -> Any:
    return closing(reader(database, utc_now))


def test_every_entry_of_every_result_is_a_row(run: Run, folder: Path, database: str) -> None:
    """Loaded, skipped, held and failed partitions and windows: the rows are the results, in their order."""
    results = [run()]
    (folder / "2025-03-02.txt").write_text("<html>")
    (folder / "2025-03-03.txt").unlink()
    results += [run(), run("2025-03-04,2025-03-01", force=True), run(mode="dry-run")]
    expected = [row for result in results[:3] for row in told(result)]
    with opened(database) as store:
        assert store.query(CHECKS).rows == expected
        since = store.query("SELECT MIN(recorded_at) FROM core_runs").rows[0][0]
        assert store.query(CHECKS, since).rows == told(results[0])
        assert store.query(CHECKS, "2025-01-01").rows == []
    assert {row[4] for row in expected} >= {None, "same_bytes", "source_absent"}
    assert "html" in {row[5] for row in expected}


def test_checks_and_result_are_recorded_together_or_not_at_all(
    run: Run, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the rows cannot be written, the result is not recorded either, and says so."""
    from market_spine.store import records

    def broken(*_: Any) -> Any:
        raise StoreError("no room")

    run()
    monkeypatch.setattr(records, "check_rows", broken)
    result = run()
    assert result.warnings == ("This result is not in core_runs: no room.",)
    with opened(database) as store:
        assert store.query("SELECT status FROM core_runs ORDER BY recorded_at").rows == [("success",), ("unfinished",)]
        assert store.query("SELECT COUNT(DISTINCT run_id) FROM core_run_partitions").rows == [(1,)]


def pages(store: Reader, limit: int, **chosen: Any) -> list[str]:
    """All run ids, page by page."""
    found: list[str] = []
    while page := store.runs("harbor", limit, **chosen, before=found[-1] if found else None):
        found += [record.run_id for record in page]
    return found


def test_runs_are_found_by_partition_and_page_by_page(run: Run, database: str) -> None:
    """Pages of any size give every run once, newest first; a partition's runs are those that met it."""
    days = ["2025-03-01", "2025-03-01,2025-03-02", "2025-03-02", "2025-03-03", "2025-03-02,2025-03-03"]
    ids = [str(run(wanted, only_stage="ingest").run_id) for wanted in days]
    second = [ids[4], ids[2], ids[1]]
    with opened(database) as store:
        for limit in (1, 2, 5, 100):
            assert pages(store, limit) == ids[::-1]
            assert pages(store, limit, key="2025-03-02") == second
        assert [check.run_id for check in store.checks("harbor", "2025-03-02", 2)] == second[:2]
        earlier = store.checks("harbor", "2025-03-02", before=second[1])
        assert [(check.run_id, check.status) for check in earlier] == [(ids[1], "completed")]
        assert [check.reason for check in store.checks("harbor", "2025-03-02", 1)] == ["same_bytes"]
        assert (store.find_run(ids[3]).run_id, store.find_run("x")) == (ids[3], None)


def market_spine(database: str, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(root, [*arguments, "--db", database], standalone_mode=False)
    if done.exception:
        return 1, str(done.exception)
    return 0, done.stdout


def test_the_command_shows_a_run_a_partitions_runs_and_the_next_page(run: Run, database: str) -> None:
    """``runs RUN_ID`` shows one result, ``--partition`` what was found of it, ``--before`` goes on; JSON is a list."""
    first, second = run("2025-03-01"), run("2025-03-01,2025-03-02")
    _, text = market_spine(database, "runs", "--json")
    assert [each["run_id"] for each in json.loads(text)] == [second.run_id, first.run_id]
    _, text = market_spine(database, "runs", str(first.run_id), "--json")
    assert json.loads(text) == [json.loads(first.to_json())]
    _, text = market_spine(database, "runs", str(first.run_id))
    assert "success: 1 partitions attempted" in text
    _, text = market_spine(database, "runs", "--partition", "2025-03-01", "--domain", "harbor", "--limit", "1")
    assert text.splitlines()[0].split() == [
        "run_id",
        "recorded_at",
        "pipeline",
        "status",
        "reason",
        "kind",
        "duration_ms",
    ]
    assert [line.split()[0] for line in text.splitlines()[1:]] == [second.run_id]
    assert "same_bytes" in text
    _, text = market_spine(database, "runs", "--before", str(second.run_id), "--json")
    assert [each["run_id"] for each in json.loads(text)] == [first.run_id]
    assert market_spine(database, "runs", "nothing") == (1, "there is no run 'nothing'")
    assert market_spine(database, "runs", "--before", "nothing") == (1, "--before: there is no run 'nothing'")
    assert market_spine(database, "runs", "a", "--before", "b")[0] == 1


def test_a_run_that_has_not_ended_is_told_as_such(run: Run, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``runs RUN_ID`` of a run without a result says since when it is unfinished."""
    from market_spine.store.writer import StoreWriter

    monkeypatch.setattr(StoreWriter, "record_run", lambda *_: None)
    begun = run("2025-03-01")
    assert market_spine(database, "runs", str(begun.run_id)) == (0, "unfinished: begun on 2025-03-09T12:00:00+00:00\n")
