"""The keys of FINRA's weeks and of prices, in the forms that people type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.app.keys import find_partition
from market_spine.errors import UsageError
from market_spine.registry import locate
from spine.domains.finra.otc_transparency import DOMAIN as FINRA
from spine.domains.market_data import DOMAIN as PRICES

STORE = {
    FINRA.name: ["2025-11-14|OTC", "2025-11-21|NMS_TIER_1", "2025-11-21|OTC"],
    PRICES.name: ["AAPL|mock", "AAPL|polygon", "BRK.B|polygon", "ABRpD|polygon", "MSFT|polygon", "OTC|mock"],
    "off_exchange": [],
}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("2025-11-21|OTC", "2025-11-21|OTC"),
        ("2025-11-21/OTC", "2025-11-21|OTC"),
        ("2025-11-21/otce", "2025-11-21|OTC"),
        ("2025-11-17|OTC", "2025-11-21|OTC"),  # the Monday
        ("2025-11-23 OTC", "2025-11-21|OTC"),  # the Sunday after
        ("20251121:t1", "2025-11-21|NMS_TIER_1"),
        ("2025/11/21 Tier 1", "2025-11-21|NMS_TIER_1"),
        ("nms-tier-1@2025-11-21", "2025-11-21|NMS_TIER_1"),
        ("2025-11-14", "2025-11-14|OTC"),
        ("t1", "2025-11-21|NMS_TIER_1"),
        ("2020-01-06/t2", "2020-01-10|NMS_TIER_2"),  # known to nobody, and still a key
        ("msft", "MSFT|polygon"),
        ("aapl/Polygon", "AAPL|polygon"),
        ("AAPL mock", "AAPL|mock"),
        ("brk-b", "BRK.B|polygon"),
        ("BRK/B", "BRK.B|polygon"),
        ("abr-p-d", "ABRpD|polygon"),
        ("ABRPD", "ABRpD|polygon"),
        ("nvda|polygon", "NVDA|polygon"),
    ],
)
def test_a_typed_key_is_understood_whichever_domain_it_is_of(text: str, key: str) -> None:
    """Weeks by any day, tiers by any name, symbols alone and in small letters mean the partition that is known."""
    assert locate(text, None, STORE.__getitem__)[1].key == key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2025-11-21", "'2025-11-21|OTC', '2025-11-21|NMS_TIER_1'"),
        ("2025-12-05", "a key is such as '2025-12-05|OTC', '2025-12-05|NMS_TIER_1'"),
        ("2025-13-05/OTC", "'2025-13-05' in '2025-13-05/OTC' is not a date"),
        ("2025-11-21/T9", "unknown tier 'T9'"),
        ("aapl", "'AAPL|polygon', 'AAPL|mock'"),
        ("googl", "a key is such as 'GOOGL|polygon', 'GOOGL|mock'"),
        ("?", "market-spine status"),
    ],
)
def test_an_unclear_key_shows_the_key_to_type(text: str, said: str) -> None:
    """What means several partitions, or none, is refused with the keys or the shape of the key."""
    with pytest.raises(UsageError) as caught:
        locate(text, None, STORE.__getitem__)
    assert said in f"{caught.value.message} ({caught.value.hint})"


def test_a_text_that_two_domains_know_needs_the_domain() -> None:
    """OTC is a tier of known weeks and a known symbol: the domain that knows just one such partition has it."""
    assert locate("OTC", None, STORE.__getitem__)[1].key == "OTC|mock"
    with pytest.raises(UsageError, match="fits 2 partitions"):
        locate("OTC", "finra", STORE.__getitem__)


@given(st.sampled_from(STORE[FINRA.name]), st.sampled_from("|/: ,@"), st.booleans())
def test_every_separator_and_case_finds_the_same_week(key: str, separator: str, small: bool) -> None:
    """The separators that people use and small letters change nothing."""
    text = key.replace("|", separator)
    assert find_partition(FINRA, text.lower() if small else text, STORE.__getitem__).key == key
