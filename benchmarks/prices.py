"""How long a daily top-up of many symbols takes: requests, time and memory, beside the rate limit's own floor.

    python benchmarks/prices.py --symbols 500

A simulated Massive serves the bars over real HTTP; its clock and ours jump over every wait for the quota, so the
time told is that of the work. The waits are told apart: they are the floor that no program can go below.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import Hooks, reader
from spine.domains.market_data.scheduler import run_prices_schedule
from spine.domains.market_data.simulator.generated import generate_book
from spine.domains.market_data.simulator.server import RunningVendor, running_vendor

FRIDAY = datetime(2026, 11, 20, 21, 30, tzinfo=UTC)


def run(symbols: str, vendor: RunningVendor, db: Path, waits: list[float]) -> tuple[SchedulerResult, float]:
    """One schedule and the seconds it took, waits jumped over."""

    def pause(seconds: float) -> None:
        waits.append(seconds)
        vendor.clock.advance(timedelta(seconds=seconds))

    started = time.perf_counter()
    result = run_prices_schedule(
        symbols=symbols,
        source="polygon",
        sleep=0,
        max_symbols=10_000,
        db=str(db),
        hooks=Hooks(clock=vendor.clock.now),
        pause=pause,
    )
    return result, time.perf_counter() - started


def calls(db: Path) -> int:
    """Requests that the ledger holds."""
    with closing(reader(str(db))) as store:
        return int(store.query("SELECT COUNT(*) FROM core_requests").rows[0][0])


def main() -> None:
    """Load all symbols, let a session pass, and top up."""
    parser = argparse.ArgumentParser(description="Benchmark a daily top-up of prices.")
    parser.add_argument("--symbols", type=int, default=500, help="how many (default 500)")
    count = parser.parse_args().symbols
    names = [f"S{number:04d}" for number in range(count)]
    book = generate_book(1, names, first_day=date(2026, 1, 2))
    with tempfile.TemporaryDirectory() as folder, running_vendor("polygon", book, FRIDAY, plan="starter") as vendor:
        os.environ |= {"POLYGON_URL": vendor.url, "POLYGON_API_KEY": "K"}
        db = Path(folder) / "prices.db"
        for title, days in (("first load", 0), ("top-up after one session", 3), ("nothing new", 0)):
            vendor.clock.advance(timedelta(days=days))
            before, waits = calls(db) if db.exists() else 0, list[float]()
            result, seconds = run(",".join(names), vendor, db, waits)
            stats = result.stats
            print(
                f"{title}: {stats.succeeded} loaded, {stats.skipped} up to date, {stats.failed} failed;"
                f" {calls(db) - before} requests, {sum(waits):.0f} s waited for the quota,"
                f" {seconds:.2f} s of work ({seconds / count * 1000:.1f} ms a symbol)"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory, the simulated vendor included: {peak:.0f} MB")


if __name__ == "__main__":
    main()
