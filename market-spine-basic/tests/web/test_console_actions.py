"""What pages may start: backfills, plans and decisions, each a process of its own, and only from a page of ours."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from market_spine.compose import utc_now
from market_spine.web.jobs import Desk
from spine.domains.finra.otc_transparency.sample_data import write_sample_data

from .conftest import BROKEN, FAILED, HELD, REVISED, WARNED, Story, client_of

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from market_spine.web.jobs import Job

pytestmark = pytest.mark.process

OURS = {"origin": "http://127.0.0.1:8642"}
PROGRAM = [sys.executable, "-m", "market_spine"]


class Bench:
    """A console whose pages may start commands."""

    def __init__(self, story: Story, visit: TestClient, desk: Desk) -> None:
        self.story, self.visit, self.desk = story, visit, desk

    @property
    def stamp(self) -> str:
        """What a form of the console carries."""
        page = self.visit.get(f"/d/finra/p/{quote(HELD)}").text + self.visit.get("/d/finra/partitions").text
        return str(re.findall(r'name="stamp" value="([0-9a-f]{64})"', page)[0])

    def send(self, verb: str, **fields: str | list[str]) -> Job:
        """Send a form, and wait until what it started has ended."""
        answer = self.visit.post(f"/actions/{verb}", data={"stamp": self.stamp, **fields}, headers=OURS)
        assert answer.status_code == 303, answer.text
        job = self.desk.find(answer.headers["location"].removeprefix("/jobs/"))
        assert job is not None
        assert job.ended.wait(timeout=300)
        return job


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One bench for the tests of this file, which follow one another."""
    story = Story(tmp_path_factory.mktemp("bench"))
    desk = Desk(PROGRAM, story.db, utc_now)
    return Bench(story, client_of(replace(story.console(), desk=desk, clock=lambda: datetime.now(UTC))), desk)


@pytest.fixture(autouse=True)
def _settings(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINRA_DATA_DIR", str(bench.story.data))
    monkeypatch.setenv("FINRA_SOURCE", "file")


def state(bench: Bench, key: str) -> str:
    """The state that the partition's page tells."""
    return str(bench.visit.get(f"/d/finra/p/{quote(key)}.json").json()["partition"]["state"])


def test_a_plan_writes_nothing(bench: Bench) -> None:
    """A plan says what loading would do, and leaves no run behind."""
    before = bench.visit.get("/runs.json").json()["runs"]
    job = bench.send("backfill", domain="finra", pick=[FAILED], mode="dry-run")
    assert job.words.endswith("--mode dry-run --json")
    page = bench.visit.get(f"/jobs/{job.name}")
    assert page.status_code == 200
    assert "What it would do" in page.text
    assert bench.visit.get("/runs.json").json()["runs"] == before


def test_from_a_red_cell_to_a_captured_one(bench: Bench) -> None:
    """Loading a failed partition again, once its file is right, ends on the run's page, which says who started it."""
    assert state(bench, FAILED) == "failed"
    write_sample_data(bench.story.data, weeks=1, tiers=("OTC",), rows=120, seed=3, run_date=BROKEN, non_ats=True)
    grid = bench.visit.get("/d/finra/partitions.json?range=all").json()["backfill"]
    assert FAILED in [each["partition_key"] for each in grid["offered"]]
    job = bench.send("backfill", domain="finra", pick=[FAILED])
    assert job.words == f"market-spine schedule finra --partitions '{FAILED}' --json"
    answer = bench.visit.get(f"/jobs/{job.name}")
    assert answer.status_code == 303
    record = bench.visit.get(answer.headers["location"] + ".json").json()
    assert record["run"]["status"] == "success"
    assert record["config"]["started_by"] == "tester"
    assert state(bench, FAILED) == "captured"


def test_a_held_capture_is_accepted_with_a_reason(bench: Bench) -> None:
    """Accepting makes the held capture current; who and why are kept."""
    held = bench.visit.get(f"/d/finra/p/{quote(HELD)}.json").json()["partition"]["held_capture_id"]
    bench.send("accept", capture=held, reason="FINRA confirmed it")
    record = bench.visit.get(f"/d/finra/p/{quote(HELD)}.json").json()
    assert record["partition"]["capture_id"] == held
    (decision,) = record["captures"][0]["decisions"]
    assert (decision["by"], decision["reason"]) == ("tester", "FINRA confirmed it")


def test_a_capture_is_retracted(bench: Bench) -> None:
    """Retracting brings the capture before back."""
    name = bench.visit.get(f"/d/finra/p/{quote(REVISED)}.json").json()["partition"]["capture_id"]
    bench.send("retract", capture=name, reason="wrong file")
    assert state(bench, REVISED) == "retracted"


def test_an_anomaly_is_set_aside(bench: Bench) -> None:
    """An acknowledged anomaly is open no longer."""
    job = bench.send("ack", domain="finra", partition=WARNED, kind="rejected_rows", reason="seen")
    assert job.code == 0
    assert state(bench, WARNED) == "captured"
    assert bench.visit.get("/anomalies.json?state=acknowledged").json()["matching"] == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:8643"},
        {"origin": "null"},
        {**OURS, "sec-fetch-site": "cross-site"},
        {**OURS, "sec-fetch-site": "same-site"},
    ],
)
def test_another_sites_form_is_refused(bench: Bench, headers: dict[str, str]) -> None:
    """What does not come from a page of the console starts nothing, whatever it carries."""
    form = {"stamp": bench.stamp, "domain": "finra", "pick": FAILED}
    assert bench.visit.post("/actions/backfill", data=form, headers=headers).status_code == 403


