"""Values by column kind: the one place that says how each kind is spelt, kept, and typed in frames.

| kind | in a partition's values | in a scope | in frames |
| --- | --- | --- | --- |
| text | itself | str | String |
| integer | ``2025`` | int | Int64 |
| float | ``1.5`` | float | Float64 |
| date | ``2025-01-03`` | the ISO text | Date |
| boolean | ``true``, ``false`` | bool | Boolean |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

from market_spine.core.partition import Value
from market_spine.core.schema import Kind, Table

if TYPE_CHECKING:
    import polars as pl

EXAMPLES: dict[Kind, str] = {"text": "ABC", "integer": "2025", "float": "1.5", "date": "2025-01-03", "boolean": "true"}
"""A value of each kind as it is spelt, for messages."""

_LARGEST = 2**63
"""Both stores keep integers in eight bytes."""


def frame_type(kind: Kind) -> pl.DataType:
    """The type of a frame's column of this kind."""
    import polars as pl

    types = {
        "text": pl.String(),
        "integer": pl.Int64(),
        "float": pl.Float64(),
        "date": pl.Date(),
        "boolean": pl.Boolean(),
    }
    return types[kind]


def frame_types(table: Table) -> dict[str, pl.DataType]:
    """The frame type of each of a table's columns, in their order."""
    return {column.name: frame_type(column.kind) for column in table.columns}


def frame_value(kind: Kind, value: Value) -> Any:
    """A value as frames hold it: a date for an ISO text, a truth value for a number, a float for a whole one."""
    if kind == "date":
        return date.fromisoformat(str(value))
    if kind == "boolean":
        return bool(value)
    return float(value) if kind == "float" else value


def read_value(kind: Kind, text: str) -> Value:
    """The value that a text spells; raises ValueError if it spells none of this kind, or could not stand in a key."""
    try:
        value = _READ[kind](text)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{text!r} is no {kind} such as {EXAMPLES[kind]}") from error
    return value


def _integer(text: str) -> int:
    number = int(text)
    if not -_LARGEST <= number < _LARGEST:
        raise ValueError
    return number


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number + 0.0  # minus zero is zero


def _date(text: str) -> str:
    if len(text) != len(EXAMPLES["date"]):
        raise ValueError
    return date.fromisoformat(text).isoformat()


def _text(text: str) -> str:
    if not text or "|" in text or not text.isprintable():
        raise ValueError
    return text


_READ: dict[Kind, Callable[[str], Value]] = {
    "text": _text,
    "integer": _integer,
    "float": _float,
    "date": _date,
    "boolean": {"true": True, "false": False}.__getitem__,
}


def write_value(value: Value | date) -> str:
    """The one way a value is spelt in a partition's key."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else str(value)


def scope_value(value: Value | date) -> Value:
    """A value as a scope holds it: dates as ISO text."""
    return value.isoformat() if isinstance(value, date) else value
