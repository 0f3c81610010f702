"""Make a store with months of history for ``make demo-web``.

Weekly files of invented companies that are restated, late, broken and shrunk, and daily prices, each run at the moment
when it would have happened.

The runs are the product's own; only the clock they are given is set back, and moves on as real time does.

    python scripts/demo_web.py FOLDER [--rows 400] [--today YYYY-MM-DD]
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import Hooks, market_day
from market_spine.core.calendar import next_session
from spine.domains.finra.otc_transparency.partitions import monday_of
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule
from spine.domains.finra.otc_transparency.schema import TIERS
from spine.domains.market_data.scheduler import run_prices_schedule

WEEKS = 22
"""How many weekly runs the history has before the last, in which things go wrong."""
FIRST_LOAD = 30
"""Weeks that the first run loads."""
RESTATED = {3: (6, 7), 8: (10,), 13: (1,), 17: (9,), 20: (2,)}
"""Run number to the weeks back, from the newest, that are restated before it."""


def clock_at(moment: datetime) -> Callable[[], datetime]:
    """A clock that shows ``moment`` now, and moves on."""
    started = time.monotonic()
    return lambda: moment + timedelta(seconds=time.monotonic() - started)


class History:
    """The runs of one store, one after the other."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.data = folder / "data"
        self.db = str(folder / "market_spine.db")
        self.rows = rows

    def files(self, day: date, weeks: int, restated: tuple[date, ...] = ()) -> list[Path]:
        """Write the weekly files as they stand on a day."""
        return write_sample_data(
            self.data,
            weeks=weeks,
            tiers=TIERS,
            rows=self.rows,
            seed=1,
            run_date=day,
            revise=bool(restated),
            revise_weeks=restated,
            non_ats=True,
        )

    def load(self, moment: datetime, weeks: int = 0) -> None:
        """Run the weekly schedule at a moment: of the last twelve weeks, or of so many."""
        day = moment.date()
        latest = monday_of(day) + timedelta(days=4)
        dates = [latest - timedelta(weeks=number) for number in range(3, weeks + 3)]
        tell(
            moment,
            run_finra_schedule(
                lookback_weeks=12,
                weeks=dates or None,
                data_dir=str(self.data),
                db=self.db,
                run_date=day,
                source="file",
                hooks=Hooks(clock=clock_at(moment)),
            ),
        )

    def prices(self, moment: datetime, symbols: list[str]) -> None:
        """Run the daily schedule at a moment."""
        tell(
            moment,
            run_prices_schedule(
                symbols=symbols,
                source="mock",
                outputsize="full",
                sleep=0,
                max_symbols=len(symbols),
                db=self.db,
                run_date=moment.date(),
                hooks=Hooks(clock=clock_at(moment)),
            ),
        )


def tell(moment: datetime, result: SchedulerResult) -> None:
    """One line for each run."""
    stats = result.stats
    told = result.error.message if result.error else f"{stats.succeeded} new, {stats.failed} failed"
    print(f"{moment:%Y-%m-%d %H:%M}  {result.domain:24} {result.status.value:8} {told}", flush=True)


def busiest(files: list[Path], count: int) -> list[str]:
    """The symbols with most rows."""
    seen: Counter[str] = Counter()
    for path in files:
        if "tier1" in path.name:
            seen.update(line.split("|")[1] for line in path.read_text("utf-8").splitlines()[1:])
    return [symbol for symbol, _ in seen.most_common(count)]


def spoil(history: History, day: date) -> None:
    """What goes wrong in the last week: a tier is not there, one is a web page, rows are refused, a file shrank."""
    stamp = f"{day:%Y%m%d}"
    for path in history.data.glob(f"*tier2*{stamp}.csv"):
        path.unlink()
    for path in history.data.glob(f"*otc*{stamp}.csv"):
        if "_otc_" in path.name.removeprefix("finra_otc"):
            path.unlink()
    page = "<!DOCTYPE html>\n<html><body><h1>Service unavailable</h1></body></html>\n"
    (history.data / f"finra_otc_weekly_otc_{stamp}.csv").write_text(page, "utf-8")
    for path in history.data.glob(f"finra_otc_weekly_tier1_{stamp}.csv"):
        lines = path.read_text("utf-8").splitlines()
        for number in (5, 17, 42):
            cells = lines[number].split("|")
            lines[number] = "|".join([*cells[:-2], "n/a", cells[-1]])
        path.write_text("\n".join(lines) + "\n", "utf-8")
    before = f"{day - timedelta(weeks=5):%Y%m%d}"
    for path in history.data.glob(f"*otc_*{before}.csv"):
        if "tier" not in path.name:
            lines = path.read_text("utf-8").splitlines()
            path.write_text("\n".join(lines[: len(lines) // 4]) + "\n", "utf-8")


def main() -> None:
    """Make the store."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--today", type=date.fromisoformat, default=market_day())
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    history = History(arguments.folder, arguments.rows)
    last = monday_of(arguments.today)
    first = last - timedelta(weeks=WEEKS)
    symbols: list[str] = []
    for number in range(WEEKS + 1):
        day = next_session(first + timedelta(weeks=number))
        moment = datetime(day.year, day.month, day.day, 16, 5, tzinfo=UTC)
        if not number:
            symbols = busiest(history.files(day, FIRST_LOAD), 12)
            history.load(moment, FIRST_LOAD)
            history.prices(moment + timedelta(hours=6), symbols)
            continue
        history.files(day, 1)
        if number in RESTATED:
            newest = day - timedelta(days=31)
            history.files(day, 12, tuple(newest - timedelta(weeks=back) for back in RESTATED[number]))
        if number == WEEKS:
            spoil(history, day)
        history.load(moment)
        if number % 4 == 0 or number == WEEKS:
            history.prices(moment + timedelta(hours=6), symbols)
    for back in range(1, (arguments.today - last).days + 1):
        day = last + timedelta(days=back)
        moment = datetime(day.year, day.month, day.day, 11, 5, tzinfo=UTC)
        if moment < datetime.now(UTC):
            history.load(moment)
            if day.weekday() < 5:
                history.prices(moment + timedelta(hours=2), symbols)


if __name__ == "__main__":
    main()
