"""The execute room: workers elsewhere, handed to the runner. Imported only where ``--executor`` names some."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from market_spine.app.arguments import refused
from market_spine.app.pipeline import run_partition
from market_spine.core.domain import Placed
from market_spine.errors import MarketSpineError, UsageError
from market_spine.sources.redaction import redact

if TYPE_CHECKING:
    from market_spine.app.executing import Executor
    from market_spine.app.report import Plan
    from market_spine.store import StoreUrl

__all__ = ["executor_of"]

_REMOTE = re.compile(r"dask://((?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5})")


@contextmanager
def executor_of(text: str, plan: Plan, store: StoreUrl) -> Iterator[Executor]:
    """The workers that ``--executor`` names, for one run; they are let go at the end of the block.

    Args:
        text: ``dask``, a local cluster of ``plan.workers`` processes, by default one per processor; or
            ``dask://HOST:PORT``, a scheduler.
        plan: what they work on.
        store: where they write.

    Raises:
        UsageError: there is no such executor, or it cannot do what is asked.
        MarketSpineError: kind ``missing_extra`` without the packages; ``no_workers`` where none is there in time;
            ``worker_refused`` where a worker is another version or has another database.
    """
    remote = _REMOTE.fullmatch(text)
    if text != "dask" and remote is None:
        raise refused("--executor", text, "dask or dask://HOST:PORT")
    if plan.work is not run_partition:
        raise UsageError("--executor and --out: a plan is made by this process", hint="leave one out")
    if remote:
        _refuse_remote(plan, store)
    if find_spec("distributed") is None:
        raise MarketSpineError(
            "--executor needs Dask, which is not installed",
            hint="pip install 'market-spine-basic[dask]'",
            kind="missing_extra",
        )
    from market_spine.execute import cluster

    with cluster.local(plan, store) if remote is None else cluster.remote(remote[1], plan) as executor:
        yield executor


def _refuse_remote(plan: Plan, store: StoreUrl) -> None:
    """Raise UsageError for what workers on other machines could not do."""
    if plan.workers != 1:
        raise UsageError(
            "--workers: a scheduler's workers have slots of their own",
            hint="leave --workers out, or start more workers",
        )
    if store.kind == "sqlite":
        raise UsageError(
            "--executor: workers elsewhere cannot write to an SQLite file, which processes of one machine share",
            hint="use PostgreSQL (--db or DATABASE_URL), or --executor dask for the processors of this machine",
        )
    source = plan.run.source
    location = source.location if isinstance(source, Placed) else "/"
    if location and "://" not in location and not location.startswith("/"):
        raise UsageError(
            f"--executor: the data folder {location} is relative, and workers have working directories of their own",
            hint="name it from the root, on a file system that all workers have, or as a URL such as s3://bucket/folder",
        )
    if redact(location) != location:
        raise UsageError(
            "--executor: the data folder's address has a login, which would travel with the work",
            hint="give workers credentials by their environment",
        )
