"""The unit of work, and the part of a table one write may touch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

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
