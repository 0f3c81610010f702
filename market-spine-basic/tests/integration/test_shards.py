"""Shares of a selection: each partition in exactly one of them, and nothing in them that looks beyond a partition."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from market_spine.app.scheduling import SchedulerResult
from market_spine.app.shards import Shard, parse_shard
from market_spine.app.task import NoSource
from market_spine.cli.main import root
from market_spine.cli.main import run as market_spine
from market_spine.compose import Hooks, Request, Selection, run_schedule
from market_spine.errors import UsageError

DAYS = [f"2025-03-0{number}" for number in range(1, 6)]
SHARES = {"0/4": ["2025-03-02"], "1/4": [], "2/4": ["2025-03-04"], "3/4": ["2025-03-01", "2025-03-03", "2025-03-05"]}
"""As ``printf %s 2025-03-01 | sha256sum | cut -c1-16``, divided by four, says."""

Run = Callable[..., SchedulerResult]


@pytest.fixture
def run(harbor: Any, tmp_path: Path) -> Run:
    """Runs the harbor over five days with a ship each."""
    from harbor import run_harbor

    for day in DAYS:
        (tmp_path / f"{day}.txt").write_text("ada 10\n")

    def schedule(**flags: Any) -> SchedulerResult:
        flags = {"db": str(tmp_path / "spine.db"), "run_date": "2025-03-09", **flags}
        result: SchedulerResult = run_harbor(tmp_path, ",".join(DAYS), **flags)
        return result

    return schedule


def days_of(result: SchedulerResult) -> list[str]:
    return list(dict.fromkeys(run.partition_key for run in result.runs))


def pipelines(result: SchedulerResult) -> set[str]:
    return {run.pipeline for run in result.runs}


@given(key=st.text(), count=st.integers(1, 50))
def test_every_partition_is_in_exactly_one_shard(key: str, count: int) -> None:
    """Whatever its key and however many shards there are, one has it."""
    key = key.encode("utf-8", "replace").decode()
    assert sum(Shard(index, count).has(key) for index in range(count)) == 1


def test_a_share_follows_from_the_key_alone() -> None:
    """It is the one that other programs work out from the documented hash, on any machine and day."""
    keys = {"2025-01-03|NMS_TIER_1": (2, 0), "2025-01-03|OTC": (0, 1), "AAPL|polygon": (1, 6)}
    for key, (of_four, of_seven) in keys.items():
        assert (Shard(of_four, 4).has(key), Shard(of_seven, 7).has(key)) == (True, True)


@pytest.mark.parametrize(
    "text", ["4/4", "-1/3", "1/0", "0/0", "1", "", "/4", "1/", "1/2/3", "a/b", "0.5/2", "\u0661/4", "0/-4"]
)
def test_what_is_no_shard_is_refused_with_what_to_type(run: Run, text: str) -> None:
    """A usage error names the flag, the value and the form, before anything is done."""
    with pytest.raises(UsageError):
        parse_shard(text)
    result = run(shard=text)
    assert result.error is not None
    assert (result.exit_code, result.error.kind, result.stats.attempted) == (1, "usage", 0)
    allowed = "I/N: N shards, I from 0 to N - 1, such as 0/4, 1/4, 2/4 and 3/4"
    assert result.error.message == f"--shard: {text!r} is not allowed; it takes {allowed}"


def test_a_shard_works_through_its_share_and_computes_no_window(run: Run) -> None:
    """Each partition goes through its stages in one shard; the windows come with ``--only-stage calc``."""
    for shard, days in SHARES.items():
        result = run(shard=shard)
        assert (result.exit_code, result.stats.attempted, days_of(result)) == (0, len(days), days)
        assert "harbor.compute_recent" not in pipelines(result)
        assert result.config["shard"] == shard
        assert result.config["share"]["planned"] == len(days)
        told = f"Shard {shard} takes {len(days)} of 5 partitions; windows, and comparisons with neighbours,"
        assert any(warning.startswith(told) for warning in result.warnings), result.warnings
    windows = [each for each in run(only_stage="calc").runs if each.pipeline == "harbor.compute_recent"]
    assert [(each.partition_key, each.status.value) for each in windows] == [(day, "completed") for day in DAYS]


def test_a_dry_run_of_a_shard_foresees_its_share_alone(run: Run) -> None:
    """It plans the share's stages and no window, and writes nothing."""
    result = run(shard="3/4", mode="dry-run")
    assert (result.status.value, days_of(result)) == ("dry_run", SHARES["3/4"])
    assert "harbor.compute_recent" not in pipelines(result)
    assert run(shard="1/4", mode="dry-run").status.value == "dry_run"


def test_a_shard_is_taken_before_states_are_looked_at(run: Run) -> None:
    """``--only`` and ``--partitions`` narrow the same share, whatever other shards have loaded meanwhile."""
    run(partitions="2025-03-01,2025-03-02")
    missing = run(shard="3/4", only="not_loaded,late")
    assert days_of(missing) == ["2025-03-03", "2025-03-05"]
    assert missing.config["share"] | {"selection": ""} == {"planned": 2, "selected": 5, "selection": ""}
    assert days_of(run(shard="3/4", partitions="2025-03-02,2025-03-05")) == ["2025-03-05"]
    done = run(shard="3/4", only="not_loaded,late")
    assert (done.exit_code, done.status.value, done.stats.attempted) == (0, "success", 0)


def test_shards_of_one_selection_name_it_alike(run: Run) -> None:
    """``config.share.selection`` is equal for the shards of a selection, and another for another selection."""
    named = {run(shard=shard, mode="dry-run").config["share"]["selection"] for shard in SHARES}
    assert len(named) == 1
    assert run(shard="0/4", partitions="2025-03-02", mode="dry-run").config["share"]["selection"] not in named


@pytest.mark.usefixtures("harbor")
def test_a_selection_of_nothing_fails_in_every_shard(tmp_path: Path) -> None:
    """An empty share succeeds; that nothing at all is selected stays a failure."""
    from harbor import DOMAIN

    request = Request(db=str(tmp_path / "spine.db"), shard="0/4")
    result = run_schedule(DOMAIN, request, lambda _today, _reader: Selection((), NoSource()), Hooks())
    assert result.error is not None
    assert (result.exit_code, result.error.kind) == (1, "nothing_selected")


def test_the_plan_of_a_shard_is_applied_as_one(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Applying a plan that was made with ``--shard`` computes no window either, and names the shard."""
    db, file = str(tmp_path / "spine.db"), tmp_path / "plan.json"
    flags = ["--data-dir", str(tmp_path), "--db", db, "--run-date", "2025-03-09", "--shard", "3/4", "--json"]
    make = ["schedule", "harbor", "--days", ",".join(DAYS), *flags, "--mode", "dry-run", "--out"]
    assert market_spine(root, [*make, str(file)], "market-spine") == 0
    planned = SchedulerResult.from_json(capsys.readouterr().out)
    done = CliRunner().invoke(root, ["apply", str(file), "--db", db, "--json"], standalone_mode=False)
    result = SchedulerResult.from_json(done.stdout)
    assert (result.exit_code, days_of(result)) == (0, SHARES["3/4"])
    assert "harbor.compute_recent" not in pipelines(result)
    assert [result.config[name] for name in ("shard", "share")] == [planned.config[name] for name in ("shard", "share")]
    assert json.loads(file.read_text())["flags"]["shard"] == "3/4"
