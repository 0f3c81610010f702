"""The suite that every domain inherits, for FINRA OTC transparency."""

from __future__ import annotations

from market_spine.testing import DomainContract
from spine.domains.finra.otc_transparency import DOMAIN


class TestFinraContract(DomainContract):
    """FINRA keeps to what the platform asks of a domain."""

    domain = DOMAIN
    keys = ("2025-01-03|NMS_TIER_1", "2025-11-14|OTC")
