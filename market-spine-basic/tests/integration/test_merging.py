"""The results of shards as one: what it says, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from market_spine.app.scheduling import RunStatus, SchedulerResult, SchedulerStatus, result_schema
from market_spine.cli.main import root
from market_spine.cli.main import run as market_spine

DAYS = [f"2025-03-0{number}" for number in range(1, 6)]
SHARDS = ["0/4", "1/4", "2/4", "3/4"]
"""They have one, none, one and three of the days."""

Run = Callable[..., SchedulerResult]
Merge = Callable[..., tuple[int, SchedulerResult]]


@pytest.fixture
def run(harbor: Any, tmp_path: Path) -> Run:
    """Runs the harbor over five days with a ship each."""
    from harbor import run_harbor

    for day in DAYS:
        (tmp_path / f"{day}.txt").write_text("ada 10\n")

    def schedule(**flags: Any) -> SchedulerResult:
        flags = {"db": str(tmp_path / "spine.db"), "run_date": "2025-03-09", "days": ",".join(DAYS), **flags}
        result: SchedulerResult = run_harbor(tmp_path, flags.pop("days"), **flags)
        return result

    return schedule


@pytest.fixture
def merge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Merge:
    """Merges results by their files; the exit code, and what was written, checked against the schema."""

    def command(results: Sequence[SchedulerResult | str]) -> tuple[int, SchedulerResult]:
        names = []
        for number, result in enumerate(results):
            names.append(result if isinstance(result, str) else str(tmp_path / f"result{number}.json"))
            if not isinstance(result, str):
                Path(names[-1]).write_text(result.to_json())
        code = market_spine(
            root, ["runs", "--merge", *names, "--json", "--db", str(tmp_path / "spine.db")], "market-spine"
        )
        text = capsys.readouterr().out
        Draft202012Validator(result_schema()).validate(json.loads(text))
        return code, SchedulerResult.from_json(text)

    return command


def refusal(answer: tuple[int, SchedulerResult]) -> str:
    code, result = answer
    assert result.error is not None
    assert (code, result.status, result.error.kind, bool(result.error.hint)) == (1, "failure", "usage", True)
    return result.error.message


def test_all_shards_and_the_calculations_are_one_result(run: Run, merge: Merge) -> None:
    """Counts are added, runs stand in plan order with windows last, and ``config`` says what was merged."""
    shards = [run(shard=shard) for shard in SHARDS]
    calc = run(only_stage="calc")
    code, result = merge([calc, *reversed(shards)])
    assert (code, result.status, result.domain, result.scheduler) == (0, "success", "harbor", shards[0].scheduler)
    assert (result.stats.attempted, result.stats.succeeded, result.run_id) == (5, 5, None)
    stages = [run.partition_key for run in result.runs if run.pipeline != "harbor.compute_recent"]
    assert list(dict.fromkeys(stages)) == DAYS
    assert [run.partition_key for run in result.runs[-5:] if run.pipeline == "harbor.compute_recent"] == DAYS
    assert [each.get("shard") for each in result.config["merged"]] == [*SHARDS, None]
    assert [each["run_id"] for each in result.config["merged"]] == [each.run_id for each in (*shards, calc)]
    assert result.config["run_date"] == "2025-03-09"
    assert (result.started_at, result.finished_at) == (shards[0].started_at, calc.finished_at)
    assert not any("left to" in warning for warning in result.warnings)


def test_runs_are_merged_by_their_ids_too(run: Run, merge: Merge) -> None:
    """What ``core_runs`` keeps needs no file; without the calculations a warning says that they are to come."""
    code, result = merge([run(shard=shard).run_id or "" for shard in SHARDS])
    assert (code, result.stats.succeeded) == (0, 5)
    told = "No result of --only-stage calc is among these: windows, and comparisons with neighbours, are left to it."
    assert result.warnings[-1] == told


def test_the_exit_code_is_that_of_the_whole(run: Run, merge: Merge, tmp_path: Path) -> None:
    """One failed day of five is partial, though its own shard is a failure; what a shard left undone is, too; a
    critical error of one shard is one of the whole, as of a serial run; found unchanged is a success."""
    (tmp_path / "2025-03-04.txt").write_text("<html>\n")
    shards = [run(shard=shard) for shard in SHARDS]
    assert [each.exit_code for each in shards] == [0, 0, 1, 0]
    code, result = merge(shards)
    assert (code, result.status, result.stats.failed, result.stats.succeeded) == (2, "partial", 1, 4)
    assert [run.partition_key for run in result.runs if run.status is RunStatus.FAILED] == ["2025-03-04"]
    (tmp_path / "2025-03-04.txt").write_text("ada 10\n")
    again = [run(shard=shard) for shard in SHARDS]
    code, result = merge(again)
    assert (code, result.stats.skipped, result.stats.succeeded) == (0, 4, 1)
    left = replace(
        again[2], runs=(), stats=replace(again[2].stats, attempted=0, succeeded=0), status=SchedulerStatus.PARTIAL
    )
    assert merge([*again[:2], left, again[3]])[1].status is SchedulerStatus.PARTIAL
    broken = run(shard="2/4", db="/dev/null/none.db")
    code, result = merge([*again[:2], broken, again[3]])
    assert (code, result.status, result.error) == (1, "failure", broken.error)


def test_a_dry_run_is_merged_as_one(run: Run, merge: Merge) -> None:
    """The plans of all shards are the plan of the whole."""
    code, result = merge([run(shard=shard, mode="dry-run") for shard in SHARDS])
    assert (code, result.status, result.stats.attempted) == (0, "dry_run", 5)


def test_a_window_that_failed_makes_the_whole_partial(run: Run, merge: Merge, tmp_path: Path) -> None:
    """A calculation after the shards counts for the partition that its window belongs to."""
    (tmp_path / "2025-03-05.txt").write_text("ada 666\n")
    code, result = merge([*(run(shard=shard) for shard in SHARDS), run(only_stage="calc")])
    assert (code, result.stats.failed, result.stats.succeeded) == (2, 1, 4)


def test_what_does_not_belong_together_is_refused(run: Run, merge: Merge) -> None:
    """A missing shard, one there twice, another number, selection, mode or domain, a strange partition, calculations
    that began too early and results of no shard are named."""
    early = run(only_stage="calc", days="2025-03-01")
    shards = [run(shard=shard) for shard in SHARDS]
    assert refusal(merge([])) == "--merge needs results"
    assert refusal(merge(shards[1:2] + shards[3:])) == "the result of shard 0/4 and 2/4 is missing"
    assert "shard 0/4 is there twice: " in refusal(merge([*shards, shards[0]]))
    assert "are of another number of shards: 4 and 5" in refusal(merge([*shards, run(shard="4/5")]))
    other = run(shard="0/4", days="2025-03-02")
    assert "shares of different selections, of 1 and 5 partitions" in refusal(merge([other, *shards[1:]]))
    assert "are of another mode: run and dry-run" in refusal(merge([*shards[:3], run(shard="3/4", mode="dry-run")]))
    assert "are of another domain: harbor and attic" in refusal(
        merge([*shards[:3], replace(shards[3], domain="attic")])
    )
    assert "holds 2025-03-04, which belongs to another shard" in refusal(
        merge([*shards[:3], replace(shards[3], runs=shards[2].runs)])
    )
    assert "counts 3 partitions, and its runs are of 0" in refusal(merge([*shards[:3], replace(shards[3], runs=())]))
    assert " began before " in refusal(merge([*shards, early]))
    assert "is the result of no shard" in refusal(merge([*shards, run()]))
    calc = run(only_stage="calc")
    assert "both are of --only-stage calc" in refusal(merge([*shards, calc, calc]))
    assert refusal(merge([calc])) == "there is the result of no shard"
    assert refusal(merge(["20250101T000000-00000000"])).endswith("is neither a file nor a run")
    bent = replace(shards[3], config={**shards[3].config, "share": 4})
    assert "its config does not say which shard it is" in refusal(merge([*shards[:3], bent]))


def test_shards_on_both_sides_of_midnight_are_merged_and_told(run: Run, merge: Merge) -> None:
    """Where days differ, so may what was selected: the result says which days, and is no refusal."""
    shards = [run(shard=shard) for shard in SHARDS[:3]]
    shards.append(run(shard="3/4", days=",".join(DAYS[1:]), run_date="2025-03-10"))
    code, result = merge(shards)
    assert (code, result.stats.attempted) == (0, 4)
    assert result.warnings[0].startswith("Shards 0/4 and 3/4 were planned on 2025-03-09 and 2025-03-10, of 5 and 4")


def test_a_file_that_is_no_result_is_named(merge: Merge, tmp_path: Path) -> None:
    """So is one that holds something else than what a scheduler wrote."""
    (tmp_path / "other.json").write_text("{}")
    assert "other.json is not a scheduler result" in refusal(merge([str(tmp_path / "other.json")]))


def test_merge_takes_results_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Flags that list runs, and several runs without it, are usage errors."""
    for arguments, words in (
        (["--merge", "--before", "x"], "--merge takes results"),
        (["a", "b"], "RUN_ID names one run"),
    ):
        assert market_spine(root, ["runs", *arguments, "--db", str(tmp_path / "spine.db")], "market-spine") == 1
        assert words in capsys.readouterr().err
