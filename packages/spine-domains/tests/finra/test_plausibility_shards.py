"""What shards brought first is compared with its neighbours by the run after them; the page on what is odd."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from spine.domains.finra.otc_transparency import DOMAIN

from .test_plausibility import WEEK, WEEKS, Desk, firms, sizes, text


def scattered(count: int) -> dict[str, tuple[int, int]]:
    """Symbols with a thousand times the shares."""
    return {name: (shares * 1000, trades) for name, (shares, trades) in sizes(count).items()}


KNOWN = {(f"{WEEKS[3]}|OTC", "implausible"), (f"{WEEK}|OTC", "missing_leg")}


def desk(home: Path) -> Desk:
    """Eight weeks, of which one is a thousand times too large and the last lacks a leg."""
    home.mkdir()
    made = Desk(home)
    for week in WEEKS:
        made.put(text(scattered(400) if week == WEEKS[3] else sizes()), week)
        if week != WEEK:
            made.put(firms(scattered(400) if week == WEEKS[3] else sizes()), week, "_non_ats")
    return made


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """What one run knows of them."""
    made = desk(tmp_path_factory.mktemp("desks") / "serial")
    made.load(*WEEKS)
    assert made.open() == KNOWN
    return made


@pytest.fixture(scope="module")
def in_shards(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """What shards know of them."""
    made = desk(tmp_path_factory.mktemp("desks") / "shards")
    for index in range(3):
        assert made.load(*WEEKS, shard=f"{index}/3").exit_code == 0
    assert made.open() == set()
    return made


@pytest.mark.parametrize("after", [{"only_stage": "calc"}, {}])
def test_shards_leave_the_comparison_with_neighbours_to_the_run_after_them(
    serial: Desk, in_shards: Desk, tmp_path: Path, after: dict[str, Any]
) -> None:
    """A week a thousand times too large and one without a leg have the warnings that a serial run gives them, told
    once; shards themselves say nothing of neighbours, whenever they run."""
    shutil.copytree(in_shards.data.parent, tmp_path, dirs_exist_ok=True)
    shards = Desk(tmp_path)
    result = shards.load(*WEEKS, **after)
    assert {(each.partition_key, each.kind) for each in result.anomalies} == KNOWN
    assert shards.open() == KNOWN
    assert shards.load(*WEEKS, **after).anomalies == ()
    assert shards.rows() == serial.rows()


def test_the_thresholds_are_documented() -> None:
    """docs/operations.md gives each with its reason."""
    page = (Path(__file__).resolve().parents[4] / "docs/operations.md").read_text("utf-8")
    assert DOMAIN.plausibility is not None
    assert [name for name in DOMAIN.plausibility.thresholds if f"`{name}`" not in page] == []
