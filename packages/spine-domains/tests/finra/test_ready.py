"""When FINRA's weeks are ready for those who wait for them, and when they are proven."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from market_spine.cli.main import root
from market_spine.compose import Hooks, Request, Selection, reader, run_schedule
from market_spine.core.capture import Part, Payload
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from spine.domains.finra.otc_transparency import DOMAIN

HEADER = (
    "issueSymbolIdentifier|MPID|marketParticipantName|tierIdentifier|totalWeeklyTradeCount|totalWeeklyShareQuantity"
)
TIERS = {"NMS_TIER_1": "T1", "NMS_TIER_2": "T2", "OTC": "OTCE"}


class Desk:
    """FINRA's API as it answers for any tier: one venue's row of one symbol, and its total if there is one."""

    def __init__(self, total: int | None) -> None:
        self.total = total

    def fetch(self, partition: Partition, known: Known) -> Payload:
        tier = TIERS[partition.values[1]]
        parts = [self.part("ATS", f"ACME|ABCD|ABCD ALPHA ATS|{tier}|9|1000")]
        if self.total is not None:
            parts.append(self.part("ATS_TOTALS", f"ACME|||{tier}|9|{self.total}"))
        return Payload(tuple(parts))

    def part(self, name: str, line: str) -> Part:
        return Part(name, f"{HEADER}\n{line}\n".encode(), name.lower(), {"source": "api", "record_total": "1"})


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """OTC proven, Tier 2 without totals, of the week that ends on 2025-11-21; Tier 1 not loaded."""
    for name in ("DATABASE_URL", "FINRA_PLAUSIBILITY"):
        monkeypatch.delenv(name, raising=False)
    path = str(tmp_path / "spine.db")
    for tier, total in (("OTC", 1000), ("NMS_TIER_2", None)):
        load(path, tier, total)
    return path


def load(database: str, tier: str, total: int | None) -> None:
    def select(_today: object, _reader: object) -> Selection:
        return Selection([DOMAIN.partition(f"2025-11-21|{tier}")], Desk(total))

    assert run_schedule(DOMAIN, Request(db=database, run_date="2025-12-30"), select, Hooks()).exit_code == 0


def ask(database: str, *flags: str) -> tuple[int, dict[str, Any]]:
    arguments = ["ready", "finra", "--db", database, "--json", *flags]
    done = CliRunner().invoke(root, arguments, standalone_mode=False)
    assert done.exception is None, done.exception
    return done.return_value, {each["partition_key"]: each["reasons"] for each in json.loads(done.stdout)["partitions"]}


def test_all_tiers_of_a_week_are_waited_for(database: str) -> None:
    """Any day of the week names it; one tier may be asked for alone."""
    missing = "nothing is captured: not_loaded"
    assert ask(database, "--week", "2025-11-18", "--run-date", "2025-12-30") == (
        1,
        {"2025-11-21|NMS_TIER_1": [missing], "2025-11-21|NMS_TIER_2": [], "2025-11-21|OTC": []},
    )
    assert ask(database, "--week", "2025-11-21", "--tiers", "OTC,NMS_TIER_2")[0] == 0


def test_by_default_the_latest_published_week_of_each_tier_is_waited_for(database: str) -> None:
    """On the day after Tier 2 and OTC of 2025-11-21 were published, Tier 1 is two weeks ahead."""
    code, found = ask(database, "--run-date", "2025-12-23")
    assert (code, list(found)) == (1, ["2025-11-21|NMS_TIER_2", "2025-11-21|OTC", "2025-12-05|NMS_TIER_1"])


def test_only_what_finras_own_totals_prove_is_verified(database: str) -> None:
    """Rows that add up to FINRA's totals pass, rows without totals do not."""
    code, found = ask(database, "--week", "2025-11-21", "--tiers", "OTC,NMS_TIER_2", "--require", "verified")
    assert (code, found) == (
        1,
        {"2025-11-21|NMS_TIER_2": ["no totals of the source prove its rows"], "2025-11-21|OTC": []},
    )
    assert verified(database) == {"2025-11-21|NMS_TIER_2": False, "2025-11-21|OTC": True}


def test_totals_that_come_later_prove_the_rows_that_are_there(database: str) -> None:
    """The same rows, read again with totals, are no new capture, and verified from then on."""
    load(database, "NMS_TIER_2", 1000)
    assert verified(database) == {"2025-11-21|NMS_TIER_2": True, "2025-11-21|OTC": True}
    assert ask(database, "--week", "2025-11-21", "--tiers", "OTC,NMS_TIER_2", "--require", "verified")[0] == 0


def verified(database: str) -> dict[str, bool]:
    with closing(reader(database)) as store:
        return dict(store.query("SELECT partition_key, verified FROM core_partition_quality").rows)
