"""Fetching a partition's prices: which calls to make, and what to make of what a vendor refuses."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from market_spine.core import calendar
from market_spine.core.capture import Part, Payload, Unchanged, Unread
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.errors import ContentError, SourceError
from spine.domains.market_data.agreement import (
    note_ratios,
    noted_ratios,
    ratios_of,
    settle_splits,
    unexplained_jumps,
)
from spine.domains.market_data.calling import KEY, SERVICE, Access, Caller
from spine.domains.market_data.orders import Order, carried, is_due, years_before
from spine.domains.market_data.partitions import last_held, symbol_and_source
from spine.domains.market_data.vendors import (
    BARS,
    LATEST,
    SPLIT_RATIOS,
    SPLITS,
    Call,
    Finding,
    Offline,
    PriceSource,
    Vendor,
    Wanted,
)

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

FULL, HISTORY, TODAY, BY_SESSION = "outputsize=full", "history", "today", "by_session"
"""Capabilities whose refusal is remembered, beside those of ``calling`` and the names of ``actions``."""

MAX_PAGES = 50
MAX_CATCH_UP = 5
"""Sessions that are asked for one by one for all symbols, rather than as a range for each symbol."""


@dataclass(frozen=True, slots=True)
class OfflineSource:
    """Prices that need no network; a Source that never waits."""

    offline: Offline
    order: Order

    def fetch(self, partition: Partition, known: Known) -> Payload | Unchanged | Unread:
        """Make the partition's bars, unless nothing can be new."""
        latest = self.order.latest()
        if not is_due(known, self.order, latest):
            return Unchanged()
        if self.order.dry:
            return Unread()
        symbol, _ = symbol_and_source(partition)
        parts = self.offline.generate(self.order.wanted(symbol, latest), self.order.clock())
        return _payload(self.offline, symbol, parts, {LATEST: latest.isoformat(), **carried(known, self.order)})


class VendorSource:
    """Prices from a vendor over HTTP; a Source. Picklable; threads share the answers that cover the whole market."""

    def __init__(self, vendor: Vendor, order: Order, access: Access) -> None:
        self._vendor = vendor
        self._order = order
        self._access = access
        self._caller = Caller(vendor, access)
        self._kept: dict[str, tuple[Part | None, Finding]] = {}
        self._keeping = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return VendorSource, (self._vendor, self._order, self._access)

    def fetch(self, partition: Partition, known: Known) -> Payload | Unchanged | Unread:
        """Fetch a partition's bars, and its splits and dividends where they are called for.

        Raises:
            SourceError: ``auth``, ``quota_exhausted``, ``throttled``, ``not_entitled``, ``out_of_history``,
                ``not_yet``, ``unknown_symbol``, ``delisted``, ``no_data``, ``bad_request``, ``unreachable``,
                ``unknown_answer``; ``redirected``, ``too_large``, ``bad_address`` of the HTTP client.
        """
        latest = self._order.latest()
        if not is_due(known, self._order, latest):
            return Unchanged()
        if self._order.dry:
            return Unread()
        symbol, _ = symbol_and_source(partition)
        self._vendor.notation(symbol)
        self._caller.respect(KEY, "auth")
        self._caller.respect(SERVICE, "transient")
        if latest == self._caller.today() and self._caller.refused(TODAY):
            latest = _before(latest)
            if not is_due(known, self._order, latest):
                return Unchanged()
        parts = self._by_session(partition, known, symbol, latest)
        if parts is None:
            parts = self._by_range(partition, known, self._order.wanted(symbol, latest))
        if parts is None:
            return Unchanged()
        facts = {LATEST: latest.isoformat(), **carried(known, self._order)}
        return _payload(self._vendor, symbol, (*parts, *self._actions(partition, symbol, parts, facts)), facts)

    def _by_range(self, partition: Partition, known: Known, wanted: Wanted) -> list[Part] | None:
        """The bars of one symbol, asked for again where a refusal tells what the plan has; None if all is held."""
        caller, years = self._caller, self._vendor.history_years
        if wanted.full and years is None:
            caller.respect(FULL, "entitlement")
        if wanted.full and years and caller.refused(HISTORY):
            wanted = replace(wanted, first=years_before(caller.today(), years))
        while True:
            parts, finding = self._pages(partition, self._vendor.bars(wanted))
            if finding.kind == "ok":
                return parts
            floor = years_before(caller.today(), years) if years else wanted.first
            if finding.kind == "not_yet" and wanted.last == caller.today():
                caller.learn(TODAY, finding)
                wanted = replace(wanted, last=_before(wanted.last))
                if not is_due(known, self._order, wanted.last):
                    return None
            elif finding.kind == "out_of_history" and wanted.first < floor:
                caller.learn(HISTORY, finding)
                wanted = replace(wanted, first=floor)
            else:
                break
        if finding.kind == "entitlement" and wanted.full:
            caller.learn(FULL, finding)
        if finding.kind in ("unknown_symbol", "no_data"):
            raise self._no_bars(partition, wanted.symbol, finding)
        raise caller.error(finding)

    def _by_session(self, partition: Partition, known: Known, symbol: str, latest: date) -> list[Part] | None:
        """The bars of the missing sessions out of answers for the whole market; None to ask by range.

        The last held session is asked for again, since vendors revise it on the next day.
        """
        held = last_held(known)
        if held is None or is_due(known, self._order, held) or self._caller.refused(BY_SESSION):
            return None
        days = calendar.sessions(held, latest)
        calls = [call for each in days if (call := self._vendor.session(each))]
        if not calls or len(calls) >= min(self._order.due, MAX_CATCH_UP):
            return None
        parts = []
        for each, call in zip(days, calls, strict=True):
            part, finding = self._shared(partition, call)
            if finding.kind == "entitlement":
                self._caller.learn(BY_SESSION, finding)
            if part is None:
                return None
            parts.append(replace(part, metadata={**part.metadata, "session": each.isoformat()}))
        try:
            traded = not self._vendor.parse_bars(parts[-1], symbol).frame.is_empty()
        except ContentError as error:
            logger.info("asking for %s alone: %s", symbol, error.message)
            return None
        return parts if traded else None

    def _actions(self, partition: Partition, symbol: str, parts: list[Part], facts: Mapping[str, str]) -> list[Part]:
        """Splits and dividends: with a full fetch, and when prices jump on a day without a split on file.

        What cannot be had is left out: the bars are worth keeping without it.
        """
        if not self._order.full and not self._jumps(symbol, parts, facts):
            return []
        found = []
        for call in self._vendor.actions(symbol):
            if self._caller.refused(call.part):
                continue
            try:
                part, finding = self._caller.call(partition, call)
            except SourceError as error:
                logger.warning("%s of %s could not be fetched: %s", call.part, symbol, error.message)
                break
            if finding.kind == "entitlement":
                self._caller.learn(call.part, finding)
            if part is not None:
                found.append(part)
            else:
                logger.warning("%s of %s could not be fetched: %s", call.part, symbol, finding.message)
        return found

    def _jumps(self, symbol: str, parts: Sequence[Part], facts: Mapping[str, str]) -> bool:
        bars = _sound_bars(self._vendor, parts, symbol)
        return bars is not None and bool(unexplained_jumps(bars, noted_ratios(facts.get(SPLIT_RATIOS, ""))))

    def _no_bars(self, partition: Partition, symbol: str, finding: Finding) -> SourceError:
        """The error for a symbol without bars, after asking the vendor what became of it."""
        words = ""
        if call := self._vendor.explain(symbol):
            try:
                part, _ = self._shared(partition, call)
                words = self._vendor.explained(part.data, symbol) if part else ""
            except (SourceError, ContentError) as error:
                logger.info("why %s has no bars could not be found out: %s", symbol, error.message)
        if not words:
            return self._caller.error(finding)
        return SourceError(
            f"{symbol} has no bars at {self._vendor.name}: {words}",
            hint="take it off the list; what is held of it stays",
            kind="delisted",
        )

    def _shared(self, partition: Partition, call: Call) -> tuple[Part | None, Finding]:
        """A call whose answer, a refusal too, serves all symbols: made once, kept for this run."""
        place = f"{call.path}?{sorted(call.params.items())}"
        with self._keeping:
            if place not in self._kept:
                self._kept[place] = self._caller.call(partition, call)
            return self._kept[place]

    def _pages(self, partition: Partition, call: Call) -> tuple[list[Part], Finding]:
        """A call and the further pages that its answer names; the finding is that of the last one."""
        parts: list[Part] = []
        following: Call | None = call
        while following is not None:
            if len(parts) >= MAX_PAGES:
                raise SourceError(
                    f"{self._vendor.name} names more than {MAX_PAGES} pages for {partition.key}",
                    hint="run again; if it stays so, report the vendor's answers",
                    kind="unknown_answer",
                )
            part, finding = self._caller.call(partition, following)
            if part is None:
                return [], finding
            parts.append(part)
            following = self._vendor.next_page(call, part.data, len(parts) + 1)
        return parts, Finding("ok")


