"""``market-spine doctor``: whether everything that a schedule needs is in order, and what to do if not."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import date, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from market_spine import registry, settings
from market_spine.cli import output
from market_spine.cli.options import db_option, domain_option, json_option
from market_spine.core.checking import CheckResult, checked
from market_spine.errors import MarketSpineError, SchemaError, StoreUnavailable
from market_spine.store import StoreUrl, exists, parse_url
from market_spine.store.moments import FURTHEST_AHEAD

if TYPE_CHECKING:
    from market_spine.core.domain import Domain
    from market_spine.core.ports import Clock, Reader

LEAST_FREE = 2**30
"""Bytes that should be free on the disk, whatever the size of the database."""
"""How far the store's last moment may lie ahead of the clock, and a host's clock beside the server's."""
CALENDAR_LEFT = timedelta(days=365)
"""How much of the calendar there should be left."""
NEXT = 3
"""How many partitions to come are told of each domain."""


class Surroundings(NamedTuple):
    """What the checks look at outside the program: the clock, and the bytes that are free where a path lies."""

    clock: Clock
    free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free


@click.command()
@domain_option
@click.option("--source", "online", is_flag=True, help="Also ask each source whether it answers; costs no quota.")
@db_option
@json_option
def doctor(domain: str | None, online: bool, db: str | None, as_json: bool) -> int:
    """Check what a schedule needs: settings, keys, database, clock, disk, folders, calendar, and what is due next.

    Each line says ok, or what to do. Keys are never shown. Exits with 1 when something is wrong.
    """
    from market_spine.compose import utc_now

    found = list(examine(db, online, Surroundings(utc_now), [registry.find(domain)] if domain else None))
    well = all(each.ok for each in found)
    if as_json:
        output.write_json({"ok": well, "checks": [asdict(each) for each in found]})
    else:
        rows = [(each.name, "ok" if each.ok else "WRONG", each.message, each.hint) for each in found]
        output.write_table(("check", "", "found", "what to do"), rows)
    return 0 if well else 1


def examine(
    db: str | None, online: bool, around: Surroundings, chosen: Sequence[Domain] | None = None
) -> Iterator[CheckResult]:
    """All checks, in the order in which a schedule would meet what they look at.

    Args:
        db: ``--db`` as given.
        online: also ask the sources.
        around: clock and disk.
        chosen: whose sources and keys to look at; by default those of every domain.
    """
    from market_spine.compose import market_day

    domains = registry.domains()
    chosen = domains if chosen is None else chosen
    yield checked("program", lambda: _program(domains))
    yield checked("configuration", lambda: _configuration(db, domains))
    try:
        url = parse_url(settings.database(db).url)
    except MarketSpineError as error:
        yield CheckResult("database", False, error.message, error.hint)
    else:
        yield from _database(db, url, around.clock)
        if url.kind == "sqlite":
            yield checked("disk", lambda: _disk(Path(url.path), around.free))
    today = market_day(around.clock())
    for domain in chosen:
        yield from domain.checkup(online=online)
    yield checked("calendar", lambda: _calendar(around.clock()))
    for domain in chosen:
        due = checked(f"next of {domain.name}", partial(_due, domain, today))
        if due.message:
            yield due


def _due(domain: Domain, today: date) -> str:
    """What a domain with a calendar expects next; empty for one without."""
    ahead = [each for each in domain.upcoming(today, NEXT) if domain.publication_day(each)]
    return ", ".join(f"{each.key} on {domain.publication_day(each)}" for each in ahead)


def _program(domains: Sequence[Domain]) -> str:
    names = ", ".join(domain.name for domain in domains)
    return f"market-spine {version('market-spine-basic')} on Python {platform.python_version()}, with {names}"


