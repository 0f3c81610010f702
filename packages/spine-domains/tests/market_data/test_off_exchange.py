"""``off_exchange_week``: FINRA's volumes as a share of consolidated ones, over both domains' tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from market_spine.compose import Hooks, Request, Selection, run_schedule, utc_now
from market_spine.core.capture import Part, Payload
from market_spine.core.domain import Domain
from market_spine.errors import UsageError
from market_spine.registry import find, load, locate
from market_spine.store import open_writer, parse_url
from spine.domains.off_exchange import OFF_EXCHANGE_WEEK

WEEK = "2023-01-20"
"""The Friday of a week with four sessions: Monday was Martin Luther King day."""
LINE = "{tier}|{symbol}|Apple Inc. Common Stock|{name}|{mpid}|{shares}|{trades}|{update}"


def pipe_file(rows: list[tuple[str, str, int, int]]) -> bytes:
    """A weekly file in FINRA's pipe layout."""
    head = (
        "tierDescription|issueSymbolIdentifier|issueName|marketParticipantName|MPID"
        "|totalWeeklyShareQuantity|totalWeeklyTradeCount|lastUpdateDate"
    )
    lines = [
        LINE.format(
            tier="NMS Tier 1", symbol="AAPL", name=name, mpid=mpid, shares=shares, trades=trades, update="2023-02-06"
        )
        for name, mpid, shares, trades in rows
    ]
    return "\n".join([head, *lines, ""]).encode()


def load_finra(desk: Any, source: Any, *parts: Part) -> None:
    finra = load("finra")
    selection = Selection([finra.partition(f"{WEEK}|NMS_TIER_1")], source(Payload(parts)))
    result = run_schedule(finra, Request(db=desk.db), lambda _today, _reader: selection, Hooks(clock=desk.clock))
    assert result.exit_code == 0, result.to_json()


def finra_part(name: str, data: bytes) -> Part:
    facts = {"file": f"nms_tier_1_week_{WEEK}.csv", "name_tier": "NMS_TIER_1", "name_week": WEEK, "name_kind": "week"}
    return Part(name, data, facts["file"], facts)


@pytest.mark.samples
def test_shares_of_aapl_by_hand(
    desk: Any, given_source: Any, finra_samples: Path, bar_samples: Path, part: Callable[..., Part]
) -> None:
    """AAPL's week of 2023-01-16: FINRA's real ATS rows over the volume added up from the real bars."""
    records = json.loads((finra_samples / "api" / "weeklySummary_AAPL_T1_ATS_W_SMBL_FIRM.json").read_text())
    rows = [
        (row["marketParticipantName"], row["MPID"] or "", row["totalWeeklyShareQuantity"], row["totalWeeklyTradeCount"])
        for row in records
        if row["weekStartDate"] == "2023-01-16" and row["tierDescription"] == "NMS Tier 1"
    ]
    with (bar_samples / "AAPL.csv").open() as file:
        week = [row for row in csv.DictReader(file) if "2023-01-16" <= row["date"] <= WEEK]
    consolidated = sum(float(row["volume"]) for row in week)
    assert (len(week), sum(row[2] for row in rows)) == (4, 15_052_890)

    load_finra(desk, given_source, finra_part("ATS", pipe_file(rows)))
    sql = f"SELECT {{}} FROM off_exchange_week WHERE symbol = 'AAPL' AND week_ending = '{WEEK}'"
    assert desk.rows(sql.format("ats_share_volume, consolidated_volume, ats_share")) == [(15_052_890.0, None, None)]

    bars = [{**row, "volume": float(row["volume"])} for row in week]
    desk.load("AAPL|mock", part(json.dumps({"symbol": "AAPL", "bars": bars}).encode()))
    columns = "ats_share, non_ats_share, off_exchange_share, consolidated_volume, finra_capture_id, prices_capture_id"
    assert desk.rows(sql.format(columns)) == [
        (
            pytest.approx(15_052_890 / consolidated),
            None,
            None,
            consolidated,
            f"finra.otc_transparency:NMS_TIER_1:{WEEK}:20261123",
            "market_data:AAPL:mock:20261123",
        )
    ]
    assert consolidated == 271_823_400.0


def test_every_missing_leg_is_null(desk: Any, given_source: Any, part: Callable[..., Part]) -> None:
    """With both FINRA legs the whole share is told; a session without a bar takes every share away."""
    load_finra(
        desk,
        given_source,
        finra_part("ATS", pipe_file([("UBS ATS", "UBSA", 100, 10)])),
        finra_part("NON_ATS", pipe_file([("CITADEL SECURITIES LLC", "CDRG", 300, 30)])),
    )
    days = ("2023-01-17", "2023-01-18", "2023-01-19", "2023-01-20")
    bars = [
        {"date": day, "open": 1, "high": 1, "low": 1, "close": 1, "volume": 250 + number}
        for number, day in enumerate(days)
    ]
    desk.load("AAPL|mock", part(json.dumps({"symbol": "AAPL", "bars": bars}).encode()))
    sql = "SELECT ats_share, non_ats_share, off_exchange_share, off_exchange_volume FROM off_exchange_week"
    assert desk.rows(sql) == [(100 / 1006, 300 / 1006, 400 / 1006, 400.0)]
    desk.load("AAPL|polygon", part(_polygon(bars[1:]), form="range"))
    rows = desk.rows("SELECT price_source, off_exchange_share FROM off_exchange_week ORDER BY price_source")
    assert rows == [("mock", 400 / 1006), ("polygon", None)]


def _polygon(bars: list[dict[str, Any]]) -> bytes:
    letters = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}
    results = [
        {
            **{short: bar[name] for short, name in letters.items()},
            "t": int(datetime.fromisoformat(f"{bar['date']}T05:00:00").replace(tzinfo=UTC).timestamp() * 1000),
        }
        for bar in bars
    ]
    return json.dumps({"ticker": "AAPL", "adjusted": False, "results": results}).encode()


def test_the_view_waits_for_both_domains(tmp_path: Path) -> None:
    """In a store of one domain the view does not exist; it comes when the other's tables do."""
    url = parse_url(str(tmp_path / "store.db"))
    room, finra, prices = load("off_exchange"), load("finra"), load("prices")

    def views(*domains: Domain) -> list[Any]:
        with closing(open_writer(url, domains, clock=utc_now)) as store:
            sql = f"SELECT table_name FROM information_schema.views WHERE table_name = '{OFF_EXCHANGE_WEEK.name}'"
            return list(store.query(sql).rows)

    assert views(finra, room) == []
    assert views(finra, prices, room) == [(OFF_EXCHANGE_WEEK.name,)]


def test_the_room_has_no_stage_and_no_command() -> None:
    """It is a view only: no table, no partition, no command; partition keys go to the domains that have some."""
    room = find("off_exchange")
    assert (room.tables, room.windows, dict(room.commands()), list(room.grid(datetime.now(UTC).date(), 5, ()))) == (
        (),
        (),
        {},
        [],
    )
    with pytest.raises(UsageError, match="no partitions"):
        room.partition("AAPL|polygon")
    assert locate("AAPL|polygon")[0].name == "market_data"
