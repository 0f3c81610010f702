"""A user's statement on SQLite: on a fresh connection that cannot write, as of a moment if asked."""

from __future__ import annotations

import secrets
import sqlite3

from market_spine.core.manifest import QueryResult
from market_spine.errors import UsageError
from market_spine.store.database import ViewBuilder
from market_spine.store.sqlite.connect import Connection, steadily, translated
from market_spine.store.views import quote

# Other columns' declared types name no converter; DATE names one of Python's own, which makes a datetime.date.
sqlite3.register_converter("BOOLEAN", lambda stored: stored != b"0")
sqlite3.register_converter("DATE", bytes.decode)

_TYPED = sqlite3.PARSE_DECLTYPES
_ALLOWED = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE))
_FORBIDDEN_FUNCTIONS = frozenset(("load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"))
_USER_ERRORS = frozenset(
    (
        0,  # raised by the driver before SQLite saw the statement, such as for a second statement
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_RANGE,
    )
)
_REFUSED = "physical tables cannot be read as of a moment"
"""Name of a table that does not exist: what the refused names lead to."""

_AS_OF_HINT = "use the plain names of the views and core_ tables"
_HINT = "see the data dictionary for the names of views and columns"


def run_on_file(path: str, sql: str, views: ViewBuilder | None, wait_seconds: float) -> QueryResult:
    """Run a statement on a database file; see ``Database.query``."""

    def answer(connection: Connection) -> QueryResult:
        with translated(path, wait_seconds):
            if views is None:
                return _run(connection, sql, as_of=False)
            return _run_beside(connection, sql, views, wait_seconds)

    return steadily(path, wait_seconds, answer, _TYPED)


def _run_beside(opened: Connection, sql: str, views: ViewBuilder, wait_seconds: float) -> QueryResult:
    # The file is attached under a name nobody can guess, so that no statement can qualify its tables.
    schema = f"store_{secrets.token_hex(16)}"
    connection = sqlite3.connect(
        "file::memory:", uri=True, timeout=wait_seconds, isolation_level=None, detect_types=_TYPED
    )
    try:
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"ATTACH ? AS {schema}", (opened.address,))
        return _run_as_of(connection, schema, sql, views)
    finally:
        connection.close()


def run_in_memory(image: bytes, sql: str, views: ViewBuilder | None) -> QueryResult:
    """Run a statement on a copy of a database in memory; see ``Database.query``."""
    connection = sqlite3.connect(":memory:", isolation_level=None, detect_types=_TYPED)
    try:
        if views is None:
            connection.deserialize(image)
            return _run(connection, sql, as_of=False)
        schema = f"store_{secrets.token_hex(16)}"
        connection.execute(f"ATTACH ':memory:' AS {schema}")
        connection.deserialize(image, name=schema)
        return _run_as_of(connection, schema, sql, views)
    finally:
        connection.close()


def _run_as_of(connection: sqlite3.Connection, schema: str, sql: str, views: ViewBuilder) -> QueryResult:
    connection.execute("BEGIN")
    names = connection.execute(f"SELECT name FROM {schema}.sqlite_master WHERE type IN ('table', 'view')")
    relations = frozenset(name for (name,) in names.fetchall())
    shown = views(schema, relations)
    for name, body in shown:
        connection.execute(f"CREATE TEMP VIEW {quote(name)} AS {body}")
    # Unqualified names would otherwise fall through to the attached file.
    for name in sorted(relations.difference(name for name, _ in shown)):
        if not name.startswith("sqlite_"):
            connection.execute(f"CREATE TEMP VIEW {quote(name)} AS SELECT * FROM {quote(_REFUSED)}")
    return _run(connection, sql, as_of=True)


def _run(connection: sqlite3.Connection, sql: str, *, as_of: bool) -> QueryResult:
    # Using the JSON table functions once registers them, which the authorizer would not let happen later.
    connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')").fetchall()
    connection.execute("PRAGMA query_only = ON")
    connection.set_authorizer(_authorize_as_of if as_of else _authorize)
    try:
        cursor = connection.execute(sql)
        columns = tuple(column[0] for column in cursor.description or ())
        rows = [tuple(map(_plain, row)) for row in cursor]
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _USER_ERRORS:
            raise
        raise _usage_error(error, as_of) from error
    except (sqlite3.Warning, ValueError) as error:
        raise _usage_error(error, as_of) from error
    return QueryResult(columns, rows)


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action not in _ALLOWED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _authorize_as_of(action: int, first: str | None, second: str | None, *rest: str | None) -> int:
    # SQLite's own catalogue shows the present, whatever the moment.
    if action == sqlite3.SQLITE_READ and (first or "").startswith("sqlite_"):
        return sqlite3.SQLITE_DENY
    return _authorize(action, first, second, *rest)


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _usage_error(error: Exception, as_of: bool) -> UsageError:
    message = str(error)
    if as_of and (_REFUSED in message or message.startswith(("no such table: main.", "unknown database"))):
        return UsageError(f"{_REFUSED}, nor names with a schema", hint=_AS_OF_HINT)
    if "not authorized" in message or "prohibited" in message:
        return UsageError(f"the statement does more than read ({message})", hint=_AS_OF_HINT if as_of else _HINT)
    return UsageError(f"the statement cannot be run: {message}", hint=_HINT)
