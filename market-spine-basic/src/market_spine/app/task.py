"""The records that go into and come out of one partition's run: picklable, so that any executor can carry them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Literal, NamedTuple

from market_spine.app.scheduling import PipelineRun
from market_spine.core.anomaly import MISSING_LEG, Anomaly, Severity
from market_spine.core.capture import Absent
from market_spine.core.domain import Domain, Source
from market_spine.core.manifest import Entry, Known
from market_spine.core.partition import Partition
from market_spine.core.plausibility import RowPlausibility
from market_spine.core.ports import Clock, Reader, Writer

OnlyStage = Literal["ingest", "normalize", "calc", "all"]
Mode = Literal["run", "dry-run"]


class Options(NamedTuple):
    """What the user asked for, as far as one partition is concerned; ``by`` is who."""

    force: bool = False
    only_stage: OnlyStage = "all"
    by: str = ""

    def wants(self, stage: str) -> bool:
        """Whether a stage is asked for."""
        return self.only_stage in ("all", stage)


class Stores(NamedTuple):
    """How to open the store. Without ``writer`` the run is dry: it has no means of writing."""

    reader: Callable[[], Reader]
    writer: Callable[[], Writer] | None


class NoSource(NamedTuple):
    """The source of work that fetches nothing."""

    def fetch(self, partition: Partition, known: Known) -> Absent:
        """Nothing."""
        return Absent()


class Run(NamedTuple):
    """What all partitions of one scheduler run share.

    Attributes:
        id: names the run in the log, the manifest and ``core_runs``.
        domain: with the thresholds in effect.
        today: the day that decides what is due.
        capture_day: the day that new capture ids carry.
        ahead: ``today`` is a day that is still to come: what is absent is not late.
    """

    id: str
    domain: Domain
    source: Source
    stores: Stores
    options: Options
    today: date
    capture_day: date
    clock: Clock
    ahead: bool = False

    @property
    def rules(self) -> RowPlausibility | None:
        """The thresholds in effect by which the platform judges, if the domain declares any."""
        declared = self.domain.plausibility
        return declared if isinstance(declared, RowPlausibility) else None


class Nearby(NamedTuple):
    """What was current of a partition's neighbours when the run was planned.

    Attributes:
        nearest: their captures, nearest first.
        before: the capture of the last one before the partition.
    """

    nearest: tuple[Entry, ...] = ()
    before: Entry | None = None


class Task(NamedTuple):
    """One partition to work through.

    Attributes:
        known: what the manifest said of the partition when the run was planned; read again before writing.
        open_anomalies: the partition's unresolved anomalies then, kind to severity, those set aside included.
        nearby: what a first capture is compared with.
    """

    run: Run
    partition: Partition
    known: Known
    open_anomalies: Mapping[str, Severity] = {}
    nearby: Nearby = Nearby()

    @property
    def is_awaited(self) -> bool:
        """Whether it may bring what is compared with neighbours: a first capture, or a leg that was missing."""
        return self.known.current is None or MISSING_LEG in self.open_anomalies


class Outcome(NamedTuple):
    """What became of one partition: an entry for each pipeline run, the anomalies seen, and whether a dry run foresees
    that what windows look at will have moved."""

    partition_key: str
    runs: tuple[PipelineRun, ...]
    anomalies: tuple[Anomaly, ...] = ()
    moves: bool = False

    @property
    def failed(self) -> bool:
        """Whether any pipeline run failed."""
        return any(run.status == "failed" for run in self.runs)
