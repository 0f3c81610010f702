"""Two versions of the same rows whose sources do not carry the same fields.

A field that a source does not carry is unknown, not empty. A cell is unknown if its column is declared
``Unknown`` for its row and the cell is empty: null, or for a key column, which is never null, equal to its
stand-in. Unknown cells are filled from the row of the other version that is matched by key; a row whose key
is partly unknown is matched by the known part of it, where that is unique in both versions. What is left
after that is compared exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from market_spine.core.revision import RowDiff, diff_rows

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Unknown:
    """Columns that a payload does not carry for some of its rows.

    Attributes:
        columns: their names; a key column may be among them.
        where: which rows: equality on key columns that are always known; empty = every row. The entries
            of one table never overlap.
        stand_ins: unknown key column to the known column whose value stands in its place; a key column
            without one holds the empty text.
        indistinct: rows (key columns and their stand-ins) that were rejected only because the payload lacks
            what tells them apart; rows before that may be these stay.
        tied_to: columns that a carried value belongs with: it is carried only from a row that is the same in
            these, for what was said of other figures is not true of new ones.
    """

    columns: tuple[str, ...]
    where: Mapping[str, str] = field(default_factory=dict)
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    indistinct: pl.DataFrame | None = field(default=None, compare=False)
    tied_to: tuple[str, ...] = ()


class Reconciled(NamedTuple):
    """A newer version of rows, completed from the one before it.

    Attributes:
        rows: the newer rows with what only the version before knew, sorted by key.
        diff: the rows that differ in what both versions know. ``removed`` and ``old`` show the rows
            before as they were, except for the unknown cells that the newer version knows.
        carried: ``rows`` holds values that only the version before knew.
        enriched: the newer version knows cells that the one before did not.
        kept: so many rows of the version before stay because what would replace them was rejected.
    """

    rows: pl.DataFrame
    diff: RowDiff
    carried: bool
    enriched: bool
    kept: int = 0


def reconcile(
    new: pl.DataFrame,
    new_unknown: Sequence[Unknown],
    before: pl.DataFrame,
    before_unknown: Sequence[Unknown],
    key: Sequence[str],
    refused: pl.DataFrame | None = None,
) -> Reconciled:
    """Complete ``new`` from ``before`` and compare the two on what both know.

    Args:
        new: rows of the newer version; keys unique and never null.
        new_unknown: what it does not carry.
        before: rows of the version before, same columns; itself completed from those before it.
        before_unknown: what the payload that brought ``before`` did not carry.
        key: the table's key columns.
        refused: what could be read of the keys of rows that the newer version has and that were rejected (columns
            of the table, null: any value); rows known under such a key stay.
    """
    completed = _fill(new, new_unknown, before, before_unknown, key)
    read = completed.height
    completed = _keep_indistinct(completed, new_unknown, before, key)
    if refused is not None:
        completed = keep_refused(completed, before, refused, key)
    known = _fill(before, before_unknown, completed, new_unknown, key)
    rows = completed.sort(list(key))
    return Reconciled(
        rows=rows,
        diff=diff_rows(known, rows, key),
        carried=completed is not new and not completed.equals(new),
        enriched=known is not before and not known.equals(before),
        kept=completed.height - read,
    )


def keep_refused(rows: pl.DataFrame, before: pl.DataFrame, refused: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """``rows`` with the rows before, as they are, under whose key the newer version has a rejected row.

    Args:
        rows: the newer rows.
        before: the rows before.
        refused: columns that tell what the rejected rows are, null in those that could not be read.
        key: the table's key columns.
    """
    import polars as pl

    if refused.is_empty() or before.is_empty():
        return rows
    gone = before.join(rows, on=list(key), how="anti")
    if gone.is_empty():
        return rows
    shapes = refused.select(pl.col(name).is_null() for name in refused.columns).unique()
    kept = []
    for shape in shapes.iter_rows():
        read = [name for name, lost in zip(refused.columns, shape, strict=True) if not lost]
        of_shape = refused.filter(
            pl.all_horizontal(pl.col(name).is_null() == lost for name, lost in zip(refused.columns, shape, strict=True))
        )
        if read:
            kept.append(gone.join(of_shape.select(read).unique(), on=read, how="semi"))
    return pl.concat([rows, *kept]).unique(list(key), keep="first", maintain_order=True) if kept else rows


def _fill(
    rows: pl.DataFrame,
    unknown: Sequence[Unknown],
    other: pl.DataFrame,
    other_unknown: Sequence[Unknown],
    key: Sequence[str],
) -> pl.DataFrame:
    """``rows``, in their order, with unknown cells taken from the matching rows of ``other``."""
    for each in unknown:
        lacking = [name for name in each.columns if _anything_known(other, name, each, other_unknown, key)]
        keys = [name for name in lacking if name in key]
        values = [name for name in lacking if name not in key]
        if keys:
            rows = _fill_keys(rows, each, keys, other, key)
        if values:
            rows = _fill_values(rows, each, values, other, key)
    return rows


def _anything_known(
    other: pl.DataFrame, name: str, unknown: Unknown, other_unknown: Sequence[Unknown], key: Sequence[str]
) -> bool:
    """Whether ``other`` could fill a column at all; where sources carry the same fields this saves the joins."""
    import polars as pl

    known = pl.col(name).is_not_null()
    if name in key:
        same = next((each for each in other_unknown if each.where == unknown.where and name in each.columns), None)
        known = ~_is_unknown(name, same) if same else pl.lit(True)
    return bool(other.select((_in_leg(unknown) & known).any()).item())


def _fill_keys(
    rows: pl.DataFrame, unknown: Unknown, names: Sequence[str], other: pl.DataFrame, key: Sequence[str]
) -> pl.DataFrame:
    """Complete partly unknown keys where the known part of the key is unique on both sides."""
    import polars as pl

    by = _known_part(unknown, names, key)
    found = (
        other.filter(_in_leg(unknown))
        .filter(pl.len().over(by) == 1)
        .select(*by, *(pl.col(name).alias(f"{name}\0other") for name in names))
    )
    joined = rows.with_columns((pl.len().over(by) == 1).alias("\0alone")).join(
        found, on=by, how="left", maintain_order="left", nulls_equal=True
    )
    # A known part that contradicts the match means that the two are different rows after all.
    agrees = pl.all_horizontal(
        _is_unknown(name, unknown) | (pl.col(name) == pl.col(f"{name}\0other")) for name in names
    )
    take = _in_leg(unknown) & pl.col("\0alone") & pl.col(f"{names[0]}\0other").is_not_null() & agrees
    filled = (pl.when(take).then(pl.col(f"{name}\0other")).otherwise(pl.col(name)).alias(name) for name in names)
    return joined.with_columns(*filled).select(rows.columns)


def _keep_indistinct(
    rows: pl.DataFrame, unknown: Sequence[Unknown], before: pl.DataFrame, key: Sequence[str]
) -> pl.DataFrame:
    """``rows`` with the rows before, as they are, that may be among those which could not be told apart."""
    import polars as pl

    kept = [
        before.filter(_in_leg(each))
        .join(each.indistinct.filter(_in_leg(each)), on=_known_part(each, each.columns, key), how="semi")
        .join(rows, on=list(key), how="anti")
        for each in unknown
        if each.indistinct is not None and each.indistinct.height
    ]
    return pl.concat([rows, *kept]) if kept else rows


def _known_part(unknown: Unknown, names: Collection[str], key: Sequence[str]) -> list[str]:
    """The key without the columns ``names``, but with what stands in for them."""
    stand_ins = [unknown.stand_ins[name] for name in names if name in unknown.stand_ins]
    return [*(name for name in key if name not in names), *stand_ins]


def _fill_values(
    rows: pl.DataFrame, unknown: Unknown, names: Sequence[str], other: pl.DataFrame, key: Sequence[str]
) -> pl.DataFrame:
    import polars as pl

    found = other.filter(_in_leg(unknown)).select(
        *key, *(pl.col(name).alias(f"{name}\0other") for name in (*names, *unknown.tied_to))
    )
    joined = rows.join(found, on=list(key), how="left", maintain_order="left")
    if unknown.tied_to:
        same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}\0other")) for name in unknown.tied_to)
        others = [f"{name}\0other" for name in names]
        joined = joined.with_columns(pl.when(same).then(pl.col(name)).alias(name) for name in others)
    filled = (
        pl.when(_in_leg(unknown)).then(pl.coalesce(name, f"{name}\0other")).otherwise(pl.col(name)).alias(name)
        for name in names
    )
    return joined.with_columns(*filled).select(rows.columns)


def _in_leg(unknown: Unknown) -> pl.Expr:
    import polars as pl

    return pl.all_horizontal(pl.lit(True), *(pl.col(name) == value for name, value in unknown.where.items()))


def _is_unknown(name: str, unknown: Unknown) -> pl.Expr:
    import polars as pl

    if name in unknown.stand_ins:
        return pl.col(name) == pl.col(unknown.stand_ins[name])
    return pl.col(name) == ""
