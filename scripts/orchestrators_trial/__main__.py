"""Run the examples in ``deploy/orchestrators``: ``python -m scripts.orchestrators_trial``, in some minutes.

Each orchestrator is installed from its lock file into an environment of its own, and its example run to the end on
generated files, time after time: a first load with a file missing, the file, nothing, a restatement with a bad file,
the whole file, partitions that somebody else has loaded, a key that is none, a database that does not answer. The last
line says ``N passed, M failed``; the exit code is 1 if any failed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.orchestrators_trial.program import Program

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = REPOSITORY / ".venv-orchestrators"
SIDES = Path(__file__).parent


@dataclass
class Trial:
    """One orchestrator, and what its example works on.

    Args:
        name: of the orchestrator.
        folder: for all that the trial writes.
    """

    name: str
    folder: Path
    program: Program = field(init=False)
    example: Path = field(init=False)

    def __post_init__(self) -> None:
        self.program = Program(self.folder)
        self.example = REPOSITORY / f"deploy/orchestrators/{self.name}"

    def install(self) -> str:
        """The orchestrator is installed, exactly as its lock file says"""
        lock, stamp = REPOSITORY / f"deploy/locks/{self.name}.lock", HOME / f"{self.name}.installed"
        wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
        if not stamp.exists() or stamp.read_text() != wanted:
            HOME.mkdir(exist_ok=True)
            _check(sys.executable, "-m", "venv", "--clear", HOME / self.name)
            pip = (HOME / self.name / "bin/python", "-m", "pip", "install", "--quiet", "--require-hashes")
            _check(*pip, "--requirement", lock)
            stamp.write_text(wanted)
        if self.name == "airflow":
            for words in (("db", "migrate"), ("dags", "reserialize")):
                _check(HOME / "airflow/bin/airflow", *words, env=self.environment())
        return f"{len(lock.read_text().split('==')) - 1} packages"

    def environment(self, **variables: str) -> dict[str, str]:
        """What the example reads from its environment, the orchestrator's own settings included."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        given = self.program.environment() | variables
        given |= {"AIRFLOW_HOME": str(home), "DAGSTER_HOME": str(home), "PYTHONWARNINGS": "ignore"}
        return given | {
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.example),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, *keys: str, **variables: str) -> tuple[dict[str, Any], str]:
        """Run the example once: what became of each task, and the log."""
        answer = self.folder / "answer.json"
        answer.unlink(missing_ok=True)
        side = SIDES / f"{self.name}_side.py"
        command = [HOME / self.name / "bin/python", side, self.example / "market_spine_finra.py", answer, *keys]
        done = subprocess.run(  # noqa: S603 - our own script
            [str(word) for word in command],
            env=self.environment(**variables),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert answer.exists(), done.stdout[-2000:]
        return json.loads(answer.read_text()), done.stdout

    def missing(self) -> str:
        """First run with one file missing: its task alone fails, is not tried again, and says what to do"""
        everything = self.program.generate()
        absent = everything[0]
        self.program.hide(absent)
        found, log = self.run()
        assert _states(found) == dict.fromkeys(everything, "success") | {absent: "failed"}, found
        assert found["loads"][absent]["tries"] == 1, found
        assert "late: " in log
        assert "check the data directory" in log
        self._ended(found, "failed", windows="success", ready="success")  # the gate asks for the newest weeks
        assert self.program.windows() == len(everything) - 1
        return f"{len(everything) - 1} of {len(everything)} loaded, a window computed for each"

    def loaded(self) -> str:
        """Once the file is there, that partition alone has a task, and the gate opens"""
        key, before = self.program.show(), self.program.windows()
        found, _ = self.run()
        assert _states(found) == {key: "success"}, found
        self._ended(found, "success", windows="success", ready="success")
        assert self.program.windows() == before + 2
        return "its own window computed, and that of the week after it, once each"

    def nothing(self) -> str:
        """A run that finds nothing has no task, and is green"""
        found, _ = self.run()
        assert found["loads"] == {}, found
        self._ended(found, "success", windows=None, ready=None)
        return "no task"

    def bad_file(self) -> str:
        """A restatement with a bad file among it: that task alone fails, for its reason, and the others load"""
        newest, bad = self.program.restate()
        found, log = self.run()
        assert _states(found) == dict.fromkeys(newest, "success") | {bad: "failed"}, found
        assert found["loads"][bad]["tries"] == 1, found
        assert "empty_file: " in log
        assert "fetch the file again" in log
        self._ended(found, "failed", windows="success", ready="failed")
        self.program.show()
        found, _ = self.run()
        assert _states(found) == {bad: "success"}, found
        self._ended(found, "success", windows="success", ready="success")
        return f"{len(newest)} restated, 1 failed, and loaded when it was whole"

    def unchanged(self) -> str:
        """Partitions that somebody else has loaded meanwhile are skipped, for their reason"""
        keys = self.program.keys()[:2]
        found, log = self.run(*keys)
        assert _states(found) == dict.fromkeys(keys, "skipped"), found
        assert "same_bytes" in log
        self._ended(found, "success", windows=None, ready=None)
        return "2 skipped"

    def misused(self) -> str:
        """A key that is none fails and is not tried again"""
        found, log = self.run("nonsense")
        assert found["loads"] == {"nonsense": {"state": "failed", "tries": 1}}, found
        assert "usage" in log
        return "1 try"

    def unreachable(self) -> str:
        """A database that does not answer is tried again, to the policy's end"""
        found, log = self.run(DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
        assert found["plan"] == {"state": "failed", "tries": 3}, found
        assert found["loads"] == {}, found
        assert "store_unavailable" in log
        return "3 tries"

    def _ended(self, found: dict[str, Any], state: str, *, windows: str | None, ready: str | None) -> None:
        """Airflow computes windows and asks the gate in every run, Dagster once something was loaded."""
        if self.name == "airflow":
            assert found["state"] == state, found
            assert found["windows"]["state"] == "success", found
            assert found["ready"]["state"] == (ready or "success"), found
        else:
            told = {name: found[name]["state"] for name in ("windows", "ready") if name in found}
            assert told == {name: value for name, value in (("windows", windows), ("ready", ready)) if value}, found


def _states(found: dict[str, Any]) -> dict[str, str]:
    return {key: told["state"] for key, told in found["loads"].items()}


def _check(*command: str | Path, env: dict[str, str] | None = None) -> None:
    words = [str(word) for word in command]
    subprocess.run(words, env=env, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - fixed arguments


STEPS: tuple[Callable[[Trial], str], ...] = (
    *(Trial.install, Trial.missing, Trial.loaded, Trial.nothing, Trial.bad_file),
    *(Trial.unchanged, Trial.misused, Trial.unreachable),
)


def main() -> int:
    """Run every step with every orchestrator, say what became of it, and answer with the exit code."""
    os.umask(0o077)
    passed = failed = 0
    for name in sys.argv[1:] or ("airflow", "dagster"):
        with tempfile.TemporaryDirectory(prefix="market-spine-trial-") as folder:
            trial = Trial(name, Path(folder))
            for step in STEPS:
                started = time.monotonic()
                try:
                    said, word = step(trial), "passed"
                    passed += 1
                except Exception:  # noqa: BLE001 - each step is tried, whatever became of the one before
                    said, word = traceback.format_exc(limit=-1), "FAILED"
                    failed += 1
                took = time.monotonic() - started
                print(f"{word}  {name}: {step.__doc__} ({took:.0f} s)\n        {said}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
