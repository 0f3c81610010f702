"""Partitions and windows worked on side by side: on threads here, or on workers elsewhere that may be lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Protocol, TypeVar

from market_spine.app.again import lost
from market_spine.app.pipeline import guarded
from market_spine.app.report import Plan, RunReport
from market_spine.app.task import Outcome, Task
from market_spine.errors import MarketSpineError

T = TypeVar("T")

WORKER_LOST = "worker_lost"
SLICE = 0.2
"""Seconds after which a wait for workers elsewhere looks whether the run is to stop."""


class Executor(Protocol):
    """Workers elsewhere. Every future that it gives ends within a bound, whatever becomes of the workers."""

    def slots(self) -> int:
        """How many tasks the workers that are there now work on at once; at least one."""

    def start(self, task: Task) -> Future[Outcome]:
        """Have a partition worked through."""

    def tell_stop(self) -> None:
        """Let what waits on workers end: the run is to stop."""


def on_threads(
    tasks: Sequence[Task], plan: Plan, report: RunReport, stop: Callable[[], bool]
) -> Iterator[tuple[int, Outcome]]:
    """Outcomes as they come, of ``plan.workers`` threads, each with its position in the plan."""
    with ThreadPoolExecutor(plan.workers) as own:

        def start(task: Task) -> Future[Outcome]:
            # In a copy of this context, so that waits there hear what waits here hear.
            return own.submit(copy_context().run, plan.work, task)

        yield from _side_by_side(tasks, plan, report, stop, start, lambda: plan.workers)


def elsewhere(
    tasks: Sequence[Task], plan: Plan, report: RunReport, stop: Callable[[], bool], executor: Executor
) -> Iterator[tuple[int, Outcome]]:
    """The same of workers elsewhere, as many at once as they have slots."""
    yield from _side_by_side(tasks, plan, report, telling(stop, executor), executor.start, executor.slots)


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
