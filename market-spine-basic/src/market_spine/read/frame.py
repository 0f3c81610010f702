"""Rows that were asked for: a question with a fixed moment, answered whenever its rows are wanted."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from market_spine.core.ports import FrameStream
from market_spine.errors import StoreUnavailable, UsageError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

_EXTRA = "pip install 'market-spine-basic[pandas]'"
_SHOWN = 3
"""Captures that ``repr`` names."""
CAPTURE = "capture_id"

Open = Callable[[], AbstractContextManager[FrameStream]]
"""Asks the store; each time the rows are the same."""


class Frame:
    """The rows of a table or a statement, as they were known at a moment.

    Rows are read when they are wanted, each time anew and always the same: the moment is fixed. Whatever takes the
    Arrow stream protocol takes a frame as it is: ``polars.DataFrame(frame)``, ``duckdb.sql("FROM frame")``,
    ``pyarrow.table(frame)``.

    Attributes:
        name: the table's or view's name; ``statement`` of one in SQL.
        as_of: the moment whose knowledge the rows are, UTC: that of the handle, or of the latest commit when they
            were asked for; None where nothing had been committed yet.
    """

    def __init__(self, name: str, as_of: datetime | None, rows: Open, brought: Open, limit: int | None = None) -> None:
        self.name = name
        self.as_of = as_of
        self._rows = rows
        self._brought = brought
        self._limit = limit

    @cached_property
    def schema(self) -> Mapping[str, pl.DataType]:
        """Column to its type in Polars. Raises UsageError and StoreError, as everything that reads does."""
        with self._rows() as rows:
            return dict(rows.schema)

    @cached_property
    def captures(self) -> tuple[str, ...]:
        """The captures that brought the rows, sorted; none where a statement does not tell ``capture_id``."""
        with self._brought() as rows:
            if CAPTURE not in rows.schema:
                return ()
            found: set[str | None] = set()
            for piece in rows.frames():
                found.update(piece[CAPTURE].unique())
        return tuple(sorted(name for name in found if name is not None))

    def batches(self) -> Iterator[pl.DataFrame]:
        """The rows piece by piece, as Polars frames, at least one: memory holds one of them at a time."""
        import polars as pl

        left = sys.maxsize if self._limit is None else self._limit
        with self._rows() as rows:
            # Also where there are no rows the columns have their types.
            nothing = pl.DataFrame(schema=dict(rows.schema))
            given = 0
            for piece in rows.frames() if left else ():
                yield piece.head(left)
                given += 1
                left -= piece.height
                if left <= 0:
                    return
            if not given:
                yield nothing

    def polars(self) -> pl.DataFrame:
        """All rows as a Polars frame."""
        import polars as pl

        return pl.concat(self.batches())

    def arrow(self) -> pa.Table:
        """All rows as a PyArrow table, in types that every reader of Arrow knows. Needs the extra ``[pandas]``."""
        import polars as pl

        _need("pyarrow")
        return self.polars().to_arrow(compat_level=pl.CompatLevel.oldest())

    def pandas(self) -> pd.DataFrame:
        """All rows as a pandas frame of Arrow's types: whole numbers stay whole and dates dates beside missing ones.

        Needs the extra ``[pandas]``.
        """
        _need("pyarrow")
        _need("pandas")
        return self.polars().to_pandas(use_pyarrow_extension_array=True)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the rows to a Parquet file, piece by piece; the file is there whole, or not at all.

        Raises:
            StoreUnavailable: it cannot be written.
        """
        from market_spine.store.parquet import write_parquet

        target = Path(path)
        # Beside the file, so that it can take its place at once.
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            write_parquet(self.batches(), self.schema, part, sync=True)
            part.replace(target)
        except OSError as error:
            raise StoreUnavailable(f"{target} cannot be written: {error.strerror or error}", kind="output") from error
        finally:
            with suppress(OSError):
                part.unlink()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows as an Arrow stream, piece by piece."""
        from market_spine.store.parquet import lazily

        stream: Any = lazily(self.batches(), self.schema, []).collect_batches(lazy=True)
        return stream.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        columns = ", ".join(f"{name} {kind}" for name, kind in self.schema.items())
        moment = "before the first commit" if self.as_of is None else self.as_of.isoformat()
        named = ", ".join(self.captures[:_SHOWN]) + (", ..." if len(self.captures) > _SHOWN else "")
        brought = f"{len(self.captures)} captures: {named}" if self.captures else "no captures"
        return f"<Frame {self.name} as of {moment}; {brought}; {columns}>"


def _need(library: str) -> None:
    from importlib import import_module

    try:
        import_module(library)
    except ImportError as error:
        raise UsageError(f"this needs {library}, which is not installed", hint=_EXTRA) from error
