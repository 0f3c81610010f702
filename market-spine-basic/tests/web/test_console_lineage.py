"""What stands around a partition, and what was restated of a symbol: the numbers are those of the commands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from click.testing import CliRunner

from market_spine.cli.main import root

from .conftest import HELD, REVISED, WARNED, Story

if TYPE_CHECKING:
    from starlette.testclient import TestClient


def asked(story: Story, sql: str) -> list[dict[str, object]]:
    """What ``market-spine query`` answers."""
    done = CliRunner().invoke(root, ["query", sql, "--db", story.db, "--json"], catch_exceptions=False)
    rows: list[dict[str, object]] = json.loads(done.stdout)
    return rows


def test_a_window_names_the_captures_that_it_was_made_from(visit: TestClient) -> None:
    """A rolling window of the third week known was made from the captures of three weeks, to which its page leads."""
    record = visit.get(f"/d/finra/p/{quote(HELD)}.json").json()
    made = {each["stage"]: each["inputs"] for each in record["stages"]}
    weeks = ("2025-10-17", "2025-10-24", "2025-10-31")
    expected = [f"finra.otc_transparency:OTC:{week}:20251215" for week in weeks]
    assert made["rolling"] == expected
    assert made["ingest"] == []
    page = visit.get(f"/d/finra/p/{quote(HELD)}").text
    assert all(f'href="/captures/{quote(name, safe="")}"' in page for name in expected)


def test_a_partition_names_the_windows_that_used_it(visit: TestClient) -> None:
    """The windows of the two later weeks looked at a week, and stand; nothing looked at the newest."""
    used = visit.get(f"/d/finra/p/{quote(HELD)}.json").json()["used_by"]
    assert [(each["partition_key"], each["stands"]) for each in used] == [("2025-11-07|OTC", True), (REVISED, True)]
    assert "Used by 2 windows of other partitions" in visit.get(f"/d/finra/p/{quote(HELD)}").text
    assert visit.get(f"/d/finra/p/{quote(REVISED)}.json").json()["used_by"] == []


def test_neighbours_are_compared_by_their_shares(visit: TestClient, story: Story) -> None:
    """Beside a week stand the shares of every loaded week of its tier, as their rows add up."""
    record = visit.get(f"/d/finra/p/{quote(HELD)}.json").json()
    sql = (
        "SELECT week_ending, SUM(share_volume) AS shares FROM finra_otc_venue_volume WHERE tier = 'OTC'"
        " GROUP BY week_ending ORDER BY week_ending"
    )
    expected = [(f"{row['week_ending']}|OTC", row["shares"]) for row in asked(story, sql)]
    assert [(each["partition_key"], each["total"]) for each in record["neighbours"]] == expected
    assert len(expected) == 5
    assert record["measure"] == "share_volume"
    assert "Share volume, among its neighbours" in visit.get(f"/d/finra/p/{quote(HELD)}").text


def test_a_partition_shows_its_refused_rows(visit: TestClient, story: Story) -> None:
    """The refused rows of the capture that readers see stand on the partition's page, as text."""
    rows = asked(story, f"SELECT line, rule, raw FROM core_rejects WHERE partition_key = '{WARNED}' ORDER BY line")
    record = visit.get(f"/d/finra/p/{quote(WARNED)}.json").json()
    assert rows
    assert [{name: each[name] for name in ("line", "rule", "raw")} for each in record["rejects"]] == rows[:20]
    assert "Refused rows" in visit.get(f"/d/finra/p/{quote(WARNED)}").text
    assert visit.get(f"/d/finra/p/{quote(REVISED)}.json").json()["rejects"] == []


def test_a_symbol_shows_its_restated_rows(visit: TestClient) -> None:
    """A row that a restatement changed stands on its symbol's page, old and new, with when; not before it happened."""
    rows = visit.get(f"/d/finra/p/{quote(REVISED)}.json").json()["difference"]
    moved = next(each for each in rows["rows"] if each["change"] == "changed")
    symbol = moved["key"]["symbol"]
    found = [
        each
        for each in visit.get(f"/symbols/{symbol}.json?range=all").json()["restated"]
        if each["partition_key"] == REVISED and moved["key"].items() >= each["key"].items()
    ]
    changed = {name for name in moved["old"] if moved["old"][name] != moved["new"][name]}
    assert [each["old"] for each in found] == [{name: moved["old"][name] for name in moved["old"] if name in changed}]
    assert [each["new"] for each in found] == [{name: moved["new"][name] for name in moved["new"] if name in changed}]
    assert found[0]["at"][:19].replace(" ", "T") == rows["to_at"][:19]
    assert "Restated rows" in visit.get(f"/symbols/{symbol}?range=all").text
    then = visit.get(f"/symbols/{symbol}.json", params={"range": "all", "as_of": rows["from"]}).json()
    assert then["restated"] == []
