"""What ``schedule finra --source api`` costs against a simulated full market, beside a bare client.

    python benchmarks/finra_api.py [--rows full|N] [--weeks 4] [--repeat 3] [--rate 16] [--late 1]

The simulator runs as a process of its own, with the market in memory after the first client has read it once.
Each of these is a process of its own too, from cold, and reports wall time, peak memory, requests and bytes:

    bare      asks for the same pages with the same client settings, and throws them away
    first     the schedule into an empty database: fetch, verify, store, all calculations
    again     the same schedule a day later: nothing has changed

All keep to the same rate of requests a second: by default the product's, below FINRA's limit of 20. The simulator
answers each query --late seconds late: FINRA was seen to take 1.4 s for a page (47 s for 34). With --rate 1e6
--late 0 the service answers as fast as this machine can, and the processing is what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

DAY, NEXT_DAY = "2026-11-23", "2026-11-24"


def bare(url: str, weeks: int, rate: float) -> dict[str, Any]:
    """Download every page that a first load reads, with as many requests at a time, and keep nothing."""
    import httpx2

    from market_spine.sources.limits import RateLimiter
    from spine.domains.finra.otc_transparency import partitions
    from spine.domains.finra.otc_transparency.api.client import PAGE_ROWS, SUMMARY
    from spine.domains.finra.otc_transparency.api.reading import Query
    from spine.domains.finra.otc_transparency.api.source import CONCURRENCY, TIER_CODES
    from spine.domains.finra.otc_transparency.schema import TIERS

    address = f"{url}/data/group/otcMarket/name/{SUMMARY}"
    used = {"requests": 0, "received": 0}
    limiter = RateLimiter(rate)
    with httpx2.Client(timeout=60) as client, ThreadPoolExecutor(CONCURRENCY) as pool:

        def page(query: Query, offset: int) -> int:
            body = query.body(limit=PAGE_ROWS, offset=offset)
            limiter.wait()
            answer = client.post(address, json=body, headers={"Accept": "application/json"}).raise_for_status()
            used["requests"] += 1
            used["received"] += len(answer.content)
            return int(answer.headers["Record-Total"])

        for partition in partitions.plan(date.fromisoformat(DAY), weeks, (), TIERS).partitions:
            week_ending, tier = partitions.week_and_tier(partition)
            queries = [
                Query(SUMMARY, partitions.monday_of(week_ending), TIER_CODES[tier], (kind,))
                for kind in ("ATS_W_SMBL_FIRM", "OTC_W_SMBL_FIRM", "ATS_W_SMBL", "OTC_W_SMBL")
            ]
            totals = list(pool.map(lambda query: page(query, 0), queries))
            rest = [
                (query, offset)
                for query, total in zip(queries, totals, strict=True)
                for offset in range(PAGE_ROWS, total, PAGE_ROWS)
            ]
            list(pool.map(lambda each: page(*each), rest))
    return used


def load(url: str, weeks: int, day: str, db: str, rate: float) -> dict[str, Any]:
    """One schedule over the latest weeks."""
    os.environ["FINRA_API_URL"] = url
    from spine.domains.finra.otc_transparency import scheduler
    from spine.domains.finra.otc_transparency.api import source as source_api

    real = source_api.ApiSource
    made: list[source_api.ApiSource] = []

    def fast(today: date, config: Any, force: bool) -> source_api.ApiSource:
        made.append(real(today, config, force, rate=rate))
        return made[-1]

    source_api.ApiSource = fast  # type: ignore[assignment, misc]
    result = scheduler.run_finra_schedule(source="api", lookback_weeks=weeks, run_date=day, db=db)
    if result.exit_code:
        raise SystemExit(result.to_json())
    rows = sum(run.row_count or 0 for run in result.runs if run.pipeline.endswith("ingest_week"))
    used = made[0].traffic
    return {"requests": used.requests, "received": used.received, "rows": rows}


def measured(*arguments: str) -> dict[str, Any]:
    """Run one contestant as a process."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def contest(url: str, weeks: int, repeat: int, rate: float) -> None:
    """Measure everything ``repeat`` times and print the medians."""
    found: dict[str, list[dict[str, Any]]] = {"bare": [], "first": [], "again": []}
    common = ("--url", url, "--weeks", str(weeks), "--rate", str(rate))
    measured("--only", "bare", *common)
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            db = str(Path(folder) / "a.db")
            found["bare"].append(measured("--only", "bare", *common))
            for name, day in (("first", DAY), ("again", NEXT_DAY)):
                told = measured("--only", "load", *common, "--day", day, "--db", db)
                found[name].append(told)
    print(f"{'':8}{'rows':>10}{'requests':>10}{'MB':>8}{'seconds':>9}{'peak MB':>9}")
    for name, runs in found.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        last = runs[-1]
        print(
            f"{name:8}{last.get('rows', 0):>10,}{last['requests']:>10,}{last['received'] / 1e6:>8.1f}"
            f"{seconds:>9.2f}{statistics.median(run['peak'] for run in runs):>9.0f}"
        )
    ratio = statistics.median(
        first["seconds"] / bare_run["seconds"] for first, bare_run in zip(found["first"], found["bare"], strict=True)
    )
    print(f"first / bare: {ratio:.2f}")


def main() -> None:
    """Start the simulator and the contest, or be one contestant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="full")
    parser.add_argument("--weeks", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rate", type=float, default=16.0)
    parser.add_argument("--late", type=int, default=1)
    parser.add_argument("--only", choices=("bare", "load"), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--day", help=argparse.SUPPRESS)
    parser.add_argument("--db", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        started = time.perf_counter()
        told = (
            bare(given.url, given.weeks, given.rate)
            if given.only == "bare"
            else load(given.url, given.weeks, given.day, given.db, given.rate)
        )
        told |= {"seconds": time.perf_counter() - started}
        told |= {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        print(json.dumps(told))
        return
    command = (sys.executable, "-m", "market_spine", "simulate", "finra", "--port", "0", "--rows", given.rows)
    options: tuple[str, ...] = (
        "--now",
        f"{NEXT_DAY}T12:00:00Z",
        "--frozen",
        "--requests-per-minute",
        "0",
        "--revised",
        "0",
    )
    if given.late:
        options = (*options, "--fault", "timeout@data=1", "--slow-seconds", str(given.late))
    simulator = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert simulator.stdout is not None
        url = simulator.stdout.readline().strip()
        urllib.request.urlopen(f"{url}/_simulator/stats").close()
        contest(url, given.weeks, given.repeat, given.rate)
    finally:
        simulator.terminate()
        simulator.wait()


if __name__ == "__main__":
    main()
