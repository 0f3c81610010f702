"""Puts real stores, sources and clocks together: the part that every domain's scheduler shares."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from market_spine import registry, settings, stopping
from market_spine.app.arguments import choice, day, whole_number
from market_spine.app.pipeline import guarded, run_partition
from market_spine.app.recording import run_record, run_start
from market_spine.app.report import Plan, failed
from market_spine.app.runner import run_plan
from market_spine.app.scheduling import (
    SchedulerResult,
)
from market_spine.app.task import NoSource, OnlyStage, Options, Outcome, Run, Stores
from market_spine.core.calendar import ZONE
from market_spine.core.domain import Domain, Source
from market_spine.core.partition import Partition
from market_spine.core.ports import Clock, Reader, RequestLedger, Writer
from market_spine.errors import Interrupted, MarketSpineError, StoreError, UsageError
from market_spine.store import exists, open_ledger, open_reader, open_writer, parse_url
from market_spine.telemetry import log_context

if TYPE_CHECKING:
    from market_spine.app.decisions import Asked
    from market_spine.app.foreseen import Foresight
    from market_spine.app.shards import ShardOf
    from market_spine.core.commitlog import LogReader

logger = logging.getLogger(__name__)

W = TypeVar("W")

ONLY_STAGES = ("ingest", "normalize", "calc", "all")
MODES = ("run", "dry-run")


def utc_now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


def market_day(now: datetime | None = None) -> date:
    """The date in New York, where FINRA and the exchanges keep their days."""
    return (now or utc_now()).astimezone(ZONE).date()


class Request(NamedTuple):
    """The flags that every scheduler has, as given."""

    mode: str = "run"
    force: bool = False
    only_stage: str = "all"
    fail_fast: bool = False
    db: str | None = None
    run_date: str | date | None = None
    workers: int | str = 1
    partitions: str | Sequence[str] | None = None
    only: str | Sequence[str] | None = None
    shard: str | None = None
    executor: str | None = None


class Selection(NamedTuple):
    """What a domain makes of its own flags: the partitions, where they come from, what to tell about it.

    ``--partitions``, ``--shard`` and ``--only`` are applied to it. A domain whose source has to know the partitions
    beforehand asks ``app.selection`` and ``app.shards`` itself, and says in ``narrowed_from`` how many there were
    before, and in ``share`` what the shard was taken of.
    """

    partitions: Sequence[Partition]
    source: Source
    warnings: tuple[str, ...] = ()
    config: Mapping[str, Any] = {}
    tells_open: bool = False
    narrowed_from: int | None = None
    share: ShardOf | None = None


Select = Callable[[date, Callable[[], Reader]], Selection]


class Hooks(NamedTuple):
    """What the caller wants to be asked and told while a schedule runs."""

    clock: Clock = utc_now
    stop: Callable[[], bool] = lambda: False
    progress: Callable[[Outcome], None] = lambda _outcome: None
    planned: Callable[[int], None] = lambda _count: None
    begun: Callable[[Callable[[], SchedulerResult]], None] = lambda _so_far: None
    foresight: Foresight | None = None

    @property
    def store_clock(self) -> Clock | None:
        """What the database goes by: a clock that the caller brings, else its own, which other hosts share."""
        return None if self.clock is utc_now else self.clock


def run_schedule(domain: Domain, request: Request, select: Select, hooks: Hooks) -> SchedulerResult:
    """Run one schedule of a domain; every error comes back as a failure result.

    Args:
        domain: whose schedule it is.
        request: the common flags.
        select: chooses the partitions, given today's date in New York or ``--run-date``, and how to open
            the store for reading (it may not exist yet); may raise UsageError.
        hooks: clock, stop and progress.
    """
    started = hooks.clock()
    run_id = _run_id(started)
    config: dict[str, Any] = {}

    def run() -> SchedulerResult:
        plan = _plan(domain, request, select, started, hooks, run_id, config)
        hooks.planned(len(plan.partitions))
        if request.executor is None:
            return run_plan(plan, stop=hooks.stop, progress=hooks.progress, begun=hooks.begun)
        from market_spine.execute import executor_of

        with executor_of(request.executor, plan, parse_url(settings.database(request.db).url)) as executor:
            return run_plan(plan, stop=hooks.stop, progress=hooks.progress, begun=hooks.begun, executor=executor)

    with stopping.heard(hooks.stop), log_context(run_id=run_id):
        result = guarded(run)
        if isinstance(result, MarketSpineError):
            told = config | result.config
            answer = failed(domain.name, domain.scheduler, result, started, hooks.clock(), told, run_id)
            return _ended_early(answer, result, request.db, hooks, dry=config["mode"] == "dry-run")
        return result


@contextmanager
def telling(config: Mapping[str, Any]) -> Iterator[None]:
    """Let an error that ends the block tell the values that were in effect by then."""
    try:
        yield
    except MarketSpineError as error:
        error.config = {**config, **error.config}
        raise


def _ended_early(
    result: SchedulerResult, error: MarketSpineError, db: str | None, hooks: Hooks, *, dry: bool
) -> SchedulerResult:
    """Let a critical error be heard: in the log, and in the database, unless that is what failed or is not there.

    A flag that cannot be used is the caller's to tell: it is no event of the database's.
    """
    if isinstance(error, UsageError):
        return result
    logger.error("%s", error.message, extra={"kind": error.kind, "hint": error.hint})
    if dry or isinstance(error, StoreError | Interrupted):
        return result

    def record() -> None:
        if not exists(parse_url(settings.database(db).url)):
            return
        write = _stores(db, dry=False, clock=hooks.store_clock).writer
        assert write is not None
        with closing(write()) as store:
            start = run_start(result.run_id or "", result.domain, result.scheduler, result.started_at, result.config)
            store.record_start(start)
            store.record_run(run_record(result))

    if isinstance(problem := guarded(record), MarketSpineError):
        logger.error("the result could not be recorded: %s", problem.message, extra={"kind": problem.kind})
    return result


def run_decision(
    asked: Asked, partition_key: str, *, by: str | None, mode: str, domain: str | None, db: str | None, hooks: Hooks
) -> SchedulerResult:
    """Carry out a decision and answer with the contract; every error comes back as a failure result.

    Args:
        asked: what was decided; of ``accept`` and ``retract`` its capture says which partition.
        partition_key: the partition of ``ack``.
        by: who decides; by default who runs the program.
        mode: ``run``, or ``dry-run``, which writes nothing.
        domain: the partition's domain, where its key fits several.
        db: path or URL; else as ``reader`` has it.
        hooks: clock and stop.
    """
    from market_spine.app.decisions import decide

    started = hooks.clock()
    run_id = _run_id(started)
    config: dict[str, Any] = {
        name: value
        for name in ("capture_id", "kind", "reason", "until")
        if (value := getattr(asked, name)) not in ("", None)
    }
    config |= {"by": by or settings.user(), "mode": mode}
    if asked.until is not None:
        config["until"] = asked.until.isoformat()

    def run() -> SchedulerResult:
        choice("--mode", mode, MODES)
        if not asked.reason.strip() or not config["by"].strip():
            raise UsageError("--reason and --by must say something")
        found, partition = _subject(asked, partition_key, domain, db)
        dry = mode == "dry-run"
        # An anomaly that is set aside changes no row that a window looks at.
        stage: OnlyStage = "ingest" if asked.verb == "ack" else "all"
        common = Run(
            id=run_id,
            domain=in_effect(found),
            source=NoSource(),
            stores=_stores(db, dry=dry, clock=hooks.store_clock),
            options=Options(True, stage, config["by"]),
            today=market_day(started),
            capture_day=started.astimezone(UTC).date(),
            clock=hooks.clock,
        )
        plan = Plan(common, [partition], config=config, work=partial(decide, asked), scheduler=asked.verb)
        return run_plan(plan, stop=hooks.stop, begun=hooks.begun)

    with stopping.heard(hooks.stop), log_context(run_id=run_id):
        result = guarded(run)
        if isinstance(result, MarketSpineError):
            name = asked.capture_id.partition(":")[0] or domain or ""
            answer = failed(name, asked.verb, result, started, hooks.clock(), config, run_id)
            return _ended_early(answer, result, db, hooks, dry=mode == "dry-run")
        return result


def _subject(asked: Asked, partition_key: str, domain: str | None, db: str | None) -> tuple[Domain, Partition]:
    """The partition that a decision is about."""
    with closing(reader(db)) as store:
        if not asked.capture_id:
            return registry.locate(partition_key, domain, store.partition_keys)
        committed = store.find_capture(asked.capture_id)
    if committed is None:
        raise UsageError(f"there is no capture '{asked.capture_id}'", hint="market-spine captures PARTITION lists them")
    return registry.find(committed.entry.partition.domain), committed.entry.partition


def reader(db: str | None, clock: Clock | None = None) -> LogReader:
    """Open the database that ``--db`` or the environment names, for reading."""
    database = settings.database(db)
    return open_reader(parse_url(database.url), registry.domains(), clock=clock)


def ledger(db: str | None, clock: Clock | None) -> Callable[[], RequestLedger]:
    """How to open the quota ledger of the database that ``--db`` or the environment names; picklable."""
    return _writing(open_ledger, db, clock)


def _writing(opened: Callable[..., W], db: str | None, clock: Clock | None) -> Callable[[], W]:
    database = settings.database(db)
    return partial(
        opened,
        parse_url(database.url),
        registry.domains(),
        clock=clock,
        create_parent=database.is_default,
        auto_migrate=settings.auto_migrate(),
    )


def _plan(
    domain: Domain,
    request: Request,
    select: Select,
    now: datetime,
    hooks: Hooks,
    run_id: str,
    config: dict[str, Any],
) -> Plan:
    """What to do; ``config`` is filled with the values in effect as they are known."""
    config.update(mode=request.mode, force=request.force, only_stage=request.only_stage, fail_fast=request.fail_fast)
    config.update(settings.started_by())
    mode = choice("--mode", request.mode, MODES)
    only_stage = choice("--only-stage", request.only_stage, ONLY_STAGES)
    workers = whole_number("--workers", request.workers, least=1)
    for flag, asked in (("--force", request.force), ("--only-stage", only_stage != "all")):
        if asked and flag in domain.refuses:
            raise UsageError(f"{flag}: {domain.name} cannot honour it: {domain.refuses[flag]}")
    given = None if request.run_date is None else day("--run-date", request.run_date)
    today = given or market_day(now)
    if request.executor is not None:
        config.update(executor=request.executor)
    domain = in_effect(domain)
    config.update(workers=workers, run_date=today.isoformat())
    if domain.plausibility:
        config["plausibility"] = domain.plausibility.thresholds
    selection, foresight = _selected(domain, request, select, today, hooks, config), hooks.foresight
    idle = not selection.partitions and bool(selection.narrowed_from)
    if not selection.partitions and not idle:
        raise MarketSpineError(
            "nothing is selected", hint="widen --lookback-weeks, --weeks or --tiers", kind="nothing_selected"
        )
    run = Run(
        id=run_id,
        domain=domain,
        source=foresight.watching(selection.source) if foresight else selection.source,
        stores=_stores(request.db, dry=mode == "dry-run", clock=hooks.store_clock),
        options=Options(request.force, only_stage, settings.user() if request.force else ""),  # type: ignore[arg-type]
        today=today,
        capture_day=given or now.astimezone(UTC).date(),
        clock=hooks.clock,
        ahead=today > market_day(now),
    )
    ahead = (f"Run date {today} lies ahead: what is absent is not late yet.",) if run.ahead else ()
    return Plan(
        run,
        selection.partitions,
        tells_open=selection.tells_open,
        idle=idle,
        apart=selection.share is not None,
        warnings=(*selection.warnings, *ahead),
        config=config,
        fail_fast=request.fail_fast,
        workers=workers,
        work=foresight.work if foresight else run_partition,
    )


def _selected(
    domain: Domain, request: Request, select: Select, today: date, hooks: Hooks, config: dict[str, Any]
) -> Selection:
    """The partitions: what the domain's flags select, narrowed by the common ones, or what is foreseen."""
    open_reader = _reader(request.db, hooks.store_clock, missing_ok=True)
    selection = select(today, open_reader)
    if (request.partitions, request.only, request.shard) != (None, None, None):
        from market_spine.app.selection import apply

        selection = selection._replace(**apply(domain, request, selection, today, open_reader))
    config.update(selection.config)
    if (foresight := hooks.foresight) and foresight.binding:
        selection = selection._replace(partitions=[domain.partition(key) for key in foresight.partitions])
    if selection.share:
        config.update(
            foresight.share if foresight and foresight.share else selection.share.config(len(selection.partitions))
        )
    return selection


def in_effect(domain: Domain) -> Domain:
    """The domain with its thresholds as its setting widens them; raises UsageError."""
    declared = domain.plausibility
    return domain.widened(settings.variable(declared.setting, "")) if declared else domain


def _run_id(now: datetime) -> str:
    return f"{now:%Y%m%dT%H%M%S}-{os.urandom(4).hex()}"


def _stores(db: str | None, *, dry: bool, clock: Clock | None) -> Stores:
    write: Callable[[], Writer] = _writing(open_writer, db, clock)
    return Stores(_reader(db, clock, missing_ok=dry), None if dry else write)


def _reader(db: str | None, clock: Clock | None, *, missing_ok: bool) -> Callable[[], Reader]:
    url = parse_url(settings.database(db).url)
    return partial(open_reader, url, registry.domains(), clock=clock, missing_ok=missing_ok)
