"""What a statement answers, saved as CSV or Parquet: sent while it is made, within bounds."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from itertools import chain, islice
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from starlette.responses import Response, StreamingResponse

from market_spine.errors import StoreLocked, UsageError
from market_spine.web import rendering
from market_spine.web.console import Console
from market_spine.web.pages import Visit
from market_spine.web.pages.query import EXPORT_SECONDS, asked, batches
from market_spine.web.reading import reading
from market_spine.web.streaming import Give, pieces

if TYPE_CHECKING:
    from market_spine.web.reading import Reading

MOST_BYTES = 200_000_000
"""Most bytes of a Parquet file."""
AT_ONCE = 4
_running = BoundedSemaphore(AT_ONCE)


class _Pipe(io.RawIOBase):
    """A file whose bytes go on as pieces; what is behind them cannot be changed."""

    def __init__(self, give: Give) -> None:
        self._give = give
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._at += len(piece)
        if self._at > MOST_BYTES:
            raise UsageError(f"the answer has more than {MOST_BYTES:,} bytes", hint="use market-spine query")
        self._give(piece)
        return len(piece)


def _csv(found: Reading, statement: str, give: Give) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    headed = False
    for columns, rows in batches(found, statement):
        if not headed:
            writer.writerow(columns)
            headed = True
        writer.writerows([str(cell).lower() if isinstance(cell, bool) else cell for cell in row] for row in rows)
        give(text.getvalue().encode("utf-8", "backslashreplace"))
        text.seek(0)
        text.truncate()


def _parquet(found: Reading, statement: str, give: Give) -> None:
    with found.ask(statement, EXPORT_SECONDS) as rows:
        rows.write_parquet(_Pipe(give))  # type: ignore[arg-type]


WRITERS: dict[str, Callable[[Reading, str, Give], None]] = {"csv": _csv, "parquet": _parquet}


def export(console: Console, visit: Visit, ending: str) -> Response:
    """The answer to the statement in the address, to be saved.

    Raises:
        MarketSpineError: before the first row; later the answer breaks off.
    """
    as_of = visit.query.get("as_of")
    with reading(console, as_of) as found:
        statement = asked(found, visit, needed=True)
    if not _running.acquire(blocking=False):
        raise StoreLocked(f"{AT_ONCE} answers are being saved already", hint="try again when one has ended")

    def make(give: Give) -> None:
        try:
            with reading(console, as_of) as store:
                WRITERS[ending](store, statement, give)
        finally:
            _running.release()

    stream = pieces(make)
    # What is wrong with the statement is told before anything is sent.
    first = list(islice(stream, 1))
    headers = {"content-disposition": f'attachment; filename="query.{ending}"'}
    return StreamingResponse(chain(first, stream), media_type=rendering.TABLES[ending][1], headers=headers)
