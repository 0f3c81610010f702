"""The tiny domain's commands and a lake that they publish to, and what engines read there."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from market_spine.app.scheduling import SchedulerResult
from market_spine.cli.main import root
from market_spine.cli.main import run as command
from market_spine.read.spine import connect

if TYPE_CHECKING:
    import pytest

TABLES = {
    "harbor_landing": ("day", "ship", "tons"),
    "harbor_tide": ("day", "hour", "metres"),
    "harbor_total": ("day", "ships", "tons"),
    "harbor_recent": ("day", "days", "tons"),
}
EVERYTHING = " UNION ALL ".join(
    f"SELECT '{name}' AS t, CAST({a} AS VARCHAR) AS a, CAST({b} AS VARCHAR) AS b, {c} * 1.0 AS c, capture_id"
    f" FROM {name}"
    for name, (a, b, c) in TABLES.items()
)
"""All rows of all tables in one shape."""
Row = tuple[Any, ...]


class Port:
    """The tiny domain's commands over one database, one folder of files and one lake."""

    def __init__(self, place: Path, db: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.lake, self.db, self.capsys = place / "landings", place / "lake", db, capsys
        self.folder.mkdir(exist_ok=True)

    def __call__(self, *arguments: str) -> tuple[int, Any]:
        self.capsys.readouterr()
        code = command(root, [*arguments, "--db", self.db, "--json"], "market-spine")
        return code, json.loads(self.capsys.readouterr().out)

    def load(self, **days: str) -> SchedulerResult:
        """Load files of days of March 2025, ``d01="ada 10"``; a tide file where it begins with a number."""
        for day, text in days.items():
            kind = ".tides" if text[:1].isdigit() else ""
            (self.folder / f"2025-03-{day[1:]}{kind}.txt").write_text(text)
        names = ",".join(sorted(f"2025-03-{day[1:]}" for day in days))
        asked = ("--days", names, "--data-dir", str(self.folder), "--run-date", "2025-03-09")
        return SchedulerResult.from_json(json.dumps(self("schedule", "harbor", *asked)[1]))

    def publish(self) -> Any:
        """Publish, and what it answers."""
        code, told = self("publish", "--to", str(self.lake), "--format", "parquet")
        assert code == 0, told
        return told

    def current(self) -> Any:
        """What lies together in the lake."""
        return json.loads((self.lake / "_current.json").read_text())

    def stored(self, moments: Sequence[datetime]) -> list[list[Row]]:
        """All rows as of each moment, by the store."""
        with connect(self.db) as spine:
            return [sorted(spine.store.query(EVERYTHING, as_of=moment).rows) for moment in moments]


def by_duckdb(lake: Path, moments: Sequence[datetime]) -> Iterator[list[Row]]:
    """All rows as of each moment, by the shipped macros."""
    with duckdb.connect() as engine:
        engine.execute((lake / "views.duckdb.sql").read_text())
        for moment in moments:
            sql = EVERYTHING
            for name in TABLES:
                sql = sql.replace(f"FROM {name}", f"FROM {name}_as_of('{moment.isoformat()}')")
            yield sorted(engine.execute(sql).fetchall())


def by_polars(lake: Path, moments: Sequence[datetime]) -> Iterator[list[Row]]:
    """All rows as of each moment, by the files that ``_current.json`` names."""
    files = json.loads((lake / "_current.json").read_text())["tables"]
    yield from as_known({name: pl.read_parquet([lake / file for file in files[name]]) for name in TABLES}, moments)


def as_known(frames: Mapping[str, pl.DataFrame], moments: Sequence[datetime]) -> Iterator[list[Row]]:
    """All rows as of each moment, of tables with all their versions."""
    for moment in moments:
        found = []
        for name, (a, b, c) in TABLES.items():
            known = frames[name].filter(
                (pl.col("captured_at") <= moment)
                & (pl.col("superseded_at").is_null() | (pl.col("superseded_at") > moment))
            )
            shown = known.select(
                pl.lit(name), pl.col(a).cast(pl.String), pl.col(b).cast(pl.String), pl.col(c) * 1.0, "capture_id"
            )
            found += shown.rows()
        yield sorted(found)


def live(port: Port, dice: random.Random) -> None:
    """One thing that happens to a harbor: a load, a restatement, a retraction, an acceptance."""
    day = f"0{dice.randint(1, 4)}"
    captures = port("captures", f"2025-03-{day}", "--domain", "harbor")[1].get("captures", [])
    states = {each["status"]: each["capture_id"] for each in captures}
    verb = dice.choice(("load", "load", "load", "retract", "accept"))
    if verb == "retract" and "current" in states:
        port("retract", states["current"], "--reason", "a die said so")
    elif verb == "accept" and "retracted" in states:
        port("accept", states["retracted"], "--reason", "a die said so")
    elif dice.random() < 0.3:
        port.load(**{f"d{day}": "".join(f"{hour} {dice.randint(1, 9)}.5\n" for hour in range(dice.randint(1, 5)))})
    else:
        ships = dice.sample(("ada", "bela", "caro", "dora"), 3)
        port.load(**{f"d{day}": "".join(f"{ship} {dice.randint(1, 99)}\n" for ship in ships)})