def _payload(source: PriceSource, symbol: str, parts: Sequence[Part], facts: Mapping[str, str]) -> Payload:
    """The parts with what is noted about them: the splits on file are those just fetched, or as remembered.

    Bars of which later sessions are left out are named after the latest one: once more of them counts, the same
    bytes are read again.
    """
    noted = dict(facts)
    named = []
    bars = _sound_bars(source, parts, symbol)
    for part in parts:
        if part.name == SPLITS and bars is not None:
            splits, _ = settle_splits(bars, source.parse_splits(part, symbol))
            if splits is not None:
                noted[SPLIT_RATIOS] = note_ratios(ratios_of(splits))
        beyond = part.name == BARS and _reaches_beyond(source, part, symbol, facts[LATEST])
        named.append(replace(part, name=f"{BARS}-until-{facts[LATEST]}") if beyond else part)
    return Payload(tuple(replace(part, metadata={**part.metadata, **noted}) for part in named), whole=True)


def _sound_bars(source: PriceSource, parts: Sequence[Part], symbol: str) -> pl.DataFrame | None:
    """The bars of some parts that have a day, prices and a volume; None if one cannot be read: the error comes
    again when the payload is read."""
    import polars as pl

    own = [part for part in parts if part.name.partition("-")[0] == BARS]
    try:
        bars = pl.concat([source.parse_bars(part, symbol).frame for part in own])
    except ContentError:
        return None
    priced = (pl.col(name) > 0 for name in ("open", "high", "low", "close"))
    sound = pl.all_horizontal(*priced, pl.col("volume") >= 0, pl.col("trade_date").is_not_null())
    return bars.filter(sound).unique("trade_date", keep="none").sort("trade_date")


def _reaches_beyond(source: PriceSource, part: Part, symbol: str, latest: str) -> bool:
    try:
        days = source.parse_bars(part, symbol).frame["trade_date"].drop_nulls()
    except ContentError:
        return False  # the same error comes again when the payload is read
    return any(str(day) > latest for day in days)


def _before(session: date) -> date:
    return calendar.previous_session(session - timedelta(days=1))
