"""``--from`` and ``--to``: history of prices from a day on, asked for once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from spine.domains.market_data.simulator.generated import generate_book
from spine.domains.market_data.simulator.server import running_vendor

SPAN = "SELECT MIN(trade_date), MAX(trade_date), COUNT(*) FROM market_data_prices"
MONDAY = datetime(2026, 11, 23, 21, 30, tzinfo=UTC)


def ingested(result: Any) -> list[tuple[str, str | None, bool | None]]:
    return [
        (run.status.value, run.reason, run.is_revision)
        for run in result.runs
        if run.pipeline == "market_data.ingest_prices"
    ]


def test_history_is_added_once_and_restates_nothing(desk: Any) -> None:
    """To a symbol that is loaded: from the day on without a gap; asked again it is up to date; later days go on."""
    desk.run("AAPL", source="mock")
    ((first, last, count),) = desk.rows(SPAN)
    assert (first > "2026-06-01", last, count) == (True, "2026-11-23", 100)
    result = desk.run("AAPL", source="mock", first="2026-01-05")
    assert ingested(result) == [("completed", None, False)]
    assert (result.config["from"], result.config["to"]) == ("2026-01-05", "2026-11-23")
    sessions = desk.rows("SELECT COUNT(*) FROM core_sessions WHERE session BETWEEN '2026-01-05' AND '2026-11-23'")
    assert desk.rows(SPAN) == [("2026-01-05", "2026-11-23", sessions[0][0])]
    for since in ("2026-01-05", "2026-03-02", "26w"):
        assert ingested(desk.run("AAPL", source="mock", first=since)) == [("skipped", "up_to_date", None)]
    desk.wait(timedelta(days=1))
    assert ingested(desk.run("AAPL", source="mock", first="2026-01-05")) == [("completed", None, False)]
    assert desk.rows(SPAN)[0][:2] == ("2026-01-05", "2026-11-24")
    assert desk.run("AAPL", source="mock", first="2025-12-01").stats.succeeded == 1
    assert desk.rows(SPAN)[0][:2] == ("2025-12-01", "2026-11-24")


def test_a_span_of_a_new_symbol_ends_where_it_is_told_to(desk: Any) -> None:
    """``--to`` is the last session; a plain run goes on from there; what is known is never cut off."""
    desk.run("AAPL", source="mock", first="2026-09-01", last="2026-10-02")
    assert desk.rows(SPAN)[0][:2] == ("2026-09-01", "2026-10-02")
    desk.run("AAPL", source="mock")
    assert desk.rows(SPAN)[0][1] == "2026-11-23"
    desk.run("AAPL", source="mock", first="2026-03-02", last="2026-03-31")
    ((first, last, count),) = desk.rows(SPAN)
    sessions = desk.rows("SELECT COUNT(*) FROM core_sessions WHERE session BETWEEN '2026-03-02' AND '2026-11-23'")
    assert (first, last, count) == ("2026-03-02", "2026-11-23", sessions[0][0])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"last": "2026-01-01"}, "--to needs --from"),
        ({"first": "2026-01-01", "outputsize": "full"}, "--from and --outputsize full choose in two ways"),
        ({"first": "2026-02-01", "last": "2026-01-01"}, "--from 2026-02-01 lies after 2026-01-01"),
        ({"first": "1980-01-01"}, "--from 1980-01-01 lies before the NYSE calendar"),
        ({"first": "soon"}, "--from: 'soon' is not allowed"),
        ({"first": "2027-01-01"}, "--from 2027-01-01 lies after 2026-11-23"),
    ],
)
def test_spans_that_are_none_are_refused(desk: Any, flags: dict[str, str], words: str) -> None:
    """Each complaint names the flag and the value."""
    result = desk.run("AAPL", source="mock", run_date="2026-11-23", **flags)
    assert result.error is not None
    assert words in result.error.message


def test_a_dry_run_foresees_what_would_be_asked(desk: Any) -> None:
    """Planned while the history was never asked for, up to date afterwards."""
    desk.run("AAPL", source="mock")
    planned = desk.run("AAPL", source="mock", first="2026-01-05", mode="dry-run")
    assert [run.status.value for run in planned.runs][:1] == ["planned"]
    desk.run("AAPL", source="mock", first="2026-01-05")
    again = desk.run("AAPL", source="mock", first="2026-01-05", mode="dry-run")
    assert ingested(again) == [("skipped", "up_to_date", None)]


@pytest.mark.server
@pytest.mark.parametrize(("source", "plan"), [("alpha_vantage", "premium"), ("polygon", "advanced")])
def test_a_vendor_is_asked_for_the_range_once(source: str, plan: str, at_vendor: Callable[..., Any]) -> None:
    """One question brings it, though the symbol is up to date; none is asked after that."""
    book = dict(generate_book(3, ["AAA"], first_day=date(2024, 1, 2)))
    with running_vendor(source, book, MONDAY, plan=plan) as vendor:
        desk = at_vendor(vendor)
        assert desk.run("AAA", source=source).exit_code == 0
        desk.wait(timedelta(minutes=5))
        assert ingested(desk.run("AAA", source=source, first="2025-01-06")) == [("completed", None, False)]
        ((first, last, count),) = desk.rows(SPAN)
        assert (first <= "2025-01-06", last) == (True, "2026-11-23")
        asked = desk.rows("SELECT COUNT(*) FROM core_requests")
        assert ingested(desk.run("AAA", source=source, first="2025-01-06")) == [("skipped", "up_to_date", None)]
        assert desk.rows("SELECT COUNT(*) FROM core_requests") == asked
        sessions = desk.rows(f"SELECT COUNT(*) FROM core_sessions WHERE session BETWEEN '{first}' AND '{last}'")
        assert count == sessions[0][0]
