"""Connecting to PostgreSQL, and saying in our words what it complains about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import adapt, postgres
from psycopg.types.string import TextLoader

from market_spine.errors import SchemaError, StoreCorrupt, StoreError, StoreLocked, StoreUnavailable
from market_spine.store import room
from market_spine.store.database import DENIED
from market_spine.store.location import StoreUrl
from market_spine.store.postgres.watching import Watched
from market_spine.store.views import quote

_DEFAULTS = {
    "connect_timeout": "10",
    "application_name": "market-spine",
    # A server that has gone without a word is noticed within a minute and a half.
    "keepalives_idle": "30",
    "keepalives_interval": "15",
    "keepalives_count": "4",
    # So is one that does not acknowledge what it is sent, in half a minute.
    "tcp_user_timeout": "30000",
}
"""Connection parameters unless the address names others."""

STATEMENT_SECONDS = 1800
"""How long the server may take for one statement of ours."""

_UNICODE = ("UTF8", "SQL_ASCII")
"""Encodings of databases that keep every character: SQL_ASCII keeps the bytes that it is given."""

_SETTINGS = {
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "xmloption": "content",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "timezone_abbreviations": "Default",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "default_text_search_config": "pg_catalog.simple",
}
"""Session settings: what server, database, role, environment or address say otherwise must not change what
values mean or how they are spelt."""

_LOCKED = ("55P03", "40P01", "40001")
_TIMED_OUT = ("57014", "25P03", "25P04", "57P05")
"""Time limits of a statement, of an idle transaction, of a transaction, and of an idle session."""
_CORRUPT = ("23", "XX001", "XX002")
_SCHEMA = ("42", "3F", "2BP01")
_LOST = ("08", "57P", "25P03", "25P04", "28", "3D")
"""States in which there is no connection, or none any more: a server may end one that is idle for too long."""

_NATIVE = frozenset(
    ("bytea", "int2", "int4", "int8", "oid", "float4", "float8", "bool", "numeric", "date", "timestamptz")
)


class _Moment(adapt.Loader):
    """``2025-01-06 12:00:00.5+00`` as ``moments.to_text`` spells it."""

    def load(self, data: adapt.Buffer) -> str:
        text = bytes(data).decode()
        day, separator, time = text.partition(" ")
        if not time.endswith("+00"):
            return text  # infinity, or a moment before Christ
        seconds, _, fraction = time[:-3].partition(".")
        return f"{day}T{seconds}.{fraction:0<6}+00:00" if separator else text


class _Number(adapt.Loader):
    """What PostgreSQL computes exactly, as SQLite shows it: whole as int, else as float."""

    def load(self, data: adapt.Buffer) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else float(text)


def connect(url: StoreUrl, wait_seconds: float, *, read_only: bool) -> tuple[Watched, str]:
    """A connection in autocommit mode, and the schema that it works in.

    Raises:
        StoreUnavailable: the server cannot be reached, refuses the login, or cannot keep every character.
    """
    # From the first byte on: texts that come in SQL_ASCII are no texts to the driver.
    parameters = {**_DEFAULTS, **dict(url.parameters), "client_encoding": "UTF8"}
    with translated(url, wait_seconds):
        connection = Watched.opened(parameters, url.display)
        try:
            _refuse_other_encodings(connection, url)
            _load_plain_values(connection)
            schema = url.schema or _default_schema(connection)
            settings = {
                **_SETTINGS,
                "search_path": quote(schema),
                "lock_timeout": str(max(1, round(wait_seconds * 1000))),
                "statement_timeout": f"{STATEMENT_SECONDS}s",
                "default_transaction_read_only": "on" if read_only else "off",
            }
            calls = ", ".join("pg_catalog.set_config(%s, %s, false)" for _ in settings)
            connection.execute(f"SELECT {calls}", [part for setting in settings.items() for part in setting])
        except BaseException:
            connection.close()
            raise
        return connection, schema


def encoding(connection: psycopg.Connection) -> str:
    """The encoding in which the database keeps text."""
    return connection.info.parameter_status("server_encoding") or "unknown"


def _refuse_other_encodings(connection: psycopg.Connection, url: StoreUrl) -> None:
    if (found := encoding(connection)) not in _UNICODE:
        raise StoreUnavailable(
            f"{url.display} keeps text as {found}, which lacks most characters of Unicode",
            hint="use a database made with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
        )


def _default_schema(connection: psycopg.Connection) -> str:
    # The key word, not the function: the role's search path, still in force here, could put another in its place.
    row = connection.execute("SELECT COALESCE(CURRENT_SCHEMA, 'public')").fetchone()
    assert row is not None
    return str(row[0])


def _load_plain_values(connection: psycopg.Connection) -> None:
    """Let every value come as SQLite would give it: text, number, boolean or bytes."""
    for kind in postgres.types:
        if kind.name not in _NATIVE:
            connection.adapters.register_loader(kind.oid, TextLoader)
        if kind.array_oid:
            connection.adapters.register_loader(kind.array_oid, TextLoader)
    connection.adapters.register_loader("date", TextLoader)
    connection.adapters.register_loader("timestamptz", _Moment)
    connection.adapters.register_loader("numeric", _Number)


@contextmanager
def translated(url: StoreUrl, wait_seconds: float) -> Iterator[None]:
    """Turn PostgreSQL's errors into StoreError, naming the database and keeping its password out."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, url, wait_seconds) from safe_cause(error, url)


def safe_cause(error: psycopg.Error, url: StoreUrl) -> psycopg.Error | None:
    """The error itself as a cause, unless its text holds a secret."""
    return error if url.redact(str(error)) == str(error) else None


def said(error: psycopg.Error, url: StoreUrl) -> str:
    """What an error of PostgreSQL says, on one line and without secrets."""
    parts = (error.diag.message_primary, error.diag.message_detail)
    text = "; ".join(part for part in parts if part) or str(error)
    return url.redact(" ".join(text.split()))


def translate(error: psycopg.Error, url: StoreUrl, wait_seconds: float) -> StoreError:
    """The StoreError that says what an error of PostgreSQL means."""
    state, name, text = error.sqlstate or "", url.display, said(error, url)
    if state in _LOCKED:
        return StoreLocked(
            f"{name} was being written by another process for longer than {wait_seconds:g} s",
            hint="run again when that process has finished",
        )
    if state == "42501":
        return StoreUnavailable(
            f"{name} does not permit this to the role ({text})",
            hint="grant the role what docs/operations.md lists, or connect as another",
            kind=DENIED,
        )
    if state in _TIMED_OUT:
        return StoreUnavailable(
            f"{name} ended it by a time limit of the server's ({text})",
            hint="raise that limit for this role, or let less happen at once",
        )
    if state == "25006":
        return StoreUnavailable(f"{name} cannot be written ({text})", hint="connect to the primary server")
    if state == "53100":
        return room.full(name, text)
    if state.startswith("53"):
        return StoreUnavailable(f"{name} has run out of something ({text})", hint="see the server's disk and limits")
    if state.startswith(_CORRUPT):
        return StoreCorrupt(f"{name} is damaged or contradicts itself ({text})", hint="restore a backup")
    if state.startswith(_SCHEMA):
        return SchemaError(
            f"{name} does not have the schema that this program expects ({text})", hint="run `market-spine db upgrade`"
        )
    # Without a state it comes from the driver: the connection, unless it is another kind of error.
    lost = state.startswith(_LOST) if state else isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    if not lost:
        return StoreError(f"{name}: {text}")
    return StoreUnavailable(
        f"{name} cannot be reached ({text})", hint="check the address, the login, the network and the server"
    )
