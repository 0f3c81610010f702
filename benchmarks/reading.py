"""What large reads through the Python API cost, against the floors: ``python benchmarks/reading.py [--repeat N]``.

A million rows of a bulk table against Polars reading a Parquet file of them, and a million price rows against the bare
``sqlite3`` fetch of them. Each is read in a process of its own, in interleaved rounds; the ratios are of medians of the
CPU time and of the wall time that the reading took, imports left aside.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import polars as pl

import market_spine as ms
from market_spine import registry
from market_spine.core.kinds import frame_types
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.core.schema import Table
from market_spine.store import open_writer, parse_url
from spine.domains.finra.otc_transparency.schema import VENUE_VOLUME
from spine.domains.market_data.schema import PRICES

if TYPE_CHECKING:
    from market_spine.store.writer import StoreWriter

WEEKS, SYMBOLS, VENUES = 5, 10_000, 20
LISTED, SESSIONS = 500, 2_000
LIMIT = 2.0
DAYS = date(2010, 1, 1)
BARS = ", ".join(PRICES.names)

_TIMED = """
import json, resource, sys, time
{prepare}
began, cpu = time.perf_counter(), time.process_time()
{read}
assert count == 1_000_000, count
print(json.dumps({{
    "wall": time.perf_counter() - began,
    "cpu": time.process_time() - cpu,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}}))
"""
_SPINE = "import polars, market_spine as ms; spine = ms.open(sys.argv[1]); spine.tables()"
READINGS = {
    "Polars, a Parquet file": ("import polars as pl", "count = pl.read_parquet(sys.argv[2]).height"),
    "spine.table, bulk": (_SPINE, f"count = spine.table({VENUE_VOLUME.name!r}).polars().height"),
    "sqlite3, fetchall": (
        "import sqlite3; store = sqlite3.connect(sys.argv[1])",
        f"count = len(store.execute('SELECT {BARS} FROM {PRICES.versions} WHERE superseded_by IS NULL').fetchall())",
    ),
    "spine.table, prices": (_SPINE, f"count = spine.table({PRICES.name!r}, {list(PRICES.names)!r}).polars().height"),
}
"""Name to what is imported before, and what is measured."""
COMPARED = (("spine.table, bulk", "Polars, a Parquet file"), ("spine.table, prices", "sqlite3, fetchall"))


def venue_rows(week: date) -> pl.DataFrame:
    """A week of invented rows, sorted by key as the normalizer leaves them."""
    venues = pl.DataFrame({"venue_id": [f"V{number:03d}" for number in range(VENUES)]})
    frame = venues.join(pl.DataFrame({"symbol": [f"S{number:05d}" for number in range(SYMBOLS)]}), how="cross")
    number, published = pl.int_range(pl.len()), pl.lit(week + timedelta(days=17))
    values = {
        "week_ending": pl.lit(week),
        "tier": pl.lit("NMS_TIER_1"),
        "venue_class": pl.lit("ATS"),
        "venue_name": pl.lit("VENUE ") + pl.col("venue_id"),
        "issue_name": pl.lit("Issue of ") + pl.col("symbol") + pl.lit(" Common Stock"),
        "product_type": pl.lit(""),
        "share_volume": number * 7919 % 100_003,
        "trade_count": number % 997,
        "notional": pl.lit(None),
        **dict.fromkeys(("initial_published_date", "last_update_date", "last_reported_date"), published),
    }
    return frame.with_columns(**values).select(
        pl.col(name).cast(kind) for name, kind in frame_types(VENUE_VOLUME).items()
    )


def bars(symbol: str) -> pl.DataFrame:
    """One symbol's invented bars."""
    days = pl.date_range(DAYS, DAYS + timedelta(days=SESSIONS - 1), eager=True)
    frame = pl.DataFrame({"symbol": [symbol] * SESSIONS, "source": ["polygon"] * SESSIONS, "trade_date": days})
    at = pl.int_range(pl.len())
    values = {name: at * 0.37 + place + 1 for place, name in enumerate(("open", "high", "low", "close", "vwap"))}
    return frame.with_columns(**values, volume=(at * 977).cast(pl.Float64), trade_count=at.cast(pl.Int64)).select(
        PRICES.names
    )


def put(store: StoreWriter, table: Table, partition: Partition, frame: pl.DataFrame) -> None:
    """Make the rows what is known of a partition."""
    with store.commit(partition) as commit:
        entry = commit.next_id()
        commit.replace(table, Scope(dict(zip(table.partition_by, partition.values, strict=True))), frame, entry)
        what = (entry, partition, "normalize", "committed", partition.key)
        commit.add_entry(Entry(*what, "f", "1", "s", "c", frame.height, "bench"))


def fill(db: Path, file: Path) -> None:
    """A store with a million rows of each, and a Parquet file of the bulk table's."""
    with open_writer(parse_url(str(db)), registry.domains(), clock=lambda: datetime.now(UTC)) as store:
        for step in range(WEEKS):
            week = date(2025, 1, 3) + timedelta(weeks=step)
            where = Partition("finra.otc_transparency", (week.isoformat(), "NMS_TIER_1"))
            put(store, VENUE_VOLUME, where, venue_rows(week))
        for number in range(LISTED):
            symbol = f"S{number:04d}"
            put(store, PRICES, Partition("market_data", (symbol, "polygon")), bars(symbol))
    with ms.open(str(db)) as spine:
        spine.table(VENUE_VOLUME.name).polars().write_parquet(file)


def main() -> None:
    """Measure, and print a Markdown table with the ratios."""
    parser = argparse.ArgumentParser(description="Large reads through the Python API.")
    parser.add_argument("--repeat", type=int, default=7, metavar="N", help="rounds (default 7)")
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory(prefix="bench-reading-") as work:
        db, file = Path(work, "spine.db"), Path(work, "rows.parquet")
        fill(db, file)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in READINGS}
        for turn in range(repeat + 1):
            for name, (prepare, read) in READINGS.items():
                code = _TIMED.format(prepare=prepare, read=read)
                command = [sys.executable, "-c", code, str(db), str(file)]
                told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                # The first round fills the page cache.
                found[name] += [told] if turn else []
    middle = {name: {key: median(each[key] for each in told) for key in told[0]} for name, told in found.items()}
    print(f"| a million rows, median of {repeat} | wall s | CPU s | peak MB |\n|---|---:|---:|---:|")
    for name, each in middle.items():
        print(f"| {name} | {each['wall']:.3f} | {each['cpu']:.3f} | {each['peak']:.0f} |")
    print()
    for ours, floor in COMPARED:
        for unit in ("cpu", "wall"):
            ratio = middle[ours][unit] / middle[floor][unit]
            met = "met" if ratio <= LIMIT else "MISSED"
            print(f"- {ours} against {floor}, {unit}: {ratio:.2f}x, wanted at most {LIMIT:g}x: {met}")


if __name__ == "__main__":
    main()
