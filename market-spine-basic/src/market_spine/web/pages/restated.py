"""The rows of one thing that the sources restated: what was known of them, until when, and what since."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from market_spine.core.schema import Table
from market_spine.core.subject import Subject
from market_spine.web.reading import Reading

MOST_RESTATED = 40
"""Most rows that a page shows."""


def restated(reading: Reading, subject: Subject, name: str, start: date | None) -> list[dict[str, Any]]:
    """Rows that name it and were changed or taken away, the latest first, from the tables that show every version."""
    found = [
        each
        for short, domain in reading.console.domains.items()
        for table in domain.tables
        if table.history and subject.column in table.names
        for each in _closed(reading, short, table, {subject.column: name}, start)
    ]
    found.sort(key=lambda each: (each["at"], each["table"], str(each["key"])), reverse=True)
    return found[:MOST_RESTATED]


def _closed(
    reading: Reading, short: str, table: Table, where: dict[str, Any], start: date | None
) -> Iterator[dict[str, Any]]:
    known = reading.known(reading.console.domains[short])
    # Of what came once no row was restated: all that would be read of it are rows that stand.
    moved = [key.split("|") for key, own in known.items() if len(own.captures) > 1 or own.retracted]
    if not moved:
        return
    parts = {name: sorted({values[at] for values in moved}) for at, name in enumerate(table.partition_by)}
    where = {**parts, **where}
    columns = [*table.names, "known_from", "known_until"]
    rows = reading.rows(f"{table.name}_history", columns=columns, where=where, start=start).to_dicts()
    since = {(*(row[name] for name in table.key), row["known_from"]): row for row in rows}
    for row in rows:
        if row["known_until"] is None:
            continue
        after = since.get((*(row[name] for name in table.key), row["known_until"]))
        values = [name for name in table.names if name not in table.key and (after is None or row[name] != after[name])]
        yield {
            "domain": short,
            "table": table.name,
            "partition_key": "|".join(str(row[name]) for name in table.partition_by),
            "key": {name: row[name] for name in table.key if name not in where},
            "at": str(row["known_until"]),
            "old": {name: row[name] for name in values},
            "new": {name: after[name] for name in values} if after else None,
        }
