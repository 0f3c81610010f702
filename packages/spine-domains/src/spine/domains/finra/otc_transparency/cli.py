"""The domain's commands: ``market-spine schedule finra`` and ``market-spine sample-data finra``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from market_spine.app.scheduling import SchedulerResult
from market_spine.cli import output
from market_spine.cli.main import run
from market_spine.cli.options import Selecting, TrimmedPath
from market_spine.cli.schedule import common_options, schedule_command
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.schema import TIERS


@schedule_command(DOMAIN, "finra")
@click.option(
    "--lookback-weeks",
    default="4",
    show_default=True,
    metavar="N",
    help="Latest published weeks of each tier, at most 12 unless --force.",
)
@click.option("--weeks", cls=Selecting, metavar="DATE,...", help="Weeks instead: any date in each, or all.")
@click.option(
    "--from",
    "first",
    cls=Selecting,
    metavar="DATE|Nw",
    help="Every week from this date's on, or 26w back from today.",
)
@click.option("--to", "last", cls=Selecting, metavar="DATE|Nw", help="Last week of --from; default: the latest.")
@click.option(
    "--tiers", cls=Selecting, metavar="TIER,...", help=f"Tiers: {', '.join(TIERS)} (or T1, T2, OTCE); default: all."
)
@click.option("--source", metavar="[file|api]", help="Where the data comes from; else FINRA_SOURCE, else file.")
@click.option("--data-dir", metavar="DIR|URL", help="Folder of the files; else FINRA_DATA_DIR, else data/finra.")
@common_options
def schedule(**flags: Any) -> SchedulerResult:
    """Load FINRA's weekly OTC transparency data: ingest, normalize, calculate.

    Exit code: 0 success or dry run, 1 failure, 2 partial.
    """
    from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

    return run_finra_schedule(**flags)


@click.command("finra")
@click.option(
    "--out",
    required=True,
    type=TrimmedPath(path_type=Path, file_okay=False),
    help="Folder to write to; made if missing.",
)
@click.option("--weeks", default="6", show_default=True, metavar="N", help="Latest published weeks of each tier.")
@click.option("--tiers", metavar="TIER,...", help=f"Tiers: {', '.join(TIERS)} (or T1, T2, OTCE); default: all.")
@click.option("--rows", default="1000", show_default=True, metavar="R", help="Rows in each file.")
@click.option("--seed", default="1", show_default=True, metavar="S", help="Equal seeds give equal files.")
@click.option(
    "--run-date",
    metavar="YYYY-MM-DD",
    help="The day whose published weeks are written; default: today in New York.",
)
@click.option("--revise", is_flag=True, help="Write restated versions instead: about one row in a thousand moves.")
@click.option("--revise-weeks", metavar="DATE,...", help="Weeks to restate; default: the newest of each tier.")
@click.option("--non-ats", is_flag=True, help="Write non-ATS files, too.")
def sample_data(
    out: Path,
    weeks: str,
    tiers: str | None,
    rows: str,
    seed: str,
    run_date: str | None,
    revise: bool,
    revise_weeks: str | None,
    non_ats: bool,
) -> None:
    """Write generated weekly files in FINRA's pipe layout, invented but realistic, the same for the same seed."""
    from market_spine.app.arguments import choices, day, days, whole_number
    from market_spine.compose import market_day
    from spine.domains.finra.otc_transparency.partitions import find_tier
    from spine.domains.finra.otc_transparency.sample_data import write_sample_data

    written = write_sample_data(
        out,
        weeks=whole_number("--weeks", weeks, least=1),
        tiers=choices("--tiers", tiers, TIERS, find_tier),
        rows=whole_number("--rows", rows, least=1),
        seed=whole_number("--seed", seed, least=0),
        run_date=day("--run-date", run_date) if run_date else market_day(),
        revise=revise or revise_weeks is not None,
        revise_weeks=days("--revise-weeks", revise_weeks) if revise_weeks else (),
        non_ats=non_ats,
    )
    for path in written:
        output.write(str(path))


def main() -> int:
    """Entry point of ``scripts/schedule_finra.py``: the process's exit code."""
    return run(schedule, sys.argv[1:], "schedule_finra.py")
