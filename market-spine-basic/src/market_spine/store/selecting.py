"""Choosing rows and columns of a relation by name: what is asked for, checked against what there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from market_spine.core.domain import Domain
from market_spine.core.kinds import EXAMPLES
from market_spine.core.relations import Between, RelationInfo
from market_spine.core.schema import Table
from market_spine.errors import UsageError
from market_spine.store import views
from market_spine.store.asking import Condition
from market_spine.store.binding import is_several, literal

if TYPE_CHECKING:
    import polars as pl

BROUGHT = {"capture_id": "text", "captured_at": "moment"}
"""The columns that a table's view has beside its own, and their kinds."""


def declared(domains: Iterable[Domain], name: str) -> Table | None:
    """The declared table of a name, in any case, as SQL takes names."""
    return next((t for domain in domains for t in domain.tables if t.name.lower() == name.lower()), None)


def kinds_of(table: Table) -> dict[str, str]:
    """Column to kind, of all that a table's view shows."""
    return {**{column.name: column.kind for column in table.columns}, **BROUGHT}


def kinds_in(schema: Mapping[str, pl.DataType]) -> dict[str, str]:
    """Column to kind, by the types of frames; what is of no kind is empty text."""
    import polars as pl

    def kind(found: pl.DataType) -> str:
        if found.is_integer():
            return "integer"
        if found.is_numeric():
            return "float"
        if isinstance(found, pl.Datetime):
            return "moment"
        return {pl.String(): "text", pl.Date(): "date", pl.Boolean(): "boolean"}.get(found, "")

    return {name: kind(found) for name, found in schema.items()}


def chosen_columns(name: str, kinds: Mapping[str, str], columns: Sequence[str] | None) -> tuple[str, ...]:
    """The columns asked for; raises UsageError for one that there is not, for one named twice, and for none."""
    if columns is None:
        return tuple(kinds)
    if isinstance(columns, str):
        raise UsageError(f"columns is a text, {columns!r}", hint=f"give a list: [{columns!r}]")
    wanted = tuple(columns)
    for column in wanted:
        _known(name, kinds, column)
    if not wanted or len(set(wanted)) < len(wanted):
        raise UsageError(f"columns of {name}: none, or one named twice", hint="name each column once")
    return wanted


def conditions(
    name: str,
    kinds: Mapping[str, str],
    where: Mapping[str, Any] | None,
    start: date | str | None,
    end: date | str | None,
) -> tuple[Condition, ...]:
    """What rows must meet, in values of the columns' kinds; raises UsageError for a column or value that cannot be."""
    found = []
    for column, given in (where or {}).items():
        _known(name, kinds, column)
        if isinstance(given, Between):
            low, high = (None if bound is None else _value(column, kinds[column], bound) for bound in given)
            found.append(Condition(column, None, low, high))
            continue
        values = tuple(given) if is_several(given) else (given,)
        found.append(Condition(column, tuple(_value(column, kinds[column], value) for value in values)))
    if start is None and end is None:
        return tuple(found)
    dates = next((column for column, kind in kinds.items() if kind == "date"), None)
    if dates is None:
        raise UsageError(f"{name} has no column of dates for start and end", hint="use where, or a statement")
    low, high = (None if day is None else _value(dates, "date", day) for day in (start, end))
    if low is not None and high is not None and low > high:
        raise UsageError(f"start {low} comes after end {high}")
    return (*found, Condition(dates, None, low, high))


def _known(name: str, kinds: Mapping[str, str], column: str) -> None:
    if column not in kinds:
        raise UsageError(f"{name} has no column {column!r}", hint=f"it has {', '.join(kinds)}")


def _value(column: str, kind: str, value: Any) -> Any:
    """A value as frames hold it."""
    value = getattr(value, "item", lambda: value)()  # a number of NumPy's
    if value is None:
        return None
    try:
        made = _MADE[kind](value)
        literal(made)
    except (KeyError, TypeError, ValueError) as error:
        examples: dict[str, str] = {"moment": "a datetime with time zone", **dict(EXAMPLES.items())}
        raise UsageError(
            f"{value!r} cannot be a value of {column}, which is of type {kind or 'none that can be compared'}",
            hint=f"give {examples[kind]}" if kind in examples else "use a statement",
        ) from error
    return made


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _float(value: Any) -> float:
    if isinstance(value, bool | str):
        raise TypeError
    return float(value)


def _date(value: Any) -> date:
    if isinstance(value, datetime):
        raise TypeError
    return value if isinstance(value, date) else date.fromisoformat(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _moment(value: Any) -> datetime:
    moment: datetime = datetime.fromisoformat(value) if isinstance(value, str) else value
    if moment.tzinfo is None:
        raise ValueError("no time zone")
    return moment.astimezone(UTC)


_MADE = {
    "text": _text,
    "integer": _integer,
    "float": _float,
    "date": _date,
    "boolean": _boolean,
    "moment": _moment,
}


COLUMNS = """\
SELECT table_name, column_name, data_type FROM information_schema.columns
 WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position
"""
"""SELECT of every column that a store has; what it answers is for ``relations``."""
_KINDS = {
    "bigint": "integer",
    "integer": "integer",
    "hugeint": "integer",
    "numeric": "float",
    "double": "float",
    "double precision": "float",
    "date": "date",
    "boolean": "boolean",
    "timestamp with time zone": "moment",
    "blob": "bytes",
    "bytea": "bytes",
}
"""Type in either database to kind; whatever else there is shows as text."""


def relations(domains: Sequence[Domain], rows: Iterable[Sequence[Any]]) -> list[RelationInfo]:
    """What readers find: tables and views of the domains as they declare them, then the platform's."""
    found: dict[str, dict[str, str]] = {}
    for name, column, kind in rows:
        found.setdefault(name, {})[column] = _KINDS.get(kind.lower().partition("(")[0], "text")
    listed = []
    for domain in domains:
        shown = [(table.name, "table", table.partition_by, table.doc) for table in domain.tables]
        shown += [(view.name, "view", (), view.doc) for view in domain.views]
        listed += [
            RelationInfo(name, sort, domain.name, found[name], parts, doc)
            for name, sort, parts, doc in shown
            if name in found
        ]
    own = {**dict.fromkeys(views.CORE, "See docs/architecture.md."), **{view.name: view.doc for view in views.PLATFORM}}
    listed += [RelationInfo(name, "platform", "", found[name], (), doc) for name, doc in own.items() if name in found]
    return listed
