"""Database addresses, and the first look at SQL texts."""

from __future__ import annotations

import pytest

from market_spine.errors import UsageError
from market_spine.store import parse_url
from market_spine.store.statements import check


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("data/market_spine.db", "data/market_spine.db"),
        ("/srv/spine.db", "/srv/spine.db"),
        ("sqlite:///data/spine.db", "data/spine.db"),
        ("sqlite:////srv/spine.db", "/srv/spine.db"),
        ("C:odd name?.db", "C:odd name?.db"),
    ],
)
def test_paths_and_sqlite_addresses(text: str, path: str) -> None:
    """A path stands for itself; three slashes make it relative, four absolute."""
    url = parse_url(text)
    assert (url.kind, url.path, url.display, str(url)) == ("sqlite", path, path, path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "sqlite://",
        "sqlite:///",
        "sqlite://user:secret@host/db",
        "mysql://user:secret@host/db",
        "secret://",
        "postgresql://user:my@secret@host/db",
        "postgresql://user:my/secret@host/db",
        "postgresql://user:my?secret@host/db",
        "postgresql://user:secret%zz@host/db",
        "postgresql://user:secret%00@host/db",
        "postgresql://user@host:secret/db",
        "postgresql://user:secret@host:1:2/db",
        "postgresql://user@host/db/secret",
        "postgresql://user@host/db?secret",
        "postgresql://user@host/db?sec ret=1",
    ],
)
def test_other_addresses_are_refused_without_repeating_secrets(text: str) -> None:
    """What cannot be opened is refused with a hint that says what can, and no password appears."""
    with pytest.raises(UsageError) as error:
        parse_url(text)
    assert error.value.hint
    assert "secret" not in f"{error.value.message} {error.value.hint}"


@pytest.mark.parametrize(
    ("text", "given", "shown"),
    [
        (
            "postgresql://me:p%40ss%2Fw@db.example:6432/spine?sslmode=require",
            {"user": "me", "password": "p@ss/w", "dbname": "spine", "host": "db.example", "port": "6432"}
            | {"sslmode": "require"},
            "postgresql://me@db.example:6432/spine",
        ),
        (
            "postgres://me@one:1,[::1]:2,three/x?password=secret&target_session_attrs=read-write",
            {"user": "me", "dbname": "x", "host": "one,::1,three", "port": "1,2,", "password": "secret"}
            | {"target_session_attrs": "read-write"},
            "postgresql://me@one:1,::1:2,three/x",
        ),
        ("postgresql://", {}, "postgresql:///"),
        ("postgresql:///spine?host=/run/pg", {"dbname": "spine", "host": "/run/pg"}, "postgresql:///run/pg/spine"),
    ],
)
def test_postgresql_addresses(text: str, given: dict[str, str], shown: str) -> None:
    """Every part and parameter reaches the driver decoded; what is shown leaves passwords and parameters out."""
    url = parse_url(text)
    assert (url.kind, dict(url.parameters), url.display) == ("postgresql", given, shown)
    assert "secret" not in repr(url) + str(url)


@pytest.mark.parametrize(
    ("query", "schema"),
    [
        ("", ""),
        ("schema=a%20b", "a b"),
        ("options=-csearch_path%3Dspine", "spine"),
        ("options=-c%20search_path%3Dspine,public", "spine"),
        ("options=-cwork_mem%3D1MB%20--search_path%3Dspine", "spine"),
        ("options=-csearch_path%3Dspine&schema=other", "other"),
        ("schema=one&schema=two", "two"),
    ],
)
def test_the_schema_of_an_address(query: str, schema: str) -> None:
    """It is the address's schema parameter, else the first of libpq's search path; libpq never sees the former."""
    url = parse_url(f"postgresql://host/db?{query}")
    assert url.schema == schema
    assert "schema" not in dict(url.parameters)


def test_redaction_knows_every_spelling() -> None:
    """A password is taken out of other people's messages as it is and as addresses spell it."""
    url = parse_url("postgresql://me:p%40ss%2Fw@host/db?sslpassword=tls")
    assert url.redact("p@ss/w p%40ss%2Fw p%40ss/w tls me host") == "*** *** *** *** me host"


@pytest.mark.parametrize(
    "sql", ["SELECT 1", "  select 1", "-- c\nWITH a AS (SELECT 1) SELECT 1", "/* ; */VALUES (1)", "((SELECT 1))"]
)
def test_reading_statements_pass(sql: str) -> None:
    """Comments, white space and brackets before the first word do not matter."""
    check(sql)


@pytest.mark.parametrize(
    ("sql", "said"),
    [("", "empty"), ("-- SELECT", "empty"), ("/* SELECT */ delete from t", "DELETE"), ("selects", "SELECTS")],
)
def test_other_statements_are_named(sql: str, said: str) -> None:
    """The error names the first word of what cannot be run."""
    with pytest.raises(UsageError, match=said):
        check(sql)
