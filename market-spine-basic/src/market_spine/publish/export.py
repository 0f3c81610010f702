"""Exports: every table and view of a store as of one moment, typed, into files or a database of another tool."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from market_spine import __version__
from market_spine.core.relations import Between, RelationInfo
from market_spine.errors import UsageError
from market_spine.publish.place import building, resolved

if TYPE_CHECKING:
    from market_spine.core.ports import FrameStream
    from market_spine.read.spine import Spine

FORMATS = ("parquet", "csv", "duckdb", "sqlite")
_DESCRIBED = "export.json"
_SECONDS = 6 * 3600.0
"""How long one table may take: as much as an export of everything may need."""
_LOGS = ("-wal", "-journal", ".wal")
"""What lies beside a database that is open, or was not closed."""


class ExportWriter(Protocol):
    """Takes tables one after the other."""

    def add(self, relation: RelationInfo, rows: FrameStream) -> int:
        """Write a table's or view's rows; returns their number."""

    def close(self, described: bytes) -> None:
        """Add what the export is."""


class Exported(NamedTuple):
    """One table or view of an export; ``where`` are the conditions that it had a column for."""

    name: str
    sort: str
    rows: int
    columns: Mapping[str, str]
    where: tuple[str, ...]


class ExportResult(NamedTuple):
    """What was exported: ``as_of`` is the moment whose knowledge it is, None if nothing was committed by then."""

    to: str
    format: str
    as_of: datetime | None
    tables: tuple[Exported, ...]

    def document(self) -> dict[str, Any]:
        """Its JSON form."""
        return {
            "to": self.to,
            "format": self.format,
            "as_of": self.as_of.isoformat() if self.as_of else None,
            "market_spine": __version__,
            "rows": sum(each.rows for each in self.tables),
            "tables": [
                {**each._asdict(), "columns": dict(each.columns), "where": [*each.where]} for each in self.tables
            ],
        }


def export(
    spine: Spine,
    to: Path,
    form: str,
    *,
    tables: Sequence[str] | None = None,
    where: Sequence[str] = (),
    overwrite: bool = False,
) -> ExportResult:
    """Export what a handle shows, as of one moment, in bounded memory; it is there whole, or not at all.

    Args:
        spine: what to export; of the present, as of the latest commit.
        to: a folder for ``parquet`` and ``csv``, a file for the others; the folder around it exists.
        form: one of ``FORMATS``.
        tables: names; default: every table and view.
        where: conditions ``COLUMN=VALUE,...``, ``COLUMN>=VALUE`` or ``COLUMN<=VALUE``; each holds for the tables that
            have the column.
        overwrite: replace an earlier export.

    Raises:
        UsageError: no such table or column, no such value, or something else lies there.
        StoreError: the database cannot be read; with kind ``output``: the export cannot be written.
    """
    target = resolved(to)
    latest = spine.store.latest()
    then = spine if latest is None or spine.moment is not None else spine.as_of(latest)
    chosen = _chosen(then.tables(), tables)
    asked = {each.name: _conditions(each, where) for each in chosen}
    for text in where:
        if not any(text in told for told, _ in asked.values()):
            raise UsageError(f"--where {text}: no table to be exported has such a column")

    def refuse(found: Path) -> None:
        _refuse(found, form, spine.path)

    with building(target, overwrite=overwrite, refuse=refuse) as content:
        writer = _writer(content, form)
        spill = content.with_name("spill")
        spill.mkdir()
        done = []
        for each in chosen:
            told, conditions = asked[each.name]
            with then.store.table(
                each.name, where=conditions, together=True, spill=str(spill), seconds=_SECONDS
            ) as rows:
                done.append(Exported(each.name, each.sort, writer.add(each, rows), each.columns, told))
        result = ExportResult(str(to), form, then.moment, tuple(done))
        writer.close(json.dumps(result.document(), indent=2).encode())
    return result


def _writer(content: Path, form: str) -> ExportWriter:
    if form in ("parquet", "csv"):
        from market_spine.publish.folders import FileFolder

        return FileFolder(content, "csv" if form == "csv" else "parquet")
    from market_spine.store.exported import DuckdbFile, SqliteFile

    return DuckdbFile(content) if form == "duckdb" else SqliteFile(content)


def _chosen(found: Sequence[RelationInfo], tables: Sequence[str] | None) -> list[RelationInfo]:
    if tables is None:
        return [*found]
    by_name = {each.name: each for each in found}
    for name in tables:
        if name not in by_name:
            raise UsageError(f"--tables: there is no table or view {name!r}", hint=f"there are {', '.join(by_name)}")
    return [by_name[name] for name in dict.fromkeys(tables)]


def _conditions(relation: RelationInfo, where: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The texts of those conditions for which a table has a column, and what they mean."""
    texts: list[str] = []
    found: dict[str, Any] = {}
    for text in where:
        column, sign, value = _split(text)
        if column not in relation.columns:
            continue
        texts.append(text)
        kind = relation.columns[column]
        before = found.get(column)
        if before is not None and not (sign and isinstance(before, Between)):
            raise UsageError(f"--where: {column} is named twice", hint="give its values in one: COLUMN=VALUE,VALUE")
        if not sign:
            found[column] = [_value(text, kind, each) for each in value.split(",")]
            continue
        bounds = before or Between()
        made = _value(text, kind, value)
        found[column] = bounds._replace(low=made) if sign == ">" else bounds._replace(high=made)
    return tuple(texts), found


def _split(text: str) -> tuple[str, str, str]:
    """Column, ``>`` or ``<`` of a bound or nothing, and value."""
    column, equals, value = text.partition("=")
    sign = column[-1:] if column[-1:] in ("<", ">") else ""
    column = column.removesuffix(sign).strip()
    if not equals or not column:
        raise UsageError(
            f"--where {text}: that is no condition", hint="write COLUMN=VALUE,..., COLUMN>=VALUE or COLUMN<=VALUE"
        )
    return column, sign, value.strip()


def _value(condition: str, kind: str, text: str) -> Any:
    """A value as it is spelt for its kind; dates and moments are read by whoever compares with them."""
    try:
        if kind == "integer":
            return int(text)
        if kind == "float":
            return float(text)
        if kind == "boolean":
            return {"true": True, "false": False}[text]
    except (ValueError, KeyError) as error:
        raise UsageError(f"--where {condition}: {text!r} is no {kind}") from error
    return text


def _refuse(found: Path, form: str, database: str | None) -> None:
    """Raise UsageError for what is no export, or what the store is in."""
    if database is not None:
        source = Path(database).resolve()
        if found in (source, *source.parents) or (source.exists() and found.samefile(source)):
            raise UsageError(f"--to: {found} holds the database that is exported", hint="name another place")
    if found.is_dir() != (form in ("parquet", "csv")) or (found.is_dir() and not (found / _DESCRIBED).exists()):
        raise UsageError(f"--to: {found} is no {form} export", hint="remove it, or name another place")
    if found.is_file() and (logs := [f"{found.name}{end}" for end in _LOGS if Path(f"{found}{end}").exists()]):
        raise UsageError(f"--to: {found} is open, or was not closed: there is {', '.join(logs)}", hint="close it first")
