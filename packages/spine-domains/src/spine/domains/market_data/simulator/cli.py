"""``market-spine simulate prices``: a price vendor on 127.0.0.1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spine.domains.market_data.simulator.book import Book, Split

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command("prices")
@click.option("--vendor", required=True, metavar="[alpha_vantage|polygon]", help="Whose service to simulate.")
@click.option("--port", default="8910", show_default=True, metavar="P", help="Port on 127.0.0.1; 0 for any free one.")
@click.option("--data", type=FOLDER, help="Folder of SYMBOL.csv bar files; default: invented bars.")
@click.option("--seed", default="1", show_default=True, metavar="S", help="Equal seeds invent equal bars and faults.")
@click.option("--symbols", metavar="SYM,...", help="Symbols to invent bars of; default: two dozen of every notation.")
@click.option(
    "--symbols-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The same, one a line; # starts a comment.",
)
@click.option("--split", "splits", multiple=True, metavar="SYM=DATE:FROM:TO", help="Let an invented symbol split.")
@click.option("--now", metavar="T", help="What the simulator takes for now: a moment, or a day for its noon.")
@click.option("--frozen", is_flag=True, help="Let the clock stand still.")
@click.option("--plan", metavar="PLAN", help="free, premium; polygon: free, starter, developer, advanced.")
@click.option("--set", "switches", multiple=True, metavar="NAME=VALUE", help="Set a switch; --switches lists them.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND[@ENDPOINT]=RATE",
    help="Let requests go wrong: RATE is a share or every:N; --switches lists.",
)
@click.option(
    "--slow-seconds", default="30", show_default=True, metavar="N", help="How late the fault timeout answers."
)
@click.option("--replay", type=FOLDER, help="Folder of recorded answers with a manifest.json.")
@click.option("--switches", "show", is_flag=True, help="List the vendor's switches and faults, and exit.")
def simulate(
    vendor: str,
    port: str,
    data: Path | None,
    seed: str,
    symbols: str | None,
    symbols_file: Path | None,
    splits: Sequence[str],
    now: str | None,
    frozen: bool,
    plan: str | None,
    switches: Sequence[str],
    faults: Sequence[str],
    slow_seconds: str,
    replay: Path | None,
    show: bool,
) -> None:
    """Serve a simulated price vendor on 127.0.0.1 until stopped.

    Point the loader at it: ALPHA_VANTAGE_URL or POLYGON_URL = the address it prints. Any key will do.
    """
    from market_spine.app.arguments import choice, whole_number
    from market_spine.cli import output
    from market_spine.compose import utc_now
    from market_spine.simulation import SimulatedClock, parse_moment, require, serve
    from spine.domains.market_data.simulator.book import read_book
    from spine.domains.market_data.simulator.replay import Recordings
    from spine.domains.market_data.simulator.server import VENDORS, vendor_app, vendor_faults

    require()
    number = whole_number("--seed", seed, least=0)
    build = VENDORS[choice("--vendor", vendor, VENDORS)]
    book = read_book(data) if data else _invent(number, symbols, symbols_file, splits)
    simulated = build(book)
    if show:
        output.write_table(
            ("kind", "name", "meaning"),
            [("--set", name, meaning) for name, meaning in simulated.switches.described().items()]
            + [("--fault", name, meaning) for name, meaning in _all_faults(simulated.faults).items()],
        )
        return
    for name, value in [*map(_pair, switches), *([("plan", plan)] if plan else [])]:
        simulated.switches.change(name, value)
    app = vendor_app(
        simulated,
        clock=SimulatedClock(parse_moment("--now", now) if now else utc_now(), frozen=frozen),
        faults=vendor_faults(
            simulated, faults, seed=number, slow_seconds=whole_number("--slow-seconds", slow_seconds, least=0)
        ),
        recordings=Recordings(replay) if replay else None,
    )
    serve(app, port=whole_number("--port", port, least=0), announce=output.write)


def _invent(seed: int, symbols: str | None, symbols_file: Path | None, splits: Sequence[str]) -> Book:
    from spine.domains.market_data.simulator.generated import SYMBOLS, generate_book

    named = [word.strip() for word in (symbols or "").split(",") if word.strip()]
    if symbols_file:
        lines = symbols_file.read_text(encoding="utf-8").splitlines()
        named += [text for line in lines if (text := line.partition("#")[0].strip())]
    given: dict[str, list[Split]] = {}
    for symbol, text in map(_pair, splits):
        given.setdefault(symbol, []).append(_split(symbol, text))
    return generate_book(
        seed,
        dict.fromkeys([*(named or SYMBOLS), *given]),
        splits={symbol: sorted(items, key=lambda split: split.day) for symbol, items in given.items()},
    )


def _split(symbol: str, text: str) -> Split:
    from market_spine.app.arguments import day, refused
    from spine.domains.market_data.simulator.book import Split

    parts = text.split(":")
    try:
        when, split_from, split_to = parts[0], float(parts[1]), float(parts[2])
        if not (len(parts) == 3 and split_from > 0 and split_to > 0):
            raise ValueError(text)
    except (IndexError, ValueError) as error:
        raise refused(
            "--split", f"{symbol}={text}", "SYMBOL=YYYY-MM-DD:OLD:NEW, such as AAPL=2026-11-24:1:4"
        ) from error
    return Split(day("--split", when), split_from, split_to)


def _pair(text: str) -> tuple[str, str]:
    from market_spine.app.arguments import refused

    name, equals, value = text.partition("=")
    if not (name and equals):
        raise refused("--set or --split", text, "NAME=VALUE")
    return name, value


def _all_faults(own: Mapping[str, str]) -> Mapping[str, str]:
    from market_spine.simulation import KINDS

    return {**own, **KINDS}
