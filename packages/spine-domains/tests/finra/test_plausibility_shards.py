"""What shards brought first is compared with its neighbours by the run after them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .test_plausibility import WEEK, WEEKS, Desk, firms, sizes, text


def scattered(count: int) -> dict[str, tuple[int, int]]:
    """Symbols with a thousand times the shares."""
    return {name: (shares * 1000, trades) for name, (shares, trades) in sizes(count).items()}


@pytest.mark.parametrize("after", [{"only_stage": "calc"}, {}])
def test_shards_leave_the_comparison_with_neighbours_to_the_run_after_them(
    tmp_path: Path, after: dict[str, Any]
) -> None:
    """A week a thousand times too large and one without a leg have the warnings that a serial run gives them, told
    once; shards themselves say nothing of neighbours, whenever they run."""
    desks = []
    for name in ("serial", "shards"):
        (tmp_path / name).mkdir()
        desks.append(Desk(tmp_path / name))
        for week in WEEKS:
            desks[-1].put(text(scattered(400) if week == WEEKS[3] else sizes()), week)
            if week != WEEK:
                desks[-1].put(firms(scattered(400) if week == WEEKS[3] else sizes()), week, "_non_ats")
    serial, shards = desks
    serial.load(*WEEKS)
    expected = {(f"{WEEKS[3]}|OTC", "implausible"), (f"{WEEK}|OTC", "missing_leg")}
    assert serial.open() == expected
    for index in range(3):
        assert shards.load(*WEEKS, shard=f"{index}/3").exit_code == 0
    assert shards.open() == set()
    result = shards.load(*WEEKS, **after)
    assert {(each.partition_key, each.kind) for each in result.anomalies} == expected
    assert shards.open() == expected
    assert shards.load(*WEEKS, **after).anomalies == ()
    assert shards.rows() == serial.rows()
