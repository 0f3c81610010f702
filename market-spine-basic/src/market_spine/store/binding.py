"""Values in SQL text: as literals that both databases read alike, and in the place of a statement's parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from market_spine.errors import UsageError
from market_spine.store import moments
from market_spine.store.asking import Condition
from market_spine.store.views import quote

_HINT = "give a text, a number, a truth value, a date, a moment with zone, None, or a list of these"
_PIECES = re.compile(
    r"""
    (?P<kept>
        [eE]'(?:[^'\\]|\\.|'')*'                     # a text with escapes
      | '(?:[^']|'')*'                               # a text
      | "(?:[^"]|"")*"                               # a name
      | --[^\n]*
      | /\*(?:[^*/]|\*(?!/)|/(?!\*)|/\*(?:[^*]|\*(?!/))*\*/)*\*/   # a remark, with at most one inside
      | \$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?\$(?P=tag)\$  # a text in dollars
      | [A-Za-z_][\w$]*                              # a word: a dollar in it begins nothing
      | \d[\w.]*
    )
  | \$(?P<name>[A-Za-z_]\w*)
  | (?P<mark>\?)
    """,
    re.VERBOSE | re.DOTALL,
)
_WHOLE, _SMALL = 2**63, 2**31
"""Whole numbers of eight bytes lie below the first; literals of both databases agree below the second."""


def bind(sql: str, params: Mapping[str, Any] | Sequence[Any]) -> str:
    """The statement with each ``$name``, or of a sequence each ``?``, replaced by its value.

    A list as a value stands for its values in parentheses.

    Raises:
        UsageError: a parameter without a value, a value without a parameter, or one that SQL cannot say.
    """
    used: set[str] = set()
    marks = not isinstance(params, Mapping)
    if isinstance(params, str | bytes) or not isinstance(params, Mapping | Sequence):
        raise UsageError(f"params is a {type(params).__name__}", hint="give a mapping for $name, or a list for ?")
    params = params if isinstance(params, Mapping) else {str(at): value for at, value in enumerate(params, 1)}

    def value(match: re.Match[str]) -> str:
        name = match["name"]
        if marks and match["mark"]:
            name = str(len(used) + 1)
        if name is None or (marks and not match["mark"]):
            return match[0]
        if name not in params:
            given = ", ".join(params) or "none"
            raise UsageError(f"parameter {_shown(name)} has no value; given: {given}", hint="give it in params")
        used.add(name)
        given = params[name]
        if is_several(given):
            # IN with nothing in it is no SQL; no value is one of NULL.
            return f"({', '.join(_literal(name, each) for each in given) or 'NULL'})"
        return _literal(name, given)

    bound = _PIECES.sub(value, sql)
    if unused := [name for name in params if name not in used]:
        raise UsageError(f"the statement has no parameter {_shown(unused[0])}", hint="write parameters as $name, or ?")
    return bound


def _shown(name: str) -> str:
    return f"number {name}" if name.isdigit() else f"${name}"


def is_several(value: Any) -> bool:
    """Whether a value stands for several: a list, a set, or what is alike, such as a column of a frame."""
    if isinstance(value, str | bytes | Mapping):
        return False
    return isinstance(value, Sequence | AbstractSet) or (hasattr(value, "__iter__") and hasattr(value, "__len__"))


def _literal(name: str, value: Any) -> str:
    try:
        return literal(value)
    except ValueError as error:
        raise UsageError(f"parameter {_shown(name)}: {error}", hint=_HINT) from error


def literal(value: Any) -> str:
    """A value as SQL; raises ValueError for one that both databases cannot read alike."""
    value = getattr(value, "item", lambda: value)()  # a number of NumPy's
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        if not -_WHOLE <= value < _WHOLE:
            raise ValueError(f"{value} is larger than a database's whole numbers")
        return f"CAST('{value}' AS BIGINT)" if abs(value) >= _SMALL else f"({value})"
    if isinstance(value, float | Decimal) and math.isfinite(value):
        return f"CAST('{float(value)!r}' AS DOUBLE PRECISION)"
    return _time(value)


def _time(value: Any) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return f"CAST('{moments.to_text(value)}' AS TIMESTAMP WITH TIME ZONE)"
    if isinstance(value, date):
        return f"CAST('{value.isoformat()}' AS DATE)"
    raise ValueError(f"{value!r} ({type(value).__name__}) is no value to compare with")


def _text(value: str) -> str:
    if "\0" in value or value.encode(errors="replace").decode() != value:
        raise ValueError("the text holds a character that no text has")
    return "'" + value.replace("'", "''") + "'"


def statement(name: str, columns: Collection[str], conditions: Sequence[Condition]) -> str:
    """SELECT of the named columns of the rows of a relation that meet the conditions."""
    where = " AND ".join(text for each in conditions for text in _conditions(each)) or "1 = 1"
    return f"SELECT {', '.join(map(quote, columns))} FROM {quote(name)} WHERE {where}"


def _conditions(condition: Condition) -> list[str]:
    column = quote(condition.name)
    found = []
    if condition.values is not None:
        given = [literal(value) for value in condition.values if value is not None]
        ways = [f"{column} IN ({', '.join(given)})"] if given else []
        ways += [f"{column} IS NULL"] if None in condition.values else []
        found.append(f"({' OR '.join(ways) or '1 = 0'})")
    if condition.low is not None:
        found.append(f"{column} >= {literal(condition.low)}")
    if condition.high is not None:
        found.append(f"{column} <= {literal(condition.high)}")
    return found


def plain(value: Any) -> Any:
    """A value as SQLite keeps it: dates and moments as text, truth values as numbers."""
    if isinstance(value, datetime):
        return moments.to_text(value.astimezone(UTC))
    if isinstance(value, date):
        return value.isoformat()
    return int(value) if isinstance(value, bool) else value
