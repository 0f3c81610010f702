"""An older store, which keeps bulk tables as rows, is converted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.errors import SchemaError, StoreCorrupt
from market_spine.store import StoreUrl, check, open_reader, open_writer
from market_spine.store.sqlite import segments
from market_spine.store.writer import StoreWriter

if TYPE_CHECKING:
    import polars as pl

pytestmark = pytest.mark.parametrize("new_store", ["columns"], indirect=True)

NORTH = Scope({"day": "2025-01-03", "plot": "north"})


def _counts(writer: StoreWriter) -> tuple[int, int, int]:
    """Segments, closures and rows beside them."""
    names = ("core_segments", "core_closures", "garden_harvest_versions")
    one, two, three = (int(writer._db.rows(f"SELECT COUNT(*) FROM {name}")[0][0]) for name in names)
    return one, two, three


def _shown(writer: StoreWriter, as_of: str | None = None) -> list[tuple[Any, ...]]:
    return list(writer.query("SELECT crop, weight FROM garden_harvest ORDER BY crop", as_of).rows)


def test_an_older_store_is_refused_until_it_is_upgraded(
    store_url: StoreUrl,
    make_domain: Callable[..., Domain],
    domain: Domain,
    clock: Any,
    enter: Callable[..., Entry],
    harvest: Callable[..., pl.DataFrame],
    partition: Partition,
    tmp_path: Path,
) -> None:
    """A store that keeps a bulk table as rows is told from damage, converted on demand, and kept as it was."""
    from market_spine.store import upgrade

    rows = domain.tables[0]._replace(bulk=False)
    older = cast("Any", replace(cast("Any", domain), tables=(rows, domain.tables[1])))
    loads: tuple[dict[str, float], ...] = (
        {"kale": 1, "beet": 2, "leek": 3},
        {"kale": 1, "beet": 5},
        {},
        {"kale": 9, "fern": 1},
    )
    with open_writer(store_url, [older], clock=clock) as writer:
        for number, weights in enumerate(loads):
            with writer.commit(partition) as commit:
                entry = enter(commit, partition, capture_id=f"capture {number}")
                commit.replace(rows, NORTH, harvest(**weights), entry.manifest_id)
        for name in ("core_segments", "core_segment_data", "core_segment_schemas", "core_closures"):
            writer._db.run(f"DROP TABLE {name}")
        writer._db.run("DELETE FROM core_migrations WHERE set_name = 'embedded'")
    for attempt in (open_writer, open_reader):
        with pytest.raises(SchemaError, match="older") as error, attempt(store_url, [domain], clock=clock):
            pass
        assert "market-spine db upgrade" in error.value.hint
    done = upgrade(store_url, [domain], clock=clock)
    assert done[0] == "embedded/0001_segments"
    kept = Path(f"{store_url.path}.before-upgrade")
    assert str(kept) in done[-1]
    assert upgrade(store_url, [domain], clock=clock) == []
    with closing(sqlite3.connect(kept)) as before:
        versions = before.execute("SELECT crop, weight, manifest_id, superseded_by FROM garden_harvest_versions")
        expected = sorted(versions.fetchall(), key=repr)
    with open_writer(store_url, [domain], clock=clock) as writer:
        sql = "SELECT crop, weight, manifest_id, superseded_by FROM garden_harvest_versions"
        assert sorted(writer.query(sql).rows, key=repr) == expected
        for number, weights in enumerate(loads):
            shown = [(crop, float(weight)) for crop, weight in sorted(weights.items())]
            assert _shown(writer, f"capture {number}") == shown
        # Two first loads; the change of one row in between stays a row.
        assert _counts(writer) == (2, 2, 1)
    assert all(finding.ok for finding in check(store_url, [domain], deep=True))


def test_a_conversion_that_fails_leaves_the_store_as_it_was(
    store_url: StoreUrl,
    domain: Domain,
    clock: Any,
    enter: Callable[..., Entry],
    harvest: Callable[..., pl.DataFrame],
    partition: Partition,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the converted rows are not those that were kept, nothing is changed and no copy is left behind."""
    from market_spine.store import upgrade

    rows = domain.tables[0]._replace(bulk=False)
    older = cast("Any", replace(cast("Any", domain), tables=(rows, domain.tables[1])))
    with open_writer(store_url, [older], clock=clock) as writer:
        with writer.commit(partition) as commit:
            entry = enter(commit, partition)
            commit.replace(rows, NORTH, harvest(kale=1, beet=2), entry.manifest_id)
        for name in ("core_segments", "core_segment_data", "core_segment_schemas", "core_closures"):
            writer._db.run(f"DROP TABLE {name}")
        writer._db.run("DELETE FROM core_migrations WHERE set_name = 'embedded'")
        writer._db.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    before = Path(store_url.path).read_bytes()
    pack = segments.pack
    monkeypatch.setattr(segments, "pack", lambda table, frame, count: pack(table, frame.reverse().head(1), count))
    with pytest.raises(StoreCorrupt, match="did not come out as it was"):
        upgrade(store_url, [domain], clock=clock)
    assert Path(store_url.path).read_bytes() == before
    assert not list(Path(store_url.path).parent.glob("*before-upgrade*"))
