"""What the schedulers' commands share: common flags, signals, progress and the result."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from market_spine import registry
from market_spine.app.scheduling import SchedulerResult
from market_spine.app.task import Outcome
from market_spine.cli import output
from market_spine.cli.main import ScheduleCommand
from market_spine.cli.options import TrimmedPath, db_option
from market_spine.cli.outfile import out_option
from market_spine.cli.supervise import Signals
from market_spine.cli.telling import Telling
from market_spine.core.domain import Domain
from market_spine.errors import Interrupted, MarketSpineError, UsageError
from market_spine.telemetry import configure_logging
from market_spine.wording import printable

if TYPE_CHECKING:
    from market_spine.app.foreseen import Foresight

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=Callable[..., Any])

MISSING = "failed,late,not_loaded"
"""The states of what a backfill has left to do."""
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def schedule_command(domain: Domain, name: str) -> Callable[[Callable[..., Any]], ScheduleCommand]:
    """Declare a scheduler's command. It receives its own flags plus ``hooks``, and returns a result.

    Args:
        domain: whose scheduler it is.
        name: the command's name below ``market-spine schedule``.
    """

    def answer(error: MarketSpineError, started: datetime, finished: datetime) -> SchedulerResult:
        from market_spine.app.report import failed

        return failed(domain.name, domain.scheduler, error, started, finished)

    def declare(function: Callable[..., SchedulerResult]) -> ScheduleCommand:
        def callback(
            *,
            as_json: bool,
            log_level: str,
            out: Path | None,
            overwrite: bool,
            metrics_file: Path | None,
            **flags: Any,
        ) -> int:
            run = partial(execute, function, answer, as_json=as_json, log_level=log_level)
            if out is None:
                return run(flags, scheduled=True, metrics_file=metrics_file)
            from market_spine.cli.apply import make_plan

            return make_plan(out, overwrite, name, flags, run)

        callback.__doc__ = function.__doc__
        callback.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        return click.command(name, cls=ScheduleCommand, failure=answer, function=function, scheduled=True)(callback)

    return declare


def common_options(function: C) -> C:
    """The flags that every scheduler has."""
    options = (
        click.option(
            "--mode",
            default="run",
            show_default=True,
            metavar="[run|dry-run]",
            help="dry-run compares and plans, and writes nothing.",
        ),
        out_option("Write the plan of a dry run to a file, for market-spine apply."),
        click.option("--partitions", metavar="KEY,...", help="Exactly these partitions, instead of a selection."),
        click.option(
            "--only",
            is_flag=False,
            flag_value=MISSING,
            metavar="[STATE,...]",
            help=f"Of those selected, the partitions in these states of the grid; alone: {MISSING}.",
        ),
        click.option(
            "--shard",
            metavar="I/N",
            help="Of those selected, share I of N, I from 0; then --only-stage calc once for all.",
        ),
        click.option("--force", is_flag=True, help="Ignore revision detection, guards and limits of what is loaded."),
        click.option(
            "--only-stage",
            default="all",
            show_default=True,
            metavar="[ingest|normalize|calc|all]",
            help="Run one stage from what the database holds.",
        ),
        click.option("--fail-fast", is_flag=True, help="Start no further partition after the first failure."),
        click.option("--workers", default="1", show_default=True, metavar="N", help="Partitions worked on at once."),
        click.option("--executor", metavar="[dask|dask://HOST:PORT]", help="Work on other processes, or a cluster."),
        db_option,
        click.option(
            "--run-date",
            metavar="YYYY-MM-DD",
            help="Plan and name captures as of this day; default: today in New York.",
        ),
        click.option(
            "--log-level",
            default="INFO",
            show_default=True,
            type=click.Choice(LOG_LEVELS),
            help="Least level logged to stderr.",
        ),
        click.option(
            "--metrics-file",
            metavar="PATH",
            type=TrimmedPath(path_type=Path, dir_okay=False),
            help="Write figures for Prometheus's textfile collector once the run has ended.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Write the result as one JSON document to stdout."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def execute(
    function: Callable[..., SchedulerResult],
    failed: Callable[[MarketSpineError, datetime, datetime], SchedulerResult],
    flags: dict[str, Any],
    *,
    as_json: bool,
    log_level: str,
    foresight: Foresight | None = None,
    told: Callable[[SchedulerResult], None] = lambda _result: None,
    scheduled: bool = False,
    metrics_file: Path | None = None,
) -> int:
    """Call what answers with a result, with signals, progress and the log taken care of; returns the exit code.

    Others are told of it, too: of a ``scheduled`` run also that it begins; monitoring by ``metrics_file``.
    """
    terminal = sys.stderr.isatty()
    dry = flags.get("mode") == "dry-run"
    telling = Telling(scheduled=scheduled, dry=dry, db=flags.get("db"), metrics_file=metrics_file)
    so_far: list[Callable[[], SchedulerResult]] = []
    # Signals first: until they are handled, one ends the process without a result.
    with Signals() as signals, _progress(shown=terminal) as (planned, step):
        from market_spine.app.pipeline import guarded
        from market_spine.compose import Hooks, utc_now

        # The bar stands in for stderr by now, and puts what is logged above itself.
        domains = (target.partition(":")[0] for target in registry.entries().values())
        configure_logging(log_level, domains, as_text=terminal)
        hooks = Hooks(stop=signals.asked, planned=planned, progress=step, begun=so_far.append, foresight=foresight)
        started = utc_now()
        telling.begin()
        result = guarded(lambda: signals.supervise(lambda: function(**flags, hooks=hooks), lambda: bool(so_far)))
        if isinstance(result, Interrupted) and so_far:
            result = so_far[0]()
        elif isinstance(result, MarketSpineError):
            result = failed(result, started, utc_now())
        if as_json and result.error and result.error.kind == UsageError.default_kind:
            logger.error("%s", result.error.message, extra={"kind": result.error.kind, "hint": result.error.hint})
    told(result)
    warned = terminal and sys.stdout.isatty() and logger.isEnabledFor(logging.WARNING)
    try:
        output.write_result(result, as_json=as_json, warned=warned)
    finally:
        telling.end(result, stopped=signals.asked())
    if signals.left:
        output.end_at_once(result.exit_code)
    return result.exit_code


@contextmanager
def _progress(*, shown: bool) -> Iterator[tuple[Callable[[int], None], Callable[[Outcome], None]]]:
    """A progress bar on stderr for a person at a terminal, green while well; elsewhere a log line per partition."""
    if not shown:
        yield lambda _count: None, _log_outcome
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = BarColumn(style="grey23", complete_style="green", finished_style="green", pulse_style="cyan")
    columns = (
        TextColumn("{task.description}", markup=False),
        bar,
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("planning", total=None, rate="")

        def planned(count: int) -> None:
            progress.update(task, total=count, description="partitions")

        def step(outcome: Outcome) -> None:
            if any(run.error for run in outcome.runs):
                bar.complete_style = bar.finished_style = "red"
            progress.update(task, advance=1, description=printable(outcome.partition_key))
            speed = progress.tasks[0].speed
            progress.update(task, rate=f"{speed * 60:,.0f}/min" if speed else "")

        yield planned, step


def _log_outcome(outcome: Outcome) -> None:
    """Tell the log what became of a partition."""
    ended = (
        f"{run.pipeline.rpartition('.')[2]} {run.status.value}" + (f" ({run.reason})" if run.reason else "")
        for run in outcome.runs
    )
    logger.info("%s", ", ".join(ended), extra={"partition": outcome.partition_key})
