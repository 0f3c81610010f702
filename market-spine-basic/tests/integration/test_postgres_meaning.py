"""What servers, databases, roles, environments and addresses set otherwise changes no value of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from market_spine.core.domain import Domain
from market_spine.core.kept import QueryResult
from market_spine.core.partition import Partition, Scope
from market_spine.errors import StoreUnavailable
from market_spine.store import StoreUrl, check, open_reader, open_writer, parse_url, upgrade
from market_spine.store.fresh import new_store as store_made_anew
from market_spine.testing import run_command

SCOPE = Scope({"day": "2025-01-03", "plot": "north"})
ODD = {
    "client_encoding": "SQL_ASCII",
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kathmandu",
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "transform_null_equals": "on",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "array_nulls": "off",
    "xmloption": "document",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
}
"""Settings that change how values are read or written, each other than usual."""

VALUES = """\
SELECT to_char(1234.5, '9G999D99'), date '2025-02-01', timestamptz '2025-02-01 12:00Z', 0.1::float8, '\\x00ff'::bytea,
       '05-02-03'::date, interval '1 day 2 hours', 'a\\n', NULL = NULL, 1.5::float4, '{NULL}'::text[], 'Öl/油',
       CURRENT_TIMESTAMP::text LIKE '%+00'
"""
SPELT = (
    " 1,234.50",
    "2025-02-01",
    "2025-02-01T12:00:00.000000+00:00",
    0.1,
    "00ff",
    "2005-02-03",
    "P1DT2H",
    "a\\n",
    None,
    1.5,
    "{NULL}",
    "Öl/油",
    1,
)


def _with(address: str, **parameters: str) -> StoreUrl:
    url = parse_url(address)
    return StoreUrl(url.kind, parameters.get("dbname", url.path), (*url.parameters, *parameters.items()), url.schema)


@pytest.fixture
def make_database(new_postgres: Callable[[], str]) -> Iterator[Callable[[str], StoreUrl]]:
    """Make a database of its own in an encoding, as minimal images do with the locale C."""
    address = new_postgres()
    made: list[str] = []
    with psycopg.connect(autocommit=True, **dict(parse_url(address).parameters)) as admin:  # type: ignore[arg-type]

        def make(encoding: str) -> StoreUrl:
            made.append(f"{parse_url(address).schema}_{len(made)}")
            admin.execute(f"CREATE DATABASE {made[-1]} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0".encode())
            url = _with(address, dbname=made[-1])
            return StoreUrl(url.kind, url.path, tuple(dict(url.parameters).items()))

        yield make
        for name in made:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def fill(clock: Any, domain: Domain, partition: Partition, enter: Any, harvest: Any) -> Callable[[StoreUrl], None]:
    """Load one capture with names that need Unicode; a second time it is found unchanged."""

    def load(url: StoreUrl) -> None:
        with open_writer(url, [domain], clock=clock) as writer, writer.commit(partition) as commit:
            if not commit.known().captures:
                entry = enter(commit, partition, capture_id="Öl/油")
                commit.replace(domain.tables[0], SCOPE, harvest(**{"Öl/油": 0.1, "kale": 1e23}), entry.manifest_id)

    return load


def _seen(url: StoreUrl, domain: Domain, clock: Any) -> list[QueryResult]:
    with open_reader(url, [domain], clock=clock) as reader:
        frame = reader.read(domain.tables[0], SCOPE)
        answers = [
            QueryResult(tuple(frame.columns), frame.rows()),
            reader.query("SELECT * FROM garden_harvest ORDER BY crop"),
            reader.query("SELECT * FROM garden_harvest ORDER BY crop", "Öl/油"),
            reader.query(VALUES),
        ]
        assert reader.find_capture("Öl/油") is not None
        return answers


@pytest.mark.parametrize("encoding", ["UTF8", "SQL_ASCII"])
@pytest.mark.parametrize("client", [None, "SQL_ASCII", "LATIN1", "UTF8"])
def test_the_tables_stand_in_the_schema_named_public(
    make_database: Callable[[str], StoreUrl],
    fill: Callable[[StoreUrl], None],
    domain: Domain,
    clock: Any,
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    client: str | None,
) -> None:
    """Whatever the server's or the client's encoding, there is one store, in ``public``, and texts come back whole."""
    url = make_database(encoding)
    if client is not None:
        monkeypatch.setenv("PGCLIENTENCODING", client)
    fill(url)
    first = _seen(url, domain, clock)
    monkeypatch.delenv("PGCLIENTENCODING", raising=False)
    fill(url)
    assert _seen(url, domain, clock) == first
    assert first[0].rows[1][2] == "Öl/油"
    with psycopg.connect(**dict(url.parameters)) as plain:  # type: ignore[arg-type]
        found = plain.execute("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename LIKE 'core%'").fetchall()
    assert [str(schema) if isinstance(schema, str) else schema.decode() for (schema,) in found] == ["public"]
    ((seen, *_),) = [(each.message, each.ok) for each in check(url, [domain]) if each.name == "reachable"]
    assert f"encoding {encoding}" in seen


@pytest.mark.parametrize("where", ["role", "database", "options", "environment", "address"])
def test_no_setting_changes_what_is_read_and_written(
    make_database: Callable[[str], StoreUrl],
    fill: Callable[[StoreUrl], None],
    domain: Domain,
    clock: Any,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    """A store filled and read under settings of any origin holds and shows what it does under the usual ones."""
    usual = make_database("UTF8")
    fill(usual)
    expected = _seen(usual, domain, clock)
    assert expected[3].rows == [SPELT]
    clock.now = type(clock)().now
    odd = make_database("UTF8")
    options = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in ODD.items())
    if where in ("role", "database"):
        whose = "ROLE CURRENT_USER IN DATABASE" if where == "role" else "DATABASE"
        with psycopg.connect(autocommit=True, **dict(odd.parameters)) as admin:  # type: ignore[arg-type]
            for name, value in ODD.items():
                admin.execute(f"ALTER {whose} {odd.path} SET {name} = '{value}'".encode())
    elif where == "environment":
        for name, value in {"PGCLIENTENCODING": "LATIN1", "PGDATESTYLE": "SQL, DMY", "PGTZ": "Asia/Kathmandu"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PGOPTIONS", options)
    else:
        given = {"options": options} if where == "options" else {"client_encoding": "LATIN1"}
        odd = StoreUrl(odd.kind, odd.path, (*odd.parameters, *given.items()))
    fill(odd)
    assert _seen(odd, domain, clock) == expected
    under = StoreUrl(odd.kind, odd.path, tuple({**dict(odd.parameters), "options": ""}.items()))
    assert _seen(under, domain, clock) == expected


def test_a_search_path_cannot_put_its_own_functions_first(
    make_database: Callable[[str], StoreUrl], domain: Domain, clock: Any, fill: Callable[[StoreUrl], None]
) -> None:
    """A role whose search path puts a schema before the built-in one gets its tables there, and no function of it."""
    url = make_database("UTF8")
    with psycopg.connect(autocommit=True, **dict(url.parameters)) as admin:  # type: ignore[arg-type]
        admin.execute("CREATE SCHEMA own")
        for name, arguments in (("current_schema", ""), ("set_config", "text, text, boolean"), ("now", "")):
            admin.execute(
                f"CREATE FUNCTION own.{name}({arguments}) RETURNS text LANGUAGE sql AS $$ SELECT 'wrong' $$".encode()
            )
        admin.execute(f"ALTER DATABASE {url.path} SET search_path = own, pg_catalog".encode())
    fill(url)
    with open_reader(url, [domain], clock=clock) as reader:
        assert reader.query("SELECT COUNT(*) FROM garden_harvest").rows == [(2,)]
        assert reader.query("SELECT COUNT(*) FROM own.garden_harvest").rows == [(2,)]


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "EUC_JP", "KOI8R"])
def test_a_database_that_cannot_keep_every_character_is_refused(
    make_database: Callable[[str], StoreUrl], domain: Domain, clock: Any, encoding: str
) -> None:
    """Whatever opens it names its encoding and how to make a database that will do, and leaves nothing."""
    url = make_database(encoding)
    tries: list[Callable[[], Any]] = [
        lambda: open_writer(url, [domain], clock=clock),
        lambda: open_reader(url, [domain], clock=clock, missing_ok=True),
        lambda: upgrade(url, [domain], clock=clock),
        lambda: store_made_anew(url, [domain], clock).__enter__(),
    ]
    for attempt in tries:
        with pytest.raises(StoreUnavailable, match=f"{url.path} keeps text as {encoding}") as error:
            attempt()
        assert "ENCODING 'UTF8'" in error.value.hint
    (finding,) = check(url, [domain])
    assert (finding.ok, encoding in finding.message) == (False, True)
    with psycopg.connect(**dict(url.parameters)) as plain:  # type: ignore[arg-type]
        assert plain.execute("SELECT COUNT(*) FROM pg_tables WHERE tablename LIKE 'core%'").fetchone() == (0,)


def test_the_commands_name_the_encoding(make_database: Callable[[str], StoreUrl], tmp_path: Path) -> None:
    """``db check`` says the encoding of a database, of one that is refused too, and a schedule's result names it."""
    for encoding, code in (("SQL_ASCII", 0), ("LATIN1", 1)):
        url = make_database(encoding)
        address = f"postgresql://postgres@/{url.path}?host={dict(url.parameters)['host']}"
        run_command("db", "upgrade", "--db", address, cwd=tmp_path)
        done = run_command("db", "check", "--db", address, cwd=tmp_path, environ={"PGCLIENTENCODING": "SQL_ASCII"})
        assert (done.code, encoding in done.stdout) == (code, True), done
    (tmp_path / "data").mkdir()
    arguments = ("schedule", "finra", "--json", "--data-dir", "data", "--db", address)
    result = run_command(*arguments, cwd=tmp_path).result()
    assert result.error is not None
    assert "LATIN1" in result.error.message
