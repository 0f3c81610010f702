"""FINRA's API against the simulated service: what is stored, what is skipped, and what goes wrong by name."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from market_spine.compose import reader
from market_spine.simulation import running
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.api.client import ApiConfig
from spine.domains.finra.otc_transparency.api.source import ApiSource
from spine.domains.finra.otc_transparency.simulator.access import CLIENT_ID, CLIENT_SECRET
from spine.domains.finra.otc_transparency.simulator.generated import GeneratedMarket

from .api_helpers import AT_ONCE, Simulated, Without, ingested, load, no_sleep, rows, simulated

pytestmark = pytest.mark.server

DAY = "2026-11-23"
TIER_1 = "2026-11-06|NMS_TIER_1"
TIER = ("NMS_TIER_1",)
SMALL = {"T1": 400, "T2": 300, "OTCE": 200}


@pytest.fixture(scope="module")
def service() -> Iterator[Simulated]:
    with simulated(GeneratedMarket(1, SMALL, 0.01)) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def clean(service: Simulated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store loaded without any fault."""
    db = tmp_path_factory.mktemp("clean") / "clean.db"
    assert load(service.source(DAY), db, DAY).exit_code == 0
    return db


def test_the_rows_stored_are_those_a_plain_client_reads(service: Simulated, clean: Path) -> None:
    """Symbol, venue name, shares, trades and notional of every record with a symbol, and nothing else."""
    for tier, code, monday in (("NMS_TIER_1", "T1", "2026-11-02"), ("OTC", "OTCE", "2026-10-19")):
        service.clock.set(service.clock.now())
        expected = sorted(
            (
                each["issueSymbolIdentifier"],
                each["marketParticipantName"],
                each["totalWeeklyShareQuantity"],
                each["totalWeeklyTradeCount"],
                each["totalNotionalSum"],
            )
            for kind in ("ATS_W_SMBL_FIRM", "OTC_W_SMBL_FIRM")
            for each in service.records(monday, code, kind)
            if each["issueSymbolIdentifier"]
        )
        held = rows(clean, "tier, symbol, venue_name, share_volume, trade_count, notional")
        assert sorted(row[1:] for row in held if row[0] == tier) == expected


def test_the_manifest_keeps_request_ids_record_totals_and_the_day_of_the_reading(clean: Path) -> None:
    """What the raw pages said of themselves is beside the part that was made of them."""
    store = reader(str(clean))
    current = store.known(DOMAIN.name, [TIER_1])[TIER_1].current
    store.close()
    assert current is not None
    assert [part.name for part in current.entry.parts] == ["ATS", "ATS_TOTALS", "NON_ATS", "NON_ATS_TOTALS"]
    for part in current.entry.parts:
        assert part.metadata["read_on"] == DAY
        assert int(part.metadata["record_total"]) > 0
        assert len(part.metadata["request_ids"].split()) == 1


def test_an_unchanged_partition_costs_two_requests(service: Simulated, clean: Path) -> None:
    """A rerun asks for the list once and twice per partition, and skips all of them."""
    source = service.source("2026-11-24")
    result = load(source, clean, "2026-11-24")
    assert set(ingested(result).values()) == {("skipped", "unchanged_at_source")}
    assert source.traffic.requests == 1 + 2 * result.stats.attempted
    assert result.exit_code == 0


def test_a_partition_is_read_in_full_again_after_two_weeks_and_that_is_noted(tmp_path: Path) -> None:
    """The complete check finds the same bytes, and counts from its own day on."""
    with simulated(GeneratedMarket(5, SMALL, 0.0)) as service:
        db, tier = tmp_path / "a.db", ("NMS_TIER_1",)
        reasons = []
        for day in (DAY, "2026-12-06", "2026-12-07", "2026-12-08", "2026-12-21"):
            result = load(service.source(day), db, day, "2026-11-06", tier)
            reasons.append(ingested(result)[TIER_1])
        unchanged, same = ("skipped", "unchanged_at_source"), ("skipped", "same_bytes")
        assert reasons == [("completed", None), unchanged, same, unchanged, same]
        store = reader(str(db))
        known = store.known(DOMAIN.name, [TIER_1])[TIER_1]
        store.close()
        assert len(known.captures) == 1
        assert known.noted is not None
        assert {part.metadata["read_on"] for part in known.noted.entry.parts} == {"2026-12-21"}


