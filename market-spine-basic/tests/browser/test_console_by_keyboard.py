"""The console by keyboard alone."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from ..web.conftest import FAILED, REVISED
from .test_console_for_everybody import opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def focused(page: Page) -> str:
    """The accessible name of what has the focus."""
    return str(page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"))


def test_from_the_first_page_to_the_red_cell(browser: Browser, address: str) -> None:
    """Tab and Enter lead from the overview to a failed partition, arrows through the grid, and focus is always seen."""
    page, said = opened(browser, 1280, "light")
    page.goto(address + "/d/finra/partitions")
    for _ in range(60):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", focused(page)
        if "|NMS_TIER_1:" in focused(page):
            break
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert "|OTC:" in focused(page)
    for _ in range(40):
        if FAILED in focused(page):
            break
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url("**/d/finra/p/*")
    assert page.locator("h1").inner_text().startswith(FAILED.partition("|")[0])
    assert said == []
    page.context.close()


def test_steps_between_weeks_and_commits(browser: Browser, address: str) -> None:
    """H and l step between partitions, [ and ] between commits, and the slash goes to the search."""
    page, _ = opened(browser, 1280, "light")
    page.goto(f"{address}/d/finra/p/{quote(REVISED)}")
    page.keyboard.press("l")
    page.wait_for_url("**2025-11-21**")
    page.keyboard.press("h")
    page.wait_for_url("**2025-11-14**")
    assert "Revised." in page.locator(".sub").inner_text()
    page.keyboard.press("[")
    page.wait_for_url("**as_of=**")
    page.keyboard.press("[")
    page.wait_for_function("document.querySelector('.sub').textContent.includes('Captured.')")
    assert page.locator(".caps li").count() == 1
    page.keyboard.press("]")
    page.wait_for_function("document.querySelector('.sub').textContent.includes('Revised.')")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("AAPL|mock")
    page.keyboard.press("Enter")
    page.wait_for_url("**/d/prices/p/AAPL*")
    page.context.close()


def test_the_scheme_can_be_switched(browser: Browser, address: str) -> None:
    """The button switches between light and dark, and the next page remembers."""
    page, _ = opened(browser, 1280, "light")
    page.goto(address + "/")
    colour = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(colour)
    page.locator("[data-theme-toggle]").press("Enter")
    dark = page.evaluate(colour)
    assert dark != light
    page.goto(address + "/runs")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert page.evaluate(colour) == dark
    page.context.close()
