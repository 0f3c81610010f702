"""``doctor`` tells for everything that a schedule needs whether it is in order, and what to do if not."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from market_spine.app.scheduling import SchedulerResult
from market_spine.cli.doctor import Surroundings, examine
from market_spine.cli.main import root
from market_spine.compose import Hooks, reader
from market_spine.core.checking import CheckResult

pytestmark = pytest.mark.usefixtures("harbor", "surroundings")

Run = Callable[..., SchedulerResult]
NOON = datetime(2026, 11, 25, 17, 0, tzinfo=UTC)
"""The day before Thanksgiving, noon in New York."""
PLENTY = 2**40


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings with which all is well: prices invented, FINRA's folder there and empty."""
    for name in ("DATABASE_URL", "MARKET_SPINE_AUTO_MIGRATE", "FINRA_SOURCE", "FINRA_PLAUSIBILITY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ALPHA_VANTAGE_API_KEY", "POLYGON_API_KEY", "MASSIVE_API_KEY", "FINRA_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "finra").mkdir()
    monkeypatch.setenv("FINRA_DATA_DIR", str(tmp_path / "finra"))
    monkeypatch.setenv("PRICE_SOURCE", "mock")


def look(
    database: str, *, now: datetime | None = None, free: int = PLENTY, online: bool = False
) -> dict[str, CheckResult]:
    """Each check by name; the clock stands at ``now``, or runs."""
    around = Surroundings(lambda: now or datetime.now(UTC), lambda _path: free)
    return {each.name: each for each in examine(database, online, around)}


def wrong(found: dict[str, CheckResult]) -> dict[str, str]:
    return {name: each.message for name, each in found.items() if not each.ok}


def test_all_is_well(run: Run, database: str) -> None:
    """On a loaded store every line is ok: database, schema, clock, folder, keys, calendar, and what comes next."""
    before = look(database)
    run()
    found = look(database)
    assert wrong(found) == wrong(before) == {}
    assert found["schema"].message == "up to date"
    assert "there is no store yet" in before["schema"].message or database.startswith("postgresql")
    assert "harbor" in found["program"].message
    assert found["prices source"].message == "mock"
    assert found["prices keys"].message == "alpha_vantage: not set; polygon: not set"
    assert "last commit 20" in found["clock"].message
    with closing(reader(database)) as store:
        last = max(str(row[0]) for row in store.query("SELECT committed_at FROM core_manifest").rows)
    assert datetime.fromisoformat(last).isoformat(timespec="seconds") in found["clock"].message


def test_the_calendar_and_what_is_due_next_are_told(database: str) -> None:
    """On 2026-11-25: a session; FINRA's next are Tier 1 of the week of 9 November and Tier 2 of 26 October."""
    found = look(database, now=NOON)
    assert found["calendar"].message.startswith("today is Wed 2026-11-25 in New York, a session;")
    assert found["next of finra.otc_transparency"].message == (
        "2026-10-30|NMS_TIER_2 on 2026-11-30, 2026-10-30|OTC on 2026-11-30, 2026-11-13|NMS_TIER_1 on 2026-11-30"
    )
    holiday = look(database, now=NOON + timedelta(days=1))["calendar"].message
    assert "no session; the last one was 2026-11-25" in holiday
    late = look(database, now=datetime(2050, 2, 1, tzinfo=UTC))["calendar"]
    assert (late.ok, late.message) == (False, "the NYSE calendar ends on 2050-12-31")
    beyond = look(database, now=datetime(2051, 2, 1, tzinfo=UTC))["calendar"]
    assert not beyond.ok
    assert "outside the NYSE calendar table" in beyond.message


def test_a_clock_behind_the_last_commit_is_wrong(folder: Path, database: str) -> None:
    """A commit of the year 2099 is told with both moments; so is a host whose clock is not the database's."""
    from harbor import run_harbor

    ticks = count()
    clock = lambda: datetime(2099, 1, 1, tzinfo=UTC) + timedelta(milliseconds=next(ticks))  # noqa: E731 - one line
    assert run_harbor(folder, "2025-03-01", Hooks(clock=clock), db=database).exit_code == 0
    ahead = look(database)
    assert list(wrong(ahead)) == ["clock"]
    assert ahead["clock"].message.startswith("the last commit is of 2099-01-01T00:00:00+00:00, ahead of the clock")
    apart = look(database, now=NOON - timedelta(days=4000))["clock"]
    assert apart.message.startswith("this host's clock says 2015-12-13T17:00:00+00:00, the database's 20")


def test_little_room_is_wrong(run: Run, database: str) -> None:
    """Less than a gigabyte is too little for an embedded store; a server's disk is its own affair."""
    run()
    found = look(database, free=2**29)
    if database.startswith("postgresql"):
        assert "disk" not in found
    else:
        assert "0.5 GB free" in found["disk"].message
        assert "make room" in found["disk"].hint
        assert list(wrong(found)) == ["disk"]


def test_settings_and_keys_that_cannot_be_used_are_wrong(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each says which variable, and what to do; keys are never shown."""
    secret = "s3cr3t-k3y-of-mine"
    monkeypatch.setenv("FINRA_SOURCE", "api")
    monkeypatch.setenv("FINRA_CLIENT_ID", secret)
    monkeypatch.delenv("PRICE_SOURCE")
    monkeypatch.setenv("FINRA_PLAUSIBILITY", "shrunk=little")
    found = look(database)
    assert set(wrong(found)) == {"configuration", "finra keys"}
    assert found["finra keys"].message == "FINRA_CLIENT_SECRET is not set, though its counterpart is"
    assert "set the key of a vendor: ALPHA_VANTAGE_API_KEY" in found["prices source"].message
    monkeypatch.setenv("PRICE_SOURCE", "gossip")
    assert "PRICE_SOURCE: 'gossip' is not allowed" in wrong(look(database))["prices source"]
    monkeypatch.delenv("PRICE_SOURCE")
    assert all(each.hint for each in found.values() if not each.ok and each.name != "configuration")
    monkeypatch.setenv("FINRA_CLIENT_SECRET", secret)
    monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", secret)
    monkeypatch.setenv("FINRA_PLAUSIBILITY", "")
    well = look(database)
    assert wrong(well) == {}
    assert well["prices keys"].message == "alpha_vantage: set; polygon: not set"
    assert secret not in repr(found) + repr(well)
    monkeypatch.setenv("FINRA_SOURCE", "file")
    monkeypatch.setenv("FINRA_DATA_DIR", str(tmp_path / "nowhere"))
    assert list(wrong(look(database))) == ["finra folder"]


def test_the_folder_is_looked_through(database: str, tmp_path: Path) -> None:
    """Files are counted by partition; a name that says no tier and week is wrong."""
    for name in ("otc_week_2025-11-21.csv", "nms_tier_1_week_2025-11-21.csv", "otc_non_ats_week_2025-11-21.csv"):
        (tmp_path / "finra" / name).touch()
    told = look(database)["finra folder"]
    assert told.message.endswith("has files of 2 partitions, from 2025-11-21|NMS_TIER_1 to 2025-11-21|OTC")
    (tmp_path / "finra" / "november.csv").touch()
    assert "the names of november.csv say no tier and week" in wrong(look(database))["finra folder"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nowhere/spine.db", "has no folder"),
        ("mysql://host/x", "databases of this kind are not supported"),
        ("postgresql://nobody@127.0.0.1:1/x", "127.0.0.1"),
    ],
)
def test_a_database_that_cannot_be_used_is_told(
    address: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is missing, an address of no kind that is known, a server that does not answer."""
    monkeypatch.chdir(tmp_path)
    found = look(address)
    assert list(wrong(found)) == ["database"]
    assert words in found["database"].message
    assert found["database"].hint


def test_the_command_answers_with_exit_code_text_and_json(
    run: Run, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 and ``ok`` true if all is well, else 1 and what to do; the text says the same."""
    run()

    def call(*flags: str) -> Any:
        return CliRunner().invoke(root, ["doctor", "--db", database, *flags], standalone_mode=False)

    monkeypatch.setenv("FINRA_DATA_DIR", "/nowhere/at/all")
    document = json.loads(call("--json").stdout)
    assert (call().return_value, call("--json").return_value, document["ok"]) == (1, 1, False)
    (bad,) = [each for each in document["checks"] if not each["ok"] and each["name"] != "disk"]
    assert bad["name"] == "finra folder"
    assert bad["hint"].startswith("put FINRA's weekly files there")
    assert "WRONG" in call().stdout
    of_prices = {each["name"] for each in json.loads(call("--json", "--domain", "prices").stdout)["checks"]}
    assert {"prices source", "prices keys"} < of_prices
    assert not any("finra" in name for name in of_prices)
