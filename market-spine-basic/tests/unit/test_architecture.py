"""The rooms of the house: which may know which, checked on the tree as it is and with walls broken on purpose."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).resolve().parents[3]
PLATFORM = REPOSITORY / "market-spine-basic/src"
DOMAINS = REPOSITORY / "packages/spine-domains/src"
FINRA = "spine/domains/finra/otc_transparency"

CONTRACTS = {
    "direction": "platform never imports domains",
    "layers": "platform rooms, top to bottom",
    "pure": "pure modules do no I/O",
    "islands": "domains do not import each other",
    "inside": "inside a domain, one direction",
    "simulators": "simulators stay out of the run path",
}

# The installed packages stand on sys.path, too, and a namespace package is the sum of all its places:
# without removing them, the linter would read the tree twice.
LINT = """
import os, sys
sys.path[:] = sys.argv[1:] + [
    each for each in sys.path if not any(os.path.isdir(os.path.join(each, name)) for name in ("market_spine", "spine"))
]
sys.argv = ["lint-imports", "--no-cache", "--no-logo"]
from importlinter.cli import lint_imports_command
lint_imports_command()
"""


def verdicts(root: Path) -> dict[str, str]:
    """Contract name to KEPT or BROKEN, for the tree whose source folders are below ``root``."""
    places = [str(root / PLATFORM.relative_to(REPOSITORY)), str(root / DOMAINS.relative_to(REPOSITORY))]
    environment = {**os.environ, "COLUMNS": "200", "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-P", "-c", LINT, *places],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found = dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE))
    assert set(found) == set(CONTRACTS.values()), done.stdout + done.stderr
    assert done.returncode == ("BROKEN" in found.values()), done.stdout
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of both source trees, to break."""
    for source in (PLATFORM, DOMAINS):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, tmp_path / source.relative_to(REPOSITORY), ignore=ignored)
    shutil.copy(REPOSITORY / ".importlinter", tmp_path)
    return tmp_path


def test_contracts_are_kept() -> None:
    """In the tree as it is, every import goes down."""
    assert verdicts(REPOSITORY) == dict.fromkeys(CONTRACTS.values(), "KEPT")


@pytest.mark.parametrize(
    ("contract", "module", "line"),
    [
        ("direction", "market_spine/cli/db.py", "import spine.domains.finra.otc_transparency.schema"),
        ("layers", "market_spine/sources/files.py", "import market_spine.app.scheduling"),
        ("pure", "market_spine/core/calendar.py", "import sqlite3"),
        ("islands", "spine/domains/other/schema.py", "import spine.domains.finra.otc_transparency.schema"),
        ("inside", f"{FINRA}/schema.py", "import spine.domains.finra.otc_transparency.partitions"),
        ("simulators", f"{FINRA}/scheduler.py", "import spine.domains.finra.otc_transparency.simulator.market"),
        ("simulators", f"{FINRA}/cli.py", "import market_spine.simulation"),
    ],
)
def test_each_contract_can_break(tree: Path, contract: str, module: str, line: str) -> None:
    """One forbidden import breaks exactly the contract that forbids it, even inside a function."""
    source = PLATFORM if module.startswith("market_spine") else DOMAINS
    path = tree / source.relative_to(REPOSITORY) / module
    if not path.exists():
        path.parent.mkdir()
        (path.parent / "__init__.py").touch()
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n\ndef planted() -> None:\n    {line}\n")
    broken = {name for name, verdict in verdicts(tree).items() if verdict == "BROKEN"}
    assert broken == {CONTRACTS[contract]}


def code_words(source: str) -> set[str]:
    """Every name and text of a module, without docstrings and other free-standing texts."""
    module = ast.parse(source)
    prose = {
        node.value for node in ast.walk(module) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    words: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            words.add(node.value)
        words |= {
            value for _, value in ast.iter_fields(node) if isinstance(value, str) and not isinstance(node, ast.Constant)
        }
    return words


def test_platform_names_no_domain() -> None:
    """No name or text in the platform's code speaks of FINRA: domains come through their entry point."""
    named = {
        str(path.relative_to(PLATFORM)): word
        for path in PLATFORM.rglob("*.py")
        for word in code_words(path.read_text("utf-8"))
        if "finra" in word.lower()
    }
    assert named == {}


def test_word_search_sees_names_and_texts() -> None:
    """The search finds imports, names and texts, and passes over docstrings."""
    words = code_words('"""Finra."""\nimport a.finra as b\nX = "finra text"\ndef c(finra_d): ...\n')
    assert {"a.finra", "finra text", "finra_d"} <= words
    assert "Finra." not in words


def test_namespace_packages_have_no_init() -> None:
    """``spine`` and ``spine.domains`` stay open to other distributions."""
    assert [path for path in (DOMAINS / "spine", DOMAINS / "spine/domains") if (path / "__init__.py").exists()] == []
