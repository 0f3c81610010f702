"""A user's statement on SQLite: DuckDB runs it over what the store keeps, in memory, within limits.

Everything that one statement reads comes from one read transaction. DuckDB reaches nothing but the files that
``files`` shows it; its settings are locked before the statement runs.
"""

from __future__ import annotations

import datetime
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from functools import partial
from threading import Event, Lock, Thread
from typing import IO, TYPE_CHECKING, Any

import duckdb

from market_spine.errors import StoreCorrupt, UsageError
from market_spine.store.asking import Question, at, refuse_same_names
from market_spine.store.moments import LATEST
from market_spine.store.sqlite import plan, statement
from market_spine.store.sqlite.catalog import Catalog, Relation, catalog, text
from market_spine.store.sqlite.connect import Connection, connect_for_reading, never_steady, translated
from market_spine.store.sqlite.engines import Engine, Kind, lent
from market_spine.store.sqlite.files import PROTOCOL
from market_spine.store.views import quote

if TYPE_CHECKING:
    import polars as pl

    from market_spine.core.schema import View

MEMORY = "768MB"
"""Most memory that DuckDB takes for one statement, decoded segments included."""
_BATCH = 5_000
_AGAIN = 0.02
"""Seconds from one try to stop a statement to the next."""


@contextmanager
def ask(place: str | sqlite3.Connection, question: Question, wait_seconds: float) -> Iterator[DuckRows]:
    """Run a statement on a database file, or on a database in memory; see ``Database.query``."""
    named = place if isinstance(place, str) else "the empty store"
    with translated(named, wait_seconds), closing(opened(place, wait_seconds)) as source:
        source.execute("BEGIN")
        ((latest,),) = source.execute(LATEST)
        question = at(question, latest)
        known = catalog(source, question.domains, question.moment)
        # The order in which several threads deliver rows would show in the last digits of a sum.
        kind = Kind(MEMORY, question.spill or "", alone=question.moment is not None)
        with lent(kind, source) as engine:
            answer = DuckRows(engine, question, known)
            over = Event()
            watch = Thread(target=_watch, args=(over, question.seconds, answer.stop), daemon=True)
            watch.start()
            try:
                answer.prepare(source)
                yield answer
            except Exception as error:
                if is_torn(source):
                    raise never_steady(named) from error
                raise
            finally:
                over.set()
                # Or it would stop the next statement.
                watch.join()
            if is_torn(source):
                raise never_steady(named)


def _watch(over: Event, seconds: float, stop: Callable[[], None]) -> None:
    """Stop a statement after its time, until it is over: what is stopped between two steps begins the next."""
    left = seconds
    while not over.wait(left):
        stop()
        left = _AGAIN


def is_torn(source: sqlite3.Connection) -> bool:
    """Whether what was read may stem from two states of the file."""
    return isinstance(source, Connection) and source.bare is not None and source.bare.torn()


def opened(place: str | sqlite3.Connection, wait_seconds: float) -> sqlite3.Connection:
    """A connection of its own, which any thread may use, one at a time."""
    if isinstance(place, str):
        return connect_for_reading(place, wait_seconds)
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    copy.deserialize(place.serialize())
    return copy


