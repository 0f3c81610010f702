"""Whether a partition can be expected: what the calendar says, and what the source lists, where it lists anything."""

from __future__ import annotations

from market_spine.app.task import Task
from market_spine.core.anomaly import Anomaly
from market_spine.core.domain import Listing, Publication

EARLY, UNLISTED = "published_early", "unlisted"
DISAGREEMENTS = frozenset({EARLY, UNLISTED})
"""Kinds of anomaly that tell of a source and a calendar that contradict each other."""


def expect(task: Task) -> tuple[Publication, Anomaly | None]:
    """Where a partition stands, and the anomaly if calendar and source disagree about it.

    A partition that the source lists is published, whatever the calendar says. One that it does not list is
    looked for all the same: if it is there, that is the anomaly; if it is not, it is late.
    """
    publication = task.run.domain.publication(task.partition, task.run.today)
    listed = task.run.source.lists(task.partition) if isinstance(task.run.source, Listing) else None
    key = task.partition.key
    if listed and publication is Publication.NOT_DUE:
        message = f"{key} is listed by the source, though the calendar does not expect it yet"
        return Publication.PUBLISHED, Anomaly(EARLY, "warning", key, message)
    if listed is False and publication is Publication.PUBLISHED:
        message = f"{key} should be published by now, and the source does not list it"
        return publication, Anomaly(UNLISTED, "warning", key, message)
    return publication, None
