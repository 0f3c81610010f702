"""``db check --deep``: what only recomputing from payloads shows, one kind of damage at a time, on both stores."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from market_spine import registry
from market_spine.app import verify as recomputing
from market_spine.cli import verify
from market_spine.store import StoreUrl, check, open_writer
from spine.domains.market_data.scheduler import run_prices_schedule

from .damage import COLUMNS, Damage
from .test_store_damage import Original, damaged, harm, named, original

pytestmark = pytest.mark.soak

__all__ = ["damaged", "original"]

_NORMALIZE = (
    "(SELECT MAX(manifest_id) FROM core_manifest WHERE stage = 'normalize' AND partition_key = '2025-11-21|OTC')"
)
_PRICES = "market_data_prices_versions"
_DAILY = "market_data_prices_daily_versions"
_LAST = f"trade_date = (SELECT MAX(trade_date) FROM {_PRICES})"


def _entry(change: str, which: str = _NORMALIZE) -> str:
    return f"UPDATE core_manifest SET {change} WHERE manifest_id = {which}"


def _of(stage: str, key: str = "2025-11-21|OTC") -> str:
    return f"(SELECT MAX(manifest_id) FROM core_manifest WHERE stage = '{stage}' AND partition_key = '{key}')"


_ROLLING = _of("rolling")

DEEP = [
    Damage(
        f"UPDATE {_PRICES} SET close = close + 1 WHERE symbol = 'IBM' AND {_LAST}",
        "1 changed",
        "IBM|mock: market_data_prices",
    ),
    Damage(
        f"UPDATE {_PRICES} SET vwap = NULL, trade_count = 7 WHERE symbol = 'IBM' AND {_LAST}",
        "1 changed",
        "market_data_prices",
    ),
    Damage(
        f"UPDATE {_DAILY} SET \"return\" = 0.5 WHERE symbol = 'AAPL'", "changed", "AAPL|mock: market_data_prices_daily"
    ),
    Damage(f"UPDATE {_PRICES} SET symbol = 'AAPX' WHERE symbol = 'AAPL' AND {_LAST}", "missing", "AAPL|mock"),
    Damage(
        f"UPDATE {_PRICES} SET manifest_id = {_of('normalize', 'IBM|mock')} WHERE symbol = 'MSFT' AND {_LAST}",
        "missing",
        "MSFT|mock",
    ),
    Damage(
        "UPDATE finra_otc_venue_volume_versions SET share_volume = 1",
        "changed",
        "2025-11-21|OTC: finra_otc_venue_volume",
    ),
    Damage(
        "UPDATE finra_otc_symbol_rolling_versions SET is_complete = NOT is_complete",
        "changed",
        "finra_otc_symbol_rolling",
    ),
    Damage(
        "UPDATE finra_otc_venue_volume_versions SET superseded_by = (SELECT MIN(superseded_by) FROM"
        " finra_otc_venue_volume_versions) WHERE superseded_by IS NOT NULL",
        "of",
        "finra_otc_venue_volume",
    ),
    Damage(
        "UPDATE core_segments SET partition_key = '1999-01-01|OTC' WHERE segment_id = 1",
        "missing",
        "2025-11-07|OTC",
        stores=COLUMNS,
    ),
    Damage(
        "UPDATE core_closures SET row_number = row_number - 1 WHERE row_number > 0 AND row_number ="
        " (SELECT MIN(row_number) FROM core_closures c WHERE c.segment_id = core_closures.segment_id)",
        "of",
        "2025-11-21|OTC",
        stores=COLUMNS,
    ),
    Damage(_entry("content_hash = 'x'"), "content_hash", "2025-11-21|OTC: core_manifest"),
    Damage(_entry("content_hash = 'x'", _of("ingest")), "content_hash", "2025-11-21|OTC: core_manifest"),
    Damage(_entry("content_hash = 'x'", _ROLLING), "content_hash", "2025-11-21|OTC: core_manifest"),
    Damage(_entry("fingerprint = 'x'"), "fingerprint", "core_manifest"),
    Damage(_entry("fingerprint = 'x'", _of("calc", "IBM|mock")), "fingerprint", "IBM|mock: core_manifest"),
    Damage(_entry("pipeline_version = '0'"), "pipeline_version", "core_manifest"),
    Damage(_entry("row_count = row_count + 1"), "row_count", "core_manifest"),
    Damage(_entry("row_count = row_count - 1", _of("ingest")), "row_count", "core_manifest"),
    Damage(_entry("rejected = rejected + 1", _of("ingest")), "rejected", "core_manifest"),
    Damage(_entry("duplicates = 5", _of("ingest", "IBM|mock")), "duplicates", "IBM|mock"),
    Damage(
        _entry("rows_added = rows_added + 1, rows_changed = rows_changed - 1, rows_removed = rows_removed + 1"),
        "change",
        "core_manifest",
    ),
    Damage(
        "UPDATE core_manifest SET rows_changed = rows_changed + 1 WHERE stage = 'ingest' AND is_revision",
        "rows_changed",
        "2025-11-21|OTC",
    ),
    Damage(_entry("is_revision = NOT is_revision"), "is_revision", "core_manifest"),
    Damage(_entry("partition_key = '2025-11-14|OTC'", _ROLLING), "", "2025-11-14|OTC"),
    Damage("DELETE FROM core_rejects", "missing", "core_rejects"),
    Damage("INSERT INTO core_rejects SELECT * FROM core_rejects", "not of its payloads", "core_rejects"),
    Damage("UPDATE core_rejects SET raw = 'x', line = 99", "missing or changed", "core_rejects"),
]


def differences(url: StoreUrl) -> list[str]:
    """What recomputing finds."""
    return [each.message for each in verify.recomputed(url, workers=1) if not each.ok]


def test_a_sound_store_is_as_its_payloads_say(original: Original) -> None:
    """Every version of every row comes out again; progress is told, up to all partitions."""
    told: list[tuple[int, int]] = []
    (found,) = verify.recomputed(original.copy(), progress=lambda *counts: told.append(counts))
    assert found.ok, found
    assert told[-1][0] == told[-1][1] > 5


@named(DEEP)
def test_what_payloads_do_not_say_is_found(damaged: StoreUrl, damage: Damage, record_property: Any) -> None:
    """Each kind of damage is found by recomputing, which names partition, table and what differs."""
    record_property("mutants", 1)
    found = differences(damaged)
    assert any(damage.said in message and damage.check in message for message in found), found


def test_rows_of_no_known_partition_are_counted(original: Original) -> None:
    """Rows that no partition accounts for are told by number."""
    url = original.copy()
    harm(url, f"UPDATE {_PRICES} SET symbol = 'AAPX' WHERE symbol = 'AAPL' AND {_LAST}")
    assert "market_data_prices: 1 versions of rows lie in no partition that is known" in differences(url)


def test_a_window_that_is_said_to_stand_is_looked_at(original: Original) -> None:
    """A window whose entry and rows are gone, while the store says that windows stand, is found."""
    url = original.copy()
    entry = _of("rolling")
    harm(
        url,
        f"DELETE FROM finra_otc_symbol_rolling_versions WHERE manifest_id = {entry}; "
        f"UPDATE finra_otc_symbol_rolling_versions SET superseded_by = NULL WHERE superseded_by = {entry}; "
        f"DELETE FROM core_manifest WHERE manifest_id = {entry}",
    )
    assert any("said to stand" in message for message in differences(url))


@pytest.mark.parametrize("change", ["a value", "a row less"])
def test_a_segment_that_was_rewritten_with_its_digest_is_found(original: Original, change: str) -> None:
    """A segment that is a sound file of other rows, its digest and size put right, is not what its payload says."""
    url = original.copy()
    if url.kind != "sqlite":
        pytest.skip("there are no segments")
    with open_writer(url, registry.domains()) as writer:
        db = writer._db
        ((segment, data),) = db.rows(
            "SELECT d.segment_id, d.data FROM core_segment_data d JOIN core_segments s USING (segment_id)"
            " WHERE table_name = 'finra_otc_venue_volume' ORDER BY 1 LIMIT 1"
        )
        frame = pl.read_parquet(BytesIO(data))
        frame = frame.with_columns(trade_count=pl.col("trade_count") + 1) if change == "a value" else frame[:-1]
        file = BytesIO()
        frame.write_parquet(file)
        new = file.getvalue()
        db.begin()
        db.run("UPDATE core_segment_data SET data = ? WHERE segment_id = ?", (new, segment))
        digest = hashlib.sha256(new).hexdigest()
        db.run(
            "UPDATE core_segments SET sha256 = ?, size = ?, row_count = ? WHERE segment_id = ?",
            (digest, len(new), frame.height, segment),
        )
        db.commit()
    assert not [each for each in check(url, registry.domains(), deep=True) if not each.ok and each.name == "segments"]
    assert any("2025-11-07|OTC: finra_otc_venue_volume" in message for message in differences(url))


def test_a_payload_that_was_changed_is_named(original: Original) -> None:
    """A payload with other bytes stops what is made from it, and nothing else: partition and digest are named."""
    url = original.copy()
    with open_writer(url, registry.domains()) as writer:
        ((digest,),) = writer._db.rows(
            "SELECT p.sha256 FROM core_capture_parts p JOIN core_manifest m USING (manifest_id)"
            " WHERE m.partition_key = 'IBM|mock' LIMIT 1"
        )
        writer._db.begin()
        writer._db.run("UPDATE core_payloads SET data = ?, codec = 'none' WHERE sha256 = ?", (b"x", digest))
        writer._db.commit()
    (found,) = differences(url)
    assert found.startswith("IBM|mock: ")
    assert digest in found


def test_many_processes_find_the_same(original: Original, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work of several processes adds up to that of one."""
    url = original.copy()
    harm(url, DEEP[0].sql)
    alone = differences(url)
    monkeypatch.setattr(verify, "WORTH_IT", 0)
    assert [each.message for each in verify.recomputed(url, workers=2) if not each.ok] == alone


def test_what_a_killed_check_left_is_removed(
    original: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that nobody is at work in any more goes; one that is locked, and what is not ours, stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("market-spine-check-dead", "market-spine-check-live", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "again.db").touch()
    lock = os.open(tmp_path / "market-spine-check-live", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (found,) = verify.recomputed(original.copy(), workers=1)
    os.close(lock)
    assert found.ok
    assert sorted(path.name for path in tmp_path.iterdir()) == ["market-spine-check-live", "other"]


def test_what_is_loaded_meanwhile_is_not_taken_for_damage(
    original: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load that commits while a store is recomputed changes nothing of what is found."""
    url = original.copy()
    inner = recomputing.verify

    def beside(*arguments: Any) -> Any:
        run_prices_schedule(symbols="AAPL,NVDA", source="mock", db=original.latest, run_date="2025-12-30")
        return inner(*arguments)

    monkeypatch.setattr(recomputing, "verify", beside)
    (found,) = verify.recomputed(url, workers=1)
    assert found.ok, found
    with open_writer(url, registry.domains()) as writer:
        assert "NVDA|mock" in writer.partition_keys("market_data")
