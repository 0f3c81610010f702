"""The derived views of FINRA's data, with values worked out by hand, on both stores and as of moments between."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from market_spine.compose import Hooks, Request, Selection, reader, run_schedule
from market_spine.core.capture import Part, Payload
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from spine.domains.finra.otc_transparency import DOMAIN

KEY = "2025-11-21|OTC"
HEADER = (
    "tierDescription|issueSymbolIdentifier|issueName|marketParticipantName|MPID|totalWeeklyShareQuantity"
    "|totalWeeklyTradeCount|lastUpdateDate"
)
TIERS = {"OTC": "OTC", "NMS_TIER_2": "NMS Tier 2"}
Volumes = dict[str, tuple[float, int]]
"""Symbol to shares and trades."""

FIRST, SECOND, THIRD = (
    datetime(2025, 12, 22, 15, tzinfo=UTC),  # Monday
    datetime(2025, 12, 26, 15, tzinfo=UTC),  # Friday: 23, 24 and 26 December are the sessions since
    datetime(2026, 1, 5, 15, tzinfo=UTC),  # Monday: and 29, 30, 31 December, 2 and 5 January
)


class Given:
    """A source with these parts."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)

    def fetch(self, partition: Partition, known: Known) -> Payload:
        return Payload(self.parts)


class Desk:
    """A store of either kind, and a clock."""

    def __init__(self, db: str) -> None:
        self.db = db
        self.now = FIRST

    def load(self, key: str = KEY, ats: Volumes | None = None, other: Volumes | None = None) -> None:
        week, _, name = key.partition("|")
        # The Monday five weeks after the week's own.
        head = (TIERS[name], date.fromisoformat(week) + timedelta(days=31))
        parts = [
            Part(name, "\n".join([HEADER, *self.lines(*head, name, volumes), ""]).encode(), name.lower())
            for name, volumes in (("ATS", ats), ("NON_ATS", other))
            if volumes is not None
        ]
        ticks = count()
        hooks = Hooks(clock=lambda: self.now + timedelta(milliseconds=next(ticks)))

        def select(_today: object, _reader: object) -> Selection:
            return Selection([DOMAIN.partition(key)], Given(parts))

        result = run_schedule(DOMAIN, Request(db=self.db, run_date="2026-01-05"), select, hooks)
        assert result.exit_code == 0, result.to_json()
        self.now += timedelta(hours=1)

    def lines(self, tier: str, published: date, name: str, volumes: Volumes) -> list[str]:
        venue = "IBKR ATS|IATS" if name == "ATS" else "FIRM ONE LLC|"
        return [
            f"{tier}|{symbol}|{symbol} Corp|{venue}|{shares:g}|{trades}|{published}"
            for symbol, (shares, trades) in volumes.items()
        ]

    def rows(self, sql: str, as_of: datetime | None = None) -> list[tuple[Any, ...]]:
        with closing(reader(self.db, lambda: THIRD + timedelta(days=1))) as store:
            return list(store.query(sql, as_of).rows)


