"""``db check --deep``: a store recomputed from its payloads beside it, by as many processes as there are processors."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from market_spine import registry
from market_spine.app import verify
from market_spine.app.rebuild import MomentClock
from market_spine.app.verify import Difference, Verdict
from market_spine.compose import utc_now
from market_spine.core.checking import CheckResult
from market_spine.core.commitlog import LogReader
from market_spine.errors import MarketSpineError, StoreUnavailable
from market_spine.store import StoreUrl, open_reader, open_writer
from market_spine.store.problems import ACCEPT, REBUILD

_PREFIX = "market-spine-check-"
_BINS = 16
"""Tasks for each process: enough for them to end together, few enough not to read the log very often."""
WORTH_IT = 200_000
"""Versions of rows from which on further processes are worth their start."""
MOST = 50
"""Differences that are told; of more, how many there are."""

Progress = Callable[[int, int], None]
"""Told how many partitions were recomputed, of how many."""


class Share(NamedTuple):
    """Partitions of a domain that one process recomputes, up to a moment."""

    url: StoreUrl
    domain: str
    keys: tuple[str, ...]
    moment: datetime
    folder: str = ""
    """Where a store of its own can be made."""


def recomputed(
    url: StoreUrl, *, workers: int | None = None, progress: Progress = lambda _done, _all: None
) -> list[CheckResult]:
    """Recompute every partition from its payloads in stores of its own, and compare.

    Args:
        url: the store; it is not written to.
        workers: processes; by default one for each processor.
        progress: told as partitions are done.
    """
    name = "recomputed"
    try:
        with closing(open_reader(url, registry.domains(), clock=utc_now)) as store:
            found, rows, count = _recomputed(url, store, workers or len(os.sched_getaffinity(0)), progress)
    except MarketSpineError as error:
        return [CheckResult(name, False, error.message, error.hint)]
    if not found:
        return [CheckResult(name, True, f"{count} partitions, {rows} versions of rows as their payloads say")]
    told = [CheckResult(name, False, each.message, ACCEPT if each.manifest else REBUILD) for each in found[:MOST]]
    if len(found) > MOST:
        told.append(CheckResult(name, False, f"and {len(found) - MOST} more", REBUILD))
    return told


def _recomputed(url: StoreUrl, store: LogReader, workers: int, progress: Progress) -> tuple[list[Difference], int, int]:
    log = store.log()
    domains = {domain.name: domain for domain in registry.domains()}
    there = verify.partitions(log)
    found = [
        Difference(f"the domain {name} is not installed: it was not looked at") for name in there if name not in domains
    ]
    shares = [
        Share(url, name, keys, log[-1].moment)
        for name, partitions in there.items()
        if name in domains
        for keys in _bins(verify.groups(domains[name], partitions), workers * _BINS)
    ]
    large = sum(store.counted(table) for name in there if name in domains for table in domains[name].tables)
    workers = workers if large > WORTH_IT else 1
    count, done = sum(len(share.keys) for share in shares), 0
    rows: dict[str, int] = {}
    with _folder(_place(url)) as folder:
        for verdict in _verdicts([share._replace(folder=folder) for share in shares], workers):
            found += verdict.differences
            for name, number in verdict.rows.items():
                rows[name] = rows.get(name, 0) + number
            done += verdict.partitions
            progress(done, count)
    found += verify.results(log, domains)
    # What is loaded meanwhile does not count.
    known = verify.entries(log)
    for domain in domains.values():
        if domain.name in there:
            found += verify.windows(domain, store)
            for table in domain.tables:
                if (beyond := store.counted(table, known) - rows.get(table.name, 0)) > 0:
                    found.append(
                        Difference(f"{table.name}: {beyond} versions of rows lie in no partition that is known")
                    )
    return found, sum(rows.values()), count


def _place(url: StoreUrl) -> Path:
    """Where temporary files go; where none may, as in a container whose root cannot be written, beside the database.

    Raises:
        StoreUnavailable: nothing can be written anywhere.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        beside = Path(url.path).absolute().parent
        if url.kind == "sqlite" and os.access(beside, os.W_OK):
            return beside
        raise StoreUnavailable(
            "--deep recomputes partitions in a temporary file, and no folder can be written",
            hint="set TMPDIR to a folder that can",
            kind="output",
        ) from error


@contextmanager
def _folder(place: Path) -> Iterator[str]:
    """A folder for stores that are thrown away; those that a killed process has left are removed first."""
    for path in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if path.lstat().st_uid != os.geteuid() or path.is_symlink():
                continue
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(lock)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place) as folder:
        # Says that somebody is at work in it, for as long as it is open.
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder
        finally:
            os.close(lock)


def _bins(groups: Sequence[Sequence[str]], most: int) -> Iterator[tuple[str, ...]]:
    """Groups put together so that there are no more than so many, about as large as each other."""
    ordered = sorted(groups, key=len, reverse=True)
    for column in zip_longest(*(ordered[at : at + most] for at in range(0, len(ordered), most)), fillvalue=()):
        yield tuple(key for group in column for key in group)


def _verdicts(shares: Sequence[Share], workers: int) -> Iterator[Verdict]:
    if workers == 1 or len(shares) < 2:
        yield from map(_verdict, shares)
        return
    import multiprocessing

    # Not forked: this process has threads by now.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(shares)), mp_context=context) as pool:
        try:
            for future in as_completed([pool.submit(_verdict, share) for share in shares]):
                yield future.result()
        except BaseException:
            # Whoever stops this does not wait for what was begun.
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.kill()
            raise


def _verdict(share: Share) -> Verdict:
    domain = registry.find(share.domain)
    clock = MomentClock(utc_now())
    place = StoreUrl("sqlite", str(Path(share.folder) / f"{uuid.uuid4().hex}.db"))
    with (
        closing(open_reader(share.url, registry.domains(), clock=utc_now)) as source,
        closing(open_writer(place, registry.domains(), clock=clock)) as target,
    ):
        log = verify.until(source.log(), share.moment)
        wanted = [verify.partitions(log)[domain.name][key] for key in share.keys]
        verdict = verify.verify(log, wanted, domain, source, target, clock)
    for suffix in ("", "-wal", "-shm"):
        Path(place.path + suffix).unlink(missing_ok=True)
    return verdict
