"""What a request reads: one connection, one moment. The only module of the console that asks the store."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from market_spine.app.captures import CaptureState, list_captures
from market_spine.app.changes import moment_of
from market_spine.app.states import Grid, PartitionState, partition_states, states_of
from market_spine.compose import market_day
from market_spine.core.domain import Domain
from market_spine.core.kept import AnomalyRecord, CheckRecord
from market_spine.core.manifest import INGEST, Committed, Known, RunRecord
from market_spine.core.partition import Partition
from market_spine.core.ports import Reader, RowStream
from market_spine.store import open_reader
from market_spine.web.console import Console

if TYPE_CHECKING:
    import polars as pl

    from market_spine.store.reader import StoreReader

T = TypeVar("T")

WINDOW = 30
"""Rows of a grid that are shown unless more are asked for: about seven months of weeks."""

CHECKS = 200
"""Most runs whose checks of a partition are shown."""


class Reading:
    """What one page reads; answers that several parts of a page, or several pages, need are read once."""

    def __init__(self, console: Console, store: StoreReader, as_of: datetime | None) -> None:
        self.console = console
        self.store: Reader = store
        self.now = console.now()
        self.as_of = as_of
        self._latest = store.latest()
        self._kept = console.memory.of(as_of, self._latest)

    def once(self, question: Hashable, ask: Callable[[], T]) -> T:
        """The answer to a question about the state of the store that is shown, on this day: asked once, for all pages.

        It must depend on nothing else, and be small; nobody may change it.
        """
        return self._kept.once((self.today, question), ask)

    @property
    def moment(self) -> datetime:
        """The moment whose knowledge is shown."""
        return self.as_of or self.now

    @property
    def today(self) -> date:
        """The day in New York that judges what is due."""
        return market_day(self.moment)

    @property
    def gridded(self) -> dict[str, Domain]:
        """The domains that have partitions, by their short names."""
        return {name: domain for name, domain in self.console.domains.items() if domain.partition_fields}

    def short(self, name: str) -> str:
        """The short name of a domain; the name itself where it is not installed."""
        return next((short for short, domain in self.console.domains.items() if domain.name == name), name)

    def point(self, given: str | None, flag: str) -> datetime | None:
        """The moment that a moment or a capture in an address names; None if it is left away."""
        return moment_of(self.store, flag, given) if given else None

    def known(self, domain: Domain) -> Mapping[str, Known]:
        """What the manifest says of every partition of a domain."""
        return self.once(("known", domain.name), lambda: self._known(domain.name))

    def _known(self, name: str) -> Mapping[str, Known]:
        if self.as_of is not None or self._latest is None:
            return self.store.known(name)
        return self.console.memory.known(self.store, name, self._latest)

    def rows_of_all(self, domain: Domain) -> int:
        """How many rows the grid needs to show every partition that is known."""
        places = [place for key in self.known(domain) if (place := domain.place(domain.partition(key)))]
        if not places:
            return max(1, len(self.known(domain)))
        newest = domain.grid(self.today, 1, ())
        head = domain.place(newest[0][0]) if newest else None
        last = max(place.position for place in places) if head is None else head.position
        return max(1, last - min(place.position for place in places) + 1)

    def grid(self, domain: Domain, count: int) -> Grid:
        """The states of a domain's partitions, at most so many rows of the grid."""
        return self.once(
            ("grid", domain.name, count),
            lambda: partition_states(self.store, domain, self.today, count, self.known(domain)),
        )

    def full_grid(self, domain: Domain) -> Grid:
        """The states of all partitions from the first that is known to the newest."""
        return self.grid(domain, self.rows_of_all(domain))

    def state_of(self, domain: Domain, partition: Partition) -> PartitionState:
        """The state of one partition, whether the grid lists it or not."""
        return states_of(self.store, domain, self.today, [partition], self.known(domain))[0]

    @property
    def open_anomalies(self) -> Sequence[AnomalyRecord]:
        """Every anomaly that is neither resolved nor set aside."""
        return self.once("open anomalies", self.store.anomalies)

    def anomalies(self) -> Sequence[AnomalyRecord]:
        """Every anomaly there ever was."""
        return self.store.anomalies(open_only=False)

    def open_of(self, domain: str, key: str) -> list[AnomalyRecord]:
        """The open anomalies of a partition, errors first."""
        found = [each for each in self.open_anomalies if (each.domain, each.anomaly.partition_key) == (domain, key)]
        return sorted(found, key=lambda each: each.anomaly.severity != "error")

    def runs(self, domain: str | None = None, limit: int = 20, before: str | None = None) -> Sequence[RunRecord]:
        """Past runs, newest first; those before a run if it is named."""
        return self.store.runs(domain, limit, before=before)

    def find_run(self, run_id: str) -> RunRecord | None:
        """One run, whole."""
        return self.store.find_run(run_id)

    def checks(self, domain: str, key: str) -> Sequence[CheckRecord]:
        """What the latest runs that met a partition found of it, newest first."""
        return self.store.checks(domain, key, CHECKS)

    def restated(self, since: datetime, until: datetime, most: int) -> Sequence[Committed]:
        """The restatements between two moments, newest first."""
        return self.store.restated(since, until, most)

    def restatements(self, limit: int) -> Sequence[Committed]:
        """The latest restatements."""
        return self.store.restated(datetime.min.replace(tzinfo=UTC), self.moment, limit)

    def payload(self, sha256: str) -> bytes:
        """The exact bytes kept under a digest; raises StoreCorrupt where there are none."""
        return self.store.payload(sha256)

    def ask(self, statement: str, seconds: float) -> AbstractContextManager[RowStream]:
        """The answer to a reading statement, as of the moment that is shown."""
        return self.store.ask(statement, seconds=seconds)

    def rows(self, name: str, **chosen: Any) -> pl.DataFrame:
        """Rows of a table or view; arguments are those of ``Reader.table``."""
        import polars as pl

        with self.store.table(name, **chosen) as found:
            return pl.concat([pl.DataFrame(schema=dict(found.schema)), *found.frames()])

    def moments_of(self, domain: Domain, partition: Partition) -> list[Committed]:
        """Every commit that brought or held a capture of a partition, also after the moment that is shown."""
        with closing(_opened(self.console)) as present:
            entries = present.history(domain.name, partition.key)
        return [each for each in entries if each.entry.stage == INGEST and each.entry.status in ("held", "committed")]

    def captures(self, domain: Domain, partition: Partition) -> list[CaptureState]:
        """The captures of a partition, oldest first."""
        return list_captures(self.store, domain, partition)


@contextmanager
def reading(console: Console, as_of: str | None = None) -> Iterator[Reading]:
    """Open the store for one request, for reading alone; where there is none, an empty one.

    Args:
        console: whose store.
        as_of: a moment or a capture; everything is then read as it was known at that moment.
    """
    moment = None
    if as_of:
        with closing(_opened(console)) as store:
            moment = store.settled(as_of)
    with closing(_opened(console, moment)) as store:
        yield Reading(console, store, moment)


def _opened(console: Console, moment: datetime | None = None) -> StoreReader:
    return open_reader(console.url, console.all_domains, missing_ok=True, as_of=moment)
