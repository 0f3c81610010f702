"""Asking a store: statements and rows of tables, now and as of any moment."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

from market_spine.core.domain import Domain
from market_spine.core.manifest import Committed
from market_spine.core.ports import SECONDS, Clock, FrameStream, RowStream
from market_spine.errors import UsageError
from market_spine.store import manifest, moments
from market_spine.store.database import Database
from market_spine.store.steady import steadily

if TYPE_CHECKING:
    from market_spine.core.kept import QueryResult
    from market_spine.core.relations import RelationInfo

logger = logging.getLogger(__name__)


@steadily
class AskingReader:
    """What can be asked through one connection; ``StoreReader`` adds what is read without being asked in SQL.

    Args:
        db: where.
        domains: whose tables and views there are.
        clock: tells whether a moment has passed.
        past: as of when everything is read, once ``Database.show_past`` was told so; None: now.
    """

    def __init__(self, db: Database, domains: Sequence[Domain], clock: Clock, past: datetime | None = None) -> None:
        self._db = db
        self._past = past
        self._domains = tuple(domains)
        self._clock = clock

    def find_capture(self, capture_id: str) -> Committed | None:
        """The first manifest entry (``ingest``) that brought a capture."""
        return self._first_ingest("capture_id = ?", capture_id)

    def _first_ingest(self, where: str, capture_id: str) -> Committed | None:
        # An argument may hold bytes that are no text, which no database takes and no capture id has.
        if capture_id.encode(errors="replace").decode() != capture_id:
            return None
        with self._db.snapshot():
            found = manifest.read_entries(self._db, f"stage = 'ingest' AND {where}", (capture_id,))
            return next(found, None)

    def query(self, sql: str, as_of: datetime | str | None = None) -> QueryResult:
        """Run one read-only statement and take all its rows; arguments and errors are those of ``ask``.

        Raises:
            UsageError: also for more than a million rows.
        """
        from market_spine.core.kept import QueryResult
        from market_spine.store.asking import MOST_ROWS

        rows: list[tuple[Any, ...]] = []
        with self.ask(sql, as_of) as answer:
            for batch in answer.batches():
                rows += batch
                if len(rows) > MOST_ROWS:
                    raise UsageError(
                        f"the answer has more than {MOST_ROWS} rows",
                        hint="ask for less, or for the rows piece by piece",
                    )
            return QueryResult(tuple(answer.columns), rows)

    @contextmanager
    def ask(
        self,
        sql: str,
        as_of: datetime | str | None = None,
        *,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        pinned: bool = False,
        seconds: float = SECONDS,
    ) -> Iterator[RowStream]:
        """Run one read-only statement, optionally as of a moment or of a capture; its rows come piece by piece.

        Args:
            sql: a SELECT, WITH or VALUES statement.
            as_of: a moment (without zone: UTC), its ISO text (a date: its first instant in UTC), or a
                capture id, which stands for the moment its capture became current. All views and
                ``core_*`` tables then show what was known at that moment, for ever the same.
            params: the values of ``$name`` parameters; see ``binding.bind``.
            pinned: ``as_of`` was the latest commit's moment; while it still is, the present is asked.
            seconds: how long it may take until the last row was read.

        Raises:
            UsageError: not a single reading statement; it fails, takes too long or too much memory; a moment
                that has not passed; and with ``as_of``, names of physical tables or with a schema. Also while
                the rows are read.
            StoreLocked: a writer stayed busy, so that what was known at the moment is not settled yet.
        """
        from market_spine.store import statements
        from market_spine.store.asking import Question

        statements.check(sql)
        if params is not None:
            from market_spine.store.binding import bind

            sql = bind(sql, params)
        with self._db.query(Question(sql, self._domains, self._at(as_of, pinned=pinned), seconds, pinned)) as answer:
            yield answer

    @contextmanager
    def table(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        start: date | str | None = None,
        end: date | str | None = None,
        as_of: datetime | str | None = None,
        pinned: bool = False,
        together: bool = False,
        spill: str | None = None,
        seconds: float = SECONDS,
    ) -> Iterator[FrameStream]:
        """Rows of a table or view, piece by piece; arguments and errors are those of ``Reader.table``."""
        from market_spine.store import selecting
        from market_spine.store.asking import Choice, Question
        from market_spine.store.binding import statement
        from market_spine.store.views import quote

        moment = self._at(as_of, pinned=pinned)
        table = selecting.declared(self._domains, name)
        if table is not None:
            kinds = selecting.kinds_of(table)
            wanted = selecting.chosen_columns(table.name, kinds, columns)
            given = selecting.conditions(table.name, kinds, where, start, end)
            choice = Choice(table, wanted, given, self._domains, moment, seconds, pinned, together)
            with self._db.choose(choice) as rows:
                yield rows
            return

        def narrow(kinds: Mapping[str, str]) -> str:
            wanted = selecting.chosen_columns(name, kinds, columns)
            return statement(name, wanted, selecting.conditions(name, kinds, where, start, end))

        whole = f"SELECT * FROM {quote(name)}"
        is_whole = columns is None and not where and start is None and end is None
        question = Question(whole, self._domains, moment, seconds, pinned, spill, None if is_whole else narrow)
        with self._db.query(question) as answer:
            yield answer

    def described(self) -> list[RelationInfo]:
        """Every table and view, as they are now."""
        from market_spine.store import selecting
        from market_spine.store.asking import Question

        with self._db.query(Question(selecting.COLUMNS, self._domains, None, SECONDS)) as answer:
            return selecting.relations(self._domains, chain.from_iterable(answer.batches()))

    def settled(self, as_of: datetime | str) -> datetime:
        """The moment that a moment, its text, or a capture id stands for, once it has passed."""
        return moments.from_text(self._settled(as_of))

    def latest(self) -> datetime | None:
        """The moment of the latest commit; None in a store without commits."""
        return self._past or moments.latest_moment(self._db)

    def _at(self, as_of: datetime | str | None, *, pinned: bool) -> str | None:
        """The moment to ask as of. Where nothing has to be looked up any thread may ask."""
        if as_of is None:
            return None if self._past is None else moments.to_text(self._past)
        if pinned and isinstance(as_of, datetime):
            return moments.to_text(as_of)
        return self._db.steadily(lambda: self._settled(as_of))

    def _settled(self, as_of: datetime | str) -> str:
        """A moment after which nothing can be committed before it any more."""
        moment = self._moment(as_of)
        now, latest = self._clock(), moments.latest_moment(self._db)
        if latest is None or moment > latest:
            # At this very instant something may still be committed with it.
            if moment >= now:
                raise UsageError(f"{moments.to_text(moment)} has not passed yet", hint="give a moment that has passed")
            self._db.settle()
        first = moments.first_commit(self._db)
        if first is None or moment < first:
            what = "nothing is committed yet" if first is None else f"the first commit is of {moments.to_text(first)}"
            logger.warning("as of %s nothing was known: %s", moments.to_text(moment), what)
        return moments.to_text(moment)

    def _moment(self, as_of: datetime | str) -> datetime:
        if isinstance(as_of, str):
            try:
                moment = datetime.fromisoformat(as_of)
            except ValueError:
                return self._capture_moment(as_of)
        else:
            moment = as_of
        try:
            return datetime.fromisoformat(moments.to_text(moment))
        except OverflowError as error:
            raise UsageError(f"{as_of} is outside the calendar") from error

    def _capture_moment(self, capture_id: str) -> datetime:
        record = self._first_ingest("status = 'committed' AND capture_id = ?", capture_id)
        if record is not None:
            return record.committed_at
        if self.find_capture(capture_id) is not None:
            raise UsageError(f"capture {capture_id} is held back and was never current", hint="give a moment instead")
        raise UsageError(
            f"{capture_id!r} is neither a moment nor a capture of this store",
            hint="give ISO 8601 such as 2025-01-06T14:00:00Z, or an id from `market-spine captures`",
        )
