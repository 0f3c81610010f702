"""The store room: the only one that knows a database.

``open_writer`` and ``open_reader`` give what ``core.ports`` calls Writer and Reader; both are context
managers. The logic (manifest, replace, views, migrations) is written once over the ``Database`` seam; the
folders ``sqlite`` and ``postgres`` are its adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from market_spine.core.domain import Domain
from market_spine.core.ports import Clock
from market_spine.store.location import StoreUrl, parse_url

if TYPE_CHECKING:
    from typing import TypedDict, Unpack

    from market_spine.core.checking import CheckResult
    from market_spine.store.ledger import StoreLedger
    from market_spine.store.reader import StoreReader
    from market_spine.store.writer import StoreWriter

    class _Writing(TypedDict, total=False):
        clock: Clock | None
        wait_seconds: float
        create_parent: bool
        auto_migrate: bool


__all__ = ["StoreUrl", "check", "exists", "open_ledger", "open_reader", "open_writer", "parse_url", "upgrade"]

WAIT_SECONDS = 25.0
"""How long another writer is waited for: less than the 30 s that Kubernetes gives a container to end."""


def open_writer(
    url: StoreUrl,
    domains: Sequence[Domain],
    *,
    clock: Clock | None = None,
    wait_seconds: float = WAIT_SECONDS,
    create_parent: bool = False,
    auto_migrate: bool = True,
) -> StoreWriter:
    """Open a store for writing, creating it and bringing its schema up to date.

    Args:
        url: where it is.
        domains: whose tables and views it has.
        clock: tells commit moments; by default the database's own, which on PostgreSQL is the server's.
        wait_seconds: how long to wait for another writer.
        create_parent: make a missing folder instead of refusing.
        auto_migrate: apply pending migrations instead of refusing.

    Raises:
        StoreUnavailable: no such folder, not a database, not writable.
        SchemaError: the schema is newer than the code, older and may not be migrated, or that of something else.
        StoreLocked: another writer wrote for longer than ``wait_seconds``.
    """
    from market_spine.store import opening

    opened, _ = opening.writer(url, domains, clock, wait_seconds, create_parent, auto_migrate)
    return opened


def open_reader(
    url: StoreUrl,
    domains: Sequence[Domain],
    *,
    clock: Clock | None = None,
    wait_seconds: float = WAIT_SECONDS,
    missing_ok: bool = False,
    as_of: datetime | None = None,
) -> StoreReader:
    """Open a store so that nothing can be written through it.

    Args:
        url: where it is.
        domains: whose tables and views it has.
        clock: tells whether a moment has passed; by default the database's own.
        wait_seconds: how long an as-of query waits for a writer to finish.
        missing_ok: read an empty store where there is none, without creating it.
        as_of: a moment that has passed (``Reader.settled``): everything is read as it was known then.

    Raises:
        StoreUnavailable: there is none, or it is not a database.
        SchemaError: the schema is newer or older than the code.
    """
    from market_spine.store import opening

    return opening.reader(url, domains, clock, wait_seconds, missing_ok, as_of)


def open_ledger(url: StoreUrl, domains: Sequence[Domain], **how: Unpack[_Writing]) -> StoreLedger:
    """Open a store's quota ledger; arguments and errors are those of ``open_writer``."""
    return open_writer(url, domains, **how).ledger()


def exists(url: StoreUrl) -> bool:
    """Whether there is a store at an address; raises StoreError where that cannot be told."""
    from market_spine.store import opening

    return opening.exists(url, WAIT_SECONDS)


def check(
    url: StoreUrl, domains: Sequence[Domain], *, deep: bool = False, wait_seconds: float = WAIT_SECONDS
) -> list[CheckResult]:
    """Say what is wrong with a store, without writing to it; ``deep`` also reads every payload. Raises nothing."""
    from market_spine.store import checking

    return checking.check(url, domains, deep=deep, wait_seconds=wait_seconds)


def upgrade(
    url: StoreUrl,
    domains: Sequence[Domain],
    *,
    clock: Clock | None = None,
    wait_seconds: float = WAIT_SECONDS,
    create_parent: bool = False,
    adopt: bool = False,
) -> list[str]:
    """Bring a store up to date, creating it if there is none; returns the migrations applied, and what else was done.

    An embedded store of an older program is converted; what it was is kept beside it. With ``adopt`` also in
    an SQLite file that has tables of something else. Raises what ``open_writer`` raises.
    """
    from market_spine.store import opening

    return opening.upgraded(url, domains, clock, wait_seconds, create_parent, adopt)
