"""Exports of the embedded store and of PostgreSQL can be read together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from market_spine import registry
from market_spine.publish.export import export
from market_spine.read.spine import connect
from market_spine.store import open_writer, parse_url


def test_every_relation_has_the_same_types_in_both_stores(new_postgres: Callable[..., str], tmp_path: Path) -> None:
    """Each table and view of every domain, and each of the platform's, has the same columns and types in its files."""
    schemas = []
    for name, db in (("embedded", str(tmp_path / "spine.db")), ("server", new_postgres())):
        open_writer(parse_url(db), registry.domains()).close()
        with connect(db) as spine:
            export(spine, tmp_path / name, "parquet")
        folders = sorted(path for path in (tmp_path / name).iterdir() if path.is_dir())
        schemas.append(
            {folder.name: dict(pl.scan_parquet(folder / "*.parquet").collect_schema()) for folder in folders}
        )
    embedded, server = schemas
    assert len(embedded) > 20
    differing = {name: (embedded[name], server.get(name)) for name in embedded if embedded[name] != server.get(name)}
    assert differing == {}
    assert server.keys() == embedded.keys()
