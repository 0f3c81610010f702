"""Symbols and venues in the console: the numbers are those of the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from market_spine.store import open_reader
from market_spine.web import charts

from .conftest import NOW, Story

if TYPE_CHECKING:
    from starlette.testclient import TestClient


def frame(story: Story, sql: str) -> pl.DataFrame:
    """What a statement answers."""
    with open_reader(story.console().url, story.console().all_domains) as store:
        found = store.query(sql)
    return pl.DataFrame(found.rows, schema=list(found.columns), orient="row")


def test_a_venue_has_its_own_figures(visit: TestClient, story: Story) -> None:
    """Each line of a venue has the rows of its tier and class, and the latest week its symbols, largest first."""
    record = visit.get("/venues/OTCX.json?range=all").json()
    panels = {(panel["value"], panel["form"]): panel for panel in record["panels"]}
    rows = frame(
        story,
        "SELECT week_ending, tier, venue_class, market_share FROM finra_otc_venue_week WHERE venue_id = 'OTCX'",
    )
    lines = {line["label"]: line["points"] for line in panels["market_share", "line"]["lines"]}
    assert lines == {
        f"{tier} {venue_class}": [
            list(row) for row in part.sort("week_ending").select("week_ending", "market_share").rows()
        ]
        for (tier, venue_class), part in rows.group_by("tier", "venue_class")
    }
    latest = str(rows["week_ending"].max())
    symbols = frame(
        story,
        "SELECT symbol, tier, SUM(share_volume) AS share_volume FROM finra_otc_venue_volume"
        f" WHERE venue_id = 'OTCX' AND week_ending = '{latest}' GROUP BY symbol, tier",
    ).sort("share_volume", "symbol", descending=[True, False])
    shown = panels["share_volume", "latest"]["lines"]
    assert [each["value"] for each in shown] == pytest.approx(symbols["share_volume"].to_list()[: len(shown)])


def test_a_symbol_of_both_domains_has_one_axis(visit: TestClient, story: Story) -> None:
    """A symbol's panels share their days, and link to the venues that traded it."""
    (symbol,) = frame(
        story, "SELECT symbol FROM finra_otc_symbol_week GROUP BY symbol ORDER BY SUM(share_volume) DESC LIMIT 1"
    ).row(0)
    record = visit.get(f"/symbols/{symbol}.json?range=all").json()
    assert {panel["relation"] for panel in record["panels"]} >= {"finra_otc_symbol_week", "finra_otc_venue_volume"}
    days = [panel[end] for panel in record["panels"] if panel["form"] != "latest" for end in ("first", "last")]
    assert (record["first"], record["last"]) == (min(days), max(days))
    page = visit.get(f"/symbols/{symbol}?range=all").text
    venue = next(panel for panel in record["panels"] if panel["form"] == "latest")["lines"][0]["name"]
    assert f'href="/venues/{venue.replace(" ", "%20").replace(",", "%2C")}"' in page


def test_the_list_ranks_the_latest_week(visit: TestClient, story: Story) -> None:
    """The symbols listed are those of the latest week, most shares first."""
    record = visit.get("/symbols.json").json()
    expected = frame(
        story,
        "SELECT symbol, share_volume FROM finra_otc_symbol_week"
        " WHERE week_ending = (SELECT MAX(week_ending) FROM finra_otc_symbol_week)",
    ).sort("share_volume", "symbol", descending=[True, False])
    assert [each["symbol"] for each in record["found"]] == expected["symbol"].to_list()[:100]
    assert record["count"] == expected["symbol"].n_unique()


def test_a_symbol_that_no_row_names(visit: TestClient) -> None:
    """A name that no row has is told; in a short range it may only lie outside."""
    assert visit.get("/symbols/NOPE?range=all").status_code == 404
    assert "choose a longer one" in visit.get("/symbols/NOPE").text


def test_a_search_finds_a_venue(visit: TestClient) -> None:
    """A venue's id leads to its page, in whatever case it is typed."""
    assert visit.get("/search", params={"q": "otcx"}).headers["location"] == "/venues/OTCX"


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_a_scale_holds_its_numbers(low: float, span: float) -> None:
    """A scale begins at or below the least and ends at or above the largest number, in a few even steps."""
    high = low + span
    marks = charts.scale(low, high)
    assert 2 <= len(marks) <= 8
    assert marks == sorted(marks)
    slack = max(abs(low), abs(high), 1) * 1e-6
    if high > low:
        assert marks[0] <= low + slack and marks[-1] >= high - slack


@pytest.mark.parametrize(
    "view", ["off_exchange_week", "finra_otc_venue_share", "finra_otc_tier_share", "market_data_prices_adjusted"]
)
def test_few_rows_of_a_view_are_those_of_all(story: Story, view: str) -> None:
    """What a page asks of one thing on one day is what the whole view has of it, also as of a moment."""
    with open_reader(story.console().url, story.console().all_domains) as store:

        def rows(where: dict[str, Any] | None = None) -> pl.DataFrame:
            with store.table(view, where=where, as_of=NOW) as found:
                every = pl.concat([pl.DataFrame(schema=dict(found.schema)), *found.frames()])
            return every.sort(every.columns)

        whole = rows()
        named = [name for name, kind in whole.schema.items() if kind in (pl.String(), pl.Date())][:3]
        where = dict(zip(named, whole.select(named).drop_nulls().row(-1), strict=True))
        few = rows(where)
        assert 0 < few.height < whole.height
        assert_frame_equal(few, whole.filter(**where), check_exact=True)
