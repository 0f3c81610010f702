"""The stages after ingest, up to the point of writing: pure functions of what ingest left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from market_spine.app.draft import StageDraft, covered_scopes, partition_scope
from market_spine.app.examine import known_content
from market_spine.app.standing import Ingest, calc_fingerprint, is_replay, normalize_fingerprint, standing
from market_spine.app.task import Task
from market_spine.core.domain import StageSpec
from market_spine.core.fingerprint import content_hash
from market_spine.core.manifest import CALC, INGEST, NORMALIZE, Entry
from market_spine.core.ports import Reader
from market_spine.core.revision import RowDiff
from market_spine.errors import MissingInput

if TYPE_CHECKING:
    import polars as pl


def draft_normalize(task: Task, store: Callable[[], Reader], ingest: Ingest) -> StageDraft | None:
    """The normalized tables of the target capture, or None if they stand already.

    Raises:
        MissingInput: there is no capture to work from.
    """
    target = ingest.target
    if target is None:
        raise MissingInput(
            f"partition {task.partition.key} has no capture to normalize",
            hint="run the ingest stage for it first",
        )
    print_ = normalize_fingerprint(task, target)
    stands = standing(task, NORMALIZE) == print_
    if stands and not task.run.options.force:
        return None
    started = task.run.clock()
    content = ingest.content
    if content is None:
        content = known_content(task, store, task.known.stages[INGEST].entry)
    frames = content.normalized.tables
    entry = _entry(task, task.run.domain.stages[1], target, print_, content.tables_hash, frames)
    return StageDraft(
        entry,
        frames,
        scopes=covered_scopes(task.run.domain, task.partition, content.normalized),
        diffs=_sure_diffs(task, ingest),
        # A capture that merely knows more than the one before is no revision, though rows are written.
        is_revision=NORMALIZE in task.known.stages
        and (target.is_revision or target.change is None or is_replay(target)),
        standing=stands,
        elapsed=task.run.clock() - started,
    )


def draft_calc(task: Task, store: Callable[[], Reader], normalized: StageDraft | None) -> StageDraft | None:
    """The calculated tables, or None if they stand already.

    Args:
        normalized: the normalize stage of the same run, if it has one; else the tables are read from the store.

    Raises:
        MissingInput: the partition was never normalized.
    """
    base = task.known.stages.get(NORMALIZE)
    if normalized is None and base is None:
        raise MissingInput(
            f"partition {task.partition.key} has no normalized rows to compute from",
            hint="run the normalize stage for it first",
        )
    source = normalized.entry if normalized else base.entry if base else None
    assert source is not None
    print_ = calc_fingerprint(task, source.fingerprint)
    stands = standing(task, CALC) == print_
    if stands and not task.run.options.force:
        return None
    started = task.run.clock()
    domain = task.run.domain
    tables = _tables(task, store, normalized)
    frames = domain.compute(task.partition, tables)
    digest = content_hash((frames[table.name], table.key) for table in task.run.domain.tables if table.name in frames)
    entry = _entry(task, task.run.domain.stages[2], source, print_, digest, frames)
    return StageDraft(
        entry,
        frames,
        is_revision=CALC in task.known.stages,
        standing=stands,
        elapsed=task.run.clock() - started,
        review=tuple(domain.review(task.partition, tables)),
    )


def _sure_diffs(task: Task, ingest: Ingest) -> Mapping[str, RowDiff]:
    """How the rows differ from those that stand, if they were compared on the way with the very rows that stand."""
    current = task.known.current
    # Compared on what both know, rows that stand were completed from the payload first.
    if ingest.found is None or ingest.found.enriched or current is None:
        return {}
    if standing(task, NORMALIZE) != normalize_fingerprint(task, current.entry):
        return {}
    return ingest.found.diffs


def _tables(task: Task, store: Callable[[], Reader], normalized: StageDraft | None) -> Mapping[str, pl.DataFrame]:
    """Every normalized table of the partition, whole.

    A payload that covers only a range lies over the rows that stand; of a table that it does not fill they stand.
    """
    import polars as pl

    tables: dict[str, pl.DataFrame] = {}
    for table in task.run.domain.tables:
        if table.stage != NORMALIZE:
            continue
        fresh = normalized.frames.get(table.name) if normalized else None
        scope = normalized.scopes.get(table.name) if normalized else None
        if fresh is None or scope is not None:
            stands = store().read(table, partition_scope(table, task.partition))
        if fresh is None:
            tables[table.name] = stands
        elif scope is None:
            tables[table.name] = fresh
        else:
            covered = store().read(table, scope, table.key)
            outside = stands.join(covered, on=list(table.key), how="anti")
            tables[table.name] = pl.concat([outside, fresh]).sort(table.key)
    return tables


def _entry(
    task: Task,
    spec: StageSpec,
    source: Entry,
    print_: str,
    digest: str,
    frames: Mapping[str, pl.DataFrame],
) -> Entry:
    return Entry(
        manifest_id=0,
        partition=task.partition,
        stage=spec.name,
        status="committed",
        capture_id=source.capture_id,
        fingerprint=print_,
        pipeline_version=spec.version,
        source_hash=source.source_hash,
        content_hash=digest,
        row_count=sum(frame.height for frame in frames.values()),
        run_id=task.run.id,
        input_captures=(source.capture_id,),
    )
