"""Prices loaded from the simulated vendors over real HTTP: all of it, the failures, and what is asked again."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spine.domains.market_data.simulator.book import HeldSeries, Split, read_book
from spine.domains.market_data.simulator.generated import generate_book
from spine.domains.market_data.simulator.server import running_vendor

pytestmark = pytest.mark.server

EVENING = datetime(2026, 8, 24, 21, 30, tzinfo=UTC)
"""The Monday after the last real bars (2026-08-21)."""
MONDAY = datetime(2026, 11, 23, 21, 30, tzinfo=UTC)

LARGE_PLAN = {"alpha_vantage": "premium", "polygon": "advanced"}

AtVendor = Callable[..., Any]


def _book(count: int) -> dict[str, Any]:
    return dict(generate_book(3, [f"S{number:03d}" for number in range(count)], first_day=date(2025, 1, 2)))


@pytest.mark.samples
@pytest.mark.parametrize("source", ["alpha_vantage", "polygon"])
def test_ten_years_of_real_bars_arrive_unchanged(source: str, bar_samples: Path, at_vendor: AtVendor) -> None:
    """Every bar of the six real symbols is stored as the file has it, through either vendor."""
    with running_vendor(source, read_book(bar_samples), EVENING, plan=LARGE_PLAN[source]) as vendor:
        desk = at_vendor(vendor)
        result = desk.run("AAPL,BRK.B,MSFT,NVDA,SPY,TSLA", source=source, outputsize="full")
    assert (result.status, result.stats.succeeded) == ("success", 6)
    for symbol in ("AAPL", "BRK.B", "MSFT", "NVDA", "SPY", "TSLA"):
        with (bar_samples / f"{symbol}.csv").open() as file:
            expected = [
                (row["date"], *(float(row[name]) for name in ("open", "high", "low", "close", "volume")))
                for row in csv.DictReader(file)
            ]
        stored = desk.rows(
            "SELECT trade_date, open, high, low, close, volume FROM market_data_prices"
            f" WHERE symbol = '{symbol}' ORDER BY trade_date"
        )
        assert stored == expected


def test_a_rate_limited_run_names_what_failed_and_the_rerun_asks_only_for_that(
    at_vendor: AtVendor, ingests: Callable[..., Any]
) -> None:
    """Of 100 symbols 20 fit the day's quota: exit 2, the others named with the time to retry, and asked for then."""
    symbols = list(_book(100))
    with running_vendor("alpha_vantage", _book(100), MONDAY, requests_per_day=20, requests_per_second=100) as vendor:
        desk = at_vendor(vendor)
        first = desk.run(",".join(symbols), source="alpha_vantage", max_symbols=100)
        assert (first.exit_code, first.stats.succeeded, first.stats.failed) == (2, 20, 80)
        failed = {name: run for name, run in ingests(first).items() if run.status == "failed"}
        assert list(failed) == symbols[20:]
        for run in failed.values():
            assert run.error.kind == "quota_exhausted"
            assert "2026-11-24T05:00:00Z" in run.error.message
            assert "S3CRETKEY" not in first.to_json()
        assert desk.rows("SELECT COUNT(*) FROM core_requests") == [(21,)]

        desk.wait(timedelta(hours=10))
        vendor.vendor.switches.change("requests_per_day", 1000)
        before = set(desk.rows("SELECT subject, planned_at FROM core_requests"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ALPHA_VANTAGE_LIMITS", "100/s,1000/day")
            again = desk.run(",".join(symbols), source="alpha_vantage", max_symbols=100)
        asked = {subject for subject, _ in set(desk.rows("SELECT subject, planned_at FROM core_requests")) - before}
    assert (again.exit_code, again.stats.succeeded, again.stats.skipped) == (0, 80, 20)
    assert asked == {f"{symbol}|alpha_vantage" for symbol in symbols[20:]}
    assert desk.rows("SELECT * FROM core_anomalies WHERE resolved_at IS NULL AND severity = 'error'") == []


def test_full_history_that_the_plan_refuses_is_told_and_learnt(
    at_vendor: AtVendor, ingests: Callable[..., Any]
) -> None:
    """On a free key ``full`` fails with what to do; the next run says the same without a call, compact works."""
    with running_vendor("alpha_vantage", _book(2), MONDAY, requests_per_second=100) as vendor:
        desk = at_vendor(vendor)
        first = desk.run("S000", source="alpha_vantage", outputsize="full")
        error = ingests(first)["S000"].error
        assert (first.exit_code, error.kind) == (1, "not_entitled")
        assert "outputsize=full" in error.message and "--outputsize compact" in error.hint
        calls = desk.rows("SELECT COUNT(*) FROM core_requests")
        second = desk.run("S000,S001", source="alpha_vantage", outputsize="full")
        assert {run.error.kind for run in ingests(second).values()} == {"not_entitled"}
        assert "learnt 2026-11-23" in ingests(second)["S001"].error.message
        assert desk.rows("SELECT COUNT(*) FROM core_requests") == calls
        assert desk.run("S000", source="alpha_vantage").exit_code == 0


def test_the_free_plan_of_massive_is_learnt_and_kept_to(at_vendor: AtVendor) -> None:
    """Today's session is refused until tomorrow and history beyond two years is clamped; each is asked for once."""
    with running_vendor("polygon", _book(3), MONDAY, edge="refuse", requests_per_minute=100) as vendor:
        desk = at_vendor(vendor)
        result = desk.run("S000,S001", source="polygon", outputsize="full")
        assert (result.exit_code, result.stats.succeeded) == (0, 2)
        bounds = desk.rows(
            "SELECT symbol, MIN(trade_date), MAX(trade_date) FROM market_data_prices GROUP BY symbol ORDER BY 1"
        )
        assert bounds == [(symbol, "2025-01-02", "2026-11-20") for symbol in ("S000", "S001")]
        learnt = desk.rows("SELECT capability FROM core_refusals ORDER BY capability")
        assert learnt == [("history",), ("today",)]
        calls = desk.rows("SELECT subject, COUNT(*) FROM core_requests GROUP BY subject ORDER BY subject")
        assert calls == [("S000|polygon", 5), ("S001|polygon", 1)]  # bars thrice or once; splits and dividends of both
        assert desk.run("S000,S001", source="polygon").stats.skipped == 2
        assert desk.rows("SELECT COUNT(*) FROM core_requests") == [(6,)]


def test_a_refused_key_stops_calling_at_once(at_vendor: AtVendor, ingests: Callable[..., Any]) -> None:
    """An unknown key fails every symbol after one call, and the hint names the variables that hold it."""
    with running_vendor("polygon", _book(3), MONDAY, keys=("RIGHT",)) as vendor:
        desk = at_vendor(vendor)
        result = desk.run("S000,S001,S002", source="polygon")
    assert (result.exit_code, result.stats.failed) == (1, 3)
    assert {run.error.kind for run in ingests(result).values()} == {"auth"}
    assert "POLYGON_API_KEY or MASSIVE_API_KEY" in ingests(result)["S002"].error.hint
    assert desk.rows("SELECT COUNT(*) FROM core_requests") == [(1,)]


@pytest.mark.parametrize("source", ["alpha_vantage", "polygon"])
def test_one_bad_symbol_touches_no_other(source: str, at_vendor: AtVendor, ingests: Callable[..., Any]) -> None:
    """A symbol the vendor does not know, or knows in other case only, fails by itself with its reason and a hint."""
    with running_vendor(
        source, _book(2), MONDAY, plan="premium" if source == "alpha_vantage" else "advanced"
    ) as vendor:
        desk = at_vendor(vendor)
        result = desk.run("S000,NOPE,S001", source=source)
    runs = ingests(result)
    assert (result.exit_code, runs["S000"].status, runs["S001"].status) == (2, "completed", "completed")
    assert runs["NOPE"].error.kind == ("unknown_symbol" if source == "alpha_vantage" else "no_data")
    assert "spelling and case" in runs["NOPE"].error.hint
    assert [anomaly.partition_key for anomaly in result.anomalies if anomaly.severity == "error"] == [f"NOPE|{source}"]


@pytest.mark.parametrize("source", ["alpha_vantage", "polygon"])
def test_a_delisted_symbol_is_said_to_be_delisted(
    source: str, at_vendor: AtVendor, ingests: Callable[..., Any]
) -> None:
    """The vendor is asked why there are no bars, and its answer is told."""
    book = _book(2)
    gone = replace(book["S001"], delisted=date(2025, 3, 3))
    book["S001"] = replace(gone, series=HeldSeries(gone.series.between(date(2025, 1, 2), date(2025, 2, 28))))
    with running_vendor(source, book, MONDAY, plan=LARGE_PLAN[source]) as vendor:
        error = ingests(at_vendor(vendor).run("S001", source=source))["S001"].error
    assert error.kind == "delisted"
    assert "2025-03-03" in error.message


def test_a_daily_top_up_of_many_symbols_is_a_call_a_session(at_vendor: AtVendor, ingests: Callable[..., Any]) -> None:
    """Twelve held symbols get the next session, and the revised last one, out of answers for the whole market: the
    new session, ten before it, splits, dividends, and one symbol's whole range."""
    symbols = list(_book(12))
    with running_vendor("polygon", _book(12), MONDAY, plan="advanced") as vendor:
        desk = at_vendor(vendor)
        desk.run(",".join(symbols), source="polygon")
        before = desk.rows("SELECT symbol, trade_date, open, close, volume FROM market_data_prices")
        assert desk.rows("SELECT COUNT(*) FROM core_requests") == [(14,)]
        vendor.clock.advance(timedelta(days=1))
        result = desk.run(",".join(symbols), source="polygon")
        assert desk.rows("SELECT COUNT(*) FROM core_requests") == [(14 + 1 + 10 + 1 + 2,)]
        for run in ingests(result).values():
            summary = run.revision_summary
            assert (run.status, run.is_revision) == ("completed", True)
            assert (summary.rows_added, summary.rows_removed, summary.rows_changed) == (1, 0, 1)
        after = desk.rows("SELECT symbol, trade_date, open, close, volume FROM market_data_prices")
        kept = set(before) & set(after)
        assert len(before) == 1200 and len(after) == 1212 and len(kept) == 1188
        weeks = desk.rows("SELECT DISTINCT sessions FROM market_data_symbol_week WHERE week_ending = '2026-11-27'")
        assert weeks == [(2,)]


def test_a_split_in_the_history_is_no_gap(at_vendor: AtVendor) -> None:
    """A 4:1 split in prices as traded: its record is fetched because prices jump, and adjusted prices run through."""
    split = Split(date(2026, 10, 15), 1, 4)
    book = generate_book(3, ["S000"], splits={"S000": [split]})
    bars = book["S000"].series.between(date(2025, 1, 2), MONDAY.date())
    with running_vendor("polygon", book, MONDAY, plan="advanced") as vendor:
        desk = at_vendor(vendor)
        result = desk.run("S000", source="polygon")
        assert result.anomalies == ()
        assert desk.rows("SELECT ex_date, split_from, split_to FROM market_data_splits") == [("2026-10-15", 1.0, 4.0)]
        adjusted = desk.rows("SELECT trade_date, close, volume FROM market_data_prices_adjusted ORDER BY trade_date")
        expected = [
            (
                bar.day.isoformat(),
                bar.close / (4 if bar.day < split.day else 1),
                bar.volume * (4 if bar.day < split.day else 1),
            )
            for bar in bars[-100:-1]  # the vendor still revises the newest volume
        ]
        assert adjusted[:-1] == expected
        returns = desk.rows('SELECT MIN("return"), MAX("return"), MAX(sessions_missing) FROM market_data_prices_daily')
        ((low, high, missing),) = returns
        assert -0.2 < low < high < 0.25 and missing == 0
        vendor.clock.advance(timedelta(days=1))
        desk.run("S000", source="polygon")
        asked = desk.rows("SELECT COUNT(*) FROM core_requests")
    assert asked == [(6,)]  # bars, splits, dividends on each day


def test_the_bar_of_an_open_session_is_left_out(at_vendor: AtVendor) -> None:
    """At noon Alpha Vantage's answer ends in today's unfinished bar: it is not stored, and the result says so."""
    noon = datetime(2026, 11, 23, 17, tzinfo=UTC)
    with running_vendor("alpha_vantage", _book(1), noon) as vendor:
        desk = at_vendor(vendor)
        result = desk.run("S000", source="alpha_vantage")
        assert desk.rows("SELECT MAX(trade_date) FROM market_data_prices") == [("2026-11-20",)]
        assert [(anomaly.kind, anomaly.severity) for anomaly in result.anomalies] == [("partial_bar", "info")]
        assert "2026-11-23" in result.anomalies[0].message
        assert desk.run("S000", source="alpha_vantage").stats.skipped == 1
        vendor.clock.advance(timedelta(hours=5))
        closed = desk.run("S000", source="alpha_vantage")
        assert closed.runs[0].revision_summary.rows_added == 1
        assert closed.runs[0].is_revision is False


def test_the_same_bytes_are_read_again_once_more_of_them_counts(at_vendor: AtVendor) -> None:
    """Ten minutes after the close today's bar is left out; at half past it counts, though the answer is the same."""
    with running_vendor("alpha_vantage", _book(1), MONDAY - timedelta(minutes=20)) as vendor:
        desk = at_vendor(vendor)
        assert [anomaly.kind for anomaly in desk.run("S000", source="alpha_vantage").anomalies] == ["partial_bar"]
        vendor.clock.advance(timedelta(minutes=20))
        run = desk.run("S000", source="alpha_vantage").runs[0]
    assert run.revision_summary is not None
    assert (run.status, run.is_revision, run.revision_summary.rows_added) == ("completed", False, 1)
    assert desk.rows("SELECT MAX(trade_date) FROM market_data_prices") == [("2026-11-23",)]


@pytest.mark.parametrize("source", ["alpha_vantage", "polygon"])
def test_run_date_is_the_last_session_of_every_vendor(source: str, at_vendor: AtVendor) -> None:
    """Also of Alpha Vantage, which always answers with the latest bars, nothing after --run-date is loaded."""
    with running_vendor(source, _book(1), MONDAY, plan=LARGE_PLAN[source]) as vendor:
        desk = at_vendor(vendor)
        assert desk.run("S000", source=source, run_date="2026-11-10").exit_code == 0
        assert desk.rows("SELECT MAX(trade_date) FROM market_data_prices") == [("2026-11-10",)]
        added = desk.run("S000", source=source).runs[0].revision_summary.rows_added
    assert added == 9


def test_sleep_lies_between_calls_only(at_vendor: AtVendor) -> None:
    """Five calls (bars of three, splits, dividends) wait four times: not before the first, not after the last, and
    never in a dry run."""
    with running_vendor("polygon", _book(3), MONDAY, plan="advanced") as vendor:
        desk = at_vendor(vendor)
        desk.run("S000,S001,S002", source="polygon", mode="dry-run", sleep=12)
        assert desk.waits == []
        desk.run("S000,S001,S002", source="polygon", sleep=12)
        assert sum(desk.waits) == pytest.approx(48, abs=0.1)


def test_a_long_sleep_is_no_spent_quota(at_vendor: AtVendor) -> None:
    """Also a floor of twenty minutes is waited for between two calls."""
    with running_vendor("polygon", _book(2), MONDAY, plan="advanced") as vendor:
        desk = at_vendor(vendor)
        assert desk.run("S000,S001", source="polygon", sleep=1200).exit_code == 0
    assert sum(desk.waits) == pytest.approx(3 * 1200, abs=0.1)


def test_a_session_that_cannot_be_had_for_all_is_asked_for_once(at_vendor: AtVendor) -> None:
    """Where answers for the whole market are empty, also of a session that is held, eight symbols are asked for one
    by one, and each of those answers only once."""
    symbols = ",".join(_book(8))
    with running_vendor("polygon", _book(8), MONDAY, plan="advanced") as vendor:
        desk = at_vendor(vendor)
        desk.run(symbols, source="polygon")
        vendor.clock.advance(timedelta(days=1))
        vendor.faults.set(["no-results@grouped=1"])
        assert desk.run(symbols, source="polygon").exit_code == 0
        assert desk.rows("SELECT COUNT(*) FROM core_requests") == [(8 + 2 + 2 + 8 + 2,)]


@pytest.mark.parametrize("source", ["alpha_vantage", "polygon"])
def test_a_key_may_end_in_a_line_break_but_hold_none(source: str, at_vendor: AtVendor) -> None:
    """A key out of a file works without its line break; an unusable one is refused by its variable, unshown."""
    with running_vendor(source, _book(1), MONDAY, plan=LARGE_PLAN[source]) as vendor:
        desk = at_vendor(vendor, "S3CRETKEY\n")
        assert desk.run("S000", source=source).exit_code == 0
        result = at_vendor(vendor, "S3CRET\nKEY").run("S000", source=source)
    assert (result.exit_code, result.error.kind) == (1, "usage")
    assert f"{source.upper()}_API_KEY" in result.error.message
    assert "S3CRET" not in result.to_json()


def test_the_vendors_own_limit_is_waited_for(at_vendor: AtVendor) -> None:
    """With five calls a minute the sixth waits for the rest of the minute, and no call is refused."""
    with running_vendor("polygon", _book(7), MONDAY) as vendor:
        desk = at_vendor(vendor)
        result = desk.run(",".join(_book(7)), source="polygon")
        assert result.exit_code == 0
        assert 59 < sum(desk.waits) < 121
        # Bars of seven, once more of the first since today's session was refused, splits, dividends.
        assert desk.rows("SELECT COUNT(*) FROM core_requests") == [(10,)]


@pytest.mark.parametrize(
    ("source", "fault", "kind"),
    [
        ("alpha_vantage", "burst=every:2", None),
        ("alpha_vantage", "burst=1", "throttled"),
        ("alpha_vantage", "minute-limit=1", "throttled"),
        ("alpha_vantage", "legacy-note=1", "throttled"),
        ("alpha_vantage", "empty=1", "no_data"),
        ("alpha_vantage", "sample-data=1", "not_entitled"),
        ("alpha_vantage", "503=1", "unreachable"),
        ("polygon", "503=every:2", None),
        ("polygon", "503=1", "unreachable"),
    ],
)
def test_faults_are_waited_out_or_named(
    source: str, fault: str, kind: str | None, at_vendor: AtVendor, ingests: Callable[..., Any]
) -> None:
    """A passing fault is asked again after a wait; one that stays fails the symbol under its own name."""
    with running_vendor(source, _book(2), MONDAY, plan=LARGE_PLAN[source], faults=[fault]) as vendor:
        run = ingests(at_vendor(vendor).run("S000,S001", source=source))["S000"]
    assert (run.error.kind if run.error else None) == kind


def test_an_outage_leaves_most_of_the_days_quota(at_vendor: AtVendor, ingests: Callable[..., Any]) -> None:
    """Two symbols in vain, four calls each, and the rest fails uncalled; two minutes later what is left is used."""
    symbols = ",".join(_book(25))
    with running_vendor("alpha_vantage", _book(25), MONDAY, faults=["503=1"]) as vendor:
        desk = at_vendor(vendor)
        runs = ingests(desk.run(symbols, source="alpha_vantage")).values()
        assert {run.error.kind for run in runs} == {"unreachable"}
        assert desk.rows("SELECT COUNT(*) FROM core_requests") == [(8,)]
        vendor.faults.set([])
        desk.wait(timedelta(minutes=3))
        assert desk.run(symbols, source="alpha_vantage").stats.succeeded == 17


def test_an_address_that_cannot_be_used_is_tried_once(
    at_vendor: AtVendor, ingests: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no repetition mends is not repeated: the error names its own kind and nothing is waited for."""
    with running_vendor("polygon", _book(1), MONDAY) as vendor:
        desk = at_vendor(vendor)
        monkeypatch.setenv("POLYGON_URL", "api.massive.com")
        error = ingests(desk.run("S000", source="polygon"))["S000"].error
    assert (error.kind, desk.waits) == ("bad_address", [])
    assert desk.rows("SELECT COUNT(*) FROM core_requests") == [(1,)]


def test_the_key_shows_nowhere(at_vendor: AtVendor, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Neither result, log nor database holds the key, though Alpha Vantage takes it in the address and echoes it."""
    caplog.set_level("DEBUG")
    with running_vendor("alpha_vantage", _book(2), MONDAY, requests_per_day=1) as vendor:
        desk = at_vendor(vendor)
        result = desk.run("S000,S001", source="alpha_vantage")
    assert result.exit_code == 2
    assert "S3CRETKEY" not in result.to_json() + caplog.text
    assert not any(b"S3CRETKEY" in file.read_bytes() for file in tmp_path.iterdir())
