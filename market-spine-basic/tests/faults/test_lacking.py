"""Commands other than schedules in a process that lacks something: one answer, and an exit code."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from market_spine.cli.attended import wait_until_still

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


STUCK = """
import sys, threading, time
from market_spine.cli.attended import attend
import polars as pl

called = threading.Event()

def work():
    called.set()
    return pl.read_parquet(sys.argv[1]).height

sys.exit(attend(work, lambda error: print(error.kind, error.message) or 1, lambda: called.wait() and time.sleep(0.001)))
"""


def test_a_call_that_stands_still_is_ended(tmp_path: Path) -> None:
    """A command whose library waits for ever, here for a pipe that nobody writes, is ended and answered for."""
    os.mkfifo(tmp_path / "pipe")
    done = subprocess.run(
        [sys.executable, "-c", STUCK, str(tmp_path / "pipe")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()[0], "SIGABRT" in done.stdout) == (1, "resources", True), done.stderr


PATIENT = """
import sys, threading, time
from market_spine.cli.attended import attend
import polars as pl

called, ended = threading.Event(), threading.Event()
ticks = []

def tick():
    called.wait()
    time.sleep(0.001)
    ticks.append(1)
    if len(ticks) == 300:
        print("waited", file=sys.stderr, flush=True)
        ended.set()

def write():
    pl.DataFrame({"n": range(500_000)}).write_parquet(sys.stdout.buffer, compression="uncompressed")

def work():
    called.set()
    CALL
    return 0

sys.exit(attend(work, lambda error: 1, tick))
"""


@pytest.mark.parametrize("call", ["write()", "ended.wait()"])
def test_a_wait_for_something_else_is_no_standstill(call: str) -> None:
    """However long nobody reads what a command writes, or the command waits outside of Polars, it is not ended."""
    command = [sys.executable, "-c", PATIENT.replace("CALL", call)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        written, rest = process.communicate()
    assert (process.returncode, said + rest) == (0, b"waited\n")
    if written:
        assert pl.read_parquet(written)["n"].to_list() == list(range(500_000))


def test_a_process_stands_still_after_a_minute_in_one_call_without_computing() -> None:
    """It does after 60 ticks in a row at which a thread is in a call and less than 10 ms were spent, not before."""
    idle, busy, elsewhere = (True, 0.001), (True, 0.02), (False, 0.001)
    spans = [*[idle] * 59, busy, *[idle] * 59, elsewhere, *[idle] * 60]
    spent = accumulate(seconds for _, seconds in spans)
    samples = iter([*zip((called for called, _ in spans), spent, strict=True), (True, 99.0)])
    wait_until_still(samples)
    assert list(samples) == [(True, 99.0)]


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
