"""A rehearsal of FINRA's whole history: ``python benchmarks/history.py [--fraction F] [--store sqlite|postgres]``.

57 million rows in 1,860 partitions go through the real command: the first load, a restatement, the newest weeks, runs
that find nothing, publications, reads now and as of a moment. ``--fraction`` is the share of the rows of each file;
the partitions are always as many. Nothing is extrapolated. Needs Linux, which counts in ``/proc`` what a process takes.

The files, those of ``weekly_files.py``, are written before anything is measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path

from cases import RUN_DATE, Bar, Report, spine
from measure import Contender, Measured, Sample, prepare, run_once
from postgres import Spent, addresses, process_spent, server_spent
from report import remarks, summary
from weekly_files import ROWS, generate, restate, rows_of

WEEKS = 620
NEWEST = 3
"""Weeks that are published after the first load, one by one."""
POINTS = 8
"""Stretches of the load that are told apart."""
SPINE = (sys.executable, "-m", "market_spine")
TABLE = "finra_otc_venue_volume"
QUERIES = {
    "one symbol's history": f"SELECT * FROM {TABLE} WHERE symbol = '{{symbol}}' ORDER BY week_ending, venue_id",
    "GROUP BY symbol": f"SELECT symbol, SUM(share_volume) AS shares FROM {TABLE} GROUP BY symbol",
}


def day_before(weeks: int) -> str:
    """The day on which so many weeks fewer were published."""
    return (date.fromisoformat(RUN_DATE) - timedelta(weeks=weeks)).isoformat()


# --- stores ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where the stores of a rehearsal are.

    Attributes:
        kind: as the report shows it.
        address: makes the address of a store by its name.
        spent: what the server has spent so far; with True after all that it holds back is written.
        kept: MB of a store by its address.
    """

    kind: str
    address: Callable[[str], str]
    spent: Callable[[bool], Spent]
    kept: Callable[[str], float]


def _file_size(address: str) -> float:
    path = Path(address)
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*")) / 1e6


def sqlite(work: Path) -> Place:
    """Stores in files."""
    return Place("SQLite", lambda name: str(work / f"{name}.db"), lambda _settled: Spent(), _file_size)


@contextmanager
def postgresql() -> Iterator[Place]:
    """Stores in schemas of a server, ``postgres.py``'s own or that of TEST_DATABASE_URL, on this machine."""
    import psycopg

    with addresses() as stores:
        bare = stores("")["PostgreSQL"].rpartition("schema=")[0].rstrip("?&")
        with psycopg.connect(bare, autocommit=True) as connection:

            def spent(settled: bool) -> Spent:
                if settled:
                    connection.execute("CHECKPOINT")
                    time.sleep(1)  # processes of the server report what they wrote a moment later
                return server_spent(connection)

            def kept(address: str) -> float:
                schema = address.rpartition("schema=")[2]
                tables = (
                    "SELECT COALESCE(SUM(pg_total_relation_size(oid)), 0)::bigint FROM pg_class"
                    " WHERE relkind = 'r' AND relnamespace = to_regnamespace(%s)"
                )
                row = connection.execute(tables, (schema,)).fetchone()
                assert row is not None
                return float(row[0]) / 1e6

            yield Place("PostgreSQL", lambda name: stores(name)["PostgreSQL"], spent, kept)


# --- the rehearsal --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Point:
    """How far the load was: partitions told, seconds since the start, what was spent, MB of memory and of the store."""

    partitions: int
    wall: float
    spent: Spent
    peak: float
    kept: float


