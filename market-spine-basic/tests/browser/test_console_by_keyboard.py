"""The console by keyboard alone."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.schema import TIERS

from .conftest import Open, Shop

if TYPE_CHECKING:
    from playwright.sync_api import Page

MOST_KEYS = 400


def focused(page: Page) -> str:
    """The accessible name of what has the focus."""
    name = "(each => each.matches('a, button, input, summary') ? each.ariaLabel || each.textContent : '')"
    return str(page.evaluate(f"{name}(document.activeElement)"))


def press_until(page: Page, key: str, wanted: str) -> None:
    """Press a key until the focus is on what is wanted; wherever it is on the way, it is seen."""
    for _ in range(MOST_KEYS):
        if wanted in focused(page):
            return
        page.keyboard.press(key)
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", focused(page)
    raise AssertionError(f"{wanted} was never reached")


def test_from_a_red_cell_to_its_command(opened: Open, own_shop: Shop) -> None:
    """Tab and arrows lead to the failed partition; its page says what to run, and then the cell is captured."""
    (failed,) = own_shop.keys("failed")
    page, said = opened()
    page.goto(own_shop.address + "/")
    press_until(page, "Tab", "Partitions")
    page.keyboard.press("Enter")
    page.wait_for_url("**/partitions")
    tier = failed.partition("|")[2]
    press_until(page, "Tab", "|NMS_TIER_1:")
    press_until(page, "ArrowDown", f"|{tier}:")
    press_until(page, "ArrowRight", failed)
    assert focused(page) == f"{failed}: failed"
    page.keyboard.press("Enter")
    page.wait_for_url("**/d/finra/p/*")
    assert page.locator(".sub").first.inner_text().startswith("Failed")
    command = shlex.split(page.locator(".cmds code", has_text="--partitions").inner_text())
    assert command[0] == "market-spine"
    repair(own_shop)
    environment = os.environ | {"FINRA_DATA_DIR": str(own_shop.folder / "data"), "DATABASE_URL": own_shop.db}
    subprocess.run(
        [sys.executable, "-m", "market_spine", *command[1:]], env=environment, capture_output=True, check=True
    )
    page.goto(page.url)
    assert page.locator(".sub").first.inner_text().startswith("Captured")
    page.goto(own_shop.address + "/d/finra/partitions")
    press_until(page, "Tab", "|NMS_TIER_1:")
    press_until(page, "ArrowDown", f"|{tier}:")
    press_until(page, "ArrowRight", failed)
    assert focused(page) == f"{failed}: captured"
    assert said == []


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until what a selector names has the focus."""
    for _ in range(MOST_KEYS):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"no Tab leads to {selector}")


def test_from_a_red_cell_to_a_captured_one(opened: Open, own_shop: Shop) -> None:
    """The failed partition is picked in the grid and loaded, its run is shown, and its cell is captured."""
    (failed,) = own_shop.keys("failed")
    repair(own_shop)
    page, said = opened()
    page.goto(own_shop.address + "/d/finra/partitions")
    assert page.locator(f"[aria-label='{failed}: failed']").count() == 1
    for box in page.locator("input[type=checkbox]").all():
        value = box.get_attribute("value")
        if box.is_checked() != (value == failed):
            tab_to(page, f"input[value='{value}']")
            page.keyboard.press("Space")
    tab_to(page, ".act form[action$='partitions'] button")
    page.keyboard.press("Enter")
    page.wait_for_url("**pick=**")
    assert f"--partitions '{failed}'" in page.locator(".act code").first.inner_text()
    tab_to(page, "form[action='/actions/backfill'] button:not([name])")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/*")
    assert "Success." in page.locator(".sub").inner_text()
    tab_to(page, "nav[aria-label=Main] a:nth-child(2)")
    page.keyboard.press("Enter")
    page.wait_for_url("**/partitions")
    assert page.locator(f"[aria-label='{failed}: captured']").count() == 1
    assert said == []


def repair(shop: Shop) -> None:
    """Publish the file whose place a web page took."""
    data = shop.folder / "data"
    (broken,) = [path for path in data.glob("*.csv") if path.read_bytes().startswith(b"<!DOCTYPE")]
    day = datetime.strptime(broken.stem[-8:], "%Y%m%d").replace(tzinfo=UTC).date()
    write_sample_data(data, weeks=1, tiers=TIERS, rows=120, seed=1, run_date=day, non_ats=True)


def test_steps_between_weeks_and_commits(opened: Open, shop: Shop) -> None:
    """H and l step between partitions, [ and ] between commits, and the slash goes to the search."""
    revised = shop.keys("revised")[0]
    grid = [each["partition_key"] for each in shop.status["finra.otc_transparency"]["partitions"]]
    line = [key for key in grid if key.endswith(revised.partition("|")[2])]
    later = line[line.index(revised) - 1]
    page, _ = opened()
    page.goto(f"{shop.address}/d/finra/p/{quote(revised)}")
    page.keyboard.press("l")
    page.wait_for_url(f"**{later[:10]}**")
    page.keyboard.press("h")
    page.wait_for_url(f"**{revised[:10]}**")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type(shop.keys("captured", "market_data")[0])
    page.keyboard.press("Enter")
    page.wait_for_url("**/d/prices/p/*")


def test_the_scheme_can_be_switched(opened: Open, shop: Shop) -> None:
    """The button switches between light and dark, and the next page remembers."""
    page, _ = opened()
    page.goto(shop.address + "/")
    colour = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(colour)
    page.locator("[data-theme-toggle]").press("Enter")
    dark = page.evaluate(colour)
    assert dark != light
    page.goto(shop.address + "/runs")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert page.evaluate(colour) == dark
