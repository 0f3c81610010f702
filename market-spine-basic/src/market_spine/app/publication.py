"""What can be expected, and when: what the calendar says, and what the source lists, where it lists anything."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date

from market_spine.app.task import Task
from market_spine.core.anomaly import Anomaly
from market_spine.core.domain import Domain, Listing, Publication
from market_spine.core.partition import Partition

EARLY, UNLISTED = "published_early", "unlisted"
DISAGREEMENTS = frozenset({EARLY, UNLISTED})
"""Kinds of anomaly that tell of a source and a calendar that contradict each other."""

_AHEAD = 12
"""Partitions of the calendar that are looked through for the next of those like the selected ones."""


def next_publication(
    domain: Domain, selected: Sequence[Partition], captured: Collection[str], today: date
) -> date | None:
    """The day on which the next partition is published of the lines that the selected ones stand in.

    Today only if a selected partition is published today and not captured yet. None if the domain has no calendar.

    Args:
        domain: whose calendar it is.
        selected: what was selected.
        captured: keys of those of which there is a capture.
        today: the day of the run.
    """
    lines = {place.line for each in selected if (place := domain.place(each))}
    ahead = [each for each in domain.upcoming(today, _AHEAD) if (place := domain.place(each)) and place.line in lines]
    days = {each: domain.publication_day(each) for each in (*selected, *ahead)}
    return min(
        (
            day
            for partition, day in days.items()
            if day is not None
            and (day > today or (day == today and partition in selected and partition.key not in captured))
        ),
        default=None,
    )


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
    if listed is False and publication is Publication.PUBLISHED and not task.run.ahead:
        message = f"{key} should be published by now, and the source does not list it"
        return publication, Anomaly(UNLISTED, "warning", key, message)
    return publication, None
