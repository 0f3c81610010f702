"""``--source api`` from the command line: where it asks, as whom, for what, and what it says."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path

import pytest

from market_spine.compose import Hooks
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.api import source as source_api
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule
from spine.domains.finra.otc_transparency.simulator.access import CLIENT_ID, CLIENT_SECRET
from spine.domains.finra.otc_transparency.simulator.app import TOKEN_PATH
from spine.domains.finra.otc_transparency.simulator.generated import GeneratedMarket

from .api_helpers import AT_ONCE, Simulated, Since, ingested, no_sleep, rows, simulated

pytestmark = pytest.mark.server

DAY = "2026-11-23"


@pytest.fixture(scope="module")
def service() -> Iterator[Simulated]:
    market = Since(GeneratedMarket(4, {"T1": 60, "T2": 40, "OTCE": 30}, 0.0), date(2026, 8, 31))
    with simulated(market) as running:
        running.source(DAY)
        yield running


@pytest.fixture(autouse=True)
def environment(service: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service instead of FINRA, a folder of its own, and no waiting between requests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINRA_API_URL", service.url)
    monkeypatch.setenv("FINRA_TOKEN_URL", service.url + TOKEN_PATH)
    for name in ("DATABASE_URL", "FINRA_SOURCE", "FINRA_CLIENT_ID", "FINRA_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    quick = partial(source_api.ApiSource, rate=1e6, policy=AT_ONCE, sleep=no_sleep)
    monkeypatch.setattr(source_api, "ApiSource", quick)


def test_everything_that_finra_offers_is_loaded_in_one_command_and_can_be_resumed(tmp_path: Path) -> None:
    """``--weeks all`` needs no --force; a second run asks little and writes nothing; a later stage needs no source."""
    first = run_finra_schedule(source="api", weeks="all", tiers="OTC", run_date=DAY)
    assert (first.exit_code, first.config["weeks"], first.stats.failed) == (0, ["all"], 0)
    weeks = {row[0] for row in rows(tmp_path / "data" / "market_spine.db", "week_ending")}
    assert len(weeks) == first.stats.succeeded == 8
    again = run_finra_schedule(source="api", weeks="all", tiers="OTC", run_date=DAY)
    assert set(ingested(again).values()) == {("skipped", "unchanged_at_source")}
    calc = run_finra_schedule(source="api", weeks="all", tiers="OTC", run_date=DAY, only_stage="calc")
    assert calc.stats.skipped == first.stats.succeeded


def test_the_environment_chooses_the_source_unless_the_flag_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """FINRA_SOURCE=api asks FINRA without --source; the flag wins; an empty variable means files."""
    monkeypatch.setenv("FINRA_SOURCE", "api")
    asked = run_finra_schedule(tiers="OTC", run_date=DAY)
    assert (asked.exit_code, asked.config["source"], asked.stats.succeeded) == (0, "api", 4)
    flagged = run_finra_schedule(source="file", tiers="OTC", run_date=DAY)
    assert flagged.error is not None
    assert flagged.error.kind == "source_missing"
    monkeypatch.setenv("FINRA_SOURCE", "")
    empty = run_finra_schedule(tiers="OTC", run_date=DAY)
    assert empty.error is not None
    assert (empty.error.kind, "FINRA_SOURCE=api" in empty.error.hint) == ("source_missing", True)


@pytest.mark.parametrize(("flag", "variable", "named"), [(None, "ftp", "FINRA_SOURCE"), ("", "api", "--source")])
def test_a_source_that_does_not_exist_is_refused_by_where_it_was_named(
    flag: str | None, variable: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown source is a usage error that names the flag or the variable, whichever it came from."""
    monkeypatch.setenv("FINRA_SOURCE", variable)
    refused = run_finra_schedule(source=flag, run_date=DAY)
    assert refused.error is not None
    assert (refused.exit_code, refused.error.kind) == (1, "usage")
    assert refused.error.message.startswith(f"{named}: ")
    assert "file, api" in refused.error.message


