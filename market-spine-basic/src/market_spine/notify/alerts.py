"""Alerts: each anomaly is told once when it opens and once when it is resolved, one message a run.

What was told is recorded after it was sent, so that a crash in between repeats a message rather than loses it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from market_spine import registry, settings, stopping
from market_spine.app.recording import UNFINISHED
from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import reader, utc_now
from market_spine.core.kept import AnomalyRecord
from market_spine.core.notice import Notice, NoticeRecord
from market_spine.core.ports import Clock
from market_spine.errors import MarketSpineError, StoreError
from market_spine.notify.due import Item, Memory, due, failures, notices
from market_spine.notify.message import Message
from market_spine.notify.sinks import Sink
from market_spine.store import open_writer, parse_url

logger = logging.getLogger(__name__)

SINK_SECONDS = 20.0
"""The longest that one sink may take."""
REMIND = "7d"
_SPAN = re.compile(r"(\d{1,5})([dh])")


class Sent(NamedTuple):
    """What became of one sink's message; ``items`` is what was due, ``error`` why it did not arrive."""

    sink: str
    domain: str
    items: Sequence[Item]
    error: MarketSpineError | None = None


def reminder() -> timedelta | None:
    """After which time an episode is told again: ``ALERT_REMIND``, such as 7d or 12h; ``never``."""
    text = settings.variable("ALERT_REMIND", REMIND)
    if text == "never":
        return None
    match = _SPAN.fullmatch(text)
    if match is None or not int(match[1]):
        logger.error("ALERT_REMIND: %r is not a number of days or hours such as 7d or 12h, or never", text)
        match = _SPAN.fullmatch(REMIND)
        assert match is not None
    return timedelta(**{"days" if match[2] == "d" else "hours": int(match[1])})


class Alerts:
    """Tells sinks about domains of one database.

    Args:
        sinks: who is told.
        db: the database's address, as ``--db`` gives it.
        remind: after which time an episode is told again; None is never.
        clock: tells the time; by default the host's, and the database's own for what is recorded.
    """

    def __init__(self, sinks: Sequence[Sink], db: str | None, remind: timedelta | None, clock: Clock = utc_now) -> None:
        self._sinks, self._db, self._remind, self._clock = sinks, db, remind, clock
        self._store_clock = None if clock is utc_now else clock

    def after(self, result: SchedulerResult, *, scheduled: bool) -> list[Sent]:
        """Tell what a run brought, also where its database cannot be read: then without knowing what was told.

        Args:
            result: the run's, recorded if that was possible.
            scheduled: a job, whose failure is told; not a decision, whose maker knows.
        """
        document = json.loads(result.to_json())
        try:
            known = self._read(result.domain)
        except StoreError as error:
            if not (scheduled and failures(document)):
                raise
            return self.blind(result, f"what else is open could not be read: {error.message}")
        return self._tell(result.domain, known, document if scheduled else None, document)

    def blind(self, result: SchedulerResult, note: str = "") -> list[Sent]:
        """Tell how a run failed without looking into the database, or recording there that it was told."""
        document = json.loads(result.to_json())
        items = due(Memory(), (), document, self._clock(), None)
        message = Message(document["domain"], items, document, note)
        return [self._send(sink, message) for sink in self._sinks] if items else []

    def latest(self, domain: str) -> list[Sent]:
        """Tell what is due of a domain after its latest run, whoever ran it."""
        with closing(reader(self._db)) as store:
            ended = (json.loads(each.result) for each in store.runs(domain, 20) if each.status != UNFINISHED)
            scheduler = registry.find(domain).scheduler
            run = next((each for each in ended if each["scheduler"] == scheduler), None)
        return self._tell(domain, self._read(domain), run, None)

    def _read(self, domain: str) -> tuple[Sequence[AnomalyRecord], Sequence[NoticeRecord]]:
        with closing(reader(self._db)) as store:
            return store.anomalies(domain, open_only=False, acknowledged=True), store.notices(domain)

    def _tell(
        self,
        domain: str,
        known: tuple[Sequence[AnomalyRecord], Sequence[NoticeRecord]],
        failing: Mapping[str, Any] | None,
        named: Mapping[str, Any] | None,
    ) -> list[Sent]:
        """Send to each sink what is due of a domain, and record what was sent.

        Args:
            domain: its full name.
            known: its anomalies, and what was told.
            failing: the run whose failures are told, as its result has it.
            named: the run that messages name.
        """
        sent: list[Sent] = []
        for sink in self._sinks:
            memory, now = Memory.of(sink.name, known[1]), self._clock()
            items = due(memory, known[0], failing, now, self._remind)
            if items:
                sent.append(self._send(sink, Message(domain, items, named)))
                if sent[-1].error is not None:
                    continue
            if kept := notices(sink.name, domain, items, memory, now):
                self._record(kept)
        return sent

    def _record(self, kept: Sequence[Notice]) -> None:
        database = settings.database(self._db)
        try:
            with closing(open_writer(parse_url(database.url), registry.domains(), clock=self._store_clock)) as store:
                store.record_notices(kept)
        except StoreError as error:
            logger.error("what was told could not be recorded, and will be told again: %s", error.message)  # noqa: TRY400 - the message says it all

    def test(self) -> list[Sent]:
        """Send a message to each sink that says that it is a test; records nothing."""
        message = Message("market-spine", (), None, f"this is a test, sent {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
        return [self._send(sink, message) for sink in self._sinks]

    def _send(self, sink: Sink, message: Message) -> Sent:
        try:
            stopping.within(lambda: sink.send(message), SINK_SECONDS)
        except MarketSpineError as error:
            problem = error
        except TimeoutError as error:
            problem = MarketSpineError(str(error), kind="timeout")
        else:
            logger.info("%s was told: %s", sink.name, message.title)
            return Sent(sink.name, message.domain, message.items)
        logger.error(
            "%s was not told: %s", sink.name, problem.message, extra={"kind": problem.kind, "hint": problem.hint}
        )
        return Sent(sink.name, message.domain, message.items, problem)
