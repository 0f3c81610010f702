"""A tiny domain for the platform's tests: ships that landed cargo on a day, from files named after the day.

A file holds lines ``SHIP TONS``. A ship called BREAK makes the calculation raise, one called WRECK the window.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import click
import polars as pl

from market_spine.app.arguments import days
from market_spine.app.scheduling import SchedulerResult
from market_spine.cli import output
from market_spine.cli.schedule import common_options, schedule_command
from market_spine.compose import Hooks, Request, Selection, run_schedule
from market_spine.core.capture import Absent, Part, Payload
from market_spine.core.domain import Domain, Normalized, Place, Publication, StageSpec, rejected_rows
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.core.schema import Column, Table, View
from market_spine.errors import ContentError

DAY = Column("day", "date", "Day of the landing.", nullable=False)
LANDING = Table(
    "harbor_landing",
    (
        DAY,
        Column("ship", "text", "Who landed.", nullable=False),
        Column("tons", "float", "Cargo.", nullable=False),
    ),
    ("day", "ship"),
    ("day",),
    "What each ship landed.",
    stage="normalize",
)
TOTAL = Table(
    "harbor_total",
    (
        DAY,
        Column("ships", "integer", "Ships.", nullable=False),
        Column("tons", "float", "Cargo.", nullable=False),
    ),
    ("day",),
    ("day",),
    "What a day brought.",
)
RECENT = Table(
    "harbor_recent",
    (
        DAY,
        Column("days", "integer", "Days present of three.", nullable=False),
        Column("tons", "float", "Cargo.", nullable=False),
    ),
    ("day",),
    ("day",),
    "What the three days up to this one brought.",
    stage="recent",
)
RECENT_SPEC = StageSpec("recent", "harbor.compute_recent", "1")
HEAVY = View(
    "harbor_heavy", "SELECT day, ship FROM harbor_landing WHERE tons >= 100", ("harbor_landing",), "Heavy cargo."
)


@dataclass(frozen=True, slots=True)
class Recent:
    """Three days of cargo."""

    spec: StageSpec = RECENT_SPEC
    table: Table = RECENT
    reads: tuple[str, tuple[str, ...]] = ("harbor_total", ("day", "tons"))

    def inputs(self, partition: Partition) -> Sequence[Partition]:
        """The day and the two before it."""
        day = date.fromisoformat(partition.values[0])
        return [Partition("harbor", (str(day - timedelta(back)),)) for back in (2, 1, 0)]

    def compute(self, partition: Partition, present: Sequence[Partition], rows: pl.DataFrame) -> pl.DataFrame:
        """One row."""
        if rows["tons"].max() == 666.0:
            raise RuntimeError("the window is wrecked")
        day = date.fromisoformat(partition.values[0])
        return pl.DataFrame({"day": [day], "days": [len(present)], "tons": [float(sum(rows["tons"].to_list()))]})


class Harbor(Domain):
    """The descriptor."""

    name = "harbor"
    scheduler = "daily_landings"
    unit = "day"
    partition_fields = ("day",)
    tables = (LANDING, TOTAL, RECENT)
    views = (HEAVY,)
    migrations = "harbor.migrations"
    windows = (Recent(),)

    def place(self, partition: Partition) -> Place:
        """The days stand in one line."""
        return Place("days", date.fromisoformat(partition.values[0]).toordinal())

    def publication(self, partition: Partition, today: date) -> Publication:
        """A day's file is published on that day."""
        day = date.fromisoformat(partition.values[0])
        if day > today:
            return Publication.NOT_DUE
        return Publication.DUE if day == today else Publication.PUBLISHED

    def normalize(self, partition: Partition, parts: Sequence[Part]) -> Normalized:
        """Lines to rows; a file that starts with a bracket is refused."""
        day = date.fromisoformat(partition.values[0])
        rows: list[tuple[date, str, float]] = []
        rejects: list[tuple[str, int, str, str]] = []
        read = 0
        for part in parts:
            text = part.data.decode()
            if text.startswith("<"):
                raise ContentError("a web page, not landings", kind="html", hint="fetch the file again")
            for number, line in enumerate(text.splitlines(), 1):
                read += 1
                ship, _, tons = line.partition(" ")
                try:
                    rows.append((day, ship, float(tons)))
                except ValueError:
                    rejects.append((part.name, number, "bad_number", line))
        return Normalized({"harbor_landing": LANDING.frame(rows)}, rejected_rows(rejects), read)

    def compute(self, partition: Partition, tables: Mapping[str, pl.DataFrame]) -> Mapping[str, pl.DataFrame]:
        """The day's total."""
        landing = tables["harbor_landing"]
        if "BREAK" in landing["ship"]:
            raise RuntimeError("the calculation is broken")
        tons = float(sum(landing["tons"].to_list()))
        day = date.fromisoformat(partition.values[0])
        return {"harbor_total": pl.DataFrame({"day": [day], "ships": [landing.height], "tons": [tons]})}

    def grid(self, today: date, count: int, known: Collection[str]) -> Sequence[Sequence[Partition]]:
        """The latest days."""
        return [[Partition(self.name, (str(today - timedelta(back)),))] for back in range(count)]

    def commands(self) -> Mapping[str, str]:
        """Scheduler and sample data."""
        return {"schedule": "harbor:schedule", "sample-data": "harbor:sample_data"}


DOMAIN = Harbor()


@dataclass(frozen=True)
class Quay:
    """Files in a folder."""

    folder: str

    def fetch(self, partition: Partition, known: Known) -> Payload | Absent:
        """The day's file."""
        path = Path(self.folder) / f"{partition.key}.txt"
        if not path.exists():
            return Absent()
        return Payload((Part("landings", path.read_bytes(), path.name),))


def run_harbor(
    folder: str | Path, wanted: str | Sequence[str], hooks: Hooks | None = None, **flags: Any
) -> SchedulerResult:
    """Run the scheduler over some days."""

    def select(today: date, _open_reader: object) -> Selection:
        partitions = [Partition("harbor", (day.isoformat(),)) for day in sorted(days("--days", wanted))]
        return Selection(partitions, Quay(str(folder)))

    return run_schedule(DOMAIN, Request(**flags), select, hooks or Hooks())


@schedule_command(DOMAIN, "harbor")
@click.option("--days", required=True)
@click.option("--data-dir", required=True)
@common_options
def schedule(*, days: str, data_dir: str, hooks: Hooks, **flags: Any) -> SchedulerResult:
    """Load landings."""
    return run_harbor(data_dir, days, hooks, **flags)


@click.command("harbor")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def sample_data(out: Path) -> None:
    """Write one day of landings."""
    out.mkdir(exist_ok=True)
    (out / "2025-03-01.txt").write_text("ada 10\nbela 120\n")
    output.write(str(out / "2025-03-01.txt"))
