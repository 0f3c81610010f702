"""A real browser on a real console: where MARKET_SPINE_BROWSER names a Chromium, as ``make test-web`` does."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx2
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSER = os.environ.get("MARKET_SPINE_BROWSER", "")
REPOSITORY = Path(__file__).resolve().parents[3]

Scheme = Literal["light", "dark"]


class Shop:
    """The believable store of ``make demo-web``, its console as a process, and what the commands say of it."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.db = str(folder / "market_spine.db")
        self.address = address
        whole = httpx2.get(f"{address}/d/finra/partitions.json?range=all", timeout=120).json()
        self.weeks = len({each["partition_key"].partition("|")[0] for each in whole["partitions"]})
        told = json.loads(self.run("status", "--json", "--weeks", str(self.weeks)))
        self.status = {each["domain"]: each for each in told}

    def run(self, *arguments: str) -> str:
        """What a command writes."""
        command = [sys.executable, "-m", "market_spine", *arguments, "--db", self.db]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def keys(self, state: str, domain: str = "finra.otc_transparency") -> list[str]:
        """The partitions in a state, as the command says, newest first."""
        return [each["partition_key"] for each in self.status[domain]["partitions"] if each["state"] == state]

    def captures(self, key: str) -> list[dict[str, Any]]:
        """The captures of a partition, as the command says."""
        found: list[dict[str, Any]] = json.loads(self.run("captures", key, "--json"))["captures"]
        return found


@contextmanager
def served(db: Path, *flags: str) -> Iterator[str]:
    """Serve the console of a store, as a process of its own; it has to end well and to say nothing."""
    command = [sys.executable, "-m", "market_spine", "web", "--db", str(db), "--port", "0", *flags]
    settings = os.environ | {"FINRA_DATA_DIR": str(db.parent / "data"), "FINRA_SOURCE": "file"}
    with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("Market Spine console: ").strip()
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the store: made once, also for several workers."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = base / "shop"
    with (base / "shop.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            half = base / "half"
            command = [sys.executable, "scripts/demo_web.py", str(half), "--rows", "120"]
            subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
            half.rename(made)
    return made


@pytest.fixture(scope="session")
def shop(folder: Path) -> Iterator[Shop]:
    """The store and its console; nobody writes to it."""
    with served(folder / "market_spine.db") as address:
        yield Shop(folder, address)


@pytest.fixture
def own_shop(folder: Path, tmp_path: Path) -> Iterator[Shop]:
    """The same, for a test that writes; its pages may start commands."""
    own = tmp_path / "own"
    shutil.copytree(folder, own)
    with served(own / "market_spine.db", "--allow-actions") as address:
        yield Shop(own, address)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        # The pages are our own, and a container has no sandbox to give.
        found = player.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


Open = Callable[..., "tuple[Page, list[str]]"]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Open a page of a width and colour scheme; with it comes what its console will say."""
    contexts = []

    def make(width: int = 1280, scheme: Scheme = "light", *, scripts: bool = True) -> tuple[Page, list[str]]:
        context = browser.new_context(
            viewport={"width": width, "height": 860}, color_scheme=scheme, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        page.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
        return page, said

    yield make
    for context in contexts:
        context.close()
