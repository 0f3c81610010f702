"""The commit log as it is read back: every transaction of a store, in the order in which they became visible."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from market_spine.core.anomaly import Anomaly
from market_spine.core.decision import Decision
from market_spine.core.manifest import Entry, RunRecord, RunStart
from market_spine.core.notice import Notice
from market_spine.core.partition import Partition
from market_spine.core.ports import Keeper


class AnomalyEvent(NamedTuple):
    """One row of ``core_anomaly_events``: an anomaly that was seen, or (None) a kind that was resolved."""

    kind: str
    seen: Anomaly | None


class PastCommit(NamedTuple):
    """What became visible at one moment: entries, anomaly events and decisions of one partition.

    Attributes:
        moment: when; strictly increasing along the log.
        entries: the manifest entries, in the order of their ids.
        events: the anomaly events, in the order in which they were written.
        decisions: what people decided, in that order.
    """

    moment: datetime
    partition: Partition
    entries: tuple[Entry, ...] = ()
    events: tuple[AnomalyEvent, ...] = ()
    decisions: tuple[Decision, ...] = ()


class PastRun(NamedTuple):
    """The start of a run, or its result, as it was recorded at one moment."""

    moment: datetime
    run: RunRecord | RunStart


class PastNotices(NamedTuple):
    """What others were told, as it was recorded at one moment."""

    moment: datetime
    notices: tuple[Notice, ...]


Past = PastCommit | PastRun | PastNotices
"""One transaction."""


class LogReader(Keeper, Protocol):
    """A Reader that also reads the whole log."""

    def log(self) -> Sequence[Past]:
        """Every transaction, oldest first, as of one state of the store; raises StoreError."""
