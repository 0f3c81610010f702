"""Files and the API take turns with the same data: no revision, and nothing known is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import reader
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.simulator.generated import GeneratedMarket
from spine.domains.finra.otc_transparency.simulator.market import Key
from spine.domains.finra.otc_transparency.source import FileSource

from .api_helpers import Simulated, ingested, load, rows, simulated, website_file

pytestmark = pytest.mark.server

DAY, WEEK, TIER = "2026-11-24", "2026-10-23", ("NMS_TIER_2",)
SIZES = {"T1": 10, "T2": 600, "OTCE": 10}
KEY = "2026-10-23|NMS_TIER_2"
COMMON = "tier, venue_class, venue_name, symbol, issue_name, share_volume, trade_count, last_update_date"


@pytest.fixture(scope="module")
def service() -> Iterator[Simulated]:
    with simulated(GeneratedMarket(7, SIZES, 0.0)) as running:
        yield running


@pytest.fixture
def folder(service: Simulated, tmp_path: Path) -> Path:
    """The website's two files of the week that the service has."""
    service.clock.set(service.clock.now().replace(year=2026, month=11, day=24))
    data = tmp_path / "files"
    data.mkdir()
    for kind, name in (("ATS_W_SMBL_FIRM", ""), ("OTC_W_SMBL_FIRM", "_non_ats")):
        records = service.records("2026-10-19", "T2", kind)
        (data / f"nms_tier_2{name}_week_2026-10-23.txt").write_text(website_file(records))
    return data


def from_api(service: Simulated, db: Path, **flags: object) -> SchedulerResult:
    return load(service.source(DAY, force=bool(flags)), db, DAY, WEEK, TIER, **flags)


def from_files(folder: Path, db: Path, **flags: object) -> SchedulerResult:
    return load(FileSource(str(folder)), db, DAY, WEEK, TIER, **flags)


def untold(folder: Path) -> int:
    """How many lines the files have of venues that traded two products of one symbol, which only the API tells."""
    lines = [line.split("|") for path in folder.iterdir() for line in path.read_text().splitlines()[1:]]
    counts = Counter((line[1], line[2], line[3]) for line in lines if line[1])
    return sum(count for count in counts.values() if count > 1)


def captures(db: Path) -> list[tuple[str, bool, object]]:
    store = reader(str(db))
    try:
        held = [each.entry for each in store.history(DOMAIN.name, KEY) if each.entry.stage == "ingest"]
        return [(entry.status, entry.is_revision, entry.change) for entry in held]
    finally:
        store.close()


def test_the_website_and_the_api_hold_the_same_rows(service: Simulated, folder: Path, tmp_path: Path) -> None:
    """In every field that both carry, a load from files equals one from the API; but for products told apart."""
    assert from_files(folder, tmp_path / "files.db").exit_code == 0
    assert from_api(service, tmp_path / "api.db").exit_code == 0
    held, told = rows(tmp_path / "files.db", COMMON), rows(tmp_path / "api.db", COMMON)
    assert set(held) < set(told)
    assert len(told) - len(held) == untold(folder) > 0


def test_files_after_the_api_change_nothing(service: Simulated, folder: Path, tmp_path: Path) -> None:
    """The files, which know less, are the same rows; back at the API, too; a forced run keeps what is known."""
    db = tmp_path / "a.db"
    assert from_api(service, db).exit_code == 0
    known = rows(db)
    assert ingested(from_files(folder, db)) == {KEY: ("skipped", "same_rows")}
    assert ingested(from_api(service, db)) == {KEY: ("skipped", "unchanged_at_source")}
    assert ingested(from_files(folder, db)) == {KEY: ("skipped", "same_bytes")}
    forced = from_files(folder, db, force=True)
    assert forced.exit_code == 0
    assert {run.is_revision for run in forced.runs} <= {False, None}
    assert rows(db) == known
    assert len([status for status, *_ in captures(db) if status == "committed"]) == 1


def test_the_api_after_files_adds_what_they_did_not_know(service: Simulated, folder: Path, tmp_path: Path) -> None:
    """The rows of a load from the API alone, and no row counts as changed; then turns change nothing.

    Only rows that the files could not tell apart are added.
    """
    db = tmp_path / "a.db"
    assert from_files(folder, db).exit_code == 0
    result = from_api(service, db)
    (ingest,) = (run for run in result.runs if run.pipeline.endswith("ingest_week"))
    assert ingest.revision_summary is not None
    assert (ingest.revision_summary.rows_added, ingest.revision_summary.rows_removed) == (untold(folder), 0)
    assert ingest.revision_summary.rows_changed == 0
    assert from_api(service, tmp_path / "api.db").exit_code == 0
    assert rows(db) == rows(tmp_path / "api.db")
    assert ingested(from_files(folder, db)) == {KEY: ("skipped", "same_rows")}
    assert ingested(from_api(service, db)) == {KEY: ("skipped", "unchanged_at_source")}
    assert [status for status, *_ in captures(db)] == ["committed", "committed", "noted"]


