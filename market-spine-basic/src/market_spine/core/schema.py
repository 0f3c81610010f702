"""How a domain declares its tables and views; the store turns the declarations into SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["text", "integer", "float", "date", "boolean"]
"""Column types; ``core.kinds`` says what their values are. ``float`` is double precision."""


class Column(NamedTuple):
    """One column: its name, type, whether it may be NULL, and one line that says what it means."""

    name: str
    kind: Kind
    doc: str
    nullable: bool = True


class Table(NamedTuple):
    """A system-versioned table; physically ``<name>_versions``, with a view ``<name>`` of what is known now.

    Attributes:
        name: the view's name.
        columns: the data columns in order, without the versioning ones.
        key: the columns that identify a row among the rows known at one moment; never NULL.
        partition_by: the columns that hold the partition's values, in the order of the domain's
            partition fields. They are the scope of an ordinary replace.
        doc: one sentence for the data dictionary.
        stage: the stage that fills it: ``normalize``, ``calc`` or a window calculation's stage.
        laid_by: the columns by which one load's rows are laid down, so that those often read together lie
            together; empty: as they come, which is by key.
        grows: rows with new keys continue what is known: only removed and changed rows make a revision.
        bulk: its partitions come whole and in thousands of rows; an embedded store keeps them in columns. Such a
            table is replaced by equality on exactly its partition columns.
        history: a view ``<name>_history`` shows every version of every row, with the moments between which it was
            known.
        totals: the columns that can be summed over its rows, the telling one first: what ``changes`` compares.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition_by: tuple[str, ...]
    doc: str
    stage: str = "calc"
    laid_by: tuple[str, ...] = ()
    grows: bool = False
    bulk: bool = False
    totals: tuple[str, ...] = ()
    history: bool = False

    @property
    def versions(self) -> str:
        """The physical table's name."""
        return f"{self.name}_versions"

    @property
    def names(self) -> tuple[str, ...]:
        """The data columns' names in order."""
        return tuple(column.name for column in self.columns)

    def frame(self, rows: Iterable[Sequence[Any]]) -> pl.DataFrame:
        """Rows of Python values in the order of the columns as a frame, typed as declared and sorted by key."""
        import polars as pl

        from market_spine.core.kinds import frame_types

        return pl.DataFrame(list(rows), schema=frame_types(self), orient="row").sort(self.key)


class View(NamedTuple):
    """A declared view over tables and other views: recreated as a whole when its declaration changes.

    Attributes:
        name: the view's name.
        sql: one SELECT that SQLite and PostgreSQL both understand, with unqualified names.
        depends_on: names of the tables and views it reads; it exists once all of them do.
        doc: one sentence for the data dictionary.
    """

    name: str
    sql: str
    depends_on: tuple[str, ...]
    doc: str
