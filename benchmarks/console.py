"""The console on five years of three tiers and 500 symbols: how long each page takes, and what readers cost a load.

A page's time is that of whoever asks, over loopback; the server's own is a little less.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

from cases import RUN_DATE, Bar, Bench, Report
from measure import Contender, Measured, Sample, environment, prepare, run_once

WEEKS, ROWS, SYMBOLS = 260, 500, 500
READERS, PAUSE = 50, 10.0
"""Readers beside a load, and how many seconds each looks at a page."""
SPINE = [sys.executable, "-m", "market_spine"]
KEY = "2025-06-06|OTC"
SYMBOL = "QFSNY"
"""A symbol of nearly every week; its prices are loaded, too."""
THEN = f"finra.otc_transparency:OTC:2025-06-06:{RUN_DATE.replace('-', '')}"
PAGES = {
    "overview": "/",
    "grid": "/d/finra/partitions",
    "grid, five years": "/d/finra/partitions?range=all",
    "strips": "/d/prices/partitions",
    "strips, all sessions": "/d/prices/partitions?range=all",
    "partition": f"/d/finra/p/{quote(KEY)}",
    "series": f"/d/prices/p/{SYMBOL}%7Cmock",
    "runs": "/runs",
    "anomalies": "/anomalies",
    "changes": "/changes",
    "calendar": "/calendar",
    "symbols": "/symbols",
    "symbol": f"/symbols/{SYMBOL}",
    "symbol, five years": f"/symbols/{SYMBOL}?range=5y",
    "venues": "/venues",
    "search": "/search?q=2025-06",
    "SQL": "/query",
    "overview then": f"/?as_of={quote(THEN)}",
    "grid then": f"/d/finra/partitions?as_of={quote(THEN)}",
}


def store(bench: Bench) -> Path:
    """A folder with the store and its files."""
    folder = bench.work / "console"
    weeks, rows, count = (max(12, round(each * bench.scale)) for each in (WEEKS, ROWS, SYMBOLS))
    sample = ["sample-data", "finra", "--out", "data", "--weeks", str(weeks), "--rows", str(rows)]
    prepare([*SPINE, *sample, "--run-date", RUN_DATE], folder)
    prepare([*SPINE, *load("--weeks", "all", "--force")], folder)
    symbols = ["".join(each) for each in itertools.islice(itertools.product("ABCDEFGH", repeat=3), count)]
    (folder / "symbols.txt").write_text("\n".join([SYMBOL, *symbols[1:]]), "utf-8")
    prices = ["schedule", "prices", "--symbols-file", "symbols.txt", "--max-symbols", str(count), "--source", "mock"]
    prices += ["--from", "260w", "--sleep", "0", "--db", "spine.db", "--run-date", RUN_DATE]
    prepare([*SPINE, *prices], folder)
    prepare([*SPINE, *sample[:-4], "--weeks", "12", *sample[-2:], "--run-date", RUN_DATE, "--revise"], folder)
    return folder


def load(*chosen: str) -> list[str]:
    """The weekly load."""
    return ["schedule", "finra", "--data-dir", "data", "--db", "spine.db", "--run-date", RUN_DATE, *chosen]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the console of a folder's store."""
    command = [*SPINE, "web", "--db", "spine.db", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().rpartition(" ")[2].strip()
        finally:
            process.terminate()


def first_page(folder: Path) -> float:
    """Seconds from the command to the first page."""
    started = time.perf_counter()
    with served(folder) as address:
        ask(address, "/")
        return time.perf_counter() - started


def ask(address: str, path: str) -> float:
    """Seconds until a page is there."""
    parts = urlsplit(address)
    assert parts.hostname is not None
    connection = HTTPConnection(parts.hostname, parts.port, timeout=120)
    started = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    taken = time.perf_counter() - started
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status}: {body[:400]!r}")
    return taken


def first_looks(folder: Path, rounds: int) -> dict[str, float]:
    """Milliseconds until each page is there where nothing is kept that pages share but what those before it needed."""
    least = dict.fromkeys(PAGES, float("inf"))
    for _ in range(rounds):
        with served(folder) as address:
            for name, path in PAGES.items():
                least[name] = min(least[name], ask(address, path) * 1000)
    return least


def slowest(times: list[float]) -> float:
    """The 95th of a hundred, in milliseconds."""
    return sorted(times)[min(len(times) - 1, round(len(times) * 0.95))] * 1000


@contextmanager
def readers(folder: Path, asked: list[float], failed: list[str]) -> Iterator[None]:
    """Fifty people who look at one page after the other."""
    ended = threading.Event()

    def look(number: int, address: str) -> None:
        paths = list(PAGES.values())
        ended.wait(PAUSE * number / READERS)
        for turn in itertools.count(number):
            if ended.is_set():
                return
            try:
                asked.append(ask(address, paths[turn % len(paths)]))
            except (OSError, SystemExit) as error:
                failed.append(str(error))
            ended.wait(PAUSE)

    with served(folder) as address:
        # Whoever begins to read beside a load has a console that has been there for longer than the load.
        for path in PAGES.values():
            ask(address, path)
        threads = [threading.Thread(target=look, args=(number, address)) for number in range(READERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def console(bench: Bench) -> Report:
    """Every page of the console, and a load that restates a week of each tier while fifty people look."""
    folder = store(bench)
    started = [first_page(folder) for _ in range(bench.rounds(5))]
    with served(folder) as address:
        times = {name: [ask(address, path) for _ in range(41)][1:] for name, path in PAGES.items()}
    looks = first_looks(folder, bench.rounds(5))
    loads: dict[str, list[Sample]] = {"nobody reads": [], f"{READERS} people read": []}
    asked: list[float] = []
    failed: list[str] = []
    contender = Contender("load", [*SPINE, *load("--lookback-weeks", "12")])
    for _ in range(bench.rounds(5)):
        for name, samples in loads.items():
            copy = bench.work / "copy"
            shutil.copytree(folder, copy)
            if name == "nobody reads":
                samples.append(run_once(contender, copy))
            else:
                with readers(copy, asked, failed):
                    samples.append(run_once(contender, copy))
            shutil.rmtree(copy)
    measured = {name: Measured(name, samples) for name, samples in loads.items()}
    alone, beside = measured.values()
    return Report(
        f"The console on {WEEKS} weeks of three tiers and {SYMBOLS} symbols",
        measured,
        [
            *(Bar(f"p95 of the page: {name}", slowest(each), 150, unit=" ms") for name, each in times.items()),
            Bar("the first page after the command", min(started), 2, unit=" s"),
            Bar("a load while people read", beside.wall / alone.wall, 1.1),
            Bar("pages that failed meanwhile", len(failed), 0, unit=""),
        ],
        notes=[
            f"{len(asked)} pages were read beside the loads, 95 of 100 within {slowest(asked):.0f} ms",
            "first looks: " + ", ".join(f"{name} {taken:.0f} ms" for name, taken in looks.items()),
            *failed[:3],
        ],
    )
