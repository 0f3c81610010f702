"""A plan is carried out exactly as a dry run foresaw it, and what has moved since is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from market_spine.app.scheduling import SchedulerResult
from market_spine.cli.main import root
from market_spine.cli.main import run as market_spine
from market_spine.errors import UsageError

pytestmark = [pytest.mark.soak, pytest.mark.usefixtures("harbor")]

CASES = 500 if "MARKET_SPINE_SOAK" in os.environ else 40
DAYS = [f"2025-03-0{number}" for number in range(1, 6)]


def call(*arguments: str) -> SchedulerResult:
    """Run a command that answers with the contract."""
    done = CliRunner().invoke(root, [*arguments, "--json"], standalone_mode=False)
    assert done.exception is None, done.exception
    return SchedulerResult.from_json(done.stdout)


def told(result: SchedulerResult) -> list[tuple[Any, ...]]:
    """(partition, pipeline, status, reason, error, rows added, removed, changed) of each run; planned is completed."""
    return [
        (
            run.partition_key,
            run.pipeline,
            "completed" if run.status == "planned" else run.status.value,
            run.reason,
            run.error.kind if run.error else None,
            run.revision_summary if run.pipeline.endswith("ingest_day") else None,
        )
        for run in result.runs
    ]


@pytest.fixture
def plan(folder: Path, database: str, tmp_path: Path) -> Callable[..., tuple[Path, SchedulerResult]]:
    """Make a plan: its file and the dry run's result."""
    numbers = count()

    def make(days: str, *flags: str) -> tuple[Path, SchedulerResult]:
        file = tmp_path / f"plan{next(numbers)}.json"
        fixed = ("--data-dir", str(folder), "--db", database, "--run-date", "2025-03-09", "--mode", "dry-run")
        return file, call("schedule", "harbor", "--days", days, *fixed, "--out", str(file), *flags)

    return make


def scribble(dice: Random, folder: Path) -> None:
    """Change, remove, reorder or break some files."""
    for day in dice.sample(DAYS, dice.randint(1, 4)):
        file = folder / f"{day}.txt"
        ships = dice.sample("abcdefgh", dice.randint(1, 6))
        lines = [f"{ship} {dice.randint(1, 3)}" for ship in ships]
        kind = dice.random()
        if kind < 0.1:
            file.unlink(missing_ok=True)
        elif kind < 0.2:
            file.write_text("<html>\n")
        elif kind < 0.3 and file.exists():
            file.write_text("\n".join(reversed(file.read_text().splitlines())) + "\n")
        else:
            file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("seed", range(4))
def test_what_was_predicted_is_what_happens(plan: Any, folder: Path, database: str, seed: int) -> None:
    """Status, reason, error and rows of every entry are those of the dry run, in histories drawn by lot."""
    dice = Random(seed)
    for _ in range(CASES // 4):
        scribble(dice, folder)
        flags = dice.choice([(), (), ("--force",), ("--only", "not_loaded,failed,late,captured,revised")])
        days = ",".join(dice.sample(DAYS, dice.randint(1, 5)))
        file, predicted = plan(days, *flags)
        if predicted.stats.attempted:
            assert told(call("apply", str(file), "--db", database)) == told(predicted)


def test_what_moved_is_refused_and_the_rest_runs(plan: Any, folder: Path, database: str) -> None:
    """A file that changed, came or went since, and a partition that was committed meanwhile, are ``plan_outdated``."""
    file, _ = plan("2025-03-01,2025-03-02,2025-03-03,2025-03-04")
    (folder / "2025-03-01.txt").write_text("ada 11\n")
    (folder / "2025-03-04.txt").write_text("ada 4\n")
    second, _ = plan("2025-03-02")
    assert call("apply", str(second), "--db", database).stats.succeeded == 1
    result = call("apply", str(file), "--db", database)
    kinds = {run.partition_key: run.error.kind for run in result.runs if run.error}
    assert kinds == dict.fromkeys(("2025-03-01", "2025-03-02", "2025-03-04"), "plan_outdated")
    assert next(run.partition_key for run in result.runs if run.status == "completed") == "2025-03-03"
    assert (result.exit_code, result.config["mode"]) == (2, "run")
    again = call("apply", str(file), "--db", database)
    assert {run.error.kind for run in again.runs if run.error} == {"plan_outdated"}
    assert again.exit_code == 1


def test_a_plan_keeps_no_address_and_is_checked(plan: Any, database: str, tmp_path: Path) -> None:
    """The file names flags, partitions and the prediction; anything else is refused with what to do."""
    file, predicted = plan("2025-03-01", "--only", "not_loaded")
    document = json.loads(file.read_text())
    assert [each["partition_key"] for each in document["partitions"]] == ["2025-03-01"]
    assert document["result"]["run_id"] == predicted.run_id
    assert "db" not in document["flags"]
    assert database not in json.dumps(document)
    for content, words in (
        ("{", "is no plan"),
        (json.dumps({**document, "plan_version": 2}), "is a plan of version 2"),
        (json.dumps({**document, "partitions": []}), "holds no partition"),
    ):
        (tmp_path / "other.json").write_text(content)
        done = CliRunner().invoke(root, ["apply", str(tmp_path / "other.json")], standalone_mode=False)
        assert isinstance(done.exception, UsageError)
        assert words in done.exception.message


def test_out_needs_a_dry_run(folder: Path, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--out`` without ``--mode dry-run`` is a usage error, in the contract with ``--json``."""
    arguments = ["schedule", "harbor", "--days", "2025-03-01", "--data-dir", str(folder), "--db", database]
    code = market_spine(root, [*arguments, "--out", str(tmp_path / "p.json"), "--json"], "market-spine")
    document = json.loads(capsys.readouterr().out)
    assert (code, document["error"]["message"]) == (1, "--out writes the plan of a dry run")
    assert not (tmp_path / "p.json").exists()
