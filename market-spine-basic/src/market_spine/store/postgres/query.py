"""A user's statement on PostgreSQL: looked through by the server's own parser before it runs, read-only.

A temporary view made of the statement shows what it uses: the server stores the parsed statement, in which
every relation, function and operator stands by its number whatever the spelling in the text. Only relations
of the store and harmless built-in functions may be used. A view also takes nothing but one statement that
reads.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import psycopg

from market_spine.errors import StoreUnavailable, UsageError
from market_spine.store.asking import Question, at, refuse_same_names
from market_spine.store.location import StoreUrl
from market_spine.store.moments import LATEST
from market_spine.store.postgres.connect import connect, safe_cause, said, translated
from market_spine.store.postgres.watching import Described, Watched
from market_spine.store.selecting import kinds_in
from market_spine.store.sessions import for_postgres
from market_spine.store.views import as_of_views, quote
from market_spine.wording import nearest

if TYPE_CHECKING:
    import polars as pl

_ViewBuilder = Callable[[str, frozenset[str]], Sequence[tuple[str, str]]]
"""(schema that holds the relations, their names) -> (name, SELECT) of views in dependency order."""

_RANDOM = frozenset(("random", "random_normal", "clock_timestamp", "timeofday", "gen_random_uuid", "uuidv4", "uuidv7"))
"""Functions that answer differently each time, and do nothing else."""

_FORBIDDEN = re.compile(
    r"(?!pg_typeof$)pg_.*|binary_upgrade_.*|lo_.*|txid_.*|current_setting|(table|query|cursor|schema|database)_to_xml.*"
)
"""Built-in functions that read settings, files, the catalogue or tables named by a text."""

_CATALOGUE = frozenset(("information_schema", name) for name in ("tables", "views", "columns"))
"""What else can be read as it is now: the names of the store's relations and columns."""

_INSPECTED = "market_spine_statement"
_NUMBERS = re.compile(r":(relid|opno|funcid|opfuncid|aggfnoid|winfnoid|tsmhandler) (\d+)")
_TREE = f"""\
SELECT ev_action::text FROM pg_rewrite WHERE ev_class = 'pg_temp.{_INSPECTED}'::regclass
"""
_BODY = f"SELECT pg_get_viewdef('pg_temp.{_INSPECTED}'::regclass)"
_RELATIONS = f"""\
SELECT n.nspname, c.relname, n.oid = pg_my_temp_schema()
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = ANY(%s) AND c.oid <> 'pg_temp.{_INSPECTED}'::regclass
"""
_FUNCTIONS = """\
SELECT n.nspname, p.proname, p.provolatile = 'v'
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE p.oid = ANY(%(functions)s) OR p.oid IN (SELECT oprcode FROM pg_operator WHERE oid = ANY(%(operators)s))
"""
_OF_EXTENSIONS = f"""\
SELECT pg_describe_object(d.refclassid, d.refobjid, 0)
  FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
 WHERE r.ev_class = 'pg_temp.{_INSPECTED}'::regclass
   AND d.refclassid NOT IN ('pg_class'::regclass, 'pg_type'::regclass, 'pg_collation'::regclass)
"""
_USER_ERRORS = ("0A", "21", "22", "25006", "42", "54", "55000", "57014")
_MISSING = re.compile(r'relation "([^"]+)"')
_HINT = "see the data dictionary for the names of views and columns"
_AS_OF_HINT = "use the plain names of the views and core_ tables"


_BATCH = 5_000


@contextmanager
def ask(url: StoreUrl, wait_seconds: float, question: Question) -> Iterator[PostgresRows]:
    """Run a statement; see ``Database.query``."""
    connection, schema = connect(url, wait_seconds, read_only=False)
    with closing(connection), translated(url, wait_seconds):
        _begin(connection)
        ((latest,),) = connection.execute(LATEST).fetchall()
        question = at(question, latest)
        moment = question.moment
        if moment is not None:
            _show_past(connection, schema, partial(as_of_views, question.domains, moment, sessions=for_postgres()))
        connection.execute(f"SET LOCAL statement_timeout = {max(1, round(question.seconds * 1000))}")
        if question.narrow is not None:
            question = _narrowed(connection, url, question, question.narrow)
        answer = PostgresRows(connection, url, question)
        with answer.errors():
            answer.body = _inspect(connection, question.sql, schema, as_of=moment is not None)
            connection.execute("SET TRANSACTION READ ONLY")
            answer.types = connection.prepare_and_describe(question.sql.encode())
        yield answer


def _narrowed(
    connection: Watched, url: StoreUrl, question: Question, narrow: Callable[[Mapping[str, str]], str]
) -> Question:
    """The question with the statement that its columns make of it."""
    whole = PostgresRows(connection, url, question)
    with whole.errors():
        whole.types = connection.prepare_and_describe(question.sql.encode())
    return question._replace(sql=narrow(kinds_in(whole.schema)))


