"""Lineage in OpenLineage's words: which run of which pipeline made which tables of what, the extra ``lineage``.

The library's own variables say where events go: ``OPENLINEAGE_URL`` for HTTP, or a transport such as a file by
``OPENLINEAGE__TRANSPORT__TYPE`` or ``OPENLINEAGE_CONFIG``. A scheduler's run is a run with a child for each pipeline
run that did something; each has a START and a COMPLETE or FAIL. Ids follow from the run's id.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from market_spine import __version__, registry, settings
from market_spine.app.scheduling import PipelineRun, RunStatus, SchedulerResult, SchedulerStatus
from market_spine.core.domain import Domain
from market_spine.core.manifest import CALC, INGEST, NORMALIZE
from market_spine.core.schema import Table
from market_spine.errors import MarketSpineError
from market_spine.store import parse_url

if TYPE_CHECKING:
    from openlineage.client.event_v2 import Job, OutputDataset, RunEvent
    from openlineage.client.generated.base import InputDataset

LINEAGE_VARIABLES = ("OPENLINEAGE_URL", "OPENLINEAGE_API_KEY", "OPENLINEAGE_CONFIG", "OPENLINEAGE_NAMESPACE")
NAMESPACE = "market-spine"
PRODUCER = f"urn:market-spine:{__version__}"
_IDS = uuid.UUID("5b0d2f0e-7f7c-4d43-9d0b-2f1d6f9a4c11")
"""What our ids are worked out from; any would do, if it stays."""
_QUIET = ("openlineage", "urllib3")


class TablePlace(NamedTuple):
    """Where the tables are, without secrets: OpenLineage's namespace of a dataset, and what stands before its name."""

    namespace: str
    prefix: str


def emit(result: SchedulerResult, db: str | None) -> None:
    """Send the events of a run.

    Raises:
        MarketSpineError: kind ``missing_extra`` without the library; kind ``unreachable`` where events did not arrive.
    """
    for name in _QUIET:  # they log on their own, with addresses in it, and would speak by Python's last resort
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [logging.NullHandler()], False
    try:
        from openlineage.client import OpenLineageClient
    except ImportError as error:
        raise MarketSpineError(
            "lineage needs openlineage-python, which is not installed",
            hint="pip install 'market-spine-basic[lineage]'",
            kind="missing_extra",
        ) from error
    domain = registry.find(result.domain)
    made = events(result, domain, place(settings.database(db).url), job_namespace())
    sent = 0
    try:
        client = OpenLineageClient()
        for event in made:
            client.emit(event)
            sent += 1
        client.close(timeout=5.0)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - what a transport raises may hold its address
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = f"{type(error).__name__}" + (f", status {status}" if status else "")
        raise MarketSpineError(
            f"after {sent} events OpenLineage failed: {reason}", hint="check the transport", kind="unreachable"
        ) from None


def job_namespace() -> str:
    """The namespace of jobs: ``OPENLINEAGE_NAMESPACE``."""
    return settings.variable("OPENLINEAGE_NAMESPACE", NAMESPACE)


def place(address: str) -> TablePlace:
    """Where a database's tables are, as OpenLineage names datasets of such databases."""
    url = parse_url(address)
    if url.kind == "sqlite":
        return TablePlace(f"sqlite://{Path(url.path).absolute()}", "")
    given = dict(url.parameters)
    host = given.get("host", "localhost").split(",")[0]
    return TablePlace(
        f"postgres://{host}:{given.get('port', '').split(',')[0] or 5432}", f"{url.path}.{url.schema or 'public'}."
    )


def events(result: SchedulerResult, domain: Domain, where: TablePlace, namespace: str) -> Iterator[RunEvent]:
    """The events of a run, in the order in which they are sent.

    The result does not say when within the run a pipeline ran: its events have the run's own moments.

    Args:
        result: the run's.
        domain: the domain whose pipelines ran.
        where: where the tables are.
        namespace: of the jobs.
    """
    from openlineage.client.event_v2 import Job
    from openlineage.client.facet_v2 import job_type_job, parent_run

    def job(name: str, kind: str) -> Job:
        facet = job_type_job.JobTypeJobFacet("BATCH", "MARKET_SPINE", kind, producer=PRODUCER)
        return Job(namespace, name, {"jobType": facet})

    root = job(f"{result.domain}.{result.scheduler}", "DAG")
    root_id = _id(result.run_id or result.started_at.isoformat())
    failed = result.status is SchedulerStatus.FAILURE
    problem = result.error.message if result.error else None
    yield _event("START", result.started_at, root_id, root, _facets())
    for run in result.runs:
        if run.status in (RunStatus.COMPLETED, RunStatus.FAILED):
            parent = parent_run.ParentRunFacet(
                parent_run.Run(root_id), parent_run.Job(root.namespace, root.name), producer=PRODUCER
            )
            yield from _pipeline(result, run, domain, where, job(run.pipeline, "TASK"), parent)
    yield _event("FAIL" if failed else "COMPLETE", result.finished_at, root_id, root, _facets(problem))


