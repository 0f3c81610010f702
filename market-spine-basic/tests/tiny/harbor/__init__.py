"""A tiny domain for the platform's tests: ships that landed cargo on a day, from files named after the day.

``DAY.txt`` and ``DAY.ferry.txt`` hold lines ``SHIP TONS`` of one day; together they are what landed. ``DAY.tides.txt``
holds lines ``HOUR METRES``: a gauge that is read on and on, and whose file covers the hours from its first to its last
line. A ship called BREAK makes the calculation raise, 666 tons the window; a thousandfold cargo is noted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from market_spine.app.arguments import days
from market_spine.app.scheduling import SchedulerResult
from market_spine.cli import output
from market_spine.cli.schedule import common_options, schedule_command
from market_spine.compose import Hooks, Request, Selection, run_schedule
from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Absent, Part, Payload
from market_spine.core.domain import (
    CoversRange,
    Domain,
    Normalized,
    Place,
    Publication,
    Range,
    StageSpec,
    rejected_rows,
)
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.core.revision import RowDiff
from market_spine.core.schema import Column, Table, View
from market_spine.errors import ContentError

if TYPE_CHECKING:
    import polars as pl

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
    totals=("tons",),
)
TIDE = Table(
    "harbor_tide",
    (
        DAY,
        Column("hour", "integer", "Full hour of the reading.", nullable=False),
        Column("metres", "float", "Height of the water.", nullable=False),
    ),
    ("day", "hour"),
    ("day",),
    "What the gauge read.",
    stage="normalize",
    grows=True,
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
    totals=("tons",),
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
        return RECENT.frame([(date.fromisoformat(partition.values[0]), len(present), sum(rows["tons"].to_list()))])


def thousandfold(key: str, diff: RowDiff) -> tuple[Anomaly, ...]:
    """Cargo that became a thousand times what it was: kilograms, most likely."""
    old, new = (frame["tons"].to_list() for frame in (diff.old, diff.new))
    ships = [ship for ship, one, other in zip(diff.new["ship"], old, new, strict=True) if other == 1000 * one]
    if not ships:
        return ()
    return (Anomaly("thousandfold", "warning", key, f"a thousand times the cargo: {', '.join(ships)}"),)


class Harbor(Domain):
    """The descriptor."""

    name = "harbor"
    scheduler = "daily_landings"
    unit = "day"
    partition_fields = ("day",)
    tables = (LANDING, TIDE, TOTAL, RECENT)
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
        landed: list[tuple[date, str, float]] = []
        read: list[tuple[date, int, float]] = []
        rejects: list[tuple[str, int, str, str]] = []
        for part in parts:
            text = part.data.decode()
            if text.startswith("<"):
                raise ContentError("a web page, not landings", kind="html", hint="fetch the file again")
            for number, line in enumerate(text.splitlines(), 1):
                name, _, amount = line.partition(" ")
                try:
                    if part.name == "tides":
                        read.append((day, int(name), float(amount)))
                    else:
                        landed.append((day, name, float(amount)))
                except ValueError:
                    rejects.append((part.name, number, "bad_number", line))
        tables = {LANDING.name: LANDING.frame(landed)}
        hours = [hour for _, hour, _ in read]
        if hours:
            tables[TIDE.name] = TIDE.frame(read)
        return Normalized(
            tables,
            rejected_rows(rejects),
            rows_read=len(landed) + len(read) + len(rejects),
            review=partial(thousandfold, partition.key),
            partial=CoversRange({TIDE.name: Range("hour", min(hours), max(hours))}) if hours else None,
        )

    def compute(self, partition: Partition, tables: Mapping[str, pl.DataFrame]) -> Mapping[str, pl.DataFrame]:
        """The day's total."""
        landing = tables["harbor_landing"]
        if "BREAK" in landing["ship"]:
            raise RuntimeError("the calculation is broken")
        tons = sum(landing["tons"].sort().to_list())
        return {"harbor_total": TOTAL.frame([(date.fromisoformat(partition.values[0]), landing.height, tons)])}

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

    @property
    def location(self) -> str:
        """The folder."""
        return self.folder

    def fetch(self, partition: Partition, known: Known) -> Payload | Absent:
        """The day's files."""
        names = {"landings": "txt", "ferry": "ferry.txt", "tides": "tides.txt"}
        paths = {name: Path(self.folder) / f"{partition.key}.{ending}" for name, ending in names.items()}
        parts = tuple(Part(name, path.read_bytes(), path.name) for name, path in paths.items() if path.exists())
        return Payload(parts) if parts else Absent()


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
