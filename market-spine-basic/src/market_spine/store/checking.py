"""What is wrong with a store, if anything, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from market_spine.core.checking import CheckResult, checked
from market_spine.core.domain import Domain
from market_spine.errors import MarketSpineError, StoreCorrupt
from market_spine.store import codec, migrations, opening, views
from market_spine.store.database import Database
from market_spine.store.location import StoreUrl
from market_spine.store.views import quote

_RESTORE = "restore a backup, or make a new store from the payloads with `market-spine rebuild`"
_ORPHANS = """\
SELECT COUNT(*) FROM {table} v
 WHERE NOT EXISTS (SELECT 1 FROM core_manifest m WHERE m.manifest_id = v.{column}) AND v.{column} IS NOT NULL
"""
_LOST_PAYLOADS = """\
SELECT COUNT(DISTINCT p.sha256) FROM core_capture_parts p
 WHERE NOT EXISTS (SELECT 1 FROM core_payloads k WHERE k.sha256 = p.sha256)
"""
_PAYLOAD = "SELECT codec, size, data FROM core_payloads WHERE sha256 = ?"


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
            found.append(checked(name, test))
            if name in ("schema", "views") and not found[-1].ok:
                break
        return found


_Test = Callable[[], str]
"""Says what it found; raises what is wrong."""


def _tests(url: StoreUrl, db: Database, domains: Sequence[Domain], deep: bool) -> Iterator[tuple[str, _Test]]:
    yield "schema", lambda: _schema(url, db, domains)
    yield "views", lambda: _views(db, domains)
    yield "integrity", lambda: _integrity(db, deep)
    yield "manifest", lambda: _manifest(db, domains)
    yield from db.own_checks(domains, deep=deep).items()
    yield "payloads", lambda: _payloads(db, deep)
    yield "anomalies", lambda: _anomalies(db)


def _schema(url: StoreUrl, db: Database, domains: Sequence[Domain]) -> str:
    if migrations.TABLE not in (relations := db.relations()):
        opening.refuse_foreign(url, relations)
        raise StoreCorrupt("there is no store yet", hint=f"{migrations.UPGRADE_HINT}, or a scheduler")
    migrations.check_readable(db, domains)
    ((number,),) = db.rows(f"SELECT COUNT(*) FROM {migrations.TABLE} WHERE set_name NOT LIKE 'views:%'")
    return f"up to date, {number} migrations applied"


def _views(db: Database, domains: Sequence[Domain]) -> str:
    relations = db.relations()
    status = migrations.compare(db, migrations.load(db, domains), domains)
    present = {set_name.removeprefix("views:") for set_name, _ in status.applied}
    stale = [set_name for set_name in status.stale if set_name.removeprefix("views:") in present]
    declared = [
        name
        for set_name, shown in views.declared_views(db, domains, relations).items()
        if set_name.removeprefix("views:") in present
        for name, _ in shown
    ]
    missing = [name for name in declared if name not in relations]
    if missing or stale:
        problem = f"missing: {', '.join(missing)}" if missing else f"not as declared: {', '.join(stale)}"
        raise StoreCorrupt(f"views are {problem}", hint=migrations.UPGRADE_HINT)
    return f"{len(declared)} views as declared"


def _integrity(db: Database, deep: bool) -> str:
    if damage := db.damage(deep=deep):
        raise StoreCorrupt("; ".join(damage[:5]), hint=_RESTORE)
    return "no damage found" + ("" if deep else "; --deep looks closer")


def _manifest(db: Database, domains: Sequence[Domain]) -> str:
    relations = db.relations()
    tables = [table.versions for domain in domains for table in domain.tables if table.versions in relations]
    places = [(name, column) for name in tables for column in ("manifest_id", "superseded_by")]
    places += [("core_rejects", "manifest_id"), ("core_capture_parts", "manifest_id")]
    wrong = []
    for name, column in places:
        ((count,),) = db.rows(_ORPHANS.format(table=quote(name), column=column))
        wrong += [f"{count} rows of {name} have a {column} that is not in the manifest"] if count else []
    if wrong:
        raise StoreCorrupt("; ".join(wrong), hint=_RESTORE)
    ((entries,),) = db.rows("SELECT COUNT(*) FROM core_manifest")
    return f"{entries} entries; every row of {len(tables)} tables belongs to one"


def _payloads(db: Database, deep: bool) -> str:
    ((lost,),) = db.rows(_LOST_PAYLOADS)
    if lost:
        raise StoreCorrupt(f"{lost} payloads that the manifest names are missing", hint=_RESTORE)
    digests = [digest for (digest,) in db.rows("SELECT sha256 FROM core_payloads ORDER BY sha256")]
    if not deep:
        return f"{len(digests)} kept; --deep reads them"
    for digest in digests:
        ((name, size, data),) = db.rows(_PAYLOAD, (digest,))
        codec.decode(digest, name, size, data)
    return f"{len(digests)} kept, each with the bytes it had"


def _anomalies(db: Database) -> str:
    ((count,),) = db.rows("SELECT COUNT(*) FROM core_anomalies WHERE resolved_at IS NULL")
    return f"{count} open" + ("; see `market-spine anomalies`" if count else "")
