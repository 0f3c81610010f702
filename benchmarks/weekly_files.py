"""FINRA's weekly files in their own sizes, generated on every core.

They are those of ``market-spine sample-data finra``, each packed with Zstandard as soon as it is written, as one would
keep them: of the whole history a gigabyte instead of five.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROWS = {"NMS_TIER_1": 22_000, "NMS_TIER_2": 62_000, "OTC": 8_000}
"""Rows of a week's file per tier, on average over all years."""
CHUNK = 31
"""Weeks of a tier that one process generates at a time."""


def rows_of(tier: str, fraction: float) -> int:
    """Rows of each file of a tier."""
    return max(10, round(ROWS[tier] * fraction))


def generate(folder: Path, weeks: int, fraction: float, run_date: str) -> None:
    """Write the files of the latest weeks, packed; on every core, as the files depend on nothing but themselves."""
    ends = [(end, min(CHUNK, weeks - end)) for end in range(0, weeks, CHUNK)]
    last = date.fromisoformat(run_date)
    _write(folder, fraction, [(last - timedelta(weeks=end), count, ()) for end, count in ends])


def restate(folder: Path, fraction: float, run_date: str, week: date) -> None:
    """Write the files of one week as FINRA restates it: one row in a thousand is another."""
    last = date.fromisoformat(run_date)
    _write(folder, fraction, [(last, 1 + (last - week).days // 7, (week,))])


def _write(folder: Path, fraction: float, parts: Sequence[tuple[date, int, Sequence[date]]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for task in [
            pool.submit(_part, folder, tier, rows_of(tier, fraction), *part) for part in parts for tier in ROWS
        ]:
            task.result()


def _part(folder: Path, tier: str, rows: int, run_date: date, weeks: int, revised: Sequence[date]) -> None:
    """Write the latest weeks of a tier, or those of them that are restated.

    In a process of its own: what it imports and holds would count as memory of every program that is started here.
    """
    import zstandard

    from spine.domains.finra.otc_transparency.sample_data import write_sample_data

    with tempfile.TemporaryDirectory(dir=folder.parent) as plain:
        for path in write_sample_data(
            Path(plain),
            weeks=weeks,
            tiers=[tier],
            rows=rows,
            seed=1,
            run_date=run_date,
            revise=bool(revised),
            revise_weeks=revised,
        ):
            (folder / f"{path.name}.zst").write_bytes(zstandard.compress(path.read_bytes(), 3))
            path.unlink()
