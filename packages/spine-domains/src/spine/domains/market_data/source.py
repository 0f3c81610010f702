"""Fetching a partition's prices: which calls to make, and what to make of what a vendor refuses."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from market_spine.core.capture import Part, Payload, Unchanged, Unread
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.errors import ContentError, SourceError
from spine.domains.market_data import quality
from spine.domains.market_data.agreement import (
    note_ratios,
    noted_ratios,
    ratios_of,
    settle_splits,
    unexplained_jumps,
)
from spine.domains.market_data.asking import Asker, Errand
from spine.domains.market_data.calling import KEY, SERVICE, Access, Caller, NoLongerDue
from spine.domains.market_data.market import TODAY, Market
from spine.domains.market_data.news import DELISTED, NO_BARS, News
from spine.domains.market_data.orders import (
    ACTED,
    RANGED,
    Order,
    carried,
    is_asked,
    lacks_history,
    previous,
    reading_until,
    set_aside,
    years_before,
)
from spine.domains.market_data.parse import day
from spine.domains.market_data.partitions import last_known, symbol_and_source
from spine.domains.market_data.vendors import (
    BARS,
    LATEST,
    SPLIT_RATIOS,
    SPLITS,
    Finding,
    Offline,
    PriceSource,
    Vendor,
)

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

FULL, HISTORY = "outputsize=full", "history"
"""Capabilities whose refusal is remembered, beside those of ``calling``, ``market`` and the names of ``actions``."""

MANY = 50
"""Symbols whose splits and dividends are asked for together."""
ACT_AGAIN_DAYS = 7
"""After so many days an unexplained jump is asked about again."""


@dataclass(frozen=True, slots=True)
class OfflineSource:
    """Prices that need no network; a Source that never waits."""

    offline: Offline
    order: Order

    def fetch(self, partition: Partition, known: Known) -> Payload | Unchanged | Unread:
        """Make the partition's bars, unless nothing can be new."""
        latest = self.order.latest()
        if not is_asked(known, self.order, latest):
            return Unchanged()
        if self.order.dry:
            return Unread()
        symbol, _ = symbol_and_source(partition)
        latest = reading_until(known, self.order, latest)
        parts = self.offline.generate(self.order.wanted(symbol, known, latest), self.order.clock())
        facts = {LATEST: latest.isoformat(), **carried(known, self.order)}
        keep = self.order.full or self.order.force or lacks_history(known, self.order)
        return _payload(self.offline, symbol, parts, facts, keep_record=keep)


