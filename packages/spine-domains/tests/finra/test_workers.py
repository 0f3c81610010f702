"""Several workers: partitions, windows and the comparison of first captures side by side."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from market_spine.app.scheduling import RunStatus, SchedulerResult
from market_spine.compose import reader
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

RUN_DATE = date(2025, 12, 23)
TIERS = ("NMS_TIER_1", "NMS_TIER_2", "OTC")
ODD = "finra_otc_weekly_otc_20251215.csv"
"""Published on Monday the 15th: the OTC week that ended on November 14, 35 days after its Monday."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four weeks of three tiers; one file has three times the rows of its neighbours."""
    folder = tmp_path_factory.mktemp("files")
    usual = {"weeks": 4, "tiers": TIERS, "seed": 3, "run_date": RUN_DATE}
    write_sample_data(folder, **usual, rows=900)  # type: ignore[arg-type]
    odd = (folder / ODD).read_bytes()
    write_sample_data(folder, **usual, rows=300)  # type: ignore[arg-type]
    (folder / ODD).write_bytes(odd)
    return folder


def load(db: str, folder: Path, **flags: Any) -> SchedulerResult:
    return run_finra_schedule(db=db, data_dir=str(folder), run_date=RUN_DATE.isoformat(), **flags)


def told(result: SchedulerResult) -> list[Any]:
    """What a result says but for how long things took and under what names they are kept."""
    runs = [
        (run.pipeline, run.partition_key, run.status, run.row_count, run.is_revision, run.reason) for run in result.runs
    ]
    anomalies = [(each.partition_key, each.kind, each.message) for each in result.anomalies]
    return [result.status, result.stats, runs, anomalies, result.warnings]


def kept(db: str) -> list[Any]:
    with closing(reader(db)) as store:
        found = [store.query(f"SELECT {', '.join(table.names)} FROM {table.name}").rows for table in DOMAIN.tables]
        tables = [sorted(rows, key=repr) for rows in found]
        return [*tables, [(each.anomaly.partition_key, each.anomaly.kind) for each in store.anomalies(DOMAIN.name)]]


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_any_number_of_workers_comes_to_the_same(
    store: str, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """One worker or three: the same runs in the same order, windows included, the same rows and findings."""

    def new(name: str) -> str:
        if store == "sqlite":
            return str(tmp_path / f"{name}.db")
        address: Callable[[], str] = request.getfixturevalue("new_postgres")
        return address()

    one, three = new("one"), new("three")
    first = load(one, folder)
    assert told(load(three, folder, workers=3)) == told(first)
    assert [run.status for run in first.runs].count(RunStatus.COMPLETED) == 12 * 4
    assert [(each.partition_key, each.kind) for each in first.anomalies] == [("2025-11-14|OTC", "implausible")]
    assert kept(three) == kept(one)
    assert told(load(three, folder, workers=3)) == told(load(one, folder))
