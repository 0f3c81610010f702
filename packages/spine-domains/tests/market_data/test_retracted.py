"""What was retracted does not come back in a range that is shifted, nor in another shape of answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from typing import Any

import pytest

from market_spine.app.captures import choose_captures, diff_captures
from market_spine.app.decisions import Asked
from market_spine.compose import Hooks, reader, run_decision
from spine.domains.market_data import DOMAIN

from .penny_share import PartOf, bars_part, sopa
from .quiet_vendor import calls, correct, held_book, names, poll, quiet

AtVendor = Callable[..., Any]


def decide(desk: Any, verb: str, capture: str) -> None:
    desk.wait(timedelta(hours=1))
    asked = Asked(verb, "seen on another feed", capture_id=capture)  # type: ignore[arg-type]
    result = run_decision(asked, "", by="ann", mode="run", domain=None, db=desk.db, hooks=Hooks(clock=desk.clock))
    assert result.exit_code == 0


def test_a_shifted_range_does_not_bring_a_retracted_bar_back(desk: Any, part: PartOf) -> None:
    """The wrong bar in a later range is skipped as retracted, forced or not; once it is mended all of it is taken."""
    bars = sopa(1.0)
    wrong = [{**bar, "close": bar["close"] * 1.02} if place == 20 else bar for place, bar in enumerate(bars)]
    desk.load("SOPA|mock", bars_part(part, bars[:40]))
    desk.wait(timedelta(hours=1))
    second = desk.load("SOPA|mock", bars_part(part, wrong[1:41])).runs[0].capture_id
    decide(desk, "retract", second)
    closes = "SELECT COUNT(*), SUM(close) FROM market_data_prices"
    known = [(40, pytest.approx(sum(bar["close"] for bar in bars[:40])))]
    assert desk.rows(closes) == known
    for first, last in ((2, 42), (1, 42), (15, 25), (0, 44)):
        for force in (False, True):
            desk.wait(timedelta(hours=1))
            result = desk.load("SOPA|mock", bars_part(part, wrong[first:last]), force=force)
            assert (result.exit_code, result.runs[0].reason) == (0, "retracted")
    assert desk.rows(closes) == known
    desk.wait(timedelta(hours=1))
    mended = desk.load("SOPA|mock", bars_part(part, bars[2:42]))
    assert (mended.runs[0].status, mended.anomalies) == ("completed", ())
    assert desk.rows(closes) == [(42, pytest.approx(sum(bar["close"] for bar in bars[:42])))]


def test_a_range_beyond_a_retracted_one_is_taken(desk: Any, part: PartOf) -> None:
    """Bars after the retracted ones, or those of which it says nothing else than what stands, are no return of it."""
    bars = sopa(1.0)
    wrong = [{**bar, "close": bar["close"] * 1.02} if place == 20 else bar for place, bar in enumerate(bars)]
    desk.load("SOPA|mock", bars_part(part, bars[:40]))
    desk.wait(timedelta(hours=1))
    decide(desk, "retract", desk.load("SOPA|mock", bars_part(part, wrong[1:41])).runs[0].capture_id)
    desk.wait(timedelta(hours=1))
    assert desk.load("SOPA|mock", bars_part(part, bars[41:43])).runs[0].status == "completed"
    desk.wait(timedelta(hours=1))
    both = [*bars[30:40], *bars[41:44]]
    assert desk.load("SOPA|mock", bars_part(part, both)).runs[0].status == "completed"
    assert desk.rows("SELECT COUNT(*) FROM market_data_prices") == [(43,)]


def test_retracted_bars_that_return_among_others_are_told(desk: Any, part: PartOf) -> None:
    """Where the vendor corrects another bar and repeats the wrong one, it is another answer: taken, and named."""
    bars = sopa(1.0)
    wrong = [{**bar, "close": bar["close"] * 1.02} if place == 20 else bar for place, bar in enumerate(bars)]
    desk.load("SOPA|mock", bars_part(part, bars[:40]))
    desk.wait(timedelta(hours=1))
    second = desk.load("SOPA|mock", bars_part(part, wrong[1:40])).runs[0].capture_id
    decide(desk, "retract", second)
    desk.wait(timedelta(hours=1))
    other = [{**bar, "volume": 7.0} if place == 30 else bar for place, bar in enumerate(wrong)]
    (told,) = desk.load("SOPA|mock", bars_part(part, other[2:42])).anomalies
    assert (told.kind, told.severity) == ("retracted_rows", "warning")
    assert second in told.message and bars[20]["date"] in told.message and "1 rows" in told.message


def test_a_capture_that_never_was_current_is_compared_as_accepting_it_would_make_it(desk: Any, part: PartOf) -> None:
    """A held answer, and the same once it is retracted, differs from the current one by its bars; a retracted one that
    was current by what it changed then."""
    bars = sopa(1.0)
    wild = [{**bar, "volume": 1000 * bar["volume"]} for bar in bars]
    desk.load("SOPA|mock", bars_part(part, bars[:40]))
    desk.wait(timedelta(hours=1))
    wrong = [{**bar, "close": bar["close"] * 1.02} if place == 20 else bar for place, bar in enumerate(bars)]
    restated = desk.load("SOPA|mock", bars_part(part, wrong[1:42])).runs[0].capture_id
    desk.wait(timedelta(hours=1))
    assert desk.load("SOPA|mock", bars_part(part, wild[2:44])).exit_code == 1

    def change(name: str) -> tuple[int, ...]:
        with closing(reader(desk.db, desk.clock)) as store:
            partition = DOMAIN.partition("SOPA|mock")
            known = store.known(DOMAIN.name, ["SOPA|mock"])["SOPA|mock"]
            first, second = choose_captures(store, DOMAIN, partition, known.captures[0], name)
            assert second.outcome.split(":")[0] in ("held", "retracted", "superseded", "current")
            return tuple(diff_captures(store, DOMAIN, partition, first, second).change)

    held = f"{restated.rpartition('.')[0]}.3"
    # Of 40 known bars 38 lie in the held range, which has four more, two of them restated's.
    assert (change(held), change(restated)) == ((4, 0, 38), (2, 0, 1))
    decide(desk, "retract", held)
    assert (change(held), change(restated)) == ((4, 0, 38), (2, 0, 1))
    decide(desk, "retract", restated)
    assert (change(held), change(restated)) == ((4, 0, 38), (2, 0, 1))


@pytest.mark.server
@pytest.mark.usefixtures("unmetered")
@pytest.mark.parametrize(("source", "count"), [("polygon", 1), ("polygon", 7), ("alpha_vantage", 2)])
def test_a_retracted_bar_does_not_come_back_in_another_shape(
    source: str, count: int, at_vendor: AtVendor, ingests: Callable[..., Any]
) -> None:
    """While the vendor repeats it, whatever the request, it is skipped and asked for later and later; once it is mended
    all that is missing comes."""
    book, listed, wrong = held_book(count), ",".join(names(count)), date(2026, 11, 12)
    own = f"SELECT volume FROM market_data_prices WHERE symbol = 'S000' AND trade_date = '{wrong}'"
    with quiet(source, book) as vendor:
        desk = at_vendor(vendor)
        desk.run(listed, source=source)
        right = desk.rows(own)
        correct(book, "S000", wrong, 7.0)
        vendor.clock.advance(timedelta(days=1))
        capture = ingests(desk.run(listed, source=source))["S000"].capture_id
        assert desk.rows(own) == [(7.0,)]
        vendor.clock.advance(timedelta(minutes=1))
        asked = Asked("retract", "seen on another feed", capture_id=capture)
        hooks = Hooks(clock=desk.clock)
        assert run_decision(asked, "", by="ann", mode="run", domain=None, db=desk.db, hooks=hooks).exit_code == 0
        vendor.clock.advance(timedelta(days=1))
        for flags in ({}, {"force": True}, {"outputsize": "full"}):
            runs = ingests(desk.run(listed, source=source, **flags))
            assert (runs["S000"].reason, desk.rows(own)) == ("retracted", right)
        assert len(poll(desk, 6, listed, source=source)) <= 3
        correct(book, "S000", wrong, right[0][0])
        vendor.clock.advance(timedelta(days=1))
        assert desk.run(listed, source=source).exit_code == 0
    assert desk.rows(own) == right
    assert desk.rows("SELECT MAX(trade_date) FROM market_data_prices WHERE symbol = 'S000'") == [("2026-11-19",)]


@pytest.mark.server
@pytest.mark.usefixtures("unmetered")
@pytest.mark.parametrize("source", ["polygon", "alpha_vantage"])
def test_a_symbol_whose_only_answer_is_retracted_is_asked_for_later_and_later(
    source: str, at_vendor: AtVendor, ingests: Callable[..., Any]
) -> None:
    """It holds nothing, each run says so without failing, and the vendor is asked after an hour, two, four."""
    with quiet(source, held_book(1)) as vendor:
        desk = at_vendor(vendor)
        decide(desk, "retract", ingests(desk.run("S000", source=source))["S000"].capture_id)
        results = [desk.run("S000", source=source)]
        before = calls(desk)
        assert len(poll(desk, 6, "S000", source=source)) <= 3
        results.append(desk.run("S000", source=source))
        assert calls(desk) > before
    assert [(each.exit_code, each.runs[0].reason) for each in results] == [(0, "retracted")] * 2
    assert desk.rows("SELECT COUNT(*) FROM market_data_prices") == [(0,)]
