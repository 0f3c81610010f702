"""PostgreSQL as a store: schemas, roles, locks, cut connections, and what an address may give away."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.core.schema import Table
from market_spine.errors import MarketSpineError, SchemaError, StoreLocked, StoreUnavailable
from market_spine.settings import database
from market_spine.store import StoreUrl, check, open_reader, open_writer, parse_url, upgrade
from market_spine.store.writer import StoreWriter


@pytest.fixture
def new_store(new_postgres: Callable[[], str]) -> Callable[[], StoreUrl]:
    """Address a fresh PostgreSQL store, another one each time."""
    return lambda: parse_url(new_postgres())


@pytest.fixture
def admin(store_url: StoreUrl) -> Iterator[psycopg.Connection]:
    """A connection of our own, as the server's superuser."""
    with psycopg.connect(autocommit=True, **dict(store_url.parameters)) as connection:  # type: ignore[arg-type]
        yield connection


@pytest.fixture
def role(store_url: StoreUrl, admin: psycopg.Connection) -> Iterator[str]:
    """A role that may log in and use the schema, and no more."""
    name = f"role_{store_url.schema}"
    admin.execute(f"CREATE ROLE {name} LOGIN".encode())
    admin.execute(f"CREATE SCHEMA {store_url.schema}".encode())
    admin.execute(f"GRANT USAGE ON SCHEMA {store_url.schema} TO {name}".encode())
    yield name
    admin.execute(f"DROP OWNED BY {name}".encode())
    admin.execute(f"DROP ROLE {name}".encode())


def _as(url: StoreUrl, **parameters: str) -> StoreUrl:
    return StoreUrl(url.kind, url.path, tuple({**dict(url.parameters), **parameters}.items()), url.schema)


def test_text_sorts_by_its_bytes(
    writer: StoreWriter, store_url: StoreUrl, admin: psycopg.Connection, put: Callable[..., Entry]
) -> None:
    """Whatever the server's language, every text column compares as in SQLite: capitals first, then accents last."""
    put("first", kale=1, Kale=2, beet=3, Öl=4, _=5)
    rows = writer.query("SELECT crop FROM garden_harvest ORDER BY crop").rows
    assert [crop for (crop,) in rows] == sorted(["kale", "Kale", "beet", "Öl", "_"], key=str.encode)
    found = admin.execute(
        "SELECT DISTINCT collation_name FROM information_schema.columns"
        " WHERE table_schema = %s AND data_type = 'text' AND table_name NOT LIKE 'core_anomalies'",
        (store_url.schema,),
    ).fetchall()
    assert found == [("C",)]


def test_a_role_that_may_not_change_the_schema_is_told_the_command(
    store_url: StoreUrl, domain: Domain, clock: Any, role: str
) -> None:
    """Without the right to make tables, an empty or old schema is an error that names market-spine db upgrade."""
    for attempt in (open_writer, upgrade):
        with pytest.raises(SchemaError, match="platform/0001_core") as error:
            attempt(_as(store_url, user=role), [domain], clock=clock)
        assert "market-spine db upgrade" in error.value.hint
    upgrade(store_url, [], clock=clock)
    with pytest.raises(MarketSpineError) as other:
        open_writer(_as(store_url, user=role), [domain], clock=clock)
    assert other.value.hint


def test_a_role_that_may_only_write_rows_can_load(
    store_url: StoreUrl,
    domain: Domain,
    clock: Any,
    role: str,
    admin: psycopg.Connection,
    partition: Partition,
    enter: Callable[..., Entry],
    harvest: Callable[..., Any],
) -> None:
    """SELECT, INSERT and UPDATE on the tables and USAGE on the sequence are all that a scheduler needs."""
    upgrade(store_url, [domain], clock=clock)
    for statement in (
        f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {store_url.schema} TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {store_url.schema} TO {role}",
    ):
        admin.execute(statement.encode())
    scope = Scope({"day": "2025-01-03", "plot": "north"})
    with open_writer(_as(store_url, user=role), [domain], clock=clock) as writer:
        for weight in (1, 2):
            with writer.commit(partition) as commit:
                entry = enter(commit, partition, capture_id=f"c{weight}")
                commit.replace(domain.tables[0], scope, harvest(kale=weight), entry.manifest_id)
        assert writer.query("SELECT weight FROM garden_harvest").rows == [(2.0,)]
    admin.execute(f"REVOKE INSERT ON {store_url.schema}.garden_harvest_versions FROM {role}".encode())
    with (
        open_writer(_as(store_url, user=role), [domain], clock=clock) as writer,
        pytest.raises(StoreUnavailable, match="does not permit") as error,
        writer.commit(partition) as commit,
    ):
        commit.replace(domain.tables[0], scope, harvest(kale=3), commit.next_id())
    assert error.value.hint


