"""The unit of work, and the part of a table one write may touch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

T = TypeVar("T")
_ROWS = 250_000
"""About how many rows are read together: bounds memory."""

Value = str | int | float
"""A scope value: text, a number, a truth value, or an ISO date as text."""


class Partition(NamedTuple):
    """One unit of work of one domain.

    Attributes:
        domain: the domain's full name, such as ``finra.otc_transparency``.
        values: one text per partition field of the domain, in its order, dates in ISO form.
    """

    domain: str
    values: tuple[str, ...]

    @property
    def key(self) -> str:
        """The ``partition_key`` shown to users, such as ``2025-01-03|NMS_TIER_1``."""
        return "|".join(self.values)


class Scope(NamedTuple):
    """The rows of a table that one ``replace`` owns.

    Attributes:
        equals: column to value, all must hold.
        between: column to (lowest, highest), both inclusive.
    """

    equals: Mapping[str, Value]
    between: Mapping[str, tuple[Value, Value]] = {}


def together(partitions: Iterable[T], rows_of: Callable[[T], int], most: int = 0) -> Iterator[list[T]]:
    """Partitions, or their keys, in their order, in groups that can be read together.

    Args:
        partitions: which.
        rows_of: gives about how many rows one has.
        most: of how many partitions a group is at most; 0: of any number.
    """
    group: list[T] = []
    rows = 0
    for each in partitions:
        own = rows_of(each)
        if group and (len(group) == most or rows + own > _ROWS):
            yield group
            group, rows = [], 0
        group.append(each)
        rows += own
    if group:
        yield group
