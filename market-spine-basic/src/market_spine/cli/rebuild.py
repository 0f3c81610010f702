"""``market-spine rebuild``: a new database from the payloads and the manifest of another."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict

import click

from market_spine.cli import output
from market_spine.cli.options import db_option, json_option


@click.command()
@click.option("--into", required=True, metavar="PATH|URL", help="The new database; must not exist or be empty.")
@click.option(
    "--accept-version-change",
    "accept",
    is_flag=True,
    help="Take what the installed code computes where that differs from the manifest.",
)
@db_option
@json_option
def rebuild(into: str, accept: bool, db: str | None, as_json: bool) -> None:
    """Replay every commit of a database into a new one, from its payloads and manifest alone.

    Capture ids, moments, rows and every answer as of every moment come out the same. Works offline and leaves
    the old database as it is.
    """
    from market_spine import registry, settings
    from market_spine.app.rebuild import MomentClock
    from market_spine.app.rebuild import rebuild as replay
    from market_spine.compose import reader, utc_now
    from market_spine.store import parse_url
    from market_spine.store.fresh import new_store

    url = parse_url(into)
    clock = MomentClock(utc_now())
    old = parse_url(settings.database(db).url)
    with closing(reader(db)) as source, new_store(url, registry.domains(), clock, like=old) as target:
        report = replay(source.log(), source, target, clock, registry.domains(), accept=accept)
    if as_json:
        output.write_json({"into": url.display, **asdict(report)})
        return
    output.write(f"{url.display}: {report.commits} commits of {report.partitions} partitions, {report.runs} runs")
    for name in report.changed:
        output.write(f"changed: {name}")
