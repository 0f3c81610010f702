"""Window calculations: which are stale, and computing one. Each is a transaction of its own, oldest first."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from market_spine.app.draft import StageDraft, partition_scope
from market_spine.app.outcomes import stage_run
from market_spine.app.pipeline import ATTEMPTS, Moved, guarded
from market_spine.app.scheduling import ErrorDetail, PipelineRun, RunStatus, SkipReason
from market_spine.core.domain import Domain, WindowCalc
from market_spine.core.fingerprint import content_hash, fingerprint
from market_spine.core.manifest import CALC, Entry, Known
from market_spine.core.partition import Partition
from market_spine.core.ports import Clock, Reader, Writer
from market_spine.core.revision import Change
from market_spine.errors import MarketSpineError, StoreLocked
from market_spine.telemetry import log_context

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

_FRAMES_KEPT = 64
"""Input frames kept in memory while windows are computed: neighbouring windows share most of theirs."""


class Window(NamedTuple):
    """One window to compute: its calculation, the partition it belongs to, and those of its inputs that are present."""

    calc: WindowCalc
    partition: Partition
    present: tuple[Partition, ...]
    complete: bool
    fingerprint: str
    standing: bool


def windows_reached(
    domain: Domain, keys: Iterable[str], moved: Collection[str] | None
) -> list[tuple[WindowCalc, Partition]]:
    """The windows of some partitions that look at one that moved, in partition order; all with ``moved`` None."""
    return [
        (calc, partition)
        for partition in map(domain.partition, sorted(keys))
        for calc in domain.windows
        if moved is None or any(each.key in moved for each in calc.inputs(partition))
    ]


def stale_windows(
    domain: Domain, reader: Reader, moved: Collection[str] | None, *, again: Collection[str] = ()
) -> tuple[list[Window], Mapping[str, Known]]:
    """The windows whose inputs moved since they were computed, in partition order, and what is known of those.

    Args:
        domain: whose window calculations.
        reader: the store.
        moved: where to look: at windows that look at one of these partitions; None for everywhere.
        again: partitions whose windows are wanted although nothing moved (``--force``).
    """
    if moved is None:
        known = reader.known(domain.name)
        candidates = windows_reached(domain, known, None)
    elif moved or again:
        candidates = windows_reached(domain, reader.partition_keys(domain.name), {*moved, *again})
        known = reader.known(domain.name, sorted({key.key for calc, each in candidates for key in calc.inputs(each)}))
    else:
        return [], {}
    found = [
        find_window(calc, partition, known) for calc, partition in candidates if CALC in known[partition.key].stages
    ]
    return [window for window in found if not window.standing or window.partition.key in again], known


def find_window(calc: WindowCalc, partition: Partition, known: Mapping[str, Known]) -> Window:
    """One window as it would be computed from what is known of its inputs."""
    inputs = calc.inputs(partition)
    present = tuple(each for each in inputs if each.key in known and CALC in known[each.key].stages)
    print_ = fingerprint(
        calc.spec.name,
        calc.spec.version,
        (f"{each.key} {known[each.key].stages[CALC].entry.fingerprint}" for each in present),
    )
    last = known[partition.key].stages.get(calc.spec.name)
    standing = last is not None and last.entry.fingerprint == print_
    return Window(calc, partition, present, len(present) == len(inputs), print_, standing)


def foresee_windows(
    domain: Domain, reader: Reader, moved: Collection[str], again: Collection[str]
) -> list[PipelineRun]:
    """The windows a dry run foresees: those with an input among the partitions that would move.

    Args:
        domain: whose window calculations.
        reader: the store.
        moved: the partitions whose rows the run would write anew.
        again: partitions whose windows are wanted although nothing moved (``--force``).
    """
    if not (moved or again):
        return []
    computed = {key for key, own in reader.known(domain.name).items() if CALC in own.stages}
    present_keys = {*computed, *moved}
    found = []
    for calc, partition in windows_reached(domain, present_keys, {*moved, *again}):
        inputs = calc.inputs(partition)
        if partition.key in again or any(each.key in moved for each in inputs):
            present = tuple(each for each in inputs if each.key in present_keys)
            window = Window(calc, partition, present, len(present) == len(inputs), "", False)
            found.append(window_run(window, RunStatus.PLANNED))
    return found


def window_run(
    window: Window,
    status: RunStatus,
    elapsed: timedelta = timedelta(),
    error: ErrorDetail | None = None,
    reason: SkipReason | None = None,
) -> PipelineRun:
    """A window's entry in the result that has no rows to tell of: planned, failed or skipped."""
    return PipelineRun(
        pipeline=window.calc.spec.pipeline,
        partition_key=window.partition.key,
        status=status,
        duration_ms=max(0, round(elapsed / timedelta(milliseconds=1))),
        capture_id=None,
        row_count=None,
        is_revision=None,
        revision_summary=None,
        reason=reason,
        error=error,
    )


