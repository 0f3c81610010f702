"""The guards on FINRA's own data: what was really restated passes, and real weeks are no false alarm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from market_spine.app.plausibility import against_known, odd_ratio, odd_size, sized
from market_spine.compose import reader
from market_spine.core.manifest import INGEST, Entry
from market_spine.core.partition import Partition
from market_spine.core.plausibility import RowPlausibility
from market_spine.core.revision import diff_rows
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

if TYPE_CHECKING:
    import polars as pl

pytestmark = pytest.mark.samples
KEY = ("MPID",)


def weeks_of_aapl(samples: Path) -> Mapping[date, pl.DataFrame]:
    """Friday to the venues' shares and trades of one symbol: the longest real series there is."""
    import polars as pl

    records = json.loads((samples / "api/weeklySummary_AAPL_T1_ATS_W_SMBL_FIRM.json").read_text("utf-8"))
    rows = pl.DataFrame(
        [
            (each["weekStartDate"], each["MPID"], each["totalWeeklyShareQuantity"], each["totalWeeklyTradeCount"])
            for each in records
            if each["tierIdentifier"] == "T1"
        ],
        schema={"week": pl.String, "MPID": pl.String, "share_volume": pl.Float64, "trade_count": pl.Float64},
        orient="row",
    )
    found = rows.sort("week", "MPID").partition_by("week", as_dict=True, include_key=False)
    return {date.fromisoformat(week) + timedelta(days=4): frame for (week,), frame in found.items()}


def entry(week: date, rows: int) -> Entry:
    partition = Partition(DOMAIN.name, (week.isoformat(), "NMS_TIER_1"))
    return Entry(1, partition, INGEST, "committed", str(week), "f", "1", "s", "c", rows, "run")


def test_the_guards_raise_no_alarm_over_four_years(finra_samples: Path) -> None:
    """222 real weeks, judged although they have few rows: none has twice or half the median of its eight nearest
    earlier weeks, or volumes three times those of the week before by the median of their venues."""
    rules = RowPlausibility(setting="", measures=("share_volume", "trade_count"), least_rows=1)
    weeks = weeks_of_aapl(finra_samples)
    assert len(weeks) == 222
    ordered = list(weeks.items())
    judged, alarms, low, high = 0, [], 1.0, 1.0
    for number, (week, rows) in enumerate(ordered):
        nearest = [entry(day, frame.height) for day, frame in reversed(ordered[max(0, number - 8) : number])]
        if len(nearest) < rules.least_neighbours:
            continue
        judged += 1
        before = ordered[number - 1]
        problems = (
            odd_size(rules, str(week), rows.height, nearest),
            odd_ratio(rules, str(week), sized(rules, KEY, rows), sized(rules, KEY, before[1]), str(before[0])),
        )
        alarms += list(filter(None, problems))
        shared = rows.join(before[1], on="MPID", suffix="_was")
        ratio = float((shared["share_volume"] / shared["share_volume_was"]).median())  # type: ignore[arg-type]
        low, high = min(low, ratio), max(high, ratio)
    assert (judged, alarms) == (219, [])
    # How far real weeks are from the thresholds of 1/3 and 3.
    assert (round(low, 2), round(high, 2)) == (0.39, 2.84)


@pytest.mark.soak
def test_real_restatements_are_no_alarm(finra_samples: Path, tmp_path: Path) -> None:
    """Each of the eight weeks that FINRA restated is loaded twice, then as a revision, without an anomaly."""
    pairs = json.loads((finra_samples / "two_captures/manifest.json").read_text("utf-8"))
    assert len(pairs) == 8
    data, db = tmp_path / "data", str(tmp_path / "spine.db")
    data.mkdir()
    for capture in (0, 1):
        for monday, days, _ in pairs:
            stamp = days[capture].replace("-", "")
            name = f"week{monday.replace('-', '')}_capture{capture + 1}_asof{stamp}.csv"
            shutil.copy(finra_samples / "two_captures" / name, data / f"nms_tier_1_week_{monday}.csv")
        result = run_finra_schedule(
            weeks=",".join(monday for monday, *_ in pairs), tiers="NMS_TIER_1", db=db, data_dir=str(data)
        )
        assert (result.exit_code, result.anomalies) == (0, ())
        ingests = [run for run in result.runs if run.pipeline.endswith("ingest_week")]
        assert [run.is_revision for run in ingests] == [bool(capture)] * 8
    with closing(reader(db)) as store:
        assert list(store.anomalies(open_only=False)) == []


def test_a_real_restatement_is_no_alarm_though_it_is_judged(finra_samples: Path) -> None:
    """With the least number of rows set aside: one venue added to some thirty moves no share beyond a threshold."""
    import polars as pl

    rules = RowPlausibility(setting="", measures=("share_volume", "trade_count"), least_rows=1)
    for first in sorted((finra_samples / "two_captures").glob("*_capture1_*.csv")):
        (second,) = (finra_samples / "two_captures").glob(f"{first.name.partition('_')[0]}_capture2_*.csv")
        old, new = (
            pl.read_csv(path, separator="|", quote_char=None).select(
                "MPID",
                share_volume=pl.col("totalWeeklyShareQuantity").cast(pl.Float64),
                trade_count=pl.col("totalWeeklyTradeCount").cast(pl.Float64),
            )
            for path in (first, second)
        )
        found = against_known(rules, first.name, KEY, old, new, diff_rows(old, new, KEY))
        assert found == ((), ()), first.name


def test_real_weeks_side_by_side_are_no_alarm(finra_samples: Path, tmp_path: Path) -> None:
    """Whole weeks of the OTC tier, loaded one after the other and again: no anomaly at all."""
    for _ in range(2):
        result = run_finra_schedule(
            weeks="2025-11-14,2025-11-21",
            tiers="OTC",
            db=str(tmp_path / "spine.db"),
            data_dir=str(finra_samples / "pipe"),
            run_date="2025-12-23",
        )
        assert (result.exit_code, result.anomalies) == (0, ())
