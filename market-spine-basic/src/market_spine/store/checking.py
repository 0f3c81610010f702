"""What is wrong with a store, if anything, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import cache

from market_spine.core.checking import CheckResult
from market_spine.core.domain import Domain
from market_spine.errors import MarketSpineError, StoreCorrupt
from market_spine.store import codec, consistency, migrations, moments, objects, opening
from market_spine.store.consistency import Book
from market_spine.store.database import Database
from market_spine.store.location import StoreUrl
from market_spine.store.problems import REBUILD, RESTORE, Problem

MOST = 50
"""Problems of one check that are told; of more, how many there are."""

# A noted capture has other bytes with the same rows, which are not kept a second time.
_LOST_PAYLOADS = """\
SELECT DISTINCT m.partition_key, m.capture_id, p.part, p.sha256, k.size
  FROM core_capture_parts p
  JOIN core_manifest m ON m.manifest_id = p.manifest_id
  LEFT JOIN core_payloads k ON k.sha256 = p.sha256
 WHERE m.status <> 'noted' AND (k.sha256 IS NULL OR k.size <> p.size)
 ORDER BY m.partition_key, m.capture_id, p.part
"""
_MOMENTS = {
    "core_manifest": "committed_at",
    "core_anomaly_events": "occurred_at",
    "core_decisions": "decided_at",
    "core_run_starts": "recorded_at",
    "core_run_ends": "recorded_at",
    "core_run_partitions": "recorded_at",
    "core_notifications": "sent_at",
    "core_window_checks": "checked_at",
    "core_refusals": "learnt_at",
    "core_migrations": "applied_at",
}
"""When each kind of thing was learnt; calls to vendors are planned ahead."""

_PAYLOAD = "SELECT codec, size, data FROM core_payloads WHERE sha256 = ?"
_NAMING = """\
SELECT DISTINCT m.partition_key, m.capture_id
  FROM core_capture_parts p JOIN core_manifest m ON m.manifest_id = p.manifest_id
 WHERE p.sha256 = ? ORDER BY 1, 2
"""


def check(url: StoreUrl, domains: Sequence[Domain], *, deep: bool, wait_seconds: float) -> list[CheckResult]:
    """Check a store without writing to it; later checks are left out where an earlier one makes them pointless.

    Args:
        url: where it is.
        domains: whose tables and views it has.
        deep: also read every payload and every page.
        wait_seconds: how long to wait for other processes.
    """
    try:
        with closing(opening.for_reading(url, wait_seconds)) as db:
            return db.steadily(lambda: _check(url, db, domains, deep))
    except MarketSpineError as error:
        return [CheckResult("reachable", False, error.message, error.hint)]


def _check(url: StoreUrl, db: Database, domains: Sequence[Domain], deep: bool) -> list[CheckResult]:
    with db.snapshot():
        found = [CheckResult("reachable", True, f"{url.display}, {db.version()}")]
        for name, test in _tests(url, db, domains, deep):
            findings = results(name, test)
            found += findings
            if name in ("schema", "tables") and not findings[0].ok:
                break
        return found


_Test = Callable[[], str | list[Problem]]
"""Says what it found, or what is wrong; may raise what is wrong."""


def _tests(url: StoreUrl, db: Database, domains: Sequence[Domain], deep: bool) -> Iterator[tuple[str, _Test]]:
    @cache
    def book() -> Book:
        return Book(db)

    yield "schema", lambda: _schema(url, db, domains)
    yield "tables", lambda: objects.tables(db, domains)
    yield "indexes", lambda: objects.indexes(db, domains)
    yield "views", lambda: objects.shown(db, domains)
    yield "integrity", lambda: _integrity(db, deep)
    yield "manifest", lambda: consistency.manifest(db, domains, book())
    yield "rows", lambda: consistency.rows(db, domains, book())
    yield from db.own_checks(domains, deep=deep).items()
    yield "payloads", lambda: _payloads(db, deep)
    yield "clock", lambda: _clock(db)
    yield "decisions", lambda: consistency.decisions(db, book())
    yield "anomalies", lambda: consistency.anomalies(db, book())
    yield "notices", lambda: consistency.notices(db)
    yield "runs", lambda: consistency.runs(db, book())
    yield "windows", lambda: consistency.window_checks(db, book())


def results(name: str, test: _Test) -> list[CheckResult]:
    """What a check found, one result for each problem."""
    try:
        found = test()
    except MarketSpineError as error:
        return [CheckResult(name, False, error.message, error.hint or RESTORE)]
    if isinstance(found, str):
        return [CheckResult(name, True, found)]
    told = [CheckResult(name, False, problem.message, problem.hint) for problem in found[:MOST]]
    if len(found) > MOST:
        told.append(CheckResult(name, False, f"and {len(found) - MOST} more", "mend these first"))
    return told


def _schema(url: StoreUrl, db: Database, domains: Sequence[Domain]) -> str:
    if migrations.TABLE not in (relations := db.relations()):
        opening.refuse_foreign(url, relations)
        raise StoreCorrupt("there is no store yet", hint=f"{migrations.UPGRADE_HINT}, or a scheduler")
    migrations.check_readable(db, domains)
    ((number,),) = db.rows(f"SELECT COUNT(*) FROM {migrations.TABLE} WHERE set_name NOT LIKE 'views:%'")
    return f"up to date, {number} migrations applied"


def _clock(db: Database) -> str | list[Problem]:
    now = db.now()
    hint = f"set the clock if it is wrong; else market-spine rebuild --into NEW --not-after {now:%Y-%m-%dT%H:%M:%SZ}"
    wrong = [
        Problem(f"{table} knows of {latest}, and the clock says {moments.to_text(now)}", hint)
        for table, column in _MOMENTS.items()
        for ((latest,),) in [db.rows(f"SELECT MAX({column}) FROM {table}")]
        if latest is not None and latest > moments.to_text(now + moments.FURTHEST_AHEAD)
    ]
    return wrong or f"no moment lies ahead of {moments.to_text(now)}"


def _integrity(db: Database, deep: bool) -> str | list[Problem]:
    hint = f"{RESTORE}; or, if it can be read, {REBUILD}"
    damage = [Problem(text, hint) for text in db.damage(deep=deep)]
    return damage or "no damage found" + ("" if deep else "; --deep looks closer")


def _payloads(db: Database, deep: bool) -> str | list[Problem]:
    wrong = [
        Problem(f"{key}: the payload of {capture} {part} ({digest[:12]}...) {_lack(size)}")
        for key, capture, part, digest, size in db.rows(_LOST_PAYLOADS)
    ]
    digests = [digest for (digest,) in db.rows("SELECT sha256 FROM core_payloads ORDER BY sha256")]
    if deep:
        for digest in digests:
            ((name, size, data),) = db.rows(_PAYLOAD, (digest,))
            try:
                codec.decode(digest, name, size, data)
            except StoreCorrupt as error:
                wrong += [Problem(f"{key}: {capture}: {error.message}") for key, capture in db.rows(_NAMING, (digest,))]
    if wrong:
        return wrong
    return f"{len(digests)} kept" + (", each with the bytes it had" if deep else "; --deep reads them")


def _lack(size: int | None) -> str:
    return "is missing" if size is None else f"is said to have {size} bytes, and the manifest says otherwise"
