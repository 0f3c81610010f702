"""The bits of a result do not depend on the machine: one thread or four, rows in order or shuffled."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

SCRIPT = """
import hashlib, random, sys
from datetime import date, timedelta
import polars as pl
from market_spine.core.partition import Partition
from spine.domains.finra.otc_transparency import calculations, schema

assert pl.thread_pool_size() == int(sys.argv[1])
rng = random.Random(5)
rows = []
for symbol in range(2_000):
    for venue in rng.sample(range(30), rng.randrange(1, 9)):
        shares = rng.lognormvariate(8, 3) if venue % 3 else round(rng.lognormvariate(8, 3))
        leg = ("ATS", "NON_ATS")[venue % 2]
        name = "DE_MINIMIS" if venue == 1 else f"V{venue}"
        rows.append((leg, name, name, f"S{symbol}", round(shares, 6), rng.randrange(1, 500)))
random.Random(sys.argv[2]).shuffle(rows)
columns = ("venue_class", "venue_id", "venue_name", "symbol", "share_volume", "trade_count")
week = date(2025, 11, 14)
window = [Partition(schema.NAME, (str(week - timedelta(weeks=lag)), "OTC")) for lag in range(6)]
frame = pl.DataFrame(rows, schema=columns, orient="row")
results = calculations.compute_week(window[0], {schema.VENUE_VOLUME.name: frame})
columns = ("week_ending", "tier", "symbol", "legs", "share_volume", "trade_count")
symbols = results[schema.SYMBOL_WEEK.name].select(columns)
weeks = [
    symbols.with_columns(pl.col("week_ending") - timedelta(weeks=lag), pl.col("share_volume") * (lag + 1) / 3)
    for lag in range(6)
]
random.Random(sys.argv[2]).shuffle(weeks)
results["rolling"] = calculations.compute_symbol_rolling(window[0], window, pl.concat(weeks, rechunk=False))
digest = hashlib.sha256()
for name in sorted(results):
    digest.update(results[name].write_csv().encode())
print(digest.hexdigest(), results["rolling"]["volume_z"].null_count())
"""


@pytest.mark.parametrize(("threads", "shuffle"), [(4, "a"), (4, "b"), (1, "c")])
def test_bits_are_the_same_on_one_thread_and_on_four(threads: int, shuffle: str) -> None:
    """Every table printed with all its digits is the same text as on one thread with the rows in another order."""

    def run(count: int, order: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, str(count), order],
            env={**os.environ, "POLARS_MAX_THREADS": str(count)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert run(threads, shuffle) == run(1, "0")