def test_what_is_no_form_of_ours_is_refused(bench: Bench) -> None:
    """A stamp of nobody, another type of content, too much, and other addresses start nothing."""
    visit = bench.visit
    form = {"domain": "finra", "pick": FAILED}
    assert visit.post("/actions/backfill", data={**form, "stamp": "0" * 64}, headers=OURS).status_code == 403
    assert visit.post("/actions/backfill", data=form, headers=OURS).status_code == 403
    assert visit.post("/actions/backfill", json=form, headers=OURS).status_code == 415
    assert visit.post("/actions/backfill", data={**form, "x": "y" * 70_000}, headers=OURS).status_code == 400
    assert visit.post("/actions/delete", data=form, headers=OURS).status_code == 404
    assert visit.post("/runs", data=form, headers=OURS).status_code == 405
    assert visit.get("/actions/backfill").status_code in (404, 405)


@pytest.mark.parametrize(
    ("verb", "fields", "status"),
    [
        ("backfill", {"domain": "finra"}, 400),
        ("backfill", {"domain": "finra", "pick": "--force"}, 400),
        ("backfill", {"domain": "finra", "pick": "2025-11-21|OTC; rm -rf /"}, 400),
        ("backfill", {"domain": "nowhere", "pick": FAILED}, 404),
        ("backfill", {"domain": "finra", "pick": FAILED, "mode": "force"}, 400),
        ("accept", {"capture": "no:such:capture", "reason": "x"}, 404),
        ("accept", {"capture": "--force", "reason": "x"}, 404),
        ("accept", {"capture": "finra.otc_transparency:OTC:2025-11-14:20251215", "reason": " "}, 400),
        ("ack", {"domain": "finra", "partition": FAILED, "kind": "nothing", "reason": "x"}, 404),
        ("stop", {"job": "0"}, 404),
    ],
)
def test_what_means_nothing_is_told(bench: Bench, verb: str, fields: dict[str, str], status: int) -> None:
    """A form that names what there is not, or says no reason, is told so, and starts nothing."""
    answer = bench.visit.post(f"/actions/{verb}", data={"stamp": bench.stamp, **fields}, headers=OURS)
    assert answer.status_code == status


def test_one_at_a_time_and_it_can_be_stopped(bench: Bench) -> None:
    """While a command of a domain runs no second one starts; stopping ends it."""
    desk = Desk([sys.executable, "-c", "import time; time.sleep(600)"], "", utc_now)
    console = replace(bench.story.console(), desk=desk)
    visit = client_of(console)
    held = Bench(bench.story, visit, desk)
    form = {"stamp": held.stamp, "domain": "finra", "pick": FAILED}
    path = visit.post("/actions/backfill", data=form, headers=OURS).headers["location"]
    job = desk.find(path.removeprefix("/jobs/"))
    assert job is not None
    page = visit.get(path).text
    assert '<meta http-equiv="refresh" content="2">' in page
    assert visit.post("/actions/backfill", data=form, headers=OURS).status_code == 400
    stopped = visit.post("/actions/stop", data={"stamp": held.stamp, "job": job.name}, headers=OURS)
    assert stopped.status_code == 303
    assert job.ended.wait(timeout=60)
    assert job.code != 0


def test_a_console_that_only_reads_starts_nothing(story: Story, visit: TestClient) -> None:
    """Without leave there is no form, and what is sent all the same is refused."""
    for path in ("/d/finra/partitions", f"/d/finra/p/{quote(HELD)}"):
        assert 'method="post"' not in visit.get(path).text
    assert visit.post("/actions/backfill", data={"domain": "finra"}, headers=OURS).status_code == 403
