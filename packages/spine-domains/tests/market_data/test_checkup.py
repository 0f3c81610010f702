"""What ``doctor`` says of price vendors, asked over real HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from spine.domains.market_data import DOMAIN
from spine.domains.market_data.simulator.generated import generate_book
from spine.domains.market_data.simulator.server import running_vendor

pytestmark = pytest.mark.server

MONDAY = datetime(2026, 11, 23, 21, 30, tzinfo=UTC)


@pytest.mark.parametrize("source", ["alpha_vantage", "polygon"])
def test_a_vendor_is_asked_without_its_key(
    source: str, at_vendor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers, no call of the quota is spent, no key is shown; once it is gone that is told."""
    monkeypatch.setenv("PRICE_SOURCE", source)
    with running_vendor(source, dict(generate_book(3, ["AAA"], first_day=date(2025, 1, 2))), MONDAY) as vendor:
        desk = at_vendor(vendor)
        found = {each.name: each for each in DOMAIN.checkup(online=True)}
        assert found[f"prices {source}"].ok
        assert found[f"prices {source}"].message.startswith(f"{vendor.url} answers (status ")
        assert found["prices keys"].message == "alpha_vantage: set; polygon: set"
        assert "S3CRETKEY" not in repr(found)
        assert desk.run("AAA", source=source).exit_code == 0
    gone = {each.name: each for each in DOMAIN.checkup(online=True)}[f"prices {source}"]
    assert (gone.ok, bool(gone.hint)) == (False, True)