@pytest.fixture(params=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    if request.param == "postgresql":
        return Desk(request.getfixturevalue("new_postgres")())
    return Desk(str(tmp_path / "spine.db"))


@pytest.fixture
def restated(desk: Desk) -> Desk:
    """A week that is restated twice: its ATS leg, then the other."""
    desk.load(ats={"ACME": (1000, 10), "BOLT": (500, 5)}, other={"ACME": (300, 3), "COIL": (200, 2)})
    desk.now = SECOND
    desk.load(ats={"ACME": (1200, 12), "DOVE": (50, 1)}, other={"ACME": (300, 3), "COIL": (200, 2)})
    desk.now = THIRD
    desk.load(ats={"ACME": (1200, 12), "DOVE": (50, 1)}, other={"ACME": (300, 3), "COIL": (260, 2)})
    return desk


REVISIONS = (
    "SELECT venue_class, sessions_later, rows_added, rows_removed, rows_changed, share_volume_change,"
    " share_volume_moved, largest_move FROM finra_otc_revisions ORDER BY revised_at, venue_class"
)
ATS = ("ATS", 3, 1, 1, 1, -250.0, 750.0, 500.0)
"""ACME 1000 -> 1200, BOLT 500 -> gone, DOVE -> 50."""
OTHER = ("NON_ATS", 8, 0, 0, 1, 60.0, 60.0, 60.0)
"""COIL 200 -> 260."""


def test_each_restatement_is_told_by_venue_class(restated: Desk) -> None:
    """Rows, shares and how many exchange sessions later, now and as of moments between."""
    assert restated.rows(REVISIONS) == [ATS, OTHER]
    assert restated.rows(REVISIONS, SECOND + timedelta(hours=1)) == [ATS]
    assert restated.rows(REVISIONS, FIRST + timedelta(hours=1)) == []
    named = "SELECT capture_id, venue_class FROM finra_otc_revisions ORDER BY 1"
    assert restated.rows(named) == [
        ("finra.otc_transparency:OTC:2025-11-21:20260105.2", "ATS"),
        ("finra.otc_transparency:OTC:2025-11-21:20260105.3", "NON_ATS"),
    ]


def test_revision_statistics_per_tier_and_venue_class(restated: Desk) -> None:
    """How often, how late and how largely; a class that was never restated has no lateness and no size."""
    restated.load("2025-11-14|OTC", ats={"ACME": (10, 1)}, other={"ACME": (5, 1)})
    sql = "SELECT * FROM finra_otc_revision_statistics ORDER BY tier, venue_class"
    assert restated.rows(sql) == [
        ("OTC", "ATS", 2, 1, 0.5, 1, 3.0, 3, 3.0, 3, 750 / 1250, 750 / 1250),
        ("OTC", "NON_ATS", 2, 1, 0.5, 1, 8.0, 8, 1.0, 1, 60 / 560, 60 / 560),
    ]
    assert restated.rows(sql, SECOND + timedelta(hours=1)) == [
        ("OTC", "ATS", 1, 1, 1.0, 1, 3.0, 3, 3.0, 3, 750 / 1250, 750 / 1250),
        ("OTC", "NON_ATS", 1, 0, 0.0, 0, None, None, None, None, None, None),
    ]


def test_the_history_shows_every_version_and_when_it_was_known(restated: Desk) -> None:
    """Between two moments each; as of a moment neither what came nor what went later is known."""
    sql = (
        "SELECT symbol, share_volume, known_from, known_until IS NULL AS is_current FROM finra_otc_venue_volume_history"
        " WHERE symbol IN ('ACME', 'BOLT') AND venue_class = 'ATS' ORDER BY symbol, known_from"
    )
    now = restated.rows(sql)
    assert [(row[0], row[1], row[3]) for row in now] == [
        ("ACME", 1000.0, False),
        ("ACME", 1200.0, True),
        ("BOLT", 500.0, False),
    ]
    ends = restated.rows(
        "SELECT o.known_until, n.known_from FROM finra_otc_venue_volume_history o"
        " JOIN finra_otc_venue_volume_history n ON n.manifest_id = o.superseded_by AND n.symbol = o.symbol"
        " AND n.venue_id = o.venue_id WHERE o.symbol = 'ACME'"
    )
    assert len(ends) == 1
    assert ends[0][0] == ends[0][1]
    before = restated.rows(sql, FIRST + timedelta(hours=1))
    assert [(row[0], row[1], row[3]) for row in before] == [("ACME", 1000.0, True), ("BOLT", 500.0, True)]


def test_a_tiers_share_in_a_symbols_volume(desk: Desk) -> None:
    """ACME trades 1500 in OTC and 500 in Tier 2; a symbol of one tier has all of its volume there."""
    desk.load(ats={"ACME": (1000, 10), "BOLT": (500, 5)}, other={"ACME": (500, 3)})
    sql = (
        "SELECT symbol, tier, share_volume, symbol_share_volume, tier_share, tiers, tiers_known"
        " FROM finra_otc_tier_share ORDER BY symbol, tier"
    )
    assert desk.rows(sql) == [
        ("ACME", "OTC", 1500.0, 1500.0, 1.0, 1, 1),
        ("BOLT", "OTC", 500.0, 500.0, 1.0, 1, 1),
    ]
    desk.load("2025-11-21|NMS_TIER_2", ats={"ACME": (500, 10)})
    assert desk.rows(sql) == [
        ("ACME", "NMS_TIER_2", 500.0, 2000.0, 0.25, 2, 2),
        ("ACME", "OTC", 1500.0, 2000.0, 0.75, 2, 2),
        ("BOLT", "OTC", 500.0, 500.0, 1.0, 1, 2),
    ]


def test_only_complete_windows_with_the_same_legs_are_comparable(desk: Desk) -> None:
    """Six weeks of both legs make one; five do not, nor do six of which one has a single leg."""
    weeks = ("2025-10-17", "2025-10-24", "2025-10-31", "2025-11-07", "2025-11-14", "2025-11-21", "2025-11-28")
    sql = "SELECT week_ending, symbol, volume_mean FROM finra_otc_symbol_rolling_complete ORDER BY 1"
    for number, week in enumerate(weeks[:6], 1):
        desk.load(f"{week}|OTC", ats={"ACME": (100 * number, 1)}, other={"ACME": (0, 1)})
        assert desk.rows(sql) == ([] if number < 6 else [("2025-11-21", "ACME", 350.0)])
    desk.load("2025-11-28|OTC", ats={"ACME": (700, 1)})
    assert desk.rows("SELECT COUNT(*) FROM finra_otc_symbol_rolling WHERE is_complete") == [(2,)]
    assert desk.rows(sql) == [("2025-11-21", "ACME", 350.0)]
