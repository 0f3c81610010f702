"""A store to read from: as it is, or as it was known at a moment."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime, time
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from market_spine import registry, settings
from market_spine.compose import market_day
from market_spine.core.calendar import ZONE
from market_spine.core.ports import SECONDS, Clock, FrameStream
from market_spine.errors import UsageError
from market_spine.read.frame import CAPTURE, Frame
from market_spine.store import open_reader, parse_url

if TYPE_CHECKING:
    from market_spine.app.captures import CaptureDiff, CaptureState
    from market_spine.app.changes import Changes
    from market_spine.app.states import Grid
    from market_spine.core.domain import Domain
    from market_spine.core.kept import AnomalyRecord
    from market_spine.core.manifest import RunRecord
    from market_spine.core.relations import RelationInfo
    from market_spine.store import StoreUrl
    from market_spine.store.reader import StoreReader

_WEEKS = 8
_RUNS = 20
_MOVERS = 10


class Spine:
    """A handle on a store; nothing can be written through it.

    ``market_spine.open`` gives one that shows the present, ``as_of`` others that show what was known at a moment and
    never change. Each has a connection of its own, which is opened when it is first needed, and closed with the handle:
    when nobody holds it any more, by ``close``, or as a context manager. Any thread may use it, one at a time.

    Every method raises ``market_spine.UsageError`` for what cannot be asked, and ``market_spine.StoreError`` where
    the database cannot be used.

    Attributes:
        moment: as of when everything is read, UTC; None: now.
    """

    def __init__(self, url: StoreUrl, moment: datetime | None = None, clock: Clock | None = None) -> None:
        self.moment = moment
        self._url = url
        self._clock = clock
        self._domains = registry.domains()

    @cached_property
    def store(self) -> StoreReader:
        """The Reader behind the handle, for what the API has no word for."""
        opened = open_reader(self._url, self._domains, clock=self._clock, as_of=self.moment)
        self._end = weakref.finalize(self, opened.close)
        return opened

    @property
    def path(self) -> str | None:
        """The file that the store is in; None where it is on a server."""
        return self._url.path if self._url.kind == "sqlite" else None

    def as_of(self, moment: datetime | date | str) -> Spine:
        """A handle on what was known at a moment.

        Args:
            moment: a datetime with time zone, or its ISO text; a date, or its text: its first instant in UTC; or
                a capture id: when that capture became current.

        Raises:
            UsageError: a datetime without time zone, a moment that has not passed, or no such capture.
        """
        return Spine(self._url, self.store.settled(_zoned(moment)), self._clock)

    def table(
        self,
        name: str,
        columns: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        start: date | str | None = None,
        end: date | str | None = None,
    ) -> Frame:
        """Rows of a table or view, typed as declared, in no particular order.

        Args:
            name: a table or view of the data dictionary.
            columns: which columns; default: all.
            where: column to the value that rows must have, or to a list of values; None is a missing value.
                Conditions on a table's partition columns are what makes a read fast.
            start: the first day, in the table's first column of dates (``week_ending``, ``trade_date``).
            end: the last day, itself included.
        """
        moment, pinned = self._now()

        def rows(columns: Sequence[str] | None) -> AbstractContextManager[FrameStream]:
            return self.store.table(
                name, columns=columns, where=where, start=start, end=end, as_of=pinned, pinned=pinned is not None
            )

        @contextmanager
        def brought() -> Iterator[FrameStream]:
            # A view need not tell which captures stand behind it.
            with rows(None) as whole:
                has = CAPTURE in whole.schema
            with rows([CAPTURE] if has else columns) as found:
                yield found

        return Frame(name, moment, lambda: rows(columns), brought)

    def sql(
        self,
        text: str,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        limit: int | None = None,
        timeout: float = SECONDS,
    ) -> Frame:
        """The rows of one reading statement; docs/query.md says what it may use.

        Args:
            text: a SELECT, WITH or VALUES statement.
            params: a mapping with the values of its ``$name`` parameters, or a list with those of its ``?``; a list
                as a value stands for its values in parentheses, as IN takes them.
            limit: most rows that are taken.
            timeout: seconds that it may take until its last row was read.
        """
        if (limit is not None and limit < 0) or not timeout > 0:
            raise UsageError("limit and timeout must be positive")
        moment, pinned = self._now()

        def rows() -> AbstractContextManager[FrameStream]:
            return self.store.ask(text, pinned, params=params or {}, pinned=pinned is not None, seconds=timeout)

        return Frame("statement", moment, rows, rows, limit)

    def _now(self) -> tuple[datetime | None, datetime | None]:
        """The moment of rows that are asked for now; and again if the store is to be asked as of it."""
        if self.moment is not None:
            return self.moment, None
        latest = self.store.latest()
        return latest, latest

    def tables(self) -> list[RelationInfo]:
        """Every table and view, with its columns, their types and what it is."""
        return self.store.described()

    def status(self, domain: str | None = None, weeks: int = _WEEKS) -> list[Grid]:
        """The partitions of each domain, and the state of each: at most ``weeks`` rows of the grid."""
        from market_spine.app.states import partition_states

        today = market_day(self.moment)
        return [partition_states(self.store, each, today, weeks) for each in self._chosen(domain)]

    def runs(self, domain: str | None = None, limit: int = _RUNS) -> Sequence[RunRecord]:
        """Past runs, newest first; ``document()`` of each is the whole result."""
        return self.store.runs(self._name(domain), limit)

    def captures(self, key: str, domain: str | None = None) -> list[CaptureState]:
        """The captures of a partition such as ``2025-01-03|NMS_TIER_1`` or ``AAPL|polygon``, oldest first."""
        from market_spine.app.captures import list_captures

        return list_captures(self.store, *registry.locate(key, domain, self.store.partition_keys))

    def diff(self, key: str, old: str | None = None, new: str | None = None, domain: str | None = None) -> CaptureDiff:
        """The rows in which two captures of a partition differ: the last two, unless they are named."""
        from market_spine.app.captures import compare_captures

        return compare_captures(self.store, *registry.locate(key, domain, self.store.partition_keys), old, new)

    def changes(
        self,
        since: datetime | date | str,
        until: datetime | date | str | None = None,
        *,
        domain: str | None = None,
        table: str | None = None,
        symbol: str | None = None,
        movers: int = _MOVERS,
    ) -> Changes:
        """What was restated between two moments: rows, totals before and after, the largest moves.

        Args:
            since: a moment or a capture, as ``as_of`` takes it.
            until: likewise; default: the handle's own moment, or now.
            domain: look at this domain alone.
            table: look at this table; default: the tables of what the sources said.
            symbol: rows of this symbol alone.
            movers: how many of the largest moves to keep.
        """
        from market_spine.app.changes import Span, choose_tables, find_changes

        begin = self.store.settled(_zoned(since))
        end = self.moment if until is None else self.store.settled(_zoned(until))
        if end is not None and end < begin:
            raise UsageError(f"until {end} comes before since {begin}")
        return find_changes(
            self.store, choose_tables(self._chosen(domain), table, symbol), Span(begin, end), symbol, movers
        )

    def anomalies(self, domain: str | None = None, *, everything: bool = False) -> Sequence[AnomalyRecord]:
        """Anomalies, newest first: those still open, or everything: also those resolved or set aside."""
        return self.store.anomalies(self._name(domain), open_only=not everything)

    def _chosen(self, domain: str | None) -> Sequence[Domain]:
        return self._domains if domain is None else [registry.find(domain)]

    def _name(self, domain: str | None) -> str | None:
        return None if domain is None else registry.find(domain).name

    def close(self) -> None:
        """Release the connection; it is opened anew if it is needed again."""
        if self.__dict__.pop("store", None) is not None:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        shown = "now" if self.moment is None else f"as of {self.moment.isoformat()}"
        return f"<Spine {self._url.display}, {shown}>"


def connect(db: str | None, clock: Clock | None = None) -> Spine:
    """A handle on the present; see ``market_spine.open``."""
    spine = Spine(parse_url(settings.database(db).url), None, clock)
    spine.store  # noqa: B018 - an address that cannot be opened is told now
    return spine


def _zoned(moment: datetime | date | str) -> datetime | str:
    """A moment with time zone, or a capture id."""
    found = moment
    if isinstance(found, str):
        try:
            found = date.fromisoformat(found) if len(found) == len("2025-01-31") else datetime.fromisoformat(found)
        except ValueError:
            return str(moment)
    if not isinstance(found, datetime):
        return datetime.combine(found, time(), UTC)
    if found.tzinfo is None:
        raise UsageError(
            f"{moment} has no time zone", hint=f"add one: UTC, or {ZONE} for what was seen there at that time"
        )
    return found
