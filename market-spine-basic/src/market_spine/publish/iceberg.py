"""The lake as Iceberg tables: of a catalog in the lake's folder, and of ``_current.json``, which names a state of each.

A table changes in one commit of its catalog. When all have, the catalog is told ``published_through``, and
``_current.json`` is replaced last.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import reduce
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import polars as pl

from market_spine import __version__
from market_spine.errors import MarketSpineError, StoreLocked, StoreUnavailable, UsageError
from market_spine.publish.place import sync
from market_spine.publish.unpublished import (
    GRACE,
    LakeResult,
    TablePublished,
    Unpublished,
    described,
    is_over,
    moment_text,
)
from market_spine.store import published

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table, Transaction

    from market_spine.core.partition import Partition
    from market_spine.publish.lakefolder import LakeFolder
    from market_spine.publish.unpublished import TableUnpublished
    from market_spine.read.spine import Spine

CATALOG, _FILE = "market_spine", "catalog.db"
"""Name of the catalog and of the namespace in it; the catalog's database."""
_UNSAFE = re.compile(r"[?#%]")
_PROPERTIES = {"write.metadata.previous-versions-max": "1000"}
"""Of each table; as many publications may find a reader within ``GRACE``."""


def publish_iceberg(spine: Spine, to: str, place: LakeFolder) -> LakeResult:
    """Bring a lake of Iceberg tables up to a store's latest commit.

    Args:
        spine: a handle on the present.
        to: what the user calls the place.
        place: where.

    Raises:
        UsageError: something else lies there, or what another store published, or paths there cannot be addresses.
        StoreLocked: another process publishes there, or wrote to its tables meanwhile.
        StoreUnavailable: it cannot be written.
        StoreError: the database cannot be read.
        MarketSpineError: kind ``missing_extra`` without pyiceberg.
    """
    if find_spec("pyiceberg") is None or find_spec("sqlalchemy") is None or find_spec("pyarrow") is None:
        raise MarketSpineError(
            "--format iceberg needs pyiceberg, which is not installed",
            hint="pip install 'market-spine-basic[iceberg]'",
            kind="missing_extra",
        )
    folder = Path(place.address)
    if _UNSAFE.search(place.address):
        raise UsageError(f"--to: {folder} has a ?, # or % in it, which addresses of files have not", hint="rename it")
    with place.publishing(), _translated(folder):
        before = place.current()
        unpublished = Unpublished(spine.store, before, "iceberg")
        if before is None and unpublished.entries.is_empty():
            return LakeResult(to, "iceberg", "unchanged", None, (), 0)
        work = _Work(unpublished, folder, before or {"tables": {}, "replaced": []}, spine.store.now())
        work.write()
        removed = work.finish(place) if work.written or work.is_due() else 0
    status = "published" if work.written else "unchanged"
    return LakeResult(to, "iceberg", status, unpublished.through, tuple(work.written), removed)


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    from pyiceberg.exceptions import CommitFailedException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except CommitFailedException as error:
        raise StoreLocked(
            f"--to: something else wrote to the tables in {folder} meanwhile", hint="leave them to market-spine alone"
        ) from error
    except SQLAlchemyError as error:
        raise StoreUnavailable(
            f"--to: the catalog {folder / _FILE} cannot be used: {type(error).__name__}",
            hint="end what holds it open; or remove it and _current.json: everything is then published anew",
            kind="output",
        ) from error


