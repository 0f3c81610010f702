"""The console as of a moment: every page shows what was known then, and nothing that came later."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from market_spine.store import open_reader

from .conftest import FAILED, HELD, REVISED, WARNED, Story

if TYPE_CHECKING:
    from starlette.testclient import TestClient

THEN = "2025-12-15T20:00:00+00:00"
"""After the first load, before the restatement."""
PARTITION = f"/d/finra/p/{quote(REVISED)}"


@pytest.mark.parametrize(
    "path", ["/", "/d/finra/partitions", PARTITION, "/runs", "/anomalies", "/changes", "/calendar", "/search?q=2025"]
)
def test_every_page_takes_a_moment(visit: TestClient, path: str) -> None:
    """Each page says which moment it shows, and its links keep it."""
    page = visit.get(path, params={"as_of": THEN, **({"q": "2025"} if "?" in path else {})})
    assert page.status_code == 200
    assert "What was known on 15 Dec 2025 at 20:00 UTC" in page.text
    assert "/runs?as_of=2025-12-15T20%3A00%3A00%2B00%3A00" in page.text


def test_states_are_those_of_then(visit: TestClient) -> None:
    """What was restated, held, refused or loaded later is captured, or not due yet, on the page of then."""
    record = visit.get("/d/finra/partitions.json", params={"as_of": THEN}).json()
    assert record["today"] == "2025-12-15"
    states = {each["partition_key"]: each["state"] for each in record["partitions"]}
    assert {key: states[key] for key in (REVISED, HELD, FAILED)} == {
        REVISED: "captured",
        HELD: "captured",
        FAILED: "not_due",
    }
    assert WARNED not in states
    assert visit.get("/anomalies.json", params={"as_of": THEN}).json()["counts"]["all"] == 0
    assert len(visit.get("/runs.json", params={"as_of": THEN}).json()["runs"]) == 1


def test_stepping_shows_the_numbers_of_then(visit: TestClient, story: Story) -> None:
    """Each step of a restated partition shows its own capture, with the total that a query as of then has."""
    record = visit.get(f"{PARTITION}.json").json()
    first, second = record["stepper"]["moments"]
    sums = {}
    for moment, number in ((first, 1), (second, 2)):
        then = visit.get(f"{PARTITION}.json", params={"as_of": moment}).json()
        assert len(then["captures"]) == number
        assert (then["difference"] is None) == (number == 1)
        sql = "SELECT SUM(share_volume) FROM finra_otc_venue_volume WHERE week_ending = '2025-11-14' AND tier = 'OTC'"
        shown = visit.get("/query.json", params={"sql": sql, "as_of": moment}).json()["answer"]["rows"]
        with open_reader(story.console().url, story.console().all_domains) as store:
            assert shown == [list(row) for row in store.query(sql, moment).rows]
        sums[number] = shown[0][0]
    moved = {each["column"]: each["moved"] for each in record["difference"]["totals"]}
    assert sums[2] - sums[1] == pytest.approx(moved["share_volume"])
    steps = visit.get(f"{PARTITION}.json", params={"as_of": first}).json()["stepper"]
    assert (steps["before"], steps["after"]) == (None, second)
    steps = visit.get(f"{PARTITION}.json", params={"as_of": second}).json()["stepper"]
    assert (steps["before"], steps["after"]) == (first, None)


def test_a_capture_is_a_moment_too(visit: TestClient) -> None:
    """The id of a capture stands for the moment from which it was known."""
    record = visit.get(f"{PARTITION}.json", params={"as_of": "finra.otc_transparency:OTC:2025-11-14:20251215"}).json()
    assert [each["capture_id"] for each in record["captures"]] == ["finra.otc_transparency:OTC:2025-11-14:20251215"]


@pytest.mark.parametrize("moment", ["2999-01-01", "yesterday", "2025-13-01", "<script>", "'; --"])
def test_a_moment_that_is_none_is_told(visit: TestClient, moment: str) -> None:
    """A moment that has not passed, or is none, is refused in words."""
    answer = visit.get("/", params={"as_of": moment})
    assert answer.status_code == 400
    assert "<script>" not in answer.text.replace('<script src="', "")


def test_before_the_first_commit_nothing_was_known(visit: TestClient) -> None:
    """A moment before the first load shows an empty store."""
    assert "<h1>Nothing has been loaded yet</h1>" in visit.get("/", params={"as_of": "2025-12-01"}).text
