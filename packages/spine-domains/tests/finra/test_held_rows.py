"""A revision is worked out from the held rows, and comes to what the payloads alone would have told."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import reader
from market_spine.core import reconcile
from market_spine.core.revision import RowDiff, diff_rows
from market_spine.store import open_writer, parse_url, replacing
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

if TYPE_CHECKING:
    import polars as pl

COLUMNS = {
    "tierDescription": "OTC",
    "issueSymbolIdentifier": None,
    "issueName": "Acme Corp",
    "marketParticipantName": "ALPHA ATS",
    "MPID": "ALPH",
    "totalWeeklyShareQuantity": None,
    "totalWeeklyTradeCount": "7",
    "lastUpdateDate": "2025-12-22",
}
KEY = "2025-11-21|OTC"
OTHERS = {f"X{number:03}": str(number) for number in range(60)}
"""So many rows that a few that are refused, or go, hold nothing."""


def text(rows: dict[str, str], without: Sequence[str] = ()) -> str:
    """A weekly file of symbol = shares, without some of its columns."""
    names = [name for name in COLUMNS if name not in without]
    lines = ["|".join(names)]
    for symbol, shares in rows.items():
        own = {**COLUMNS, "issueSymbolIdentifier": symbol, "totalWeeklyShareQuantity": shares}
        lines.append("|".join(str(own[name]) for name in names))
    return "\n".join(lines) + "\n"


def load(home: Path, content: str, day: str) -> SchedulerResult:
    folder = home / "data"
    folder.mkdir(exist_ok=True)
    (folder / "otc_week_2025-11-21.csv").write_text(content)
    flags: dict[str, Any] = {"weeks": "2025-11-21", "tiers": "OTC", "run_date": day}
    return run_finra_schedule(db=str(home / "spine.db"), data_dir=str(folder), **flags)


def forget_lacks(home: Path) -> None:
    """Make every manifest entry one of a program that did not keep what payloads lack."""
    with closing(open_writer(parse_url(str(home / "spine.db")), [DOMAIN])) as store:
        store._db.run("UPDATE core_manifest SET scope = '{}'")


def told(home: Path) -> list[Any]:
    """All that the store knows of the partition: rows with when they came and went, and what the manifest says."""
    with closing(reader(str(home / "spine.db"))) as store:
        rows = store.query("SELECT * FROM finra_otc_venue_volume_versions ORDER BY symbol, manifest_id").rows
        entries = [each.entry for each in store.history(DOMAIN.name, KEY)]
    return [rows, [(e.stage, e.status, e.change, e.is_revision, e.content_hash, e.rejected) for e in entries]]


VALUES = st.sampled_from(["1", "2", "3", "1O", "-4"])
SHARES = st.dictionaries(st.sampled_from(["AAA", "BBB", "CCC", "DDD", "EEE"]), VALUES, min_size=3)
LACKING = st.sampled_from([(), ("lastUpdateDate",), ("MPID",), ("issueName", "lastUpdateDate")])


@pytest.mark.soak
@settings(max_examples=8 * int(os.environ.get("MARKET_SPINE_SOAK", "1")), suppress_health_check=[HealthCheck.too_slow])
@given(versions=st.lists(st.tuples(SHARES, LACKING), min_size=2, max_size=4))
def test_held_rows_and_payloads_tell_the_same(versions: list[tuple[dict[str, str], tuple[str, ...]]]) -> None:
    """Whatever rows change, columns come and go and rows are refused: the same revisions, hashes and versions."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        homes = [Path(first), Path(second)]
        for number, (rows, without) in enumerate(versions):
            for home in homes:
                load(home, text(OTHERS | rows, without), f"2025-12-{23 + number}")
            forget_lacks(homes[1])
        assert told(homes[0]) == told(homes[1])


@pytest.mark.parametrize(("first", "read"), [({"AAA": "1", "BBB": "2"}, False), ({"AAA": "1", "BBB": "x"}, True)])
def test_the_older_payload_is_not_read(first: dict[str, str], read: bool, tmp_path: Path) -> None:
    """A revision needs the older payload only where it was refused rows: without its bytes only that one fails."""
    load(tmp_path, text(OTHERS | first), "2025-12-23")
    with closing(open_writer(parse_url(str(tmp_path / "spine.db")), [DOMAIN])) as store:
        store._db.run("UPDATE core_payloads SET data = ?", (b"",))
    result = load(tmp_path, text(OTHERS | {"AAA": "5", "CCC": "3"}), "2025-12-24")
    run = result.runs[0]
    if read:
        assert run.error is not None and run.error.kind == "store_corrupt"
    else:
        assert run.revision_summary is not None
        found = run.revision_summary
        assert (found.rows_added, found.rows_removed, found.rows_changed) == (1, 1, 1)


def test_a_revision_is_compared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of a revision are matched with those that stand a single time, also to find what to write; only where
    they complete those rows are they compared with what stands once more."""
    compared: list[str] = []

    def counted(old: pl.DataFrame, new: pl.DataFrame, key: Sequence[str]) -> RowDiff:
        compared.extend(["venues"] if "issue_name" in key else [])
        return diff_rows(old, new, key)

    for module in (reconcile, replacing):
        monkeypatch.setattr(module, "diff_rows", counted)
    counts = []
    for day, shares, without in ((23, "1", ["lastUpdateDate"]), (24, "2", ["lastUpdateDate"]), (25, "3", [])):
        compared.clear()
        load(tmp_path, text(OTHERS | {"AAA": shares}, without), f"2025-12-{day}")
        counts.append(len(compared))
    assert counts == [0, 1, 2]
