"""What several of the platform's test folders use: the tiny domain, installed from a temporary folder."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from market_spine import registry
from market_spine.core.domain import Domain

TINY = Path(__file__).parent / "tiny"


@pytest.fixture
def tiny_site(tmp_path: Path) -> Path:
    """A folder with the tiny domain and the metadata of its distribution, as pip would leave them."""
    site = tmp_path / "site"
    shutil.copytree(TINY, site, ignore=shutil.ignore_patterns("__pycache__"))
    info = site / "harbor-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: harbor\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[market_spine.domains]\nharbor = harbor:DOMAIN\n")
    return site


@pytest.fixture
def harbor(tiny_site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tiny domain installed in this process."""
    monkeypatch.syspath_prepend(str(tiny_site))
    registry.entries.cache_clear()
    yield
    registry.entries.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "harbor"]:
        del sys.modules[name]


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Domain]:
    """The tiny domain that the model knows."""
    monkeypatch.syspath_prepend(str(TINY))
    from ledger import DOMAIN

    yield DOMAIN
    for name in [name for name in sys.modules if name.partition(".")[0] == "ledger"]:
        del sys.modules[name]
