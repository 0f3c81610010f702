"""Fixtures of the price tests: the real samples, and schedules that run against simulated vendors."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from market_spine.app.scheduling import PipelineRun, SchedulerResult
from market_spine.compose import Hooks, Request, Selection, reader, run_schedule
from market_spine.core.capture import Part, Payload
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from spine.domains.market_data import DOMAIN
from spine.domains.market_data.scheduler import run_prices_schedule
from spine.domains.market_data.simulator.server import RunningVendor

EVENING = datetime(2026, 11, 23, 21, 30, tzinfo=UTC)
"""Monday, half an hour after the close in New York."""


def _samples(name: str) -> Path:
    repository = Path(__file__).resolve().parents[4]
    folder = Path(os.environ.get("MARKET_SPINE_SAMPLES", repository.parent / "shared" / "samples")) / name
    if not folder.is_dir():
        pytest.skip(f"no real sample files in {folder} (MARKET_SPINE_SAMPLES)")
    return folder


@pytest.fixture(scope="session")
def price_samples() -> Path:
    """The folder of recorded vendor answers; tests that use it carry the mark ``samples``."""
    return _samples("prices")


@pytest.fixture(scope="session")
def bar_samples() -> Path:
    """The folder of real bars; tests that use it carry the mark ``samples``."""
    return _samples("bars")


@pytest.fixture(scope="session")
def finra_samples() -> Path:
    """The folder of real FINRA files; tests that use it carry the mark ``samples``."""
    return _samples("finra")


@dataclass(frozen=True)
class GivenSource:
    """A Source that answers with the payload it was given."""

    payload: Payload

    def fetch(self, partition: Partition, known: Known) -> Payload:
        return self.payload


@dataclass
class Desk:
    """One database and one clock, on which schedules are run; waiting moves the clock and is noted."""

    db: str
    now: datetime = EVENING
    waits: list[float] = field(default_factory=list)
    vendor: RunningVendor | None = None

    def clock(self) -> datetime:
        return self.vendor.clock.now() if self.vendor else self.now

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.wait(timedelta(seconds=seconds))

    def wait(self, time: timedelta) -> None:
        """Let time pass, for the vendor too."""
        if self.vendor:
            self.vendor.clock.advance(time)
        else:
            self.now += time

    def run(self, symbols: str | None, **flags: Any) -> SchedulerResult:
        return run_prices_schedule(
            symbols=symbols, db=self.db, hooks=Hooks(clock=self.clock), pause=self.pause, **{"sleep": 0, **flags}
        )

    def load(self, key: str, *parts: Part, force: bool = False) -> SchedulerResult:
        """Load parts as they are, as if a source had answered with them."""
        partition = DOMAIN.partition(key)
        selection = Selection([partition], GivenSource(Payload(parts, whole=True)))
        return run_schedule(
            DOMAIN, Request(force=force, db=self.db), lambda _today, _reader: selection, Hooks(clock=self.clock)
        )

    def rows(self, sql: str, as_of: datetime | str | None = None) -> list[tuple[Any, ...]]:
        with closing(reader(self.db, self.clock)) as store:
            return list(store.query(sql, as_of).rows)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A fresh database; no key and no source is set in the environment."""
    for name in ("PRICE_SOURCE", "ALPHA_VANTAGE_API_KEY", "POLYGON_API_KEY", "MASSIVE_API_KEY", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return Desk(str(tmp_path / "prices.db"))


@pytest.fixture
def at_vendor(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Callable[[RunningVendor], Desk]:
    """The desk with a simulated vendor's address, clock and a key."""

    def connect(vendor: RunningVendor, key: str = "S3CRETKEY") -> Desk:
        for name in ("ALPHA_VANTAGE", "POLYGON"):
            monkeypatch.setenv(f"{name}_URL", vendor.url)
            monkeypatch.setenv(f"{name}_API_KEY", key)
        desk.vendor = vendor
        return desk

    return connect


@pytest.fixture
def ingests() -> Callable[[SchedulerResult], dict[str, PipelineRun]]:
    """The ingest runs of a result by symbol."""
    return lambda result: {
        run.partition_key.partition("|")[0]: run for run in result.runs if run.pipeline == "market_data.ingest_prices"
    }


@pytest.fixture
def part() -> Callable[..., Part]:
    """A part as a source would deliver it."""

    def make(data: bytes | Path, name: str = "bars", fetched_at: datetime = EVENING, **metadata: str) -> Part:
        content = data.read_bytes() if isinstance(data, Path) else data
        return Part(name, content, "recorded", {"fetched_at": fetched_at.isoformat(), **metadata})

    return make


@pytest.fixture
def given_source() -> type[GivenSource]:
    """The source that answers with what it was given."""
    return GivenSource


@pytest.fixture
def unmetered(monkeypatch: pytest.MonkeyPatch) -> None:
    """No limits on this side."""
    for name in ("ALPHA_VANTAGE_LIMITS", "POLYGON_LIMITS"):
        monkeypatch.setenv(name, "none")