def test_an_interrupted_history_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Stopped after five partitions, the next run loads the others and skips these."""
    done: list[str] = []
    hooks = Hooks(stop=lambda: len(done) >= 5, progress=lambda outcome: done.append(outcome.partition_key))
    stopped = run_finra_schedule(source="api", weeks="all", tiers="NMS_TIER_1", run_date=DAY, hooks=hooks)
    assert (stopped.exit_code, stopped.stats.succeeded) == (2, 5)
    rest = run_finra_schedule(source="api", weeks="all", tiers="NMS_TIER_1", run_date=DAY)
    assert rest.exit_code == 0
    skipped = [key for key, (status, _) in ingested(rest).items() if status == "skipped"]
    assert skipped == done


def test_a_dry_run_compares_and_writes_nothing(tmp_path: Path) -> None:
    """It plans from what the service has, and does not even make the database."""
    result = run_finra_schedule(source="api", lookback_weeks=1, run_date=DAY, mode="dry-run")
    assert (result.status.value, {status for status, _ in ingested(result).values()}) == ("dry_run", {"planned"})
    assert not list(tmp_path.iterdir())


def test_credentials_come_from_the_environment_or_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that wants a token gets one; secrets are in files, as containers have them."""
    (tmp_path / "secret").write_text(CLIENT_SECRET + "\n")
    with simulated(GeneratedMarket(4, {"T1": 30, "T2": 10, "OTCE": 10}, 0.0), anonymous=False) as guarded:
        guarded.source(DAY)
        monkeypatch.setenv("FINRA_API_URL", guarded.url)
        monkeypatch.setenv("FINRA_TOKEN_URL", guarded.url + TOKEN_PATH)
        monkeypatch.setenv("FINRA_CLIENT_ID", CLIENT_ID)
        monkeypatch.setenv("FINRA_CLIENT_SECRET_FILE", str(tmp_path / "secret"))
        result = run_finra_schedule(source="api", lookback_weeks=1, tiers="NMS_TIER_1", run_date=DAY)
    assert result.exit_code == 0
    assert CLIENT_SECRET not in result.to_json()


@pytest.mark.parametrize(
    ("environ", "flags", "named"),
    [
        ({"FINRA_CLIENT_ID": "me"}, {}, "FINRA_CLIENT_SECRET is not set"),
        ({"FINRA_CLIENT_ID": "me", "FINRA_CLIENT_SECRET_FILE": "/none"}, {}, "FINRA_CLIENT_SECRET_FILE"),
        ({}, {"source": "file", "weeks": "all"}, "data folder data/finra does not exist"),
        ({}, {"source": "ftp"}, "--source"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], flags: dict[str, str], named: str
) -> None:
    """Half of the credentials, an unreadable file, a missing folder, an unknown source: critical, exit 1."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    result = run_finra_schedule(**{"source": "api", "run_date": DAY, **flags})  # type: ignore[arg-type]
    assert result.exit_code == 1
    assert result.error is not None
    assert named in result.error.message


def test_what_a_run_cost_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Requests, retries and bytes, once per run."""
    caplog.set_level(logging.INFO, logger=source_api.logger.name)
    run_finra_schedule(source="api", lookback_weeks=1, tiers="OTC", run_date=DAY)
    told = [record.getMessage() for record in caplog.records if "requests" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("FINRA API: 7 requests, 0 of them retries, ")


def test_a_shard_asks_for_its_share_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is asked for the partitions of other shards, also not ahead: a week costs seven requests."""
    caplog.set_level(logging.INFO, logger=source_api.logger.name)
    results = [
        run_finra_schedule(source="api", lookback_weeks=2, tiers="OTC", run_date=DAY, shard=f"{index}/3")
        for index in range(3)
    ]
    assert (sum(each.stats.succeeded for each in results), {each.exit_code for each in results}) == (2, {0})
    told = [record.getMessage().split()[2] for record in caplog.records if "requests" in record.getMessage()]
    assert told == [str(7 * each.stats.succeeded) for each in results]


def test_a_service_that_lists_nothing_cannot_be_asked_for_all(service: Simulated) -> None:
    """``--weeks all`` without a list of partitions: critical, with the way out."""
    service.faults.set(["403@partitions=1"])
    result = run_finra_schedule(source="api", weeks="all", run_date=DAY)
    service.faults.set([])
    assert result.error is not None
    assert (result.exit_code, result.error.kind) == (1, "no_list")
    assert "try again later" in (result.error.hint or "")
    assert "--weeks" in json.loads(result.to_json())["error"]["hint"]
    assert DOMAIN.name == result.domain


def test_doctor_asks_finra_what_it_has(service: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anonymous or with credentials it says how much is listed; a wrong secret and a dead address are told."""

    def told() -> dict[str, tuple[bool, str]]:
        return {each.name: (each.ok, each.message) for each in DOMAIN.checkup(online=True)}

    monkeypatch.setenv("FINRA_SOURCE", "api")
    anonymous = told()
    assert anonymous["finra keys"] == (True, "none set: asked anonymously")
    well, message = anonymous["finra api"]
    assert well
    assert message.startswith(f"{service.url} answers, and lists ")
    monkeypatch.setenv("FINRA_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("FINRA_CLIENT_SECRET", CLIENT_SECRET)
    assert told()["finra api"] == (True, message)
    monkeypatch.setenv("FINRA_CLIENT_SECRET", "wr0ng-secret-of-mine")
    refused = told()["finra api"]
    assert not refused[0]
    assert "wr0ng-secret-of-mine" not in refused[1]
    monkeypatch.setenv("FINRA_API_URL", "http://127.0.0.1:1")
    assert told()["finra api"][0] is False
    assert "finra api" not in {each.name for each in DOMAIN.checkup(online=False)}
