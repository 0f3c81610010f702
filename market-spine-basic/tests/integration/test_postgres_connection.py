"""A connection to PostgreSQL that is cut between two statements: what is said of it, and what comes after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Part
from market_spine.core.domain import Domain
from market_spine.core.partition import Partition, Scope
from market_spine.core.quota import Limit, PlannedCall, Refusal
from market_spine.core.revision import diff_rows
from market_spine.core.schema import Table
from market_spine.errors import StoreUnavailable
from market_spine.store import StoreUrl, open_reader, open_writer, parse_url
from market_spine.store.ledger import StoreLedger
from market_spine.store.postgres import query
from market_spine.store.reader import StoreReader
from market_spine.store.writer import StoreCommit

if TYPE_CHECKING:
    from tests.integration.conftest import SetClock

SCOPE = Scope({"day": "2025-01-03", "plot": "north"})
DAY = Limit(25, timedelta(days=1))
CALL = PlannedCall("massive", "abc", "A|massive", "caller")

Cut = Callable[[StoreReader | StoreLedger], None]


@pytest.fixture
def store_url(new_postgres: Callable[[], str]) -> StoreUrl:
    """The address of a PostgreSQL store that does not exist yet."""
    return parse_url(new_postgres())


@pytest.fixture
def cut(store_url: StoreUrl) -> Iterator[Cut]:
    """End the server's side of a store's connection, and return once it is gone."""
    import psycopg

    with psycopg.connect("", autocommit=True, **dict(store_url.parameters)) as admin:  # type: ignore[arg-type]

        def end(store: StoreReader | StoreLedger) -> None:
            process = store._db._connection.info.backend_pid  # type: ignore[attr-defined]
            ended = admin.execute("SELECT pg_terminate_backend(%s, 60000)", (process,)).fetchone()
            assert ended == (True,)

        yield end


READS: dict[str, Callable[[StoreReader, Table], Any]] = {
    "known": lambda store, _: store.known("garden", ["2025-01-03|north"])["2025-01-03|north"].captures,
    "history": lambda store, _: len(store.history("garden", "2025-01-03|north")),
    "find_capture": lambda store, _: store.find_capture("a").entry.capture_id,  # type: ignore[union-attr]
    "payload": lambda store, _: store.payload(Part("ALL", b"bytes", "file").sha256),
    "read": lambda store, table: store.read(table, SCOPE)["weight"].to_list(),
    "read as of": lambda store, table: store.read(table, SCOPE, as_of=datetime(2025, 1, 7, tzinfo=UTC))[
        "weight"
    ].to_list(),
    "anomalies": lambda store, _: [record.anomaly.kind for record in store.anomalies()],
    "runs": lambda store, _: store.runs(),
    "last_asked": lambda store, _: store.last_asked("massive"),
    "asked": lambda store, _: store.asked("massive", "key", datetime(2025, 1, 1, tzinfo=UTC)),
    "refusals": lambda store, _: store.refusals("massive", "key"),
    "log": lambda store, _: len(store.log()),
    "query": lambda store, _: store.query("SELECT crop, weight FROM garden_harvest").rows,
    "version": lambda store, _: store._db.version().partition(" ")[0],
    "relations": lambda store, _: "core_manifest" in store._db.relations(),
    "settle": lambda store, _: store._db.settle(),
    "now": lambda store, _: store._db.now() > datetime(2025, 1, 1, tzinfo=UTC),
}
EXPECTED: dict[str, Any] = {
    "known": ("a",),
    "history": 1,
    "find_capture": "a",
    "payload": b"bytes",
    "read": [2.0],
    "read as of": [2.0],
    "anomalies": ["late"],
    "runs": [],
    "last_asked": {},
    "asked": [],
    "refusals": {},
    "log": 1,
    "query": [("leek", 2.0)],
    "version": "PostgreSQL",
    "relations": True,
    "settle": None,
    "now": True,
}


@pytest.fixture
def filled(
    store_url: StoreUrl, domain: Domain, clock: SetClock, partition: Partition, enter: Any, harvest: Any
) -> StoreUrl:
    """A store with one capture, its bytes, and an open anomaly."""
    with open_writer(store_url, [domain], clock=clock) as store, store.commit(partition) as commit:
        entry = enter(commit, partition, capture_id="a")
        commit.add_payload(Part("ALL", b"bytes", "file"))
        commit.replace(domain.tables[0], SCOPE, harvest(leek=2), entry.manifest_id)
        commit.note(Anomaly("late", "error", partition.key, "It is late."))
    return store_url


@pytest.mark.parametrize("name", READS)
def test_a_reader_that_lives_long_says_so_once_and_reads_on(
    filled: StoreUrl, domain: Domain, clock: SetClock, cut: Cut, name: str
) -> None:
    """Whatever is read first after the connection was cut raises StoreUnavailable; the next reading has a new one."""
    clock.now = datetime(2025, 2, 1, tzinfo=UTC)
    with open_reader(filled, [domain], clock=clock) as store:
        assert READS[name](store, domain.tables[0]) == EXPECTED[name]
        cut(store)
        # A query has a connection of its own, and what the driver knows of the server needs none.
        apart = ("query", "read as of", "version")
        with suppress(StoreUnavailable) if name in apart else pytest.raises(StoreUnavailable):
            READS[name](store, domain.tables[0])
        assert READS[name](store, domain.tables[0]) == EXPECTED[name]


WRITES: dict[str, Callable[[StoreCommit, Table, Callable[..., Any]], Any]] = {
    "known": lambda commit, *_: commit.known(),
    "next_id": lambda commit, *_: commit.next_id(),
    "last_in_line": lambda commit, *_: commit.last_in_line(),
    "add_payload": lambda commit, *_: commit.add_payload(Part("ALL", b"other", "file")),
    "replace": lambda commit, table, frame: commit.replace(table, SCOPE, frame(leek=3), 7),
    "replace with what is current": lambda commit, table, frame: commit.replace(
        table, SCOPE, frame(leek=3), 7, diff=diff_rows(frame(leek=2), frame(leek=3), table.key)
    ),
    "add_rejects": lambda commit, *_: commit.add_rejects(7, "b", _rejects()),
    "resolve": lambda commit, *_: commit.resolve(),
}


def _rejects() -> Any:
    import polars as pl

    return pl.DataFrame({"part": ["ALL"], "line": [1], "rule": ["blank"], "raw": ["x"]})


@pytest.mark.parametrize("name", WRITES)
def test_a_transaction_never_goes_on_over_another_connection(
    filled: StoreUrl,
    domain: Domain,
    clock: SetClock,
    partition: Partition,
    harvest: Callable[..., Any],
    cut: Cut,
    name: str,
) -> None:
    """Every step of a transaction whose connection was cut raises StoreUnavailable, the second time too; nothing of
    it is kept, and the next transaction works."""
    with open_writer(filled, [domain], clock=clock) as store:
        with pytest.raises(StoreUnavailable), store.commit(partition) as commit:  # noqa: PT012 - the block is the transaction
            commit.note(Anomaly("odd", "warning", partition.key, "It is odd."))
            cut(store)
            with pytest.raises(StoreUnavailable):
                WRITES[name](commit, domain.tables[0], harvest)
            WRITES[name](commit, domain.tables[0], harvest)
        assert [record.anomaly.kind for record in store.anomalies()] == ["late"]
        assert store.read(domain.tables[0], SCOPE)["weight"].to_list() == [2.0]
        with store.commit(partition) as commit:
            commit.note(Anomaly("odd", "warning", partition.key, "It is odd."))
        assert [record.anomaly.kind for record in store.anomalies()] == ["odd", "late"]


def test_a_transaction_cut_before_its_end_is_not_committed(
    filled: StoreUrl, domain: Domain, clock: SetClock, partition: Partition, cut: Cut
) -> None:
    """A connection cut after the last step of the block makes the commit raise StoreUnavailable."""
    with open_writer(filled, [domain], clock=clock) as store:
        with pytest.raises(StoreUnavailable), store.commit(partition) as commit:  # noqa: PT012 - the block is the transaction
            commit.note(Anomaly("odd", "warning", partition.key, "It is odd."))
            cut(store)
        assert [record.anomaly.kind for record in store.anomalies()] == ["late"]


def test_a_snapshot_never_goes_on_over_another_connection(
    filled: StoreUrl, domain: Domain, clock: SetClock, cut: Cut
) -> None:
    """What is read in one snapshot comes from one connection, or raises StoreUnavailable."""
    with open_reader(filled, [domain], clock=clock) as store:
        with pytest.raises(StoreUnavailable), store._db.snapshot():  # noqa: PT012 - the same
            cut(store)
            with pytest.raises(StoreUnavailable):
                store.payload("0")
            store.payload("0")
        assert READS["known"](store, domain.tables[0]) == ("a",)


def test_a_ledger_that_lives_long_counts_on(filled: StoreUrl, domain: Domain, clock: SetClock, cut: Cut) -> None:
    """A call that could not be written down raises StoreUnavailable; later ones are counted again."""
    with open_writer(filled, [domain], clock=clock) as store:
        ledger = store.ledger()
        uses: Sequence[Callable[[], Any]] = (
            lambda: ledger.reserve(CALL, [DAY], floor=timedelta(), patience=timedelta(minutes=1)),
            lambda: ledger.refusal("massive", "abc", "full"),
            lambda: ledger.refuse(Refusal("massive", "abc", "full", "no", clock.now, clock.now + timedelta(days=1))),
        )
        for use in uses:
            cut(store)
            with pytest.raises(StoreUnavailable):
                use()
            use()
        ((made,),) = store._db.rows("SELECT COUNT(*) FROM core_requests")
        assert made == 1
        assert ledger.refusal("massive", "abc", "full") is not None


def test_a_query_cut_in_the_middle(
    filled: StoreUrl, domain: Domain, clock: SetClock, store_url: StoreUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's query whose connection is cut while its views are made raises StoreUnavailable, no complaint of it."""
    import psycopg

    def cutting(
        _domains: object, _moment: str, schema: str, _relations: frozenset[str], *, sessions: str
    ) -> list[tuple[str, str]]:
        with psycopg.connect("", autocommit=True, **dict(store_url.parameters)) as admin:  # type: ignore[arg-type]
            admin.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
                " WHERE state = 'idle in transaction' AND pid IN (SELECT pid FROM pg_locks WHERE relation ="
                " 'pg_class'::regclass OR locktype = 'virtualxid') AND pid <> pg_backend_pid()"
            )
        return [("garden_harvest", f"SELECT * FROM {schema}.garden_harvest_versions")]

    monkeypatch.setattr(query, "as_of_views", cutting)
    clock.now += timedelta(days=1)
    with open_reader(filled, [domain], clock=clock) as store, pytest.raises(StoreUnavailable):
        store.query("SELECT * FROM garden_harvest", clock.now - timedelta(hours=1))


def test_a_closed_store_stays_closed(filled: StoreUrl, domain: Domain, clock: SetClock) -> None:
    """What was closed on purpose is not opened again by the next reading."""
    store = open_reader(filled, [domain], clock=clock)
    store.close()
    with pytest.raises(StoreUnavailable):
        store.payload("0")
