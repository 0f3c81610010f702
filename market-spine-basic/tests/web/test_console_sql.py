"""SQL in the console: answers, limits, and what is saved."""

from __future__ import annotations

import csv
import io
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl
import pytest

from market_spine.web.pages import query
from market_spine.web.streaming import Abandoned, pieces

from .conftest import Story, client_of

if TYPE_CHECKING:
    from starlette.testclient import TestClient

RUNAWAY = "SELECT COUNT(*) FROM finra_otc_venue_volume a, finra_otc_venue_volume b, finra_otc_venue_volume c"
SLOW = f"{RUNAWAY}, finra_otc_venue_volume d"


def test_a_statement_is_answered(visit: TestClient) -> None:
    """Columns and rows of a statement, which stands in the page and in its address."""
    record = visit.get("/query.json", params={"sql": "SELECT 1 AS one, NULL AS none, 'a<b' AS text"}).json()
    assert record["answer"]["columns"] == ["one", "none", "text"]
    assert record["answer"]["rows"] == [[1, None, "a<b"]]
    page = visit.get("/query", params={"sql": "SELECT 'a<b' AS text"}).text
    assert "<td>a&lt;b</td>" in page
    assert "SELECT &#39;a&lt;b&#39; AS text</textarea>" in page


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM core_runs",
        "DROP TABLE core_manifest",
        "SELECT 1; SELECT 2",
        "ATTACH 'x.db'",
        "COPY (SELECT 1) TO 'x.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM nowhere",
        "PRAGMA database_list",
        "'",
        "\x00",
    ],
)
def test_a_statement_that_does_not_read_is_refused(visit: TestClient, statement: str) -> None:
    """Whatever is not one reading statement over the tables is told, on the page and where it is to be saved."""
    record = visit.get("/query.json", params={"sql": statement}).json()
    assert record["answer"]["error"]
    assert record["answer"]["rows"] == []
    assert visit.get("/query.csv", params={"sql": statement}).status_code == 400


def test_a_page_has_a_thousand_rows(visit: TestClient) -> None:
    """Of a long answer the page shows the first thousand, and says that there are more."""
    record = visit.get("/query.json", params={"sql": "SELECT * FROM finra_otc_venue_volume"}).json()
    assert (len(record["answer"]["rows"]), record["answer"]["more"]) == (1000, True)


def test_a_runaway_statement_ends(visit: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that would run for ever ends at its limit, and the console answers on."""
    monkeypatch.setattr(query, "SECONDS", 0.2)
    record = visit.get("/query.json", params={"sql": SLOW}).json()
    assert "took longer than 0.2 s" in record["answer"]["error"]
    assert visit.get("/healthz").status_code == 200


def test_what_is_saved_is_whole(visit: TestClient, story: Story) -> None:
    """CSV and Parquet have every row of the statement, as something to save."""
    sql = "SELECT week_ending, tier, symbol, share_volume FROM finra_otc_venue_volume ORDER BY 1, 2, 3, 4"
    answer = visit.get("/query.csv", params={"sql": sql})
    assert answer.headers["content-disposition"] == 'attachment; filename="query.csv"'
    rows = list(csv.reader(io.StringIO(answer.text)))
    frame = pl.read_parquet(io.BytesIO(visit.get("/query.parquet", params={"sql": sql}).content))
    assert rows[0] == frame.columns == ["week_ending", "tier", "symbol", "share_volume"]
    assert len(rows) - 1 == frame.height > 1000
    assert [float(row[3]) for row in rows[1:]] == frame["share_volume"].to_list()


def test_what_is_saved_has_bounds(visit: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than may be saved break the answer off: it is never taken for a whole one."""
    monkeypatch.setattr(query, "EXPORT_ROWS", 6000)
    many = "SELECT a.symbol FROM finra_otc_venue_volume a, finra_otc_market_week b LIMIT 12000"
    with pytest.raises(Exception, match="more than 6000 rows"):
        visit.get("/query.csv", params={"sql": many})
    monkeypatch.setattr(query, "EXPORT_ROWS", 50)
    assert visit.get("/query.csv", params={"sql": many}).status_code == 400
    assert visit.get("/query.csv", params={"sql": "SELECT 1"}).text == "1\n1\n"


def test_sql_can_be_off(story: Story) -> None:
    """A console without SQL has no page for it, in no form, and does not point to one."""
    visit = client_of(replace(story.console(), sql=False))
    for path in ("/query", "/query.json", "/query.csv", "/query.parquet"):
        assert visit.get(path, params={"sql": "SELECT 1"}).status_code == 404
    assert 'href="/query' not in visit.get("/").text


def test_pieces_come_in_order_and_raise_what_made_them_raise() -> None:
    """Pieces are those that were made; an error comes after them."""

    def make(give: object) -> None:
        assert callable(give)
        for number in range(20):
            give(b"%d" % number)
        raise ValueError("broken")

    stream = pieces(make)
    assert [next(stream) for _ in range(20)] == [b"%d" % number for number in range(20)]
    with pytest.raises(ValueError, match="broken"):
        next(stream)


def test_nobody_makes_pieces_that_nobody_takes() -> None:
    """When the reader goes away, the next piece raises in the thread that makes them."""
    ended = threading.Event()

    def make(give: object) -> None:
        assert callable(give)
        try:
            while True:
                give(b"x")
        except Abandoned:
            ended.set()
            raise

    stream = pieces(make)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert ended.wait(timeout=60)
