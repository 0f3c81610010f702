"""Check what ``deploy/`` ships, the Dockerfile and ``docs/deploy.md``: ``python -m scripts.deploy_check``.

Validators come from ``deploy/locks/check.lock`` and are installed where they are missing. Exit code 1 if anything is
wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.deploy_check import (
    containers,
    host,
    kubernetes,
    monitoring,
    orchestrators,
    pipelines,
    program,
    shell,
    tools,
)

YAML_RULES = "{rules: {key-duplicates: enable, indentation: {spaces: consistent}, trailing-spaces: enable}}"


def check_yaml(root: Path) -> list[str]:
    """Problems of every YAML file as YAML: tabs, keys given twice."""
    return tools.complaints("yamllint", "--format", "parsable", "--config-data", YAML_RULES, "deploy", cwd=root)


def check_texts(root: Path) -> list[str]:
    """Variables and shell lines on the page, and variables anywhere in ``deploy/``."""
    found = shell.check_document(root / "docs/deploy.md", root)
    for path in sorted((root / "deploy").rglob("*")):
        if path.is_file() and path.suffix not in {".lock", ".pyc"}:
            text, place = path.read_text("utf-8"), path.relative_to(root)
            found += [f"{place}: {name} is no variable of the program" for name in program.unknown_variables(text)]
            if path.suffix == ".sh":
                found += [f"{place}: {problem}" for problem in tools.syntax("bash", text)]
    return found


CHECKS: Mapping[str, Callable[[Path], list[str]]] = {
    "yaml": check_yaml,
    "image": containers.check_image,
    "compose": containers.check_compose,
    "kubernetes": kubernetes.check,
    "cron": host.check_cron,
    "systemd": host.check_systemd,
    "monitoring": monitoring.check,
    "github": pipelines.check_github,
    "gitlab": pipelines.check_gitlab,
    "orchestrators": orchestrators.check,
    "texts": check_texts,
    "steps": pipelines.check_steps,
}


def main() -> int:
    """Run the checks, say what is wrong, and answer with the exit code."""
    parser = argparse.ArgumentParser(prog="deploy_check", description="Check what deploy/ ships.")
    parser.add_argument("--root", type=Path, default=tools.REPOSITORY, help="the tree to check")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"some of {', '.join(CHECKS)}; default: all")
    given = parser.parse_args()
    if unknown := set(given.checks) - set(CHECKS):
        parser.error(f"no such check: {', '.join(sorted(unknown))}")
    wrong = 0
    tools.install()
    for name in given.checks or CHECKS:
        started = time.monotonic()
        problems = CHECKS[name](given.root.resolve())
        wrong += bool(problems)
        print(f"{'FAILED' if problems else 'passed'}  {name} ({time.monotonic() - started:.1f} s)")
        for problem in problems:
            print(f"        {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
