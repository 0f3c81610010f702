"""Partitions as people type them, for a domain that says nothing special of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from market_spine.app.keys import find_partition
from market_spine.core.domain import Domain
from market_spine.core.schema import Column, Table
from market_spine.errors import UsageError

LANDING = Table(
    "port_landing",
    (Column("year", "integer", "Year.", False), Column("port", "text", "Port.", False)),
    ("year", "port"),
    ("year", "port"),
    "What was landed.",
)


class Ports(Domain):
    """Years and ports."""

    name = "ports"
    partition_fields = ("year", "port")
    tables = (LANDING,)


def knows(*keys: str) -> Callable[[str], tuple[str, ...]]:
    """A store that knows these partitions."""
    return lambda _: keys


STORE = knows("2024|Ålesund", "2025|Bergen", "2025|bergen", "2025|Oslo")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("2025|Oslo", "2025|Oslo"),
        ("2025/oslo", "2025|Oslo"),
        (" 2025 / OSLO ", "2025|Oslo"),
        ("2024", "2024|Ålesund"),
        ("2025/Bergen", "2025|Bergen"),
        ("2025|oslo", "2025|Oslo"),
        ("2025/bergen", "2025|bergen"),
        ("2026/Oslo", "2026|Oslo"),
        ("2026|Oslo", "2026|Oslo"),
    ],
)
def test_a_typed_text_finds_its_partition(text: str, key: str) -> None:
    """Another separator, another case and a value left out find the known partition, a whole key an unknown one."""
    assert find_partition(Ports(), text, STORE).key == key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2025", ("fits 3 partitions of ports", "'2025|bergen', '2025|Oslo', '2025|Bergen'")),
        ("2025/BERGEN", ("fits 2 partitions", "'2025|bergen', '2025|Bergen'")),
        ("1999", ("'1999' fits no known partition", "'1999|Ålesund', '1999|bergen', '1999|Oslo', ...")),
        ("Oslo/2025", ("'Oslo/2025' is not a partition of ports", "year|port, such as 2025|ABC")),
        ("", ("'' is not a partition of ports", "year|port, such as 2025|ABC")),
    ],
)
def test_an_unclear_text_shows_what_to_type(text: str, said: tuple[str, str]) -> None:
    """What fits several partitions or none is refused with the keys, or the shape of a key, to type."""
    with pytest.raises(UsageError) as caught:
        find_partition(Ports(), text, STORE)
    assert said[0] in caught.value.message
    assert said[1] in caught.value.hint


def test_a_long_list_of_keys_is_cut_short() -> None:
    """Of many partitions that fit the first three are shown."""
    with pytest.raises(UsageError) as caught:
        find_partition(Ports(), "2025", knows(*(f"2025|P{number}" for number in range(9))))
    assert caught.value.hint == "type one of them: '2025|P8', '2025|P7', '2025|P6', ..."


def test_without_anything_known_the_shape_of_a_key_is_shown() -> None:
    """An empty store has no key to show, so the domain's own example is."""
    with pytest.raises(UsageError) as caught:
        find_partition(Ports(), "1999", knows())
    assert caught.value.hint == "a key is year|port, such as 2025|ABC"
