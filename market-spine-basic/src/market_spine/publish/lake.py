"""The lake: every version of every row as files that any engine reads as of any moment.

Files are immutable, one for each partition of a table, and ``_current.json`` says which belong together. A publication
adds files, replaces ``_current.json`` last, and removes what no reader can use any more.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import polars as pl

from market_spine import __version__
from market_spine.publish.unpublished import LakeResult, TablePublished, Unpublished, described, is_over, moment_text
from market_spine.store import published
from market_spine.store.lakeviews import Published, scripts

if TYPE_CHECKING:
    from market_spine.publish.lakeplace import LakePlace
    from market_spine.publish.unpublished import TableUnpublished
    from market_spine.read.spine import Spine

_UNSAFE = re.compile(r"[^A-Za-z0-9.-]")


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
        unpublished = Unpublished(spine.store, before, "parquet")
        if before is None and unpublished.entries.is_empty():
            return LakeResult(to, "parquet", "unchanged", None, (), 0)
        work = _Work(unpublished, place, before or {"tables": {}, "replaced": []})
        work.write()
        through = unpublished.through
        said = work.document(spine.store.now())
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


class _Work:
    """One publication: what it has to write, and what it wrote.

    Attributes:
        files: table to its files.
        schemas: table to its columns.
        written: tables of which something was written.
    """

    def __init__(self, unpublished: Unpublished, place: LakePlace, before: Mapping[str, Any]) -> None:
        self._unpublished = unpublished
        self._place = place
        self._before = before
        self._id = uuid4().hex[:12]
        self.files: dict[str, list[str]] = {}
        self.schemas: dict[str, Mapping[str, pl.DataType]] = {}
        self.written: list[TablePublished] = []

    def write(self) -> None:
        """Write the files of every partition that something came to, or went from, since the last publication."""
        for each in self._unpublished.tables():
            self._table(each)
        self._manifest()

    def _table(self, changed: TableUnpublished) -> None:
        name, by = changed.table.name, changed.table.partition_by
        made: dict[str, int] = {}
        for group in changed.groups:
            frame = changed.read(group)
            for key, piece in frame.partition_by(by, as_dict=True, maintain_order=True).items():
                made[self._write(name, [*map(str, key)], piece)] = piece.height
        self._keep(name, changed.schema, made, whole=changed.whole)

    def _manifest(self) -> None:
        """Manifest entries by the month of their moment: those of past months stay as they are."""
        entries, whole = self._unpublished.entries, self._unpublished.manifest
        frame = published.published_entries(entries)
        month = pl.col("committed_at").dt.strftime("%Y-%m")
        touched = (entries if whole else self._unpublished.new).select(month).to_series().unique().sort()
        pieces = {each: frame.filter(month == each) for each in touched}
        made = {self._write(published.ENTRIES, [each], piece): piece.height for each, piece in pieces.items()}
        self._keep(published.ENTRIES, dict(frame.schema), made, whole=whole)

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

    def document(self, now: datetime) -> dict[str, Any]:
        """What ``_current.json`` says."""
        kept = {path for files in self.files.values() for path in files}
        replaced = {path for files in self._before["tables"].values() for path in files} - kept
        waiting = [each for each in self._before["replaced"] if not is_over(each["at"], now)]
        return {
            "published_through": self._unpublished.through,
            "publication": self._id,
            "tables": self.files,
            "columns": {name: described(schema) for name, schema in self.schemas.items()},
            "history": self._unpublished.history,
            "replaced": [*waiting, *({"file": path, "at": moment_text(now)} for path in sorted(replaced))],
            "market_spine": __version__,
        }


def _partition(path: str) -> str:
    return path.rpartition("-")[0]


def _used(said: Mapping[str, Any]) -> set[str]:
    """What readers may use: the files that belong together, and those replaced not longer ago than ``GRACE``."""
    return {path for files in said["tables"].values() for path in files} | {each["file"] for each in said["replaced"]}
