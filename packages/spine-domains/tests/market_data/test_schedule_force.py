"""``--force`` and ``--only-stage`` of the price scheduler: accepting what is held, asking again, one stage alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from spine.domains.market_data.simulator.book import HeldSeries
from spine.domains.market_data.simulator.generated import generate_book
from spine.domains.market_data.simulator.server import running_vendor

EVENING = datetime(2026, 11, 23, 21, 30, tzinfo=UTC)


def _broken_book() -> dict[str, Any]:
    """One instrument of whose bars every tenth has its high below its low."""
    book = dict(generate_book(3, ["S000"], first_day=date(2026, 1, 2)))
    bars = book["S000"].series.between(date(2026, 1, 2), EVENING.date())
    broken = [bar._replace(high=bar.low - 1) if number % 10 == 0 else bar for number, bar in enumerate(bars)]
    book["S000"] = replace(book["S000"], series=HeldSeries(broken))
    return book


@pytest.mark.server
@pytest.mark.parametrize("source", ["alpha_vantage", "polygon"])
def test_a_held_answer_is_accepted_by_force(source: str, at_vendor: Callable[..., Any]) -> None:
    """An answer with a tenth of its bars refused is held, and held again; a forced run takes the other ninety."""
    with running_vendor(source, _broken_book(), EVENING) as vendor:
        desk = at_vendor(vendor)
        for _ in range(2):
            held = desk.run("S000", source=source)
            assert (held.exit_code, held.runs[0].error.kind) == (1, "reject_budget")
            assert "market-spine accept" in held.runs[0].error.hint
        assert desk.rows("SELECT COUNT(*) FROM market_data_prices") == [(0,)]
        forced = desk.run("S000", source=source, force=True)
    assert (forced.exit_code, forced.runs[0].row_count) == (0, 90)
    assert desk.rows("SELECT COUNT(*) FROM market_data_prices") == [(90,)]


def test_force_asks_for_what_is_held_already(desk: Any) -> None:
    """What would be up to date is asked for again; unchanged, it is completed with nothing added or changed."""
    first = desk.run("AAPL", source="mock").runs[0]
    assert desk.run("AAPL", source="mock").runs[0].reason == "up_to_date"
    run = desk.run("AAPL", source="mock", force=True).runs[0]
    summary = run.revision_summary
    assert (run.status, run.capture_id, run.is_revision) == ("completed", first.capture_id, False)
    assert (summary.rows_added, summary.rows_removed, summary.rows_changed) == (0, 0, 0)


def test_a_stage_alone_asks_no_vendor_and_needs_no_key(desk: Any) -> None:
    """Ingest alone keeps the answer; normalize and calc work from it; of a symbol never fetched they say so."""
    assert [run.pipeline for run in desk.run("AAPL", source="mock", only_stage="ingest").runs] == [
        "market_data.ingest_prices"
    ]
    assert desk.rows("SELECT COUNT(*) FROM market_data_prices") == [(0,)]
    for stage in ("normalize", "calc"):
        run = desk.run("AAPL", source="mock", only_stage=stage).runs[0]
        assert (run.pipeline.partition(".")[2].partition("_")[0], run.status) == (
            {"normalize": "normalize", "calc": "compute"}[stage],
            "completed",
        )
    assert desk.rows("SELECT COUNT(*) FROM market_data_prices_daily") == [(100,)]
    missing = desk.run("AAPL", source="polygon", only_stage="normalize")
    assert (missing.exit_code, missing.runs[0].error.kind) == (1, "missing_input")
