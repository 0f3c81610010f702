"""The repository itself: what may stand in it, and that its documents and lock file are true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).resolve().parents[3]
MAX_FILE = 400
MAX_FUNCTION = 60


@cache
def files() -> tuple[Path, ...]:
    """Every file of the repository: tracked, or new and not ignored."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"not a git checkout: {error}")
    paths = (REPOSITORY / name for name in done.stdout.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def modules() -> list[tuple[str, ast.Module, int]]:
    """Every Python file: its name, its syntax tree and its length in lines."""
    found = []
    for path in files():
        if path.suffix == ".py":
            text = path.read_text("utf-8")
            found.append((str(path.relative_to(REPOSITORY)), ast.parse(text), text.count("\n")))
    return found


def functions(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a module."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lock() -> dict[str, str]:
    """Pinned package to its version, as in requirements.lock."""
    text = (REPOSITORY / "requirements.lock").read_text("utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, re.MULTILINE))


def wanted() -> list[Requirement]:
    """What the three pyproject.toml files ask for, without our own packages."""
    found: list[str] = []
    for folder in (".", "market-spine-basic", "packages/spine-domains"):
        with (REPOSITORY / folder / "pyproject.toml").open("rb") as file:
            document = tomllib.load(file)
        found += document.get("project", {}).get("dependencies", [])
        found += document.get("dependency-groups", {}).get("dev", [])
    requirements = [Requirement(text) for text in found]
    return [each for each in requirements if each.name != "market-spine-basic"]


FOREIGN = re.compile(
    r"(^|[^\w.~])/(work|farm|root|home|Users)/"  # a folder of somebody's machine
    r"|pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian|index-url",  # a package registry
    re.IGNORECASE,
)


def test_packages_say_that_they_are_typed() -> None:
    """The platform and each domain carry py.typed, so that type checkers read their annotations where installed."""
    domains = REPOSITORY / "packages/spine-domains/src/spine/domains"
    packages = [REPOSITORY / "market-spine-basic/src/market_spine"]
    packages += [
        declared.parent for declared in domains.rglob("__init__.py") if "DOMAIN" in declared.read_text("utf-8")
    ]
    assert len(packages) > 1
    assert [each.name for each in packages if not (each / "py.typed").is_file()] == []


def test_nothing_points_to_one_machine_or_registry() -> None:
    """No file holds an absolute path of somebody's machine or the address of a package registry."""
    found = []
    for path in files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # binary
        if path != Path(__file__):
            lines = enumerate(text.splitlines(), 1)
            found += [f"{path.name}:{number}: {line}" for number, line in lines if FOREIGN.search(line)]
    assert found == []


def test_files_are_short() -> None:
    """Python files have at most 400 lines."""
    assert {name: length for name, _, length in modules() if length > MAX_FILE} == {}


def test_functions_are_short() -> None:
    """Functions have at most 60 lines besides their docstring."""
    lengths = {
        f"{name}: {function.name}": (function.end_lineno or 0) - function.lineno + 1 - docstring_lines(function)
        for name, module, _ in modules()
        for function in functions(module)
    }
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION} == {}


def docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many lines a function's docstring takes."""
    first = function.body[0]
    return (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(function) is not None else 0


def test_every_test_says_what_it_shows() -> None:
    """Every test has a docstring whose first paragraph is one sentence with a full stop."""
    silent = [
        f"{name}: {function.name}"
        for name, module, _ in modules()
        if "/tests/" in name
        for function in functions(module)
        if function.name.startswith("test_")
        and not (ast.get_docstring(function) or "").partition("\n\n")[0].endswith(".")
    ]
    assert silent == []


def test_lock_file_is_pinned_and_hashed() -> None:
    """requirements.lock holds exact versions with hashes only: no index, no address, no option."""
    text = (REPOSITORY / "requirements.lock").read_text("utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    unpinned = [line for line in lines if not re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:", line)]
    assert lines
    assert unpinned == []
    assert "://" not in text


def test_lock_file_covers_what_is_asked_for() -> None:
    """Each dependency of the pyproject.toml files is locked, at a version they allow."""
    locked = lock()
    names = {each.name.replace("_", "-"): each.specifier for each in wanted()}
    assert {name: str(allowed) for name, allowed in names.items() if locked.get(name, "") not in allowed} == {}


def test_documents_name_real_files_and_targets() -> None:
    """Links between documents lead to files that exist, and every ``make`` command they show can be made."""
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))
    broken = []
    for path in files():
        if path.suffix != ".md":
            continue
        text = path.read_text("utf-8")
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
        broken += [f"{path.name}: {link}" for link in links if not (path.parent / link).exists()]
        shown = re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)
        broken += [f"{path.name}: make {target}" for target in shown if target not in targets]
    assert broken == []


@pytest.mark.parametrize("name", [".ci/run", "scripts/demo.sh", "scripts/demo_api.sh", "deploy/cron/market-spine-cron"])
def test_shell_scripts_can_be_run(name: str) -> None:
    """Shell scripts are executable and have no syntax error."""
    path = REPOSITORY / name
    assert path.stat().st_mode & 0o111
    shell = "bash" if "bash" in path.read_text("utf-8").partition("\n")[0] else "sh"
    subprocess.run([shell, "-n", str(path)], check=True)


def test_script_without_the_packages_says_what_to_install(tmp_path: Path) -> None:
    """Where the packages are not installed, the scheduler script says so, and how to install them."""
    script = REPOSITORY / "scripts/schedule_finra.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[0] == "Failed to import scheduler module"
    assert "pip install -e packages/spine-domains -e market-spine-basic" in done.stderr