class VendorSource:
    """Prices from a vendor over HTTP; a Source. Picklable; threads share the answers that cover the whole market."""

    def __init__(self, vendor: Vendor, order: Order, access: Access) -> None:
        self._vendor = vendor
        self._order = order
        self._access = access
        self._caller = Caller(vendor, access)
        self._news = News(order, self._caller)
        self._asker = Asker(self._caller, self._news)
        self._market = Market(order, self._asker)

    def __reduce__(self) -> tuple[Any, ...]:
        return VendorSource, (self._vendor, self._order, self._access)

    def fetch(self, partition: Partition, known: Known) -> Payload | Unchanged | Unread:
        """Fetch a partition's bars, and its splits and dividends where they are called for.

        Raises:
            SourceError: ``auth``, ``quota_exhausted``, ``throttled``, ``not_entitled``, ``out_of_history``,
                ``not_yet``, ``unknown_symbol``, ``delisted``, ``no_data``, ``bad_request``, ``unreachable``,
                ``unknown_answer``; ``redirected``, ``too_large``, ``bad_address`` of the HTTP client.
            ContentError: ``conflicting_bars``.
        """
        latest = self._order.latest()
        if not is_asked(known, self._order, latest):
            return Unchanged()
        if self._order.dry:
            return Unchanged() if partition.key in self._order.waiting else Unread()
        symbol, _ = symbol_and_source(partition)
        self._vendor.notation(symbol)
        self._caller.respect(KEY, "auth")
        self._caller.respect(SERVICE, "transient")
        latest = self._available(latest)
        found = self._news.look(partition, latest)
        if found is None:
            reason = "retracted" if known.current is None and known.retracted else "up_to_date"
            return Unchanged(reason, moved=self._news.moved(partition, known))
        try:
            return self._fetch(Errand(partition, symbol, found, reading_until(found, self._order, latest)))
        except NoLongerDue:
            return Unchanged(moved=self._news.moved(partition, known))
        except (SourceError, ContentError) as error:
            if error.kind in NO_BARS or isinstance(error, ContentError):
                self._news.nothing(partition, found, latest, f"{error.kind}: {error.message}")
            raise

    def _fetch(self, errand: Errand) -> Payload | Unchanged:
        parts = self._market.bars(errand)
        facts = carried(errand.known, self._order)
        if parts is None:
            parts = self._by_range(errand)
            facts[RANGED] = self._caller.today().isoformat()
        latest = self._available(errand.latest)
        if not parts and not is_asked(errand.known, self._order, latest):
            return Unchanged()
        errand = replace(errand, latest=latest)
        facts[LATEST] = latest.isoformat()
        last = last_known(errand.known)
        days = _days(self._vendor, parts, errand.symbol)
        anyhow = self._order.full or self._order.force
        keep = anyhow or lacks_history(errand.known, self._order)
        actions = self._actions(errand, parts, facts) if anyhow or latest in days else []
        if words := set_aside(errand.known) or ("" if latest in days else f"stale: nothing after {last}"):
            self._news.nothing(errand.partition, errand.known, latest, words)
        else:
            self._news.brought()
        late = last is not None and max(days, default=last) < latest
        odd = (quality.stale(errand.partition.key, last, latest),) if last is not None and late else ()
        if not parts:
            return Unchanged(anomalies=odd)
        accepted = errand.known.accepted
        if odd and not actions and not keep and all(part.sha256 in accepted.get(part.name, ()) for part in parts):
            return Unchanged("same_bytes", odd)
        keep = keep or bool(actions)
        return _payload(self._vendor, errand.symbol, (*parts, *actions), facts, keep_record=keep)

    def _available(self, latest: date) -> date:
        """The latest session that the plan gives out today."""
        if latest == self._caller.today() and self._caller.refused(TODAY):
            return previous(latest)
        return latest

    def _by_range(self, errand: Errand) -> list[Part]:
        """The bars of one symbol, asked for again where a refusal tells what the plan has; none if all is known."""
        caller, years = self._caller, self._vendor.history_years
        wanted = self._order.wanted(errand.symbol, errand.known, errand.latest)
        if wanted.full and years is None:
            caller.respect(FULL, "entitlement")
        if wanted.full and years and caller.refused(HISTORY):
            wanted = replace(wanted, first=max(wanted.first, years_before(caller.today(), years)))
        while True:
            parts, finding = self._asker.pages(errand, self._vendor.bars(wanted))
            if finding.kind == "ok":
                return parts
            floor = years_before(caller.today(), years) if years else wanted.first
            if finding.kind == "not_yet" and wanted.last == caller.today():
                caller.learn(TODAY, finding)
                wanted = replace(wanted, last=previous(wanted.last))
                if not is_asked(errand.known, self._order, wanted.last):
                    return []
            elif finding.kind == "out_of_history" and wanted.first < floor:
                caller.learn(HISTORY, finding)
                wanted = replace(wanted, first=floor)
            else:
                break
        if finding.kind == "entitlement" and wanted.full:
            caller.learn(FULL, finding)
        if finding.kind in ("unknown_symbol", "no_data"):
            raise self._no_bars(errand, finding)
        raise caller.error(finding)

    def _actions(self, errand: Errand, parts: Sequence[Part], facts: dict[str, str]) -> list[Part]:
        """Splits and dividends: with a full fetch, when it is the symbol's turn, and when prices jump and no split
        on file explains it.

        What cannot be had is left out: the bars are worth keeping without it.
        """
        today = self._caller.today()
        turn = self._order.full or self._order.force or errand.partition.key in self._order.acted
        if not turn and not self._jumps(errand.symbol, parts, facts, today):
            return []
        calls = self._vendor.actions(errand.symbol)
        if turn and len(group := self._group(errand.symbol)) > 1:
            calls = self._vendor.many_actions(group) or calls
        found: list[Part] = []
        whole = True
        for call in calls:
            if self._caller.refused(call.part):
                continue
            try:
                pages, finding = self._asker.shared(errand, call)
            except SourceError as error:
                logger.warning("%s of %s could not be fetched: %s", call.part, errand.symbol, error.message)
                return found
            if finding.kind == "entitlement":
                self._caller.learn(call.part, finding)
            if not pages:
                whole = False
                logger.warning("%s of %s could not be fetched: %s", call.part, errand.symbol, finding.message)
            found += pages
        if whole:
            facts[ACTED] = today.isoformat()
        return found

    def _group(self, symbol: str) -> Sequence[str]:
        """The symbols that are asked for together with one."""
        listed = self._order.together
        if symbol not in listed:
            return (symbol,)
        start = listed.index(symbol) // MANY * MANY
        return listed[start : start + MANY]

    def _jumps(self, symbol: str, parts: Sequence[Part], facts: Mapping[str, str], today: date) -> bool:
        """Whether there is a jump that was not asked about since it happened, nor in the last week."""
        bars = _sound_bars(self._vendor, parts, symbol)
        if bars is None:
            return False
        acted = day(facts.get(ACTED)) or date.min
        jumps = unexplained_jumps(bars, noted_ratios(facts.get(SPLIT_RATIOS, "")))
        return any(jump.day >= acted or (today - acted).days >= ACT_AGAIN_DAYS for jump in jumps)

    def _no_bars(self, errand: Errand, finding: Finding) -> SourceError:
        """The error for a symbol without bars, after asking the vendor what became of it."""
        words, symbol = "", errand.symbol
        if call := self._vendor.explain(symbol):
            try:
                parts, _ = self._asker.shared(errand, call)
                words = self._vendor.explained(parts[0].data, symbol) if parts else ""
            except (SourceError, ContentError) as error:
                logger.info("why %s has no bars could not be found out: %s", symbol, error.message)
        if not words:
            return self._caller.error(finding)
        return SourceError(f"{symbol} has no bars at {self._vendor.name}: {words}", hint=DELISTED, kind="delisted")