def test_every_revision_of_the_simulated_market_is_noticed_by_the_cheap_check(tmp_path: Path) -> None:
    """Week after week, the rows held are those the service shows, though most partitions are not read."""
    with simulated(GeneratedMarket(3, SMALL, 0.05)) as service:
        db, seen = tmp_path / "a.db", set()
        for day in ("2026-11-23", "2026-11-30", "2026-12-03", "2026-12-14", "2027-01-11"):
            result = load(service.source(day), db, day, "2026-11-06", ("NMS_TIER_1",))
            seen.add(ingested(result)[TIER_1])
            expected = sorted(
                (each["issueSymbolIdentifier"], each["totalWeeklyShareQuantity"], each["lastUpdateDate"])
                for kind in ("ATS_W_SMBL_FIRM", "OTC_W_SMBL_FIRM")
                for each in service.records("2026-11-02", "T1", kind)
                if each["issueSymbolIdentifier"]
            )
            assert sorted(rows(db, "symbol, share_volume, last_update_date")) == expected
        assert ("completed", None) in seen
        store = reader(str(db))
        assert store.known(DOMAIN.name, [TIER_1])[TIER_1].revisions > 0
        store.close()


def test_a_source_can_be_pickled(service: Simulated) -> None:
    """A worker in another process opens connections of its own."""
    source = service.source(DAY)
    partition = DOMAIN.partition(TIER_1)
    assert source.lists(partition) is True
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert copy.lists(partition) is True


def test_credentials_are_sent_and_a_token_that_expires_is_renewed(tmp_path: Path, clean: Path) -> None:
    """With tokens that die early the rows are those of an anonymous run where that is allowed."""
    with simulated(GeneratedMarket(1, SMALL, 0.01), ["401-expiry@data=every:7"], anonymous=False) as service:
        source = service.source(DAY, credentials=(CLIENT_ID, CLIENT_SECRET))
        assert load(source, tmp_path / "a.db", DAY).exit_code == 0
        assert rows(tmp_path / "a.db") == rows(clean)


@pytest.mark.parametrize("credentials", [("", ""), (CLIENT_ID, "wrong-" + CLIENT_SECRET)])
def test_refused_credentials_are_told_without_showing_them(tmp_path: Path, credentials: tuple[str, str]) -> None:
    """No credentials, or wrong ones, where some are needed: a failure that says so and holds no secret."""
    with simulated(GeneratedMarket(1, SMALL, 0.01), anonymous=False) as service:
        result = load(service.source(DAY, credentials=credentials), tmp_path / "a.db", DAY)
        assert {reason for _, reason in ingested(result).values()} == {"unauthorized"}
        if credentials[1]:
            assert credentials[1] not in result.to_json()


def test_an_empty_partition_is_absent_however_it_is_said(tmp_path: Path) -> None:
    """204 without a body and 200 with an empty list both mean that there is nothing, and a week is late."""
    for number, status in enumerate((204, 200)):
        with simulated(GeneratedMarket(1, SMALL, 0.01), empty_status=status) as service:
            source = service.source("2026-11-24")
            service.clock.set(service.clock.now().replace(day=20))
            result = load(source, tmp_path / f"{number}.db", "2026-11-24", "2026-11-06", ("NMS_TIER_1",))
            assert ingested(result) == {TIER_1: ("failed", "late")}


@pytest.mark.parametrize("dataset", ["weeklySummary", "weeklySummaryHistoric"])
@pytest.mark.parametrize("missing", ["ATS_W_SMBL_FIRM", "OTC_W_SMBL_FIRM"])
def test_a_class_that_has_totals_but_no_rows_is_refused(tmp_path: Path, missing: str, dataset: str) -> None:
    """FINRA counts shares in a class whose rows it does not show: half a week is not stored as a whole one."""
    market = Without(GeneratedMarket(1, SMALL, 0.0), (missing,))
    with simulated(market, summary_weeks=0 if dataset == "weeklySummary" else 4) as service:
        day = DAY if dataset == "weeklySummary" else "2027-11-22"
        result = load(service.source(day), tmp_path / "a.db", day, "2026-11-06", TIER)
        assert ingested(result) == {TIER_1: ("failed", "totals_disagree")}
        assert not rows(tmp_path / "a.db")
        forced = load(service.source(day, force=True), tmp_path / "a.db", day, "2026-11-06", TIER, force=True)
        assert ingested(forced) == {TIER_1: ("completed", None)}


@pytest.mark.parametrize(("missing", "told"), [("ATS_W_SMBL", "ATS"), ("OTC_W_SMBL", "NON_ATS")])
def test_rows_without_totals_are_loaded_and_said_to_be_unverified(tmp_path: Path, missing: str, told: str) -> None:
    """A class without FINRA's totals cannot be proven: its rows are loaded with a warning that names the class."""
    with simulated(Without(GeneratedMarket(1, SMALL, 0.0), (missing,))) as service:
        result = load(service.source("2026-11-23"), tmp_path / "a.db", "2026-11-23", "2026-11-06", TIER)
    assert ingested(result) == {TIER_1: ("completed", None)}
    assert [each.details["venue_classes"] for each in result.anomalies if each.kind == "unverified"] == [[told]]


