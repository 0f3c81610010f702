"""The bars of a symbol out of answers for the whole market: one call a session for any number of symbols."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import date
from typing import Any

from market_spine.core import calendar
from market_spine.core.capture import Part
from market_spine.core.partition import Scope
from market_spine.errors import ContentError
from spine.domains.market_data.asking import Asker, Errand
from spine.domains.market_data.orders import Order, lacks_history, recent_sessions
from spine.domains.market_data.partitions import last_known, symbol_and_source
from spine.domains.market_data.quality import sole_bar
from spine.domains.market_data.schema import PRICES
from spine.domains.market_data.vendors import Finding

logger = logging.getLogger(__name__)

TODAY, BY_SESSION = "today", "by_session"
"""Capabilities whose refusal is remembered."""

BY_SESSION_FROM = 6
"""From so many due symbols on, sessions are asked for one by one for all of them: fewer are asked for one by one as
ranges, which reach further back."""
MAX_CATCH_UP = 4
"""Missing sessions beyond which ranges are asked for all the same."""


class Market:
    """Reads whole sessions for one run. Threads share it."""

    def __init__(self, order: Order, asker: Asker) -> None:
        self._order = order
        self._asker = asker

    def bars(self, errand: Errand) -> list[Part] | None:
        """The bars of the missing sessions, and of those before them that differ from what is known, out of answers
        for the whole market; None to ask by range.

        Raises:
            ContentError: ``conflicting_bars``: an answer has two different rows of the symbol.
        """
        order, last = self._order, last_known(errand.known)
        if (
            last is None
            or order.full
            or order.force
            or order.due < BY_SESSION_FROM
            or lacks_history(errand.known, order)
        ):
            return None
        missing = calendar.sessions(last, errand.latest)[1:]
        if len(missing) > MAX_CATCH_UP or self._asker.caller.refused(BY_SESSION):
            return None
        vendor = self._asker.vendor
        if vendor.session(last) is None:
            return None
        answers = self._sessions(errand, last, missing)
        if answers is None:
            return None
        try:
            rows = {
                each: sole_bar(errand.partition.key, each, vendor.parse_bars(part, errand.symbol).frame)
                for each, part in answers.items()
            }
        except ContentError as error:
            if error.kind == "conflicting_bars":
                raise
            logger.info("asking for %s alone: %s", errand.symbol, error.message)
            return None
        return self._chosen(errand, last, answers, rows) if any(rows.values()) else None

    def _chosen(
        self, errand: Errand, last: date, answers: Mapping[date, Part], rows: Mapping[date, tuple[Any, ...] | None]
    ) -> list[Part] | None:
        """The answers from the first one on that says something new; none if nothing is, None to ask by range."""
        before = self._known(errand, [each for each in answers if each <= last])
        differing = [each for each in before if before[each] != rows[each]]
        if not differing and not any(rows[each] for each in answers if each > last):
            return []
        if errand.partition.key in self._order.ranged:
            return None
        # A range begins with a bar: one that vanished is seen to be gone from the one before it.
        start = min(differing, default=last)
        first = max((each for each in answers if each <= start and rows[each]), default=None)
        if first is None:
            return None
        chosen = sorted(each for each in answers if each >= first)
        return [answers[each].noting(session=str(each)) for each in chosen]

    def _sessions(self, errand: Errand, last: date, missing: Sequence[date]) -> dict[date, Part] | None:
        """The answers for whole sessions: the missing ones and, newest first without a break, those before them."""
        answers: dict[date, Part] = {}
        empty = []
        for each in missing:
            part, finding = self._session(errand, each)
            if part is not None:
                answers[each] = part
            elif finding.kind == "no_data":
                empty.append(each)
            elif not self._is_tomorrows(each, finding):
                return None
        looked = recent_sessions(last)
        part, _ = self._session(errand, looked[0])
        if part is None:
            return None
        # The session before has rows, so it is the session itself that has none: not out yet, or the market was shut.
        for each in empty:
            self._asker.news.shut(each)
        if not answers:
            return {looked[0]: part}
        for each in looked:
            part, _ = self._session(errand, each)
            if part is None:
                break
            answers[each] = part
        return answers

    def _is_tomorrows(self, session: date, finding: Finding) -> bool:
        """Whether today's session is refused only until tomorrow; what is refused is remembered."""
        caller = self._asker.caller
        today = finding.kind == "not_yet" and session == caller.today()
        if today:
            caller.learn(TODAY, finding)
        elif finding.kind == "entitlement":
            caller.learn(BY_SESSION, finding)
        return today

    def _session(self, errand: Errand, day: date) -> tuple[Part | None, Finding]:
        call = self._asker.vendor.session(day)
        if call is None:
            return None, Finding("unknown")
        parts, finding = self._asker.shared(errand, call)
        return (parts[0] if parts else None), finding

    def _known(self, errand: Errand, days: Sequence[date]) -> dict[date, tuple[Any, ...] | None]:
        """The bars that are known of some sessions, as ``sole_bar`` gives those of an answer."""
        symbol, source = symbol_and_source(errand.partition)
        if not days:
            return {}
        bounds = {"trade_date": (min(days).isoformat(), max(days).isoformat())}
        with closing(self._asker.caller.access.reader()) as store:
            frame = store.read(PRICES, Scope({"symbol": symbol, "source": source}, bounds))
        return {each: sole_bar(errand.partition.key, each, frame) for each in days}
