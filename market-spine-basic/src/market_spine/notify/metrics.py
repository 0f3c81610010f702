"""Metrics for Prometheus, read from the database each time: a process that ends remembers nothing.

Labels are domains, schedulers, states, kinds, sources: never a symbol, a partition or a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from market_spine import __version__, registry
from market_spine.app.recording import UNFINISHED
from market_spine.app.scheduling import SchedulerStatus
from market_spine.app.states import PartitionState, State, partition_states
from market_spine.compose import market_day, reader, utc_now
from market_spine.core.domain import Domain
from market_spine.core.ports import Reader
from market_spine.errors import MarketSpineError, StoreUnavailable

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

ROWS = 53
"""Rows of the grid that are counted: a year of weeks."""
_STATUSES = (*(each.value for each in SchedulerStatus if each is not SchedulerStatus.DRY_RUN), UNFINISHED)
_RUN = ("domain", "scheduler")


def render(db: str | None) -> str:
    """The metrics of a database in Prometheus's text format, now.

    Raises:
        MarketSpineError: kind ``missing_extra`` without prometheus_client.
        StoreError: the database cannot be read.
    """
    with closing(reader(db)) as store:
        return text(store, registry.domains(), utc_now())


def text(store: Reader, domains: Sequence[Domain], now: datetime) -> str:
    """The same, of a store that is open."""
    found = _registry(store, domains, now)
    from prometheus_client import generate_latest

    return generate_latest(found).decode()


def write(path: str, db: str | None) -> None:
    """Write them to a file, at once as a whole, for the textfile collector of node_exporter.

    Raises:
        StoreUnavailable: kind ``output``: the file cannot be written. Else what ``render`` raises.
    """
    with closing(reader(db)) as store:
        found = _registry(store, registry.domains(), utc_now())
    from prometheus_client import write_to_textfile

    try:
        write_to_textfile(path, found)
    except OSError as error:
        raise StoreUnavailable(
            f"--metrics-file: {path} cannot be written: {error.strerror}",
            hint="its folder must exist and be writable",
            kind="output",
        ) from error


def _registry(store: Reader, domains: Sequence[Domain], now: datetime) -> CollectorRegistry:
    try:
        from prometheus_client import CollectorRegistry
    except ImportError as error:
        raise MarketSpineError(
            "metrics need prometheus_client, which is not installed",
            hint="pip install 'market-spine-basic[metrics]'",
            kind="missing_extra",
        ) from error
    made = CollectorRegistry(auto_describe=False)
    made.register(_Read(list(families(store, domains, now))))
    return made


class _Read:
    """Metrics that have been read."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


def families(store: Reader, domains: Sequence[Domain], now: datetime) -> Iterator[Metric]:
    """Every metric, in the order in which it is written.

    Args:
        store: the database.
        domains: whose to tell.
        now: the present.
    """
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    build = GaugeMetricFamily("market_spine_build_info", "The version that read these metrics.", labels=["version"])
    build.add_metric([__version__], 1)
    yield build
    yield from _runs(store, domains)
    yield from _partitions(store, domains, now)
    anomalies = GaugeMetricFamily(
        "market_spine_open_anomalies",
        "Open anomalies that nobody has set aside.",
        labels=["domain", "kind", "severity"],
    )
    for domain in domains:
        records = store.anomalies(domain.name)
        counted = Counter((record.anomaly.kind, record.anomaly.severity) for record in records)
        for (kind, severity), count in sorted(counted.items()):
            anomalies.add_metric([domain.name, kind, severity], count)
    yield anomalies
    calls = CounterMetricFamily(
        "market_spine_source_requests", "Calls to metered sources, as the quota ledger has them.", labels=["source"]
    )
    for source, count in sorted(store.calls().items()):
        calls.add_metric([source], count)
    yield calls


def _runs(store: Reader, domains: Sequence[Domain]) -> Iterator[Metric]:
    """Of each scheduler that ever ran: its latest run, and the last one that went well."""
    from prometheus_client.core import GaugeMetricFamily

    def gauge(name: str, text: str, *more: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"market_spine_{name}", text, labels=[*_RUN, *more])

    started = gauge("last_run_timestamp_seconds", "When the latest run began.")
    success = gauge("last_success_timestamp_seconds", "When the last run of status success ended.")
    duration = gauge("last_run_duration_seconds", "How long the latest run took, once it has ended.")
    status = gauge("last_run_status", "1 for the status of the latest run, 0 for the others.", "status")
    counts = gauge("last_run_partitions", "Partitions of the latest run by outcome.", "outcome")
    pipelines = gauge("last_run_pipeline_seconds", "Seconds that the latest run spent in each pipeline.", "pipeline")
    for domain in domains:
        found = store.run_figures(domain.name, domain.scheduler)
        if found is None:
            continue
        labels = [domain.name, domain.scheduler]
        started.add_metric(labels, found.started_at.timestamp())
        if found.last_success is not None:
            success.add_metric(labels, found.last_success.timestamp())
        if found.finished_at is not None:
            duration.add_metric(labels, (found.finished_at - found.started_at).total_seconds())
        for each in _STATUSES:
            status.add_metric([*labels, each], found.status == each)
        for outcome, count in found.counts.items():
            counts.add_metric([*labels, outcome], count)
        for pipeline, milliseconds in found.pipelines.items():
            pipelines.add_metric([*labels, pipeline], milliseconds / 1000)
    yield from (started, success, duration, status, counts, pipelines)


def _partitions(store: Reader, domains: Sequence[Domain], now: datetime) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    counts = GaugeMetricFamily(
        "market_spine_partitions",
        "Partitions by state, as `market-spine status` counts them.",
        labels=["domain", "state"],
    )
    late = GaugeMetricFamily(
        "market_spine_oldest_late_seconds",
        "How long the partition that has been late for longest should have been there; 0 if none is late.",
        labels=["domain"],
    )
    for domain in domains:
        grid = partition_states(store, domain, market_day(now), ROWS)
        if not grid.states:
            continue
        for state in State:
            counts.add_metric([domain.name, state.value], grid.counts.get(state.value, 0))
        late.add_metric([domain.name], max((_late(domain, each, now) for each in grid.states), default=0.0))
    yield from (counts, late)


def _late(domain: Domain, state: PartitionState, now: datetime) -> float:
    """Seconds since the end of the day on which a late partition was to be published."""
    day = domain.publication_day(domain.partition(state.partition_key)) if state.state == State.LATE else None
    return 0.0 if day is None else max(0.0, (now - _end_of(day)).total_seconds())


def _end_of(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)