@pytest.mark.parametrize("schema", ["Two Words", 'a"b', "x'; DROP SCHEMA public; --", "ünï", "select"])
def test_any_schema_name_is_only_a_name(
    schema: str, store_url: StoreUrl, domain: Domain, clock: Any, admin: psycopg.Connection
) -> None:
    """Quotes, spaces and SQL in a schema's name do nothing but name it."""
    name = f"{store_url.schema} {schema}"
    url = StoreUrl("postgresql", store_url.path, store_url.parameters, name)
    upgrade(url, [domain], clock=clock)
    with open_reader(url, [domain], clock=clock) as reader:
        for as_of in (None, "2025-01-01"):
            assert reader.query("SELECT COUNT(*) FROM garden_value", as_of).rows == [(0,)]
    found = admin.execute("SELECT COUNT(*) FROM pg_namespace WHERE nspname = %s", (name,)).fetchone()
    assert found == (1,)
    quoted = name.replace('"', '""')
    admin.execute(f'DROP SCHEMA "{quoted}" CASCADE'.encode())


def test_a_schema_can_be_named_in_three_ways(store_url: StoreUrl, new_postgres: Callable[[], str], clock: Any) -> None:
    """The address's own parameter, libpq's search path and MARKET_SPINE_SCHEMA lead to the same schema."""
    server = new_postgres().rpartition("schema=")[0]
    name = store_url.schema
    upgrade(store_url, [], clock=clock)
    addresses = [
        f"{server}schema={name}",
        f"{server}options=-csearch_path%3D{name}",
        database(server.rstrip("?&"), {"MARKET_SPINE_SCHEMA": name}).url,
        database(None, {"MARKET_SPINE_SCHEMA": name, "DATABASE_URL": f"{server}schema=other"}).url,
    ]
    for address in addresses:
        assert parse_url(address).schema == name
        with open_reader(parse_url(address), [], clock=clock) as reader:
            assert reader.runs() == []
    assert database("x.db", {"MARKET_SPINE_SCHEMA": name}).url == "x.db"


def test_stores_in_one_database_do_not_wait_for_each_other(
    new_store: Callable[[], StoreUrl], domain: Domain, clock: Any, partition: Partition, enter: Callable[..., Entry]
) -> None:
    """The same partition in two schemas can be written at the same time."""
    with ExitStack() as stack:
        commits = []
        for url in (new_store(), new_store()):
            writer = stack.enter_context(open_writer(url, [domain], clock=clock, wait_seconds=5))
            commits.append(stack.enter_context(writer.commit(partition)))
        for commit in commits:
            enter(commit, partition)


def test_loads_of_different_partitions_overlap(
    store_url: StoreUrl,
    writer: StoreWriter,
    domain: Domain,
    clock: Any,
    enter: Callable[..., Entry],
    harvest: Callable[..., Any],
) -> None:
    """A partition whose load began later may be committed first; ids then run against moments, answers do not."""
    north, south = Partition("garden", ("2025-01-03", "north")), Partition("garden", ("2025-01-03", "south"))
    table: Table = domain.tables[0]
    import polars as pl

    with open_writer(store_url, [domain], clock=clock, wait_seconds=5) as other, writer.commit(north) as slow:
        early = enter(slow, north, capture_id="slow")
        scope = Scope({"day": "2025-01-03", "plot": "north"})
        slow.replace(table, scope, harvest(kale=1), early.manifest_id)
        with other.commit(south) as quick:
            late = enter(quick, south, capture_id="quick")
            frame = harvest(leek=2).with_columns(plot=pl.lit("south"))
            quick.replace(table, Scope({"day": "2025-01-03", "plot": "south"}), frame, late.manifest_id)
        assert other.query("SELECT crop FROM garden_harvest").rows == [("leek",)]
    assert early.manifest_id < late.manifest_id
    sql = "SELECT crop FROM garden_harvest ORDER BY crop"
    assert writer.query(sql, "quick").rows == [("leek",)]
    assert writer.query(sql, "slow").rows == [("kale",), ("leek",)]
    ((moments,),) = writer.query("SELECT COUNT(DISTINCT committed_at) FROM core_manifest").rows
    assert moments == 2


def test_a_cut_connection_leaves_nothing_and_is_named(
    store_url: StoreUrl,
    writer: StoreWriter,
    domain: Domain,
    clock: Any,
    admin: psycopg.Connection,
    partition: Partition,
    enter: Callable[..., Entry],
    harvest: Callable[..., Any],
) -> None:
    """If the server ends the connection in the middle of a commit nothing of it remains; a new one works."""
    scope = Scope({"day": "2025-01-03", "plot": "north"})
    with open_writer(store_url, [domain], clock=clock) as own:
        ((pid,),) = own._db.rows("SELECT pg_backend_pid()")

        def load() -> None:
            with own.commit(partition) as commit:
                entry = enter(commit, partition)
                commit.replace(domain.tables[0], scope, harvest(kale=1), entry.manifest_id)
                admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

        with pytest.raises(StoreUnavailable, match="cannot be reached") as error:
            load()
        assert error.value.hint
    assert writer.query("SELECT COUNT(*) FROM garden_harvest_versions").rows == [(0,)]
    with writer.commit(partition) as commit:
        enter(commit, partition)


