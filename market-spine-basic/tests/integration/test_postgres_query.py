"""Queries on PostgreSQL, on every major version at hand: what a statement may use, and what it may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.errors import MarketSpineError, StoreUnavailable, UsageError
from market_spine.store import StoreUrl, open_reader, open_writer, parse_url, upgrade
from market_spine.store.postgres import query as postgres_query
from market_spine.store.reader import StoreReader


@pytest.fixture(params=[16, 18])
def store_url(request: pytest.FixtureRequest, new_postgres: Callable[..., str]) -> StoreUrl:
    """A store that does not exist yet, on each major version."""
    return parse_url(new_postgres(request.param))


@pytest.fixture
def admin(store_url: StoreUrl) -> Iterator[psycopg.Connection]:
    """A connection of our own, as the server's superuser."""
    with psycopg.connect(autocommit=True, **dict(store_url.parameters)) as connection:  # type: ignore[arg-type]
        yield connection


@pytest.fixture
def reader(
    store_url: StoreUrl,
    domain: Domain,
    clock: Any,
    partition: Partition,
    enter: Callable[..., Entry],
    harvest: Callable[..., Any],
) -> Iterator[StoreReader]:
    """A reader of a store with one capture, ``first``, of kale = 1; it is a superuser."""
    scope = Scope({"day": "2025-01-03", "plot": "north"})
    with open_writer(store_url, [domain], clock=clock) as writer, writer.commit(partition) as commit:
        entry = enter(commit, partition, capture_id="first")
        commit.replace(domain.tables[0], scope, harvest(kale=1), entry.manifest_id)
    with open_reader(store_url, [domain], clock=clock) as opened:
        yield opened


HARMFUL = [
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT * FROM pg_read_file('/etc/passwd') AS f",
    "SELECT (SELECT pg_catalog.pg_read_file('/etc/passwd'))",
    "SELECT U&\"pg\\005fread_file\"('/etc/passwd')",
    "WITH f AS (SELECT pg_read_binary_file('/etc/passwd') AS b) SELECT b FROM f",
    "SELECT * FROM pg_ls_dir('/')",
    "SELECT 1 ORDER BY (SELECT COUNT(*) FROM pg_ls_dir('/'))",
    "SELECT 1 LIMIT (SELECT COUNT(*) FROM pg_ls_dir('/'))",
    "SELECT COUNT(*) FILTER (WHERE pg_sleep(0) IS NULL) FROM core_runs",
    "SELECT SUM(1) OVER (ORDER BY length(pg_read_file('/etc/passwd'))) FROM core_runs",
    "SELECT * FROM core_manifest TABLESAMPLE system (length(pg_read_file('/etc/passwd')))",
    "SELECT CASE WHEN false THEN pg_read_file('x') END",
    "SELECT * FROM (VALUES (pg_read_file('x'))) v",
    "SELECT * FROM core_runs r, LATERAL (SELECT pg_read_file(r.run_id)) f",
    "SELECT ARRAY(SELECT pg_ls_dir('/'))",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/x')",
    "SELECT lo_get(1)",
    "SELECT pg_stat_file('/etc/passwd')",
    "SELECT pg_sleep(1)::text",
    "SELECT pg_sleep(1) IS NULL",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_reload_conf()",
    "SELECT pg_advisory_lock(1)::text",
    "SELECT pg_notify('a', 'b')::text",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SELECT set_config('role', 'postgres', false)",
    "SELECT current_setting('data_directory')",
    "SELECT nextval('core_manifest_ids')",
    "SELECT setval('core_manifest_ids', 1)",
    "SELECT query_to_xml('DELETE FROM core_runs', true, true, '')::text",
    "SELECT table_to_xml('core_runs', true, true, '')::text",
    "SELECT database_to_xml(true, true, '')::text",
    "SELECT * FROM ts_stat('SELECT 1')",
    "SELECT ts_rewrite('a'::tsquery, 'SELECT 1, 2')",
    "SELECT own_function()",
    "SELECT 1 OPERATOR(@@@@) 2",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_shadow",
    "SELECT * FROM pg_stat_activity",
    "SELECT * FROM pg_settings",
    "SELECT * FROM pg_largeobject",
    "SELECT rolname FROM pg_catalog.pg_roles",
    "SELECT * FROM information_schema.user_mapping_options",
    "SELECT * FROM elsewhere.secrets",
    "SELECT (SELECT COUNT(*) FROM elsewhere.secrets) FROM core_runs",
    "SELECT EXISTS (TABLE elsewhere.secrets)",
    "SELECT * FROM core_manifest FOR UPDATE",
    "SELECT 1 INTO t",
    "WITH x AS (INSERT INTO core_rejects SELECT * FROM core_rejects RETURNING *) SELECT * FROM x",
    "WITH x AS (DELETE FROM garden_harvest_versions RETURNING crop) SELECT crop FROM x",
    "COPY core_runs TO PROGRAM 'touch /tmp/x'",
    "COPY core_runs FROM '/etc/passwd'",
    "DO $$ BEGIN END $$",
    "CALL own_procedure()",
    "SET ROLE postgres",
    "EXPLAIN ANALYZE SELECT 1",
    "EXECUTE s",
    "FETCH ALL FROM c",
    "TABLE core_runs",
    "SELECT 1; DROP TABLE core_runs",
    "SELECT 1) AS x; DROP TABLE core_runs; --",
    "SELECT 1 /* ; */; SELECT 2",
    "SELECT $1",
    "SELECT * FROM market_spine_statement",
    "SELECT * FROM pg_temp.market_spine_statement",
    "SELECT 1/0",
    "SELECT 'x'::date",
    "SELECT FROM core_runs",
]


