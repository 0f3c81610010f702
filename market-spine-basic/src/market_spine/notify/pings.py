"""Pings to a health check that knows when a job is due, such as Healthchecks.io, hosted or one's own.

``HEALTHCHECK_URL`` is the check's address. It is told ``/start`` when a run begins and ``/EXIT_CODE`` when it ends,
both with the same ``rid``, so that it measures the run; a run that never ends is noticed by its silence. Source:
healthchecks.io/docs/http_api, "Report script's exit status".
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit, urlunsplit

from market_spine import settings
from market_spine.app.scheduling import PipelineRun, RunStatus, SchedulerResult, SchedulerStatus
from market_spine.errors import MarketSpineError, UsageError
from market_spine.notify.posting import SECONDS, post

logger = logging.getLogger(__name__)

LONGEST = 9_000
"""Characters of a summary; Healthchecks.io keeps 100 kB, its older releases 10 kB."""
PARTIAL = ("fail", "success")

Post = Callable[..., None]


class Pings:
    """The pings of one run.

    Args:
        url: the check's address, a secret.
        partial: whether a partial run is reported as ``fail`` or ``success``.
        send: posts a body to an address; raises MarketSpineError.
    """

    def __init__(self, url: str, partial: str = "fail", send: Post = post) -> None:
        self._url, self._partial, self._send = url, partial, send
        self._id = str(uuid.uuid4())
        self._starting: threading.Thread | None = None
        self._until = 0.0

    def start(self) -> None:
        """Tell that the run begins, beside it: it does not wait for that."""
        self._until = time.monotonic() + SECONDS
        self._starting = threading.Thread(target=self._ping, args=("start", ""), daemon=True, name="health check")
        self._starting.start()

    def end(self, result: SchedulerResult) -> None:
        """Tell how the run ended, after its start was told; takes at most ``2 * SECONDS``."""
        if self._starting is not None:
            self._starting.join(max(0.0, self._until - time.monotonic()))
        code = result.exit_code
        if result.status is SchedulerStatus.PARTIAL and self._partial == "success":
            code = 0
        self._ping(str(code), summary(result))

    def _ping(self, path: str, body: str) -> None:
        try:
            self._send(address(self._url, path, self._id), body=body)
        except MarketSpineError as error:
            logger.error("the health check was not told /%s: %s", path, error.message, extra={"kind": error.kind})  # noqa: TRY400 - the traceback would show the address


def from_environment() -> Pings:
    """The pings that the environment asks for; raises UsageError where it cannot be read."""
    partial = settings.variable("HEALTHCHECK_PARTIAL", PARTIAL[0])
    if partial not in PARTIAL:
        logger.error("HEALTHCHECK_PARTIAL: %r is not %s; %s is used", partial, " or ".join(PARTIAL), PARTIAL[0])
        partial = PARTIAL[0]
    return Pings(settings.secret("HEALTHCHECK_URL"), partial)


def address(url: str, path: str, run: str) -> str:
    """The address of one ping; raises UsageError where there is no making one."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError
    except ValueError as error:
        raise UsageError("HEALTHCHECK_URL is no http or https address") from error
    query = "&".join(filter(None, (parts.query, urlencode({"rid": run}))))
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{path}", query=query, fragment=""))


def summary(result: SchedulerResult) -> str:
    """A run in a few lines: how it ended, what failed and why."""
    stats = result.stats
    seconds = (result.finished_at - result.started_at).total_seconds()
    lines = [
        f"{result.domain} {result.scheduler}: {result.status.value} (exit code {result.exit_code})",
        f"{stats.attempted} partitions attempted, {stats.succeeded} succeeded, {stats.failed} failed,"
        f" {stats.skipped} skipped, in {seconds:.1f} s",
    ]
    if result.run_id:
        lines.append(f"run {result.run_id}")
    if error := result.error:
        lines.append(f"{error.kind}: {error.message}" + (f" ({error.hint})" if error.hint else ""))
    lines += [_failed(run) for run in result.runs if run.status is RunStatus.FAILED]
    lines += [f"warning: {warning}" for warning in result.warnings]
    text = "\n".join(lines)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n... and more: market-spine runs --json"


def _failed(run: PipelineRun) -> str:
    assert run.error is not None
    hint = f" ({run.error.hint})" if run.error.hint else ""
    return f"failed {run.partition_key} {run.pipeline.rpartition('.')[2]}: {run.error.kind}: {run.error.message}{hint}"
