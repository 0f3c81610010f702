"""How readers ask for rows of a table or view, and what they find of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Between(NamedTuple):
    """Values from a lowest to a highest, both included; None: without end."""

    low: Any = None
    high: Any = None


class RelationInfo(NamedTuple):
    """A table or view as readers find it.

    Attributes:
        name: its name.
        sort: ``table`` or ``view`` of a domain, or ``platform``.
        domain: full name of the domain that declares it; empty for the platform's own.
        columns: column to its kind, or ``moment`` or ``bytes``, in their order; other types are ``text``.
        partition_by: the columns on which conditions make a read fast.
        doc: what it is.
    """

    name: str
    sort: str
    domain: str
    columns: Mapping[str, str]
    partition_by: tuple[str, ...]
    doc: str

    def document(self) -> dict[str, Any]:
        """Its JSON form."""
        return {**self._asdict(), "columns": dict(self.columns), "partition_by": list(self.partition_by)}