@pytest.mark.parametrize("as_of", [None, "first"])
def test_a_statement_can_neither_write_nor_reach_outside(
    reader: StoreReader, admin: psycopg.Connection, store_url: StoreUrl, as_of: str | None
) -> None:
    """Whatever the spelling, files, settings, other schemas, own functions and every write are refused."""
    schema = store_url.schema
    for statement in (
        "CREATE SCHEMA IF NOT EXISTS elsewhere",
        "CREATE TABLE IF NOT EXISTS elsewhere.secrets (word TEXT)",
        f"CREATE FUNCTION {schema}.own_function() RETURNS TEXT STABLE LANGUAGE sql"
        " AS 'SELECT word FROM elsewhere.secrets'",
        f"CREATE FUNCTION {schema}.own_sum(integer, integer) RETURNS INTEGER IMMUTABLE LANGUAGE sql AS 'SELECT 1'",
        f"CREATE OPERATOR {schema}.@@@@ (LEFTARG = integer, RIGHTARG = integer, FUNCTION = {schema}.own_sum)",
    ):
        admin.execute(statement.encode())
    for sql in HARMFUL:
        with pytest.raises(UsageError) as error:
            reader.query(sql, as_of)
        assert error.value.hint, sql
    assert reader.query("SELECT COUNT(*) FROM garden_harvest_versions").rows == [(1,)]


def test_functions_that_the_server_itself_restricts_are_refused(reader: StoreReader, admin: psycopg.Connection) -> None:
    """No built-in function that ordinary roles may not call, that writes or answers differently each time passes."""
    rows = admin.execute(
        "SELECT proname, provolatile = 'v', proacl IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM aclexplode(proacl) a WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')"
        " FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace"
    ).fetchall()
    passed = {name for name, volatile, _ in rows if postgres_query.harmless("pg_catalog", name, volatile=volatile)}
    assert len(passed) > 1000
    assert not {name for name, _, restricted in rows if restricted} & passed
    random = {"random", "random_normal", "clock_timestamp", "timeofday", "gen_random_uuid", "uuidv4", "uuidv7"}
    assert {name for name, volatile, _ in rows if volatile} & passed <= random | {
        # harmless in other variants: these exist as immutable or stable functions too
        name
        for name, volatile, _ in rows
        if not volatile
    }
    assert not {name for name in passed if name.startswith(("pg_", "lo_"))} - {"pg_typeof"}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM garden_harvest_versions",
        "SELECT COUNT(*) FROM {schema}.core_manifest",
        "SELECT * FROM {schema}.garden_harvest",
        "WITH core_manifest AS (SELECT * FROM {schema}.core_manifest) SELECT * FROM core_manifest",
        "SELECT (SELECT COUNT(*) FROM {schema}.core_runs) FROM core_manifest",
        'SELECT 1 FROM U&"garden\\005fharvest\\005fversions"',
        "SELECT * FROM information_schema.tables",
        "SELECT relname FROM pg_class",
        "SELECT last_value FROM core_manifest_ids",
    ],
)
def test_as_of_a_moment_the_present_is_out_of_reach(reader: StoreReader, store_url: StoreUrl, sql: str) -> None:
    """Physical names, names with a schema and the catalogue are refused, however they are spelt."""
    with pytest.raises(UsageError):
        reader.query(sql.format(schema=store_url.schema), "first")


