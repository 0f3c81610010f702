"""``market-spine accept``, ``retract`` and ``anomalies ack``: what a person decides, with who and why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from market_spine.app.scheduling import SchedulerResult
from market_spine.cli.main import ScheduleCommand
from market_spine.cli.options import capture_argument, db_option, domain_option, partition_argument
from market_spine.cli.schedule import LOG_LEVELS, execute
from market_spine.core.decision import Verb
from market_spine.errors import MarketSpineError


def _decision_command(verb: Verb) -> Callable[[Callable[..., Any]], ScheduleCommand]:
    """Declare a decision's command. It receives its own flags plus ``hooks``, and returns a result."""

    def answer(error: MarketSpineError, started: datetime, finished: datetime) -> SchedulerResult:
        from market_spine.app.report import failed

        return failed("", verb, error, started, finished)

    def declare(function: Callable[..., SchedulerResult]) -> ScheduleCommand:
        def callback(*, as_json: bool, log_level: str, **flags: Any) -> int:
            return execute(function, answer, flags, as_json=as_json, log_level=log_level)

        callback.__doc__ = function.__doc__
        callback.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        return click.command(verb, cls=ScheduleCommand, failure=answer)(callback)

    return declare


def _common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--reason", required=True, metavar="TEXT", help="Why; kept for ever."),
        click.option("--by", metavar="NAME", help="Who decides; default: who runs this."),
        click.option(
            "--mode",
            default="run",
            show_default=True,
            metavar="[run|dry-run]",
            help="dry-run says what would change, and writes nothing.",
        ),
        db_option,
        click.option(
            "--log-level",
            default="WARNING",
            show_default=True,
            type=click.Choice(LOG_LEVELS),
            help="Least level logged to stderr.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Write the result as one JSON document to stdout."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@_decision_command("accept")
@capture_argument
@_common_options
def accept(*, capture: str, reason: str, **flags: Any) -> SchedulerResult:
    """Let CAPTURE become what is known: one that a guard held, or one that was retracted.

    Exit code: 0 done, or nothing to do; 1 failure.
    """
    from market_spine.app.decisions import Asked
    from market_spine.compose import run_decision

    return run_decision(Asked("accept", reason, capture_id=capture), "", domain=None, **flags)


@_decision_command("retract")
@capture_argument
@_common_options
def retract(*, capture: str, reason: str, **flags: Any) -> SchedulerResult:
    """Take CAPTURE back: its bytes were wrong, and are skipped when they come again.

    The partition becomes what its other captures make of it; what was known before stays readable as of then.
    Exit code: 0 done, or nothing to do; 1 failure.
    """
    from market_spine.app.decisions import Asked
    from market_spine.compose import run_decision

    return run_decision(Asked("retract", reason, capture_id=capture), "", domain=None, **flags)


@_decision_command("ack")
@partition_argument
@click.argument("kind")
@click.option("--until", metavar="YYYY-MM-DD", help="Back when it is seen again after this day; default: never.")
@domain_option
@_common_options
def ack(*, partition: str, kind: str, until: str | None, reason: str, **flags: Any) -> SchedulerResult:
    """Set aside the open anomaly KIND of PARTITION: it has been seen, and is counted as open no longer.

    Exit code: 0 done, 1 failure.
    """
    from market_spine.app.arguments import day
    from market_spine.app.decisions import Asked
    from market_spine.compose import run_decision

    last = day("--until", until) if until else None
    return run_decision(Asked("ack", reason, kind=kind, until=last), partition, **flags)
