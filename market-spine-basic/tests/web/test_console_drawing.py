"""Geometry: labels never touch, bars have the proportions of their numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from market_spine.web import drawing

START = datetime(2025, 1, 6, tzinfo=UTC)


@given(
    st.lists(st.integers(0, 400 * 24), max_size=9, unique=True).map(sorted),
    st.integers(0, 60),
    st.sampled_from([358.0, 1000.0]),
)
def test_labels_never_touch(hours: list[int], due: int, width: float) -> None:
    """However close captures, due day and week lie, no two labels of a lane overlap, and none leaves the drawing."""
    captures = [
        {
            "capture_id": str(hour),
            "status": "held" if number % 4 == 3 else "current",
            "at": (START + timedelta(hours=hour)).isoformat(),
            "is_revision": number > 0,
        }
        for number, hour in enumerate(hours)
    ]
    record = {
        "unit": "week",
        "first_day": "2025-01-06",
        "last_day": "2025-01-10",
        "due": (START + timedelta(days=due)).date().isoformat(),
        "captures": captures,
        "checks": [],
        "until": (START + timedelta(days=420)).isoformat(),
    }
    labels = drawing.timeline(record, width)["labels"]
    assert len({each.text for each in labels}) >= 2
    places: dict[int, list[tuple[float, float]]] = {}
    for each in labels:
        size = len(each.text) * 6.0
        begin = each.x - size if each.ends else each.x
        assert begin + size <= width + 1
        places.setdefault(each.lane, []).append((begin, begin + size))
    for taken in places.values():
        assert all(left[1] < right[0] for left, right in pairwise(sorted(taken)))


def test_months_head_their_columns() -> None:
    """Month names span their weeks, the first with room names the year, and a single week has no name."""
    columns = ["2025-11-14", "2025-11-21", "2025-11-28", "2025-12-05", "2026-01-02", "2026-01-09"]
    assert drawing.months(columns) == [("Nov", 3), ("", 1), ("Jan", 2)]
    assert drawing.months([*columns, "2026-01-16", "2026-01-23"])[-1] == ("Jan 2026", 4)
    assert drawing.months(["AAPL", "MSFT"]) == []


def test_bands_are_years_newest_first() -> None:
    """A long grid is cut at the turn of each year."""
    partitions = [
        {"partition_key": f"{week}|{tier}", "state": "captured"}
        for week in ("2026-01-02", "2025-12-26", "2025-12-19")
        for tier in ("A", "B")
    ]
    bands = drawing.bands(drawing.matrix(partitions))
    assert [(year, list(band.columns)) for year, band in bands] == [
        ("2026", ["2026-01-02"]),
        ("2025", ["2025-12-19", "2025-12-26"]),
    ]
    assert [name for name, _ in bands[0][1].rows] == ["A", "B"]


def test_bars_have_their_numbers_proportions() -> None:
    """The largest bar is as high as the drawing, half of it half as high, and each stands on the ground."""
    found = drawing.bars([10, 5], 100, 60)
    assert [(height, y + height) for _, y, _, height in found] == [(60, 60), (30, 60)]


def test_a_course_goes_through_its_values() -> None:
    """The least value lies at the bottom and the largest at the top, at even distances; one value alone is a line."""
    assert drawing.course([1.0, 3.0, 2.0], 100, 22) == "M0.0 21.0L50.0 1.0L100.0 11.0"
    assert drawing.course([5.0], 100, 22) == "M0 11.0h100"
    assert drawing.course([5.0, 5.0], 100, 22) == "M0.0 21.0L100.0 21.0"
