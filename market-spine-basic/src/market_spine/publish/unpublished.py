"""What a store has that a lake has not: the partitions that something came to, or went from, since a publication."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from market_spine import __version__, registry
from market_spine.core.partition import together
from market_spine.errors import UsageError
from market_spine.publish.lakeplace import CURRENT
from market_spine.store import published

if TYPE_CHECKING:
    from market_spine.core.domain import Domain
    from market_spine.core.partition import Partition
    from market_spine.core.schema import Table
    from market_spine.store.reader import StoreReader

GRACE = timedelta(hours=24)
"""How long a file stays that a later publication replaced."""
_TOGETHER = 200
"""Most partitions that are read together."""


class TablePublished(NamedTuple):
    """What a publication wrote of one table."""

    name: str
    files: int
    rows: int


class LakeResult(NamedTuple):
    """What was published; ``status`` is ``published``, or ``unchanged`` if there was nothing new."""

    to: str
    format: str
    status: str
    published_through: str | None
    tables: tuple[TablePublished, ...]
    removed: int

    def document(self) -> dict[str, Any]:
        """Its JSON form."""
        return {
            **self._asdict(),
            "market_spine": __version__,
            "files": sum(each.files for each in self.tables),
            "rows": sum(each.rows for each in self.tables),
            "tables": [each._asdict() for each in self.tables],
        }


class TableUnpublished:
    """What a lake has not of one table.

    Attributes:
        table: its declaration.
        schema: its columns in a lake.
        whole: a lake has nothing of it, or has it with other columns.
        groups: the partitions to be written; those of a group are read together.
    """

    def __init__(
        self, table: Table, whole: bool, groups: Sequence[Sequence[Partition]], unpublished: Unpublished
    ) -> None:
        self.table = table
        self.schema = published.schema_of(table)
        self.whole = whole
        self.groups = groups
        self._unpublished = unpublished

    def read(self, group: Sequence[Partition]) -> pl.DataFrame:
        """Every version of the rows of some partitions."""
        return published.read_versions(self._unpublished.store, self.table, group, self._unpublished.entries)


class Unpublished:
    """What a store has that a lake has not.

    Args:
        store: the store, in the present.
        before: what the last publication said, if there was one: ``published_through``, ``history`` and ``columns``.
        form: what the lake consists of.

    Attributes:
        store: the store.
        entries: every manifest entry.
        new: those that are not published.
        manifest: whether a lake has nothing of the manifest, or has it with other columns.

    Raises:
        UsageError: what was published is not how the store's history began, or is of another form.
    """

    def __init__(self, store: StoreReader, before: Mapping[str, Any] | None, form: str) -> None:
        self.store = store
        self.entries = self.new = published.read_entries(store)
        self._columns: Mapping[str, Any] = before["columns"] if before else {}
        if before is not None:
            if (held := before.get("format", "parquet")) != form:
                raise UsageError(f"--to: a lake of format {held} lies there", hint="name another place")
            self.new = self._checked(before)
        self.manifest = self._other(published.ENTRIES, published.published_entries(self.entries).schema)

    @property
    def through(self) -> str:
        """The moment of the last commit: the watermark to be."""
        return moment_text(self.entries["committed_at"].max())

    @property
    def history(self) -> str:
        """What tells the history from another."""
        return published.digest(self.entries)

    def _checked(self, before: Mapping[str, Any]) -> pl.DataFrame:
        through = datetime.fromisoformat(before["published_through"])
        if published.digest(self.entries.filter(pl.col("committed_at") <= through)) != before["history"]:
            raise UsageError(
                f"--to: the history published there through {before['published_through']} is not this store's: it is"
                " another store, or was rebuilt differently",
                hint=f"publish to another folder, or remove {CURRENT} there: everything is then published anew",
            )
        return self.entries.filter(pl.col("committed_at") > through)

    def tables(self) -> Iterator[TableUnpublished]:
        """Every table of the store, with what a lake has not of it.

        Raises:
            UsageError: after the last one, if a lake has tables that no domain here declares.
        """
        present = {each.name for each in self.store.described()}
        gone = set(self._columns) - {published.ENTRIES}
        for domain in registry.domains():
            for table in domain.tables:
                if table.name in present:
                    gone.discard(table.name)
                    yield self._table(domain, table)
        if gone:
            raise UsageError(
                f"--to: the tables {', '.join(sorted(gone))} are published there, and this installation does not know"
                " them",
                hint="publish from where their domain is installed, or to another folder",
            )

    def _table(self, domain: Domain, table: Table) -> TableUnpublished:
        whole = self._other(table.name, published.schema_of(table))
        rows = self.entries.filter(pl.col("domain") == domain.name).group_by("partition_key").agg(pl.sum("row_count"))
        touching = (pl.col("stage") == table.stage) | (pl.col("status") == "emptied")
        own = (pl.col("domain") == domain.name) & touching
        keys = (self.entries if whole else self.new).filter(own)["partition_key"].unique().sort()
        partitions = [domain.partition(key) for key in keys]
        sizes = dict(rows.iter_rows())
        groups = [*together(partitions, lambda each: sizes.get(each.key, 0), _TOGETHER)]
        return TableUnpublished(table, whole, groups, self)

    def _other(self, name: str, schema: Mapping[str, pl.DataType]) -> bool:
        return self._columns.get(name) != described(schema)


def described(schema: Mapping[str, pl.DataType]) -> dict[str, str]:
    """Columns as a lake says them."""
    return {name: str(kind) for name, kind in schema.items()}


def moment_text(moment: Any) -> str:
    """A moment as a lake says it."""
    return str(moment.isoformat(timespec="microseconds"))


def is_over(at: str, now: datetime) -> bool:
    """Whether no reader can still use what was replaced at a moment."""
    return datetime.fromisoformat(at) + GRACE <= now
