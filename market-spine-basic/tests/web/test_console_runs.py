"""Runs, anomalies, changes, captures, the calendar and the search of the console."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from .conftest import FAILED, HELD, REVISED, WARNED, Story

if TYPE_CHECKING:
    from starlette.testclient import TestClient


def test_a_run_is_its_contract(visit: TestClient, story: Story) -> None:
    """The page of a run has the very result that its scheduler answered with, failures first."""
    record = visit.get(f"/runs/{story.broken.run_id}.json").json()
    assert record["result"] == json.loads(story.broken.to_json())
    assert {each["partition_key"] for each in record["failed"]} >= {FAILED, HELD}
    skipped = {each["reason"]: set(each["partition_keys"]) for each in record["skipped"]}
    assert REVISED in skipped["same_bytes"]
    assert sum(each["count"] for each in record["skipped"]) == sum(
        each.status == "skipped" for each in story.broken.runs
    )
    page = visit.get(f"/runs/{story.broken.run_id}").text
    assert page.index("Failed</h2>") < page.index("Done</h2>") < page.index("Skipped, by reason</h2>")


def test_runs_come_a_page_at_a_time(visit: TestClient) -> None:
    """Following the link to older runs meets every run once, newest first."""
    every = [each["run_id"] for each in visit.get("/runs.json").json()["runs"]]
    assert len(every) == 4
    met: list[str] = []
    before = ""
    while True:
        record = visit.get(f"/runs.json?limit=1&before={before}").json()
        met += [each["run_id"] for each in record["runs"]]
        if record["next"] is None:
            break
        before = record["next"]
    assert met == every


def test_anomalies_are_those_of_the_command(
    visit: TestClient, story: Story, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page lists what ``market-spine anomalies --json`` lists, and counts it by kind."""
    from market_spine.cli.main import root, run

    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert run(root, ["anomalies", "--db", story.db, "--json"], "market-spine") == 0
    said = {(each["partition_key"], each["kind"]) for each in json.loads(capsys.readouterr().out)}
    record = visit.get("/anomalies.json").json()
    assert {(each["partition_key"], each["kind"]) for each in record["anomalies"]} == said
    # On the very day of its publication a partition that is not there is not late yet.
    assert {key for key, _ in said} == {FAILED, HELD, WARNED}
    assert record["counts"]["open"] == len(said) == sum(record["kinds"].values())
    (refused,) = visit.get("/anomalies.json?kind=html").json()["anomalies"]
    assert refused["partition_key"] == FAILED


def test_changes_lie_between_their_moments(visit: TestClient) -> None:
    """The restatements shown are those after the first moment, up to the second and including it."""
    record = visit.get("/changes.json?since=2025-12-16&until=2025-12-17").json()
    assert {each["partition_key"] for each in record["restatements"]} == {
        f"2025-11-14|{tier}" for tier in ("NMS_TIER_1", "NMS_TIER_2", "OTC")
    }
    moment = max(each["committed_at"] for each in record["restatements"])
    until = visit.get("/changes.json", params={"since": "2025-12-16", "until": moment}).json()
    assert len(until["restatements"]) == 3
    after = visit.get("/changes.json", params={"since": moment, "until": "2025-12-23"}).json()
    assert after["restatements"] == []
    assert visit.get("/changes?since=2025-12-20&until=2025-12-10").status_code == 400


def test_compared_totals_are_those_of_the_difference(visit: TestClient) -> None:
    """Totals before and after differ by what the partition's own page says that its sums moved."""
    record = visit.get("/changes.json?since=2025-12-16&until=2025-12-17&rows=compare").json()
    totals = {
        each["column"]: each["after"] - each["before"]
        for each in record["totals"]
        if each["partition_key"] == REVISED and each["table"] == "finra_otc_venue_volume"
    }
    own = visit.get(f"/d/finra/p/{quote(REVISED)}.json").json()["difference"]["totals"]
    assert totals == pytest.approx({each["column"]: each["moved"] for each in own})
    assert record["movers"]
    sizes = [abs(each["by"]) for each in record["movers"]]
    assert sizes == sorted(sizes, reverse=True)


