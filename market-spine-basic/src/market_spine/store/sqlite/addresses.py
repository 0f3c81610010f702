"""The address that SQLite itself gives to a row."""

from __future__ import annotations

from market_spine.core.schema import Table
from market_spine.errors import SchemaError

_NAMES = ("rowid", "_rowid_", "oid")
"""What it goes by; a column of the same name takes the name away."""


def row_address(table: Table) -> str:
    """The name of the address of a row in ``<name>_versions``; raises SchemaError if the columns leave it none."""
    taken = {name.lower() for name in table.names}
    for name in _NAMES:
        if name not in taken:
            return name
    raise SchemaError(
        f"{table.name} has the columns {', '.join(_NAMES)}, which leave SQLite no name for a row's address",
        hint="call one of them otherwise",
    )
