"""A scheduler's result for people: a line for each partition that failed or changed, and counts of the rest."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import click

from market_spine.app.scheduling import PipelineRun, RunStatus, SchedulerResult, SchedulerStatus, SkipReason
from market_spine.settings import variable
from market_spine.wording import NAMES, abridged, few, printable

_COLOURS = {
    "failed": "red",
    "completed": "green",
    "planned": "cyan",
    SchedulerStatus.SUCCESS: "green",
    SchedulerStatus.DRY_RUN: "cyan",
    SchedulerStatus.PARTIAL: "yellow",
    SchedulerStatus.FAILURE: "red",
}
_UNCHANGED = (SkipReason.SAME_BYTES, SkipReason.SAME_ROWS, SkipReason.UNCHANGED_AT_SOURCE, SkipReason.UP_TO_DATE)
_HEADINGS = ("status", "partition", "rows", "change")


class _Folded(NamedTuple):
    """All stages of one partition."""

    key: str
    runs: Sequence[PipelineRun]

    @property
    def status(self) -> str:
        """The gravest of its stages: failed, else what was done, else skipped."""
        statuses = [run.status for run in self.runs]
        for status in (RunStatus.FAILED, RunStatus.COMPLETED, RunStatus.PLANNED):
            if status in statuses:
                return status.value
        return RunStatus.SKIPPED.value

    @property
    def cells(self) -> tuple[str, ...]:
        """What its line says."""
        rows = next((run.row_count for run in self.runs if run.row_count is not None), None)
        counts = f"{rows:,}" if rows is not None else ""
        return self.status, printable(self.key), counts, ", ".join(filter(None, (self._change(), self._by())))

    def _change(self) -> str:
        first = self.runs[0]
        if first.revision_summary is not None:
            summary = first.revision_summary
            return f"+{summary.rows_added:,} -{summary.rows_removed:,} ~{summary.rows_changed:,}"
        done = first.status in (RunStatus.COMPLETED, RunStatus.PLANNED)
        return "new" if done and first.is_revision is False and ".ingest_" in first.pipeline else ""

    def _by(self) -> str:
        """What failed, or which stages ran where it was not all of them."""
        failed = [run for run in self.runs if run.error is not None]
        if failed:
            return ", ".join(run.error.kind for run in failed if run.error)
        ran = [run for run in self.runs if run.status is not RunStatus.SKIPPED]
        whole = ran[:1] == [*self.runs[:1]] and ".ingest_" in self.runs[0].pipeline
        return "" if whole else ", ".join(run.pipeline.rpartition(".")[2] for run in ran)

    @property
    def reasons(self) -> Iterator[str]:
        """Why it failed, in full."""
        for run in self.runs:
            if run.error is not None:
                where = "" if self.key in run.error.message else f"{self.key}: "
                yield where + run.error.message + (f" ({run.error.hint})" if run.error.hint else "")


def summary_lines(result: SchedulerResult, *, warnings: bool = True) -> list[str]:
    """The lines, coloured where stdout is a terminal.

    Args:
        result: what to tell.
        warnings: also its warnings; they have been told already where the log goes to the same terminal.
    """
    lines = [f"WARNING: {printable(each)}" for each in few(map(abridged, result.warnings))] if warnings else []
    folded = _folded(result.runs)
    lines += _table(folded)
    lines += _skipped(folded)
    reasons = [reason for each in folded for reason in each.reasons]
    lines += [_coloured("failed", "ERROR") + f": {printable(each)}" for each in few(reasons)]
    if result.error:
        hint = f" ({result.error.hint})" if result.error.hint else ""
        lines.append(_coloured("failed", f"ERROR: {printable(result.error.message + hint)}"))
    stats = result.stats
    lines.append(
        _coloured(result.status, result.status.value)
        + f": {stats.attempted} partitions attempted, {stats.succeeded} succeeded,"
        f" {stats.failed} failed, {stats.skipped} skipped"
    )
    if result.next_publication:
        lines.append(f"next publication of what was selected: {result.next_publication:%a} {result.next_publication}")
    return lines


def _folded(runs: Sequence[PipelineRun]) -> list[_Folded]:
    """One record per partition, in the order in which they first appear."""
    found: dict[str, list[PipelineRun]] = {}
    for run in runs:
        found.setdefault(run.partition_key, []).append(run)
    return [_Folded(*each) for each in found.items()]


def _table(folded: Sequence[_Folded]) -> Iterator[str]:
    """A line for each partition that failed, then one for each in which something was done."""
    failed = [each for each in folded if each.status == RunStatus.FAILED]
    told = failed + [each for each in folded if each.status in (RunStatus.COMPLETED, RunStatus.PLANNED)]
    if not told:
        return
    cells = [_HEADINGS, *(each.cells for each in told)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line = _line(row, widths)
        yield _coloured(row[0], row[0]) + line.removeprefix(row[0])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    status, key, rows, *rest = (
        cell.rjust(width) if place == 2 else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join((status, key, rows, *rest)).rstrip()


def _skipped(folded: Sequence[_Folded]) -> Iterator[str]:
    """How many partitions were skipped, by reason; those of which more is to be told are named."""
    skipped = sorted(
        ((each.runs[0].reason or "", printable(each.key)) for each in folded if each.status == RunStatus.SKIPPED),
        key=lambda each: each[0],
    )
    for reason, group in groupby((each for each in skipped if each[0] not in _UNCHANGED), key=lambda each: each[0]):
        keys = [key for _, key in group]
        yield f"{len(keys)} skipped ({reason}): {', '.join(keys[:NAMES])}{', ...' if len(keys) > NAMES else ''}"
    if unchanged := [reason for reason, _ in skipped if reason in _UNCHANGED]:
        yield f"{len(unchanged)} unchanged ({', '.join(dict.fromkeys(unchanged))})"


def _coloured(status: str, text: str) -> str:
    """The text in the colour of a status, where somebody looks and has not asked for none (no-color.org)."""
    colour = _COLOURS.get(status)
    if colour is None or not sys.stdout.isatty() or variable("NO_COLOR", ""):
        return text
    return click.style(text, fg=colour)
