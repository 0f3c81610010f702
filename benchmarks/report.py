"""What a case found, as Markdown."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cases import Bar, Report


def show(name: str, report: Report, seconds: float) -> None:
    """Print one case."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"\n### {report.title} (`{name}`)\n\nTook {seconds:.0f} s; load average at the end: {load}.\n")
    reference = next(iter(report.measured.values()))
    print("| least of the rounds | wall s | to | CPU s | peak MB | wall ratio | CPU ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for each in report.measured.values():
        longest = max(sample.wall for sample in each.samples)
        print(
            f"| {each.name} | {each.wall:.3f} | {longest:.3f} | {each.cpu:.3f} | {each.peak:.0f} "
            f"| {each.wall / reference.wall:.2f} | {each.cpu / reference.cpu:.2f} |"
        )
    remarks(report)


def remarks(report: Report) -> None:
    """Print what is to be said below the table of a case."""
    print()
    for bar in report.bars:
        print(f"- {bar.text}: {bar.reached}, wanted {bar.wanted}: {bar.verdict}")
    for contender, stages in report.stages.items():
        total = sum(stages.values())
        parts = (f"{stage} {seconds:.2f} s ({seconds / total:.0%})" for stage, seconds in stages.items())
        print(f"- {contender} spends: {', '.join(parts)}")
    for note in report.notes:
        print(f"- {note}")
    print(flush=True)


def summary(reports: list[Report]) -> None:
    """Print everything that was to be reached in one table."""
    lines: list[tuple[str, Bar]] = [(report.title, bar) for report in reports for bar in report.bars]
    if lines:
        print("\n| case | figure | wanted | reached | |\n| --- | --- | --- | ---: | --- |")
    for title, bar in lines:
        print(f"| {title} | {bar.text} | {bar.wanted} | {bar.reached} | {bar.verdict} |")
