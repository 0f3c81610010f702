"""``market-spine web``: the console."""

from __future__ import annotations

import click

from market_spine.cli import output
from market_spine.cli.options import db_option
from market_spine.errors import UsageError


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on: this machine only.")
@click.option("--port", default=8642, show_default=True, type=click.IntRange(0, 65535), help="0 for any free one.")
@click.option("--host-name", "names", multiple=True, metavar="NAME", help="A further name it may be asked for by.")
@db_option
def web(host: str, port: int, names: tuple[str, ...], db: str | None) -> None:
    """Serve the console: what is there, what is missing and why, what was restated, what was known when.

    It only reads. Stop it with Ctrl-C or SIGTERM.
    """
    from market_spine import registry, settings
    from market_spine.compose import utc_now
    from market_spine.store import parse_url
    from market_spine.web.console import LOOPBACK, Console
    from market_spine.web.serving import is_loopback, serve

    if not is_loopback(host):
        raise UsageError(
            f"--host: {host} can be reached from other machines, and the console asks nobody who they are",
            hint="leave --host away, and reach it through ssh -L 8642:localhost:8642",
        )
    console = Console(
        url=parse_url(settings.database(db).url),
        domains={name: registry.load(name) for name in registry.entries()},
        clock=utc_now,
        hosts=LOOPBACK | {host, *(name.lower() for name in names)},
    )
    serve(console, host=host, port=port, announce=lambda address: output.write(f"Market Spine console: {address}"))
