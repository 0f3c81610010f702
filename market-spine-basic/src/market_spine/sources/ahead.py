"""Fetches the next partition of a plan while the one before it is being worked on."""

from __future__ import annotations

import contextvars
import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from market_spine.core.partition import Partition
from market_spine.telemetry import log_context

if TYPE_CHECKING:
    from market_spine.core.capture import Absent, Payload, Unchanged, Unread
    from market_spine.core.domain import Source
    from market_spine.core.manifest import Known


class FetchAhead:
    """A Source around another: with one worker, the network and the processor work at the same time.

    At most one partition is fetched ahead, on a thread of its own, and only for as long as the manifest knows
    the same of it as when the fetch began. Pickled, it is the source it goes around: workers elsewhere fetch
    for themselves.

    Args:
        source: where partitions come from; used from two threads.
        plan: the partitions that will be asked for, in order.
        known: what the manifest knows of each, by key, when the plan is made.
    """

    def __init__(self, source: Source, plan: Sequence[Partition], known: Mapping[str, Known]) -> None:
        self.source = source
        self._known = known
        self._after = dict(itertools.pairwise(plan))
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="fetch-ahead")
        self._begun: dict[Partition, Future[Payload | Absent | Unchanged | Unread]] = {}

    def fetch(self, partition: Partition, known: Known) -> Payload | Absent | Unchanged | Unread:
        """What the source gives, perhaps fetched before; raises what it raises."""
        begun = self._begun.pop(partition, None)
        if begun is not None and known.last_id == self._known[partition.key].last_id:
            fetched = begun.result()
        else:
            fetched = self.source.fetch(partition, known)
        following = self._after.get(partition)
        if following is not None and following not in self._begun:
            work = partial(contextvars.copy_context().run, self._fetch_ahead, following)
            self._begun[following] = self._pool.submit(work)
        return fetched

    def lists(self, partition: Partition) -> bool | None:
        """What the source says, if it can say."""
        lists = getattr(self.source, "lists", None)
        found: bool | None = lists(partition) if lists else None
        return found

    def close(self) -> None:
        """Forget what was fetched ahead, and close the source, which ends a fetch that is under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        close = getattr(self.source, "close", None)
        if close:
            close()

    def __reduce__(self) -> tuple[object, ...]:
        return _itself, (self.source,)

    def _fetch_ahead(self, partition: Partition) -> Payload | Absent | Unchanged | Unread:
        with log_context(partition=partition.key):
            return self.source.fetch(partition, self._known[partition.key])


def _itself(source: Source) -> Source:
    return source