def _configuration(db: str | None, domains: Sequence[Domain]) -> str:
    from market_spine.compose import in_effect

    for domain in domains:
        in_effect(domain)
    named = "--db" if db is not None else "DATABASE_URL" if settings.variable("DATABASE_URL", "") else "the default"
    return f"database by {named}; migrations on opening: {'on' if settings.auto_migrate() else 'off'}"


def _database(db: str | None, url: StoreUrl, clock: Clock) -> Iterator[CheckResult]:
    from market_spine.compose import reader

    try:
        there = exists(url)
    except MarketSpineError as error:
        yield CheckResult("database", False, error.message, error.hint)
        return
    if url.kind == "sqlite":
        yield checked("database", lambda: _writable(url, there, settings.database(db).is_default))
    else:
        yield CheckResult("database", True, f"{url.display}, reached")
    if not there:
        yield CheckResult("schema", True, "there is no store yet; the first run of a scheduler makes it")
        return
    try:
        store = reader(db)
    except SchemaError as error:
        yield CheckResult("schema", False, error.message, error.hint)
        return
    except MarketSpineError as error:
        yield CheckResult("database", False, error.message, error.hint)
        return
    with closing(store):
        yield CheckResult("schema", True, "up to date")
        yield checked("clock", lambda: _clock(store, clock))


def _writable(url: StoreUrl, there: bool, is_default: bool) -> str:
    """A file has to be writable, and its folder too, for the journal that lies beside it."""
    path = Path(url.path).absolute()
    folder = path.parent
    while is_default and not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise StoreUnavailable(f"{url.display} has no folder", hint=f"make it: mkdir -p {folder}")
    closed = [str(each) for each in ((path, folder) if there else (folder,)) if not os.access(each, os.W_OK)]
    if closed:
        raise StoreUnavailable(
            f"{' and '.join(closed)} may not be written by {settings.user()}",
            hint="schedulers need to; queries do not: run this as the schedulers' user, or let this one write",
        )
    return f"{url.display}, {path.stat().st_size / 2**20:,.1f} MB" if there else f"{url.display} can be made"


def _clock(store: Reader, clock: Clock) -> str:
    now, stored = clock(), store.now()
    if abs(now - stored) > FURTHEST_AHEAD:
        raise StoreUnavailable(
            f"this host's clock says {_shown(now)}, the database's {_shown(stored)}", hint="set them: run NTP on both"
        )
    ends = [end for domain in registry.domains() if (end := store.moves(domain.name, "").through)]
    if ends and max(ends) - stored > FURTHEST_AHEAD:
        raise StoreUnavailable(
            f"the last commit is of {_shown(max(ends))}, ahead of the clock, which says {_shown(stored)}",
            hint="set the clock; if it is right, it was wrong then: market-spine rebuild --not-after puts that right",
        )
    return f"{_shown(stored)}, " + (f"last commit {_shown(max(ends))}" if ends else "nothing is committed yet")


def _shown(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _disk(path: Path, free: Callable[[Path], int]) -> str:
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    size = path.stat().st_size if path.exists() else 0
    least, left = max(LEAST_FREE, size), free(folder)
    told = f"{left / 2**30:,.1f} GB free in {folder}"
    if left < least:
        raise StoreUnavailable(
            f"{told}, less than {least / 2**30:,.1f} GB",
            hint="make room, at least for a copy of the database and 1 GB: an upgrade or a backup takes as much",
        )
    return told


def _calendar(now: datetime) -> str:
    from market_spine.compose import market_day
    from market_spine.core.calendar import FIRST_DAY, LAST_DAY, is_session, previous_session

    today = market_day(now)
    opened = is_session(today)
    if LAST_DAY - today < CALENDAR_LEFT:
        raise MarketSpineError(
            f"the NYSE calendar ends on {LAST_DAY}", hint="update the program, which brings a longer one"
        )
    said = "a session" if opened else f"no session; the last one was {previous_session(today)}"
    return f"today is {today:%a} {today} in New York, {said}; known from {FIRST_DAY} to {LAST_DAY}"
