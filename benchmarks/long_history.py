"""A tenth of FINRA's full history in the embedded store beside plain files, and what many restatements cost.

What ``history.py`` rehearses is loaded, restated 20,000 times, and read. As a case of ``run.py``, ``--scale`` is the
share of the weeks and restatements.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from cases import Bar, Bench, Report
from history import QUERIES, SPINE, TABLE, WEEKS, Rehearsal, sqlite
from measure import Contender, Measured, interleave, prepare
from peers import HERE, peer_python

FRACTION = 0.1
LEAST_WEEKS = 16
RESTATED = 20_000


def asking(store: Path, name: str, sql: str, *flags: str) -> Contender:
    """Asks a store."""
    return Contender(name, [*SPINE, "query", sql, "--format", "csv", "--db", str(store), *flags])


def queries(own: Rehearsal, restated: Path, symbol: str, rounds: int) -> Mapping[str, Measured]:
    """The statements, now and as of a moment, of the store and of the restated one, beside DuckDB over plain files."""
    store = Path(own.place.address("store"))
    contenders = []
    for name, sql in QUERIES.items():
        ours = sql.format(symbol=symbol)
        for database, what in ((store, ""), (restated, ", restated")):
            contenders += [
                asking(database, f"{name}{what}", ours),
                asking(database, f"{name} as of{what}", ours, "--as-of", own.moment),
            ]
        theirs = ours.replace(TABLE, "rows")
        plain = [peer_python(), str(HERE / "duck.py"), str(own.work / "plain"), theirs]
        contenders.append(Contender(f"{name}, plain files", plain))
    told = [*SPINE, "changes", "--since", own.moment, "--domain", "finra", "--json", "--db", str(restated)]
    contenders.append(Contender("changes since the load, restated", told))
    return interleave(contenders, rounds)


def restate(own: Rehearsal, count: int) -> Path:
    """Restate a copy of the store, a few rows at a time; returns the copy."""
    restated = own.work / "restated.db"
    shutil.copy(own.place.address("store"), restated)
    prepare([sys.executable, str(HERE / "restate.py"), str(restated), str(count)], own.work)
    return restated


def plain_files(own: Rehearsal) -> str:
    """Write the rows as Parquet files, one per partition; returns the symbol with most rows."""
    import polars as pl

    from market_spine import registry
    from market_spine.core.partition import Scope
    from market_spine.store import open_reader, parse_url
    from spine.domains.finra.otc_transparency.schema import NAME, VENUE_VOLUME

    counts: dict[str, int] = {}
    with open_reader(parse_url(own.place.address("store")), registry.domains()) as store:
        for key in store.known(NAME):
            week, tier = key.split("|")
            rows = store.read(VENUE_VOLUME, Scope({"week_ending": week, "tier": tier}))
            folder = own.work / "plain" / f"week_ending={week}" / f"tier={tier}"
            folder.mkdir(parents=True)
            rows.drop("week_ending", "tier").sort("symbol").write_parquet(folder / "rows.parquet", compression="zstd")
            for symbol, count in rows.group_by("symbol").agg(pl.len()).iter_rows():
                counts[symbol] = counts.get(symbol, 0) + count
    return max(counts, key=lambda symbol: (counts[symbol], symbol))


def bars(own: Rehearsal, asked: Mapping[str, Measured], growth: float) -> list[Bar]:
    """What was to be reached."""
    found = own.measured()
    week, alone, nothing = found["newest week"], found["newest week, empty store"], found["12 unchanged"]
    first, before, last = own.points[0], own.points[-2], own.points[-1]
    result = [
        Bar("peak memory of loading", found["first load"].peak, 600, unit=" MB"),
        Bar("the last stretch of loading / the first: CPU", (last.spent.cpu - before.spent.cpu) / first.spent.cpu, 1.5),
        Bar("newest week, long history / empty store: CPU", week.cpu / alone.cpu, 1.5),
        Bar("the same: bytes written", week.written / alone.written, 1.5),
        Bar("12 unchanged, long history / 12 held: CPU", nothing.cpu / found["12 unchanged, 12 held"].cpu, 1.15),
        Bar("size with restatements / without", growth, 1.5),
        Bar("peak memory of GROUP BY", asked["GROUP BY symbol"].peak, 1074, unit=" MB"),
    ]
    for name in QUERIES:
        ratios = {
            f"{name} / plain files": (name, f"{name}, plain files"),
            f"{name} as of / plain files": (f"{name} as of", f"{name}, plain files"),
        }
        result += [Bar(text, asked[one].wall / asked[other].wall, 3) for text, (one, other) in ratios.items()]
        for each in (name, f"{name} as of"):
            ratio = asked[f"{each}, restated"].wall / asked[each].wall
            result.append(Bar(f"{each}, with restatements / without", ratio, 1.5))
    return result


def history(bench: Bench) -> Report:
    """A tenth of the full history: loaded, restated and read."""
    weeks, count = max(LEAST_WEEKS, round(WEEKS * bench.scale)), round(RESTATED * bench.scale)
    own = Rehearsal(bench.work, sqlite(bench.work), FRACTION, weeks)
    own.files()
    own.load()
    own.newest()
    symbol = plain_files(own)
    restated = restate(own, count)
    growth = restated.stat().st_size / Path(own.place.address("store")).stat().st_size
    found = queries(own, restated, symbol, bench.rounds(5))
    return Report(
        f"{own.rows:,} rows in {3 * weeks:,} partitions, restated {count:,} times",
        {**own.measured(), **found},
        bars(own, found, growth),
        notes=own.curve(),
    )
