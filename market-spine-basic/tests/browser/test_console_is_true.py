"""What the pages show, seen in a browser, is what the commands say: now, and of then."""

from __future__ import annotations

import csv
import io
from urllib.parse import quote

import httpx2
import pytest

from .conftest import Open, Shop

NAMES = {"finra": "finra.otc_transparency", "prices": "market_data"}


@pytest.mark.parametrize("short", NAMES)
def test_counts_are_those_of_the_command(opened: Open, shop: Shop, short: str) -> None:
    """The chips of a grid, its cells and the overview count the states as the command does."""
    told = shop.status[NAMES[short]]["counts"]
    page, _ = opened()
    page.goto(f"{shop.address}/d/{short}/partitions?range=all")
    chips = page.locator("nav[aria-label='Show only'] .chip:not(.plain)")
    counts = {
        text[: -len(count)].strip().replace(" ", "_"): int(count) for text, count in split(chips.all_inner_texts())
    }
    assert counts == told
    links = page.locator("main .gridwrap a, main .strips td a")
    names = [name.lower() for name in links.evaluate_all("all => all.map(a => a.ariaLabel || a.textContent.trim())")]
    cells = {state: sum(name.endswith(state.replace("_", " ")) for name in names) for state in told}
    assert cells == told
    page.goto(shop.address)
    problems = [state for state in ("failed", "held", "late") if told.get(state)]
    if problems:
        needing = sum(told[state] for state in problems)
        assert f"{needing} partitions need attention" in page.locator("h1").inner_text()
    article = page.locator("article", has=page.locator(f"a[href='/d/{short}/partitions']"))
    facts = dict(
        split([each.replace("\n", " ") for each in article.locator(".facts li").all_inner_texts()], first=True)
    )
    assert {state: int(facts[state]) for state in problems} == {state: told[state] for state in problems}


def split(texts: list[str], *, first: bool = False) -> list[tuple[str, str]]:
    """Texts with the count that ends each, or, with ``first``, with what comes before it."""
    parted = [(text, text.split()[-1].replace(",", "")) for text in texts]
    return [(text.rpartition(" ")[0].strip(), count) for text, count in parted] if first else parted


def total(shop: Shop, key: str, as_of: str) -> tuple[int, int]:
    """Rows and shares of a partition as of a capture, as the query command says."""
    week, _, tier = key.partition("|")
    sql = "SELECT COUNT(*), CAST(SUM(share_volume) AS BIGINT) FROM finra_otc_venue_volume"
    where = f" WHERE week_ending = '{week}' AND tier = '{tier}'"
    answer = shop.run("query", sql + where, "--as-of", as_of, "--format", "csv")
    rows, shares = list(csv.reader(io.StringIO(answer)))[1]
    return int(rows), int(shares)


def test_stepping_back_shows_the_numbers_of_then(opened: Open, shop: Shop) -> None:
    """The keys step from commit to commit; each page has the state, rows and captures of its moment."""
    key = shop.keys("revised")[0]
    captures = shop.captures(key)
    assert len(captures) == 2
    page, said = opened()
    page.goto(f"{shop.address}/d/finra/p/{quote(key)}")
    for number, state in ((1, "Revised."), (0, "Captured.")):
        page.keyboard.press("[")
        page.wait_for_function(f"document.querySelector('.sub').textContent.includes({state!r}) && location.search")
        rows, _ = total(shop, key, captures[number]["capture_id"])
        assert rows == captures[number]["row_count"]
        assert f"{rows:,} rows" in page.locator("main").inner_text()
        assert page.locator(".caps li").count() == number + 1
    assert captures[1]["capture_id"] not in page.content()
    page.keyboard.press("]")
    page.wait_for_function("document.querySelector('.sub').textContent.includes('Revised.')")
    assert captures[1]["capture_id"] in page.content()
    assert said == []


def test_a_difference_moves_the_totals_as_it_says(opened: Open, shop: Shop) -> None:
    """The sums that a partition's page says have moved are those of the two moments."""
    key = shop.keys("revised")[0]
    before, after = (total(shop, key, each["capture_id"])[1] for each in shop.captures(key))
    page, _ = opened()
    page.goto(f"{shop.address}/d/finra/p/{quote(key)}")
    shown = page.locator(".facts.big li", has_text="share volume").inner_text().split()[-1]
    assert int(shown.replace("\N{MINUS SIGN}", "-").replace(",", "")) == after - before


def test_the_command_counts_as_many_rows_as_the_page(shop: Shop) -> None:
    """A statement on the page as of then has the answer of the command."""
    capture = shop.captures(shop.keys("revised")[0])[0]["capture_id"]
    sql = "SELECT COUNT(*) AS n FROM finra_otc_venue_volume"
    answer = httpx2.get(f"{shop.address}/query.csv", params={"sql": sql, "as_of": capture}, timeout=120).text
    assert answer == shop.run("query", sql, "--as-of", capture, "--format", "csv")


def test_the_grid_is_as_long_as_the_history(shop: Shop) -> None:
    """Asked for all, the grid begins with the oldest week that was ever loaded."""
    sql = "SELECT MIN(week_ending) FROM finra_otc_venue_volume"
    oldest = shop.run("query", sql, "--format", "csv").split()[-1]
    assert min(each["partition_key"] for each in shop.status[NAMES["finra"]]["partitions"])[:10] == oldest
