"""The command ``market-spine simulate finra``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from market_spine.app.arguments import choice, refused, whole_number
from market_spine.cli import output

if TYPE_CHECKING:
    from spine.domains.finra.otc_transparency.simulator.market import SimulatedMarket

_DEFAULT_ROWS = "1000"
_DEFAULT_WEEKS = 52


@click.command("finra")
@click.option("--port", default="8900", show_default=True, metavar="P", help="Port on 127.0.0.1; 0 for any free one.")
@click.option("--data", metavar="DIR", help="Serve the JSON records of a folder instead of an invented market.")
@click.option("--seed", default="1", show_default=True, metavar="S", help="Equal seeds: equal market, equal faults.")
@click.option("--now", metavar="T", help="What its clock shows first: a date or a moment; default: now.")
@click.option("--frozen", is_flag=True, help="The clock stands still until it is moved.")
@click.option(
    "--rows",
    default=_DEFAULT_ROWS,
    show_default=True,
    metavar="R",
    help="About how many rows a tier has in a week: a number, T1=R,T2=R,OTCE=R, or full.",
)
@click.option("--revised", default="0.001", show_default=True, metavar="SHARE", help="Share of rows revised later.")
@click.option(
    "--keep-weeks",
    metavar="N",
    help=f"Latest weeks that weeklySummary holds, 0 for all; default: {_DEFAULT_WEEKS}, with --data all.",
)
@click.option("--empty", default="204", show_default=True, metavar="[204|200]", help="Status of an empty result.")
@click.option("--require-token", is_flag=True, help="Refuse anonymous requests.")
@click.option("--token-seconds", default="43169", show_default=True, metavar="N", help="Life of a bearer token.")
@click.option(
    "--requests-per-minute",
    default="1200",
    show_default=True,
    metavar="N",
    help="Most requests in any 60 seconds, then 429; 0 for no limit.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND[@ROUTE]=RATE",
    help="Let requests go wrong: RATE is a share or every:N; may be given often. docs/simulators.md lists the kinds.",
)
@click.option(
    "--slow-seconds", default="30", show_default=True, metavar="N", help="How late the fault timeout answers."
)
def simulate(
    port: str,
    data: str | None,
    seed: str,
    now: str | None,
    frozen: bool,
    rows: str,
    revised: str,
    keep_weeks: str | None,
    empty: str,
    require_token: bool,
    token_seconds: str,
    requests_per_minute: str,
    faults: tuple[str, ...],
    slow_seconds: str,
) -> None:
    """Serve a simulated FINRA Query API until interrupted; the first line printed is its address."""
    from market_spine.simulation import Faults, SimulatedClock, parse_moment, require, serve

    require()
    from spine.domains.finra.otc_transparency.simulator.app import FAULT_KINDS, Settings, finra_simulator

    number = whole_number("--seed", seed, least=0)
    clock = SimulatedClock(parse_moment("--now", now) if now else datetime.now(UTC), frozen=frozen)
    switches = Faults(
        faults, seed=number, kinds=FAULT_KINDS, slow_seconds=whole_number("--slow-seconds", slow_seconds, least=0)
    )
    settings = Settings(
        summary_weeks=(
            whole_number("--keep-weeks", keep_weeks, least=0) if keep_weeks else 0 if data else _DEFAULT_WEEKS
        ),
        empty_status=int(choice("--empty", empty, ("204", "200"))),
        anonymous=not require_token,
        token_seconds=whole_number("--token-seconds", token_seconds, least=1),
        per_minute=whole_number("--requests-per-minute", requests_per_minute, least=0),
    )
    app = finra_simulator(
        _market(data, number, rows, revised),
        clock=clock,
        faults=switches,
        settings=settings,
    )
    serve(app, port=whole_number("--port", port, least=0), announce=output.write)


def _market(data: str | None, seed: int, rows: str, revised: str) -> SimulatedMarket:
    if data:
        from spine.domains.finra.otc_transparency.simulator.recorded import RecordedMarket

        return RecordedMarket(Path(data))
    from spine.domains.finra.otc_transparency.simulator.generated import GeneratedMarket

    return GeneratedMarket(seed, parse_rows(rows), _share("--revised", revised))


def parse_rows(text: str) -> Mapping[str, int]:
    """Rows of each tier from ``1000``, ``T1=72000,T2=168000,OTCE=24000`` or ``full``; raises UsageError."""
    from spine.domains.finra.otc_transparency.simulator.universe import FULL_MARKET

    if text == "full":
        return FULL_MARKET
    if "=" not in text:
        return dict.fromkeys(FULL_MARKET, whole_number("--rows", text, least=1))
    given = dict.fromkeys(FULL_MARKET, int(_DEFAULT_ROWS))
    for part in text.split(","):
        tier, _, count = part.strip().partition("=")
        given[choice("--rows", tier, tuple(FULL_MARKET))] = whole_number("--rows", count, least=1)
    return given


def _share(flag: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise refused(flag, text, "a share from 0 to 1")
    return share
