"""A store with a history, and the console over it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from market_spine import registry
from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import Hooks
from market_spine.store import parse_url
from market_spine.web.app import application
from market_spine.web.console import Console
from market_spine.web.identity import Local
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule
from spine.domains.finra.otc_transparency.schema import TIERS
from spine.domains.market_data.scheduler import run_prices_schedule

FIRST, RESTATED, BROKEN = date(2025, 12, 15), date(2025, 12, 16), date(2025, 12, 22)
"""The days of the three runs."""
NOW = datetime(2025, 12, 23, 12, tzinfo=UTC)
"""When the console looks."""
LATE, FAILED, HELD, REVISED = "2025-11-21|NMS_TIER_2", "2025-11-21|OTC", "2025-10-31|OTC", "2025-11-14|OTC"
WARNED = "2025-12-05|NMS_TIER_1"


class Story:
    """A store of the weekly and the daily domain, as three weeks of December left it."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.db = str(folder / "market_spine.db")
        self.files(FIRST)
        assert self.load(FIRST).exit_code == 0
        self.files(FIRST, revise=(date(2025, 11, 14),))
        assert self.load(RESTATED).exit_code == 0
        self.break_files()
        self.broken = self.load(BROKEN)
        self.prices()

    def files(self, day: date, revise: tuple[date, ...] = ()) -> None:
        """Write the weekly files as they stand on a day."""
        write_sample_data(
            self.data,
            weeks=5,
            tiers=TIERS,
            rows=120,
            seed=3,
            run_date=day,
            revise=bool(revise),
            revise_weeks=revise,
            non_ats=True,
        )

    def load(self, day: date) -> SchedulerResult:
        """Run the weekly schedule at 16:05 UTC of a day."""
        moment = datetime(day.year, day.month, day.day, 16, 5, tzinfo=UTC)
        moments = iter(moment + timedelta(seconds=number) for number in range(10_000))
        return run_finra_schedule(
            lookback_weeks=5,
            data_dir=str(self.data),
            db=self.db,
            run_date=day,
            source="file",
            hooks=Hooks(clock=lambda: next(moments)),
        )

    def break_files(self) -> None:
        """A tier is not there, a file is a web page, rows are refused, and an older week has shrunk."""
        write_sample_data(self.data, weeks=1, tiers=TIERS, rows=120, seed=3, run_date=BROKEN, non_ats=True)
        for path in self.data.glob("*_tier2_*20251222.csv"):
            path.unlink()
        (self.data / "finra_otc_weekly_otc_non_ats_20251222.csv").unlink()
        page = "<!DOCTYPE html>\n<script>alert(1)</script>\n"
        (self.data / "finra_otc_weekly_otc_20251222.csv").write_text(page, "utf-8")
        path = self.data / "finra_otc_weekly_tier1_20251222.csv"
        lines = path.read_text("utf-8").splitlines()
        cells = lines[5].split("|")
        lines[5] = "|".join([*cells[:-2], "n/a", cells[-1]])
        path.write_text("\n".join(lines) + "\n", "utf-8")
        for path in self.data.glob("finra_otc_weekly_otc_*20251201.csv"):
            lines = path.read_text("utf-8").splitlines()
            path.write_text("\n".join(lines[:30]) + "\n", "utf-8")

    def prices(self) -> None:
        """Load two symbols."""
        moments = iter(NOW - timedelta(hours=1) + timedelta(seconds=number) for number in range(10_000))
        done = run_prices_schedule(
            symbols="AAPL,MSFT",
            source="mock",
            sleep=0,
            db=self.db,
            run_date=NOW.date() - timedelta(days=1),
            hooks=Hooks(clock=lambda: next(moments)),
        )
        assert done.exit_code == 0

    def console(self) -> Console:
        """The console over it, looking at a fixed moment."""
        return console_of(self.db)


def console_of(db: str) -> Console:
    """A console over a store, looking at a fixed moment."""
    return Console(
        url=parse_url(db),
        domains={name: registry.load(name) for name in registry.entries()},
        clock=lambda: NOW,
        identity=Local("tester"),
    )


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The store with a history; nobody writes to it."""
    return Story(tmp_path_factory.mktemp("story"))


@pytest.fixture
def visit(story: Story) -> TestClient:
    """A client of the console over the story."""
    return client_of(story.console())


def client_of(console: Console) -> TestClient:
    """A client of a console, which asks for it by its address."""
    return TestClient(application(console), base_url="http://127.0.0.1:8642", follow_redirects=False)


Client = Callable[[Console], TestClient]
