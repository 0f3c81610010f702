"""Four real processes at once with a share each, and then the calculations, against one process that does it all."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from market_spine import registry
from market_spine.app.scheduling import SchedulerResult
from market_spine.store import open_reader, parse_url
from market_spine.testing import run_command
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

pytestmark = pytest.mark.process

RUN_DATE = date(2025, 12, 23)
SHARDS = [f"{index}/4" for index in range(4)]
TIMES = {"manifest_id", "run_id", "committed_at", "captured_at"}
"""Columns of the manifest that no two loads have alike."""


@pytest.fixture
def folders(tmp_path: Path) -> Sequence[Path]:
    """Two weeks of three tiers as first published, and as restated."""
    made = []
    for name in ("first", "restated"):
        made.append(tmp_path / name)
        whole: dict[str, Any] = {"weeks": 2, "rows": 50, "seed": 3, "run_date": RUN_DATE}
        write_sample_data(made[-1], tiers=("NMS_TIER_1", "NMS_TIER_2", "OTC"), **whole, non_ats=True)
        if made[1:]:
            write_sample_data(made[-1], tiers=("NMS_TIER_1", "OTC"), **whole, revise=True)
    return made


@pytest.fixture(params=["sqlite", "postgresql"])
def addresses(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Two databases that do not exist yet."""
    if request.param == "sqlite":
        return str(tmp_path / "alone.db"), str(tmp_path / "shared.db")
    new = request.getfixturevalue("new_postgres")
    return new(), new()


def told(result: SchedulerResult) -> set[tuple[Any, ...]]:
    """What each run says, times aside."""
    return {
        (run.partition_key, run.pipeline, run.status.value, run.capture_id, run.row_count, run.revision_summary)
        for run in result.runs
    }


def digests(db: str) -> dict[str, str]:
    """The SHA-256 of what each table has now, and of the manifest; times and run ids aside."""
    found = {}
    with closing(open_reader(parse_url(db), registry.domains())) as store:
        for name in ("core_manifest", *(each.name for each in DOMAIN.tables)):
            answer = store.query(f"SELECT * FROM {name}")
            kept = [place for place, column in enumerate(answer.columns) if column not in TIMES]
            rows = sorted(repr([row[place] for place in kept]) for row in answer.rows)
            assert rows, name
            found[name] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return found


def at_once(db: str, folder: Path, home: Path) -> list[Path]:
    """Run all shards at once, each in a process of its own; the files of their results."""
    command = [
        sys.executable,
        "-m",
        "market_spine",
        "schedule",
        "finra",
        "--weeks",
        "all",
        "--source",
        "file",
        "--json",
    ]
    command += ["--run-date", RUN_DATE.isoformat(), "--data-dir", str(folder), "--db", db]
    files = [home / f"shard{shard[0]}.json" for shard in SHARDS]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, "--shard", shard], stdout=stack.enter_context(file.open("wb")), stderr=subprocess.PIPE
                )
            )
            for shard, file in zip(SHARDS, files, strict=True)
        ]
        errors = [process.communicate(timeout=900)[1] for process in processes]
    assert {process.returncode for process in processes} == {0}, errors
    return files


def test_four_shards_and_the_calculations_make_what_one_process_makes(
    folders: Sequence[Path], addresses: tuple[str, str], tmp_path: Path
) -> None:
    """A first load and a restatement: tables, manifest and the merged result are those of a serial run; nothing is
    lost to another shard's lock, also while the database is made."""
    alone, shared = addresses
    common: dict[str, Any] = {"weeks": "all", "source": "file", "run_date": RUN_DATE}
    for folder in folders:
        serial = run_finra_schedule(**common, data_dir=str(folder), db=alone)
        files = at_once(shared, folder, tmp_path)
        calc = run_finra_schedule(**common, data_dir=str(folder), db=shared, only_stage="calc")
        assert calc.run_id is not None
        done = run_command("runs", "--merge", *files, calc.run_id, "--json", "--db", shared, cwd=tmp_path)
        merged = done.result()
        assert (done.code, serial.exit_code, merged.stats) == (0, 0, serial.stats), done.stderr
        assert told(merged) == told(serial)
        assert [each["shard"] for each in merged.config["merged"][:4]] == SHARDS
        assert sum(each["attempted"] for each in merged.config["merged"][:4]) == 6
        assert digests(shared) == digests(alone)
    with closing(open_reader(parse_url(shared), registry.domains())) as store:
        statuses = [json.loads(record.result)["status"] for record in store.runs(limit=20)]
    assert statuses == ["success"] * 10