class _Work:
    """One publication.

    Attributes:
        written: tables of which something was written.
    """

    def __init__(self, unpublished: Unpublished, folder: Path, before: Mapping[str, Any], now: datetime) -> None:
        self._unpublished = unpublished
        self._folder = folder
        self._before = before
        self._now = now
        self._id = uuid4().hex[:12]
        self._catalog = _open(folder / _FILE, folder)
        self._there = {each[-1] for each in self._catalog.list_tables(CATALOG)} if before["tables"] else set()
        self._tables: dict[str, Table] = {}
        self._columns: dict[str, Mapping[str, str]] = {}
        self.written: list[TablePublished] = []

    def write(self) -> None:
        """Write every partition that something came to, or went from, since the last publication."""
        if not self._before["tables"]:
            # What a killed first publication left is nobody's yet.
            for each in self._catalog.list_tables(CATALOG):
                self._catalog.drop_table(each)
        for changed in self._unpublished.tables():
            self._table(changed)
        self._manifest()

    def _table(self, changed: TableUnpublished) -> None:
        table, fresh = self._held(changed.table.name, changed.schema, changed.table.partition_by, changed.whole)
        if not fresh and not changed.groups:
            return
        files, rows = set(_files(_home(table))), 0
        with table.transaction() as transaction:
            for group in changed.groups:
                frame = changed.read(group)
                rows += frame.height
                # A table that has just been made has nothing to take the place of.
                _write(transaction, frame, None if fresh else _of(changed.table.partition_by, group))
        self._note(table, files, rows)

    def _manifest(self) -> None:
        """Manifest entries from the first month on that has new ones."""
        unpublished = self._unpublished
        frame = published.published_entries(unpublished.entries)
        table, fresh = self._held(published.ENTRIES, dict(frame.schema), (), unpublished.manifest)
        if not fresh and unpublished.new.is_empty():
            return
        start = None
        if not fresh:
            first: Any = unpublished.new["committed_at"].min()
            start = first.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            frame = frame.filter(pl.col("committed_at") >= start)
        files = set(_files(_home(table)))
        with table.transaction() as transaction:
            _write(transaction, frame, None if start is None else _from("committed_at", start))
        self._note(table, files, frame.height)

    def _held(self, name: str, schema: Mapping[str, pl.DataType], by: Sequence[str], whole: bool) -> tuple[Table, bool]:
        """A table of the catalog, and whether it was made just now: in the place of one with other columns, too."""
        self._columns[name] = described(schema)
        key = (CATALOG, name)
        if name in self._there and not whole:
            self._tables[name] = self._catalog.load_table(key)
            return self._tables[name], False
        if name in self._there:
            self._catalog.drop_table(key)
        kinds = _arrow(pl.DataFrame(schema=schema)).schema
        where = f"file://{self._folder}/{name}/{self._id}"
        made = self._catalog.create_table_transaction(key, kinds, location=where, properties=_PROPERTIES)
        with made as transaction, transaction.update_spec() as spec:
            for column in by:
                spec.add_identity(column)
        self._tables[name] = self._catalog.load_table(key)
        return self._tables[name], True

    def _note(self, table: Table, before: set[Path], rows: int) -> None:
        """Let what was written be on the disk, and tell it."""
        made = set(_files(_home(table))) - before
        for path in made | {folder for each in made for folder in each.parents if folder.is_relative_to(self._folder)}:
            sync(path)
        data = sum(path.suffix == ".parquet" for path in made)
        self.written.append(TablePublished(table.name()[-1], data, rows))

    def is_due(self) -> bool:
        """Whether there is something that no reader can use any more."""
        return any(is_over(each["at"], self._now) for each in self._before["replaced"])

    def finish(self, place: LakeFolder) -> int:
        """Say what is published, and remove what no reader can use; returns the number of files."""
        for name, table in self._tables.items():
            self._tables[name] = self._expired(table)
        now = {
            name: table.metadata_location.removeprefix(f"file://{self._folder}/")
            for name, table in self._tables.items()
        }
        waiting = [each for each in self._before["replaced"] if not is_over(each["at"], self._now)]
        replaced = [path for name, path in self._before["tables"].items() if now[name] != path]
        said: dict[str, Any] = {
            "format": "iceberg",
            "published_through": self._unpublished.through,
            "publication": self._id,
            "tables": now,
            "columns": self._columns,
            "history": self._unpublished.history,
            "replaced": [*waiting, *({"file": path, "at": moment_text(self._now)} for path in replaced)],
            "market_spine": __version__,
        }
        told = {"published_through": said["published_through"], "market_spine": __version__}
        self._catalog.update_namespace_properties(CATALOG, updates=told)
        sync(self._folder / _FILE)
        place.commit(json.dumps(said, indent=1).encode())
        return self._clear(now.values(), [each["file"] for each in said["replaced"]])

    def _expired(self, table: Table) -> Table:
        """The table without the snapshots that later ones replaced longer ago than ``GRACE``."""
        snapshots = sorted(table.snapshots(), key=lambda each: each.sequence_number or 0)
        limit = (self._now - GRACE).timestamp() * 1000
        over = [one.snapshot_id for one, later in pairwise(snapshots) if later.timestamp_ms <= limit]
        if not over:
            return table
        table.maintenance.expire_snapshots().by_ids(over).commit()
        return self._catalog.load_table(table.name())

    def _clear(self, states: Iterable[str], earlier: Iterable[str]) -> int:
        """Remove the files of tables that neither their states have, nor what is known in earlier ones."""
        used = {path for state in states for path in _used(self._folder / state, every=True)}
        used.update(path for state in earlier for path in _used(self._folder / state, every=False))
        left = [path for name in self._tables for path in _files(self._folder / name) if path not in used]
        for path in left:
            path.unlink()
        for name in self._tables:
            for home in (self._folder / name).iterdir():
                if home.is_dir() and not any(_files(home)):
                    shutil.rmtree(home)
        return len(left)


