"""Run the benchmarks: ``python benchmarks/run.py [CASE...] [--repeat N] [--scale F]``.

Every figure is of whole processes, cold, in interleaved rounds; every ratio is of the least times of the same run. All
cases take some forty minutes on two idle cores, half of it the case ``history``. A case that fails is told, and the
others go on. Needs Market Spine installed in the running Python; what it is compared with is installed on first use.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cases
from cases import Bench, Report
from console import console
from long_history import history
from postgres import postgres
from report import show, summary

CASES: Mapping[str, Callable[[Bench], Report]] = {
    **cases.CASES,
    "history": history,
    "postgres": postgres,
    "console": console,
}


def main() -> int:
    """Run the chosen cases and print a Markdown report; answers 1 if one failed."""
    parser = argparse.ArgumentParser(description="Benchmarks against peers and physical floors.")
    parser.add_argument("case", nargs="*", help=f"which: {', '.join(CASES)}; default: all")
    parser.add_argument("--repeat", type=int, metavar="N", help="rounds to count; default: as each case needs")
    parser.add_argument("--scale", type=float, default=1.0, metavar="F", help="multiply the amounts (default 1)")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.case if name not in CASES]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    if (arguments.repeat is not None and arguments.repeat < 1) or arguments.scale <= 0:
        parser.error("--repeat and --scale must be positive")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.platform()}", flush=True)
    reports: list[Report] = []
    failed: list[str] = []
    for name in arguments.case or CASES:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="bench-data-") as work:
            try:
                report = CASES[name](Bench(Path(work), arguments.repeat, arguments.scale))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the other cases can still be measured
                failed.append(name)
                print(f"\n### {name} failed\n\n{type(error).__name__}: {error}", flush=True)
                continue
        show(name, report, time.monotonic() - started)
        reports.append(report)
    summary(reports)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
