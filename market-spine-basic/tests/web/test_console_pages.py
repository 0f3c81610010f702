"""What the pages of the console show, compared with what the commands say."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import polars as pl
import pytest

from .conftest import BROKEN, FAILED, HELD, LATE, NOW, REVISED, WARNED, Story, client_of, console_of

if TYPE_CHECKING:
    from starlette.testclient import TestClient

PAGES = (
    "/",
    "/d/finra/partitions",
    "/d/finra/partitions?range=1y",
    "/d/finra/partitions?range=all&state=late,held",
    "/d/prices/partitions",
    *(f"/d/finra/p/{quote(key)}" for key in (LATE, FAILED, HELD, REVISED, WARNED, "2025-12-19|OTC")),
    "/d/prices/p/AAPL%7Cmock",
    "/captures/finra.otc_transparency:OTC:2025-11-14:20251216",
    "/captures/finra.otc_transparency:NMS_TIER_1:2025-12-05:20251222",
    "/runs",
    "/runs?domain=prices&limit=1",
    "/anomalies",
    "/anomalies?state=all&kind=late",
    "/changes?since=2025-12-01&until=2025-12-23",
    "/changes?since=2025-12-16&until=2025-12-23&rows=compare",
    "/calendar",
    "/search",
    "/search?q=2025-11",
    "/symbols",
    "/venues",
    "/symbols/AAPL",
    "/venues/OTCX?range=all",
    "/query",
    "/query?sql=SELECT+*+FROM+finra_otc_market_week",
    "/query?sql=SELECT",
)


def twin(path: str) -> str:
    """The address of a page's JSON."""
    stem, mark, query = path.partition("?")
    return ("/index" if stem == "/" else stem) + ".json" + mark + query


@pytest.mark.parametrize("path", PAGES)
def test_a_page_and_its_twin(visit: TestClient, path: str) -> None:
    """Each page is HTML without a script or style of its own, and under .json the record that it shows."""
    page = visit.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert re.findall(r"<style|<script(?! src=\"/static/)|\sstyle=|\son\w+=|javascript:", page.text) == []
    record = visit.get(twin(path))
    assert record.headers["content-type"] == "application/json"
    assert record.json()["today"] == NOW.date().isoformat()


@pytest.mark.parametrize("path", PAGES)
def test_every_link_leads_somewhere(visit: TestClient, path: str) -> None:
    """What a page links to on the console is there."""
    found = set(re.findall(r'(?:href|src)="(/[^"]*)"', visit.get(path).text))
    assert found
    answers = {link: visit.get(link.replace("&amp;", "&")).status_code for link in sorted(found)[:40]}
    assert {link: status for link, status in answers.items() if status != 200} == {}


def test_counts_are_those_of_status(
    visit: TestClient, story: Story, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grid has the partitions, states and counts of ``market-spine status --json``."""
    from market_spine.cli.main import root, run

    monkeypatch.delenv("DATABASE_URL", raising=False)
    arguments = ["status", "--db", story.db, "--json", "--weeks", "30", "--run-date", NOW.date().isoformat()]
    assert run(root, [*arguments, "--domain", "finra"], "market-spine") == 0
    (said,) = json.loads(capsys.readouterr().out)
    shown = visit.get("/d/finra/partitions.json").json()
    assert {name: shown[name] for name in ("counts", "partitions")} == {
        name: said[name] for name in ("counts", "partitions")
    }
    states = {each["partition_key"]: each["state"] for each in shown["partitions"]}
    assert {key: states[key] for key in (LATE, FAILED, HELD, REVISED, WARNED)} == {
        LATE: "late",
        FAILED: "failed",
        HELD: "held",
        REVISED: "revised",
        WARNED: "warned",
    }


def test_the_overview_says_what_needs_attention(visit: TestClient) -> None:
    """The first page counts what is late, failed or held, and says of each why and what to do."""
    record = visit.get("/index.json").json()
    assert record["headline"] == "3 partitions need attention"
    told = {each["partition_key"]: each for each in record["attention"]}
    assert set(told) == {LATE, FAILED, HELD, WARNED}
    assert told[FAILED]["state"] == "failed"
    assert "is a web page" in told[FAILED]["why"]
    assert all(each["why"] and each["todo"] for key, each in told.items() if key != WARNED)
    assert "<h1>3 partitions need attention</h1>" in visit.get("/").text


def test_the_overview_draws_the_course_of_prices(visit: TestClient) -> None:
    """Each symbol has the closes that its own page draws, the latest last."""
    (prices,) = [each for each in visit.get("/index.json").json()["domains"] if each["domain"] == "prices"]
    assert [each["partition_key"] for each in prices["sparks"]] == ["AAPL|mock", "MSFT|mock"]
    panels = visit.get("/symbols/AAPL.json?range=26w").json()["panels"]
    (close,) = [panel for panel in panels if panel["value"] == "close"]
    assert prices["sparks"][0]["course"] == [value for _, value in close["lines"][0]["points"]]


def test_captured_markup_is_text(visit: TestClient) -> None:
    """What a captured web page says is shown as text."""
    page = visit.get(f"/d/finra/p/{quote(FAILED)}").text
    assert "&lt;!DOCTYPE html&gt;" in page
    assert "<script>alert" not in page


def test_a_held_partition_shows_what_accepting_would_change(visit: TestClient) -> None:
    """The difference of a held partition compares its current capture with the one that is held."""
    record = visit.get(f"/d/finra/p/{quote(HELD)}.json").json()
    found = record["difference"]
    assert (found["to_status"], found["from_status"]) == ("held", "current")
    assert (found["added"], found["changed"]) == (0, 0)
    # Of 120 rows in each of two files, the first 29 were left.
    assert found["removed"] == 2 * (120 - 29)
    assert found["unlisted"] == found["removed"] - len(found["rows"])
    assert any("market-spine accept" in each["command"] for each in record["commands"])
    assert [each["status"] for each in record["captures"]] == ["held", "current"]


def test_a_revised_partition_has_two_captures_and_every_check(visit: TestClient) -> None:
    """The timeline of a restated partition has both captures and a check for each run."""
    record = visit.get(f"/d/finra/p/{quote(REVISED)}.json").json()
    assert [each["is_revision"] for each in record["timeline"]["captures"]] == [False, True]
    assert [each["status"] for each in record["timeline"]["checks"]] == ["completed", "completed", "skipped"]
    assert record["timeline"]["due"] == "2025-12-15"
    moved = {each["column"]: each["moved"] for each in record["difference"]["totals"]}
    assert moved == _independent_sums(record["difference"])


def _independent_sums(difference: dict[str, object]) -> dict[str, float]:
    rows = difference["rows"]
    assert isinstance(rows, list)
    found = dict.fromkeys(("share_volume", "trade_count"), 0.0)
    for row in rows:
        for name in found:
            found[name] += ((row["new"] or {}).get(name) or 0) - ((row["old"] or {}).get(name) or 0)
    return found


def test_a_grid_is_a_table_too(visit: TestClient) -> None:
    """The grid's partitions come as CSV and as Parquet, a row for each."""
    record = visit.get("/d/finra/partitions.json").json()
    answer = visit.get("/d/finra/partitions.csv")
    assert answer.headers["content-disposition"].startswith("attachment;")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["partition_key"] for row in rows] == [each["partition_key"] for each in record["partitions"]]
    frame = pl.read_parquet(io.BytesIO(visit.get("/d/finra/partitions.parquet").content))
    assert frame["state"].to_list() == [each["state"] for each in record["partitions"]]