def _open(database: Path, folder: Path) -> SqlCatalog:
    from pyiceberg.catalog.sql import SqlCatalog
    from sqlalchemy import URL

    address = URL.create("sqlite", database=str(database)).render_as_string()
    catalog = SqlCatalog(CATALOG, uri=address, warehouse=f"file://{folder}")
    catalog.create_namespace_if_not_exists(CATALOG)
    return catalog


def _home(table: Table) -> Path:
    return _path(table.location())


def _files(folder: Path) -> Iterator[Path]:
    """The files of one table, of every state."""
    return (path for path in folder.rglob("*") if path.suffix in (".parquet", ".avro", ".json"))


def _used(state: Path, *, every: bool) -> Iterator[Path]:
    """The files that a state of a table has, of every snapshot or of its last."""
    from pyiceberg.table import StaticTable

    yield state
    table = StaticTable.from_metadata(f"file://{state}")
    manifests = {}
    last = table.current_snapshot()
    for snapshot in table.snapshots() if every else [last] if last else []:
        yield _path(snapshot.manifest_list)
        manifests.update({each.manifest_path: each for each in snapshot.manifests(table.io)})
    for name, manifest in manifests.items():
        yield _path(name)
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            yield _path(entry.data_file.file_path)


def _path(address: str) -> Path:
    return Path(address.removeprefix("file://"))


def _arrow(frame: pl.DataFrame) -> Any:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _write(transaction: Transaction, frame: pl.DataFrame, instead: BooleanExpression | None) -> None:
    """Add rows, in the place of some; no rows are no snapshot, which pyiceberg cannot inspect."""
    if frame.height and instead is None:
        transaction.append(_arrow(frame))
    if instead is None:
        return
    with warnings.catch_warnings():
        # A partition may be new.
        warnings.filterwarnings("ignore", "Delete operation did not match any records")
        if frame.height:
            transaction.overwrite(_arrow(frame), instead)
        else:
            transaction.delete(instead)


def _of(by: Sequence[str], group: Sequence[Partition]) -> BooleanExpression:
    """The rows of some partitions."""
    from pyiceberg import expressions

    made: Any = expressions  # its classes take arguments that their types do not tell
    each = [
        reduce(made.And, [made.EqualTo(name, value) for name, value in zip(by, partition.values, strict=True)])
        for partition in group
    ]
    found: BooleanExpression = made.Or(*each) if len(each) > 1 else each[0]
    return found


def _from(column: str, moment: datetime) -> BooleanExpression:
    from pyiceberg import expressions

    made: Any = expressions
    found: BooleanExpression = made.GreaterThanOrEqual(column, moment.isoformat())
    return found
