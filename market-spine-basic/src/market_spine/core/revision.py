"""Exact differences between two versions of the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl


class Change(NamedTuple):
    """How many rows one version has more, fewer and different from another, matched by key."""

    added: int = 0
    removed: int = 0
    changed: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


class RowDiff(NamedTuple):
    """The rows in which two versions differ. ``old`` and ``new`` hold the changed rows in the same order.

    All frames have the compared frames' columns; each is sorted by key.
    """

    added: pl.DataFrame
    removed: pl.DataFrame
    old: pl.DataFrame
    new: pl.DataFrame

    @property
    def change(self) -> Change:
        """The counts."""
        return Change(self.added.height, self.removed.height, self.new.height)

    def pairs(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Each changed row as it was, and as it is."""
        return zip(self.old.iter_rows(named=True), self.new.iter_rows(named=True), strict=True)


def diff_rows(old: pl.DataFrame, new: pl.DataFrame, key: Sequence[str]) -> RowDiff:
    """Compare two frames of the same columns whose keys are unique and never null.

    A row is changed when any other column differs; null equals null, and values are compared exactly.
    Columns of ``old`` that are not in ``new`` (such as a row id) are ignored for the comparison but
    kept in ``removed`` and ``old``.
    """
    import polars as pl

    old, new = _unequal(old, new)
    values = [name for name in new.columns if name not in key]
    keys = list(key)
    added = new.join(old, on=keys, how="anti").sort(keys)
    removed = old.join(new, on=keys, how="anti").sort(keys)
    both = old.join(new, on=keys, how="inner", suffix="\0new")
    if values:
        differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}\0new")) for name in values)
        both = both.filter(differs)
    else:
        both = both.clear()
    both = both.sort(keys)
    newer = both.select(*(pl.col(name) if name in key else pl.col(f"{name}\0new").alias(name) for name in new.columns))
    return RowDiff(added, removed, both.select(old.columns), newer)


def _unequal(old: pl.DataFrame, new: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both frames without the rows that the other has, too: mostly that leaves little to match by key."""
    if old.is_empty() or new.is_empty():
        return old, new
    # A value that every row of both has tells nothing apart.
    telling = [
        name for name in new.columns if not all(frame[name].eq_missing(new[name].first()).all() for frame in (new, old))
    ]
    if not telling:
        return old.clear(), new.clear()
    return (
        old.join(new, on=telling, how="anti", nulls_equal=True),
        new.join(old, on=telling, how="anti", nulls_equal=True),
    )
