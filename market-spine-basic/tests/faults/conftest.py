"""What every fault is tried on: FINRA files and their restatement, and ways to see whether a database is whole."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from market_spine import registry
from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import utc_now
from market_spine.core.schema import Table
from market_spine.store import open_reader, parse_url
from market_spine.testing import Finished, run_command
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

KILLER = Path(__file__).parent / "killer.py"
RUN_DATE = "2025-12-23"
WEEKS = 2
KEYS = ("2025-11-14|OTC", "2025-11-21|OTC")
ROUNDS = int(os.environ.get("MARKET_SPINE_SOAK", "1"))
"""How many times as much as in an ordinary test run is tried."""

WINDOWED = frozenset(calc.table.name for calc in DOMAIN.windows)

Rows = tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class State:
    """All that a database says, but for ids and moments.

    Attributes:
        tables: (partition key, table) to the rows known now, with their capture ids.
        manifest: what was committed, in no order.
        anomalies: kind, partition, message and whether it is still open.
    """

    tables: dict[tuple[str, str], Rows]
    manifest: Rows
    anomalies: Rows

    @property
    def values(self) -> dict[tuple[str, str], Rows]:
        """The tables without capture ids: a row that a failure let stand keeps the capture that brought it."""
        return {where: tuple(row[:-1] for row in rows) for where, rows in self.tables.items()}

    def of_partition(self, key: str) -> dict[str, Rows]:
        """The tables that one transaction of a partition writes."""
        return {name: rows for (own, name), rows in self.tables.items() if own == key and name not in WINDOWED}

    def of_window(self, key: str) -> dict[str, Rows]:
        """The tables that one transaction of a partition's windows writes."""
        return {name: rows for (own, name), rows in self.tables.items() if own == key and name in WINDOWED}


