"""A simulated vendor that revises nothing by itself, over bars that a test can change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from spine.domains.market_data.simulator.book import HeldSeries
from spine.domains.market_data.simulator.generated import generate_book
from spine.domains.market_data.simulator.server import RunningVendor, running_vendor

MONDAY = datetime(2026, 11, 16, 21, 30, tzinfo=UTC)
LAST = date(2026, 11, 24)
PLAN = {"alpha_vantage": "premium", "polygon": "advanced"}


def names(count: int) -> list[str]:
    return [f"S{number:03d}" for number in range(count)]


def held_book(count: int) -> dict[str, Any]:
    """Instruments whose bars are all held, so that one of them can be changed; the dict is the vendor's own."""
    book = dict(generate_book(3, names(count), first_day=date(2026, 5, 1)))
    for symbol, instrument in book.items():
        bars = instrument.series.between(date(2026, 5, 1), LAST)
        book[symbol] = replace(instrument, series=HeldSeries(bars), splits=(), dividends=())
    return book


def change(book: dict[str, Any], symbol: str, alter: Callable[[list[Any]], list[Any]]) -> None:
    bars = list(book[symbol].series.between(date(2026, 1, 1), LAST))
    book[symbol] = replace(book[symbol], series=HeldSeries(alter(bars)))


def correct(book: dict[str, Any], symbol: str, day: date, volume: float) -> None:
    """The vendor corrects one bar."""
    change(book, symbol, lambda bars: [bar._replace(volume=volume) if bar.day == day else bar for bar in bars])


@contextmanager
def quiet(source: str, book: dict[str, Any], now: datetime = MONDAY, **flags: Any) -> Iterator[RunningVendor]:
    """A vendor that revises nothing by itself."""
    switches = {"revisions": False} if source == "polygon" else {}
    with running_vendor(source, book, now, **{"plan": PLAN[source], **switches, **flags}) as vendor:
        yield vendor


def calls(desk: Any) -> int:
    ((count,),) = desk.rows("SELECT COUNT(*) FROM core_requests")
    return int(count)


def poll(desk: Any, hours: float, listed: str, **flags: Any) -> list[datetime]:
    """Run every quarter of an hour; the moments at which a call was made."""
    asked, before = [], calls(desk)
    for _ in range(int(hours * 4)):
        desk.wait(timedelta(minutes=15))
        moment = desk.clock()
        desk.run(listed, **flags)
        now = calls(desk)
        if now > before:
            asked.append(moment)
        before = now
    return asked
