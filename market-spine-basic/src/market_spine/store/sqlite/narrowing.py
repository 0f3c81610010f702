"""What a statement asks of each relation by name, and the few rows that can answer it.

DuckDB opens each segment by itself, which for hundreds of small ones takes most of the time of a narrow question.
Where its plan says that every look at a table wants the same few values, the rows that have them are found first.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from io import BytesIO
from typing import Any

import polars as pl

from market_spine.core.schema import Table
from market_spine.store.asking import Choice, Condition
from market_spine.store.sqlite.catalog import Relation
from market_spine.store.sqlite.tables import TableRows

_FEW = 50_000
"""Most rows that are taken into memory; a table that has more of the values is shown as the files it is."""

_SCANNED = re.compile(r"(?:.*\.)?spine_(\d+)")
_FILTER = re.compile(r"\(spine_(\d+)_(\d+) (=|>=|<=|>|<) '((?:[^']|'')*)'(::DATE)?\)")


def conditions(tree: Any, relations: Mapping[str, Relation]) -> dict[str, tuple[Condition, ...]]:
    """Relation to what a row of it must meet to matter to a statement, where that names a value.

    Args:
        tree: the plan of the statement over the empty tables of ``plan.look_ahead``. What a plan filters out of
            every scan of a table matters to no other plan of the statement either.
        relations: by number in the names of those tables and their columns.
    """
    scans: dict[str, list[tuple[Condition, ...]]] = {}
    names = list(relations)
    for node in _nodes(tree):
        found = _SCANNED.fullmatch(str(node.get("Table", "")))
        if found is not None:
            name = names[int(found[1])]
            scans.setdefault(name, []).append(_filters(node.get("Filters", ()), relations[name]))
    same = {name: each[0] for name, each in scans.items() if len(set(each)) == 1}
    return {name: each for name, each in same.items() if any(condition.values for condition in each)}


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """What the plan tells of each of its operators."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            waiting += node.get("children", [])
            yield node.get("extra_info") or {}


def _filters(told: str | Sequence[str], relation: Relation) -> tuple[Condition, ...]:
    """The filters of a scan that name a text or a day; no other is needed, since DuckDB filters once more."""
    texts = [told] if isinstance(told, str) else told
    # A text that holds a new line is told as several filters.
    if any(text.count("'") % 2 for text in texts):
        return ()
    kinds = list(relation.rows.kinds.items())
    found = []
    for text in texts:
        if (match := _FILTER.fullmatch(text)) is None:
            continue
        name, kind = kinds[int(match[2])]
        value: Any = match[4].replace("''", "'")
        if kind == "date" and match[5]:
            value = date.fromisoformat(value)
        elif kind != "text" or match[5] or match[3] != "=":
            continue
        found.append(_condition(name, match[3], value))
    return tuple(found)


def _condition(name: str, sign: str, value: Any) -> Condition:
    if sign == "=":
        return Condition(name, (value,))
    return Condition(name, None, value if sign[0] == ">" else None, value if sign[0] == "<" else None)


def few_rows(
    source: sqlite3.Connection,
    table: Table,
    columns: Sequence[str],
    wanted: Sequence[Condition],
    moment: str | None,
    seconds: float,
) -> bytes | None:
    """The known rows of a table that meet conditions, as a Parquet file; None if they are more than a few."""
    rows = TableRows(source, Choice(table, columns, wanted, (), moment, seconds))
    frames = [pl.DataFrame(schema=dict(rows.schema))]
    height = 0
    for frame in rows.frames():
        height += frame.height
        if height > _FEW:
            return None
        frames.append(frame)
    file = BytesIO()
    pl.concat(frames).write_parquet(file, compression="uncompressed")
    return file.getvalue()
