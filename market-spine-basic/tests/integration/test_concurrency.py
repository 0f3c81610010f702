"""Several real processes on one store: schedulers of one domain and of two, and a reader that never stops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from market_spine import registry
from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import utc_now
from market_spine.store import open_reader, parse_url
from market_spine.store.reader import StoreReader
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

pytestmark = pytest.mark.process

SCHEDULERS = 8
ROUNDS = int(os.environ.get("MARKET_SPINE_SOAK", "1"))
TIERS = ("NMS_TIER_1", "NMS_TIER_2", "OTC")
RUN_DATE = "2025-12-23"


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Address a fresh store of either kind as users do, another one each time."""
    if request.param == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("new_postgres")
        return make
    numbers = count()
    return lambda: str(tmp_path / f"shared{next(numbers)}.db")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four weeks of three tiers: twelve partitions."""
    folder = tmp_path / "data"
    sample(folder)
    return folder


def sample(folder: Path, **changes: Any) -> None:
    """Write generated files, or a restatement of all of them."""
    whole = {"weeks": 4, "tiers": TIERS, "rows": 60, "seed": 11, "run_date": date.fromisoformat(RUN_DATE)}
    write_sample_data(folder, **{**whole, **changes})


def restate(folder: Path) -> None:
    """Restate every week of every tier."""
    weeks = {date.fromisoformat(week) for week in ("2025-10-31", "2025-11-07", "2025-11-14", "2025-11-21")}
    weeks |= {date.fromisoformat(week) for week in ("2025-11-28", "2025-12-05")}
    sample(folder, revise=True, revise_weeks=sorted(weeks))


def finra(db: str, data: Path) -> list[str]:
    """FINRA's scheduler on twelve partitions, as arguments."""
    return ["schedule", "finra", "--run-date", RUN_DATE, "--json", "--db", db, "--data-dir", str(data)]


def together(commands: Sequence[list[str]], cwd: Path, site: Path | None = None) -> list[SchedulerResult]:
    """Run commands in processes of their own, all at once."""
    environ = {**os.environ, **({"PYTHONPATH": str(site)} if site else {})}
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "market_spine", *arguments],
                    cwd=cwd,
                    env=environ,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for arguments in commands
        ]
        outputs = [process.communicate(timeout=900) for process in processes]
    results = [SchedulerResult.from_json(stdout) for stdout, _ in outputs]
    for result, process, (_, stderr) in zip(results, processes, outputs, strict=True):
        assert (result.exit_code, process.returncode) == (0, 0), stderr
    return results


def read(db: str) -> StoreReader:
    return open_reader(parse_url(db), registry.domains(), clock=utc_now)


def contents(reader: StoreReader, as_of: str | None = None) -> dict[str, list[Any]]:
    """The rows of each data table of FINRA."""
    return {
        table.name: sorted(reader.query(f"SELECT {', '.join(table.names)} FROM {table.name}", as_of).rows, key=repr)
        for table in DOMAIN.tables
    }


