"""Five years of weeks in PostgreSQL, 20 million rows, and how long a symbol's history among them takes to read.

    python benchmarks/postgres_history.py

The server is that of ``postgres.py``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Any

import polars as pl
import psycopg
from postgres import TIER, addresses

from market_spine import registry
from market_spine.core.kinds import frame_types
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.store import StoreUrl, open_writer, parse_url
from market_spine.store.writer import StoreWriter
from spine.domains.finra.otc_transparency.schema import VENUE_VOLUME

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


def main() -> None:
    """Load five years of weeks, read a symbol's history, and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with addresses() as stores:
        found = history_times(parse_url(stores("history")["PostgreSQL"]), print)
    print("| seconds | PostgreSQL |\n|---|---|")
    for name, seconds in found.items():
        print(f"| {name} | {seconds:.3f} |")


if __name__ == "__main__":
    main()
