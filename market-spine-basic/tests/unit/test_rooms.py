"""The rooms of the house: what each one holds, and that its words mean one thing."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCES = (REPOSITORY / "market-spine-basic/src", REPOSITORY / "packages/spine-domains/src")
STATEMENT = re.compile(
    r"\s*((SELECT|WITH)\b.+\bFROM\b|INSERT INTO\b|DELETE FROM\b|UPDATE \w+ SET\b|(CREATE|DROP) (TABLE|VIEW)\b)",
    re.DOTALL,
)


@cache
def trees() -> dict[str, ast.Module]:
    """Every module of the two distributions, by its path."""
    paths = sorted(path for source in SOURCES for path in source.rglob("*.py"))
    assert len(paths) > 100
    return {str(path.relative_to(REPOSITORY)): ast.parse(path.read_text("utf-8")) for path in paths}


def statements(module: ast.Module) -> list[str]:
    """The SQL statements among a module's texts, without docstrings and without what declares a view."""
    spared: set[int] = set()
    nodes = list(ast.walk(module))
    views = [
        node
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "View"
    ]
    declared = {each.id for view in views for each in ast.walk(view) if isinstance(each, ast.Name)}
    apart: list[ast.AST] = [
        *views,
        *(node for node in nodes if isinstance(node, ast.Expr)),
        *(
            node
            for node in module.body
            if isinstance(node, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id in declared for target in node.targets)
        ),
    ]
    for node in apart:
        # A call that stands alone is an expression too: only bare texts are docstrings.
        if not isinstance(node, ast.Expr) or isinstance(node.value, ast.Constant):
            spared.update(id(each) for each in ast.walk(node))
    texts = [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spared
    ]
    # The pieces of an f-string are texts of their own; together they are one statement.
    for node in nodes:
        if isinstance(node, ast.JoinedStr) and id(node) not in spared:
            texts.append("x".join(str(piece.value) for piece in node.values if isinstance(piece, ast.Constant)))
    return [text for text in texts if STATEMENT.match(text)]


def test_the_search_for_statements_finds_them() -> None:
    """A statement is found as plain text, in an f-string and in a call; a docstring and a view's SQL are not."""
    found = statements(
        ast.parse(
            '"""SELECT a FROM b"""\n'
            '_SQL = "SELECT a FROM b"\n'
            'VIEW = View("v", _SQL, ("b",), "Doc.")\n'
            'store.query("SELECT c FROM d")\n'
            'text = f"INSERT INTO {name} VALUES (1)"\n'
        )
    )
    assert "SELECT c FROM d" in found
    assert {text.split()[0] for text in found} == {"SELECT", "INSERT"}
    assert "SELECT a FROM b" not in found


def test_only_the_store_speaks_sql() -> None:
    """Outside the store, and what tests look into it with, no module holds an SQL statement but for declared views."""
    found = {
        name: texts
        for name, module in trees().items()
        if not re.search("/market_spine/(store|testing)/", name) and (texts := statements(module))
    }
    assert found == {}


def test_no_two_classes_share_a_name() -> None:
    """A public class's name is given once in the whole house, so that a word names one thing."""
    places: dict[str, list[str]] = defaultdict(list)
    for path, module in trees().items():
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
