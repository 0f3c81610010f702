"""What a store holds, to compare it before and after, or with another store."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from market_spine.store.answering import AskingReader


def every_row(reader: AskingReader, names: Iterable[str], as_of: datetime | str | None = None) -> dict[str, list[str]]:
    """Read tables and views whole, in one statement.

    Args:
        reader: A store.
        names: Its tables and views.
        as_of: The moment to read them as of, as ``query`` takes it.

    Returns:
        Of each name its rows as the store spells them, sorted.
    """
    found: dict[str, list[str]] = {name: [] for name in sorted(names)}
    each = (f"SELECT '{name}', CAST(every_row AS VARCHAR) FROM \"{name}\" every_row" for name in found)  # noqa: S608 - names of tables
    for name, row in reader.query(" UNION ALL ".join(each), as_of).rows:
        found[name].append(row)
    return {name: sorted(rows) for name, rows in found.items()}