class DuckRows:
    """The answer to one statement; a ``RowStream``."""

    def __init__(self, engine: Engine, question: Question, known: Catalog) -> None:
        self._lent = engine
        self._planner: Engine | None = None
        self._handing = Lock()
        self._engine = engine.duck
        self._files = engine.files
        self._question = question
        self._known = known
        self._sql = question.sql
        self._columns: list[tuple[str, str]] = []
        self._scopes: list[str] = []

    def prepare(self, source: sqlite3.Connection) -> None:
        """Look at the statement, and show DuckDB what it needs."""
        if self._lent.locked:
            with lent(Kind(MEMORY, plans=True), None) as planner:
                self._hand(planner)
                try:
                    ahead, relations, declared = self._look(planner.duck)
                finally:
                    self._hand(None)
        else:
            ahead, relations, declared = self._look(self._engine)
        self._sql = ahead.sql
        with self._errors():
            plan.show(self._lent, source, relations, declared, ahead, self._question)
            self._lent.lock()
            described = self._engine.execute(f"DESCRIBE {self._sql}").fetchall()
        self._columns = [(str(name), str(kind)) for name, kind, *_ in described]

    def _look(self, planner: duckdb.DuckDBPyConnection) -> tuple[plan.Ahead, dict[str, Relation], list[View]]:
        """What the statement reads, and what of it; the planner is left as it was."""
        as_of = self._question.moment is not None
        with self._meant():
            found = statement.look(planner, self._question.sql, self._known.names(), as_of=as_of)
            relations, declared = self._known.needed(self._known.names() if found.catalogue else found.names)
            tables = [each.bulk or each.rows for each in relations.values()]
            self._scopes = sorted({name for table in tables for name in table.partition_by})
            return plan.look_ahead(planner, relations, declared, found.sql, self._question.narrow), relations, declared

    def stop(self) -> None:
        """End what is done for it; from any thread."""
        self._lent.stop()
        with self._handing:
            if self._planner is not None:
                self._planner.stop()

    def _hand(self, planner: Engine | None) -> None:
        """Let what stops this statement stop a planner, or none: it is another statement's afterwards."""
        with self._handing:
            self._planner = planner

    @property
    def columns(self) -> Sequence[str]:
        """The columns' names."""
        return tuple(name for name, _ in self._columns)

    def batches(self) -> Iterator[Sequence[tuple[Any, ...]]]:
        """The rows as plain Python values, some thousands at a time."""
        spelling = [(number, plain) for number, (_, kind) in enumerate(self._columns) if (plain := _plain(kind))]
        with self._errors():
            cursor = self._engine.execute(self._sql)
            while rows := cursor.fetchmany(_BATCH):
                yield [_spelt(row, spelling) for row in rows] if spelling else rows

    def write_parquet(self, file: IO[bytes]) -> None:
        """Write the rows as a Parquet file whose columns have the statement's types."""
        refuse_same_names(self.columns)
        options = "FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false"
        with self._errors():
            self._engine.execute(f"COPY ({self._typed()}\n) TO {text(self._files.write_to(file))} ({options})")

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """The columns' names, and their types in frames."""
        refuse_same_names(self.columns)
        with self._errors():
            return plan.schema(self._engine, self._typed())

    def frames(self) -> Iterator[pl.DataFrame]:
        """The rows as frames, as DuckDB computes them."""
        import nanoarrow
        import polars as pl

        refuse_same_names(self.columns)
        with self._errors():
            for piece in nanoarrow.c_array_stream(self._engine.sql(self._typed())):
                yield pl.DataFrame(piece)

    def _typed(self) -> str:
        """The statement with columns of types that Parquet and frames have."""
        shown = [_shown(name, kind) for name, kind in self._columns]
        if shown == [quote(name) for name in self.columns]:
            return self._sql
        return f"SELECT {', '.join(shown)} FROM ({self._sql}\n)"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Say in our words what DuckDB complains about; until it is over, the engine is nobody else's."""
        self._lent.busy += 1
        with self._meant():
            yield
        self._lent.busy -= 1

    @contextmanager
    def _meant(self) -> Iterator[None]:
        """Say in our words what DuckDB complains about."""
        try:
            yield
        except duckdb.Error as error:
            raise self._meaning(error, str(error)) from error
        except RuntimeError as error:
            # What stops DuckDB amid an answer comes through the Arrow stream, as text.
            found = _IN_STREAM.match(str(error))
            if found is None:
                raise
            raise self._meaning(error, found[1]) from error

    def _meaning(self, error: Exception, said: str) -> Exception:
        if self._files.failure is not None:
            return self._files.failure
        if isinstance(error, duckdb.InterruptException) or said.startswith("INTERRUPT Error"):
            return UsageError(f"the statement took longer than {self._question.seconds:g} s", hint=self._narrower())
        if isinstance(error, duckdb.OutOfMemoryException) or said.startswith("Out of Memory Error"):
            return UsageError(f"the statement needs more than {MEMORY} of memory", hint=self._narrower())
        if f"{PROTOCOL}://" in said and not isinstance(error, duckdb.BinderException):
            return StoreCorrupt(
                f"a segment cannot be read ({said.splitlines()[0]})",
                hint="market-spine db check --deep says which; restore a backup, or use `market-spine rebuild`",
            )
        return statement.failed(said, as_of=self._question.moment is not None)

    def _narrower(self) -> str:
        if not self._scopes:
            return "ask for less at once, or allow more with --timeout"
        return f"ask for less at once, with conditions on {', '.join(self._scopes)}"


def _spelt(row: tuple[Any, ...], spelling: Sequence[tuple[int, Callable[[Any], Any]]]) -> tuple[Any, ...]:
    values = list(row)
    for number, plain in spelling:
        if values[number] is not None:
            values[number] = plain(values[number])
    return tuple(values)


_PORTABLE = re.compile(r"(VARCHAR|BOOLEAN|DOUBLE|BIGINT|DATE|TIME|TIMESTAMP.*|BLOB|DECIMAL.*)(\[\d*\])*")
"""Types that Parquet and frames have, too, and lists of them."""
_FOREIGN = re.compile(r"\b(U?HUGEINT|INTERVAL|MAP|UNION|UUID|BIT|ENUM|TIME WITH|NULL)\b")
_CAST = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"), "BIGINT"),
    "HUGEINT": "BIGINT",
    "UHUGEINT": "DOUBLE",
    "FLOAT": "DOUBLE",
}
"""Whole numbers have 8 bytes, as declared columns do and whatever PostgreSQL answers; sums of them have 16 here."""


def _shown(name: str, kind: str) -> str:
    """A column with a type that Parquet and frames have; what is of no such type becomes text."""
    if _PORTABLE.fullmatch(kind) or (kind.startswith("STRUCT(") and not _FOREIGN.search(kind)):
        return quote(name)
    return f"CAST({quote(name)} AS {_CAST.get(kind, 'VARCHAR')}) AS {quote(name)}"


_IN_STREAM = re.compile(r"ArrowArrayStream::\w+\(\) failed \(\d+\): (.*)", re.DOTALL)
_SIMPLE = frozenset(("VARCHAR", "BOOLEAN", "DOUBLE", "BIGINT", "INTEGER", "HUGEINT", "SMALLINT", "TINYINT", '"NULL"'))
_UTC = datetime.UTC


def _moment(value: datetime.datetime) -> str:
    return value.astimezone(_UTC).isoformat(timespec="microseconds")


def _plain(kind: str) -> Callable[[Any], Any] | None:
    """What makes a plain value of one of DuckDB's type; None if it is one."""
    if kind in _SIMPLE:
        return None
    if kind == "TIMESTAMP WITH TIME ZONE":
        return _moment
    if kind == "BLOB":
        return bytes.hex
    if kind.startswith("DECIMAL"):
        return _number
    if kind in ("DATE", "TIME") or kind.startswith("TIMESTAMP"):
        return lambda value: value.isoformat()
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")):
        return partial(json.dumps, default=str)
    return lambda value: value if isinstance(value, int | float) else str(value)


def _number(value: Decimal) -> int | float:
    return int(value) if value.as_tuple().exponent == 0 else float(value)
