"""Rows of one declared table as frames, read past DuckDB: segments as the files they are, rows by whole columns.

That is what makes a large read cheap; a statement that does more than choose rows goes to ``query``.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import reduce
from io import BytesIO
from operator import and_
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from market_spine.core.kinds import frame_types, frame_value, read_value
from market_spine.errors import StoreCorrupt, UsageError
from market_spine.store.asking import Choice, Condition, at
from market_spine.store.binding import plain
from market_spine.store.moments import LATEST
from market_spine.store.selecting import BROUGHT, kinds_of
from market_spine.store.sqlite import frames, query, visible
from market_spine.store.sqlite.catalog import distinct
from market_spine.store.sqlite.connect import never_steady, translated
from market_spine.store.sqlite.segments import kept_columns
from market_spine.store.views import quote

if TYPE_CHECKING:
    from market_spine.core.schema import Kind

_ROWS = 50_000
"""Rows of a frame that comes from rows: bounds memory."""
_BOUND = 500
"""Ids that are looked up together."""
_MOMENT = pl.Datetime("us", "UTC")
_ENTRY = "\0manifest_id"
_NUMBER = "\0row"


@contextmanager
def choose(place: str | sqlite3.Connection, choice: Choice, wait_seconds: float) -> Iterator[TableRows]:
    """Choose rows from a database file, or from a database in memory; see ``Database.choose``."""
    named = place if isinstance(place, str) else "the empty store"
    with translated(named, wait_seconds), closing(query.opened(place, wait_seconds)) as source:
        source.execute("BEGIN")
        ((latest,),) = source.execute(LATEST)
        try:
            yield TableRows(source, at(choice, latest))
        except Exception as error:
            if query.is_torn(source):
                raise never_steady(named) from error
            raise
        if query.is_torn(source):
            raise never_steady(named)


class TableRows:
    """The chosen rows; a ``FrameStream``."""

    def __init__(self, source: sqlite3.Connection, choice: Choice) -> None:
        self._source = source
        self._choice = choice
        self._table = choice.table
        self._ends = time.monotonic() + choice.seconds
        types = {**frame_types(self._table), "capture_id": pl.String(), "captured_at": _MOMENT}
        self._types = types
        self._captures = _Captures(self._source)
        self._closed: Mapping[int, Sequence[tuple[int, int]]] = {}
        self._needed = list(dict.fromkeys((*choice.columns, *(each.name for each in choice.conditions))))

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """The columns' names and types."""
        return {name: self._types[name] for name in self._choice.columns}

    def frames(self) -> Iterator[pl.DataFrame]:
        """The rows as frames: of each segment, and then of what is kept as rows."""
        for frame in self._all():
            if time.monotonic() > self._ends:
                raise UsageError(
                    f"reading took longer than {self._choice.seconds:g} s",
                    hint=f"choose fewer rows, with conditions on {', '.join(self._table.partition_by)}",
                )
            if frame.height:
                yield frame.select(self._choice.columns)

    def _all(self) -> Iterator[pl.DataFrame]:
        segments: list[visible.SegmentRow] = []
        if self._table.bulk:
            segments += visible.segments(self._source, self._table, self._choice.moment)
            self._closed = visible.closures(self._source, self._table, self._choice.moment)
        told = self._told(segments)
        matching = self._matching(told)
        if not self._choice.together:
            for number in matching:
                yield self._segment(segments[number], told[number])
            yield from self._rows(self._choice.conditions)
            return
        kept: dict[tuple[Any, ...], list[int]] = {
            tuple(each[name] for name in self._table.partition_by): [] for each in told
        }
        for number in matching:
            kept[tuple(told[number][name] for name in self._table.partition_by)].append(number)
        kinds = kinds_of(self._table)
        for values in self._source.execute(distinct(self._table)):
            named = zip(self._table.partition_by, values, strict=True)
            kept.setdefault(tuple(frame_value(cast("Kind", kinds[name]), value) for name, value in named), [])
        for key in sorted(kept):
            for number in kept[key]:
                yield self._segment(segments[number], told[number])
            where = (Condition(name, (value,)) for name, value in zip(self._table.partition_by, key, strict=True))
            yield from self._rows((*self._choice.conditions, *where))

    def _told(self, segments: Sequence[visible.SegmentRow]) -> list[dict[str, Any]]:
        """For each segment what is the same in all its rows, in the values of frames."""
        kinds = {column.name: column.kind for column in self._table.columns}
        moments = frames.moments(pl.Series([each.captured_at for each in segments], dtype=pl.String)).to_list()
        found = []
        for segment, moment in zip(segments, moments, strict=True):
            texts = zip(self._table.partition_by, segment.partition_key.split("|"), strict=True)
            # Any text can be a value, though not each can stand in a partition's key.
            values = {
                name: text if kinds[name] == "text" else frame_value(kinds[name], read_value(kinds[name], text))
                for name, text in texts
            }
            found.append({**values, "capture_id": segment.capture_id, "captured_at": moment})
        return found

    def _matching(self, told: Sequence[Mapping[str, Any]]) -> list[int]:
        """Which segments can have a row that matches: no other is opened."""
        names = (*self._table.partition_by, "capture_id", "captured_at")
        every = pl.DataFrame([pl.Series(name, [each[name] for each in told], self._types[name]) for name in names])
        numbered: list[int] = every.with_row_index(_NUMBER).filter(self._condition(names))[_NUMBER].to_list()
        return numbered

    def _condition(self, names: Mapping[str, Any] | Sequence[str]) -> pl.Expr:
        """The conditions on these columns; true if there are none."""
        found = [_expression(each, self._types[each.name]) for each in self._choice.conditions if each.name in names]
        return reduce(and_, found, pl.lit(value=True))

    def _segment(self, segment: visible.SegmentRow, told: Mapping[str, Any]) -> pl.DataFrame:
        data = self._data(segment)
        closed = self._closed.get(segment.segment_id, ())
        kept = kept_columns(self._table, segment.columns)
        stored = [name for name in self._needed if kept.get(name)]
        frame = (
            pl.read_parquet(BytesIO(data), columns=stored)
            if stored
            else pl.DataFrame({"": [None] * segment.row_count}, schema={"": pl.Null})
        )
        if closed:
            numbers = pl.Series([number for number, _ in closed], dtype=pl.UInt32)
            frame = frame.with_row_index(_NUMBER).filter(~pl.col(_NUMBER).is_in(numbers.implode()))
        missing = [name for name in self._needed if name in kept and not kept[name]]
        frame = frame.with_columns(pl.lit(None, self._types[name]).alias(name) for name in missing)
        frame = frame.filter(self._condition([*stored, *missing]))
        same = _row({name: value for name, value in told.items() if name in self._needed}, self._types)
        return frame.with_columns(column.new_from_index(0, frame.height) for column in same.get_columns())

    def _data(self, segment: visible.SegmentRow) -> bytes:
        found = self._source.execute(
            "SELECT data FROM core_segment_data WHERE segment_id = ?", (segment.segment_id,)
        ).fetchone()
        if found is None or hashlib.sha256(found[0]).hexdigest() != segment.sha256:
            raise StoreCorrupt(
                f"segment {segment.segment_id} of {self._table.name} is missing or does not match its digest",
                hint="make a new store from the payloads with `market-spine rebuild`, or restore a backup",
            )
        data: bytes = found[0]
        return data

    def _rows(self, conditions: Sequence[Condition]) -> Iterator[pl.DataFrame]:
        """What is kept as rows."""
        kinds = kinds_of(self._table)
        brought = [name for name in self._needed if name in BROUGHT]
        fetched = {name: kinds[name] for name in self._needed if name not in BROUGHT}
        if brought or not fetched:
            fetched[_ENTRY] = "integer"
        cursor = self._source.execute(*self._statement(list(fetched), conditions))
        captures = self._captures
        for frame in frames.pieces(cursor, fetched, _ROWS):
            if not brought:
                yield frame
                continue
            yield captures.beside(frame).filter(self._condition(brought))

    def _statement(self, fetched: Sequence[str], conditions: Sequence[Condition]) -> tuple[str, list[Any]]:
        selected = ", ".join("v.manifest_id" if name == _ENTRY else f"v.{quote(name)}" for name in fetched)
        where, params = ["1 = 1"], []
        for each in conditions:
            if each.name not in BROUGHT:
                text, values = _sql(each)
                where.append(text)
                params += values
        sql = f"SELECT {selected} FROM {quote(self._table.versions)} v"
        if self._choice.moment is None:
            where.append("v.superseded_by IS NULL")
        else:
            sql += (
                " JOIN core_manifest m ON m.manifest_id = v.manifest_id"
                " LEFT JOIN core_manifest s ON s.manifest_id = v.superseded_by"
            )
            where.append("m.committed_at <= ? AND (v.superseded_by IS NULL OR s.committed_at > ?)")
            params += [self._choice.moment] * 2
        return f"{sql} WHERE {' AND '.join(where)}", params


