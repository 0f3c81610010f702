"""``market-spine rebuild``: a new database from the payloads and the manifest of another."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime

import click

from market_spine.cli import output
from market_spine.cli.options import db_option, json_option
from market_spine.errors import UsageError


@click.command()
@click.option("--into", required=True, metavar="PATH|URL", help="The new database; must not exist or be empty.")
@click.option(
    "--accept-version-change",
    "accept",
    is_flag=True,
    help="Take what the installed code computes where that differs from the manifest.",
)
@click.option(
    "--not-after",
    "last",
    metavar="MOMENT",
    help="Move what is of a later moment, because a clock was ahead, to immediately before this one.",
)
@db_option
@json_option
def rebuild(into: str, accept: bool, last: str | None, db: str | None, as_json: bool) -> None:
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
    moment = None if last is None else _moment(last, utc_now())
    clock = MomentClock(utc_now())
    old = parse_url(settings.database(db).url)
    with closing(reader(db)) as source, new_store(url, registry.domains(), clock, like=old) as target:
        report = replay(source.log(), source, target, clock, registry.domains(), accept=accept, last=moment)
    if as_json:
        output.write_json({"into": url.display, **asdict(report)})
        return
    output.write(f"{url.display}: {report.commits} commits of {report.partitions} partitions, {report.runs} runs")
    for name in report.changed:
        output.write(f"changed: {name}")
    for move in report.moved:
        output.write(f"moved: {move}")


def _moment(text: str, now: datetime) -> datetime:
    """What ``--not-after`` names; without zone it is UTC."""
    from market_spine import settings

    try:
        found = datetime.fromisoformat(settings.trimmed("--not-after", text))
        moment = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--not-after: {text!r} is no moment", hint=f"give one such as {now:%Y-%m-%dT%H:%M}Z"
        ) from error
    if moment > now:
        raise UsageError(f"--not-after: {text} has not been yet", hint="give a moment that has passed")
    return moment
