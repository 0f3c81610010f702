"""What a store offers to whoever types the name of a partition or capture, on both stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from market_spine.core.manifest import Entry
    from market_spine.core.partition import Partition
    from market_spine.store.writer import StoreWriter


@pytest.fixture
def named(writer: StoreWriter, partition: Partition, enter: Callable[..., Entry]) -> StoreWriter:
    """A store with captures that are current, superseded, held, and named with marks that patterns know."""
    for name, status in (("g:a:1", "committed"), ("g:a:2", "committed"), ("g:b_%:1", "held"), ("g:ä:1", "committed")):
        with writer.commit(partition) as commit:
            enter(commit, partition, stage="ingest", status=status, capture_id=name)
            enter(commit, partition, stage="normalize", status=status, capture_id=name)
    return writer


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("", ["g:a:1", "g:a:2", "g:b_%:1", "g:ä:1"]),
        ("g:a", ["g:a:1", "g:a:2"]),
        ("g:b_", ["g:b_%:1"]),
        ("g:_", []),
        ("%", []),
        ("g:ä", ["g:ä:1"]),
        ("g:a:1", ["g:a:1"]),
        ("g:a:1:longer", []),
        ("'", []),
        ("half a character \udcff", []),
    ],
)
def test_captures_are_found_by_how_they_begin(named: StoreWriter, prefix: str, found: list[str]) -> None:
    """Each capture that begins with the text is named once, held ones too; no mark in the text is a pattern."""
    assert sorted(named.capture_ids(prefix, 10)) == sorted(found)


def test_no_more_captures_are_named_than_were_asked_for(named: StoreWriter) -> None:
    """The first in the order of text come first."""
    assert list(named.capture_ids("g:a", 1)) == ["g:a:1"]
