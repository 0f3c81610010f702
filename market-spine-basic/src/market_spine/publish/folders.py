"""Exports as folders of files: a folder for each table, in it a file for each partition."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import count, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from market_spine.store.parquet import write_parquet

if TYPE_CHECKING:
    from market_spine.core.ports import FrameStream
    from market_spine.core.relations import RelationInfo

_MOMENT = "%Y-%m-%dT%H:%M:%S%.6f+00:00"
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]")
_LONGEST = 80
"""Characters of a partition's key in the name of its file, which starts with a number of its own."""


class FileFolder:
    """A folder of Parquet or CSV files.

    Every file of a table has all of its columns with the same types; a table without rows has one file without rows.
    So any of them can be read together, whichever exports they are of.
    """

    def __init__(self, path: Path, form: Literal["parquet", "csv"]) -> None:
        self._path = path
        self._form = form
        path.mkdir()

    def add(self, relation: RelationInfo, rows: FrameStream) -> int:
        """Write a table's or view's rows; returns their number."""
        folder = self._path / relation.name
        folder.mkdir()
        schema = dict(rows.schema)
        by = list(relation.partition_by)
        numbers, total = count(1), 0
        for key, pieces in groupby(_keyed(rows.frames(), by), lambda each: each[0]):
            name = _UNSAFE.sub("_", "_".join(map(str, key)))[:_LONGEST] or "rows"
            counted = _Counted(piece for _, piece in pieces)
            self._write(folder / f"{next(numbers):05d}-{name}.{self._form}", counted, schema)
            total += counted.rows
        if not total:
            self._write(folder / f"00000-none.{self._form}", iter([pl.DataFrame(schema=schema)]), schema)
        return total

    def _write(self, path: Path, pieces: Iterator[pl.DataFrame], schema: dict[str, pl.DataType]) -> None:
        if self._form == "csv":
            with path.open("wb") as file:
                for number, piece in enumerate(pieces):
                    plain = piece.select(_text(name, kind) for name, kind in schema.items())
                    plain.write_csv(file, include_header=not number, datetime_format=_MOMENT)
            return
        write_parquet(pieces, schema, path)

    def close(self, described: bytes) -> None:
        """Add what the export is, which no half export has."""
        (self._path / "export.json").write_bytes(described)


class _Counted:
    """Frames, and the number of their rows so far."""

    def __init__(self, pieces: Iterator[pl.DataFrame]) -> None:
        self._pieces = pieces
        self.rows = 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> pl.DataFrame:
        piece = next(self._pieces)
        self.rows += piece.height
        return piece


def _keyed(pieces: Iterator[pl.DataFrame], by: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], pl.DataFrame]]:
    """The pieces of each partition with its values."""
    for piece in pieces:
        if not by:
            yield (), piece
            continue
        yield from piece.partition_by(by, as_dict=True, maintain_order=True).items()


def _text(name: str, kind: pl.DataType) -> pl.Expr:
    """A column in a form that CSV has."""
    if kind == pl.Binary:
        return pl.col(name).bin.encode("hex")
    return pl.col(name)
