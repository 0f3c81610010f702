"""Fetching one partition ahead of the one being worked on."""

from __future__ import annotations

import pickle
import threading
from dataclasses import dataclass, field

import pytest

from market_spine.core.capture import Absent, Payload, Unchanged, Unread
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.errors import SourceError
from market_spine.sources.ahead import FetchAhead

ONE, TWO, THREE = (Partition("d", (name,)) for name in ("one", "two", "three"))
KNOWN = {each.key: Known(each.key) for each in (ONE, TWO, THREE)}


@dataclass
class Counting:
    """Counts what is fetched; ``two`` fails."""

    fetched: list[str] = field(default_factory=list)
    began: dict[str, bool] = field(default_factory=dict)

    def fetch(self, partition: Partition, known: Known) -> Payload | Absent | Unchanged | Unread:
        self.fetched.append(partition.key)
        self.began[partition.key] = threading.current_thread() is not threading.main_thread()
        if partition == TWO and known.last_id == 0:
            raise SourceError("two cannot be had")
        return Absent(partition.key)


def test_each_partition_is_fetched_once_and_all_but_the_first_ahead() -> None:
    """In plan order; only the first is fetched while somebody waits."""
    source = Counting()
    ahead = FetchAhead(source, (ONE, THREE), KNOWN)
    assert [ahead.fetch(each, KNOWN[each.key]) for each in (ONE, THREE)] == [Absent("one"), Absent("three")]
    ahead.close()
    assert source.fetched == ["one", "three"]
    assert source.began == {"one": False, "three": True}


def test_a_failure_ahead_is_that_partitions_failure() -> None:
    """It is raised when the partition is asked for, and the one after it is fetched as usual."""
    ahead = FetchAhead(Counting(), (ONE, TWO, THREE), KNOWN)
    assert ahead.fetch(ONE, KNOWN["one"]) == Absent("one")
    with pytest.raises(SourceError, match="two cannot be had"):
        ahead.fetch(TWO, KNOWN["two"])
    assert ahead.fetch(THREE, KNOWN["three"]) == Absent("three")
    ahead.close()


def test_what_was_fetched_ahead_is_not_used_once_the_manifest_has_moved() -> None:
    """Another scheduler has committed the partition meanwhile: it is fetched again, knowing that."""
    source = Counting()
    ahead = FetchAhead(source, (ONE, TWO), KNOWN)
    ahead.fetch(ONE, KNOWN["one"])
    assert ahead.fetch(TWO, Known("two", last_id=7)) == Absent("two")
    ahead.close()
    assert source.fetched.count("two") == 2


def test_pickled_it_is_the_source_it_goes_around() -> None:
    """A worker elsewhere fetches for itself."""
    ahead = FetchAhead(Counting(), (ONE, TWO), KNOWN)
    assert pickle.loads(pickle.dumps(ahead)) == Counting()
    assert ahead.lists(ONE) is None
    ahead.close()