def test_a_locked_table_is_waited_for_only_so_long(
    store_url: StoreUrl, writer: StoreWriter, domain: Domain, clock: Any, admin: psycopg.Connection
) -> None:
    """Another program's lock on a table ends in StoreLocked, for readers as for writers."""
    with admin.transaction(), open_reader(store_url, [domain], clock=clock, wait_seconds=0.05) as reader:
        admin.execute(f"LOCK TABLE {store_url.schema}.core_runs".encode())
        with pytest.raises(StoreLocked, match=r"0\.05 s"):
            reader.runs()


def test_a_view_of_somebody_else_is_named_when_it_stands_in_the_way(
    store_url: StoreUrl, make_domain: Callable[..., Domain], clock: Any, admin: psycopg.Connection
) -> None:
    """A migration that would take away what another view stands on changes nothing and names that view."""
    first = {"0001_beds.sql": "CREATE TABLE beds_versions (a TEXT, manifest_id BIGINT, superseded_by BIGINT);"}
    upgrade(store_url, [make_domain(first, tables=(), views=())], clock=clock)
    admin.execute(f"CREATE VIEW {store_url.schema}.mine AS SELECT * FROM {store_url.schema}.core_anomalies".encode())
    more = make_domain(first | {"0002_more.sql": "CREATE TABLE more (a TEXT);"}, tables=(), views=())
    with pytest.raises(SchemaError, match="mine"):
        upgrade(store_url, [more], clock=clock)
    admin.execute(f"DROP VIEW {store_url.schema}.mine".encode())
    assert upgrade(store_url, [more], clock=clock) == ["garden/0002_more"]


def test_tls_parameters_reach_the_driver(store_url: StoreUrl, domain: Domain, clock: Any) -> None:
    """An address that asks for a certificate check that cannot be made fails because of that."""
    url = _as(store_url, sslmode="verify-full", sslrootcert="/no/such/certificate.pem", host="127.0.0.1")
    with pytest.raises(StoreUnavailable, match=r"certificate|connection") as error:
        open_reader(url, [domain], clock=clock)
    assert error.value.hint


def test_what_migrations_miss_is_found_by_a_check(
    store_url: StoreUrl,
    domain: Domain,
    writer: StoreWriter,
    put: Callable[..., Entry],
    admin: psycopg.Connection,
    clock: Any,
) -> None:
    """A sequence that would give out ids again, as after an incomplete restore, is found, and mended as it says."""
    put("first", kale=1)
    put("second", kale=2)
    assert all(finding.ok for finding in check(store_url, [domain], deep=True))
    admin.execute(f"SELECT setval('{store_url.schema}.core_manifest_ids', 1)".encode())
    (wrong,) = [finding for finding in check(store_url, [domain]) if not finding.ok]
    assert wrong.name == "integrity"
    assert "market-spine db upgrade" in wrong.message
    upgrade(store_url, [domain], clock=clock)
    assert all(finding.ok for finding in check(store_url, [domain]))
    assert int(put("third", kale=3).manifest_id) == 3


_SECRET = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=4, max_size=30)
_NAMES = st.sampled_from(["password", "sslpassword"])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=_SECRET, parameter=_NAMES, raw=st.booleans(), place=st.sampled_from(["login", "query"]))
def test_no_address_gives_its_password_away(secret: str, parameter: str, raw: bool, place: str, clock: Any) -> None:
    """Whatever the password, encoded or not, no message, hint, traceback or display of a failing address holds it."""
    from urllib.parse import quote

    secret = f"Zq{secret}qZ"
    text = secret if raw else quote(secret, safe="")
    address = f"postgresql://me:{text}@127.0.0.1:1/db"
    if place == "query":
        address = f"postgresql://me@127.0.0.1:1/db?{parameter}={text}"
    shown = []
    try:
        url = parse_url(address)
        shown += [str(url), repr(url), url.display]
        assert pickle.loads(pickle.dumps(url)) == url
        shown += [finding.message + finding.hint for finding in check(url, [])]
        open_writer(url, [], clock=clock, wait_seconds=0.1)
    except MarketSpineError as error:
        shown += [error.message, error.hint, *traceback.format_exception(error)]
    told = "\n".join(shown)
    assert "Zq" not in told
    assert "qZ" not in told
    assert shown
