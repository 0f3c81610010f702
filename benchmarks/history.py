"""A tenth of FINRA's full history in the embedded store: how it grows, and what it costs to have so much.

5.7 million rows in 1,860 partitions are loaded with every calculation, restated 20,000 times, and read. As a case of
``run.py``, ``--scale`` is the share of the weeks and restatements.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from cases import RUN_DATE, SPINE, Bar, Bench, Report, spine
from measure import Contender, Measured, Sample, interleave, prepare, run_once
from peers import HERE, peer_python

WEEKS = 620
LEGS = 4
ROWS = {"NMS_TIER_1": 2_200, "NMS_TIER_2": 6_200, "OTC": 800}
"""Rows of a week's file per tier: a tenth of FINRA's own."""
RESTATED = 20_000
TABLE = "finra_otc_venue_volume"
QUERIES = {
    "one symbol's history": "SELECT * FROM {rows} WHERE symbol = '{symbol}' ORDER BY week_ending, venue_id",
    "GROUP BY symbol": "SELECT symbol, SUM(share_volume) AS shares FROM {rows} GROUP BY symbol",
}


@dataclass(frozen=True)
class History:
    """What the steps share: a folder, the share of the whole, and rounds to count."""

    work: Path
    scale: float
    repeat: int

    @property
    def weeks(self) -> int:
        """Weeks of the history."""
        return max(LEGS * 2, round(WEEKS * self.scale))

    @property
    def store(self) -> Path:
        """The folder with the store of all but the newest week."""
        return self.work / "store"

    @property
    def restated(self) -> Path:
        """The folder with a copy of it that was restated."""
        return self.work / "restated"

    @property
    def data(self) -> Path:
        """The folder of weekly files."""
        return self.work / "data"


def week_before(weeks: int) -> str:
    """The day on which so many weeks fewer were published."""
    return (date.fromisoformat(RUN_DATE) - timedelta(weeks=weeks)).isoformat()


def loading(history: History, weeks: int, run_date: str) -> Contender:
    """Loads so many weeks up to a day."""
    found = spine(history.data, weeks, run_date, failed=0)
    return Contender(found.name, [*found.command, "--force"], check=found.check)


def ends(history: History) -> list[int]:
    """Weeks that are held after each leg of the load."""
    return [round((history.weeks - 1) * (leg + 1) / LEGS) for leg in range(LEGS)]


def load(history: History) -> list[Sample]:
    """Load all but the newest week, in legs of equal length."""
    for tier, rows in ROWS.items():
        flags = ["--weeks", str(history.weeks), "--tiers", tier, "--rows", str(rows), "--run-date", RUN_DATE]
        command = [sys.executable, "-m", "market_spine", "sample-data", "finra", "--out", str(history.data), *flags]
        prepare(command, history.work)
    history.store.mkdir()
    samples = []
    for begin, end in zip([0, *ends(history)], ends(history), strict=False):
        contender = loading(history, end - begin, week_before(history.weeks - end))
        samples.append(run_once(Contender(SPINE, contender.command, history.store, contender.check), history.store))
    return samples


def newest(history: History) -> Mapping[str, Measured]:
    """The newest week into the long history and into an empty store, and then nothing new in both."""
    last = spine(history.data, 1, RUN_DATE, succeeded=3)
    whole = Contender("newest week, long history", last.command, history.store, last.check)
    alone = Contender("newest week, empty store", last.command, None, last.check)
    found = interleave([whole, alone], history.repeat)
    twelve = spine(history.data, 4, RUN_DATE, skipped=12)
    short = prepare(spine(history.data, 4, RUN_DATE).command, history.work / "short")
    prepare(last.command, history.store)
    nothing = [
        Contender("12 unchanged, long history", twelve.command, history.store, twelve.check),
        Contender("12 unchanged, 12 known", twelve.command, short, twelve.check),
    ]
    return {**found, **interleave(nothing, history.repeat)}


def asking(store: Path, name: str, sql: str, *flags: str) -> Contender:
    """Asks a store."""
    command = [
        sys.executable,
        "-m",
        "market_spine",
        "query",
        sql,
        "--format",
        "csv",
        "--db",
        str(store / "spine.db"),
    ]
    return Contender(name, [*command, *flags])


def queries(history: History, symbol: str, moment: str) -> Mapping[str, Measured]:
    """The statements, now and as of a moment, of the store and of the restated one, beside DuckDB over plain files."""
    contenders = []
    for name, sql in QUERIES.items():
        ours = sql.format(rows=TABLE, symbol=symbol)
        for store, what in ((history.store, ""), (history.restated, ", restated")):
            contenders += [
                asking(store, f"{name}{what}", ours),
                asking(store, f"{name} as of{what}", ours, "--as-of", moment),
            ]
        theirs = sql.format(rows="rows", symbol=symbol)
        plain = [peer_python(), str(HERE / "duck.py"), str(history.work / "plain"), theirs]
        contenders.append(Contender(f"{name}, plain files", plain))
    return interleave(contenders, history.repeat)


def restate(history: History) -> int:
    """Restate a copy of the store, a few rows at a time; returns how often."""
    count = round(RESTATED * history.scale)
    shutil.copytree(history.store, history.restated)
    database = str(history.restated / "spine.db")
    prepare([sys.executable, str(HERE / "restate.py"), database, str(count)], history.work)
    return count


def plain_files(history: History) -> str:
    """Write the rows as Parquet files, one per partition; returns the symbol with most rows."""
    import polars as pl

    from market_spine import registry
    from market_spine.core.partition import Scope
    from market_spine.store import open_reader, parse_url
    from spine.domains.finra.otc_transparency.schema import NAME, VENUE_VOLUME

    counts: dict[str, int] = {}
    with open_reader(parse_url(str(history.store / "spine.db")), registry.domains()) as store:
        for key in store.known(NAME):
            week, tier = key.split("|")
            rows = store.read(VENUE_VOLUME, Scope({"week_ending": week, "tier": tier}))
            folder = history.work / "plain" / f"week_ending={week}" / f"tier={tier}"
            folder.mkdir(parents=True)
            rows.drop("week_ending", "tier").sort("symbol").write_parquet(folder / "rows.parquet", compression="zstd")
            for symbol, count in rows.group_by("symbol").agg(pl.len()).iter_rows():
                counts[symbol] = counts.get(symbol, 0) + count
    return max(counts, key=lambda symbol: (counts[symbol], symbol))


def size(store: Path) -> float:
    """MB of a store."""
    return (store / "spine.db").stat().st_size / 1e6


def bars(legs: Sequence[Sample], found: Mapping[str, Measured], sizes: tuple[float, float]) -> list[Bar]:
    """What was to be reached."""

    def ratio(one: str, other: str) -> float:
        return found[one].wall / found[other].wall

    long, empty = "newest week, long history", "newest week, empty store"
    result = [
        Bar("peak memory of loading", max(leg.peak for leg in legs), 600, unit=" MB"),
        Bar("the last leg of loading / the first", legs[-1].wall / legs[0].wall, 1.5),
        Bar("newest week, long history / empty store: time", ratio(long, empty), 1.5),
        Bar("the same: bytes written", found[long].written / found[empty].written, 1.5),
        Bar("12 unchanged, long history / 12", ratio("12 unchanged, long history", "12 unchanged, 12 known"), 1.15),
        Bar("size with restatements / without", sizes[1] / sizes[0], 1.5),
        Bar("peak memory of GROUP BY", found["GROUP BY symbol"].peak, 1074, unit=" MB"),
    ]
    for name in QUERIES:
        result += [
            Bar(f"{name} / plain files", ratio(name, f"{name}, plain files"), 3),
            Bar(f"{name} as of / plain files", ratio(f"{name} as of", f"{name}, plain files"), 3),
            Bar(f"{name}, with restatements / without", ratio(f"{name}, restated", name), 1.5),
            Bar(f"{name} as of, with restatements / without", ratio(f"{name} as of, restated", f"{name} as of"), 1.5),
        ]
    return result


def curve(history: History, legs: Sequence[Sample]) -> list[str]:
    """How loading and the file grow, a line for each leg."""
    begins = [0, *ends(history)]
    return [
        f"{3 * end:,} partitions held: {leg.wall / (3 * (end - begin)) * 1000:.1f} ms a partition"
        f" ({leg.cpu / (3 * (end - begin)) * 1000:.1f} CPU), peak {leg.peak:.0f} MB, {leg.size:.0f} MB in the folder"
        for begin, end, leg in zip(begins, begins[1:], legs, strict=False)
    ]


def history(bench: Bench) -> Report:
    """A tenth of the full history: loaded, restated and read."""
    own = History(bench.work, bench.scale, bench.rounds(5))
    legs = load(own)
    found = dict(newest(own))
    symbol = plain_files(own)
    asked = asking(own.store, "", "SELECT MAX(committed_at) FROM core_manifest")
    moment = run_once(asked).output.splitlines()[1]
    count = restate(own)
    found |= queries(own, symbol, moment)
    rows = sum(ROWS.values()) * own.weeks
    return Report(
        f"{rows:,} rows in {3 * own.weeks:,} partitions, restated {count:,} times",
        found,
        bars(legs, found, (size(own.store), size(own.restated))),
        notes=curve(own, legs),
    )
