"""The suite that every domain inherits, for FINRA OTC transparency."""

from __future__ import annotations

from market_spine.core.capture import Part
from market_spine.testing import DomainContract
from spine.domains.finra.otc_transparency import DOMAIN

HEAD = (
    "tierDescription|issueSymbolIdentifier|issueName|marketParticipantName|MPID"
    "|totalWeeklyShareQuantity|totalWeeklyTradeCount|lastUpdateDate"
)
LINES = """\
NMS Tier 1|AAPL|Apple Inc. Common Stock|UBS ATS|UBSA|100|10|2025-01-21
NMS Tier 1|MSFT|Microsoft Corporation|UBS ATS|UBSA|250.5|20|2025-01-21
NMS Tier 1|MSFT|Microsoft Corporation|INTELLIGENT CROSS|INCR|7|1|2025-01-21
NMS Tier 1|MSFT|Microsoft Corporation|INTELLIGENT CROSS|INCR|7|1|2025-01-21
"""


class TestFinraContract(DomainContract):
    """FINRA keeps to what the platform asks of a domain."""

    domain = DOMAIN
    keys = ("2025-01-03|NMS_TIER_1", "2025-11-14|OTC")
    payloads = {  # noqa: RUF012 - given once, as the suite asks
        "2025-01-03|NMS_TIER_1": (
            Part(
                "ATS",
                f"{HEAD}\n{LINES}".encode(),
                "nms_tier_1_week_2025-01-03.csv",
                {"name_tier": "NMS_TIER_1", "name_week": "2025-01-03", "name_kind": "week"},
            ),
        )
    }
