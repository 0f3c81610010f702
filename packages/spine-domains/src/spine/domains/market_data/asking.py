"""Asking a vendor on behalf of one symbol: page after page, and once for what several symbols share."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import date

from market_spine.core.capture import Part
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.errors import SourceError
from spine.domains.market_data.calling import Caller
from spine.domains.market_data.news import News
from spine.domains.market_data.vendors import Call, Finding

MAX_PAGES = 50


@dataclass(frozen=True, slots=True)
class Errand:
    """One partition on its way: what is known of it when the first call is made, and the session wanted."""

    partition: Partition
    symbol: str
    known: Known
    latest: date


class Asker:
    """Asks for one run and keeps what several symbols share. Threads share it."""

    def __init__(self, caller: Caller, news: News) -> None:
        self.caller = caller
        self.news = news
        self.vendor = caller.vendor
        self._kept: dict[str, tuple[list[Part], Finding]] = {}
        self._keeping = threading.Lock()

    def shared(self, errand: Errand, call: Call) -> tuple[list[Part], Finding]:
        """A call whose answer, a refusal too, may serve several symbols: made once, kept for this run."""
        place = f"{call.path}?{sorted(call.params.items())}"
        with self._keeping:
            if place not in self._kept:
                self._kept[place] = self.pages(errand, call)
            return self._kept[place]

    def pages(self, errand: Errand, call: Call) -> tuple[list[Part], Finding]:
        """A call and the further pages that its answer names; the finding is that of the last one."""
        parts: list[Part] = []
        following: Call | None = call
        while following is not None:
            if len(parts) >= MAX_PAGES:
                raise SourceError(
                    f"{self.vendor.name} names more than {MAX_PAGES} pages for {errand.partition.key}",
                    hint="run again; if it stays so, report the vendor's answers",
                    kind="unknown_answer",
                )
            part, finding = self.caller.call(errand.partition, following, lambda: self.still(errand))
            if part is None:
                return [], finding
            parts.append(part)
            following = self.vendor.next_page(call, part.data, len(parts) + 1)
        return parts, Finding("ok")

    def still(self, errand: Errand) -> bool:
        """Whether the errand is still to be run: another run may have done it while this one waited."""
        return self.news.look(errand.partition, errand.latest) is not None
