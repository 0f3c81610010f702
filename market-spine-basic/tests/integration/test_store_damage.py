"""Damage of every kind, one at a time, in a store with a long past: each is found, and named, on both stores."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from market_spine import registry
from market_spine.app.rebuild import MomentClock, rebuild
from market_spine.compose import utc_now
from market_spine.core.checking import CheckResult
from market_spine.errors import MarketSpineError, StoreError
from market_spine.store import StoreUrl, check, open_reader, open_writer, parse_url, upgrade
from market_spine.store.fresh import new_store
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

from .damage import LOST, OBJECTS, SEEN_AT_ONCE, Damage, fill

pytestmark = pytest.mark.soak

KINDS = ("sqlite", "postgresql")


class Original:
    """A sound store, and copies of it; ``latest`` is the address of the last copy."""

    def __init__(self, folder: Path, server: str | None) -> None:
        self.folder, self.server, self.count = folder, server, 0
        self.address = str(folder / "sound.db") if server is None else self._database("sound")
        self.latest = self.address
        fill(self.address, folder / "files")

    def copy(self) -> StoreUrl:
        """Another store with the same contents."""
        self.count += 1
        if self.server is not None:
            self.latest = self._database(f"copy{self.count}", "sound")
        else:
            self.latest = str(self.folder / f"copy{self.count}.db")
            shutil.copyfile(self.address, self.latest)
        return parse_url(self.latest)

    def _database(self, name: str, template: str = "") -> str:
        import psycopg

        assert self.server is not None
        mark = self.folder.name.replace("-", "_")
        like = f"{template}_{mark}" if template else "template0 ENCODING 'UTF8'"
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}_{mark} TEMPLATE {like}".encode())
        return urlsplit(self.server)._replace(path=f"/{name}_{mark}").geturl()


@pytest.fixture(scope="module", params=KINDS)
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Original:
    """A store of either kind that was filled once."""
    server = request.getfixturevalue("postgres_server")(18) if request.param == "postgresql" else None
    return Original(tmp_path_factory.mktemp("damage"), server)


@pytest.fixture
def damaged(original: Original, request: pytest.FixtureRequest) -> StoreUrl:
    """A copy of it with one kind of damage."""
    damage: Damage = request.param
    url = original.copy()
    if url.kind not in damage.stores:
        pytest.skip(f"there is no such thing on {url.kind}")
    harm(url, damage.sql)
    return url


def harm(url: StoreUrl, sql: str) -> None:
    """Do something to a store behind its back."""
    with open_writer(url, registry.domains()) as writer:
        writer._db.begin()
        for statement in [sql] if " TRIGGER " in sql else sql.split("; "):
            cascade = " CASCADE" if url.kind == "postgresql" and statement.startswith("DROP VIEW") else ""
            (writer._db.rows if statement.startswith("SELECT") else writer._db.run)(statement + cascade)
        writer._db.commit()


def wrong(url: StoreUrl, *, deep: bool = False) -> list[CheckResult]:
    """What a check says that is not well."""
    findings = check(url, registry.domains(), deep=deep)
    assert all(bool(finding.hint) != finding.ok and finding.message for finding in findings)
    return [finding for finding in findings if not finding.ok]


def named(damages: list[Damage]) -> pytest.MarkDecorator:
    """Try each kind of damage by itself."""
    return pytest.mark.parametrize(
        ("damaged", "damage"),
        [(each, each) for each in damages],
        indirect=["damaged"],
        ids=[each.sql[:60] for each in damages],
    )


def test_a_sound_store_stays_sound(original: Original) -> None:
    """After loads, restatements, other bytes with the same rows, decisions and failures nothing is wrong."""
    assert wrong(original.copy()) == wrong(original.copy(), deep=True) == []


@named(SEEN_AT_ONCE)
def test_damage_is_found(damaged: StoreUrl, damage: Damage, record_property: Any) -> None:
    """Each kind of damage is found by its check, which says where."""
    record_property("mutants", 1)
    found = [finding.message for finding in wrong(damaged) if finding.name == damage.check]
    assert any(damage.said in message for message in found), (found, wrong(damaged))


@named(OBJECTS)
def test_objects_are_compared_with_their_declarations_and_mended(
    damaged: StoreUrl, damage: Damage, record_property: Any
) -> None:
    """What of the schema is missing or replaced is named, `db upgrade` says what it mended, and nothing is left wrong
    but rows that were lost."""
    record_property("mutants", 1)
    found = wrong(damaged)
    assert any(each.name == damage.check and damage.said in each.message for each in found), found
    assert any("db upgrade" in each.hint + each.message for each in found)
    assert "SEQUENCE" in damage.sql or "setval" in damage.sql or upgrade(damaged, registry.domains())
    upgrade(damaged, registry.domains())
    lost = {"core_closures": {"rows", "segments"}, "core_run_partitions": {"runs"}}
    assert {each.name for each in wrong(damaged)} <= lost.get(damage.said, set())
    assert upgrade(damaged, registry.domains()) == []


@named(LOST)
def test_what_cannot_be_mended_is_named(damaged: StoreUrl, damage: Damage, record_property: Any) -> None:
    """Columns, keys and triggers that are not as declared are found, and stay so."""
    record_property("mutants", 1)
    with suppress(StoreError):
        upgrade(damaged, registry.domains())
    found = wrong(damaged)
    assert any(each.name == damage.check and damage.said in each.message for each in found), found


@named(SEEN_AT_ONCE if "MARKET_SPINE_SOAK" in os.environ else SEEN_AT_ONCE[::4])
def test_no_damage_is_an_internal_error(damaged: StoreUrl, damage: Damage, tmp_path: Path, original: Original) -> None:
    """Whatever is damaged: a load and a rebuild go well, or end with a named error."""
    flags: dict[str, Any] = {"data_dir": str(original.folder / "files"), "tiers": "OTC", "lookback_weeks": 3}
    result = run_finra_schedule(db=original.latest, force=True, run_date="2025-12-24", **flags)
    errors = [*(run.error for run in result.runs if run.error), *([result.error] if result.error else [])]
    assert not [error for error in errors if error.kind == "internal"]
    clock = MomentClock(utc_now())
    new = StoreUrl("sqlite", str(tmp_path / "new.db"))
    with suppress(MarketSpineError), open_reader(damaged, registry.domains()) as reader:
        log = reader.log()
        with new_store(new, registry.domains(), clock) as target:
            rebuild(log, reader, target, clock, registry.domains(), accept=True)
