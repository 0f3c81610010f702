"""Partitions and windows worked on side by side: on threads here, or on workers elsewhere that may be lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from contextvars import copy_context
from threading import Event
from typing import Any, NamedTuple, Protocol, TypeVar

from market_spine.app.again import lost
from market_spine.app.outcomes import stage_run
from market_spine.app.pipeline import guarded
from market_spine.app.report import Plan, RunReport
from market_spine.app.scheduling import ErrorDetail, PipelineRun, RunStatus
from market_spine.app.task import Outcome, Run, Task
from market_spine.app.windows import Window, WindowRunner, find_window, window_run
from market_spine.core.ports import Reader
from market_spine.errors import MarketSpineError

T = TypeVar("T")

WORKER_LOST = "worker_lost"
PIECE = 64
"""Windows that one task computes at most: so many frames of their inputs are kept."""
SLICE = 0.2
"""Seconds after which a wait for workers elsewhere looks whether the run is to stop."""


class WindowName(NamedTuple):
    """A window by its stage and partition; ``standing``: it is wanted although nothing moved."""

    stage: str
    partition_key: str
    standing: bool


class Executor(Protocol):
    """Workers elsewhere. Every future that it gives ends within a bound, whatever becomes of the workers."""

    def slots(self) -> int:
        """How many tasks the workers that are there now work on at once; at least one."""

    def start(self, task: Task) -> Future[Outcome]:
        """Have a partition worked through."""

    def start_windows(self, names: Sequence[WindowName]) -> Future[list[PipelineRun]]:
        """Have windows computed, in order; fewer runs than names if the run was to stop."""

    def tell_stop(self) -> None:
        """Let what waits on workers end: the run is to stop."""


class Threads:
    """As many threads of this process as a plan has workers; an ``Executor``, which ends with its block."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._threads = ThreadPoolExecutor(plan.workers)
        self._stopping = Event()

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    def slots(self) -> int:
        """The plan's workers."""
        return self._plan.workers

    def start(self, task: Task) -> Future[Outcome]:
        """Work through a partition on one of them."""
        return self.submit(self._plan.work, task)

    def start_windows(self, names: Sequence[WindowName]) -> Future[list[PipelineRun]]:
        """Compute windows, in order, on one of them."""
        return self.submit(compute_windows, self._plan.run, names, self._stopping.is_set)

    def tell_stop(self) -> None:
        """Let no further window be computed."""
        self._stopping.set()

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Do some work on one of them."""
        # In a copy of this context, so that waits there hear what waits here hear.
        return self._threads.submit(copy_context().run, work, *arguments)


def on_threads(
    tasks: Sequence[Task], plan: Plan, report: RunReport, stop: Callable[[], bool]
) -> Iterator[tuple[int, Outcome]]:
    """Outcomes as they come, of ``plan.workers`` threads, each with its position in the plan."""
    with Threads(plan) as threads:
        yield from _side_by_side(tasks, plan, report, stop, threads.start, threads.slots)


def elsewhere(
    tasks: Sequence[Task], plan: Plan, report: RunReport, stop: Callable[[], bool], executor: Executor
) -> Iterator[tuple[int, Outcome]]:
    """The same of workers elsewhere, as many at once as they have slots."""
    yield from _side_by_side(tasks, plan, report, telling(stop, executor), executor.start, executor.slots)


def windows_by_line(
    windows: Sequence[Window], run: Run, store: Reader, stop: Callable[[], bool], executor: Executor
) -> tuple[list[PipelineRun], list[Window]]:
    """Compute windows on workers, those of a line one after another, since neighbours share most inputs.

    Returns:
        The runs, in the order of the windows, and the windows that were not come to, because the run is to stop.
    """
    asked = telling(stop, executor)
    waiting = iter(_pieces(windows, run))
    running: dict[Future[list[PipelineRun]], list[int]] = {}
    done: dict[int, PipelineRun] = {}
    while True:
        while len(running) < executor.slots() and not asked() and (piece := next(waiting, None)):
            names = [WindowName(each.calc.spec.name, each.partition.key, each.standing) for each in _at(windows, piece)]
            running[started(lambda names=names: executor.start_windows(names))] = piece  # type: ignore[misc]
        if not running:
            break
        for future in wait(running, SLICE, return_when=FIRST_COMPLETED).done:
            piece = running.pop(future)
            problem = failure_of(future)
            found = future.result() if problem is None else _lost_windows(_at(windows, piece), run, store, problem)
            done.update(zip(piece, found, strict=False))
        asked()
    left = [window for place, window in enumerate(windows) if place not in done]
    return [each for _, each in sorted(done.items())], left


def compute_windows(run: Run, names: Sequence[WindowName], stop: Callable[[], bool]) -> list[PipelineRun]:
    """Compute windows here, in order, until told to stop."""
    assert run.stores.writer is not None
    calcs = {calc.spec.name: calc for calc in run.domain.windows}
    wanted = [(calcs[each.stage], run.domain.partition(each.partition_key), each.standing) for each in names]
    with closing(run.stores.reader()) as reader:
        keys = sorted({each.key for calc, own, _ in wanted for each in calc.inputs(own)})
        known = reader.known(run.domain.name, keys)
        windows = WindowRunner(run.domain, known, reader, run.stores.writer, run.id, run.clock)
        done: list[PipelineRun] = []
        for calc, partition, standing in wanted:
            if stop():
                break
            done.append(windows.run(find_window(calc, partition, known)._replace(standing=standing)))
        return done


def _at(windows: Sequence[Window], places: Sequence[int]) -> list[Window]:
    return [windows[place] for place in places]


def _pieces(windows: Sequence[Window], run: Run) -> list[list[int]]:
    """The places of windows that one worker computes: a calculation's, of one line, at most so many."""
    lines: dict[tuple[str, str], list[int]] = {}
    for number, window in enumerate(windows):
        place = run.domain.place(window.partition)
        lines.setdefault((window.calc.spec.name, place.line if place else ""), []).append(number)
    return [line[first : first + PIECE] for line in lines.values() for first in range(0, len(line), PIECE)]


