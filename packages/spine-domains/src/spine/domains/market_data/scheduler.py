"""The daily scheduler: puts price sources, the store, the clock and waiting together and answers with the contract."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from market_spine import stopping
from market_spine.app.arguments import choice, day_or_weeks_back, refused, whole_number
from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import Hooks, Request, Select, Selection, ledger, run_schedule, telling
from market_spine.core.calendar import FIRST_DAY
from market_spine.core.domain import Source as SourcePort
from market_spine.core.manifest import INGEST
from market_spine.core.ports import Reader, RequestLedger
from market_spine.core.quota import key_hash, parse_limits
from market_spine.errors import MarketSpineError, SourceError, UsageError
from market_spine.settings import Secret, trimmed, variable
from market_spine.sources.files import read_file
from spine.domains.market_data import DOMAIN, vendors
from spine.domains.market_data import partitions as priced
from spine.domains.market_data.calling import Access
from spine.domains.market_data.orders import OUTPUTSIZES, Order
from spine.domains.market_data.planning import LONGEST_UNREAD, Quota, plan_run, postpone, round_of
from spine.domains.market_data.source import OfflineSource, VendorSource
from spine.domains.market_data.vendors import Offline, Vendor

if TYPE_CHECKING:
    from market_spine.app.shards import ShardOf

SOURCE_VARIABLE = "PRICE_SOURCE"
MAX_SYMBOLS_FILE = 16 << 20
"""How large a file of symbols may be, in bytes."""
DRY_SOURCE = "alpha_vantage"
"""What a dry run without any source plans for."""


def run_prices_schedule(
    *,
    symbols: str | Sequence[str] | None = None,
    symbols_file: str | None = None,
    partitions: str | Sequence[str] | None = None,
    only: str | Sequence[str] | None = None,
    shard: str | None = None,
    first: str | date | None = None,
    last: str | date | None = None,
    source: str | None = None,
    outputsize: str = "compact",
    sleep: float | str = 12.0,
    max_symbols: int | str = 25,
    mode: str = "run",
    force: bool = False,
    only_stage: str = "all",
    fail_fast: bool = False,
    db: str | None = None,
    run_date: str | date | None = None,
    workers: int | str = 1,
    executor: str | None = None,
    hooks: Hooks | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> SchedulerResult:
    """Load daily prices of the chosen symbols. Never raises.

    Args:
        symbols: comma-separated text or a sequence; this or ``symbols_file`` is required.
        symbols_file: a file with one symbol a line, comments after ``#``.
        partitions: exactly these partitions of one source instead, by their keys, however many.
        only: of what is selected, the partitions in these states of the grid.
        shard: of what is selected, share ``I/N``, I from 0, chosen by the keys of partitions; computes no windows.
        first: load history from this day on (``--from``), also such as ``26w``, back from today; what was asked for
            before is not asked for again.
        last: load no session after this day (``--to``), unless later ones are known already.
        source: an installed price source; else ``PRICE_SOURCE``, else the vendor whose key is set.
        outputsize: ``compact`` (100 sessions) or ``full`` (20 years, as far as the plan has them).
        sleep: least seconds between two calls to a vendor.
        max_symbols: how many one run takes; the rest is named in ``warnings`` and comes first next time.
        mode: ``run``, or ``dry-run``, which calls no vendor and writes nothing.
        force: ask the source whatever is known, and ignore revision detection and guards.
        only_stage: ``ingest``, ``normalize``, ``calc`` (neither of which asks a source) or ``all``.
        fail_fast: start no further symbol after the first failure.
        db: path or URL; else ``DATABASE_URL``, else ``data/market_spine.db``.
        run_date: load no session after this day, and name captures by it; default: today in New York.
        workers: symbols worked on at once.
        executor: ``dask``, a local cluster of processes, or ``dask://HOST:PORT``, a scheduler; else this process.
        hooks: clock, stop and progress; by default the real clock and nothing else.
        pause: waits so many seconds.
    """
    used = hooks or Hooks()

    def planned(today: date, open_reader: Callable[[], Reader], config: dict[str, Any]) -> Selection:
        wanted, named = _wanted(symbols, symbols_file, partitions, source, open_reader)
        most = max(whole_number("--max-symbols", max_symbols, least=1), 0 if partitions is None else len(wanted))
        size, floor = choice("--outputsize", outputsize, OUTPUTSIZES), _seconds("--sleep", sleep)
        begin, until = _span(first, last, size, today)
        config.update({"from": str(begin), "to": str(until)} if begin else {})
        config.update(symbols=list(wanted), outputsize=size, sleep=floor.total_seconds(), max_symbols=most)
        name, warnings = choose_source(named, dry=mode == "dry-run")
        config["source"] = name
        dry = mode == "dry-run" or only_stage not in ("all", INGEST)  # later stages ask nobody, and so need no key
        order = Order(size, until, used.clock, dry=dry, force=force, started=used.clock(), first=begin)
        open_ledger = ledger(db, used.store_clock)
        if not order.dry:
            open_ledger().close()  # brings an older database up to date before it is read
        quota = _quota(chosen := vendors.load(name), floor)
        left, share = _shared(wanted, name, shard)
        left = left if only is None else _narrowed(left, name, only, today, open_reader)
        with closing(open_reader()) as store:
            batch, order = plan_run(store, left, quota, order, most)
            postpone(open_ledger, batch, quota, order)
            words, figures = round_of(store, len(wanted if share else left), quota, order, most)
        warnings += [*_left(batch, most), *([words] if quota.calls and (batch.left or mode == "dry-run") else [])]
        return Selection(
            [priced.make_partition(symbol, name) for symbol in batch.taken],
            _connect(chosen, order, quota, open_ledger, open_reader, partial(stopping.sleep, pause=pause)),
            tuple(warnings),
            config | {"symbols": list(batch.taken), "full_round": figures},
            tells_open=True,
            narrowed_from=len(wanted),
            share=share,
        )

    request = Request(mode, force, only_stage, fail_fast, db, run_date, workers, partitions, only, shard, executor)
    return run_schedule(DOMAIN, request, _telling(planned), used)


def _telling(planned: Callable[[date, Callable[[], Reader], dict[str, Any]], Selection]) -> Select:
    """A selection that tells what was in effect by the time an error ended it."""

    def select(today: date, open_reader: Callable[[], Reader]) -> Selection:
        config: dict[str, Any] = {}
        with telling(config):
            return planned(today, open_reader, config)

    return select


def _span(first: str | date | None, last: str | date | None, size: str, today: date) -> tuple[date | None, date]:
    """What ``--from`` and ``--to`` choose: the first day, if one is named, and the last."""
    if first is None:
        if last is not None:
            raise UsageError("--to needs --from", hint="name the first day with --from")
        return None, today
    if size != OUTPUTSIZES[0]:
        raise UsageError(f"--from and --outputsize {size} choose in two ways", hint="give one of them")
    begin = day_or_weeks_back("--from", first, today)
    until = today if last is None else day_or_weeks_back("--to", last, today)
    if begin < FIRST_DAY:
        raise UsageError(
            f"--from {begin} lies before the NYSE calendar, which begins on {FIRST_DAY}", hint="name a later day"
        )
    if until < begin:
        raise UsageError(f"--from {begin} lies after {until}", hint="name the earlier day first")
    return begin, min(until, today)


def _left(batch: priced.Batch, most: int) -> list[str]:
    """The warnings about symbols that one run does not take."""
    warnings = []
    total = len(batch.left) + len(batch.postponed) + len(batch.taken)
    if batch.left:
        count, listed = len(batch.left), ", ".join(batch.left)
        warnings.append(f"{count} of {total} symbols exceed --max-symbols {most} and come first next time: {listed}.")
    if batch.postponed:
        count, listed = len(batch.postponed), ", ".join(batch.postponed)
        warnings.append(
            f"{count} of {total} symbols wait for tomorrow's calls, because splits and dividends of others were not"
            f" read for {LONGEST_UNREAD.days} days: {listed}."
        )
    return warnings


def _wanted(
    symbols: str | Sequence[str] | None,
    symbols_file: str | None,
    keys: str | Sequence[str] | None,
    source: str | None,
    open_reader: Callable[[], Reader],
) -> tuple[tuple[str, ...], str | None]:
    """The symbols, and the source that is named, if one is."""
    if keys is None:
        return _symbols(symbols, symbols_file), source
    if symbols is not None or symbols_file is not None:
        raise UsageError("--partitions and --symbols choose in two ways", hint="give one of them")
    from market_spine.app.selection import exact, known_to

    named = [priced.symbol_and_source(partition) for partition in exact(DOMAIN, keys, known_to(open_reader))]
    if len(sources := {each for _, each in named} | ({source} if source else set())) > 1:
        raise UsageError(
            f"--partitions: a run asks one source, and these are {', '.join(sorted(sources))}",
            hint="run once for each source",
        )
    return tuple(symbol for symbol, _ in named), named[0][1]


def _shared(symbols: tuple[str, ...], source: str, shard: str | None) -> tuple[tuple[str, ...], ShardOf | None]:
    """The symbols of a shard, if one is asked for, and what it was taken of."""
    if shard is None:
        return symbols, None
    from market_spine.app.shards import share_of

    own, share = share_of([priced.make_partition(symbol, source) for symbol in symbols], shard)
    return tuple(priced.symbol_and_source(partition)[0] for partition in own), share


def _narrowed(
    symbols: Sequence[str],
    source: str,
    only: str | Sequence[str],
    today: date,
    open_reader: Callable[[], Reader],
) -> tuple[str, ...]:
    """The symbols whose partitions are in the states that ``--only`` names."""
    from market_spine.app.selection import narrow

    left = narrow(DOMAIN, [priced.make_partition(symbol, source) for symbol in symbols], only, today, open_reader)
    return tuple(priced.symbol_and_source(partition)[0] for partition in left)


def _symbols(given: str | Sequence[str] | None, path: str | None) -> tuple[str, ...]:
    """The symbols of both flags, those of the command line first."""
    if given is None and path is None:
        raise UsageError("--symbols or --symbols-file is required", hint="write such as --symbols AAPL,MSFT")
    texts: list[str] = []
    if given is not None:
        texts += given.split(",") if isinstance(given, str) else given
    if path is None:
        return priced.parse_symbols("--symbols", texts)
    named = priced.parse_symbols("--symbols", texts) if any(text.strip() for text in texts) else ()
    path = trimmed("--symbols-file", path)
    try:
        content = read_file(Path(path), MAX_SYMBOLS_FILE, path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise UsageError(f"--symbols-file: {path} cannot be read: {reason}", hint="check the path") from error
    except SourceError as error:
        raise UsageError(f"--symbols-file: {error.message}", hint="check the path") from error
    read = priced.parse_symbols_file(f"--symbols-file {path}", content)
    return tuple(dict.fromkeys((*named, *read)))


def _seconds(flag: str, value: float | str) -> timedelta:
    try:
        number = float(value)
        if not (math.isfinite(number) and 0 <= number <= 3600):
            raise ValueError(value)
    except ValueError as error:
        raise refused(flag, value, "seconds from 0 to 3600") from error
    return timedelta(seconds=number)


def choose_source(flag: str | None, *, dry: bool) -> tuple[str, list[str]]:
    """The source's name, and what to tell about the choice."""
    if flag:
        return choice("--source", flag, vendors.names()), []
    if named := variable(SOURCE_VARIABLE, ""):
        return choice(SOURCE_VARIABLE, named, vendors.names()), []
    online = [name for name in vendors.names() if not vendors.load(name).offline]
    with_key = [name for name in online if key_of(_vendor(name))]
    if with_key:
        others = f"; also set: the key of {', '.join(with_key[1:])}" if with_key[1:] else ""
        return with_key[0], [f"Source {with_key[0]} was chosen because its key is set{others}."] if others else []
    keys = ", ".join(
        key for name in vendors.names() if not vendors.load(name).offline for key in _vendor(name).key_variables
    )
    ways = f"give --source, set {SOURCE_VARIABLE}, or set the key of a vendor: {keys}"
    if not dry:
        raise MarketSpineError("no price source is chosen", hint=ways, kind="no_source")
    return DRY_SOURCE, [f"No price source is chosen; planned as for {DRY_SOURCE}. To run, {ways}."]