@pytest.mark.parametrize("as_of", [None, "first"])
@pytest.mark.parametrize(
    ("sql", "row"),
    [
        ("SELECT '\\x00ff'::bytea, DATE '2025-01-03', 1.50::numeric, 3::numeric", ("00ff", "2025-01-03", 1.5, 3)),
        ("SELECT 1 AS a, 2 AS a, * FROM (VALUES (3)) v(a)", (1, 2, 3)),
        (
            "SELECT TIMESTAMPTZ '2025-01-03 10:00+02', TIMESTAMPTZ '2025-01-03 10:00:00.25Z'",
            ("2025-01-03T08:00:00.000000+00:00", "2025-01-03T10:00:00.250000+00:00"),
        ),
        ("SELECT ARRAY[1, 2], '{\"a\": 1}'::json, INTERVAL '1 day', 'infinity'::timestamptz", None),
        ("SELECT string_agg(x::text, ',' ORDER BY x), percentile_cont(0.5) WITHIN GROUP (ORDER BY x)"
         " FROM generate_series(1, 3) x", ("1,2,3", 2.0)),
        ("SELECT crop, RANK() OVER (ORDER BY weight), weight::text LIKE '1%' FROM garden_harvest", ("kale", 1, 1)),
        ("SELECT is_ripe, NOT is_ripe FROM garden_harvest", (True, 0)),
        ("SELECT random() < 2", (1,)),
        ("SELECT date_trunc('month', sown)::date, upper(plot) FROM garden_harvest", ("2024-10-01", "NORTH")),
        ("SELECT json_agg(crop)::text FROM garden_harvest", ('["kale"]',)),
        ("SELECT 1 -- the end", (1,)),
        ("SELECT 1; -- the end", (1,)),
    ],
)  # fmt: skip
def test_ordinary_statements_run(reader: StoreReader, sql: str, row: tuple[Any, ...] | None, as_of: str | None) -> None:
    """Aggregates, windows, dates, JSON and repeated column names work, and give plain values."""
    (found,) = reader.query(sql, as_of).rows
    assert found == (row or ("{1,2}", '{"a": 1}', "P1D", "infinity"))


def test_tables_can_be_listed(reader: StoreReader, store_url: StoreUrl) -> None:
    """The names of the store's relations are open to a query of the present."""
    sql = f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{store_url.schema}'"
    assert ("garden_harvest",) in reader.query(sql).rows


def test_the_transaction_of_a_statement_cannot_write(reader: StoreReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """If every function were taken for harmless, the server would still refuse writes, and becoming writable again."""
    monkeypatch.setattr(postgres_query, "harmless", lambda *_args, **_more: True)
    for sql in (
        "SELECT nextval('core_manifest_ids')",
        "SELECT lo_create(0)",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SELECT query_to_xml('DELETE FROM core_runs', true, true, '')::text",
    ):
        with pytest.raises(MarketSpineError):
            reader.query(sql)


def test_a_role_without_temporary_tables_is_told(
    store_url: StoreUrl, admin: psycopg.Connection, domain: Domain, clock: Any
) -> None:
    """Where the role may make no temporary views, the error says which privilege is missing."""
    name = f"q_{store_url.schema}"
    for statement in (f"CREATE DATABASE {name}", f"CREATE ROLE {name} LOGIN"):
        admin.execute(statement.encode())
    try:
        given = {**dict(store_url.parameters), "dbname": name}
        upgrade(StoreUrl("postgresql", name, tuple(given.items()), "spine"), [domain], clock=clock)
        with psycopg.connect(autocommit=True, **given) as own:  # type: ignore[arg-type]
            own.execute(f"GRANT USAGE ON SCHEMA spine TO {name}".encode())
            own.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA spine TO {name}".encode())
            plain = StoreUrl("postgresql", name, tuple({**given, "user": name}.items()), "spine")
            with open_reader(plain, [domain], clock=clock) as reader:
                assert reader.query("SELECT COUNT(*) FROM garden_harvest", "2025-01-01").rows == [(0,)]
                own.execute(f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC".encode())
                with pytest.raises(StoreUnavailable, match="temporary views") as error:
                    reader.query("SELECT 1")
            own.execute(f"DROP OWNED BY {name}".encode())
    finally:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        admin.execute(f"DROP ROLE {name}".encode())
    assert "TEMPORARY" in error.value.hint