class WindowRunner:
    """Computes windows one after another, reading each partition that several of them look at once."""

    def __init__(
        self,
        domain: Domain,
        known: Mapping[str, Known],
        reader: Reader,
        writer: Callable[[], Writer],
        run_id: str,
        clock: Clock,
    ) -> None:
        self.domain = domain
        self.known = known
        self.reader = reader
        self.writer = writer
        self.run_id = run_id
        self.clock = clock
        self.frames: OrderedDict[tuple[str, int], pl.DataFrame] = OrderedDict()
        """By table and the ``calc`` entry that brought the rows."""

    def run(self, window: Window) -> PipelineRun:
        """Compute one window and write it. Never raises: what goes wrong is in the run."""
        with log_context(run_id=self.run_id, partition=window.partition.key):
            started = self.clock()
            draft = guarded(lambda: self.settled_before(window) or self._settle(window))
            if isinstance(draft, MarketSpineError):
                logger.error("%s failed: %s", window.calc.spec.name, draft.message, extra={"kind": draft.kind})
                return window_run(window, RunStatus.FAILED, self.clock() - started, ErrorDetail.of(draft))
            if draft is None:
                return window_run(window, RunStatus.SKIPPED, reason=SkipReason.UP_TO_DATE)
            return stage_run((window.calc.spec,), draft)

    def settled_before(self, window: Window) -> StageDraft | None:
        """What this run has committed of a window already: who computed it was lost before its answer."""
        last = self.known[window.partition.key].stages.get(window.calc.spec.name)
        if last is None or last.entry.run_id != self.run_id:
            return None
        change = last.entry.change or Change()
        # A first window has rows: one that changed none had been computed before.
        return StageDraft(last.entry, {}, is_revision=last.entry.is_revision or not change, change=change)

    def _settle(self, window: Window) -> StageDraft | None:
        """Compute and write a window, again if its inputs move meanwhile; None if another run has written it."""
        forced = window.standing
        for _ in range(ATTEMPTS):
            # What is known may have moved on since the window was listed.
            window = find_window(window.calc, window.partition, self.known)
            if window.standing and not forced:
                return None
            draft = self.draft(window)
            try:
                with closing(self.writer()) as store:
                    draft.prepare(store, self.domain, self.clock)
                    with store.commit(window.partition) as commit:
                        draft.write(commit, self.clock)
                        commit.last_in_line()
                        self._check_unmoved(store, window)
            except Moved:
                logger.info("another run committed an input of this window meanwhile: looking at it again")
                self.known = self.reader.known(self.domain.name, list(self.known))
            else:
                return draft
        raise StoreLocked(
            f"other runs kept committing the inputs of {window.partition.key}", hint="run again when they have finished"
        )

    def _check_unmoved(self, store: Reader, window: Window) -> None:
        """Raise Moved unless the window and its inputs stand as they did when it was computed."""
        keys = [each.key for each in window.calc.inputs(window.partition)]
        now = store.known(self.domain.name, keys)
        own = window.partition.key
        if [_last_id(now, key, CALC) for key in keys] != [_last_id(self.known, key, CALC) for key in keys]:
            raise Moved
        if _last_id(now, own, window.calc.spec.name) != _last_id(self.known, own, window.calc.spec.name):
            raise Moved

    def draft(self, window: Window) -> StageDraft:
        """Compute one window from the rows its present inputs have now."""
        started = self.clock()
        spec, table = window.calc.spec, window.calc.table
        frame = window.calc.compute(window.partition, window.present, self._rows(window))
        stages = self.known[window.partition.key].stages
        base = stages[CALC].entry
        entry = Entry(
            manifest_id=0,
            partition=window.partition,
            stage=spec.name,
            status="committed",
            capture_id=base.capture_id,
            fingerprint=window.fingerprint,
            pipeline_version=spec.version,
            source_hash=base.source_hash,
            content_hash=content_hash([(frame, table.key)]),
            row_count=frame.height,
            run_id=self.run_id,
            input_captures=tuple(self.known[each.key].stages[CALC].entry.capture_id for each in window.present),
        )
        return StageDraft(
            entry,
            {table.name: frame},
            is_revision=spec.name in stages,
            standing=window.standing,
            elapsed=self.clock() - started,
        )

    def _rows(self, window: Window) -> pl.DataFrame:
        """The rows of all present inputs, oldest partition first."""
        import polars as pl

        return pl.concat([self._frame(window.calc, partition) for partition in window.present])

    def _frame(self, calc: WindowCalc, partition: Partition) -> pl.DataFrame:
        name, columns = calc.reads
        key = (name, self.known[partition.key].stages[CALC].entry.manifest_id)
        if key not in self.frames:
            table = next(each for each in self.domain.tables if each.name == name)
            self.frames[key] = self.reader.read(table, partition_scope(table, partition), columns)
        self.frames.move_to_end(key)
        while len(self.frames) > _FRAMES_KEPT:
            self.frames.popitem(last=False)
        return self.frames[key]


def _last_id(known: Mapping[str, Known], key: str, stage: str) -> int | None:
    committed = known[key].stages.get(stage) if key in known else None
    return committed.entry.manifest_id if committed else None
