"""What a first capture is compared with is found without reading what lies far away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.app.neighbours import Lines, _most
from market_spine.app.plausibility import against_known, odd_ratio, sized
from market_spine.core.domain import Domain, Place
from market_spine.core.manifest import INGEST, Committed, Entry, Known, PartRecord
from market_spine.core.partition import Partition
from market_spine.core.plausibility import RowPlausibility
from market_spine.core.revision import diff_rows

MOMENT = datetime(2025, 1, 1, tzinfo=UTC)
COUNT = 2


class Garden(Domain):
    """Beds in rows, each with roots, leaves or both."""

    name = "garden"
    partition_fields = ("row", "bed")
    legs = ("ROOTS", "LEAVES")

    def place(self, partition: Partition) -> Place | None:
        row, bed = partition.values
        return None if row == "loose" else Place(row, int(bed))


def bed(row: str, number: int) -> Partition:
    return Partition("garden", (row, f"{number:04}"))


class Manifest:
    """What a store knows of beds: the legs of the current capture, or none where nothing is current."""

    def __init__(self, beds: Mapping[Partition, tuple[str, ...]]) -> None:
        self.beds = {partition.key: (partition, legs) for partition, legs in beds.items()}
        self.asked: list[str] = []

    def partition_keys(self, domain: str) -> Sequence[str]:
        return sorted(self.beds)

    def known(self, domain: str, keys: Sequence[str] | None = None) -> Mapping[str, Known]:
        assert keys is not None
        self.asked += keys
        return {key: self._known(key) for key in keys}

    def _known(self, key: str) -> Known:
        partition, legs = self.beds[key]
        if not legs:
            return Known(key)
        parts = tuple(PartRecord(leg, "", "", 1) for leg in legs)
        entry = Entry(1, partition, INGEST, "committed", key, "f", "1", "s", "c", 1, "run", parts=parts)
        return Known(key, {INGEST: Committed(entry, MOMENT, MOMENT)})


LEGS = [(), ("ROOTS",), ("LEAVES",), ("ROOTS", "LEAVES")]


@given(
    beds=st.dictionaries(st.integers(0, 60), st.sampled_from(LEGS), max_size=40),
    others=st.dictionaries(st.integers(0, 60), st.sampled_from(LEGS), max_size=5),
    number=st.integers(0, 60),
)
def test_the_nearest_of_each_set_of_legs(
    beds: dict[int, tuple[str, ...]], others: dict[int, tuple[str, ...]], number: int
) -> None:
    """Two of each set among the six beds before and the six after, nearest first, the earlier of two first."""
    manifest = Manifest({bed("a", at): legs for at, legs in beds.items()})
    manifest.beds |= Manifest({bed("b", at): legs for at, legs in others.items()}).beds
    lines = Lines(Garden(), manifest, COUNT)  # type: ignore[arg-type]  # the two methods that it reads with
    lines.read([bed("a", number)])
    found = lines.nearby(bed("a", number))
    earlier = sorted((at for at in beds if at < number), reverse=True)[:6]
    later = sorted(at for at in beds if at > number)[:6]
    expected, taken = [], dict.fromkeys(LEGS, 0)
    for distance in range(1, 61):
        for at in (number - distance, number + distance):
            if at in (*earlier, *later) and beds[at] and taken[beds[at]] < COUNT:
                taken[beds[at]] += 1
                expected.append(f"a|{at:04}")
    assert [entry.partition.key for entry in found.nearest] == expected
    before = next((f"a|{at:04}" for at in earlier if beds[at]), None)
    assert (found.before.partition.key if found.before else None) == before
    own = lines.current(bed("a", number))
    assert (own.partition.key if own else None) == (f"a|{number:04}" if beds.get(number) else None)


@pytest.mark.parametrize("held", [100, 1_000])
def test_what_is_far_away_is_not_read(held: int) -> None:
    """Three beds of a long row are looked at beside 26 others however long the row is, all of them at once."""
    manifest = Manifest({bed("a", at): ("ROOTS",) for at in range(held)})
    lines = Lines(Garden(), manifest, 8)  # type: ignore[arg-type]
    lines.read([bed("a", held), bed("a", held - 1), bed("a", held - 2), bed("loose", 7)])
    assert sorted(manifest.asked) == [f"a|{at:04}" for at in range(held - 26, held)]
    assert [entry.partition.key for entry in lines.nearby(bed("a", held)).nearest] == [
        f"a|{held - 1 - step:04}" for step in range(8)
    ]
    assert lines.nearby(bed("loose", 7)).nearest == ()
    lines.read([bed("a", held)])
    assert len(manifest.asked) == 26


def test_keys_of_any_name_are_compared() -> None:
    """Key columns may be called as the figures that they are compared by."""
    rules = RowPlausibility(setting="NONE", measures=("sold",), least_rows=2)
    names = ("now", "was", "by")
    rows = pl.DataFrame(
        {**{name: [f"{name}{number}" for number in range(3)] for name in names}, "sold": [1.0, 2.0, 3.0]}
    )
    larger = rows.with_columns(sold=pl.Series([9.0, 18.0, 27.0]))
    now, was = sized(rules, names, larger), sized(rules, names, rows)
    said = odd_ratio(rules, "week", now, was, "the week before")
    assert said.startswith("week: sold is 9 times that of the week before, by the median of 3 common keys")
    found = against_known(rules, "week", names, rows, larger, diff_rows(rows, larger, names))
    (anomaly,) = found.anomalies
    assert anomaly.details["movers"][0] == {"key": "now2 was2 by2", "was": 3.0, "now": 27.0}


@pytest.mark.parametrize("said", [each for count in (1, 2, 3) for each in product(("", "a", "b"), repeat=count)])
def test_witnesses_are_heard_until_most_agree(said: tuple[str, ...]) -> None:
    """What the first of most witnesses says counts, and nobody is heard whose word would change nothing."""
    heard: list[str] = []

    def one_by_one() -> Iterator[str]:
        for each in said:
            heard.append(each)
            yield each

    found = _most(one_by_one(), len(said))
    spoken = [each for each in said if each]
    assert found == (spoken[0] if len(spoken) > len(said) / 2 else "")
    rest = len(said) - len(heard)
    assert not rest or all(
        bool(_most([*heard, *others], len(said))) == bool(found) for others in product(("", "c"), repeat=rest)
    )
    assert len(heard) <= 2 or bool(heard[0]) != bool(heard[1])