def test_eight_schedulers_at_once_make_twelve_captures(
    data: Path, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """Eight schedulers on the same twelve partitions, also while the database is made: each capture is recorded once,
    nobody fails, each loser says why it skipped, and the tables are those of a single scheduler."""
    alone = new_database()
    run_finra_schedule(db=alone, data_dir=str(data), run_date=RUN_DATE)
    for _ in range(ROUNDS):
        db = new_database()
        results = together([finra(db, data)] * SCHEDULERS, tmp_path)
        done: Counter[str] = Counter()
        for result in results:
            runs = [run for run in result.runs if run.pipeline.endswith("ingest_week")]
            assert len(runs) == 12
            for run in runs:
                if run.status == "completed":
                    done[run.partition_key] += 1
                else:
                    assert (run.status, run.reason in {"same_bytes", "up_to_date", "locked"}) == ("skipped", True)
        assert (len(done), set(done.values())) == (12, {1})
        with read(db) as reader, read(alone) as single:
            entries = reader.query("SELECT partition_key, stage, fingerprint FROM core_manifest").rows
            assert len(set(entries)) == len(entries)
            assert Counter(stage for _, stage, _ in entries)["ingest"] == 12
            assert len(reader.runs(limit=100)) == SCHEDULERS
            assert contents(reader) == contents(single)
        # What each has recorded of itself is what it printed.
        with read(db) as reader:
            recorded = {record.run_id: json.loads(record.result) for record in reader.runs(limit=100)}
        assert recorded == {result.run_id: json.loads(result.to_json()) for result in results}


def test_eight_schedulers_record_a_restatement_once(
    data: Path, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """Eight schedulers that meet the same restatement record each change once."""
    db = new_database()
    run_finra_schedule(db=db, data_dir=str(data), run_date=RUN_DATE)
    restate(data)
    together([finra(db, data)] * SCHEDULERS, tmp_path)
    with read(db) as reader:
        revisions = reader.query(
            "SELECT partition_key, COUNT(*) FROM core_manifest WHERE stage = 'ingest' AND status = 'committed'"
            " GROUP BY partition_key ORDER BY partition_key"
        ).rows
        twice = reader.query(
            "SELECT partition_key FROM core_manifest GROUP BY partition_key, stage, fingerprint HAVING COUNT(*) > 1"
        ).rows
    assert ([number for _, number in revisions], twice) == ([2] * 12, [])


def test_a_reader_in_a_loop_sees_whole_partitions_and_stops_nobody(
    data: Path, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """Beside a restating load each reading is without error; each partition in it is all old or all new, never empty;
    answers as of before stay; and a snapshot held open all the time keeps the writer from nothing."""
    db, other = new_database(), new_database()
    run_finra_schedule(db=db, data_dir=str(data), run_date=RUN_DATE)
    before = stamp(db)
    moment = utc_now().isoformat()
    with read(db) as reader:
        then = contents(reader)
    restate(data)
    for target in (other, db):
        command = [sys.executable, "-m", "market_spine", *finra(target, data)]
        if target == other:
            # What the whole restated data amounts to, from a store that never knew the old.
            subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
            continue
        after, readings = stamp(other), 0
        with (
            read(db) as held,
            held._db.snapshot(),
            subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as load,
        ):
            first = held._db.rows("SELECT COUNT(*) FROM core_manifest")
            while load.poll() is None:
                now = stamp(db)
                assert now.keys() == before.keys()
                for key, value in now.items():
                    assert value in (before[key], after[key]), key
                readings += 1
            assert held._db.rows("SELECT COUNT(*) FROM core_manifest") == first
            assert load.stdout is not None
            result = SchedulerResult.from_json(load.stdout.read())
    assert (result.exit_code, result.stats.succeeded) == (0, 12)
    assert readings > 2
    assert stamp(db) == after
    with read(db) as reader:
        assert contents(reader, moment) == then


def stamp(db: str) -> dict[str, tuple[Any, ...]]:
    """Figures of each partition that old and new rows do not share, over all tables that one transaction writes."""
    keyed = "SELECT week_ending, tier, 'volume', COUNT(*), CAST(SUM(share_volume * 8) AS BIGINT), SUM(trade_count)"
    sql = (
        f"{keyed} FROM finra_otc_venue_volume GROUP BY 1, 2 UNION ALL "
        + keyed.replace("'volume'", "'symbol'")
        + " FROM finra_otc_symbol_week GROUP BY 1, 2 UNION ALL "
        + keyed.replace("'volume'", "'venue'")
        + " FROM finra_otc_venue_week GROUP BY 1, 2 ORDER BY 1, 2, 3"
    )
    found: dict[str, tuple[Any, ...]] = {}
    with read(db) as reader:
        for week, tier, *figures in reader.query(sql).rows:
            found[f"{week}|{tier}"] = (*found.get(f"{week}|{tier}", ()), *figures)
    return found


@pytest.mark.usefixtures("harbor")
def test_two_domains_share_a_store(
    data: Path, new_database: Callable[[], str], tmp_path: Path, tiny_site: Path
) -> None:
    """FINRA's and another domain's schedulers, two of each at once on one new store, do not disturb each other."""
    landings = tmp_path / "landings"
    landings.mkdir()
    days = [f"2025-03-{number:02}" for number in range(1, 13)]
    for number, day in enumerate(days):
        (landings / f"{day}.txt").write_text(f"ada {number}\nbela {number + 1}\n")
    db = new_database()
    harbor = ["schedule", "harbor", "--days", ",".join(days), "--data-dir", str(landings), "--run-date", "2025-03-20"]
    together([[*harbor, "--json", "--db", db], finra(db, data)] * 2, tmp_path, tiny_site)
    alone = new_database()
    run_finra_schedule(db=alone, data_dir=str(data), run_date=RUN_DATE)
    with read(db) as reader, read(alone) as single:
        assert contents(reader) == contents(single)
        sums = reader.query("SELECT COUNT(*), SUM(tons) FROM harbor_total").rows
        windows = reader.query("SELECT day, days, tons FROM harbor_recent ORDER BY day").rows
    assert sums == [(12, float(sum(2 * number + 1 for number in range(12))))]
    tons = [float(2 * number + 1) for number in range(12)]
    assert windows == [(day, min(at + 1, 3), sum(tons[max(0, at - 2) : at + 1])) for at, day in enumerate(days)]
