"""``market-spine runs --merge``: the results of all shards as one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from market_spine import registry
from market_spine.app.merging import merged
from market_spine.app.report import failed
from market_spine.app.scheduling import SchedulerResult
from market_spine.cli import output
from market_spine.compose import reader, utc_now
from market_spine.errors import MarketSpineError, UsageError
from market_spine.sources.files import read_file

MAX_RESULT_BYTES = 256 << 20
"""How large the file of a result may be: some hundred thousand partitions."""


def merge(names: Sequence[str], db: str | None, *, as_json: bool) -> int:
    """Write one result made of several; returns its exit code.

    Args:
        names: files that hold results, and ids of runs.
        db: path or URL of the database that has the runs; else as ``reader`` has it.
        as_json: write it as JSON, also where there is none.
    """
    started = utc_now()
    try:
        if not names:
            raise UsageError("--merge needs results", hint="name their files, or the ids of their runs")
        named = [(name, _read(name, db)) for name in names]
        result = merged(named, registry.find(named[0][1].domain))
    except MarketSpineError as error:
        if not as_json:
            raise
        result = failed("", "merge", error, started, utc_now())
    output.write_result(result, as_json=as_json)
    return result.exit_code


def _read(name: str, db: str | None) -> SchedulerResult:
    path = Path(name)
    if path.is_file():
        try:
            return _parsed(name, read_file(path, MAX_RESULT_BYTES, name))
        except OSError as error:
            raise UsageError(f"{name} cannot be read: {error.strerror}", hint="check the path") from error
    with closing(reader(db)) as store:
        found = store.find_run(name)
    if found is None:
        raise UsageError(f"{name} is neither a file nor a run", hint="market-spine runs lists the runs")
    if found.exit_code is None:
        raise UsageError(f"the run {name} is {found.status}", hint="wait for its end, or run its shard again")
    return _parsed(name, found.result)


def _parsed(name: str, text: str | bytes) -> SchedulerResult:
    try:
        return SchedulerResult.from_json(text)
    except MarketSpineError as error:
        raise UsageError(
            f"{name} is {error.message}", hint="name what a scheduler wrote to stdout with --json"
        ) from error
