"""A real browser on a real console. Runs where MARKET_SPINE_BROWSER names a Chromium, as ``make test-web`` does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from market_spine.simulation import running
from market_spine.web.app import application

from ..web.conftest import Story

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSER = os.environ.get("MARKET_SPINE_BROWSER", "")
if not BROWSER:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The store with a history; nobody writes to it."""
    return Story(tmp_path_factory.mktemp("story"))


@pytest.fixture(scope="session")
def address(story: Story) -> Iterator[str]:
    """Where the console over the story is served."""
    with running(application(story.console())) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        # The pages are our own, and a container has no sandbox to give.
        found = player.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()
