"""Rebuilding a database from its payloads and manifest, and copying it while it is written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from market_spine import registry
from market_spine.app.rebuild import MomentClock, Report, rebuild
from market_spine.compose import Hooks, utc_now
from market_spine.errors import MarketSpineError, StoreCorrupt, UsageError
from market_spine.store import StoreUrl, open_reader, open_writer
from market_spine.store.fresh import backup, new_store
from market_spine.store.reader import StoreReader
from market_spine.testing import every_row, run_command
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

pytestmark = pytest.mark.soak

HISTORIES = 3 * int(os.environ.get("MARKET_SPINE_SOAK", "1"))
STEPS = 8
_OWN = {"core_migrations", "core_requests", "core_refusals", "core_window_checks"}
"""What tells of the database itself and of calls to vendors, not of data."""


def read(url: StoreUrl) -> StoreReader:
    return open_reader(url, registry.domains(), clock=utc_now)


def rebuilt(source: StoreUrl, target: StoreUrl, *, accept: bool = False) -> Report:
    """Rebuild one store into another."""
    clock = MomentClock(utc_now())
    with read(source) as old, new_store(target, registry.domains(), clock) as new:
        return rebuild(old.log(), old, new, clock, registry.domains(), accept=accept)


def physical(url: StoreUrl) -> dict[str, list[str]]:
    """Every row of every table, as it is stored."""
    with read(url) as reader:
        names = {name for name in reader._db.relations() if name.endswith("_versions") or name.startswith("core_")}
        return every_row(reader, names - _OWN)


class Diary:
    """Runs a scheduler and writes down, after each run, what every table says then."""

    def __init__(self, url: StoreUrl, address: str, tables: Sequence[str], run: Callable[..., Any]) -> None:
        self.url, self.address, self.tables, self.run = url, address, tables, run
        self.pages: list[tuple[str, dict[str, list[Any]]]] = []
        self.minutes = count()

    def __call__(self, **flags: Any) -> Any:
        """One run, a minute of the clock after the last."""
        ticks = count()
        base = datetime(2025, 12, 23, 12, tzinfo=UTC) + timedelta(minutes=next(self.minutes))
        hooks = Hooks(clock=lambda: base + timedelta(milliseconds=next(ticks)))
        result = self.run(hooks=hooks, db=self.address, **flags)
        moment = (base + timedelta(seconds=59)).isoformat()
        with read(self.url) as reader:
            self.pages.append((moment, every_row(reader, self.tables)))
        return result

    def check(self, url: StoreUrl) -> None:
        """A store says of each past moment what was written down then."""
        with read(url) as reader:
            for moment, page in self.pages:
                assert every_row(reader, self.tables, moment) == page, moment


@pytest.fixture
def finra_diary(new_address: Callable[[], tuple[StoreUrl, str]]) -> Diary:
    """FINRA's scheduler on a fresh store."""
    url, address = new_address()
    core = ["core_manifest", "core_capture_parts", "core_payloads", "core_rejects", "core_runs", "core_anomalies"]
    names = [*core, *(table.name for table in DOMAIN.tables), *(view.name for view in DOMAIN.views)]
    return Diary(url, address, names, run_finra_schedule)


