"""What a user's statement reads, from DuckDB's own parse of it; whatever does more than read is refused."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from market_spine.errors import UsageError
from market_spine.wording import nearest

HINT = "see the data dictionary for the names of views and columns"
AS_OF_HINT = "use the plain names of the views and core_ tables"
CATALOGUE = frozenset(("tables", "views", "columns"))
"""What can be read of ``information_schema``: the names of the store's relations and columns, as they are now."""

_QUERIES = frozenset(("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"))
_TABLE_FUNCTIONS = frozenset(
    ("range", "generate_series", "unnest", "json_each", "json_tree", "repeat", "repeat_row")
)  # all that read nothing but their arguments; there are others for files, settings and addresses in memory
_FUNCTIONS = frozenset(("current_setting", "getenv", "getvariable", "nextval", "currval", "write_log", "setseed"))


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that only reads.

    Attributes:
        sql: its text, without what follows it.
        names: the relations it names, in lower case.
        catalogue: it asks for the names of relations or columns.
    """

    sql: str
    names: frozenset[str]
    catalogue: bool


def look(connection: Any, sql: str, relations: Collection[str], *, as_of: bool) -> Statement:
    """Parse a statement.

    Args:
        connection: a DuckDB connection.
        sql: the text.
        relations: names, in lower case, that may be read.
        as_of: it is asked as of a moment.

    Raises:
        UsageError: it is not one statement that reads nothing but relations of the store.
    """
    text, parsed = _parse(connection, sql, as_of=as_of)
    nodes = list(_nodes(parsed))
    common = {entry["key"].lower() for node in nodes for entry in _common_tables(node)}
    names: set[str] = set()
    catalogue = False
    for node in nodes:
        _refuse_more_than_reading(node)
        if node.get("type") != "BASE_TABLE":
            continue
        path = [part.lower() for part in node["qualified_name"]["path"]]
        if as_of and len(path) > 1:
            raise UsageError("names with a schema cannot be read as of a moment", hint=AS_OF_HINT)
        if path[-2:-1] == ["information_schema"] and path[-1] in CATALOGUE:
            catalogue = True
        elif path[-1] in relations and path[:-1] in ([], ["main"]):
            names.add(path[-1])
        elif len(path) > 1 or path[-1] not in common:
            raise _unknown(node["qualified_name"]["path"], relations, as_of=as_of)
    return Statement(text, frozenset(names), catalogue)


def _parse(connection: Any, sql: str, *, as_of: bool) -> tuple[str, Any]:
    """The text and the parsed form of the only statement of a text, which selects."""
    import duckdb

    try:
        texts = [each.query for each in connection.extract_statements(sql)]
        ((tree,),) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        raise failed(str(error), as_of=as_of) from error
    parsed = json.loads(tree)
    if parsed["error"]:
        text = parsed.get("error_message", "")
        if parsed.get("error_type") == "not implemented":
            raise UsageError(f"the statement does more than read ({text})", hint=HINT)
        raise failed(text, as_of=as_of)
    if len(parsed["statements"]) != 1 or len(texts) != 1:
        raise UsageError("only one statement can be run at a time", hint="run each by itself")
    return texts[0].strip().rstrip(";"), parsed


def _unknown(path: list[str], relations: Collection[str], *, as_of: bool) -> UsageError:
    name = ".".join(path)
    offered = nearest(path[-1], relations)
    if as_of:
        return UsageError(f"there is nothing called {name} to read as of a moment{offered}", hint=AS_OF_HINT)
    return UsageError(f"there is no table or view called {name}{offered}", hint=HINT)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON document."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _common_tables(node: dict[str, Any]) -> list[dict[str, Any]]:
    named = node.get("cte_map")
    found = list(named["map"]) if isinstance(named, dict) else []
    if str(node.get("type")) in ("RECURSIVE_CTE_NODE", "CTE_NODE"):
        found.append({"key": node["cte_name"]})
    return found


def _refuse_more_than_reading(node: dict[str, Any]) -> None:
    kind = str(node.get("type"))
    if kind == "SHOW_REF" or (kind.endswith("_NODE") and kind not in _QUERIES):
        raise UsageError("the statement does more than select", hint=HINT)
    if kind == "PARAMETER" or node.get("class") == "PARAMETER":
        raise UsageError("the statement has a parameter without a value", hint="write the value in its place")
    if kind == "TABLE_FUNCTION":
        name = _function(node["function"])
        if name not in _TABLE_FUNCTIONS:
            raise UsageError(f"the statement does more than read ({name})", hint=HINT)
    elif node.get("class") == "FUNCTION" and (name := _function(node)) in _FUNCTIONS:
        raise UsageError(f"the statement does more than read ({name})", hint=HINT)


def _function(node: dict[str, Any]) -> str:
    return str(node.get("function_name", "")).lower()


def failed(text: str, *, as_of: bool) -> UsageError:
    """The error for a statement about which DuckDB complains."""
    said = " ".join(text.removeprefix("Invalid Input Error: ").partition("\n\n")[0].split())
    return UsageError(f"the statement cannot be run: {said}", hint=AS_OF_HINT if as_of else HINT)
