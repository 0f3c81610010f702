"""Who else is told of a run: found in the environment; what tells is imported only where somebody is to be told."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from market_spine import settings, stopping
from market_spine.app.scheduling import SchedulerResult
from market_spine.cli.supervise import Signals
from market_spine.errors import MarketSpineError

if TYPE_CHECKING:
    from market_spine.notify.pings import Pings

logger = logging.getLogger(__name__)

SECONDS = 30.0
"""How long telling may take altogether."""
STOPPED_SECONDS = 5.0
"""The same where a signal has ended the run: whoever sent it waits."""


ALERTS = ("ALERT_WEBHOOK_URL", "ALERT_SLACK_URL", "ALERT_COMMAND", "ALERT_APPRISE_URLS")


class Telling:
    """Tells of one run, its start and its end. Nothing here raises, or changes what the run answers.

    Args:
        scheduled: a job that a health check may be waiting for, not a decision of a person's.
        dry: a dry run, of which nobody is told.
        db: the address of its database, as ``--db`` gives it.
        begun: it got as far as knowing its database.
        metrics_file: where monitoring looks for figures, if it does.
    """

    def __init__(
        self,
        *,
        scheduled: bool,
        dry: bool,
        db: str | None = None,
        begun: bool = True,
        metrics_file: Path | None = None,
    ) -> None:
        self._scheduled, self._db, self._begun = scheduled, db, begun
        self._metrics_file = None if dry else metrics_file
        self._alerted = not dry and settings.given(*ALERTS)
        self._watched = scheduled and not dry and settings.given("HEALTHCHECK_URL")
        self._traced = not dry and begun and settings.lineage_wanted()
        self._pings: Pings | None = None

    def begin(self) -> None:
        """Tell that the run begins."""
        if self._watched:
            _attempt("the health check", self._begin_pings)

    def end(self, result: SchedulerResult, *, stopped: bool = False) -> None:
        """Tell how the run ended, once its result is recorded, if it could be.

        Args:
            result: what it answered.
            stopped: a signal has ended it.
        """
        ways: dict[str, Callable[[], None]] = {}
        if self._watched:
            ways["the health check"] = partial(self._end_pings, result)
        if self._metrics_file is not None:
            ways["metrics"] = partial(self._measure, str(self._metrics_file))
        if self._alerted and (self._scheduled or result.error is None):
            ways["alerts"] = partial(self._alert, result)
        if self._traced and (self._scheduled or result.error is None):
            ways["lineage"] = partial(self._trace, result)
        if not ways:
            return
        ends = time.monotonic() + (STOPPED_SECONDS if stopped else SECONDS)
        with Signals() as signals, stopping.heard(signals.asked):
            for name, tell in ways.items():
                _attempt(name, partial(_bounded, tell, max(0.0, ends - time.monotonic())))

    def _begin_pings(self) -> None:
        from market_spine.notify.pings import from_environment

        self._pings = from_environment()
        self._pings.start()

    def _end_pings(self, result: SchedulerResult) -> None:
        from market_spine.notify.pings import from_environment

        (self._pings or from_environment()).end(result)

    def _trace(self, result: SchedulerResult) -> None:
        from market_spine.notify.lineage import emit

        emit(result, self._db)

    def _measure(self, path: str) -> None:
        from market_spine.notify.metrics import write

        write(path, self._db)

    def _alert(self, result: SchedulerResult) -> None:
        from market_spine.notify.alerts import Alerts, reminder
        from market_spine.notify.sinks import from_environment

        alerts = Alerts(from_environment(), self._db, reminder())
        if self._begun:
            alerts.after(result, scheduled=self._scheduled)
        else:
            alerts.blind(result)


def _attempt(name: str, tell: Callable[[], None]) -> None:
    """Tell, and log what keeps that from happening."""
    from market_spine.app.pipeline import guarded

    if isinstance(problem := guarded(tell), MarketSpineError):
        logger.error("%s could not be told: %s", name, problem.message, extra={"kind": problem.kind})


def _bounded(tell: Callable[[], None], seconds: float) -> None:
    """Tell, and leave it behind where it hangs: its thread ends with the process."""
    try:
        stopping.within(tell, seconds)
    except TimeoutError as error:
        raise MarketSpineError("it took too long", kind="timeout") from error
