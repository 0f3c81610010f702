"""``market-spine web``: the console."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from market_spine.cli import output
from market_spine.cli.options import TrimmedPath, db_option
from market_spine.errors import UsageError

if TYPE_CHECKING:
    from market_spine.web.identity import Identity


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8642, show_default=True, type=click.IntRange(0, 65535), help="0 for any free one.")
@click.option("--host-name", "names", multiple=True, metavar="NAME", help="A further name it may be asked for by.")
@click.option("--proxy-header", metavar="NAME", help="A header in which a trusted proxy names who asks.")
@click.option("--trusted-proxy", "proxies", multiple=True, metavar="CIDR", help="Where that proxy asks from.")
@click.option(
    "--token-file",
    type=TrimmedPath(path_type=Path, dir_okay=False),
    help="A file with a token that people log in with.",
)
@click.option(
    "--sql/--no-sql", "sql", default=None, help="Answer SQL; default: only while this machine alone is served."
)
@click.option("--allow-actions", is_flag=True, help="Let pages start backfills and record decisions.")
@click.option(
    "--action-command",
    metavar="TEXT",
    help="What stands for `market-spine` in what pages start; default: this program.",
)
@db_option
def web(
    host: str,
    port: int,
    names: tuple[str, ...],
    proxy_header: str | None,
    proxies: tuple[str, ...],
    token_file: Path | None,
    sql: bool | None,
    allow_actions: bool,
    action_command: str | None,
    db: str | None,
) -> None:
    """Serve the console: what is there, what is missing and why, what was restated, what was known when.

    It only reads, unless --allow-actions lets its pages start commands. Stop it with Ctrl-C or SIGTERM.
    """
    from market_spine import registry, settings
    from market_spine.compose import utc_now
    from market_spine.store import parse_url
    from market_spine.web.console import LOOPBACK, Console, require
    from market_spine.web.jobs import Desk
    from market_spine.web.serving import is_loopback, serve

    require()
    identity = _identity(proxy_header, proxies, token_file)
    local = is_loopback(host)
    if not local and identity is None:
        raise UsageError(
            f"--host: {host} can be reached from other machines, and the console asks nobody who they are",
            hint="add --token-file or --proxy-header; or leave --host away and use ssh -L 8642:localhost:8642",
        )
    from market_spine.web.identity import Local

    database = settings.database(db).url
    desk = Desk(_program(action_command), database, utc_now) if allow_actions else None
    console = Console(
        url=parse_url(database),
        domains={name: registry.load(name) for name in registry.entries()},
        clock=utc_now,
        identity=identity or Local(settings.user()),
        hosts=LOOPBACK | {host, *(name.lower() for name in names)},
        sql=local if sql is None else sql,
        desk=desk,
    )
    serve(console, host=host, port=port, announce=lambda address: output.write(f"Market Spine console: {address}"))


def _identity(proxy_header: str | None, proxies: tuple[str, ...], token_file: Path | None) -> Identity | None:
    """Who is let in besides this machine; raises UsageError."""
    from market_spine.web.identity import Proxied, Token

    if proxy_header and token_file:
        raise UsageError("--proxy-header and --token-file exclude each other", hint="name one of them")
    if proxies and not proxy_header:
        raise UsageError("--trusted-proxy is nothing without --proxy-header", hint="such as X-Forwarded-User")
    if proxy_header:
        return Proxied.of(proxy_header, proxies)
    return Token.read(token_file) if token_file else None


def _program(action_command: str | None) -> list[str]:
    """The words that start the program; raises UsageError."""
    import shlex
    import sys

    if action_command is None:
        return [sys.executable, "-m", "market_spine"]
    try:
        words = shlex.split(action_command)
    except ValueError as error:
        raise UsageError(f"--action-command: {error}") from error
    if not words:
        raise UsageError("--action-command names no command")
    return words