def test_a_revised_file_after_the_api_keeps_what_it_does_not_carry(
    service: Simulated, folder: Path, tmp_path: Path
) -> None:
    """One changed row is one changed row: what was said of its other figures goes, the other rows' stays; diff and a
    replay agree."""
    db = tmp_path / "a.db"
    assert from_api(service, db).exit_code == 0
    before = {row[:7]: row for row in rows(db)}
    path = folder / "nms_tier_2_non_ats_week_2026-10-23.txt"
    lines = path.read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if "De Minimis" not in line and number > 20)
    fields = lines[place].split("|")
    fields[5], fields[6] = "4242", "42"
    lines[place] = "|".join(fields)
    path.write_text("\n".join(lines) + "\n")

    result = from_files(folder, db)
    (ingest,) = (run for run in result.runs if run.pipeline.endswith("ingest_week"))
    assert ingest.is_revision is True
    assert ingest.revision_summary is not None
    assert (ingest.revision_summary.rows_added, ingest.revision_summary.rows_removed) == (0, 0)
    assert ingest.revision_summary.rows_changed == 1
    after = {row[:7]: row for row in rows(db)}
    assert after.keys() == before.keys()
    (changed,) = (key for key in after if after[key] != before[key])
    assert after[changed][8:10] == (4242.0, 42)
    assert after[changed][10:12] == (None, None) != before[changed][10:12]

    command = (sys.executable, "-m", "market_spine", "diff", KEY, "--db", str(db), "--json")
    told = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert (told["added"], told["removed"], len(told["changed"])) == ([], [], 1)
    assert told["changed"][0]["new"]["share_volume"] == 4242.0

    held = rows(db)
    for stage in ("normalize", "calc"):
        again = from_files(folder, db, force=True, only_stage=stage)
        assert again.exit_code == 0
    assert rows(db) == held

    back = from_api(service, db)
    (ingest,) = (run for run in back.runs if run.pipeline.endswith("ingest_week"))
    assert ingest.revision_summary is not None
    assert ingest.revision_summary.rows_changed == 1
    assert {row[:7]: row for row in rows(db)} == before

    command = (sys.executable, "-m", "market_spine", "rebuild", "--db", str(db), "--into", str(tmp_path / "again.db"))
    subprocess.run(command, capture_output=True, check=True)
    assert rows(tmp_path / "again.db") == rows(db)
    assert captures(tmp_path / "again.db") == captures(db)


def test_rows_that_a_file_brought_are_completed_by_the_api_without_a_revision(
    service: Simulated, folder: Path, tmp_path: Path
) -> None:
    """A file of a few lines, all told apart, then the API's same rows: more is known, nothing is revised, 0/0/0."""
    db, api_db = tmp_path / "a.db", tmp_path / "api.db"
    assert from_api(service, api_db).exit_code == 0
    products = Counter((row[3], row[5]) for row in rows(api_db))
    split = {symbol for (_, symbol), count in products.items() if count > 1}
    for path in folder.iterdir():
        header, *lines = path.read_text().splitlines()
        path.write_text("\n".join([header, *(line for line in lines if line.split("|")[1] not in split)]) + "\n")
    assert from_files(folder, db).exit_code == 0
    narrow = [each for each in rows(api_db) if each[5] not in split]
    with simulated(_Without(split), per_minute=0) as narrowed:
        result = from_api(narrowed, db)
        (ingest,) = (run for run in result.runs if run.pipeline.endswith("ingest_week"))
        assert (ingest.status, ingest.is_revision) == ("completed", False)
        summary = ingest.revision_summary
        assert summary is not None
        assert (summary.rows_added, summary.rows_removed, summary.rows_changed) == (0, 0, 0)
        assert {run.is_revision for run in result.runs if run.pipeline.endswith("normalize_week")} == {False}
        assert rows(db) == narrow
        assert ingested(from_files(folder, db)) == {KEY: ("skipped", "same_rows")}
        assert ingested(from_api(narrowed, db)) == {KEY: ("skipped", "unchanged_at_source")}


class _Without:
    """The market of these tests without some symbols; a SimulatedMarket."""

    def __init__(self, symbols: set[str]) -> None:
        self._market = GeneratedMarket(7, SIZES, 0.0)
        self._symbols = symbols

    def keys(self, today: date) -> Sequence[Key]:
        return self._market.keys(today)

    def summary_types(self, key: Key) -> Sequence[str]:
        return self._market.summary_types(key)

    def rows(self, key: Key, today: date) -> pl.DataFrame:
        found = self._market.rows(key, today)
        return found.filter(~pl.col("issueSymbolIdentifier").is_in(sorted(self._symbols)).fill_null(False))
