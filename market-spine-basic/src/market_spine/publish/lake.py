"""The lake: every version of every row as files that any engine reads as of any moment.

Files are immutable, one for each partition of a table, and ``_current.json`` says which belong together. A publication
adds files, replaces ``_current.json`` last, and removes what no reader can use any more.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import polars as pl

from market_spine import __version__, registry
from market_spine.errors import UsageError
from market_spine.publish.lakeplace import CURRENT
from market_spine.store import published
from market_spine.store.lakeviews import Published, scripts

if TYPE_CHECKING:
    from market_spine.core.domain import Domain
    from market_spine.core.partition import Partition
    from market_spine.core.schema import Table
    from market_spine.publish.lakeplace import LakePlace
    from market_spine.read.spine import Spine

GRACE = timedelta(hours=24)
"""How long a file stays that a later publication replaced."""
_TOGETHER = 200
_ROWS = 250_000
"""Partitions, and about how many rows, that are read together."""
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]")


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


def publish(spine: Spine, to: str, place: LakePlace) -> LakeResult:
    """Bring a lake up to a store's latest commit; readers see it as it was, or as it is then.

    Args:
        spine: a handle on the present.
        to: what the user calls the place.
        place: where.

    Raises:
        UsageError: something else lies there, or what another store published.
        StoreLocked: another process publishes there, or did so meanwhile.
        StoreUnavailable: it cannot be written.
        StoreError: the database cannot be read.
    """
    with place.publishing():
        before = place.current()
        entries = published.read_entries(spine.store)
        if before is not None:
            _check(before, entries)
        elif entries.is_empty():
            return LakeResult(to, "parquet", "unchanged", None, (), 0)
        work = _Work(spine, place, entries, before or {"tables": {}, "columns": {}, "replaced": []})
        work.write()
        through = _text(entries["committed_at"].max())
        said = work.document(through, spine.store.now())
        # Before the commit: what others write who begin after it belongs to them, and who began earlier cannot commit.
        left = sorted(set(place.files()) - _used(said))
        if work.written or before is None or left:
            place.settle([each.name for each in work.written])
            place.commit(json.dumps(said, indent=1).encode())
        shown = [Published(name, work.schemas[name], files, place.address) for name, files in work.files.items()]
        for name, sql in scripts(shown, through).items():
            place.put(name, sql.encode())
        for path in left:
            place.remove(path)
    status = "published" if work.written else "unchanged"
    return LakeResult(to, "parquet", status, through, tuple(work.written), len(left))


def _text(moment: Any) -> str:
    return str(moment.isoformat(timespec="microseconds"))


def _check(before: Mapping[str, Any], entries: pl.DataFrame) -> None:
    """Raise UsageError if what was published is not how the store's history began."""
    through = datetime.fromisoformat(before["published_through"])
    if published.digest(entries.filter(pl.col("committed_at") <= through)) != before["history"]:
        raise UsageError(
            f"--to: the history published there through {before['published_through']} is not this store's: it is"
            " another store, or was rebuilt differently",
            hint=f"publish to another folder, or remove {CURRENT} there: everything is then published anew",
        )


