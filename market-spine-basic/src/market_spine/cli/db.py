"""``market-spine db``: look after the database."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from market_spine.cli import output
from market_spine.cli.main import Group
from market_spine.cli.options import TrimmedPath, db_option, json_option


@click.group(cls=Group, no_args_is_help=True)
def db() -> None:
    """Look after the database."""


@db.command()
@click.option("--adopt", is_flag=True, help="Make a store in an SQLite file that has other tables already.")
@db_option
@json_option
def upgrade(adopt: bool, db: str | None, as_json: bool) -> None:
    """Apply the migrations that are pending, the platform's and each installed domain's."""
    from market_spine import registry, settings
    from market_spine.store import parse_url
    from market_spine.store import upgrade as apply

    database = settings.database(db)
    applied = apply(parse_url(database.url), registry.domains(), create_parent=database.is_default, adopt=adopt)
    if as_json:
        output.write_json({"applied": applied})
        return
    for name in applied:
        output.write(f"applied {name}")
    output.write("the database is up to date")


@db.command()
@click.argument("path", metavar="PATH", type=TrimmedPath())
@db_option
@json_option
def backup(path: str, db: str | None, as_json: bool) -> None:
    """Copy an SQLite database to PATH as it stands at one moment, also while a load runs."""
    from market_spine import settings
    from market_spine.store import parse_url
    from market_spine.store.fresh import backup as copy

    url = parse_url(settings.database(db).url)
    size = copy(url, path)
    if as_json:
        output.write_json({"from": url.display, "path": path, "bytes": size})
        return
    output.write(f"{path}: {size} bytes, a consistent copy of {url.display}")


_FIRST = ("reachable", "schema", "tables")
"""Checks without which nothing can be recomputed."""


def _tell(done: int, count: int) -> None:
    """Progress, on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\rrecomputed {done} of {count} partitions" + ("\n" if done == count else ""))
        sys.stderr.flush()


@db.command()
@click.option(
    "--deep", is_flag=True, help="Also recompute every partition from its payloads, which takes as long as a rebuild."
)
@db_option
@json_option
def check(deep: bool, db: str | None, as_json: bool) -> int:
    """Say whether the database can be reached, is up to date and whole, and what to do if not.

    Exits with 1 when something is wrong.
    """
    from market_spine import registry, settings
    from market_spine.store import check as look
    from market_spine.store import parse_url

    url = parse_url(settings.database(db).url)
    findings = look(url, registry.domains(), deep=deep)
    if deep and not {each.name for each in findings if not each.ok}.intersection(_FIRST):
        from market_spine.cli.verify import recomputed

        findings += recomputed(url, progress=_tell)
    well = all(finding.ok for finding in findings)
    if as_json:
        checks = [asdict(finding) for finding in findings]
        output.write_json({"database": url.display, "ok": well, "checks": checks})
    else:
        rows = [(each.name, "ok" if each.ok else "WRONG", each.message, each.hint) for each in findings]
        output.write_table(("check", "", "found", "what to do"), rows)
    return 0 if well else 1
