"""Reading SQL in the browser: the statement and the moment are in the address, within limits of time and rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from market_spine.errors import UsageError
from market_spine.web.pages import PageMissing, Record, Visit
from market_spine.web.reading import Reading

SECONDS = 2.0
"""How long a statement may take for a page."""
ROWS = 1_000
"""Most rows on a page."""
EXPORT_SECONDS, EXPORT_ROWS = 30.0, 100_000
"""The same for what is saved."""


def record(reading: Reading, visit: Visit) -> Record:
    """The answer to the statement in the address; without one, what there is to ask."""
    statement = asked(reading, visit, needed=False)
    return {
        "today": reading.today.isoformat(),
        "sql": statement,
        "answer": _answer(reading, statement) if statement else None,
        "relations": _relations(reading),
        "limits": {
            "seconds": SECONDS,
            "rows": ROWS,
            "export_seconds": EXPORT_SECONDS,
            "export_rows": EXPORT_ROWS,
        },
    }


def asked(reading: Reading, visit: Visit, *, needed: bool) -> str:
    """The statement in the address.

    Raises:
        PageMissing: SQL is not answered by this console.
        UsageError: there is none, though one is needed.
    """
    if not reading.console.sql:
        raise PageMissing("this console answers no SQL", hint="whoever starts it can allow it with --sql")
    statement = visit.query.get("sql", "").strip()
    if needed and not statement:
        raise UsageError("sql: a statement is needed", hint="such as /query.csv?sql=SELECT+1")
    return statement


def _answer(reading: Reading, statement: str) -> dict[str, Any]:
    started = time.monotonic()
    try:
        with reading.ask(statement, SECONDS) as rows:
            columns = list(rows.columns)
            found: list[list[Any]] = []
            for batch in rows.batches():
                found += [list(row) for row in batch[: ROWS + 1 - len(found)]]
                if len(found) > ROWS:
                    break
    except UsageError as error:
        return {"error": error.message, "hint": error.hint, "columns": [], "rows": [], "more": False, "seconds": None}
    return {
        "error": None,
        "hint": "",
        "columns": columns,
        "rows": found[:ROWS],
        "more": len(found) > ROWS,
        "seconds": round(time.monotonic() - started, 3),
    }


def _relations(reading: Reading) -> list[dict[str, Any]]:
    """Tables and views of the domains, with what they mean."""
    return [
        {
            "name": table.name,
            "doc": table.doc,
            "columns": [column.name for column in table.columns],
        }
        for domain in reading.console.all_domains
        for table in domain.tables
    ] + [
        {"name": view.name, "doc": view.doc, "columns": []}
        for domain in reading.console.all_domains
        for view in domain.views
    ]


def batches(reading: Reading, statement: str) -> Iterator[tuple[list[str], list[tuple[Any, ...]]]]:
    """The columns, and rows piece by piece, of a statement whose answer is saved.

    Raises:
        UsageError: the statement's own errors, and for more than ``EXPORT_ROWS`` rows.
    """
    given = 0
    with reading.ask(statement, EXPORT_SECONDS) as rows:
        columns = list(rows.columns)
        empty = True
        for batch in rows.batches():
            given += len(batch)
            if given > EXPORT_ROWS:
                raise UsageError(
                    f"the answer has more than {EXPORT_ROWS} rows", hint="ask for less, or use market-spine query"
                )
            empty = False
            yield columns, list(batch)
        if empty:
            yield columns, []