@dataclass(frozen=True)
class Finra:
    """Two weeks of one tier: as they were first published, and restated."""

    cwd: Path
    first: Path
    restated: Path
    keys: tuple[str, ...] = KEYS
    rounds: int = ROUNDS

    def load(self, db: str, folder: Path, **flags: Any) -> SchedulerResult:
        """Run the scheduler in this process."""
        flags = {"lookback_weeks": WEEKS, "tiers": "OTC", "run_date": RUN_DATE, **flags}
        return run_finra_schedule(db=db, data_dir=str(folder), **flags)

    def arguments(self, db: str, folder: Path) -> list[str]:
        """The same run as arguments of the command line."""
        fixed = f"schedule finra --lookback-weeks {WEEKS} --tiers OTC --run-date {RUN_DATE} --json"
        return [*fixed.split(), "--db", db, "--data-dir", str(folder)]

    def killed(self, point: int, report: Path, arguments: list[str]) -> Finished:
        """Run a command that kills itself at a point; 0 lets it run to its end."""
        return run_command(*arguments, cwd=self.cwd, program=(str(KILLER), str(point), str(report)))

    def points(self, arguments: list[str]) -> list[str]:
        """The names of the points that a command reaches when nothing happens to it."""
        report = self.cwd / "points.txt"
        report.unlink(missing_ok=True)
        assert self.killed(0, report, arguments).code == 0
        return report.read_text().splitlines()

    def look(self, db: str) -> State:
        """Read everything that users see, in one statement; a database that does not exist yet is empty."""
        of_entries = (
            "domain, partition_key, stage, status, capture_id, fingerprint, content_hash, row_count, rejected,"
            " duplicates, is_revision, rows_added, rows_removed, rows_changed, input_captures, scope"
        )
        of_anomalies = "partition_key, kind, message, resolved_at IS NULL"
        asked = [
            *(_told(table.name, _spelt_key(table), ", ".join(table.names), "capture_id") for table in DOMAIN.tables),
            _told("core_manifest", "''", of_entries, "''"),
            _told("core_anomalies", "''", of_anomalies, "''"),
        ]
        found: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
        with open_reader(parse_url(db), registry.domains(), clock=utc_now, missing_ok=True) as reader:
            for name, key, row, capture_id in reader.query(" UNION ALL ".join(asked)).rows:
                found.setdefault((key, name), []).append((row, capture_id))
        manifest = found.pop(("", "core_manifest"), [])
        anomalies = found.pop(("", "core_anomalies"), [])
        tables = {where: tuple(sorted(rows)) for where, rows in found.items()}
        return State(tables, tuple(sorted(manifest)), tuple(sorted(anomalies)))

    def check_whole(self, db: str) -> None:
        """Fail unless the database is sound: its pages, its keys, and every row's entry in the manifest."""
        url = parse_url(db)
        if url.kind == "sqlite":
            with closing(sqlite3.connect(url.path)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        asked = [
            "SELECT 'lost payloads', COUNT(*) FROM core_capture_parts p JOIN core_manifest m"
            " ON m.manifest_id = p.manifest_id"
            " WHERE m.status <> 'noted' AND p.sha256 NOT IN (SELECT sha256 FROM core_payloads)",
            *(statement for table in DOMAIN.tables for statement in (_orphans(table), _doubled(table))),
        ]
        with open_reader(url, registry.domains(), clock=utc_now, missing_ok=True) as reader:
            found = reader.query(" UNION ALL ".join(asked)).rows
        assert len(found) == len(asked)
        assert [what for what, number in found if number] == []

    def check_partitions(self, db: str, before: State, after: State) -> State:
        """Fail unless each partition is all as before or all as after; returns what there is."""
        now = self.look(db)
        for key in self.keys:
            assert now.of_partition(key) in (before.of_partition(key), after.of_partition(key)), key
        return now

    def check_all_or_nothing(self, db: str, before: State, after: State) -> None:
        """The same, and for each window too: a run that died has computed none between its partitions."""
        now = self.check_partitions(db, before, after)
        for key in self.keys:
            assert now.of_window(key) in (before.of_window(key), after.of_window(key)), key


def _told(name: str, key: str, columns: str, capture_id: str) -> str:
    return f"SELECT '{name}', {key}, CAST(ROW({columns}) AS VARCHAR), {capture_id} FROM {name}"


def _spelt_key(table: Table) -> str:
    return " || '|' || ".join(f"CAST({name} AS VARCHAR)" for name in table.partition_by)


def _orphans(table: Table) -> str:
    entries = "(SELECT manifest_id FROM core_manifest)"
    return (
        f"SELECT 'rows of {table.name} without an entry', COUNT(*) FROM {table.versions}"
        f" WHERE manifest_id NOT IN {entries}"
        f" OR (superseded_by IS NOT NULL AND superseded_by NOT IN {entries})"
    )


def _doubled(table: Table) -> str:
    key = ", ".join(table.key)
    return (
        f"SELECT 'keys of {table.name} twice', COUNT(*) FROM (SELECT {key} FROM {table.versions}"
        f" WHERE superseded_by IS NULL GROUP BY {key} HAVING COUNT(*) > 1) AS doubled_{table.name}"
    )


@pytest.fixture
def finra(tmp_path: Path) -> Finra:
    """Generated files: 120 rows a week, ATS and non-ATS, both weeks restated by the second folder."""
    whole = {
        "weeks": WEEKS,
        "tiers": ("OTC",),
        "rows": 120,
        "seed": 3,
        "run_date": date.fromisoformat(RUN_DATE),
        "non_ats": True,
    }
    first, restated = tmp_path / "first", tmp_path / "restated"
    weeks = [date.fromisoformat(key.partition("|")[0]) for key in KEYS]
    for folder in (first, restated):
        write_sample_data(folder, **whole)  # type: ignore[arg-type]
    write_sample_data(restated, revise=True, revise_weeks=weeks, **whole)  # type: ignore[arg-type]
    return Finra(tmp_path, first, restated)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Address a fresh database of either kind, another one each time."""
    if request.param == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("new_postgres")
        return make
    numbers = count()
    return lambda: str(tmp_path / f"faults{next(numbers)}.db")


@dataclass(frozen=True)
class Others:
    """How to run Python as other users.

    Attributes:
        python: an interpreter of this version that they can run: root's own may lie in root's home.
        environ: where they find what is installed here, and nothing else.
    """

    python: str
    environ: dict[str, str]

    def how(self, uid: int, groups: Sequence[int] = ()) -> dict[str, Any]:
        """What to tell subprocess."""
        return {"user": uid, "group": uid, "extra_groups": list(groups), "env": self.environ}


@pytest.fixture(scope="session")
def others() -> Others:
    """Other users; only root can act as them."""
    if os.geteuid():
        pytest.skip("the tests do not run as root, who alone can act as other users")
    own = (sys.base_prefix, sys.base_exec_prefix)
    places = [place for place in sys.path if place and not place.startswith(own)]
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(places), "PYTHONDONTWRITEBYTECODE": "1"}
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(version, path="/usr/local/bin:/usr/bin")):
        if candidate is None:
            continue
        found = Others(candidate, environ)
        try:
            trial = [candidate, "-c", "import market_spine.store, polars"]
            subprocess.run(trial, check=True, capture_output=True, **found.how(65100))
        except (OSError, subprocess.CalledProcessError):
            continue
        return found
    pytest.skip(f"other users than root can run no {version} here")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users can reach: pytest's own are closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="market-spine-shared-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the developer's leak in."""
    for name in ("DATABASE_URL", "FINRA_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