@dataclass
class Rehearsal:
    """One rehearsal: where it is, how much of the rows, and what was found so far."""

    work: Path
    place: Place
    fraction: float
    weeks: int = WEEKS
    found: dict[str, list[Sample]] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    told: int = 0
    moment: str = ""

    @property
    def data(self) -> Path:
        """The folder of weekly files of the first load."""
        return self.work / "data"

    @property
    def rows(self) -> int:
        """Rows of the first load."""
        return self.weeks * sum(rows_of(tier, self.fraction) for tier in ROWS)

    @property
    def loaded_on(self) -> str:
        """The day of the first load."""
        return day_before(NEWEST)

    def files(self) -> None:
        """Write all files, of the first load and of what comes after it."""
        began = time.monotonic()
        generate(self.data, self.weeks, self.fraction, self.loaded_on)
        restate(self.work / "restated", self.fraction, self.loaded_on, self.restated_week)
        for number in range(NEWEST):
            generate(self.work / f"newest{number}", 4, self.fraction, day_before(NEWEST - 1 - number))
        packed = sum(path.stat().st_size for path in self.data.iterdir()) / 1e6
        tell(f"{packed:,.0f} MB of packed files written in {time.monotonic() - began:.0f} s, not measured")

    @property
    def restated_week(self) -> date:
        """A week in the middle of the history."""
        return date.fromisoformat(self.loaded_on) - timedelta(weeks=self.weeks // 2)

    def take(self, name: str, contender: Contender, store: str = "store", *, on_line: bool = False) -> Sample:
        """Run a contender on a store, and keep its sample with what the server spent for it."""
        address = self.place.address(store)
        ours = replace(contender, name=name, command=[*contender.command, "--db", address])
        before = self.place.spent(True)
        began = time.monotonic()

        def watch(line: str, number: int) -> None:
            if '"partition": ' in line and '"INFO"' in line:
                self._point(number, began, before, address)

        cwd = self.work / "cwd"
        cwd.mkdir(exist_ok=True)
        sample = run_once(ours, cwd, watch if on_line else None)
        after = self.place.spent(True)
        sample = replace(
            sample,
            cpu=sample.cpu + after.cpu - before.cpu,
            written=sample.written + after.written - before.written,
            size=self.place.kept(address),
        )
        self.found.setdefault(name, []).append(sample)
        tell(
            f"{name}: {sample.wall:.2f} s, {sample.cpu:.2f} CPU s, peak {sample.peak:.0f} MB,"
            f" {sample.written:,.1f} MB written, {sample.size:,.0f} MB kept"
        )
        return sample

    def _point(self, number: int, began: float, before: Spent, address: str) -> None:
        """Note how far the load is, at the end of each stretch."""
        self.told += 1
        if self.told % max(1, 3 * self.weeks // POINTS):
            return
        own, server = process_spent(number), self.place.spent(False)
        status = (Path("/proc") / str(number) / "status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
        spent = Spent(own.cpu + server.cpu - before.cpu, own.written + server.written - before.written)
        self.points.append(Point(self.told, time.monotonic() - began, spent, peak, self.place.kept(address)))
        tell(f"  {self.told:,} partitions: {spent.cpu:.1f} CPU s, {spent.written:,.0f} MB written, peak {peak:.0f} MB")

    def load(self) -> Sample:
        """The first load: every week that the folder has."""
        count = 3 * self.weeks
        contender = spine(self.data, "all", self.loaded_on, attempted=count, succeeded=count)
        sample = self.take("first load", contender, on_line=True)
        self.moment = self._cell("SELECT MAX(committed_at) FROM core_manifest")
        return sample

    def publish(self, name: str) -> None:
        """Bring a lake of Parquet files up to what the store holds by now."""
        self.take(name, Contender("", [*SPINE, "publish", "--to", str(self.work / "lake"), "--format", "parquet"]))

    def restate(self) -> None:
        """A week in the middle of it all comes again, restated."""
        week = self.restated_week.isoformat()
        folder = self.work / "restated"
        self.take("a week restated", spine(folder, week, self.loaded_on, succeeded=3))
        for path in folder.iterdir():
            path.replace(self.data / path.name)

    def newest(self) -> None:
        """The newest weeks one by one, each as well into a store that is empty; and after each a run without news."""
        for number in range(NEWEST):
            folder, day = self.work / f"newest{number}", day_before(NEWEST - 1 - number)
            empty = f"empty{number}"
            self.take("newest week, empty store", spine(folder, 1, day, succeeded=3), empty)
            self.take("newest week", spine(folder, 1, day, succeeded=3))
            if not number:
                command = spine(folder, 4, day).command
                prepare([*command, "--db", self.place.address(empty)], self.work / "cwd")
                again = spine(folder, 4, day, skipped=12)
            self.take("12 unchanged, 12 held", again, "empty0")
            self.take("12 unchanged", again)
        count = 3 * self.weeks
        self.take(f"{count:,} unchanged", spine(self.data, "all", self.loaded_on, skipped=count))

    def ask(self) -> None:
        """Questions now and as of the moment after the first load, and the grid."""
        symbol = self._cell(
            f"SELECT symbol FROM {TABLE} WHERE tier = 'NMS_TIER_1' ORDER BY week_ending, symbol LIMIT 1"
        )
        for name, sql in QUERIES.items():
            ours = [*SPINE, "query", sql.format(symbol=symbol), "--format", "csv"]
            self.take(name, Contender("", ours))
            self.take(f"{name} as of the first load", Contender("", [*ours, "--as-of", self.moment]))
        grid = [*SPINE, "status", "--domain", "finra", "--run-date", self.loaded_on]
        self.take("status", Contender("", grid))
        self.take(f"status of {self.weeks} weeks", Contender("", [*grid, "--weeks", str(self.weeks)]))

    def _cell(self, sql: str) -> str:
        command = [*SPINE, "query", sql, "--format", "csv", "--db", self.place.address("store")]
        return run_once(Contender("", command)).output.splitlines()[1]

    def measured(self) -> dict[str, Measured]:
        """All samples by what they are of."""
        return {name: Measured(name, samples) for name, samples in self.found.items()}

    def bars(self) -> list[Bar]:
        """What is to be reached."""
        found = self.measured()
        load, week, alone = found["first load"], found["newest week"], found["newest week, empty store"]
        nothing, few = found["12 unchanged"], found["12 unchanged, 12 held"]
        return [
            Bar("first load", load.wall / 60, 30, unit=" minutes"),
            Bar("peak memory of the first load", load.peak, 1074, unit=" MB"),
            Bar("bytes that the first load wrote / bytes kept", load.written / load.size, 5),
            Bar("newest week, whole history / empty store: CPU", week.cpu / alone.cpu, 2),
            Bar("the same: bytes written", week.written / alone.written, 2),
            Bar("12 unchanged, whole history / 12 held: CPU", nothing.cpu / few.cpu, 2),
            Bar("the same: bytes written", nothing.written / few.written, 2),
        ]

    def curve(self) -> list[str]:
        """How the first load grew, a line for each stretch, and what came after the last partition was told."""
        rows = self.rows / (3 * self.weeks) / 1000
        lines = []
        before = Point(0, 0.0, Spent(), 0.0, 0.0)
        for point in self.points:
            thousand = (point.partitions - before.partitions) * rows
            cpu, written = point.spent.cpu - before.spent.cpu, point.spent.written - before.spent.written
            lines.append(
                f"up to {point.partitions:,} partitions, for 1,000 rows: {(point.wall - before.wall) / thousand:.4f} s,"
                f" {cpu / thousand:.4f} CPU s, {written / thousand:.3f} MB written,"
                f" {(point.kept - before.kept) / thousand:.3f} MB kept; peak {point.peak:.0f} MB"
            )
            before = point
        load = self.found["first load"][0]
        rest = f"{load.wall - before.wall:.0f} s, {load.cpu - before.spent.cpu:.0f} CPU s"
        lines.append(f"after that, windows most of it: {rest}, {load.written - before.spent.written:,.0f} MB written")
        return lines


def rehearse(work: Path, place: Place, fraction: float) -> Report:
    """All steps of a rehearsal."""
    own = Rehearsal(work, place, fraction)
    own.files()
    own.load()
    own.publish("publish, first")
    own.restate()
    own.publish("publish a week restated")
    own.newest()
    own.publish("publish the newest weeks")
    own.publish("publish nothing new")
    own.ask()
    title = f"{own.rows:,} rows in {3 * own.weeks:,} partitions, {place.kind}"
    return Report(title, own.measured(), own.bars(), notes=own.curve())


def main() -> int:
    """Rehearse in each kind of store, and print a Markdown report."""
    parser = argparse.ArgumentParser(description="FINRA's whole history, rehearsed.")
    parser.add_argument("--fraction", type=float, default=1.0, metavar="F", help="share of the rows (default 1)")
    parser.add_argument("--store", choices=("sqlite", "postgres"), help="one kind of store; default: both")
    arguments = parser.parse_args()
    if not 0 < arguments.fraction <= 1:
        parser.error("--fraction must be above 0 and at most 1")
    reports = []
    for kind in (arguments.store,) if arguments.store else ("sqlite", "postgres"):
        with tempfile.TemporaryDirectory(prefix="bench-data-") as folder:
            work = Path(folder)
            began = time.monotonic()
            with postgresql() if kind == "postgres" else nullcontext(sqlite(work)) as place:
                report = rehearse(work, place, arguments.fraction)
            show(report, time.monotonic() - began)
            reports.append(report)
    summary(reports)
    return 0


def show(report: Report, seconds: float) -> None:
    """Print what a rehearsal found."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"\n### {report.title}\n\nTook {seconds:.0f} s; load average at the end: {load}.\n")
    print("| step | s | CPU s | peak MB | MB written | MB kept |\n|---|---:|---:|---:|---:|---:|")
    for each in report.measured.values():
        print(
            f"| {each.name} | {each.wall:,.2f} | {each.cpu:,.2f} | {each.peak:,.0f} | {each.written:,.1f} |"
            f" {each.size:,.0f} |"
        )
    remarks(report)


def tell(text: str) -> None:
    """Say at once what is known: a rehearsal takes long."""
    print(f"- {time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