def test_a_captured_page_is_saved_and_never_shown(visit: TestClient, story: Story) -> None:
    """The bytes of a part are those of the file, given as something to save."""
    record = visit.get("/captures/finra.otc_transparency:OTC:2025-11-14:20251215.json").json()
    (part,) = [each for each in record["capture"]["parts"] if each["name"] == "NON_ATS"]
    answer = visit.get(f"/payloads/{part['sha256']}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == f'attachment; filename="{part["sha256"]}.bin"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    import hashlib

    assert hashlib.sha256(answer.content).hexdigest() == part["sha256"]
    assert len(answer.content) == part["size"]


@pytest.mark.parametrize("name", ["0" * 64, "0" * 63, "x" * 64, "..%2f..%2fetc%2fpasswd", "A" * 64])
def test_no_other_bytes_are_given(visit: TestClient, name: str) -> None:
    """What is no digest of a kept payload leads to nothing."""
    assert visit.get(f"/payloads/{name}").status_code in (404, 503)


def test_refused_rows_are_shown(visit: TestClient, story: Story) -> None:
    """A capture's page has the row that was refused, its line and its rule."""
    record = visit.get("/captures/finra.otc_transparency:NMS_TIER_1:2025-12-05:20251222.json").json()
    (row,) = record["rejects"]
    line = (Path(story.data) / "finra_otc_weekly_tier1_20251222.csv").read_text("utf-8").splitlines()[5]
    assert (row["part"], row["line"], row["raw"]) == ("ATS", 6, line)


def test_the_calendar_is_the_commands(visit: TestClient) -> None:
    """Days and partitions ahead, and as iCalendar an event for each day."""
    record = visit.get("/calendar.json?count=6").json()
    # 22 December was Monday's publication; the next Monday is the 29th.
    assert record["days"][0]["day"] == "2025-12-29"
    assert {each["partition_key"] for each in record["days"][0]["partitions"]} == {
        "2025-12-12|NMS_TIER_1",
        "2025-11-28|NMS_TIER_2",
        "2025-11-28|OTC",
    }
    answer = visit.get("/calendar.ics")
    assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
    lines = answer.text.split("\r\n")
    assert all(len(line.encode()) <= 75 for line in lines)
    assert "DTSTART;VALUE=DATE:20251229" in lines
    assert (
        lines.count("BEGIN:VEVENT")
        == lines.count("END:VEVENT")
        == len({line for line in lines if line.startswith("UID:")})
    )


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("2025-11-14|OTC", "/d/finra/p/2025-11-14%7COTC"),
        (
            "finra.otc_transparency:OTC:2025-11-14:20251216",
            "/captures/finra.otc_transparency%3AOTC%3A2025-11-14%3A20251216",
        ),
        ("AAPL|mock", "/d/prices/p/AAPL%7Cmock"),
    ],
)
def test_a_search_goes_where_its_text_names(visit: TestClient, text: str, there: str) -> None:
    """A whole key or id leads straight to its page."""
    answer = visit.get("/search", params={"q": text})
    assert (answer.status_code, answer.headers["location"]) == (303, there)
    assert visit.get(there).status_code == 200


def test_a_search_for_a_run(visit: TestClient, story: Story) -> None:
    """A run is found by its id."""
    answer = visit.get("/search", params={"q": story.broken.run_id})
    assert answer.headers["location"] == f"/runs/{story.broken.run_id}"


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "\u202eabc", "'; DROP TABLE core_runs; --", "%00", "a" * 5000]
)
def test_a_hostile_search_finds_nothing(visit: TestClient, text: str) -> None:
    """Whatever is searched for is text: it is shown escaped, and nothing is found."""
    answer = visit.get("/search", params={"q": text})
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert "Nothing is called that." in answer.text