@pytest.fixture
def new_address(
    request: pytest.FixtureRequest, new_store_text: Callable[[], str]
) -> Callable[[], tuple[StoreUrl, str]]:
    """Address a fresh store, parsed and as text."""
    from market_spine.store import parse_url

    def make() -> tuple[StoreUrl, str]:
        text = new_store_text()
        return parse_url(text), text

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def new_store_text(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Address a fresh store of either kind as users do, another one each time."""
    if request.param == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("new_postgres")
        return make
    numbers = count()
    return lambda: str(tmp_path / f"recovery{next(numbers)}.db")


def sample(folder: Path, **changes: Any) -> None:
    """Generated FINRA files: three weeks of one tier, ATS and non-ATS."""
    whole = {"weeks": 3, "tiers": ("OTC",), "rows": 60, "seed": 5, "run_date": date(2025, 12, 23), "non_ats": True}
    write_sample_data(folder, **{**whole, **changes})


def load_arguments(weeks: int) -> list[str]:
    """A load of data/finra into old.db as arguments of the command line."""
    fixed = "schedule finra --tiers OTC --run-date 2025-12-23 --json --db old.db"
    return [*fixed.split(), "--lookback-weeks", str(weeks)]


def spoil(folder: Path, name: str, keep: float) -> bytes:
    """Cut a file down to a share of its rows; returns what it was."""
    path = folder / name
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: 1 + int(keep * (len(lines) - 1))]))
    return whole


def finra_history(diary: Diary, folder: Path) -> None:
    """A first load, a restatement, a held and a forced capture, other bytes, a lost part, single stages, a failure."""
    flags: dict[str, Any] = {"data_dir": str(folder), "tiers": "OTC", "lookback_weeks": 3, "run_date": "2025-12-23"}
    sample(folder)
    diary(**flags)
    sample(folder, revise=True)
    diary(**flags)
    newest = max(path.name for path in folder.iterdir() if "non_ats" not in path.name)
    other = newest.replace("otc_2", "otc_non_ats_2")
    whole, beside = spoil(folder, newest, 0.2), spoil(folder, other, 0.2)
    held = diary(**flags)
    assert held.stats.failed == 1
    diary(**flags, force=True)
    (folder / other).write_bytes(beside)
    (folder / newest).write_bytes(whole.replace(b"\n", b"\r\n"))
    diary(**flags)
    (folder / newest).write_bytes(whole)
    diary(**flags)
    (folder / other).unlink()
    (folder / newest).write_bytes(b"".join(whole.splitlines(keepends=True)[:-2]))
    diary(**flags, only_stage="ingest")
    diary(**flags, only_stage="normalize")
    diary(**flags, only_stage="calc")
    text = whole.decode().splitlines(keepends=True)
    (folder / newest).write_text("".join([*text[:3], text[3].replace("|", "|-", 6), *text[4:]]))
    diary(**flags)
    (folder / newest).write_text("<html>")
    diary(**flags)
    diary(**{**flags, "lookback_weeks": 4})


@pytest.mark.soak
def test_a_rebuilt_store_says_the_same_of_every_moment(
    finra_diary: Diary, new_address: Callable[[], tuple[StoreUrl, str]], tmp_path: Path
) -> None:
    """After a long FINRA history the rebuilt store holds the same rows, and answers as of every moment what was
    answered then; the next run finds nothing to do."""
    folder = tmp_path / "files"
    finra_history(finra_diary, folder)
    target, address = new_address()
    report = rebuilt(finra_diary.url, target)
    assert report.changed == ()
    assert physical(target) == physical(finra_diary.url)
    finra_diary.check(target)
    sample(folder)
    flags = {"data_dir": str(folder), "tiers": "OTC", "lookback_weeks": 3, "run_date": "2025-12-23"}
    outcomes = []
    for db in (finra_diary.address, address):
        result = run_finra_schedule(db=db, **flags)  # type: ignore[arg-type]
        outcomes.append([(run.pipeline, run.partition_key, run.status, run.capture_id) for run in result.runs])
    assert outcomes[0] == outcomes[1]


def test_derived_tables_are_not_read(
    finra_diary: Diary, new_address: Callable[[], tuple[StoreUrl, str]], tmp_path: Path
) -> None:
    """A store whose derived rows are all gone or wrong is rebuilt as if nothing had happened to it."""
    folder = tmp_path / "files"
    sample(folder)
    finra_diary(data_dir=str(folder), tiers="OTC", lookback_weeks=3, run_date="2025-12-23")
    sound = physical(finra_diary.url)
    with open_writer(finra_diary.url, registry.domains(), clock=utc_now) as writer:
        writer._db.begin()
        for table in DOMAIN.tables[1:]:
            writer._db.run(f"DELETE FROM {table.versions}")
        writer._db.run(f"UPDATE {DOMAIN.tables[0].versions} SET share_volume = 0")
        writer._db.run("DELETE FROM core_rejects")
        writer._db.commit()
    target, _ = new_address()
    rebuilt(finra_diary.url, target)
    assert physical(target) == sound


def _random_step(dice: Random, folder: Path, diary: Diary) -> None:
    """Change some files, then run with some flags."""
    days = [f"2025-03-0{number}" for number in range(1, 6)]
    for day in dice.sample(days, dice.randint(0, 3)):
        path = folder / f"{day}.txt"
        kind = dice.random()
        ships = dice.sample(["ada", "bela", "caro", "dora", "enno", "fips"], dice.randint(1, 6))
        lines = [f"{ship} {dice.randint(1, 200)}" for ship in ships]
        if kind < 0.1:
            lines.append("BREAK 1")
        elif kind < 0.2:
            lines.append(f"WRECK {'oops' if dice.random() < 0.5 else 666}")
        elif kind < 0.25:
            lines.insert(0, "<html>")
        elif kind < 0.35 and path.exists():
            lines = list(reversed(path.read_text().splitlines()))
        path.write_text("\n".join(lines) + "\n")
    stage = dice.choice(["all"] * 5 + ["ingest", "normalize", "calc"])
    wanted = ",".join(dice.sample(days, dice.randint(1, 5)))
    diary(wanted=wanted, only_stage=stage, force=dice.random() < 0.25, run_date=f"2025-03-1{dice.randint(0, 2)}")


@pytest.mark.soak
@pytest.mark.usefixtures("harbor")
@pytest.mark.parametrize("seed", range(HISTORIES))
def test_random_histories_are_rebuilt_as_they_were(
    new_address: Callable[[], tuple[StoreUrl, str]], tmp_path: Path, seed: int
) -> None:
    """Random captures, held, forced and noted ones, single stages, failures and windows: every table comes out as it
    is stored, and as of every moment as it was."""
    from harbor import run_harbor

    dice = Random(seed)
    folder = tmp_path / "landings"
    folder.mkdir()
    url, address = new_address()
    names = ["core_manifest", "core_rejects", "core_anomalies", "core_runs", "harbor_landing", "harbor_heavy"]
    diary = Diary(
        url,
        address,
        [*names, "harbor_total", "harbor_recent"],
        lambda wanted, hooks, **flags: run_harbor(folder, wanted, hooks, **flags),
    )
    for _ in range(STEPS):
        _random_step(dice, folder, diary)
    target, _ = new_address()
    report = rebuilt(url, target)
    assert (report.changed, report.runs) == ((), STEPS)
    assert physical(target) == physical(url)
    diary.check(target)


def test_another_pipeline_version_needs_to_be_accepted(
    finra_diary: Diary, new_address: Callable[[], tuple[StoreUrl, str]], tmp_path: Path
) -> None:
    """Where the manifest names another pipeline version, the rebuild names the partitions and makes nothing; accepted,
    the entries tell the installed version."""
    folder = tmp_path / "files"
    sample(folder)
    finra_diary(data_dir=str(folder), tiers="OTC", lookback_weeks=3, run_date="2025-12-23")
    with open_writer(finra_diary.url, registry.domains(), clock=utc_now) as writer:
        writer._db.begin()
        writer._db.run(
            "UPDATE core_manifest SET pipeline_version = '0', fingerprint = 'old'"
            " WHERE stage = 'calc' AND partition_key = '2025-11-14|OTC'"
        )
        writer._db.commit()
    target, _ = new_address()
    with pytest.raises(MarketSpineError, match=r"2025-11-14\|OTC calc \(0 -> 1\)") as error:
        rebuilt(finra_diary.url, target)
    assert (error.value.kind, "--accept-version-change" in error.value.hint) == ("version_change", True)
    assert target.kind != "sqlite" or not Path(target.path).exists()
    report = rebuilt(finra_diary.url, target, accept=True)
    changed = {name.partition(" of ")[0] for name in report.changed}
    # The week that changed and the windows that look at it: their fingerprints name what they were computed from.
    assert changed == {"2025-11-14|OTC calc"}
    with read(target) as reader:
        versions = reader.query("SELECT DISTINCT pipeline_version FROM core_manifest").rows
    assert versions == [("1",)]


def test_code_that_computes_something_else_is_noticed(
    finra_diary: Diary, new_address: Callable[[], tuple[StoreUrl, str]], tmp_path: Path
) -> None:
    """If a stage comes out otherwise under the same version, the rebuild names it and needs to be told to accept it."""
    folder = tmp_path / "files"
    sample(folder)
    finra_diary(data_dir=str(folder), tiers="OTC", lookback_weeks=3, run_date="2025-12-23")
    with open_writer(finra_diary.url, registry.domains(), clock=utc_now) as writer:
        writer._db.begin()
        writer._db.run("UPDATE core_manifest SET content_hash = 'x' WHERE stage = 'rolling'")
        writer._db.commit()
    target, _ = new_address()
    with pytest.raises(MarketSpineError, match="rolling of") as error:
        rebuilt(finra_diary.url, target)
    assert error.value.kind == "rebuild_differs"


def test_a_damaged_payload_stops_the_rebuild(
    finra_diary: Diary, new_address: Callable[[], tuple[StoreUrl, str]], tmp_path: Path
) -> None:
    """A payload that does not match its digest is StoreCorrupt, and no new database is left behind."""
    folder = tmp_path / "files"
    sample(folder)
    finra_diary(data_dir=str(folder), tiers="OTC", lookback_weeks=3, run_date="2025-12-23")
    with open_writer(finra_diary.url, registry.domains(), clock=utc_now) as writer:
        writer._db.begin()
        writer._db.run("UPDATE core_payloads SET data = ?, codec = 'none'", (b"something else",))
        writer._db.commit()
    target, _ = new_address()
    with pytest.raises(StoreCorrupt, match="does not match its digest"):
        rebuilt(finra_diary.url, target)
    if target.kind == "sqlite":
        assert not list(tmp_path.glob(f"{Path(target.path).name}*"))


@pytest.mark.process
def test_the_rebuild_command_makes_a_new_database_and_touches_no_other(tmp_path: Path) -> None:
    """`market-spine rebuild` writes the new file, refuses one that exists, and leaves the old one as it is."""
    sample(tmp_path / "data/finra")
    run = load_arguments(3)
    assert run_command(*run, cwd=tmp_path).code == 0
    before = (tmp_path / "old.db").read_bytes()
    done = run_command("rebuild", "--db", "old.db", "--into", "new.db", cwd=tmp_path)
    assert (done.code, done.stdout) == (0, "new.db: 6 commits of 3 partitions, 1 runs\n")
    assert (tmp_path / "old.db").read_bytes() == before
    again = run_command("rebuild", "--db", "old.db", "--into", "new.db", cwd=tmp_path)
    assert (again.code, "new.db exists already" in again.stderr) == (1, True)
    assert not list(tmp_path.glob("*.partial*"))


@pytest.mark.process
def test_a_copy_made_while_a_load_runs_is_one_moment_of_it(tmp_path: Path) -> None:
    """Copies made in a loop beside a real load are sound, hold whole partitions only, and load on from there."""
    sample(tmp_path / "data", weeks=8, rows=1500)
    flags = ["--tiers", "OTC", "--lookback-weeks", "8", "--run-date", "2025-12-23", "--data-dir", "data"]
    command = [sys.executable, "-m", "market_spine", "schedule", "finra", "--db", "live.db", "--json", *flags]
    source = StoreUrl("sqlite", str(tmp_path / "live.db"))
    copies: list[Path] = []
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as load:
        while load.poll() is None:
            if Path(source.path).exists() and Path(source.path).stat().st_size:
                copy = tmp_path / f"copy{len(copies)}.db"
                backup(source, str(copy))
                copies.append(copy)
    assert load.returncode == 0
    whole = counts(Path(source.path))
    found = [counts(copy) for copy in copies]
    assert len(found) > 2
    for each in found:
        assert each.items() <= whole.items()
    done = run_command("schedule", "finra", "--db", str(copies[len(copies) // 2]), "--json", *flags, cwd=tmp_path)
    assert done.code == 0
    assert counts(copies[len(copies) // 2]) == whole


def counts(path: Path) -> dict[tuple[str, str], int]:
    """Rows per table and week, of a database that is sound."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        return {
            (table.name, week): number
            for table in DOMAIN.tables
            if table.versions in tables and table.stage != "rolling"
            for week, number in connection.execute(
                f"SELECT week_ending, COUNT(*) FROM {table.versions} WHERE superseded_by IS NULL GROUP BY 1"
            )
        }


@pytest.mark.process
def test_backup_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    """A target that exists, a missing folder and a PostgreSQL address are clear errors; the latter names pg_dump."""
    sample(tmp_path / "data/finra")
    run = load_arguments(1)
    assert run_command(*run, cwd=tmp_path).code == 0
    assert run_command("db", "backup", "copy.db", "--db", "old.db", cwd=tmp_path).code == 0
    again = run_command("db", "backup", "copy.db", "--db", "old.db", cwd=tmp_path)
    assert (again.code, "copy.db exists already" in again.stderr) == (1, True)
    nowhere = run_command("db", "backup", "none/copy.db", "--db", "old.db", cwd=tmp_path)
    assert (nowhere.code, "does not exist" in nowhere.stderr) == (1, True)
    elsewhere = run_command("db", "backup", "copy2.db", "--db", "postgresql://ann:hush@db.example/x", cwd=tmp_path)
    assert (elsewhere.code, "pg_dump" in elsewhere.stderr, "hush" in elsewhere.stderr) == (1, True, False)
    with pytest.raises(UsageError, match="exists already"):
        backup(StoreUrl("sqlite", str(tmp_path / "old.db")), str(tmp_path / "old.db"))
