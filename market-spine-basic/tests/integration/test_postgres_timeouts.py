"""Time limits on PostgreSQL: those of a statement that a person asks, and those that the server itself has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition
from market_spine.errors import StoreLocked, StoreUnavailable, UsageError
from market_spine.store import StoreUrl, open_writer, parse_url
from market_spine.store.reader import StoreReader
from market_spine.store.writer import StoreWriter

ENDLESS = "SELECT a + b FROM generate_series(1, 100000000) a, generate_series(1, 100000000) b"
SUM = f"SELECT SUM(x) FROM ({ENDLESS}) s(x)"


@pytest.fixture
def store_url(new_postgres: Callable[[], str]) -> StoreUrl:
    """The address of a PostgreSQL store that does not exist yet."""
    return parse_url(new_postgres())


@pytest.fixture
def admin(store_url: StoreUrl) -> Iterator[Any]:
    """A connection of somebody else's to the same server."""
    import psycopg

    with closing(psycopg.connect("", autocommit=True, **dict(store_url.parameters))) as connection:  # type: ignore[arg-type]
        yield connection


@pytest.fixture
def gone(admin: Any) -> Callable[[StoreReader], None]:
    """Return once the server has ended its side of a store's connection."""

    def wait(store: StoreReader) -> None:
        pid = store._db._connection.info.backend_pid  # type: ignore[attr-defined]
        for _ in range(6_000):
            if not admin.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchall():
                return
            admin.execute("SELECT pg_sleep(0.01)")
        raise AssertionError("the server has not ended the connection within a minute")

    return wait


@pytest.mark.parametrize("sql", [SUM, ENDLESS])
@pytest.mark.parametrize("as_of", [None, "2025-01-06T12:00:00Z"])
def test_a_statement_has_the_time_that_is_given(writer: StoreWriter, clock: Any, sql: str, as_of: str | None) -> None:
    """One that has no end is ended, whether it brings rows or none, and the message says after how long."""
    clock()

    def read() -> None:
        with writer.ask(sql, as_of, seconds=0.2) as answer:
            for _ in answer.batches():
                pass

    with pytest.raises(UsageError, match=r"took longer than 0\.2 s") as caught:
        read()
    assert caught.value.hint == "ask for less at once"
    assert writer.query("SELECT 1").rows == [(1,)]


@pytest.mark.parametrize("limit", ["idle_in_transaction_session_timeout", "transaction_timeout"])
def test_a_transaction_that_the_server_ended(
    limit: str,
    writer: StoreWriter,
    partition: Partition,
    domain: Domain,
    enter: Callable[..., Entry],
    gone: Callable[[StoreReader], None],
) -> None:
    """A limit of the server's that ends a transaction is no defect: nothing was written, and the next one works."""
    writer._db.run(f"SET {limit} = '20ms'")

    def write() -> None:
        with writer.commit(partition) as commit:
            gone(writer)
            enter(commit, partition)

    with pytest.raises(StoreUnavailable) as caught:
        write()
    assert caught.value.kind == "store_unavailable" and caught.value.hint
    assert writer.known("garden") == {}
    with writer.commit(partition) as commit:
        enter(commit, partition)
    assert list(writer.known("garden")) == [partition.key]


def test_a_session_that_the_server_ended(writer: StoreWriter, gone: Callable[[StoreReader], None]) -> None:
    """A connection that was ended because it was idle is named as that, and the next statement has a new one."""
    writer._db.run("SET idle_session_timeout = '20ms'")
    gone(writer)
    with pytest.raises(StoreUnavailable) as caught:
        writer.known("garden")
    assert caught.value.kind == "store_unavailable" and caught.value.hint
    assert writer.known("garden") == {}


def test_a_statement_that_the_server_ended(writer: StoreWriter) -> None:
    """A limit on statements says whose it is and what to do."""
    writer._db.run("SET statement_timeout = '20ms'")
    with pytest.raises(StoreUnavailable, match="a time limit of the server's") as caught:
        writer._db.rows("SELECT pg_sleep(60)")
    assert caught.value.kind == "store_unavailable"
    assert caught.value.hint == "raise that limit for this role, or let less happen at once"


def test_a_lock_that_was_not_to_be_had(writer: StoreWriter, admin: Any, store_url: StoreUrl) -> None:
    """A limit on waiting for locks means that somebody else has the table: run again later."""
    writer._db.run("SET lock_timeout = '20ms'")
    with admin.transaction():
        admin.execute(f"LOCK TABLE {store_url.schema}.core_manifest IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreLocked):
            writer.known("garden")
    assert writer.known("garden") == {}


def test_the_limits_of_an_address_are_ours(store_url: StoreUrl, domain: Domain, clock: Any) -> None:
    """Limits on statements and locks that the address names do not shorten ours, which a run's work is made for."""
    options = "-c statement_timeout=20000 -c lock_timeout=20000"
    with open_writer(store_url, [domain], clock=clock):
        pass
    limited = (*store_url.parameters, ("options", options))
    with open_writer(StoreUrl("postgresql", store_url.path, limited, store_url.schema), [domain], clock=clock) as store:
        found = store._db.rows("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
    assert found == [("30min", "25s")]
