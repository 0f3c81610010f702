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
from itertools import accumulate
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
"""Rows of a frame: bounds memory."""
_BYTES = 8_000_000
"""Bytes of segments that are decoded together."""
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
        self._segments: Sequence[visible.SegmentRow] = ()
        self._told = pl.DataFrame()
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
        if self._table.bulk:
            self._segments = list(visible.segments(self._source, self._table, self._choice.moment))
            self._closed = visible.closures(self._source, self._table, self._choice.moment)
        self._told = self._every()
        # No other segment is opened.
        matching = self._told.with_row_index(_NUMBER).filter(self._condition(self._told.columns))[_NUMBER].to_list()
        if not self._choice.together:
            yield from self._decoded(matching)
            yield from self._rows(self._choice.conditions)
            return
        keys = self._told[self._table.partition_by].rows()
        kept: dict[tuple[Any, ...], list[int]] = {key: [] for key in keys}
        for number in matching:
            kept[keys[number]].append(number)
        kinds = kinds_of(self._table)
        for values in self._source.execute(distinct(self._table)):
            named = zip(self._table.partition_by, values, strict=True)
            kept.setdefault(tuple(frame_value(cast("Kind", kinds[name]), value) for name, value in named), [])
        for key in sorted(kept):
            yield from self._decoded(kept[key])
            where = (Condition(name, (value,)) for name, value in zip(self._table.partition_by, key, strict=True))
            yield from self._rows((*self._choice.conditions, *where))

    def _every(self) -> pl.DataFrame:
        """For each segment what is the same in all its rows, in the values of frames."""
        kinds = {column.name: column.kind for column in self._table.columns}
        keys = [each.partition_key.split("|") for each in self._segments]
        # Any text can be a value, though not each can stand in a partition's key.
        told = [
            pl.Series(
                name,
                [
                    key[at] if kinds[name] == "text" else frame_value(kinds[name], read_value(kinds[name], key[at]))
                    for key in keys
                ],
                self._types[name],
            )
            for at, name in enumerate(self._table.partition_by)
        ]
        captures = pl.Series("capture_id", [each.capture_id for each in self._segments], pl.String)
        moments = frames.moments(pl.Series("captured_at", [each.captured_at for each in self._segments], pl.String))
        return pl.DataFrame([*told, captures, moments])

    def _condition(self, names: Mapping[str, Any] | Sequence[str]) -> pl.Expr:
        """The conditions on these columns; true if there are none."""
        found = [_expression(each, self._types[each.name]) for each in self._choice.conditions if each.name in names]
        return reduce(and_, found, pl.lit(value=True))

    def _packs(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Segments, in their order, that are decoded together: of the same columns, and no more than bounds memory."""
        pack: list[int] = []
        rows = size = 0
        for number in numbers:
            segment = self._segments[number]
            rows, size = rows + segment.row_count, size + segment.size
            if pack and (rows > _ROWS or size > _BYTES or segment.columns != self._segments[pack[0]].columns):
                yield pack
                pack, rows, size = [], segment.row_count, segment.size
            pack.append(number)
        if pack:
            yield pack

    def _decoded(self, numbers: Sequence[int]) -> Iterator[pl.DataFrame]:
        """The rows of segments that match."""
        for pack in self._packs(numbers):
            yield self._pack(pack)

    def _pack(self, numbers: Sequence[int]) -> pl.DataFrame:
        segments = [self._segments[number] for number in numbers]
        starts = [0, *accumulate(segment.row_count for segment in segments)]
        kept = kept_columns(self._table, segments[0].columns)
        stored = [name for name in self._needed if kept.get(name)]
        if stored:
            data = [self._data(segment) for segment in segments]
            # Statistics tell of a small file no more than its rows do, and take longer.
            rows = pl.scan_parquet(
                data,
                row_index_name=_NUMBER,
                use_statistics=len(data) == 1,
                schema={name: self._types[name] for name, there in kept.items() if there},
                cast_options=pl.ScanCastOptions(categorical_to_string="allow"),
            )
            rows = rows.select(_NUMBER, *stored)
        else:
            rows = pl.DataFrame({_NUMBER: range(starts[-1])}, {_NUMBER: pl.UInt32}).lazy()
        closed = [
            start + number
            for start, segment in zip(starts, segments, strict=False)
            for number, _ in self._closed.get(segment.segment_id, ())
        ]
        if closed:
            rows = rows.filter(~pl.col(_NUMBER).is_in(pl.Series(closed, dtype=pl.UInt32).implode()))
        missing = [name for name in self._needed if name in kept and not kept[name]]
        rows = rows.with_columns(pl.lit(None, self._types[name]).alias(name) for name in missing)
        frame = rows.filter(self._condition([*stored, *missing])).collect()
        of = pl.Series(starts[1:], dtype=frame[_NUMBER].dtype).search_sorted(frame[_NUMBER], side="right")
        told = self._told[list(numbers)][of]
        return frame.with_columns(told[name] for name in told.columns if name in self._needed)

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
