"""What was restated between two moments: which partitions, how many rows, totals before and after, largest moves."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from market_spine.app.draft import partition_scope
from market_spine.core.domain import Domain
from market_spine.core.kinds import frame_value, write_value
from market_spine.core.manifest import INGEST, NORMALIZE, Known
from market_spine.core.partition import Partition, together
from market_spine.core.ports import Reader
from market_spine.core.revision import RowDiff, diff_rows
from market_spine.core.schema import Table
from market_spine.errors import UsageError
from market_spine.wording import nearest

if TYPE_CHECKING:
    import polars as pl


class Span(NamedTuple):
    """From what was known at one moment to what was known at another; ``until`` None is now."""

    since: datetime
    until: datetime | None


class Restated(NamedTuple):
    """One table of one partition in which rows that were known became others.

    Attributes:
        domain: whose.
        partition: which.
        table: the table.
        diff: the rows.
        before: the sums of the table's additive columns over the partition at the span's begin, null for no rows.
        after: the same at its end.
    """

    domain: Domain
    partition: Partition
    table: Table
    diff: RowDiff
    before: Mapping[str, float | None]
    after: Mapping[str, float | None]

    def document(self) -> dict[str, Any]:
        """Its JSON form: counts of rows, and totals."""
        change = self.diff.change
        return {
            "domain": self.domain.name,
            "partition_key": self.partition.key,
            "table": self.table.name,
            "rows_added": change.added,
            "rows_removed": change.removed,
            "rows_changed": change.changed,
            "totals": {name: {"before": self.before[name], "after": self.after[name]} for name in self.before},
        }


class Move(NamedTuple):
    """How far one row moved; ``old`` or ``new`` is null where it was added or removed."""

    partition_key: str
    table: str
    key: Mapping[str, Any]
    column: str
    old: float | None
    new: float | None

    @property
    def by(self) -> float:
        """New less old."""
        return (self.new or 0) - (self.old or 0)

    def document(self) -> dict[str, Any]:
        """Its JSON form."""
        plain = {name: str(value) if isinstance(value, date) else value for name, value in self.key.items()}
        return {
            "partition_key": self.partition_key,
            "table": self.table,
            "key": plain,
            "column": self.column,
            "before": self.old,
            "after": self.new,
            "by": self.by,
        }


@dataclass
class Changes:
    """What was found so far, and what was not a restatement: partitions that became known only within the span."""

    span: Span
    most: int
    restated: list[Restated] = field(default_factory=list)
    first_loaded: int = 0
    movers: list[Move] = field(default_factory=list)

    def take(self, found: Restated) -> None:
        """Keep it, and its largest moves."""
        self.restated.append(found)
        ordered = heapq.nlargest(self.most, [*self.movers, *moves(found)], key=lambda each: abs(each.by))
        self.movers = [each for each in ordered if each.by]

    def document(self) -> dict[str, Any]:
        """Its JSON form."""
        return {
            "since": self.span.since.isoformat(),
            "until": self.span.until.isoformat() if self.span.until else None,
            "first_loaded": self.first_loaded,
            "restated": [each.document() for each in self.restated],
            "movers": [each.document() for each in self.movers],
        }


def moment_of(store: Reader, flag: str, given: str) -> datetime:
    """A moment (without zone: UTC; a date is its first instant) or, for a capture, when it became current.

    Raises:
        UsageError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        found = store.find_capture(given)
        if found is not None:
            for each in store.history(found.entry.partition.domain, found.entry.partition.key):
                if (each.entry.stage, each.entry.status, each.entry.capture_id) == (INGEST, "committed", given):
                    return each.committed_at
        raise UsageError(
            f"{flag}: {given!r} is neither a moment nor a capture that was ever current",
            hint="give ISO 8601 such as 2025-01-06T14:00:00Z, or an id from `market-spine captures`",
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def choose_tables(domains: Sequence[Domain], name: str | None, symbol: str | None) -> list[tuple[Domain, Table]]:
    """The tables to look at: the one that is named, else those of what the sources said; with a symbol, those that
    have symbols.

    Raises:
        UsageError: there is no such table, or it has no symbols.
    """
    every = [(domain, table) for domain in domains for table in domain.tables]
    found = [each for each in every if (each[1].name == name if name else each[1].stage == NORMALIZE)]
    if not found:
        listed = ", ".join(table.name for _, table in every)
        offered = nearest(name or "", (table.name for _, table in every))
        raise UsageError(f"there is no table '{name}'{offered}", hint=f"there are {listed}")
    if symbol is not None:
        found = [each for each in found if "symbol" in each[1].names]
        if not found:
            raise UsageError("--symbol: what was chosen has no column symbol", hint="name another --table")
    return found


def find_changes(
    store: Reader, tables: Sequence[tuple[Domain, Table]], span: Span, symbol: str | None, most: int
) -> Changes:
    """Compare what was known at both ends of a span, many partitions at a time.

    Args:
        store: where.
        tables: where to look.
        span: between which moments.
        symbol: rows of this symbol alone.
        most: how many of the largest moves to keep.
    """
    found = Changes(span, most)
    for domain in dict.fromkeys(domain for domain, _ in tables):
        chosen = [table for owner, table in tables if owner is domain]
        earlier, moved = _moved(store, domain, span)
        known = store.known(domain.name, sorted(moved), as_of=span.until)
        held = {key for key in moved - earlier if known[key].current is not None}
        # Without a symbol there is nothing to compare; whether there are rows of a symbol only the rows can tell.
        new = held if symbol is None else set()
        batches = [sorted((moved & earlier) | held)]
        if symbol is None:
            sizes = {key: _size(each) for key, each in known.items()}
            batches = [*together(sorted(moved & earlier), sizes.__getitem__)]
        restated: list[Restated] = []
        for keys in batches:
            for table in chosen:
                before = _rows(store, domain, table, [key for key in keys if key in earlier], span.since, symbol)
                after = _rows(store, domain, table, keys, span.until, symbol)
                new |= after.keys() - before.keys()
                restated += _compared(domain, table, before, after)
        # In the order of the partitions, the tables of each as they were chosen.
        for each in sorted(restated, key=lambda each: each.partition.key):
            found.take(each)
        found.first_loaded += len(new)
    return found


def _moved(store: Reader, domain: Domain, span: Span) -> tuple[set[str], set[str]]:
    """Keys of the partitions with a commit before the span, and of those with one within it."""
    before, after = (store.entry_counts(domain.name, as_of=moment) for moment in span)
    return set(before), {key for key, count in after.items() if before.get(key) != count}


def _size(known: Known) -> int:
    """About how many rows the largest table has of a partition."""
    return max((each.entry.row_count for each in known.stages.values()), default=0)


def _rows(
    store: Reader, domain: Domain, table: Table, keys: Sequence[str], moment: datetime | None, symbol: str | None
) -> dict[str, pl.DataFrame]:
    """The rows of each of some partitions, if it has any, in the order of the keys."""
    import polars as pl

    if not keys:
        return {}
    scopes = {key: partition_scope(table, domain.partition(key)).equals for key in keys}
    kinds = {column.name: column.kind for column in table.columns}
    named = {
        tuple(frame_value(kinds[name], scope[name]) for name in table.partition_by): key
        for key, scope in scopes.items()
    }
    where: dict[str, Any] = {
        name: list(dict.fromkeys(values))
        for name, values in zip(table.partition_by, zip(*named, strict=True), strict=True)
    }
    if symbol is not None:
        where["symbol"] = symbol
    with store.table(table.name, columns=table.names, where=where, as_of=moment) as stream:
        frames = list(stream.frames())
    if not frames:
        return {}
    # Each value of one column is met by each of another: there may be partitions that nobody asked for.
    parts = pl.concat(frames).partition_by(table.partition_by, as_dict=True)
    found = {named[values]: rows for values, rows in parts.items() if values in named}
    return {key: found[key] for key in keys if key in found}


def _compared(
    domain: Domain, table: Table, before: Mapping[str, pl.DataFrame], after: Mapping[str, pl.DataFrame]
) -> Iterator[Restated]:
    """The partitions that had rows and now have others; what has rows only now restates nothing."""
    import polars as pl

    if not before:
        return
    nothing = table.frame([])
    newer = pl.concat([nothing, *(after[key] for key in before if key in after)])
    diff = diff_rows(pl.concat([nothing, *before.values()]), newer, table.key)
    if table.grows:
        # New rows continue such a table, which restates nothing.
        diff = diff._replace(added=diff.added.clear())
    for key, own in _apart(domain, table, diff).items():
        totals = _sums(before[key], table), _sums(after.get(key, nothing), table)
        yield Restated(domain, domain.partition(key), table, own, *totals)


def _apart(domain: Domain, table: Table, diff: RowDiff) -> dict[str, RowDiff]:
    """A difference of many partitions as that of each in which there is one; rows stay in their order."""
    found: dict[str, RowDiff] = {}
    empty = RowDiff(*(rows.clear() for rows in diff))
    for side, rows in zip(RowDiff._fields, diff, strict=True):
        for values, own in rows.partition_by(table.partition_by, as_dict=True).items():
            key = "|".join(map(write_value, values))
            found[key] = found.get(key, empty)._replace(**{side: own})
    return found


def _sums(rows: pl.DataFrame, table: Table) -> dict[str, float | None]:
    if rows.is_empty():
        return dict.fromkeys(table.totals)
    return {name: math.fsum(rows[name].drop_nulls()) for name in table.totals}


def moves(found: Restated) -> Iterator[Move]:
    """How far each row moved in the first of its table's additive columns."""
    if not found.table.totals:
        return
    column, diff = found.table.totals[0], found.diff
    pairs = [
        *((None, new) for new in diff.added.iter_rows(named=True)),
        *((old, None) for old in diff.removed.iter_rows(named=True)),
        *zip(diff.old.iter_rows(named=True), diff.new.iter_rows(named=True), strict=True),
    ]
    for old, new in pairs:
        row = new or old or {}
        yield Move(
            found.partition.key,
            found.table.name,
            {name: row[name] for name in found.table.key},
            column,
            old[column] if old else None,
            new[column] if new else None,
        )


def rows_of(changes: Changes, table: Table) -> pl.DataFrame:
    """Every restated row of a table, typed: its partition, what became of it, its key, each value before and after."""
    import polars as pl

    nothing = table.frame([])
    frames = [_sides(table, "", nothing, nothing)]
    for partition, diff in ((each.partition, each.diff) for each in changes.restated if each.table == table):
        before, after = pl.concat([diff.removed, diff.old]), pl.concat([diff.added, diff.new])
        frames.append(_sides(table, partition.key, before, after))
    return pl.concat(frames)


def _sides(table: Table, partition_key: str, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Rows beside what they became, and what that was: added, removed or changed."""
    import polars as pl

    key = list(table.key)
    values = [name for name in table.names if name not in key]
    was = before.rename({name: f"{name}_before" for name in values}).with_columns(pl.lit(value=True).alias("\0was"))
    now = after.rename({name: f"{name}_after" for name in values}).with_columns(pl.lit(value=True).alias("\0is"))
    added, removed = pl.col("\0was").is_null(), pl.col("\0is").is_null()
    what = pl.when(added).then(pl.lit("added")).when(removed).then(pl.lit("removed")).otherwise(pl.lit("changed"))
    pairs = [f"{name}_{when}" for name in values for when in ("before", "after")]
    joined = was.join(now, on=key, how="full", coalesce=True).sort(key)
    return joined.select(pl.lit(partition_key).alias("partition_key"), what.alias("change"), *key, *pairs)
