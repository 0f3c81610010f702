"""Every page in a real browser: for all eyes and hands, on desks and phones, in light and dark."""

from __future__ import annotations

import re
import subprocess
from html import unescape
from typing import TYPE_CHECKING, get_args
from urllib.parse import quote

import httpx2
import pytest

from market_spine.web.app import PAGES

from .conftest import Open, Scheme, Shop
from .places import PLACES

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTHS = (1280, 390)
EXPANDED = 4
"""Pages of one kind whose links are followed."""


@pytest.mark.parametrize("place", PLACES)
def test_a_page_is_for_everybody(opened: Open, shop: Shop, place: str) -> None:
    """No accessibility finding, nothing on the console under the strict policy, nothing that overflows."""
    page, said = opened()
    answer = page.goto(shop.address + PLACES[place](shop))
    assert answer is not None
    assert answer.status == 200
    assert faults_of(page) == []
    assert said == []


def faults_of(page: Page) -> list[str]:
    """What keeps somebody from a page, in both schemes and widths."""
    from axe_playwright_python.sync_playwright import Axe

    faults = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 860})
        for scheme in get_args(Scheme):
            page.emulate_media(color_scheme=scheme)
            faults += [
                f"{width} {scheme} {each['id']}: {node['html'][:200]}"
                for each in Axe().run(page).response["violations"]
                for node in each["nodes"]
            ]
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if over > 0:
            faults.append(f"{width}: {over} px too wide")
    return faults


def test_a_job_is_for_everybody(opened: Open, own_shop: Shop) -> None:
    """A page that watches a command says by itself that it has ended, and what came of it is there for everybody."""
    (failed,) = own_shop.keys("failed")
    page, said = opened()
    page.goto(f"{own_shop.address}/d/finra/partitions?pick={quote(failed)}")
    page.locator("form[action='/actions/backfill'] button[name]").click()
    page.wait_for_url("**/jobs/*")
    page.locator("h1", has_text="Ended").wait_for(timeout=120_000)
    assert faults_of(page) == []
    assert said == []


@pytest.mark.parametrize("place", PLACES)
def test_a_page_is_valid_html(shop: Shop, place: str) -> None:
    """HTML Tidy has no error and no warning to tell of a page."""
    text = httpx2.get(shop.address + PLACES[place](shop), timeout=120).text
    command = ["tidy", "-quiet", "-errors", "-utf8", "--drop-empty-elements", "no", "--mute-id", "yes"]
    # It warns of what HTML allows: an empty element, a summary that is not alone, names of SVG.
    muted = "TRIM_EMPTY_ELEMENT,MISSING_ATTRIBUTE,PROPRIETARY_ATTRIBUTE"
    done = subprocess.run([*command, "--mute", muted], input=text, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    names = re.findall(r'\sid="([^"]*)"', text)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("place", PLACES)
def test_a_page_needs_no_script(opened: Open, shop: Shop, place: str) -> None:
    """Without JavaScript a page has the same headings and links, and no button that does nothing."""
    found = []
    for scripts in (True, False):
        page, _ = opened(scripts=scripts)
        page.goto(shop.address + PLACES[place](shop))
        found.append([page.locator(each).all_text_contents() for each in ("h1, h2", "main a")])
    assert found[0] == found[1]
    assert {each.get_attribute("type") for each in page.locator("button:visible").all()} <= {"submit"}


KINDS = (
    # What goes on is seen by those who start it: test_console_by_keyboard does.
    *(page.path for page in PAGES if page.path != "/jobs/{job}"),
    *(path for sort in ("symbols", "venues") for path in (f"/{sort}", f"/{sort}/{{name:path}}")),
)


def kind_of(path: str) -> str:
    """The kind of page that a path without a query belongs to: of several that fit, the plainest."""
    return next((kind for kind in sorted(KINDS, key=lambda kind: kind.count("{")) if fits(kind, path)), path)


def fits(kind: str, path: str) -> bool:
    """Whether a path is one of a kind."""
    parts = [".+" if ":path" in part else "[^/]+" if "{" in part else re.escape(part) for part in kind.split("/")]
    return re.fullmatch("/".join(parts), path) is not None


def test_every_kind_of_page_is_looked_at(shop: Shop) -> None:
    """No page of the console is left out of these tests."""
    looked = {kind_of(place(shop).partition("?")[0]) for place in PLACES.values()}
    assert set(KINDS) <= looked


def test_no_link_is_dead(shop: Shop) -> None:
    """Every address that the console links to answers, however one comes there."""
    waiting = ["/"]
    answered: dict[str, int] = {}
    expanded: dict[str, int] = {}
    with httpx2.Client(base_url=shop.address, timeout=120) as client:
        while waiting:
            link = waiting.pop()
            if link in answered:
                continue
            answer = client.get(link)
            answered[link] = answer.status_code
            kind = kind_of(link.partition("?")[0]) + "?" * ("?" in link)
            if "html" not in answer.headers.get("content-type", "") or expanded.get(kind, 0) >= EXPANDED:
                continue
            expanded[kind] = expanded.get(kind, 0) + 1
            waiting += map(unescape, re.findall(r'(?:href|src|action)="(/[^"]*)"', answer.text))
    assert {link: status for link, status in answered.items() if status not in (200, 303)} == {}
    assert len(answered) > 300
