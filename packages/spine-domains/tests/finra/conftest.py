"""Fixtures of the FINRA tests: the real sample files, if this machine has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from market_spine.simulation import Faults, SimulatedClock, running
from spine.domains.finra.otc_transparency.simulator.app import FAULT_KINDS, Settings, finra_simulator
from spine.domains.finra.otc_transparency.simulator.generated import GeneratedMarket
from spine.domains.finra.otc_transparency.simulator.market import SimulatedMarket


@pytest.fixture(scope="session")
def finra_samples() -> Path:
    """The folder of real FINRA files; tests that use it carry the mark ``samples``."""
    repository = Path(__file__).resolve().parents[4]
    folder = Path(os.environ.get("MARKET_SPINE_SAMPLES", repository.parent / "shared" / "samples")) / "finra"
    if not folder.is_dir():
        pytest.skip(f"no real sample files in {folder} (MARKET_SPINE_SAMPLES)")
    return folder


@pytest.fixture(scope="module")
def simulate() -> Iterator[Callable[..., httpx2.Client]]:
    """Starts FINRA simulators over real HTTP, with a frozen clock; the answer is a client for each."""
    with ExitStack() as stack:

        def start(
            today: str, market: SimulatedMarket | None = None, faults: tuple[str, ...] = (), **settings: Any
        ) -> httpx2.Client:
            clock = SimulatedClock(datetime.fromisoformat(f"{today}T18:00:00").replace(tzinfo=UTC), frozen=True)
            switches = Faults(faults, kinds=FAULT_KINDS, slow_seconds=3.0)
            rows = {"T1": 300, "T2": 300, "OTCE": 300}
            shown = market or GeneratedMarket(seed=7, rows=rows, revised=0.02)
            kept = {"summary_weeks": 0 if market else 10, **settings}
            app = finra_simulator(shown, clock=clock, faults=switches, settings=Settings(**kept))
            address = stack.enter_context(running(app))
            return stack.enter_context(httpx2.Client(base_url=address, timeout=300))

        yield start
