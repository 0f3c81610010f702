"""The suite that every domain inherits, for the tiny domain of the platform's own tests."""

from __future__ import annotations

import pytest

from market_spine.core.capture import Part
from market_spine.testing import DomainContract


class TestHarbor(DomainContract):
    """Two parts of landings, a gauge that covers a range, a line that is refused."""

    keys = ("2025-03-01", "2024-02-29")
    payloads = {  # noqa: RUF012 - given once, as the suite asks
        "2025-03-01": (
            Part("landings", b"ada 10\nbela 120\n" + b"".join(b"s%d 1\n" % number for number in range(20)), "a.txt"),
            Part("ferry", b"caro 5\ndora many\n", "a.ferry.txt"),
            Part("tides", b"5 1.5\n6 1.6\n", "a.tides.txt"),
        )
    }

    @pytest.fixture(autouse=True)
    def _installed(self, harbor: None) -> None:
        """The descriptor of the installed package."""
        import harbor as package

        self.domain = package.DOMAIN
