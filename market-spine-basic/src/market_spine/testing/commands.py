"""Commands in processes of their own, and what they answered."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from market_spine.app.scheduling import SchedulerResult, result_schema

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "PYTHONDONTWRITEBYTECODE")
"""The only variables that a command under test gets from us, so that none of a developer's settings leaks in."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended: its exit code and what it wrote."""

    code: int
    stdout: str
    stderr: str

    def result(self) -> SchedulerResult:
        """The one JSON document on stdout, checked against the contract's JSON Schema."""
        import json

        from jsonschema import Draft202012Validator

        Draft202012Validator(result_schema()).validate(json.loads(self.stdout))
        result = SchedulerResult.from_json(self.stdout)
        if result.exit_code != self.code:
            raise AssertionError(f"exit code {self.code}, but the result says {result.exit_code}")
        return result


def run_command(
    *arguments: str | Path,
    cwd: Path,
    environ: Mapping[str, str] | None = None,
    path: Sequence[Path] = (),
    program: Sequence[str] = ("-m", "market_spine"),
) -> Finished:
    """Run the command line in a process of its own, with no settings but those given.

    Args:
        arguments: what comes after ``market-spine``.
        cwd: the working directory.
        environ: further environment variables.
        path: folders in which further distributions are found.
        program: what Python runs instead, such as a script's path.
    """
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    if path:
        inherited["PYTHONPATH"] = os.pathsep.join(map(str, path))
    done = subprocess.run(  # noqa: S603 - the arguments are the test's own
        [sys.executable, *program, *map(str, arguments)],
        cwd=cwd,
        env={**inherited, **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)