def _lost_windows(windows: Sequence[Window], run: Run, store: Reader, problem: MarketSpineError) -> list[PipelineRun]:
    """The runs of windows whose worker was lost: what it had committed by then, else the failure."""
    known = guarded(lambda: store.known(run.domain.name, sorted({each.partition.key for each in windows})))

    def found(window: Window) -> PipelineRun:
        if not isinstance(known, MarketSpineError) and run.stores.writer is not None:
            runner = WindowRunner(run.domain, known, store, run.stores.writer, run.id, run.clock)
            if committed := runner.settled_before(window):
                return stage_run((window.calc.spec,), committed)
        return window_run(window, RunStatus.FAILED, error=ErrorDetail.of(problem))

    return [found(window) for window in windows]


def telling(stop: Callable[[], bool], executor: Executor) -> Callable[[], bool]:
    """What is asked whether to stop, which tells the workers once it is so."""
    told = False

    def asked() -> bool:
        nonlocal told
        if stop() and not told:
            told = True
            executor.tell_stop()
        return told

    return asked


def _side_by_side(
    tasks: Sequence[Task],
    plan: Plan,
    report: RunReport,
    stop: Callable[[], bool],
    start: Callable[[Task], Future[Outcome]],
    slots: Callable[[], int],
) -> Iterator[tuple[int, Outcome]]:
    waiting = iter(enumerate(tasks))
    running: dict[Future[Outcome], int] = {}
    failed = False
    while True:
        while len(running) < slots() and not (failed and plan.fail_fast):
            following = next(waiting, None)
            if following is None:
                break
            if stop():
                report.interrupted = True
                break
            position, task = following
            running[started(lambda task=task: start(task))] = position  # type: ignore[misc]
        if not running:
            return
        for future in wait(running, SLICE, return_when=FIRST_COMPLETED).done:
            position = running.pop(future)
            problem = failure_of(future)
            outcome = future.result() if problem is None else lost(tasks[position], problem)
            failed = failed or outcome.failed
            yield position, outcome
        stop()


def started(start: Callable[[], Future[T]]) -> Future[T]:
    """A future; one that has failed where nothing could be started."""
    begun = guarded(start)
    if isinstance(begun, Future):
        return begun
    failed: Future[T] = Future()
    failed.set_exception(begun)
    return failed


def failure_of(future: Future[T]) -> MarketSpineError | None:
    """Why a future that has ended has no result: what it raised on purpose, else that its worker is lost."""
    if future.cancelled():
        return worker_lost("its task was cancelled")
    error = future.exception()
    if error is None or isinstance(error, MarketSpineError):
        return error
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        raise error
    return worker_lost(f"{type(error).__name__}: {error}")


def worker_lost(why: str) -> MarketSpineError:
    """The error of what a worker did not answer for."""
    return MarketSpineError(
        f"the worker was lost before it answered ({why})",
        hint="run again: what was committed is kept, and the rest is done then",
        kind=WORKER_LOST,
    )