def test_an_answer_without_content_needs_no_record_total(tmp_path: Path) -> None:
    """204 without any header of FINRA's, as a gateway may pass it on, means that there is nothing."""

    async def nothing(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with running(nothing) as url:
        source = ApiSource(date(2026, 11, 24), ApiConfig(url), rate=1e6, policy=AT_ONCE, sleep=no_sleep)
        result = load(source, tmp_path / "a.db", "2026-11-24", "2026-11-06", TIER)
    assert ingested(result) == {TIER_1: ("failed", "late")}


def test_a_week_listed_ahead_of_the_calendar_is_loaded_and_told(service: Simulated, tmp_path: Path) -> None:
    """What FINRA offers is loaded though the calendar says not due; the disagreement is an anomaly until it ends."""
    source = service.source("2026-11-30")
    early = "2026-11-13|NMS_TIER_1"
    result = load(source, tmp_path / "a.db", "2026-11-27", "2026-11-13", ("NMS_TIER_1",))
    assert ingested(result) == {early: ("completed", None)}
    assert [anomaly.kind for anomaly in result.anomalies if anomaly.partition_key == early] == ["published_early"]
    later = load(service.source("2026-12-01"), tmp_path / "a.db", "2026-12-01", "2026-11-13", ("NMS_TIER_1",))
    assert not later.anomalies
    store = reader(str(tmp_path / "a.db"))
    assert not store.anomalies(DOMAIN.name)
    store.close()


def test_weeks_older_than_the_current_dataset_come_from_the_historic_one(clean: Path, tmp_path: Path) -> None:
    """The same rows, though the historic dataset knows neither sorting nor the filter by summary type."""
    with simulated(GeneratedMarket(1, SMALL, 0.01), summary_weeks=4) as service:
        day, weeks = "2027-11-22", "2026-11-06"
        source = service.source(day)
        result = load(source, tmp_path / "old.db", day, weeks, ("NMS_TIER_1",))
        assert ingested(result) == {TIER_1: ("completed", None)}
        again = load(service.source(day), tmp_path / "old.db", day, weeks, ("NMS_TIER_1",))
        assert ingested(again) == {TIER_1: ("skipped", "unchanged_at_source")}
    with simulated(GeneratedMarket(1, SMALL, 0.01)) as service:
        assert load(service.source(day), tmp_path / "new.db", day, weeks, ("NMS_TIER_1",)).exit_code == 0
    assert rows(tmp_path / "old.db") == rows(tmp_path / "new.db")


def test_everything_offered_is_listed_oldest_first_without_the_doubled_weeks() -> None:
    """The list joins both datasets and has none of the codes that are no tier of ours."""
    with simulated(GeneratedMarket(1, SMALL, 0.01), summary_weeks=4) as service:
        source = service.source(DAY)
        offered = source.available()
        assert offered == sorted(
            offered, key=lambda each: (each.values[0], ["NMS_TIER_1", "NMS_TIER_2", "OTC"].index(each.values[1]))
        )
        assert len(set(offered)) == len(offered) > 12
        assert {each.values[1] for each in offered} == {"NMS_TIER_1", "NMS_TIER_2", "OTC"}
        assert source.lists(DOMAIN.partition("2026-11-13|NMS_TIER_1")) is False
        assert source.lists(DOMAIN.partition("2024-01-05|OTC")) is None


def test_short_pages_are_continued(service: Simulated, clean: Path, tmp_path: Path) -> None:
    """Half pages, each time, still give every row."""
    with simulated(GeneratedMarket(1, SMALL, 0.01), ["short-page@data=1"]) as short:
        source = short.source(DAY)
        assert load(source, tmp_path / "a.db", DAY).exit_code == 0
        assert rows(tmp_path / "a.db") == rows(clean)


def test_nothing_is_fetched_for_a_partition_that_is_not_due(service: Simulated, tmp_path: Path) -> None:
    """A week that neither calendar nor list knows costs the list and nothing more."""
    source = service.source(DAY)
    result = load(source, tmp_path / "a.db", DAY, "2026-11-20", ("NMS_TIER_1",))
    assert ingested(result) == {"2026-11-20|NMS_TIER_1": ("skipped", "not_due")}
    assert source.traffic.requests == 1