class _Work:
    """One publication: what it has to write, and what it wrote.

    Attributes:
        files: table to its files.
        schemas: table to its columns.
        written: tables of which something was written.
    """

    def __init__(self, spine: Spine, place: LakePlace, entries: pl.DataFrame, before: Mapping[str, Any]) -> None:
        self._store = spine.store
        self._place = place
        self._entries = entries
        self._before = before
        self._id = uuid4().hex[:12]
        self.files: dict[str, list[str]] = {}
        self.schemas: dict[str, Mapping[str, pl.DataType]] = {}
        self.written: list[TablePublished] = []
        through = before.get("published_through")
        self._new = entries
        if through is not None:
            self._new = entries.filter(pl.col("committed_at") > datetime.fromisoformat(through))

    def write(self) -> None:
        """Write the files of every partition that something came to, or went from, since the last publication."""
        present = {each.name for each in self._store.described()}
        for domain in registry.domains():
            for table in domain.tables:
                if table.name in present:
                    self._table(domain, table)
        self._manifest()
        if gone := sorted(set(self._before["tables"]).difference(self.files)):
            raise UsageError(
                f"--to: the tables {', '.join(gone)} are published there, and this installation does not know them",
                hint="publish from where their domain is installed, or to another folder",
            )

    def _table(self, domain: Domain, table: Table) -> None:
        schema = published.schema_of(table)
        whole = self._before["columns"].get(table.name) != _described(schema)
        entries = self._entries if whole else self._new
        rows = self._entries.filter(pl.col("domain") == domain.name).group_by("partition_key").agg(pl.sum("row_count"))
        sizes = dict(rows.iter_rows())
        touching = (pl.col("stage") == table.stage) | (pl.col("status") == "emptied")
        own = (pl.col("domain") == domain.name) & touching
        keys = entries.filter(own)["partition_key"].unique().sort()
        partitions = [domain.partition(key) for key in keys]
        made: dict[str, int] = {}
        for together in _together(partitions, sizes):
            frame = published.read_versions(self._store, table, together, self._entries)
            for key, piece in frame.partition_by(table.partition_by, as_dict=True, maintain_order=True).items():
                made[self._write(table.name, [*map(str, key)], piece)] = piece.height
        self._keep(table.name, schema, made, whole=whole)

    def _manifest(self) -> None:
        """Manifest entries by the month of their moment: those of past months stay as they are."""
        frame = published.published_entries(self._entries)
        schema = dict(frame.schema)
        whole = self._before["columns"].get(published.ENTRIES) != _described(schema)
        month = pl.col("committed_at").dt.strftime("%Y-%m")
        touched = (self._entries if whole else self._new).select(month).to_series().unique().sort()
        pieces = {each: frame.filter(month == each) for each in touched}
        made = {self._write(published.ENTRIES, [each], piece): piece.height for each, piece in pieces.items()}
        self._keep(published.ENTRIES, schema, made, whole=whole)

    def _write(self, table: str, values: Sequence[str], frame: pl.DataFrame) -> str:
        """Write the rows of one partition; returns the file's name, whose last part alone differs the next time."""
        shown = _UNSAFE.sub("_", "_".join(values))[:80]
        name = hashlib.sha256("|".join(values).encode()).hexdigest()[:12]
        path = f"{table}/{shown}-{name}-{self._id}.parquet"
        self._place.write(path, frame)
        return path

    def _keep(self, table: str, schema: Mapping[str, pl.DataType], made: Mapping[str, int], *, whole: bool) -> None:
        """Say which files a table has now: those made take the place of the earlier ones of their partitions."""
        earlier = [] if whole else self._before["tables"].get(table, [])
        touched = {_partition(path) for path in made}
        kept = [path for path in earlier if _partition(path) not in touched]
        files = sorted([*kept, *made])
        if not files:
            # Readers find its columns.
            files = [self._write(table, ["none"], pl.DataFrame(schema=schema))]
            made = {files[0]: 0}
        elif len(files) > 1:
            files = [path for path in files if not path.startswith(f"{table}/none-")]
        self.files[table] = files
        self.schemas[table] = schema
        if made:
            self.written.append(TablePublished(table, len(made), sum(made.values())))

    def document(self, through: str, now: datetime) -> dict[str, Any]:
        """What ``_current.json`` says."""
        kept = {path for files in self.files.values() for path in files}
        replaced = {path for files in self._before["tables"].values() for path in files} - kept
        waiting = [each for each in self._before["replaced"] if not _over(each["at"], now)]
        return {
            "published_through": through,
            "publication": self._id,
            "tables": self.files,
            "columns": {name: _described(schema) for name, schema in self.schemas.items()},
            "history": published.digest(self._entries),
            "replaced": [*waiting, *({"file": path, "at": _text(now)} for path in sorted(replaced))],
            "market_spine": __version__,
        }


def _described(schema: Mapping[str, pl.DataType]) -> dict[str, str]:
    return {name: str(kind) for name, kind in schema.items()}


def _partition(path: str) -> str:
    return path.rpartition("-")[0]


def _together(partitions: Sequence[Partition], sizes: Mapping[str, int]) -> Iterator[list[Partition]]:
    """Partitions in groups that are read together."""
    group: list[Partition] = []
    rows = 0
    for each in partitions:
        size = sizes.get(each.key, 0)
        if group and (len(group) == _TOGETHER or rows + size > _ROWS):
            yield group
            group, rows = [], 0
        group.append(each)
        rows += size
    if group:
        yield group


def _over(at: str, now: datetime) -> bool:
    return datetime.fromisoformat(at) + GRACE <= now


def _used(said: Mapping[str, Any]) -> set[str]:
    """What readers may use: the files that belong together, and those replaced not longer ago than ``GRACE``."""
    return {path for files in said["tables"].values() for path in files} | {each["file"] for each in said["replaced"]}
