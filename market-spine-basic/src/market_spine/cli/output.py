"""The only writer of stdout: results, tables, JSON documents and files' bytes."""

from __future__ import annotations

import atexit
import io
import json
import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from market_spine.app.scheduling import SchedulerResult
from market_spine.errors import UsageError
from market_spine.wording import printable

if TYPE_CHECKING:
    import polars as pl


def prepare_streams() -> None:
    """Let stdout and stderr take any text: away from a terminal as UTF-8, also where the locale says otherwise.

    One that was closed before the program started swallows what is written to it.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - lives as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def settle() -> None:
    """Let go of a stderr that cannot be written: Python would end with a code of its own for that."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - lives as long as the process


def end_at_once(code: int) -> NoReturn:
    """End the process without waiting for its threads."""
    settle()
    os._exit(code)


def leave(code: int) -> NoReturn:
    """End the process, once everything is done that is registered for its end.

    The interpreter is not taken apart: that frees one by one what the system frees at once, for a thirtieth of a run
    that finds nothing changed. Where Python would wait for a thread, it does.
    """
    if all(each.daemon or each is threading.main_thread() for each in threading.enumerate()):
        atexit._run_exitfuncs()  # noqa: SLF001 - as multiprocessing does, there is no other way to have it done
        if sys.stdout is not None:
            sys.stdout.flush()
        end_at_once(code)
    sys.exit(code)


def write(text: str) -> None:
    """Write a line of text to stdout, what could move the cursor or begin a line of its own spelt out."""
    _write(printable(text))


def write_document(text: str) -> None:
    """Write a JSON document, which spells out whatever is not plain."""
    _write(text)


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_bytes(data: bytes) -> None:
    """Write bytes to stdout as they are."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_json(document: Any) -> None:
    """Write one JSON document."""
    write_document(json.dumps(document, indent=2, default=str))


def write_result(result: SchedulerResult, *, as_json: bool, warned: bool = False) -> None:
    """Write a scheduler result: as JSON, else as a summary for people; a usage error as one line on stderr.

    ``warned``: whoever reads stdout has seen the warnings already.
    """
    if as_json:
        write_document(result.to_json())
        return
    if result.error and result.error.kind == UsageError.default_kind:
        write_error(asdict(result.error), as_json=False)
        return
    from market_spine.cli.summary import summary_lines

    for line in summary_lines(result, warnings=not warned):
        _write(line)


def write_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table: drawn with Rich on a terminal wide enough, in aligned plain columns elsewhere."""
    texts = [["" if value is None else printable(str(_spelt(value))) for value in row] for row in rows]
    columns = [*map(printable, columns)]
    widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console(file=sys.stdout)
        # Rich would cut keys and identifiers short to fit; plain lines wrap and lose nothing.
        if sum(widths) + 3 * len(widths) + 1 <= console.width:
            table = Table(*columns)
            for row in texts:
                table.add_row(*map(Text, row))
            console.print(table)
            return
    for row in (columns, *texts):
        _write("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def write_csv(columns: Sequence[str], batches: Iterable[Sequence[Sequence[Any]]]) -> None:
    """Write rows as CSV (RFC 4180 quoting, LF) as they come; NULL is an empty field, booleans are true and false."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    shown = _on_terminal if sys.stdout.isatty() else _spelt
    pieces = iter(batches)
    # An error before the first row leaves stdout alone.
    first = next(pieces, ())
    writer.writerow(map(shown, columns))
    for batch in chain([first], pieces):
        writer.writerows([shown(value) for value in row] for row in batch)
    sys.stdout.flush()


def write_json_rows(batches: Iterable[Sequence[Mapping[str, Any]]]) -> None:
    """Write one JSON array of objects as they come; an error after the first of them leaves it unfinished.

    Raises:
        UsageError: a number is infinite or none.
    """
    written = 0
    for batch in batches:
        try:
            texts = [json.dumps(row, indent=2, allow_nan=False).replace("\n", "\n  ") for row in batch]
        except ValueError as error:
            raise UsageError("JSON has no number that is infinite or none", hint="use --format csv") from error
        for text in texts:
            sys.stdout.write(f"{',' if written else '['}\n  {text}")
            written += 1
        _begun.update(json=bool(written))
    write_document("\n]" if written else "[]")
    _begun.clear()


def write_frame(rows: pl.DataFrame, form: str) -> None:
    """Write a frame's rows as ``csv``, ``json`` or ``parquet``: dates in ISO, except in Parquet, which has a type."""
    import polars as pl

    if form == "parquet":
        if sys.stdout.isatty():
            raise UsageError("--format parquet writes bytes", hint="redirect stdout to a file")
        rows.write_parquet(bytes_out())
        return
    plain = rows.with_columns(pl.col(pl.Date).cast(pl.String))
    if form == "csv":
        write_csv(plain.columns, [plain.rows()])
    else:
        write_json_rows([plain.to_dicts()])


_begun: dict[str, bool] = {}
"""What has been written in part, and so cannot be followed by another document."""


def bytes_out() -> IO[bytes]:
    """Stdout for bytes."""
    return sys.stdout.buffer


def _spelt(value: Any) -> Any:
    """Booleans as JSON spells them."""
    return str(value).lower() if isinstance(value, bool) else value


def _on_terminal(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else _spelt(value)


def write_error(document: Mapping[str, str], *, as_json: bool) -> None:
    """Tell an error: as the one JSON document on stdout, or as one line on stderr."""
    if as_json and not _begun:
        write_json({"error": dict(document)})
        return
    hint = f" ({document['hint']})" if document["hint"] else ""
    with suppress(OSError):  # a stderr that cannot be written is no reason for another outcome
        sys.stderr.write(f"error: {printable(document['message'] + hint)}\n")
