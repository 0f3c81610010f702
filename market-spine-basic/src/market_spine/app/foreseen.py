"""A plan that can be applied as it was foreseen: what each partition was foreseen from, and refusing what has moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from market_spine.app.pipeline import attempted, work_through
from market_spine.app.task import Outcome, Task
from market_spine.core.capture import Absent, Payload, Unchanged, Unread
from market_spine.core.domain import Listing, Source
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.errors import MarketSpineError

PLAN_OUTDATED = "plan_outdated"


class Foreseen(NamedTuple):
    """What one partition was foreseen from.

    Attributes:
        last_id: its last manifest id; 0 if it had none.
        answer: what its source answered: a digest or a word; empty if it was not asked.
    """

    last_id: int
    answer: str = ""


@dataclass
class Foresight:
    """What a plan was foreseen from, by partition key: noted by a dry run, and what binds the run that applies it."""

    partitions: dict[str, Foreseen] = field(default_factory=dict)
    binding: bool = False
    share: Mapping[str, Any] = field(default_factory=dict)
    """What the result of the dry run told of its shard, if the plan is that of one."""

    def watching(self, source: Source) -> Source:
        """The source, watched: its answers are noted, or compared with those that were."""
        return _Watched(source, self)

    def work(self, task: Task) -> Outcome:
        """Work through a partition as it was foreseen. Never raises."""
        return attempted(task, self._work)

    def _work(self, task: Task) -> Outcome:
        key, last_id = task.partition.key, task.known.last_id
        if not self.binding:
            self.partitions[key] = Foreseen(last_id)
        elif self.partitions[key].last_id != last_id:
            raise _outdated(key, "something was committed for it")
        return work_through(task)

    def answered(self, key: str, answer: str) -> None:
        """Note an answer, or refuse one that is not what was foreseen."""
        foreseen = self.partitions[key]
        if not self.binding:
            self.partitions[key] = foreseen._replace(answer=answer)
        elif foreseen.answer not in (answer, _UNREAD):
            raise _outdated(key, "its source answers something else")


_UNREAD = "unread"
"""A dry run did not ask: whatever the source answers was foreseen."""


def _outdated(key: str, why: str) -> MarketSpineError:
    return MarketSpineError(
        f"{key} is no longer what the plan was made from: {why}", hint="make a new plan", kind=PLAN_OUTDATED
    )


@dataclass(frozen=True)
class _Watched:
    """A Source that tells a foresight what it answers."""

    source: Source
    foresight: Foresight

    def fetch(self, partition: Partition, known: Known) -> Payload | Absent | Unchanged | Unread:
        """As the source has it."""
        try:
            found = self.source.fetch(partition, known)
        except MarketSpineError as error:
            self.foresight.answered(partition.key, f"error {error.kind}")
            raise
        self.foresight.answered(partition.key, _told(found))
        return found

    def lists(self, partition: Partition) -> bool | None:
        """As the source has it."""
        return self.source.lists(partition) if isinstance(self.source, Listing) else None


def _told(found: Payload | Absent | Unchanged | Unread) -> str:
    if isinstance(found, Payload):
        return found.source_hash
    if isinstance(found, Unchanged):
        return f"unchanged {found.reason}"
    return _UNREAD if isinstance(found, Unread) else "absent"
