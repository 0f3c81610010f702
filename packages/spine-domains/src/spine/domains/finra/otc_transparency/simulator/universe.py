"""The issues of an invented market and the participants that trade them, tier by tier.

Companies, ATSs and firms are those of the generated sample files; on top come the cases that break clients:
a class share (``BRK.B``), symbols that differ in case only (``TPC``, ``TpC``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from spine.domains.finra.otc_transparency.sample_data import ListedIssue, list_issues
from spine.domains.finra.otc_transparency.sample_names import DE_MINIMIS_FIRMS, FIRMS, Issue
from spine.domains.finra.otc_transparency.schema import ATS, NON_ATS
from spine.domains.finra.otc_transparency.simulator.fields import TIERS

if TYPE_CHECKING:
    import polars as pl

FULL_MARKET: Mapping[str, int] = MappingProxyType({"T1": 72_000, "T2": 168_000, "OTCE": 24_000})
"""Rows of a week in the real service, all summary types together."""

_PARTICIPANTS = {"T1": (20.0, 5.0), "T2": (12.0, 3.1), "OTCE": (1.8, 2.1)}
"""Mean number of ATSs and of non-ATS firms of an issue; each issue has two roll-up rows besides."""

_SPECIAL = {
    "T1": (Issue("AAPL", "Apple Inc. Common Stock", "common"), Issue("BRK.B", "Berkshire Hathaway Inc.", "class")),
    "T2": (
        Issue("TPC", "Tutor Perini Corporation Common Stock", "common"),
        Issue("TpC", "AT&T Inc. Preferred Stock, Series C", "preferred"),
    ),
    "OTCE": (),
}
_SPECIAL_SYMBOLS = frozenset(issue.symbol for issues in _SPECIAL.values() for issue in issues)

_CRD_OF = {DE_MINIMIS_FIRMS: 0, **{name: 104_001 + 137 * number for number, name in enumerate(FIRMS)}}
"""The Central Registration Depository numbers of the invented firms."""


def slots(seed: int, tier: str, rows: int) -> pl.DataFrame:
    """Every pair of an issue and a participant of a tier: one row of a week in which it trades.

    Args:
        seed: equal seeds give equal markets.
        tier: T1, T2 or OTCE.
        rows: about how many rows, roll-ups included, a week shall have.

    Returns:
        ``slot`` and ``issue`` (numbers), the descriptive columns of FINRA's rows, ``product`` (the product
        code of the issue), and the logarithms ``volume`` (of the issue), ``offset`` (of the pair) and
        ``trade_size``.
    """
    import polars as pl

    atss, firms = _PARTICIPANTS[tier]
    # Of the slots listed, a tenth is spare and three in a hundred do not trade.
    issues = rows / (atss + firms + 2) / 1.07
    records = [
        *_records(list_issues(seed, TIERS[tier], ATS, max(1, round(issues * atss))), tier, "ATS_W_SMBL_FIRM"),
        *_records(list_issues(seed, TIERS[tier], NON_ATS, max(1, round(issues * firms))), tier, "OTC_W_SMBL_FIRM"),
    ]
    text = dict.fromkeys(
        ("summaryTypeCode", "issueSymbolIdentifier", "issueName", "MPID", "marketParticipantName", "product"),
        pl.String(),
    )
    numbers = {"issue": pl.UInt64(), "firmCRDNumber": pl.Int64()}
    sizes = dict.fromkeys(("volume", "offset", "trade_size"), pl.Float64())
    frame = pl.DataFrame(records, schema={**text, **numbers, **sizes}, orient="row")
    return frame.with_row_index("slot").cast({"slot": pl.UInt64})


def _records(listings: tuple[ListedIssue, ...], tier: str, summary_type: str) -> Iterator[tuple[Any, ...]]:
    special = _SPECIAL[tier]
    for number, listing in enumerate(listings):
        issue = special[number] if number < len(special) else listing.issue
        if number >= len(special) and issue.symbol in _SPECIAL_SYMBOLS:
            continue
        product = "OTCE" if tier == "OTCE" else "UTP" if issue.symbol.isalpha() and len(issue.symbol) == 4 else "CTS"
        for venue, offset in listing.venues:
            name, _, mpid = venue.partition("|")
            crd = None if mpid else _CRD_OF[name]
            yield (
                *(summary_type, issue.symbol, issue.name, mpid or None, name, product),
                *(number, crd, listing.volume, offset, listing.trade_size),
            )