def _payload(
    source: PriceSource, symbol: str, parts: Sequence[Part], facts: Mapping[str, str], *, keep_record: bool
) -> Payload:
    """The parts with what is noted about them: the splits on file are those just fetched, or as remembered.

    Bars of which later sessions are left out are named after the latest one: once more of them counts, the same
    bytes are read again.
    """
    noted = dict(facts)
    named = []
    bars = _sound_bars(source, parts, symbol)
    if (splits := _splits(source, parts, symbol, bars)) is not None:
        noted[SPLIT_RATIOS] = note_ratios(ratios_of(splits))
    for part in parts:
        beyond = part.name == BARS and _reaches_beyond(source, part, symbol, facts[LATEST])
        named.append(Part(f"{BARS}-until-{facts[LATEST]}", part.data, part.origin, part.metadata) if beyond else part)
    marked = tuple(part.noting(**noted) for part in named)
    return Payload(marked, keep_record=keep_record, whole=True)


def _splits(source: PriceSource, parts: Sequence[Part], symbol: str, bars: pl.DataFrame | None) -> pl.DataFrame | None:
    """The splits of an answer, one a day; None if it has none or they cannot be relied on."""
    import polars as pl

    own = [part for part in parts if part.name.partition("-")[0] == SPLITS]
    if not own or bars is None:
        return None
    try:
        return settle_splits(bars, pl.concat([source.parse_splits(part, symbol) for part in own]))[0]
    except ContentError:
        return None  # what is odd about it is told when the payload is read


def _days(source: PriceSource, parts: Sequence[Part], symbol: str) -> set[date]:
    """The sessions of which some parts have a sound bar; none if two bars of one differ."""
    bars = _sound_bars(source, parts, symbol) if parts else None
    if bars is None or bars["trade_date"].is_duplicated().any():
        return set()
    return set(bars["trade_date"])


def _sound_bars(source: PriceSource, parts: Sequence[Part], symbol: str) -> pl.DataFrame | None:
    """The distinct bars of some parts that have a day, prices and a volume, by day; None if one cannot be read:
    the error comes again when the payload is read."""
    import polars as pl

    own = [part for part in parts if part.name.partition("-")[0] == BARS]
    try:
        bars = pl.concat([source.parse_bars(part, symbol).frame for part in own])
    except ContentError:
        return None
    priced = (pl.col(name) > 0 for name in ("open", "high", "low", "close"))
    sound = pl.all_horizontal(*priced, pl.col("volume") >= 0, pl.col("trade_date").is_not_null())
    return bars.filter(sound).drop("line", "raw").unique().sort("trade_date")


def _reaches_beyond(source: PriceSource, part: Part, symbol: str, latest: str) -> bool:
    try:
        days = source.parse_bars(part, symbol).frame["trade_date"].drop_nulls()
    except ContentError:
        return False  # the same error comes again when the payload is read
    return any(str(day) > latest for day in days)
