"""Commands other than schedules in a process that lacks something: one answer, and an exit code."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Finra

COMMANDS = {
    "check": ["db", "check", "--deep"],
    "rebuild": ["rebuild", "--into", "new.db"],
    "backup": ["db", "backup", "copy.db"],
    "status": ["status"],
    "diff": ["diff", "2025-11-21|OTC"],
    "query": ["query", "SELECT COUNT(*) AS n FROM core_manifest"],
}


@pytest.fixture
def loaded(finra: Finra) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command on a loaded database, with further variables or limits."""
    db = str(finra.cwd / "own.db")
    finra.load(db, finra.first)
    finra.load(db, finra.restated)

    def start(
        name: str, limit: Callable[[], None] = lambda: None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "market_spine", *COMMANDS[name], "--db", db, "--json"]
        environ = {**os.environ, **variables}
        return subprocess.run(
            command, cwd=finra.cwd, env=environ, capture_output=True, text=True, check=False, preexec_fn=limit
        )

    return start


@pytest.mark.parametrize("name", ["check", "rebuild", "diff"])
def test_a_library_that_cannot_be_loaded_is_named(
    loaded: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, name: str
) -> None:
    """An import error deep in a command is one JSON document and exit code 1, and nothing half is left."""
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim" / "polars.py").write_text("raise ImportError('no such polars')\n")
    done = loaded(name, PYTHONPATH=str(tmp_path / "shim"))
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, "no such polars" in error["message"], bool(error["hint"])) == (1, True, True)
    assert not list(tmp_path.glob("**/*.partial"))


@pytest.mark.parametrize("files", [8, 12])
@pytest.mark.parametrize("name", list(COMMANDS))
def test_few_open_files_are_a_named_error(
    loaded: Callable[..., subprocess.CompletedProcess[str]], name: str, files: int
) -> None:
    """With a handful of open files a command does its work, or answers in JSON what it lacks."""
    done = loaded(name, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
    document = json.loads(done.stdout)
    assert done.returncode in (0, 1)
    if done.returncode:
        error = document.get("error") or next(each for each in document["checks"] if not each["ok"])
        assert error.get("kind") != "internal", done.stderr
        assert error["hint"]


@pytest.mark.parametrize("kilobytes", [60_000, 200_000, 400_000, 600_000, 800_000, 3_000_000])
def test_little_memory_is_one_document_and_an_exit_code(finra: Finra, tmp_path: Path, kilobytes: int) -> None:
    """However little memory ulimit leaves, also where a library aborts, a run answers in the contract."""
    allowed = kilobytes * 1024
    done = subprocess.run(
        [sys.executable, "-m", "market_spine", *finra.arguments(str(tmp_path / "little.db"), finra.first)],
        cwd=finra.cwd,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed)),
    )
    document = json.loads(done.stdout)
    assert (done.returncode, document["domain"]) in {(code, "finra.otc_transparency") for code in (0, 1, 2)}
    assert document["status"] in ("success", "failure", "partial")