class _Captures:
    """The captures of manifest entries, each looked up once."""

    def __init__(self, source: sqlite3.Connection) -> None:
        self._source = source
        self._known: dict[int, tuple[str | None, str | None]] = {}

    def beside(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with the columns of ``BROUGHT``, looked up by ``_ENTRY``."""
        ids = frame[_ENTRY].unique().to_list()
        new = [number for number in ids if number not in self._known]
        for start in range(0, len(new), _BOUND):
            part = new[start : start + _BOUND]
            marks = ", ".join("?" * len(part))
            sql = f"SELECT manifest_id, capture_id, captured_at FROM core_manifest WHERE manifest_id IN ({marks})"
            self._known.update({number: (name, moment) for number, name, moment in self._source.execute(sql, part)})
        # An entry that is missing leaves its rows without a capture, as the view does.
        rows = [(number, *self._known.get(number, (None, None))) for number in ids]
        known = pl.DataFrame(rows, schema=[(_ENTRY, pl.Int64), *((name, pl.String) for name in BROUGHT)], orient="row")
        known = known.with_columns(frames.moments(known["captured_at"]))
        return frame.join(known, on=_ENTRY, how="left", maintain_order="left")


def _row(values: Mapping[str, Any], types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """One row of these values."""
    return pl.DataFrame([pl.Series(name, [value], types[name]) for name, value in values.items()])


def _expression(condition: Condition, kind: pl.DataType) -> pl.Expr:
    column = pl.col(condition.name)
    found = []
    if condition.values is not None:
        wanted = pl.Series([value for value in condition.values if value is not None], dtype=kind)
        found.append(column.is_in(wanted.implode()) & column.is_not_null())
        if None in condition.values:
            found = [found[0] | column.is_null()]
    if condition.low is not None:
        found.append(column >= condition.low)
    if condition.high is not None:
        found.append(column <= condition.high)
    return reduce(and_, found)


def _sql(condition: Condition) -> tuple[str, list[Any]]:
    """A condition on a column, and its parameters as SQLite keeps values."""
    column = f"v.{quote(condition.name)}"
    found, params = [], []
    if condition.values is not None:
        params = [plain(value) for value in condition.values if value is not None]
        # A list of any length: the number of parameters is limited.
        ways = [f"{column} IN (SELECT value FROM json_each(?))"] if len(params) > _BOUND else []
        ways = ways or ([f"{column} IN ({', '.join('?' * len(params))})"] if params else [])
        params = [json.dumps(params)] if len(params) > _BOUND else params
        ways += [f"{column} IS NULL"] if None in condition.values else []
        found.append(f"({' OR '.join(ways) or '1 = 0'})")
    for sign, bound in ((">=", condition.low), ("<=", condition.high)):
        if bound is not None:
            found.append(f"{column} {sign} ?")
            params.append(plain(bound))
    return " AND ".join(found), params
