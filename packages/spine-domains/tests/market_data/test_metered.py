"""What a daily quota is spent on, and how long a plan says that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from spine.domains.market_data.simulator.book import Dividend

from .quiet_vendor import calls, held_book, names, quiet

pytestmark = pytest.mark.server

AtVendor = Callable[..., Any]


def test_a_metered_vendor_is_asked_for_actions_from_what_is_left(at_vendor: AtVendor) -> None:
    """Of 25 calls a day ten are for bars; half of the rest reads splits and dividends of three symbols, others next."""
    book, listed = held_book(10), ",".join(names(10))
    with quiet("alpha_vantage", book, plan="free") as vendor:
        desk = at_vendor(vendor)
        desk.run(listed, source="alpha_vantage")
        assert calls(desk) == 10 + 2 * 3
        vendor.clock.advance(timedelta(days=1))
        desk.run(listed, source="alpha_vantage")
        assert calls(desk) == 2 * (10 + 2 * 3)
        asked = desk.rows("SELECT subject FROM core_requests GROUP BY subject HAVING COUNT(*) = 4 ORDER BY subject")
    assert [key for (key,) in asked] == [f"{symbol}|alpha_vantage" for symbol in names(6)]


@pytest.mark.parametrize(("count", "days"), [(22, 3), (24, 5), (25, 5)])
def test_bars_do_not_starve_splits_and_dividends(count: int, days: int, at_vendor: AtVendor) -> None:
    """With 25 calls a day for as many symbols, one symbol's splits and dividends are read each day, the bars of as
    many as that takes wait for a day and come first then, and a second run of the day has nothing to do."""
    book, listed = held_book(count), ",".join(names(count))
    paid = date(2026, 10, 20)
    for symbol in names(count):
        book[symbol] = replace(book[symbol], dividends=(Dividend(paid, 0.5, paid, paid, paid),))
    waited: list[str] = []
    with quiet("alpha_vantage", book, plan="free") as vendor:
        desk = at_vendor(vendor)
        assert desk.run(listed, source="alpha_vantage").stats.succeeded == count
        for day in range(1, days):
            vendor.clock.advance(timedelta(days=1))
            result = desk.run(listed, source="alpha_vantage")
            left = max(0, count + 2 - 25)
            assert (result.exit_code, result.stats.succeeded) == (0, count - left)
            told = [each for each in result.warnings if "wait for tomorrow's calls" in each]
            assert len(told) == (1 if left else 0)
            if told:
                own = told[0].rstrip(".").rpartition(": ")[2].split(", ")
                assert len(own) == left and not set(own).intersection(waited[-left:])
                waited += own
            again = desk.run(listed, source="alpha_vantage")
            assert (again.exit_code, again.stats.failed, again.stats.attempted) == (0, 0, count)
            ((read,),) = desk.rows("SELECT COUNT(DISTINCT symbol) FROM market_data_dividends")
            # 22 symbols leave three calls on the first day, too.
            assert read == day + (count == 22)


@pytest.mark.parametrize(
    ("source", "count", "limits", "sleep", "words"),
    [
        ("alpha_vantage", 30, "1/s,25/day", 0, "30 symbols takes 2 runs and 30 calls: about 8 hours on"),
        ("alpha_vantage", 60, "1/s,25/day", 0, "60 symbols takes 3 runs and 60 calls: about 32 hours on"),
        ("alpha_vantage", 10, "1/s,25/day", 12, "10 symbols takes 1 run and 10 calls: about 2 minutes on"),
        ("polygon", 100, "5/min", 0, "100 symbols takes 4 runs and 100 calls: about 19 minutes on 5/min"),
        ("polygon", 1, "none", 0, "1 symbol takes 1 run and 1 call: under two minutes on no limit"),
    ],
)
def test_a_plan_says_how_long_a_full_round_takes(
    source: str, count: int, limits: str, sleep: int, words: str, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 16:30 in New York a dry run says when the last of the symbols could be asked for, on the quota at hand."""
    monkeypatch.setenv("ALPHA_VANTAGE_LIMITS" if source == "alpha_vantage" else "POLYGON_LIMITS", limits)
    result = desk.run(",".join(names(count)), source=source, mode="dry-run", sleep=sleep)
    assert words in result.warnings[-1]
    assert result.config["full_round"]["calls"] == count


def test_a_plan_counts_the_calls_that_were_made_today(at_vendor: AtVendor) -> None:
    """Ten symbols fit the day's 25 calls before they were asked for; with sixteen calls made they no longer do."""
    with quiet("alpha_vantage", held_book(10), plan="free") as vendor:
        desk = at_vendor(vendor)
        listed = ",".join(names(10))
        assert desk.run(listed, source="alpha_vantage", mode="dry-run").config["full_round"]["seconds"] < 60
        desk.run(listed, source="alpha_vantage")
        after = desk.run(listed, source="alpha_vantage", mode="dry-run").config["full_round"]["seconds"]
    assert 7 * 3600 < after < 8 * 3600
