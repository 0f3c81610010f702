"""The coordinator's side of a Dask cluster: starting or reaching one, and futures that all end within a bound.

Dask waits for ever where all workers are gone, and forgets what was asked where its scheduler is. So one thread here
watches: whatever becomes of the cluster, each future gets an answer or an error in the time that is named below.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import dask
from dask.system import CPU_COUNT

from market_spine import stopping
from market_spine.app.executing import WindowName, worker_lost
from market_spine.app.pipeline import guarded
from market_spine.app.report import Plan
from market_spine.app.scheduling import PipelineRun
from market_spine.app.task import Outcome, Run, Task
from market_spine.errors import Interrupted, MarketSpineError
from market_spine.execute.sealing import WORKER_REFUSED, seal
from market_spine.store import StoreUrl

if not logging.getLogger("distributed").handlers:  # nobody else uses Dask in this process: it is to be silent
    dask.config.set({"logging": {"distributed": "critical", "distributed.client": "critical"}})
import distributed
from distributed.security import Security

from market_spine.execute import worker

T = TypeVar("T")

CONNECT = 30.0
"""Seconds that a scheduler gets to answer, and a local cluster to start."""
GONE = 60.0
"""Seconds without any worker after which a run does not wait for one any more."""
LOST = 10.0
"""Seconds after the loss of the scheduler, in which its workers end; what they committed by then counts."""
GRACE = 12.0
"""Seconds that what is in flight gets once the run is to stop: less than the command waits for the run."""
_CALL = 10.0
"""Seconds that a call to the scheduler may take."""
_LOOK, _ASK = 0.05, 1.0
"""Seconds between two looks at futures, and between two questions how many slots there are."""

_LOCAL = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.memory.terminate": False,
}


class Cluster:
    """Workers elsewhere, for one run; an Executor."""

    def __init__(self, client: distributed.Client, run: Run, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._run, self._clock = client, run, clock
        self._running: dict[Future[Any], distributed.Future] = {}
        self._numbers = itertools.count()
        self._slots, self._seen, self._lost_at = 1, clock(), None  # type: int, float, float | None
        self._stop_at: float | None = None
        self._ended: MarketSpineError | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="cluster")

    def open(self) -> None:
        """Wait for a first worker, and let all of them join; raises MarketSpineError."""
        until = self._clock() + GONE
        while not (slots := self._ask()):
            if self._clock() > until:
                raise _no_workers()
            stopping.sleep(stopping.SLICE)
        self._slots, self._seen = slots, self._clock()
        sealed, identity = seal(self._run), worker.Build.own()
        refuse = partial(worker.refuse_other, identity)
        self._checked(lambda: self._client.run_on_scheduler(refuse), "the scheduler")
        self._checked(lambda: self._client.run(refuse), "a worker")
        level = logging.getLogger("market_spine").getEffectiveLevel()
        join = worker.Join(self._run.id, sealed, identity, level)
        self._checked(lambda: self._client.register_plugin(join, name=self._name), "a worker")
        found = self._checked(lambda: self._client.run(worker.ready, self._run.id), "a worker")
        for address, problem in sorted(found.items()):
            if problem is not None:
                raise MarketSpineError(
                    f"worker {address} cannot work for the run: {problem.message}",
                    hint=problem.hint,
                    kind=problem.kind,
                )
        self._watcher.start()

    @property
    def _name(self) -> str:
        return f"market-spine-{self._run.id}"

    def _checked(self, call: Callable[[], T], who: str) -> T:
        """What a call gives that workers answer; raises MarketSpineError."""
        try:
            return stopping.within(call, CONNECT)
        except MarketSpineError:
            raise
        except ImportError as error:
            raise MarketSpineError(
                f"{who} has no Market Spine, or another version: {error}",
                hint="start scheduler and workers from the run's own image",
                kind=WORKER_REFUSED,
            ) from error
        except Exception as error:  # whatever a cluster of another version or in a bad state raises
            raise MarketSpineError(
                f"{who} did not answer: {type(error).__name__}: {error}", hint="look at its log", kind="no_workers"
            ) from error

    def slots(self) -> int:
        """How many tasks the workers that are there work on at once."""
        return self._slots

    def start(self, task: Task) -> Future[Outcome]:
        """Have a partition worked through."""
        return self._submit(f"-{task.partition.key}", worker.work, tuple(task)[1:])

    def start_windows(self, names: Sequence[WindowName]) -> Future[list[PipelineRun]]:
        """Have windows computed, in order."""
        return self._submit("-windows", worker.compute, tuple(names))

    def tell_stop(self) -> None:
        """Let what waits on workers end, and wait for what is in flight no longer than a bound."""
        self._stop_at = self._clock() + GRACE
        threading.Thread(target=quietly, args=(self._tell_stop,), daemon=True).start()

    def _tell_stop(self) -> None:
        self._client.run(worker.tell_stop, self._run.id, on_error="ignore")

    def _submit(self, name: str, function: Callable[..., worker.Answered], carried: Any) -> Future[Any]:
        own: Future[Any] = Future()
        with self._lock:
            if self._ended is None:
                key = f"{self._name}-{next(self._numbers)}{name}"
                try:
                    self._running[own] = self._client.submit(function, self._run.id, carried, key=key, pure=False)
                except Exception as error:  # noqa: BLE001 - the client has lost its scheduler
                    own.set_exception(worker_lost(f"{type(error).__name__}: {error}"))
            else:
                own.set_exception(self._ended)
        return own

    def _watch(self) -> None:
        asked = self._clock()
        while not self._closing.wait(_LOOK):
            now = self._clock()
            if self._client.status != "running" or self._lost_at is not None:
                self._lost_at = self._lost_at or now
                if now - self._lost_at > LOST:
                    self._end(worker_lost("the scheduler is gone"))
                continue
            for own, remote in list(self._running.items()):
                if remote.status != "pending":
                    self._settle(own, remote)
            if now - asked > _ASK:
                asked = now
                if slots := self._ask():
                    self._slots, self._seen = slots, self._clock()
                elif self._clock() - self._seen > GONE:
                    self._end(worker_lost("no worker is left"))
            if self._stop_at is not None and now > self._stop_at:
                quietly(self._leave)
                self._end(Interrupted("stopped by a signal before it was done", hint="run again"))

    def _ask(self) -> int:
        """The slots of the workers that are there; 0 where nobody answers."""
        found: dict[str, int] = {}
        with suppress(Exception):
            found = self._client.sync(self._client.scheduler.ncores, callback_timeout=_CALL)
        return sum(found.values())

    def _settle(self, own: Future[Any], remote: distributed.Future) -> None:
        """Give a future its answer, unless the answer was lost on the way: then Dask works it out again."""
        answer: worker.Answered | None = None
        try:
            answer = remote.result(timeout=_CALL)
        except TimeoutError:
            return
        except MarketSpineError as error:
            problem = error
        except Exception as error:  # noqa: BLE001 - Dask's own, such as KilledWorker
            if self._client.status != "running":
                return  # told by the watch, once it is clear what was committed
            problem = worker_lost(f"{type(error).__name__}: {error}")
        with self._lock:
            del self._running[own]
        if answer is None:
            own.set_exception(problem)
        else:
            worker.tell(answer.lines)
            own.set_result(answer.found)

    def _end(self, why: MarketSpineError) -> None:
        """Wait for nothing any more; what comes from now on fails at once."""
        with self._lock:
            self._ended = self._ended or why
            left, self._running = self._running, {}
        if left:
            quietly(lambda: self._client.cancel(list(left.values()), asynchronous=False))
        for own in left:
            own.set_exception(why)

    def _leave(self) -> None:
        self._client.unregister_worker_plugin(self._name)

    def close(self) -> None:
        """Let go of the workers."""
        self._closing.set()
        if self._watcher.is_alive():
            self._watcher.join(2 * _CALL)
        if self._client.status == "running":
            quietly(self._leave)


def quietly(call: Callable[[], object]) -> None:
    """Do what may fail, and no longer than a bound."""
    with suppress(Exception):
        stopping.within(call, _CALL, grace=_CALL)


def _no_workers() -> MarketSpineError:
    return MarketSpineError(
        f"the cluster had no worker for {GONE:g} s", hint="start workers: dask worker HOST:PORT", kind="no_workers"
    )


@contextmanager
def local(plan: Plan, store: StoreUrl) -> Iterator[Cluster]:
    """A cluster of processes of this machine, which end with the block or with this process."""
    count = plan.workers if plan.workers > 1 else CPU_COUNT

    def start() -> distributed.LocalCluster:
        with dask.config.set(_LOCAL):
            return distributed.LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                # Others on this machine could have work done in our name otherwise.
                security=Security.temporary(),
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                memory_limit=0,
                silence_logs=logging.CRITICAL,
                env=_environment(store),
            )

    cluster = _reached(start, "the local cluster could not be started")
    try:
        with _joined(lambda: distributed.Client(cluster, set_as_default=False, timeout=CONNECT), plan.run) as joined:
            yield joined
    finally:
        quietly(cluster.close)


def _environment(store: StoreUrl) -> dict[str, str]:
    """What workers of our own have otherwise than this process: the address that ``--db`` gave."""
    return {"DATABASE_URL": store.url} if store.kind == "postgresql" else {}


@contextmanager
def remote(address: str, plan: Plan) -> Iterator[Cluster]:
    """The workers of a scheduler, ``HOST:PORT``; how it is spoken to, TLS too, is Dask's own configuration."""
    with _joined(lambda: distributed.Client(address, set_as_default=False, timeout=CONNECT), plan.run) as joined:
        yield joined


@contextmanager
def _joined(connect: Callable[[], distributed.Client], run: Run) -> Iterator[Cluster]:
    client = _reached(connect, "the scheduler cannot be reached")
    joined = Cluster(client, run)
    try:
        joined.open()
        yield joined
    finally:
        joined.close()
        quietly(lambda: client.close(timeout=_CALL))


def _reached(connect: Callable[[], T], problem: str) -> T:
    found = guarded(lambda: _within_bound(connect, problem))
    if isinstance(found, MarketSpineError):
        raise found
    return found


def _within_bound(connect: Callable[[], T], problem: str) -> T:
    try:
        return stopping.within(connect, 2 * CONNECT)
    except (OSError, ValueError, RuntimeError) as error:  # TimeoutError is an OSError
        raise MarketSpineError(
            f"{problem}: {error}", hint="check the address, that it runs, and its log", kind="no_workers"
        ) from error