def _pipeline(
    result: SchedulerResult, run: PipelineRun, domain: Domain, where: TablePlace, job: Job, parent: Any
) -> Iterator[RunEvent]:
    """A pipeline run's two events."""
    run_id = _id(f"{result.run_id}|{run.pipeline}|{run.partition_key}")
    facets = {"parent": parent, **_nominal(domain, run.partition_key)}
    stage = _stage(domain, run.pipeline)
    inputs = _inputs(result, domain, stage, where)
    yield _event("START", result.started_at, run_id, job, {**_facets(), **facets}, inputs)
    if run.status is RunStatus.FAILED:
        assert run.error is not None
        yield _event("FAIL", result.finished_at, run_id, job, {**_facets(run.error.message), **facets}, inputs)
        return
    outputs = [_output(table, where, run) for table in _written(domain, stage)]
    yield _event("COMPLETE", result.finished_at, run_id, job, {**_facets(), **facets}, inputs, outputs)


def _event(
    kind: str,
    moment: datetime,
    run_id: str,
    job: Job,
    facets: dict[str, Any],
    inputs: Sequence[InputDataset] = (),
    outputs: Sequence[OutputDataset] = (),
) -> RunEvent:
    from openlineage.client.event_v2 import Run, RunEvent, RunState

    return RunEvent(
        eventType=RunState(kind),
        eventTime=moment.isoformat(),
        run=Run(run_id, facets),
        job=job,
        producer=PRODUCER,
        inputs=list(inputs),
        outputs=list(outputs),
    )


def _id(text: str) -> str:
    return str(uuid.uuid5(_IDS, text))


def _facets(problem: str | None = None) -> dict[str, Any]:
    """Facets that every run has; ``problem`` is why it failed."""
    from openlineage.client.facet_v2 import error_message_run, processing_engine_run

    engine = processing_engine_run.ProcessingEngineRunFacet(__version__, "Market Spine", producer=PRODUCER)
    if problem is None:
        return {"processing_engine": engine}
    error = error_message_run.ErrorMessageRunFacet(problem, "Python", producer=PRODUCER)
    return {"processing_engine": engine, "errorMessage": error}


def _nominal(domain: Domain, key: str) -> dict[str, Any]:
    """The day that a partition is about, where it is about one."""
    from openlineage.client.facet_v2 import nominal_time_run

    for value in domain.partition(key).values:
        try:
            day = date.fromisoformat(value)
        except ValueError:
            continue
        return {"nominalTime": nominal_time_run.NominalTimeRunFacet(f"{day}T00:00:00+00:00", producer=PRODUCER)}
    return {}


def _stage(domain: Domain, pipeline: str) -> str:
    specs = (*domain.stages, *(calc.spec for calc in domain.windows))
    return next((spec.name for spec in specs if spec.pipeline == pipeline), "")


def _written(domain: Domain, stage: str) -> list[Table | None]:
    """The tables that a stage fills; None is the payloads, which an ingest keeps."""
    return [None] if stage == INGEST else [table for table in domain.tables if table.stage == stage]


def _inputs(result: SchedulerResult, domain: Domain, stage: str, where: TablePlace) -> list[InputDataset]:
    """What a stage reads: the source, the payloads, or tables."""
    from openlineage.client.event_v2 import InputDataset

    if stage == INGEST:
        source = str(result.config.get("source", "source"))
        return [InputDataset(result.domain, source)]
    if stage == NORMALIZE:
        names = ["core_payloads"]
    elif stage == CALC:
        names = [table.name for table in domain.tables if table.stage == NORMALIZE]
    else:
        names = [calc.reads[0] for calc in domain.windows if calc.spec.name == stage]
    return [InputDataset(where.namespace, where.prefix + name) for name in names]


def _output(table: Table | None, where: TablePlace, run: PipelineRun) -> OutputDataset:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import (
        dataset_version_dataset,
        output_statistics_output_dataset,
        schema_dataset,
    )

    facets: dict[str, Any] = {}
    if table is not None:
        fields = [
            schema_dataset.SchemaDatasetFacetFields(column.name, column.kind, column.doc, at)
            for at, column in enumerate(table.columns, 1)
        ]
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields, producer=PRODUCER)
    if run.capture_id is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(run.capture_id, producer=PRODUCER)
    counted: dict[str, Any] = {}
    if run.row_count is not None:
        counted["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            run.row_count, producer=PRODUCER
        )
    name = "core_payloads" if table is None else table.name
    return OutputDataset(where.namespace, where.prefix + name, facets=facets, outputFacets=counted)
