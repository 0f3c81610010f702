"""The gate that downstream jobs wait on: open only for what is captured, computed and free of open errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from market_spine.app.scheduling import SchedulerResult
from market_spine.cli.main import root
from market_spine.compose import reader
from market_spine.errors import UsageError

pytestmark = pytest.mark.usefixtures("harbor")

Run = Callable[..., SchedulerResult]
KEYS = ("2025-03-01", "2025-03-02", "2025-03-03")


def ask(database: str, *flags: str) -> tuple[int, dict[str, list[str]]]:
    """The exit code, and each partition's reasons."""
    arguments = ["ready", "harbor", "--db", database, "--run-date", "2025-03-09", "--json", *flags]
    done = CliRunner().invoke(root, arguments, standalone_mode=False)
    assert done.exception is None, done.exception
    document = json.loads(done.stdout)
    assert document["ready"] is (done.return_value == 0)
    for each in document["partitions"]:
        assert each["ready"] is not bool(each["reasons"])
    return done.return_value, {each["partition_key"]: each["reasons"] for each in document["partitions"]}


def moments(database: str) -> list[str]:
    """When each run was recorded."""
    with closing(reader(database)) as store:
        return [str(row[0]) for row in store.query("SELECT recorded_at FROM core_runs ORDER BY 1").rows]


def test_what_is_loaded_is_ready_and_what_is_not_says_so(run: Run, database: str) -> None:
    """Everything known by default; a named partition without a capture closes the gate, with its state."""
    run()
    assert ask(database) == (0, {key: [] for key in KEYS})
    assert ask(database, "--partitions", "2025-03-03,2025-03-04,2025-03-10") == (
        1,
        {
            "2025-03-03": [],
            "2025-03-04": ["nothing is captured: not_loaded"],
            "2025-03-10": ["nothing is captured: not_due"],
        },
    )


def test_an_empty_store_is_not_ready(run: Run, database: str) -> None:
    """Where nothing is known the gate is closed rather than open for want of anything to complain about."""
    run("2025-03-20")
    assert ask(database) == (1, {})


def test_stages_and_windows_have_to_stand_on_the_capture(run: Run, folder: Path, database: str) -> None:
    """A restated day that is only ingested, then one whose windows could not be computed, are not ready."""
    run()
    (folder / "2025-03-01.txt").write_text("ada 11\nbela 20\n")
    run(only_stage="ingest")
    behind = [f"not computed from its capture: {stage}" for stage in ("normalize", "calc")]
    assert ask(database) == (1, {KEYS[0]: behind, KEYS[1]: [], KEYS[2]: []})
    (folder / "2025-03-01.txt").write_text("ada 666\n")
    run(force=True)
    code, reasons = ask(database)
    assert (code, reasons[KEYS[2]]) == (1, ["not computed from its capture: recent"])
    (folder / "2025-03-01.txt").write_text("ada 12\nbela 20\n")
    run(force=True)
    assert ask(database)[0] == 0


def test_open_errors_close_the_gate_until_they_are_resolved_or_set_aside(run: Run, folder: Path, database: str) -> None:
    """A refused file and a held one say so although the version before is there; ``ack`` opens the gate again."""
    run()
    (folder / "2025-03-02.txt").write_text("<html>")
    (folder / "2025-03-03.txt").write_text("ada 5\ncaro seven\n")
    run()
    assert ask(database) == (
        1,
        {KEYS[0]: [], KEYS[1]: ["open error: html"], KEYS[2]: ["open error: reject_budget"]},
    )
    for key, kind in ((KEYS[1], "html"), (KEYS[2], "reject_budget")):
        arguments = ["anomalies", "ack", key, kind, "--reason", "known", "--db", database]
        assert CliRunner().invoke(root, arguments, standalone_mode=False).return_value == 0
    assert ask(database)[0] == 0


