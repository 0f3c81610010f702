"""What is asked of a vendor, and when again: late corrections, questions in vain, two runs at once, the quota."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from market_spine.core.calendar import sessions
from spine.domains.market_data.simulator.book import Dividend, HeldSeries, Split

from .quiet_vendor import LAST, MONDAY, calls, change, correct, held_book, names, poll, quiet

pytestmark = pytest.mark.server

AtVendor = Callable[..., Any]


@pytest.mark.usefixtures("unmetered")
@pytest.mark.parametrize("late", [4, 9])
@pytest.mark.parametrize("count", [1, 6, 14])
@pytest.mark.parametrize("source", ["polygon", "alpha_vantage"])
def test_a_late_correction_is_found_by_the_next_run(source: str, count: int, late: int, at_vendor: AtVendor) -> None:
    """A bar corrected sessions later is restated with the next session, however many symbols are asked for."""
    book, listed = held_book(count), ",".join(names(count))
    with quiet(source, book) as vendor:
        desk = at_vendor(vendor)
        assert desk.run(listed, source=source, max_symbols=30).exit_code == 0
        vendor.clock.advance(timedelta(days=1))
        day = sessions(date(2026, 10, 1), date(2026, 11, 16))[-late]
        correct(book, names(count)[-1], day, 12345.0)
        result = desk.run(listed, source=source, max_symbols=30)
        assert desk.run(listed, source=source, max_symbols=30).stats.skipped == count
    changed = {
        run.partition_key: (run.revision_summary.rows_added, run.revision_summary.rows_changed)
        for run in result.runs
        if run.pipeline.endswith("ingest_prices")
    }
    keys = [f"{symbol}|{source}" for symbol in names(count)]
    assert changed == {key: (1, int(key == keys[-1])) for key in keys}
    corrected = f"SELECT volume FROM market_data_prices WHERE symbol = '{names(count)[-1]}' AND trade_date = '{day}'"
    assert desk.rows(corrected) == [(12345.0,)]


@pytest.mark.usefixtures("unmetered")
def test_a_bar_that_vanishes_late_is_closed(at_vendor: AtVendor) -> None:
    """A bar that the vendor takes back within the sessions that are read again is known no more."""
    book, listed = held_book(6), ",".join(names(6))
    with quiet("polygon", book) as vendor:
        desk = at_vendor(vendor)
        desk.run(listed, source="polygon")
        vendor.clock.advance(timedelta(days=1))
        change(book, "S003", lambda bars: [bar for bar in bars if bar.day != date(2026, 11, 12)])
        result = desk.run(listed, source="polygon")
    assert ("S003|polygon", "gap") in {(each.partition_key, each.kind) for each in result.anomalies}
    sql = "SELECT COUNT(*) FROM market_data_prices WHERE trade_date = '2026-11-12'"
    assert desk.rows(sql) == [(5,)]


@pytest.mark.usefixtures("unmetered")
def test_older_corrections_are_found_in_turn(at_vendor: AtVendor) -> None:
    """Of six symbols read by session one is read as a range in each run, the oldest look first: all within six."""
    book, listed = held_book(6), ",".join(names(6))
    with quiet("polygon", book, MONDAY - timedelta(days=10)) as vendor:
        desk = at_vendor(vendor)
        desk.run(listed, source="polygon")
        for symbol in names(6):
            correct(book, symbol, date(2026, 8, 3), 777.0)
        for _ in range(10):
            vendor.clock.advance(timedelta(days=1))
            assert desk.run(listed, source="polygon").exit_code == 0
    assert desk.rows("SELECT COUNT(*) FROM market_data_prices WHERE volume = 777") == [(6,)]


@pytest.mark.usefixtures("unmetered")
@pytest.mark.parametrize("flags", [{"outputsize": "full"}, {"force": True}])
@pytest.mark.parametrize("source", ["polygon", "alpha_vantage"])
def test_full_and_force_always_read(source: str, flags: dict[str, Any], at_vendor: AtVendor) -> None:
    """Each run reads again whatever is held, on the same day too, and restates what was corrected meanwhile."""
    book = held_book(2)
    with quiet(source, book) as vendor:
        desk = at_vendor(vendor)
        desk.run("S000,S001", source=source, **flags)
        for volume in (11.0, 22.0):
            vendor.clock.advance(timedelta(minutes=5))
            correct(book, "S000", date(2026, 10, 1), volume)
            run = desk.run("S000,S001", source=source, **flags).runs[0]
            assert (run.status, run.revision_summary.rows_changed) == ("completed", 1)
            sql = "SELECT volume FROM market_data_prices WHERE symbol = 'S000' AND trade_date = '2026-10-01'"
            assert desk.rows(sql) == [(volume,)]


@pytest.mark.usefixtures("unmetered")
@pytest.mark.parametrize("count", [1, 6, 14])
@pytest.mark.parametrize("source", ["polygon", "alpha_vantage"])
def test_late_splits_and_dividends_are_found(source: str, count: int, at_vendor: AtVendor) -> None:
    """A dividend and a small split reported a month after their days are held after the next run."""
    book, listed = held_book(count), ",".join(names(count))
    with quiet(source, book) as vendor:
        desk = at_vendor(vendor)
        desk.run(listed, source=source, max_symbols=30)
        ex_date, paid = date(2026, 10, 15), date(2026, 10, 20)
        book["S000"] = replace(
            book["S000"],
            splits=(Split(date(2026, 10, 7), 20, 21),),
            dividends=(Dividend(ex_date, 0.5, ex_date, paid, paid),),
        )
        vendor.clock.advance(timedelta(days=1))
        assert desk.run(listed, source=source, max_symbols=30).exit_code == 0
    assert desk.rows("SELECT symbol, ex_date, amount FROM market_data_dividends") == [("S000", "2026-10-15", 0.5)]
    ((symbol, old, new),) = desk.rows("SELECT symbol, split_from, split_to FROM market_data_splits")
    assert (symbol, new / old) == ("S000", pytest.approx(1.05))
    assert desk.rows("SELECT COUNT(*) FROM market_data_adjustments WHERE symbol = 'S000'") == [(3,)]


def hours_between(moments: list[datetime]) -> list[int]:
    return [round((later - earlier) / timedelta(hours=1)) for earlier, later in pairwise(moments)]


@pytest.mark.parametrize("source", ["polygon", "alpha_vantage"])
def test_a_halted_symbol_is_asked_for_later_and_later(source: str, at_vendor: AtVendor) -> None:
    """A symbol without the last session is asked for after one hour, two, four, eight; what is open stays told."""
    book = held_book(2)
    change(book, "S001", lambda bars: [bar for bar in bars if bar.day <= date(2026, 11, 13)])
    with quiet(source, book) as vendor:
        desk = at_vendor(vendor)
        flags = {"source": source}
        desk.run("S000,S001", run_date="2026-11-13", **flags)
        first = desk.clock()
        result = desk.run("S000,S001", **flags)
        assert [run.partition_key for run in result.runs if run.status == "completed"][:1] == [f"S000|{source}"]
        moments = [first, *poll(desk, 17, "S000,S001", **flags)]
        quiet_run = desk.run("S000,S001", **flags)
        assert (quiet_run.exit_code, quiet_run.stats.skipped) == (0, 2)
        assert [(each.kind, each.partition_key) for each in quiet_run.anomalies] == [("stale", f"S001|{source}")]
        assert hours_between(moments) == [1, 2, 4, 8]
        # On the next day there is a session to be had again, and the halted symbol is asked for last, once.
        vendor.clock.advance(timedelta(hours=7))
        again = desk.run("S001,S000", **flags)
        assert again.config["symbols"] == ["S000", "S001"]
        assert poll(desk, 12, "S001,S000", **flags) == []


def test_a_symbol_that_brings_data_again_starts_anew(at_vendor: AtVendor) -> None:
    """Once a bar came, the next empty answer is followed by an hour again, not by a day."""
    book = held_book(1)
    whole = list(book["S000"].series.between(date(2026, 5, 1), LAST))
    change(book, "S000", lambda bars: [bar for bar in bars if bar.day <= date(2026, 11, 13)])
    with quiet("alpha_vantage", book) as vendor:
        desk = at_vendor(vendor)
        desk.run("S000", source="alpha_vantage")
        poll(desk, 5, "S000", source="alpha_vantage")
        book["S000"] = replace(book["S000"], series=HeldSeries([bar for bar in whole if bar.day <= date(2026, 11, 16)]))
        vendor.clock.advance(timedelta(hours=6))
        assert desk.run("S000", source="alpha_vantage").stats.succeeded == 1
        vendor.clock.advance(timedelta(hours=13))
        first = desk.clock()
        desk.run("S000", source="alpha_vantage")
        assert hours_between([first, *poll(desk, 4, "S000", source="alpha_vantage")]) == [1, 2]


@pytest.mark.parametrize("source", ["polygon", "alpha_vantage"])
def test_an_unknown_symbol_is_remembered(source: str, at_vendor: AtVendor) -> None:
    """A symbol that the vendor does not know fails alike at every run, but is asked for ever more rarely."""
    with quiet(source, held_book(1)) as vendor:
        desk = at_vendor(vendor)
        kind = desk.run("NOPE", source=source).runs[0].error.kind
        start = calls(desk)
        asked = poll(desk, 16, "NOPE", source=source)
        error = desk.run("NOPE", source=source).runs[0].error
        assert (error.kind, "not asked again until" in error.message) == (kind, True)
        assert len(asked) == 4
        assert calls(desk) == 5 * start
        assert desk.run("NOPE", source=source, force=True).runs[0].error.kind == kind
        assert calls(desk) == 6 * start


@pytest.mark.parametrize(("source", "most"), [("alpha_vantage", 8), ("polygon", 12)])
def test_a_closure_that_no_calendar_knows_spends_few_calls(source: str, most: int, at_vendor: AtVendor) -> None:
    """A session that nobody has is asked for a few times in a day, by eight symbols together; then all goes on."""
    symbols = names(8)
    book, listed = held_book(len(symbols)), ",".join(symbols)
    for symbol in symbols:
        change(book, symbol, lambda bars: [bar for bar in bars if bar.day != date(2026, 11, 17)])
    with quiet(source, book, plan="free" if source == "alpha_vantage" else "advanced") as vendor:
        desk = at_vendor(vendor)
        assert desk.run(listed, source=source).stats.succeeded == 8
        vendor.clock.advance(timedelta(days=1))
        before = calls(desk)
        for _ in range(2 * 20):
            assert desk.run(listed, source=source).exit_code == 0
            vendor.clock.advance(timedelta(minutes=30))
        assert calls(desk) - before <= most
        vendor.clock.advance(timedelta(hours=4))
        assert desk.run(listed, source=source).stats.succeeded == 8
    assert desk.rows("SELECT DISTINCT MAX(trade_date) FROM market_data_prices GROUP BY symbol") == [("2026-11-18",)]


def test_a_held_answer_is_not_fetched_at_every_run(at_vendor: AtVendor) -> None:
    """An answer that a guard holds is asked for again later and later, and its error stays in the results."""
    book = held_book(1)
    with quiet("alpha_vantage", book) as vendor:
        desk = at_vendor(vendor)
        desk.run("S000", source="alpha_vantage")
        wild = dict.fromkeys(("open", "high", "low", "close"), 9999.0)
        change(book, "S000", lambda bars: [b._replace(**wild) if b.day == date(2026, 11, 17) else b for b in bars])
        vendor.clock.advance(timedelta(days=1))
        assert desk.run("S000", source="alpha_vantage").runs[0].error.kind == "implausible"
        assert len(poll(desk, 16, "S000", source="alpha_vantage")) <= 5
        result = desk.run("S000", source="alpha_vantage")
    assert ("implausible", "error") in {(each.kind, each.severity) for each in result.anomalies}


def test_a_run_that_waited_asks_the_database_first(at_vendor: AtVendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one run waits for its turn another loads the rest: the first spends no call on what is held by then."""
    monkeypatch.setenv("POLYGON_LIMITS", "2/min")
    book, listed = held_book(4), ",".join(names(4))
    with quiet("polygon", book) as vendor:
        desk = at_vendor(vendor)
        real = desk.pause
        others: list[Any] = []

        def pause(seconds: float) -> None:
            if not others:
                others.append("running")
                monkeypatch.setenv("POLYGON_LIMITS", "none")
                others.append(desk.run(listed, source="polygon"))
            real(seconds)

        desk.pause = pause
        first = desk.run(listed, source="polygon")
        assert (first.exit_code, others[1].exit_code) == (0, 0)
    # Two of the first run, bars and splits of the first symbol; bars of four, splits and dividends of the other.
    assert calls(desk) == 2 + 4 + 2
    assert desk.rows("SELECT COUNT(DISTINCT capture_id) FROM core_manifest") == [(4,)]
    assert {run.reason for run in first.runs if run.status == "skipped"} == {"up_to_date"}


def test_a_ticker_twice_in_the_answer_for_the_market(at_vendor: AtVendor, ingests: Callable[..., Any]) -> None:
    """Two rows of one symbol refuse it by name, whether it is read by session or as a range this time."""
    book, listed = held_book(6), ",".join(names(6))
    with quiet("polygon", book) as vendor:
        desk = at_vendor(vendor)
        desk.run(listed, source="polygon")
        for symbol in ("S000", "S004"):
            twin = book[symbol].series.between(date(2026, 11, 17), date(2026, 11, 17))[0]._replace(volume=5.0)
            change(book, symbol, lambda bars, twin=twin: sorted([*bars, twin], key=lambda bar: bar.day))  # type: ignore[misc]
        vendor.clock.advance(timedelta(days=1))
        runs = ingests(desk.run(listed, source="polygon"))
    errors = {symbol: run.error.kind for symbol, run in runs.items() if run.error}
    assert errors == {"S000": "conflicting_bars", "S004": "conflicting_bars"}
    assert desk.rows("SELECT COUNT(*) FROM market_data_prices WHERE trade_date = '2026-11-17'") == [(4,)]
