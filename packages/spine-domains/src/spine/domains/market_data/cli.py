"""The domain's commands: ``market-spine schedule prices``."""

from __future__ import annotations

import sys
from typing import Any

import click

from market_spine.app.scheduling import SchedulerResult
from market_spine.cli.main import run
from market_spine.cli.options import Selecting
from market_spine.cli.schedule import common_options, schedule_command
from spine.domains.market_data import DOMAIN


@schedule_command(DOMAIN, "prices")
@click.option("--symbols", cls=Selecting, metavar="SYM,...", help="Stock symbols; this or --symbols-file is required.")
@click.option("--symbols-file", cls=Selecting, metavar="FILE", help="File of symbols, one a line; # starts a comment.")
@click.option(
    "--from", "first", metavar="DATE|Nw", help="History from this day on, or 26w back from today; later runs go on."
)
@click.option("--to", "last", metavar="DATE|Nw", help="Last day of --from; default: today.")
@click.option(
    "--source",
    metavar="[alpha_vantage|polygon|mock]",
    help="Where prices come from; else PRICE_SOURCE, else the vendor whose key is set.",
)
@click.option(
    "--outputsize",
    default="compact",
    show_default=True,
    metavar="[compact|full]",
    help="compact: about 100 days; full: 20 years.",
)
@click.option("--sleep", default="12.0", show_default=True, metavar="S", help="Least seconds between API calls.")
@click.option(
    "--max-symbols",
    default="25",
    show_default=True,
    metavar="N",
    help="Most symbols of one run; the rest comes first next time.",
)
@common_options
def schedule(**flags: Any) -> SchedulerResult:
    """Load daily prices: ingest, normalize, calculate.

    Exit code: 0 success or dry run, 1 failure, 2 partial.
    """
    from spine.domains.market_data.scheduler import run_prices_schedule

    return run_prices_schedule(**flags)


def main() -> int:
    """Entry point of ``scripts/schedule_prices.py``: the process's exit code."""
    return run(schedule, sys.argv[1:], "schedule_prices.py")