def test_a_retracted_partition_is_not_ready(run: Run, database: str) -> None:
    """What a person took back and left nothing is not there."""
    capture = run().runs[0].capture_id
    arguments = ["retract", str(capture), "--reason", "a test file", "--db", database]
    assert CliRunner().invoke(root, arguments, standalone_mode=False).return_value == 0
    code, reasons = ask(database)
    assert (code, reasons[KEYS[0]]) == (1, ["nothing is captured: retracted"])


def test_the_gate_can_be_read_as_of_a_moment(run: Run, folder: Path, database: str) -> None:
    """Before a load, between it and a failure, and after: what the gate said then it says for ever."""
    first = run("2025-03-01")
    run("2025-03-02")
    (folder / "2025-03-01.txt").write_text("<html>")
    run("2025-03-01")
    (folder / "2025-03-01.txt").write_text("ada 12\n")
    run("2025-03-01")
    loaded, both, broken, mended = moments(database)
    pair = ("--partitions", "2025-03-01,2025-03-02")
    missing = ["nothing is captured: not_loaded"]
    expected = {
        "2025-01-01": (1, {KEYS[0]: missing, KEYS[1]: missing}),
        loaded: (1, {KEYS[0]: [], KEYS[1]: missing}),
        # A capture becomes current before the windows over it are computed.
        str(first.runs[0].capture_id): (1, {KEYS[0]: ["not computed from its capture: recent"], KEYS[1]: missing}),
        both: (0, {KEYS[0]: [], KEYS[1]: []}),
        broken: (1, {KEYS[0]: ["open error: html"], KEYS[1]: []}),
        mended: (0, {KEYS[0]: [], KEYS[1]: []}),
    }
    for moment, answer in expected.items():
        assert ask(database, *pair, "--as-of", moment) == answer, moment
    assert ask(database, "--as-of", loaded) == (0, {KEYS[0]: []})


def test_what_has_to_be_proven_is_not_ready_without_proof(run: Run, database: str) -> None:
    """A source without totals of its own proves nothing."""
    run("2025-03-01")
    assert ask(database, "--require", "verified") == (1, {KEYS[0]: ["no totals of the source prove its rows"]})


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--require", "luck"], "--require: 'luck' is not allowed; it takes one of verified"),
        (["--week", "2025-03-01", "--session", "2025-03-01"], "--week and --session choose in two ways"),
        (["--week", "2025-03-01", "--partitions", "2025-03-01"], "--week and --partitions choose in two ways"),
        (["--tiers", "OTC"], "--tiers: harbor has no tiers"),
        (["--week", "soon"], "--week: 'soon' is not allowed"),
        (["--as-of", "2099-01-01"], "has not passed yet"),
        (["--as-of", "soon"], "--as-of: 'soon' is neither a moment nor a capture"),
    ],
)
def test_what_cannot_be_asked_is_refused(run: Run, database: str, flags: list[str], words: str) -> None:
    """Flags that contradict each other or name nothing are usage errors."""
    run("2025-03-01")
    done = CliRunner().invoke(root, ["ready", "harbor", "--db", database, *flags], standalone_mode=False)
    assert isinstance(done.exception, UsageError)
    assert words in done.exception.message


@pytest.mark.process
def test_a_shell_job_waits_on_the_gate(run: Run, database: str, tmp_path: Path) -> None:
    """``ready && job`` runs the job once everything is there and not before; the text says why."""
    run("2025-03-01")
    program = f"{sys.executable} -m market_spine ready harbor --db '{database}' --partitions"
    gate = f"export PYTHONPATH='{':'.join(sys.path)}'; {program} $DAYS && touch '{tmp_path}/done'"

    def job(days: str) -> Any:
        return subprocess.run(
            ["sh", "-c", gate.replace("$DAYS", days)], capture_output=True, text=True, check=False, timeout=60
        )

    waiting = job("2025-03-01,2025-03-02")
    assert (waiting.returncode, (tmp_path / "done").exists()) == (1, False)
    assert "2025-03-02  nothing is captured: not_loaded" in waiting.stdout
    assert "harbor is not ready" in waiting.stdout
    through = job("2025-03-01")
    assert (through.returncode, (tmp_path / "done").exists()) == (0, True), through.stderr
