"""Run the benchmarks: ``python benchmarks/run.py [CASE...] [--repeat N] [--scale F]``.

Every figure is of whole processes, cold, in interleaved rounds, and every ratio is of medians of the same run.
Needs Market Spine installed in the running Python; what it is compared with is installed on first use.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

from cases import CASES, Bar, Bench, Report


def main() -> None:
    """Run the chosen cases and print a Markdown report."""
    parser = argparse.ArgumentParser(description="Benchmarks against peers and physical floors.")
    parser.add_argument("case", nargs="*", help=f"which: {', '.join(CASES)}; default: all")
    parser.add_argument("--repeat", type=int, metavar="N", help="rounds to count; default: as each case needs")
    parser.add_argument("--scale", type=float, default=1.0, metavar="F", help="multiply all row counts (default 1)")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.case if name not in CASES]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    if (arguments.repeat is not None and arguments.repeat < 1) or arguments.scale <= 0:
        parser.error("--repeat and --scale must be positive")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.platform()}", flush=True)
    for name in arguments.case or CASES:
        with tempfile.TemporaryDirectory(prefix="bench-data-") as work:
            show(CASES[name](Bench(Path(work), arguments.repeat, arguments.scale)))


def show(report: Report) -> None:
    """Print one case."""
    print(f"\n### {report.title}\n")
    reference = next(iter(report.measured.values()))
    rounds = len(reference.samples)
    print(f"| median of {rounds} | wall s | from - to | CPU s | peak MB | wall ratio | CPU ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for each in report.measured.values():
        walls = [sample.wall for sample in each.samples]
        print(
            f"| {each.name} | {each.wall:.3f} | {min(walls):.3f} - {max(walls):.3f} | {each.cpu:.3f} | {each.peak:.0f} "
            f"| {each.wall / reference.wall:.2f} | {each.cpu / reference.cpu:.2f} |"
        )
    print()
    for bar in report.bars:
        print(f"- {_line(bar)}")
    for name, stages in report.stages.items():
        total = sum(stages.values())
        parts = (f"{stage} {seconds:.2f} s ({seconds / total:.0%})" for stage, seconds in stages.items())
        print(f"- {name} spends: {', '.join(parts)}")
    print(flush=True)


def _line(bar: Bar) -> str:
    wanted = f"{'at most' if bar.at_most else 'at least'} {bar.limit:g}{bar.unit}"
    return f"{bar.text}: {bar.value:.3g}{bar.unit}, wanted {wanted}: {'met' if bar.met else 'MISSED'}"


if __name__ == "__main__":
    main()