class PostgresRows:
    """The answer to one statement; a ``RowStream``. The server keeps the rows that were not read yet."""

    def __init__(self, connection: Watched, url: StoreUrl, question: Question) -> None:
        self._connection = connection
        self._url = url
        self._question = question
        self._ends = time.monotonic() + question.seconds
        self.types: Sequence[Described] = ()
        self.body = ""
        """The statement as the server spells it."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns' names."""
        return tuple(column.name for column in self.types)

    def batches(self) -> Iterator[Sequence[tuple[Any, ...]]]:
        """The rows as plain Python values, some thousands at a time."""
        with self.errors(), self._connection.cursor() as cursor:
            rows = cursor.stream(self._question.sql.encode(), size=_BATCH)
            while batch := [tuple(map(_plain, row)) for row in islice(rows, _BATCH)]:
                yield batch
                if time.monotonic() > self._ends:
                    raise self._late()

    def write_parquet(self, file: IO[bytes]) -> None:
        """Write the rows as a Parquet file whose columns have the statement's types."""
        from market_spine.store import parquet

        parquet.write_parquet(self.frames(), self.schema, file)

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """The columns' names, and their types in frames."""
        from market_spine.store.postgres import frames

        refuse_same_names(self.columns)
        return frames.types_of(self.types)

    def frames(self) -> Iterator[pl.DataFrame]:
        """The rows as frames, some ten thousands at a time."""
        from market_spine.store.postgres import frames

        # The constant before them keeps apart rows without a value and no rows.
        rows = f"COPY (SELECT 0, q.* FROM ({self.body}) q) TO STDOUT (FORMAT csv)"
        schema = self.schema
        with self.errors(), self._connection.cursor() as cursor, cursor.copy(rows) as copy:
            for frame in frames.pieces(copy, schema):
                yield frame
                if time.monotonic() > self._ends:
                    raise self._late()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Say in our words what is wrong with the statement."""
        try:
            yield
        except psycopg.Error as error:
            if error.sqlstate == "57014":
                raise self._late() from error
            if not (error.sqlstate or "").startswith(_USER_ERRORS):
                raise
            as_of = self._question.moment is not None
            raise _usage_error(error, self._url, self._question.names, as_of=as_of) from safe_cause(error, self._url)

    def _late(self) -> UsageError:
        return UsageError(f"the statement took longer than {self._question.seconds:g} s", hint="ask for less at once")


def _begin(connection: Watched) -> None:
    """Open the transaction, in which temporary views can be made."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE")
    try:
        connection.execute(f"CREATE TEMP VIEW {_INSPECTED} AS SELECT 1")
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction) as error:
        raise StoreUnavailable(
            "queries need temporary views, which this role may not make here",
            hint="grant it TEMPORARY on the database, and connect to the primary server",
        ) from error


def _show_past(connection: Watched, schema: str, views: _ViewBuilder) -> None:
    """Show what was known at the moment that is asked for."""
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')",
        (quote(schema),),
    )
    relations = frozenset(name for (name,) in rows)
    connection.execute("SET LOCAL search_path = pg_temp")
    for name, body in views(quote(schema), relations):
        connection.execute(f"CREATE TEMP VIEW {quote(name)} AS {body}")
    # The order in which several processes deliver rows would show in the last digits of a sum.
    connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
    connection.execute("SET LOCAL synchronize_seqscans = off")


def _inspect(connection: Watched, sql: str, schema: str, *, as_of: bool) -> str:
    """The statement as the server spells it; raises UsageError unless it only reads, and only what it may."""
    names = ", ".join(f"c{number}" for number in range(len(connection.prepare_and_describe(sql.encode()))))
    connection.execute(f"DROP VIEW pg_temp.{_INSPECTED}")
    connection.run_one(f"CREATE TEMP VIEW {_INSPECTED} ({names}) AS {sql}".encode())
    ((tree,),) = connection.execute(_TREE).fetchall()
    numbers: dict[str, set[int]] = {}
    for name, number in _NUMBERS.findall(tree):
        numbers.setdefault(name, set()).add(int(number))
    relations = sorted(numbers.pop("relid", ()))
    operators = sorted(numbers.pop("opno", ()))
    functions = sorted(set().union(*numbers.values()))
    for place, name, is_temporary in connection.execute(_RELATIONS, (relations,)):
        if as_of and not is_temporary:
            raise UsageError(f"{place}.{name} cannot be read as of a moment, nor names with a schema", hint=_AS_OF_HINT)
        if not as_of and place != schema and (place, name) not in _CATALOGUE:
            raise UsageError(f"{place}.{name} is not part of the store", hint=_HINT)
    used = connection.execute(_FUNCTIONS, {"functions": functions, "operators": operators})
    refused = [f"{place}.{name}" for place, name, volatile in used if not harmless(place, name, volatile=volatile)]
    refused += [text for (text,) in connection.execute(_OF_EXTENSIONS)]
    if refused:
        raise UsageError(f"the statement does more than read ({', '.join(sorted(refused))})", hint=_HINT)
    ((body,),) = connection.execute(_BODY).fetchall()
    connection.execute(f"DROP VIEW pg_temp.{_INSPECTED}")
    return str(body).rstrip().removesuffix(";")


def harmless(schema: str, function: str, *, volatile: bool) -> bool:
    """Whether a function can be called without reading or changing anything but its arguments."""
    if schema != "pg_catalog" or _FORBIDDEN.fullmatch(function):
        return False
    return not volatile or function in _RANDOM


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _usage_error(error: psycopg.Error, url: StoreUrl, names: Sequence[str], *, as_of: bool) -> UsageError:
    text = said(error, url)
    if error.sqlstate == "25006":
        return UsageError(f"the statement does more than read ({text})", hint=_HINT)
    if error.sqlstate == "42P01" and (named := _MISSING.search(error.diag.message_primary or "")):
        text += nearest(named[1], names)
    elif error.diag.message_hint:
        text += f"; {url.redact(error.diag.message_hint)}"
    return UsageError(f"the statement cannot be run: {text}", hint=_AS_OF_HINT if as_of else _HINT)
