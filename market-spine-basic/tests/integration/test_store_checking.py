"""``db check``: what is wrong with a store, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from market_spine.core.capture import Part
from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry, PartRecord
from market_spine.core.partition import Partition
from market_spine.store import StoreUrl, check, open_writer, parse_url, upgrade
from market_spine.store.writer import StoreWriter
from market_spine.testing import run_command

BEFORE = ["reachable", "schema", "tables", "indexes", "views", "integrity", "manifest", "rows"]
AFTER = ["payloads", "clock", "decisions", "anomalies", "notices", "runs", "windows"]


def _wrong(url: StoreUrl, domain: Domain, *, deep: bool = False) -> dict[str, str]:
    findings = check(url, [domain], deep=deep)
    assert all(bool(finding.hint) != finding.ok for finding in findings)
    wrong: dict[str, str] = {}
    for finding in findings:
        if not finding.ok:
            wrong[finding.name] = f"{wrong.get(finding.name, '')}{finding.message}; "
    return wrong


@pytest.fixture
def loaded(
    writer: StoreWriter, partition: Partition, put: Callable[..., Entry], enter: Callable[..., Entry]
) -> StoreWriter:
    """A store with two versions of some rows and a payload."""
    put("first", kale=1)
    put("second", kale=2, beet=3)
    part = Part("p", b"bytes" * 100, "file")
    with writer.commit(partition) as commit:
        commit.add_payload(part)
        enter(commit, partition, parts=(PartRecord("p", part.sha256, "file", len(part.data)),))
    return writer


def test_nothing_is_wrong_with_a_sound_store(loaded: StoreWriter, store_url: StoreUrl, domain: Domain) -> None:
    """Each check says what it looked at."""
    for deep in (False, True):
        findings = check(store_url, [domain], deep=deep)
        own = ["segments"] if store_url.kind == "sqlite" else []
        assert [finding.name for finding in findings] == [*BEFORE, *own, *AFTER]
        assert all(finding.ok and finding.message for finding in findings)


@pytest.mark.parametrize(
    ("damage", "found", "said"),
    [
        ("DELETE FROM core_manifest WHERE capture_id = 'second'", "manifest", "2 rows of garden_harvest_versions"),
        ("UPDATE garden_harvest_versions SET superseded_by = 99 WHERE crop = 'beet'", "manifest", "superseded_by"),
        ("DELETE FROM core_payloads", "payloads", "2025-01-03|north: the payload of garden:2025-01-03|north p"),
        ("DROP VIEW garden_price", "views", "garden_price"),
        ("DELETE FROM core_migrations WHERE set_name = 'views:garden'", "views", "views:garden"),
        ("DELETE FROM core_migrations WHERE set_name = 'platform' AND number = 2", "schema", "platform/0002"),
    ],
)
def test_contradictions_are_found(
    damage: str, found: str, said: str, loaded: StoreWriter, store_url: StoreUrl, domain: Domain
) -> None:
    """Rows without an entry, lost payloads, missing views and migrations are named, each by its check."""
    loaded._db.run(damage)
    wrong = _wrong(store_url, domain)
    # An entry that is missing may also have brought a segment.
    assert [name for name in wrong if name != "segments"] == [found]
    assert said in wrong[found]


def test_a_changed_payload_is_found_by_looking_closer(loaded: StoreWriter, store_url: StoreUrl, domain: Domain) -> None:
    """Bytes that no longer have their digest are found when every payload is read."""
    loaded._db.run("UPDATE core_payloads SET data = ?", (b"other",))
    assert _wrong(store_url, domain) == {}
    assert list(_wrong(store_url, domain, deep=True)) == ["payloads"]


def test_a_store_that_does_not_exist_yet(
    store_url: StoreUrl, make_domain: Callable[..., Domain], domain: Domain, clock: Any
) -> None:
    """An absent store, and one that is older than the program, are told apart from damage."""
    assert "no" in next(iter(_wrong(store_url, domain).values()))
    upgrade(store_url, [], clock=clock)
    assert _wrong(store_url, domain) == {}
    upgrade(store_url, [domain], clock=clock)
    newer = make_domain({"0001_x.sql": "CREATE TABLE x (a TEXT);"})
    assert "differs" in _wrong(store_url, newer)["schema"]


@pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)
def test_damaged_pages_are_found(loaded: StoreWriter, store_url: StoreUrl, domain: Domain) -> None:
    """An SQLite file whose pages were overwritten is damaged."""
    loaded._db.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    loaded.close()
    data = bytearray(Path(store_url.path).read_bytes())
    data[8192:20480] = b"\xff" * 12288
    Path(store_url.path).write_bytes(data)
    assert _wrong(store_url, domain)


@pytest.mark.process
def test_the_command_answers_with_its_exit_code(store_url: StoreUrl, tmp_path: Path, clock: Any) -> None:
    """Exit code 0 and 1 for a sound and an absent store, as a table and as one JSON document."""
    name = store_url.path if store_url.kind == "sqlite" else "postgresql://me:hunter2@127.0.0.1:1/db"
    absent = run_command("db", "check", "--db", name, "--json", cwd=tmp_path)
    document = json.loads(absent.stdout)
    assert (absent.code, document["ok"], [each["name"] for each in document["checks"]]) == (1, False, ["reachable"])
    assert document["checks"][0]["hint"]
    assert "hunter2" not in absent.stdout + absent.stderr
    with open_writer(parse_url(str(tmp_path / "sound.db")), [], clock=clock):
        pass
    sound = run_command("db", "check", "--db", "sound.db", cwd=tmp_path)
    assert sound.code == 0
    assert [line.split()[:2] for line in sound.stdout.splitlines()[1:]] == [
        [name, "ok"] for name in (*BEFORE, "segments", *AFTER)
    ]
