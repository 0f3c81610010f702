"""Why a row is what it is: its versions with the captures that brought them, where it stands in its source, and the
rows that it was computed from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from market_spine.app.draft import partition_scope
from market_spine.app.keys import find_partition
from market_spine.core.capture import Part
from market_spine.core.compression import decompress
from market_spine.core.domain import Domain, WindowCalc
from market_spine.core.kinds import frame_value, read_value, write_value
from market_spine.core.manifest import CALC, INGEST, NORMALIZE, Committed, Entry
from market_spine.core.partition import Partition
from market_spine.core.ports import Reader, payloads
from market_spine.core.schema import Table
from market_spine.errors import ContentError, MarketSpineError, UsageError

if TYPE_CHECKING:
    import polars as pl

SHOWN = 20
"""Input rows of one partition that are told one by one."""

Row = Mapping[str, Any]


class Line(NamedTuple):
    """Where a source says a row: the line of a part, counted from 1, and its text."""

    part: str
    origin: str
    sha256: str
    line: int
    text: str


class Version(NamedTuple):
    """What a row was from one commit to the next; ``row`` is None where it was not there.

    ``source`` is told of tables that hold what the source said, where one line says it.
    """

    since: datetime
    capture_id: str
    run_id: str
    input_captures: tuple[str, ...]
    row: Row | None
    source: Line | None = None

    def changed(self, before: Version | None) -> list[tuple[str, Any, Any]]:
        """The columns in which it differs from the version before, with both values; none where one has no row."""
        if before is None or before.row is None or self.row is None:
            return []
        return [(name, before.row[name], new) for name, new in self.row.items() if before.row[name] != new]


class Inputs(NamedTuple):
    """The rows of one table of one partition that a row was computed from; the first of them, and how many."""

    table: str
    partition_key: str
    capture_id: str | None
    total: int
    rows: Sequence[Row]


class Explanation(NamedTuple):
    """All of it; versions oldest first."""

    table: Table
    partition: Partition
    key: Row
    versions: Sequence[Version]
    inputs: Sequence[Inputs]

    @property
    def steps(self) -> list[tuple[Version | None, Version]]:
        """Each version with the one before."""
        return list(zip((None, *self.versions), self.versions, strict=False))


def parse_key(domain: Domain, table: Table, given: Sequence[str]) -> tuple[Partition, dict[str, Any]]:
    """The partition and the values by column that texts such as ``symbol=AAPL`` name.

    Raises:
        UsageError: one is no column, no value of it, or a column of the partition is missing.
    """
    kinds = {column.name: column.kind for column in table.columns}
    texts: dict[str, str] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals or name not in kinds:
            raise UsageError(
                f"{each!r} names no column of {table.name}", hint=f"write column=value; columns: {', '.join(table.key)}"
            )
        texts[name] = text
    values: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            # A text may be empty in a row, though not in a partition's key.
            value = text if kinds[name] == "text" else read_value(kinds[name], text)
        except ValueError as error:
            raise UsageError(f"{name}: {error}", hint=f"write {name}=VALUE") from error
        values[name] = frame_value(kinds[name], value)
    if missing := [name for name in table.partition_by if name not in values]:
        raise UsageError(
            f"{table.name} needs {' and '.join(f'{name}=...' for name in missing)}", hint=f"key: {', '.join(table.key)}"
        )
    key = "|".join(write_value(values[name]) for name in table.partition_by)
    partition = find_partition(domain, key, lambda _: ())
    for name, text in zip(table.partition_by, partition.values, strict=True):
        values[name] = frame_value(kinds[name], read_value(kinds[name], text))
    return partition, values


def explain(
    store: Reader, domain: Domain, table: Table, partition: Partition, wanted: Row, since: datetime | None
) -> Explanation:
    """Explain the one row that ``wanted`` picks, among all that the partition ever had.

    Args:
        store: where.
        domain: whose table it is.
        table: the row's.
        partition: the row's.
        wanted: column to value; enough of the key to leave one row.
        since: leave out what was superseded before.

    Raises:
        UsageError: there never was such a row, or there are several.
    """
    history = [each for each in store.history(domain.name, partition.key) if each.entry.status != "held"]
    scope = partition_scope(table, partition)
    frames = [(each, _picked(store.read(table, scope, as_of=each.committed_at), wanted)) for each in _moments(history)]
    key = _one_key(table, partition, wanted, [frame for _, frame in frames])
    versions = list(_versions(store, domain, table, key, history, frames))
    if since is not None:
        kept = [number for number, each in enumerate(versions) if each.since <= since]
        versions = versions[kept[-1] if kept else 0 :]
    return Explanation(table, partition, key, versions, list(_inputs(store, domain, table, partition, key)))


def _moments(history: Sequence[Committed]) -> list[Committed]:
    """The first entry of each transaction, oldest first."""
    return list({each.committed_at: each for each in reversed(history)}.values())[::-1]


def _picked(rows: pl.DataFrame, wanted: Row) -> pl.DataFrame:
    import polars as pl

    return rows.filter(*(pl.col(name) == value for name, value in wanted.items() if name in rows.columns))


def _one_key(table: Table, partition: Partition, wanted: Row, frames: Sequence[pl.DataFrame]) -> Row:
    keys = {tuple(row) for frame in frames for row in frame.select(table.key).iter_rows()}
    told = ", ".join(f"{name}={value}" for name, value in wanted.items())
    if not keys:
        raise UsageError(
            f"{table.name} never had a row with {told}",
            hint=f"market-spine captures '{partition.key}' lists what it had",
        )
    if len(keys) > 1:
        differing = [name for place, name in enumerate(table.key) if len({key[place] for key in keys}) > 1]
        raise UsageError(
            f"{len(keys)} rows of {table.name} have {told}", hint=f"name one by {', '.join(differing)} as well"
        )
    return dict(zip(table.key, next(iter(keys)), strict=True))


def _versions(
    store: Reader,
    domain: Domain,
    table: Table,
    key: Row,
    history: Sequence[Committed],
    frames: Sequence[tuple[Committed, pl.DataFrame]],
) -> Iterator[Version]:
    """A version wherever the row differs from what it was before."""
    before: Row | None = None
    for first, frame in frames:
        row: Row | None = next(frame.iter_rows(named=True), None)
        if row == before:
            continue
        together = [each.entry for each in history if each.committed_at == first.committed_at]
        entry = next((each for each in together if each.stage == table.stage), first.entry)
        ingest = _capture_then(history, first.committed_at)
        line = None
        if row is not None and table.stage == NORMALIZE and ingest is not None:
            line = find_line(store, domain, ingest, table, key)
        yield Version(first.committed_at, entry.capture_id, entry.run_id, entry.input_captures, row, line)
        before = row


def _capture_then(history: Sequence[Committed], moment: datetime) -> Entry | None:
    """The capture that was current at a moment."""
    found = [
        each.entry
        for each in history
        if (each.entry.stage, each.entry.status) == (INGEST, "committed") and each.committed_at <= moment
    ]
    return found[-1] if found else None


def find_line(store: Reader, domain: Domain, capture: Entry, table: Table, key: Row) -> Line | None:
    """The line of a capture's payload that says a row: the one that the domain reads the row from when it is given
    that line alone, below the first; None where no single line does."""
    for part in payloads(store, capture):
        try:
            data = decompress(part.data, part.origin)
        except MarketSpineError:
            data = part.data
        lines = data.splitlines(keepends=True)
        number = _search(domain, capture.partition, part, lines, table, key)
        if number is not None:
            text = lines[number].decode("utf-8", "replace").rstrip("\r\n")
            return Line(part.name, part.origin, part.sha256, number + 1, text)
    return None


def _search(domain: Domain, partition: Partition, part: Part, lines: list[bytes], table: Table, key: Row) -> int | None:
    """The place of the line that says the row: the first, or by halving those below it, which may be a header."""

    def says(some: list[bytes]) -> bool:
        return _says(domain, partition, part, some, table, key)

    if not lines or not says(lines):
        return None
    head = lines[:1]
    if says(head):
        return 0
    low, high = 1, len(lines)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if says(head + lines[low:middle]) else (middle, high)
    return low if low < high and says([*head, lines[low]]) else None


def _says(domain: Domain, partition: Partition, part: Part, lines: list[bytes], table: Table, key: Row) -> bool:
    alone = Part(part.name, b"".join(lines), part.origin, part.metadata)
    try:
        rows = domain.normalize(partition, [alone]).tables.get(table.name)
    except (ContentError, ValueError, LookupError):
        return False
    return rows is not None and not _picked(rows, key).is_empty()


def _inputs(store: Reader, domain: Domain, table: Table, partition: Partition, key: Row) -> Iterator[Inputs]:
    """The rows that the row was computed from, as they are now: those that share its key's columns."""
    window = next((calc for calc in domain.windows if calc.spec.name == table.stage), None)
    if window is not None:
        yield from _window_inputs(store, domain, window, partition, key)
    elif table.stage == CALC:
        for each in domain.tables:
            if each.stage == NORMALIZE:
                found = _input_of(store, domain, each, each.names, partition, key)
                if found.total:
                    yield found


def _window_inputs(
    store: Reader, domain: Domain, window: WindowCalc, partition: Partition, key: Row
) -> Iterator[Inputs]:
    name, columns = window.reads
    table = next(each for each in domain.tables if each.name == name)
    rest = {column: value for column, value in key.items() if column not in table.partition_by}
    for each in window.inputs(partition):
        yield _input_of(store, domain, table, columns, each, rest)


def _input_of(
    store: Reader, domain: Domain, table: Table, columns: Sequence[str], partition: Partition, key: Row
) -> Inputs:
    rows = _picked(store.read(table, partition_scope(table, partition), columns), key)
    current = store.known(domain.name, [partition.key])[partition.key].current
    capture = current.entry.capture_id if current else None
    return Inputs(table.name, partition.key, capture, rows.height, rows.head(SHOWN).to_dicts())