def _vendor(name: str) -> Vendor:
    return cast("Vendor", vendors.load(name))


def key_of(vendor: Vendor) -> str:
    """The key of the first variable that has one; raises UsageError for one that no request could carry."""
    for name in vendor.key_variables:
        if key := variable(name, "").strip():
            if not key.isascii() or not key.isprintable() or " " in key:
                raise UsageError(f"{name} holds no usable key", hint="a key has no blanks, line breaks or accents")
            return Secret(key, name)
    return ""


def _quota(chosen: vendors.PriceSource, floor: timedelta) -> Quota:
    """What calls cost at a source."""
    if chosen.offline:
        return Quota(chosen.name)
    vendor = cast("Vendor", chosen)
    limits = variable(vendor.limits_variable, ",".join(map(str, vendor.limits)))
    return Quota(
        chosen.name,
        key_hash(key_of(vendor)),
        parse_limits(vendor.limits_variable, limits if limits != "none" else ""),
        floor,
        calls=1,
        actions=2,
        shares=bool(vendor.many_actions(("A", "B"))),
    )


def _connect(
    chosen: vendors.PriceSource,
    order: Order,
    quota: Quota,
    open_ledger: Callable[[], RequestLedger],
    open_reader: Callable[[], Reader],
    pause: Callable[[float], None],
) -> SourcePort:
    if chosen.offline:
        return OfflineSource(cast("Offline", chosen), order)
    vendor = cast("Vendor", chosen)
    key = key_of(vendor)
    if not key and not order.dry:
        raise MarketSpineError(
            f"source {vendor.name} needs a key", hint=f"set {' or '.join(vendor.key_variables)}", kind="no_key"
        )
    access = Access(
        url=variable(vendor.url_variable, vendor.url),
        key=key,
        limits=quota.limits,
        floor=quota.floor,
        caller=uuid.uuid4().hex,
        ledger=open_ledger,
        clock=order.clock,
        pause=pause,
        reader=open_reader,
    )
    return VendorSource(vendor, order, access)
