"""A user's statement, as a database gets it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from market_spine.core.domain import Domain

MOST_ROWS = 1_000_000
"""Rows of an answer that are taken into memory together, at most."""


class Question(NamedTuple):
    """One statement.

    Attributes:
        sql: the statement, looked at by ``statements.check``.
        domains: whose tables and views it can read.
        moment: as of when, as ``moments.to_text`` spells it and settled; None: now.
        seconds: how long it may take until its last row was read.
    """

    sql: str
    domains: Sequence[Domain]
    moment: str | None
    seconds: float

    @property
    def names(self) -> list[str]:
        """The tables and views of the domains."""
        tables = [table.name for domain in self.domains for table in domain.tables]
        return [*tables, *(view.name for domain in self.domains for view in domain.views)]
