"""What workers do: join a run, work through its partitions and windows, and answer with what they logged."""

from __future__ import annotations

import logging
import platform
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from typing import Any, NamedTuple

from distributed.diagnostics.plugin import WorkerPlugin

from market_spine import registry, stopping, telemetry
from market_spine.app.again import answered_before, renewed
from market_spine.app.executing import WindowName, compute_windows
from market_spine.app.pipeline import guarded, run_partition
from market_spine.app.task import Outcome, Run, Task
from market_spine.core.fingerprint import window_versions
from market_spine.core.ports import Writer
from market_spine.errors import Interrupted, MarketSpineError
from market_spine.execute.sealing import WORKER_REFUSED, unseal

_lines: ContextVar[list[LogLine] | None] = ContextVar("market_spine_lines", default=None)


class LogLine(NamedTuple):
    """A log record as it travels, and its context."""

    record: Mapping[str, Any]
    context: Mapping[str, str]


class Answered(NamedTuple):
    """What a worker answers with: a partition's outcome or windows' runs, and what was logged on the way."""

    found: Any
    lines: Sequence[LogLine]


class Build(NamedTuple):
    """What must be the same on all workers."""

    product: str
    python: str
    domains: Mapping[str, str]

    @classmethod
    def own(cls) -> Build:
        """Of this process."""
        domains = {each.name: f"{' '.join(each.versions)} {window_versions(each)}" for each in registry.domains()}
        python = ".".join(platform.python_version_tuple()[:2])
        return cls(version("market-spine-basic"), python, domains)

    def differs(self, other: Build) -> str:
        """What another process has otherwise; empty where nothing is."""
        for what, here, there in (
            ("Market Spine", self.product, other.product),
            ("Python", self.python, other.python),
        ):
            if here != there:
                return f"it has {what} {there}, and the run {here}"
        odd = sorted({*self.domains.items()} ^ {*other.domains.items()})
        return f"its domain {odd[0][0]} is absent or of another version than the run's" if odd else ""


@dataclass(eq=False)
class Membership:
    """A run that this process works for."""

    sealed: bytes
    identity: Build
    level: int
    stopping: threading.Event = field(default_factory=threading.Event)
    """The run is to stop: waits end."""
    left: threading.Event = field(default_factory=threading.Event)
    """The run does not count on this process any more: nothing may be written."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def _run(self) -> Run:
        refuse_other(self.identity)
        run = unseal(self.sealed)
        _listen(self.level)
        write = run.stores.writer
        if write is None:
            return run
        return run._replace(stores=run.stores._replace(writer=partial(_unless_left, self.left, write)))

    @property
    def run(self) -> Run:
        """What its partitions share; raises MarketSpineError where this process cannot work for it."""
        with self.lock:
            return self._run


_memberships: dict[str, Membership] = {}


class Join(WorkerPlugin):  # type: ignore[misc]  # Dask's has no types
    """Makes every worker, those that come later too, work for a run, until it is removed or the worker ends."""

    def __init__(self, run_id: str, sealed: bytes, identity: Build, level: int) -> None:
        self.run_id, self.sealed, self.identity, self.level = run_id, sealed, identity, level

    def setup(self, worker: object) -> None:
        """Join; what is shared is opened by the first task."""
        _memberships[self.run_id] = Membership(self.sealed, self.identity, self.level)

    def teardown(self, worker: object) -> None:
        """Leave: what is still at work writes nothing more."""
        if member := _memberships.pop(self.run_id, None):
            member.stopping.set()
            member.left.set()


def refuse_other(identity: Build) -> None:
    """Raise MarketSpineError, kind ``worker_refused``, unless this process is what the run's own is."""
    if differs := identity.differs(Build.own()):
        raise MarketSpineError(
            f"a worker cannot work for the run: {differs}",
            hint="start it from the run's own image",
            kind=WORKER_REFUSED,
        )


def ready(run_id: str) -> MarketSpineError | None:
    """Why this process cannot work for a run; None if it can."""
    problem = guarded(lambda: _member(run_id).run)
    return problem if isinstance(problem, MarketSpineError) else None


def tell_stop(run_id: str) -> None:
    """Let waits of a run end in this process."""
    if member := _memberships.get(run_id):
        member.stopping.set()


def work(run_id: str, carried: tuple[Any, ...]) -> Answered:
    """Work through one partition: answers with its outcome. Raises MarketSpineError where the worker cannot."""
    member = _member(run_id)
    task = Task(member.run, *carried)
    return _told(member, lambda: _work(task))


def _work(task: Task) -> Outcome:
    """What an earlier worker committed of the partition in this run, else what is done now."""
    if task.run.stores.writer is None:
        return run_partition(task)

    def look() -> tuple[Task, Outcome | None]:
        with closing(task.run.stores.reader()) as store:
            now = renewed(task, store)
            return now, answered_before(now, store) if now.known.last_id != task.known.last_id else None

    looked = guarded(look)
    if isinstance(looked, MarketSpineError):
        return run_partition(task)
    now, done = looked
    return done or run_partition(now)


def compute(run_id: str, names: Sequence[WindowName]) -> Answered:
    """Compute windows, in order: answers with the runs of those that were come to before the run was to stop."""
    member = _member(run_id)
    return _told(member, lambda: compute_windows(member.run, names, stopping.asked))


def _member(run_id: str) -> Membership:
    if (member := _memberships.get(run_id)) is None:
        raise Interrupted("the run has ended", hint="run again: what was committed is kept")
    return member


def _told(member: Membership, do: Callable[[], Any]) -> Answered:
    with _collected() as lines, stopping.heard(member.stopping.is_set):
        return Answered(do(), lines)


def _unless_left(left: threading.Event, write: Callable[[], Writer]) -> Writer:
    if left.is_set():
        raise Interrupted("the run does not count on this worker any more", hint="run again")
    return write()


class _Collector(logging.Handler):
    """Keeps what a task logs."""

    def emit(self, record: logging.LogRecord) -> None:
        lines = _lines.get()
        if lines is None:
            return
        kept = {name: value for name, value in record.__dict__.items() if name not in ("args", "exc_info", "exc_text")}
        kept |= {"msg": record.getMessage(), "args": None}
        if record.exc_info:
            kept["exception"] = logging.Formatter().formatException(record.exc_info)
        lines.append(LogLine(kept, telemetry.current_context()))


_collector = _Collector()


def _listen(level: int) -> None:
    """Hear what the product and its domains log, as of the level that the run shows."""
    for name in ("market_spine", *(target.partition(":")[0] for target in registry.entries().values())):
        logger = logging.getLogger(name)
        if _collector not in logger.handlers:
            logger.addHandler(_collector)
            logger.setLevel(level)


@contextmanager
def _collected() -> Iterator[list[LogLine]]:
    lines: list[LogLine] = []
    token = _lines.set(lines)
    try:
        yield lines
    finally:
        _lines.reset(token)


def tell(lines: Sequence[LogLine]) -> None:
    """Log here what was logged there."""
    for line in lines:
        record = logging.makeLogRecord(dict(line.record))
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            with telemetry.log_context(**line.context):
                logger.handle(record)
