"""Every page in a real browser: for all eyes and hands, on desks and phones, in light and dark."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Literal

import httpx2
import pytest

from ..web.test_console_pages import PAGES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Scheme = Literal["light", "dark"]


def opened(browser: Browser, width: int, scheme: Scheme, *, scripts: bool = True) -> tuple[Page, list[str]]:
    """A page of a width and colour scheme, and what its console will say."""
    context = browser.new_context(
        viewport={"width": width, "height": 860}, color_scheme=scheme, java_script_enabled=scripts
    )
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
    return page, said


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_for_everybody(browser: Browser, address: str, path: str, scheme: Scheme, width: int) -> None:
    """No accessibility finding, nothing on the console under the strict policy, nothing that overflows."""
    from axe_playwright_python.sync_playwright import Axe

    page, said = opened(browser, width, scheme)
    page.goto(address + path)
    findings = [
        f"{each['id']}: {node['html'][:200]}"
        for each in Axe().run(page).response["violations"]
        for node in each["nodes"]
    ]
    assert findings == []
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.context.close()


def test_no_link_is_dead(address: str) -> None:
    """Every address that a page of the console links to answers."""
    links: dict[str, str] = {}
    with httpx2.Client(base_url=address, timeout=120) as client:
        for path in PAGES:
            for link in re.findall(r'(?:href|src|action)="(/[^"]*)"', client.get(path).text):
                links.setdefault(link.replace("&amp;", "&"), path)
        assert len(links) > 100
        dead = {
            link: (status, origin)
            for link, origin in links.items()
            if (status := client.get(link).status_code) not in (200, 303)
        }
    assert dead == {}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_valid_html(address: str, path: str) -> None:
    """HTML Tidy has no error and no warning to tell of a page."""
    text = httpx2.get(address + path, timeout=120).text
    command = ["tidy", "-quiet", "-errors", "-utf8", "--drop-empty-elements", "no", "--mute-id", "yes"]
    # It warns of what HTML allows: an empty element, a summary that is not alone, names of SVG.
    muted = "TRIM_EMPTY_ELEMENT,MISSING_ATTRIBUTE,PROPRIETARY_ATTRIBUTE"
    done = subprocess.run([*command, "--mute", muted], input=text, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("path", PAGES)
def test_a_page_needs_no_script(browser: Browser, address: str, path: str) -> None:
    """Without JavaScript a page has the same headings and links, and no button that does nothing."""
    page, _ = opened(browser, 1280, "light")
    page.goto(address + path)
    plain, _ = opened(browser, 1280, "light", scripts=False)
    plain.goto(address + path)
    for each in ("h1, h2", "main a"):
        assert plain.locator(each).all_inner_texts() == page.locator(each).all_inner_texts()
    assert [button.get_attribute("type") for button in plain.locator("button:visible").all()] == [
        "submit" for _ in plain.locator("button:visible").all()
    ]
    page.context.close()
    plain.context.close()
