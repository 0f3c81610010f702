"""What a domain holds to be plausible: thresholds, each with its reason, that a setting may widen."""

from __future__ import annotations

import math
from copy import copy
from typing import Any, Self

from market_spine.errors import UsageError


class Plausibility:
    """The thresholds of a domain: every number among a subclass's attributes. A larger one is always the wider one.

    Attributes:
        setting: the environment variable that widens them: ``name=value``, comma-separated.
    """

    def __init__(self, setting: str) -> None:
        self.setting = setting

    @property
    def thresholds(self) -> dict[str, float]:
        """Name to number, as the result's ``config`` shows them."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int | float)}

    def widened(self, text: str) -> Self:
        """With the thresholds that the setting's text gives.

        Raises:
            UsageError: a name that there is none of, or twice, no number, or one that is narrower than the declared.
        """
        wider: dict[str, Any] = {}
        for item in filter(None, (each.strip() for each in text.split(","))):
            name, _, number = (part.strip() for part in item.partition("="))
            if name not in self.thresholds:
                raise UsageError(
                    f"{self.setting}: {item!r} names no threshold", hint=f"there are {', '.join(self.thresholds)}"
                )
            if name in wider:
                raise UsageError(f"{self.setting} gives {name} twice", hint="leave one")
            declared = self.thresholds[name]
            try:
                value = type(declared)(number)
            except ValueError as error:
                raise UsageError(f"{self.setting}: {item!r} gives no number") from error
            if not (value >= declared and math.isfinite(value)):
                raise UsageError(
                    f"{self.setting}: {name}={number} is narrower than {declared:g}, or no finite number",
                    hint="it can only be widened",
                )
            wider[name] = value
        other = copy(self)
        vars(other).update(wider)
        return other


class RowPlausibility(Plausibility):
    """The thresholds that the platform judges by: of payloads that are a partition's whole table.

    Attributes:
        measures: columns of the domain's first table whose sizes are compared, the one that sums up first.
        apart: a key column whose values are judged by themselves, too, such as a leg: what is wrong with one must not
            be outweighed by another.
        least_rows: fewer known rows than this are not judged: in few rows any share is chance.
        replaced: largest share of the known keys that may be gone at all.
        shrunk: largest share that may be gone unproven.
        thinned: largest share that may be gone without a warning.
        changed: largest share of the known keys that may be changed without a warning.
        ratio: how many times as large, or as small, the median of a measure may be.
        uniform: largest share of the common keys that may move by one same factor.
        rows: how many times as many, or as few, rows a first capture may have as the median of its neighbours.
        neighbours: how many of the nearest partitions of its line a first capture is compared with.
        least_neighbours: with fewer than this it is not.
    """

    def __init__(
        self,
        *,
        setting: str,
        measures: tuple[str, ...],
        apart: str = "",
        least_rows: int = 200,
        replaced: float = 0.5,
        shrunk: float = 0.1,
        thinned: float = 0.01,
        changed: float = 0.05,
        ratio: float = 3.0,
        uniform: float = 0.5,
        rows: float = 2.0,
        neighbours: int = 8,
        least_neighbours: int = 3,
    ) -> None:
        super().__init__(setting)
        self.measures = measures
        self.apart = apart
        self.least_rows = least_rows
        self.replaced = replaced
        self.shrunk = shrunk
        self.thinned = thinned
        self.changed = changed
        self.ratio = ratio
        self.uniform = uniform
        self.rows = rows
        self.neighbours = neighbours
        self.least_neighbours = least_neighbours
