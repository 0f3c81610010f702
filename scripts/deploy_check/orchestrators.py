"""The examples for orchestrators: linted, short, and what they ask of the program compared with what it has."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from scripts.deploy_check import program, tools
from scripts.deploy_check.documents import schedule_problem

FOLDER = "deploy/orchestrators"
LONGEST = 99
"""Lines of an example."""
CALLS = {"call": (), "schedule": ("schedule", "finra")}
"""An example's functions that run a command, and the words that each puts before its arguments."""
ANY_VALUE = "4"
"""For an argument that is known only when it runs."""
RUFF = ("check", "--quiet", "--no-cache", "--output-format", "concise", "--config", tools.REPOSITORY / "pyproject.toml")


def check(root: Path) -> list[str]:
    """Problems of every example."""
    found = _complaints(root)
    kinds = set(re.findall(r"`(\w+)`", (root / "docs/contract.md").read_text("utf-8")))
    for path in sorted((root / FOLDER).rglob("*.py")):
        text, place = path.read_text("utf-8"), str(path.relative_to(root))
        try:
            module = ast.parse(text)
        except SyntaxError:
            continue  # the linter has said so
        if (lines := text.count("\n")) > LONGEST:
            found.append(f"{place}: {lines} lines, {LONGEST} are meant")
        problems = (*_commands(module), *_kinds(module, kinds), *_schedules(text))
        found += [f"{place}: {problem}" for problem in problems]
    return found


def _complaints(root: Path) -> list[str]:
    command = [sys.executable, "-m", "ruff", *map(str, RUFF), FOLDER]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603 - fixed
    return [f"ruff: {line}" for line in (done.stdout + done.stderr).splitlines()] if done.returncode else []


def _commands(module: ast.Module) -> Iterator[str]:
    tuples = {
        target.id: node.value.elts
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    number = 0
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            words = [*CALLS[node.func.id]]
            for argument in node.args:
                name = argument.value if isinstance(argument, ast.Starred) else argument
                several = tuples.get(name.id, []) if isinstance(name, ast.Name) else [name]
                words += map(_word, several if isinstance(argument, ast.Starred) else [argument])
            number += 1
            if problem := program.misuse([*words, "--json"]):
                yield f"market-spine {' '.join(words)}: {problem}"
    if not number:
        yield "no command of the program is called"


def _word(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ANY_VALUE


def _kinds(module: ast.Module, known: set[str]) -> Iterator[str]:
    """What is tried again must be a kind of error that docs/contract.md lists."""
    for node in ast.walk(module):
        if isinstance(node, ast.Assign | ast.AugAssign) and isinstance(node.value, ast.Set):
            for word in map(_word, node.value.elts):
                if word not in known:
                    yield f"{word} is no kind of error"


def _schedules(text: str) -> Iterator[str]:
    for expression in re.findall(r'schedule="([^"]*)"', text):
        if problem := schedule_problem(expression):
            yield problem
