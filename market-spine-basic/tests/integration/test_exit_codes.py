"""One document and 0, 1 or 2, whatever the surroundings lack."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from market_spine.app.scheduling import SchedulerResult
from market_spine.testing import run_command

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.process


@pytest.mark.parametrize("name", ["finra", "prices"])
def test_a_script_that_cannot_import_answers_in_the_contract(tmp_path: Path, name: str) -> None:
    """Without the packages a script says so on stderr, exits with 1, and with --json prints the one document."""
    script = str(ROOT / f"scripts/schedule_{name}.py")
    done = run_command("--json", cwd=tmp_path, program=("-S", script))
    result = done.result()
    assert (done.code, result.error and result.error.kind) == (1, "missing_package")
    assert done.stderr.startswith("Failed to import scheduler module")
    assert run_command(cwd=tmp_path, program=("-S", script)).stdout == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("flags", [["--lookback-weeks", "x"], ["--no-such-flag"], ["--mode", "dry-run"]])
def test_a_stderr_that_cannot_be_written_changes_no_exit_code(tmp_path: Path, flags: list[str]) -> None:
    """With stderr on a full disk the document is there and the exit code is its own."""
    command = [sys.executable, "-m", "market_spine", "schedule", "finra", "--json", *flags]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=full, check=False, text=True)
    assert SchedulerResult.from_json(done.stdout).exit_code == done.returncode == 1


def test_a_process_that_may_open_eight_files_answers_in_the_contract(tmp_path: Path) -> None:
    """Where too few files may be open, the run fails with one document."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))

    (tmp_path / "in").mkdir()
    command = [sys.executable, "-m", "market_spine", "schedule", "finra", "--json", "--data-dir", "in", "--db", "a.db"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, check=False, text=True, preexec_fn=limit, env=dict(os.environ)
    )
    assert SchedulerResult.from_json(done.stdout).exit_code == done.returncode == 1


@pytest.mark.parametrize("waits", [False, True])
def test_what_is_registered_for_the_end_is_done_before_a_command_ends(waits: bool) -> None:
    """Whatever else the process is to do at its end is done and told, also by a thread that outlives the main one."""
    program = (
        "import atexit, sys, threading\n"
        "from market_spine.cli.main import main\n"
        "atexit.register(print, 'registered')\n"
        "def last():\n"
        "    threading.main_thread().join()\n"
        "    print('thread')\n"
        f"if {waits}: threading.Thread(target=last).start()\n"
        "sys.argv[1:] = ['schedule', 'finra', '--no-such-flag']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, sorted(done.stdout.split())) == (1, ["registered", *["thread"] * waits])
