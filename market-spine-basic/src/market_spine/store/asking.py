"""What a user asks for, as a database gets it: a statement, or rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from market_spine.core.domain import Domain
from market_spine.core.schema import Table
from market_spine.errors import UsageError

MOST_ROWS = 1_000_000
"""Rows of an answer that are taken into memory together, at most."""


class Question(NamedTuple):
    """One statement.

    Attributes:
        sql: the statement, looked at by ``statements.check``.
        domains: whose tables and views it can read.
        moment: as of when, as ``moments.to_text`` spells it and settled; None: now.
        seconds: how long it may take until its last row was read.
        pinned: the moment was the latest commit's; while it still is, the present is asked.
        spill: a folder for what an embedded store's memory does not hold; None: nothing goes to the disk.
        narrow: makes of the columns of the answer, name to kind, the statement that is run in its place.
    """

    sql: str
    domains: Sequence[Domain]
    moment: str | None
    seconds: float
    pinned: bool = False
    spill: str | None = None
    narrow: Callable[[Mapping[str, str]], str] | None = None

    @property
    def names(self) -> list[str]:
        """The tables and views of the domains."""
        tables = [table.name for domain in self.domains for table in domain.tables]
        return [*tables, *(view.name for domain in self.domains for view in domain.views)]


class Condition(NamedTuple):
    """What a row's value must be, in the values of frames: one of ``values``, and from ``low`` to ``high``."""

    name: str
    values: tuple[Any, ...] | None = None
    low: Any = None
    high: Any = None


class Choice(NamedTuple):
    """Rows and columns of one declared table.

    Attributes:
        table: which.
        columns: names of its columns, of ``capture_id`` and ``captured_at``.
        conditions: all must hold.
        domains: whose tables and views there are.
        moment: as in ``Question``, and so ``seconds`` and ``pinned``.
        together: rows of one partition come together.
    """

    table: Table
    columns: Sequence[str]
    conditions: Sequence[Condition]
    domains: Sequence[Domain]
    moment: str | None
    seconds: float
    pinned: bool = False
    together: bool = False


Asked = TypeVar("Asked", Question, Choice)


def at(asked: Asked, latest: str | None) -> Asked:
    """What is asked of a state of the store, by the moment of its latest commit."""
    return asked._replace(moment=None) if asked.pinned and latest == asked.moment else asked


def refuse_same_names(columns: Sequence[str]) -> None:
    """Raise UsageError if two columns have one name, by which frames and files keep values apart."""
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise UsageError(
            f"several columns of the answer are called {', '.join(twice)}",
            hint="name each with AS, or use --format csv",
        )
