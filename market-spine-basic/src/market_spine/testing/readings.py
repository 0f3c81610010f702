"""What is wrong with how a domain reads a payload, as sentences that say what to write instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from market_spine.app.draft import covered_scopes, partition_scope
from market_spine.core.domain import Domain, Normalized, rejected_rows
from market_spine.core.manifest import CALC, NORMALIZE
from market_spine.core.partition import Partition
from market_spine.core.schema import Table
from market_spine.store.replacing import check_frame

if TYPE_CHECKING:
    import polars as pl


def of_normalized(domain: Domain, partition: Partition, read: Normalized) -> Iterator[str]:
    """Frames, rejects, counts, and what a payload leaves out."""
    filled = [table.name for table in domain.tables if table.stage == NORMALIZE]
    if strange := [name for name in read.tables if name not in filled]:
        yield f'normalize returned {", ".join(strange)}: it fills {", ".join(filled)}, those with stage="normalize"'
    first = domain.tables[0]
    if first.name not in read.tables:
        yield f"normalize returned no {first.name}: return its frame, an empty one if there are no rows"
        return
    problems = list(_of_partial(domain, read))
    yield from problems
    if not problems:
        yield from _of_frames(domain, partition, NORMALIZE, read.tables, read)
    if read.rejects.schema != rejected_rows().schema:
        yield (
            "rejects has other columns than part, line, rule and raw: write"
            " rejected_rows([(part, line, rule, raw), ...])"
        )
    dropped = read.rejects.height + read.duplicates
    heights = [read.tables[first.name].height, sum(frame.height for frame in read.tables.values())]
    if read.rows_read - dropped not in heights:
        yield (
            f"rows_read is {read.rows_read}, but {heights[0]} rows of {first.name}, {read.rejects.height} rejects and"
            f" {read.duplicates} duplicates make {heights[0] + dropped}: count every data row of the payload once, and"
            " give what is refused to rejects"
        )


def of_computed(domain: Domain, partition: Partition, read: Normalized) -> Iterator[str]:
    """The frames of the calc stage."""
    normalized = (table for table in domain.tables if table.stage == NORMALIZE)
    tables = {table.name: read.tables.get(table.name, table.frame(())) for table in normalized}
    filled = {table.name for table in domain.tables if table.stage == CALC}
    computed = domain.compute(partition, tables)
    if computed.keys() != filled:
        yield (
            f"compute returned {', '.join(computed) or 'nothing'}: it fills {', '.join(sorted(filled)) or 'nothing'},"
            ' the tables with stage="calc"'
        )
        return
    yield from _of_frames(domain, partition, CALC, computed, None)
    for name, frame in domain.compute(partition, tables).items():
        if not frame.equals(computed[name]):
            yield f"compute gave other rows of {name} when it ran again: sort by key before floats are summed"


def of_repetition(read: Normalized, again: Normalized) -> Iterator[str]:
    """Two readings of the same bytes."""
    for name, frame in read.tables.items():
        if name not in again.tables or not frame.equals(again.tables[name]):
            yield (
                f"normalize gave other rows of {name} when it read the same bytes again: take no clock, no random"
                " number and no order of a set"
            )
    if not read.rejects.equals(again.rejects):
        yield "normalize refused other rows when it read the same bytes again"


def _of_frames(
    domain: Domain, partition: Partition, stage: str, frames: Mapping[str, pl.DataFrame], read: Normalized | None
) -> Iterator[str]:
    covered = covered_scopes(domain, partition, read) if read else {}
    for table in domain.tables:
        if table.stage != stage or table.name not in frames:
            continue
        try:
            scope = covered.get(table.name) or partition_scope(table, partition)
        except ValueError as error:
            yield f"{table.name}: {partition.key!r} is not what its partition columns hold ({error}): name others"
            continue
        try:
            check_frame(table, scope, frames[table.name])
        except ValueError as error:
            yield f"{error}: {_remedy(table, str(error))}"


def _remedy(table: Table, problem: str) -> str:
    if "should be" in problem:
        return f"build the frame with the declared Table's frame(rows), rows in the order {', '.join(table.names)}"
    if "null" in problem:
        return "refuse such rows (rejects), or declare the column nullable"
    if "not a number" in problem:
        return "refuse such rows (rejects), or let the column be null"
    if "same key" in problem:
        return "drop exact repetitions (duplicates), refuse the others, or put a further column into the key"
    return "keep to the rows of the partition, or say with CoversRange which of them the payload covers"


def _of_partial(domain: Domain, read: Normalized) -> Iterator[str]:
    tables = {table.name: table for table in domain.tables}
    for name, covered in read.ranges.items():
        if name not in read.tables:
            yield f"CoversRange names {name}, of which the payload has no rows: name tables that it fills"
        elif covered.column not in tables[name].names:
            yield f"CoversRange of {name} names {covered.column!r}, which is no column: write one of the key"
        elif tables[name].bulk:
            yield f"CoversRange names {name}, a bulk table, which is replaced whole: write bulk=False in it"
    for name, unknown in read.unknown.items():
        if name not in read.tables:
            yield f"LacksFields names {name}, which the payload does not fill"
            continue
        for each in unknown:
            named = {*each.columns, *each.where, *each.stand_ins, *each.stand_ins.values()}
            if strange := named - set(tables[name].names):
                yield f"LacksFields of {name} names {', '.join(sorted(strange))}, which is no column of it"
