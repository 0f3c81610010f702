"""Which segments, and which of their rows, readers see at a moment."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from market_spine.core.schema import Table

_SEGMENTS = """\
SELECT s.segment_id, s.partition_key, s.size, s.row_count, s.sha256, c.columns, s.manifest_id, s.superseded_by,
       m.capture_id, m.captured_at
  FROM core_segments s
  LEFT JOIN core_segment_schemas c ON c.schema_id = s.schema_id
  JOIN core_manifest m ON m.manifest_id = s.manifest_id
  LEFT JOIN core_manifest x ON x.manifest_id = s.superseded_by
 WHERE s.table_name = ? AND {visible}
 ORDER BY s.segment_id
"""
_CLOSURES = """\
SELECT c.segment_id, c.row_number, c.superseded_by
  FROM core_closures c
  JOIN core_segments s ON s.segment_id = c.segment_id
  LEFT JOIN core_manifest m ON m.manifest_id = c.superseded_by
 WHERE s.table_name = ? AND {visible}
 ORDER BY c.segment_id, c.row_number
"""


class SegmentRow(NamedTuple):
    """A segment, and the entry that brought it; ``columns`` is what ``core_segment_schemas`` says of it."""

    segment_id: int
    partition_key: str
    size: int
    row_count: int
    sha256: str
    columns: str | None
    manifest_id: int
    superseded_by: int | None
    capture_id: str
    captured_at: str


def segments(
    source: sqlite3.Connection, table: Table, moment: str | None, *, versions: bool = False
) -> Iterator[SegmentRow]:
    """The segments of a table that are seen at a moment, or now; with ``versions`` all that there are."""
    visible, params = "s.superseded_by IS NULL", [table.name]
    if versions:
        visible = "1 = 1"
    elif moment is not None:
        visible = "m.committed_at <= ? AND (s.superseded_by IS NULL OR x.committed_at > ?)"
        params = [table.name, moment, moment]
    return map(SegmentRow._make, source.execute(_SEGMENTS.format(visible=visible), params))


def closures(
    source: sqlite3.Connection, table: Table, moment: str | None, *, versions: bool = False
) -> Mapping[int, list[tuple[int, int]]]:
    """Segment to its closed rows' numbers, and the entries that closed them."""
    visible, params = "1 = 1", [table.name]
    if not versions and moment is not None:
        visible, params = "m.committed_at <= ?", [table.name, moment]
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for segment_id, number, superseded_by in source.execute(_CLOSURES.format(visible=visible), params):
        found[segment_id].append((number, superseded_by))
    return found
