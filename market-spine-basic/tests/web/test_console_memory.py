"""What pages have read is kept while the store is in one state, and no longer."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from market_spine.store import open_reader
from market_spine.web.memory import Answers, Recollection
from spine.domains.market_data.scheduler import run_prices_schedule

from .conftest import client_of, console_of

MORNING, NOON = datetime(2025, 1, 6, 9, tzinfo=UTC), datetime(2025, 1, 6, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store that does not exist yet, of either kind."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("new_postgres")())
    return str(tmp_path / "spine.db")


@pytest.mark.process
def test_what_another_process_commits_is_shown(database: str) -> None:
    """The next page shows what another process has committed since; the page of a moment before stays as it was."""

    def load(symbols: str) -> None:
        words = ["schedule", "prices", "--symbols", symbols, "--source", "mock", "--sleep", "0", "--db", database]
        command = [sys.executable, "-m", "market_spine", *words, "--run-date", "2025-12-22"]
        subprocess.run(command, check=True, capture_output=True)

    load("AAPL")
    console = console_of(database)
    visit = client_of(console)

    def shown(**query: str) -> dict[str, list[str]]:
        record = visit.get("/d/prices/partitions.json", params={"range": "all", **query}).json()
        first = visit.get("/index.json", params=query).json()
        return {
            "partitions": [each["partition_key"] for each in record["partitions"]],
            "strips": [each["partition_key"] for each in record["strips"]["rows"] if each["days"]],
            "overview": [
                p["partition_key"] for d in first["domains"] if d["domain"] == "prices" for p in d["partitions"]
            ],
        }

    before = shown()
    assert before == shown() == {key: ["AAPL|mock"] for key in before}
    with open_reader(console.url, console.all_domains) as store:
        latest = store.latest()
    assert latest is not None
    assert visit.get("/symbols/MSFT.json", params={"range": "all"}).status_code == 404
    load("MSFT")
    assert shown() == {key: ["AAPL|mock", "MSFT|mock"] for key in before}
    assert visit.get("/symbols/MSFT.json", params={"range": "all"}).status_code == 200
    with open_reader(console.url, console.all_domains) as store:
        now = store.latest()
        assert now is not None
        assert console.memory.known(store, "market_data", now) == store.known("market_data")
    assert shown(as_of=latest.isoformat()) == before


def test_another_history_is_read_whole(tmp_path: Path) -> None:
    """Of a file that another one took the place of, whose commits are later, nothing is known any more."""
    memory = Recollection()
    for symbol in ("AAPL", "MSFT"):
        place = str(tmp_path / f"{symbol}.db")
        run_prices_schedule(symbols=symbol, source="mock", sleep=0, db=place, run_date=date(2025, 12, 22))
        console = console_of(place)
        with open_reader(console.url, console.all_domains) as store:
            latest = store.latest()
            assert latest is not None
            assert list(memory.known(store, "market_data", latest)) == [f"{symbol}|mock"]


def test_a_state_is_asked_once() -> None:
    """One question is asked once for a state, again for another, and again where asking failed."""
    memory, asked = Recollection(), iter(range(10))
    assert [memory.of(None, MORNING).once("?", lambda: next(asked)) for _ in range(3)] == [0, 0, 0]
    assert memory.of(MORNING, NOON).once("?", lambda: next(asked)) == 1
    assert memory.of(None, NOON).once("?", lambda: next(asked)) == 2
    # The present of the morning has passed: nothing of it is kept.
    assert memory.of(None, MORNING).once("?", lambda: next(asked)) == 3
    assert [memory.of(None, None).once("?", lambda: next(asked)) for _ in range(2)] == [4, 5]
    answers = Answers()
    with pytest.raises(ZeroDivisionError):
        answers.once("!", lambda: 1 / 0)
    assert answers.once("!", lambda: 7.0) == 7.0


def test_little_is_kept() -> None:
    """Of many questions those asked long ago make room."""
    answers = Answers()
    for number in range(1_000):
        answers.once(number, lambda number=number: number)  # type: ignore[misc]
    assert answers.once(0, lambda: "again") == "again"
    assert answers.once(999, lambda: -1) == 999


def test_every_store_has_every_page(database: str) -> None:
    """Pages, their twins and what is asked in SQL are answered alike whichever database the store is in."""
    done = run_prices_schedule(symbols="AAPL,MSFT", source="mock", sleep=0, db=database, run_date=date(2025, 12, 22))
    visit = client_of(console_of(database))
    partition = visit.get("/d/prices/p/AAPL%7Cmock.json").json()
    run = visit.get(f"/runs/{done.run_id}.json").json()
    sql = "SELECT symbol, COUNT(*) AS bars FROM market_data_prices GROUP BY symbol ORDER BY symbol"
    answer = visit.get("/query.json", params={"sql": sql}).json()["answer"]
    assert partition["partition"]["row_count"] == dict(answer["rows"])["AAPL"] == 100
    assert (run["run"]["status"], len(answer["rows"])) == ("success", 2)
    for path in ("/", "/d/prices/partitions", "/runs", "/anomalies", "/changes", "/symbols", "/symbols/AAPL", "/query"):
        page = visit.get(path)
        assert (page.status_code, page.text[:15]) == (200, "<!DOCTYPE html>"), path
