"""Real records of FINRA's API, served by the simulator, over more than four years of weeks."""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

import pytest

from market_spine.compose import Hooks, Request, Selection, run_schedule
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.simulator.recorded import RecordedMarket

from .api_helpers import rows, simulated

pytestmark = pytest.mark.soak

DAY = "2026-03-24"
EVERY = 1 if "MARKET_SPINE_SOAK" in os.environ else 5
"""Of so many weeks one is loaded."""


@pytest.mark.samples
def test_all_weeks_of_a_symbol_add_up_to_finras_own_totals(finra_samples: Path, tmp_path: Path) -> None:
    """Of 222 weeks of AAPL: each week's shares and trades are those of FINRA's roll-up, where the samples have one,
    and of the records counted by hand; the weeks that FINRA has twice are not doubled."""
    data = tmp_path / "api"
    data.mkdir()
    for path in (finra_samples / "api").glob("weeklySummary_AAPL_*.json"):
        shutil.copy(path, data)
    records = json.loads((data / "weeklySummary_AAPL_T1_ATS_W_SMBL_FIRM.json").read_text())
    totals = json.loads((data / "weeklySummary_AAPL_T1_ATS_W_SMBL.json").read_text())
    with simulated(RecordedMarket(data)) as service:
        source = service.source(DAY)

        def select(_today: date, _reader: object) -> Selection:
            return Selection(source.available()[::EVERY], source)

        result = run_schedule(DOMAIN, Request(db=str(tmp_path / "a.db"), run_date=DAY), select, Hooks())
    expected = len(range(0, 222, EVERY))
    assert (result.stats.attempted, result.stats.succeeded) == (expected, expected)
    weeks = {run.partition_key.partition("|")[0] for run in result.runs}

    counted: defaultdict[str, list[float]] = defaultdict(lambda: [0, 0])
    for each in records:
        if each["tierIdentifier"] == "T1":
            week_ending = (date.fromisoformat(each["weekStartDate"]) + timedelta(days=4)).isoformat()
            if week_ending not in weeks:
                continue
            counted[week_ending][0] += each["totalWeeklyShareQuantity"]
            counted[week_ending][1] += each["totalWeeklyTradeCount"]
    columns = "week_ending, symbol, share_volume, trade_count"
    held = {row[0]: [row[2], row[3]] for row in rows(tmp_path / "a.db", columns, "finra_otc_symbol_week")}
    assert held == counted
    told = {
        (date.fromisoformat(each["weekStartDate"]) + timedelta(days=4)).isoformat(): [
            each["totalWeeklyShareQuantity"],
            each["totalWeeklyTradeCount"],
        ]
        for each in totals
    }
    common = told.keys() & held.keys()
    assert len(common) > 0.9 * expected
    assert {week: held[week] for week in common} == {week: told[week] for week in common}
