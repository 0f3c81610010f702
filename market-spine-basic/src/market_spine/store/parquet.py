"""Rows that come piece by piece as one Parquet file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import IO

import polars as pl
from polars.io.plugins import register_io_source


def lazily(pieces: Iterable[pl.DataFrame], schema: Mapping[str, pl.DataType], failed: list[Exception]) -> pl.LazyFrame:
    """Frames of one schema as a lazy frame that can be read once; what stops them is put into ``failed``."""

    def read(*_: object) -> Iterator[pl.DataFrame]:
        try:
            yield from pieces
        except Exception as error:
            # Polars tells only its text.
            failed.append(error)
            raise

    return register_io_source(read, schema=dict(schema))


def write_parquet(
    pieces: Iterable[pl.DataFrame], schema: Mapping[str, pl.DataType], target: Path | IO[bytes], *, sync: bool = False
) -> None:
    """Write frames of one schema as they come; memory holds a few of them.

    Raises:
        OSError: it cannot be written.
        Exception: what stops the frames.
    """
    failed: list[Exception] = []
    coming = iter(pieces)
    first = next(coming, pl.DataFrame(schema=schema))
    second = next(coming, None)
    try:
        if second is None and not sync:
            first.write_parquet(target, compression="zstd")  # of many small files each a third faster
            return
        every = (piece for piece in chain([first, second], coming) if piece is not None)
        lazily(every, schema, failed).sink_parquet(
            target, compression="zstd", sync_on_close="all" if sync else None, maintain_order=True
        )
    except pl.exceptions.PolarsError as error:
        if failed:
            raise failed[0] from None
        raise OSError(str(error)) from error
