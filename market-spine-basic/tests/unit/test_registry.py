"""How installed domains are found."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from market_spine import registry


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """The registry remembers what it found only within a test."""
    registry.entries.cache_clear()
    yield
    registry.entries.cache_clear()


def install(site: Path, name: str, entries: str) -> None:
    """Leave the metadata of a distribution in a folder, as pip would."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)


def test_it_finds_what_importlib_metadata_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to write the group down is read like the standard library reads it, other groups are not."""
    install(
        tmp_path,
        "several",
        "[console_scripts]\nmeadow = meadow.cli:main\n\n"
        "[market_spine.domains]\n# a remark\nmeadow = meadow.domain:DOMAIN\n heath=heath:DOMAIN \n\n"
        "[market_spine.domains.more]\nmoor = moor:DOMAIN\n",
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path, "/no/such/folder"])
    expected = {entry.name: entry.value for entry in entry_points(group=registry.GROUP)}
    assert expected["meadow"] == "meadow.domain:DOMAIN"
    assert registry.entries() == expected
    assert list(registry.entries()) == sorted(expected)


def test_the_first_on_the_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two distributions of one name the one that Python would import is taken."""
    install(tmp_path / "one", "meadow", "[market_spine.domains]\nmeadow = one:DOMAIN\n")
    install(tmp_path / "two", "meadow", "[market_spine.domains]\nmeadow = two:DOMAIN\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "one"), str(tmp_path / "two")])
    assert registry.entries() == {"meadow": "one:DOMAIN"}