def test_prices_are_strips_of_sessions(visit: TestClient) -> None:
    """A symbol's strip has the sessions that have a bar, run by run, and what is missing in between."""
    record = visit.get("/d/prices/partitions.json").json()["strips"]
    assert [each["partition_key"] for each in record["rows"]] == ["AAPL|mock", "MSFT|mock"]
    for row in record["rows"]:
        # The compact load has a hundred sessions, up to the last before the console's day.
        assert (row["days"], row["missing"], row["last"]) == (100, 0, "2025-12-22")
        assert sum(run["length"] for run in row["runs"]) == record["sessions"] == 100
    page = visit.get("/d/prices/partitions").text
    assert page.count('class="there"') == 2


def test_a_filter_keeps_the_counts(visit: TestClient) -> None:
    """Filtering by state lists the reasons of those partitions alone, and leaves the counts as they are."""
    whole = visit.get("/d/finra/partitions.json").json()
    only = visit.get("/d/finra/partitions.json?state=late,held").json()
    assert only["counts"] == whole["counts"]
    assert {each["partition_key"] for each in only["reasons"]} == {LATE, HELD}


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/d/finra/partitions?state=blue", 400, "is none of failed, held"),
        ("/d/finra/partitions?range=2", 400, "is none of 30, 1y, all"),
        ("/d/nowhere/partitions", 404, "there is no domain"),
        ("/d/finra/p/2025-11-20%7COTC", 404, "a week ends on its Friday"),
        ("/d/finra/p/2025-11-21%7COTC?from=x", 404, "is no capture of this partition"),
        ("/nothing", 404, "there is no page"),
    ],
)
def test_a_wrong_address_is_told(visit: TestClient, path: str, status: int, words: str) -> None:
    """An address that means nothing gets a page that says what is wrong, and its twin says it as JSON."""
    page = visit.get(path)
    assert page.status_code == status
    assert words.lower() in page.text.lower()
    answer = visit.get(twin(path))
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"kind", "message", "hint"}


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    """Without a store the pages say that nothing has been loaded, and nothing is created."""
    path = tmp_path / "none.db"
    visit = client_of(console_of(str(path)))
    assert "<h1>Nothing has been loaded yet</h1>" in visit.get("/").text
    assert visit.get("/d/prices/partitions").status_code == 200
    assert visit.get("/healthz").text == "ok\n"
    ready = visit.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert not path.exists()


def test_readiness(visit: TestClient) -> None:
    """A store that can be read is ready."""
    assert visit.get("/readyz").json() == {"ready": True}


def test_pages_write_nothing(visit: TestClient, story: Story) -> None:
    """Reading every page leaves the store as it was, byte for byte."""
    before = Path(story.db).read_bytes()
    for path in PAGES:
        visit.get(path)
    assert Path(story.db).read_bytes() == before
    assert story.broken.started_at.date() == BROKEN
