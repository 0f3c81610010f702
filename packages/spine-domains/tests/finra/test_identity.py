"""Whether a file is the one its partition asked for: of that tier, that venue class and that week."""

from __future__ import annotations

import pytest

from market_spine.core.capture import Part
from market_spine.core.domain import Concern
from market_spine.errors import ContentError
from spine.domains.finra.otc_transparency.normalize import normalize_payload
from spine.domains.finra.otc_transparency.partitions import parse_partition

WEEK = "2025-11-14"
SHORT = {
    "tierDescription": "OTC",
    "issueSymbolIdentifier": "AABB",
    "issueName": "Asia Broadband Inc",
    "marketParticipantName": "OTCN OTC LINK NQB IDQS",
    "MPID": "OTCN",
    "totalWeeklyShareQuantity": "6753871",
    "totalWeeklyTradeCount": "171",
    "lastUpdateDate": "2025-12-15",
}
"""A row of the website's layout."""
LONG = {
    **SHORT,
    "tierIdentifier": "OTCE",
    "summaryTypeCode": "ATS_W_SMBL_FIRM",
    "weekStartDate": "2025-11-10",
}
"""A row with the API's columns that say what it is."""
FIRM = {"MPID": "", "marketParticipantName": "CITADEL SECURITIES LLC"}


def make_part(rows: list[dict[str, str]], name: str = "ATS", **metadata: str) -> Part:
    lines = ["|".join(rows[0]), *("|".join(row.values()) for row in rows)]
    return Part(name, ("\n".join(lines) + "\n").encode(), "file.csv", metadata)


def concerns(rows: list[dict[str, str]], **metadata: str) -> list[Concern]:
    part = make_part(rows, **metadata)
    return list(normalize_payload(parse_partition(f"{WEEK}|OTC"), [part]).concerns)


def good_rows(count: int = 30) -> list[dict[str, str]]:
    return [{**LONG, "issueSymbolIdentifier": f"S{number:03}"} for number in range(count)]


@pytest.mark.parametrize(
    ("row", "leg", "tier", "kind", "said"),
    [
        (SHORT, "ATS", "NMS_TIER_1", "wrong_tier", "'OTC'"),
        ({**LONG, "tierIdentifier": "T2"}, "ATS", "OTC", "wrong_tier", "'T2'"),
        ({**LONG, "tierIdentifier": "NMS"}, "ATS", "NMS_TIER_1", "wrong_tier", "'NMS'"),
        (LONG, "NON_ATS", "OTC", "wrong_venue_class", "'ATS_W_SMBL_FIRM'"),
        ({**LONG, "summaryTypeCode": "OTC_W_SMBL_FIRM"}, "ATS", "OTC", "wrong_venue_class", "OTC_W_SMBL_FIRM"),
        ({**LONG, "summaryTypeCode": "ATS_W_SMBL"}, "ATS", "OTC", "wrong_summary_type", "'ATS_W_SMBL'"),
        (SHORT, "NON_ATS", "OTC", "wrong_venue_class", "MPID"),
        ({**SHORT, **FIRM}, "ATS", "OTC", "wrong_venue_class", "none of its rows has an MPID"),
    ],
)
def test_a_file_of_something_else_is_refused(row: dict[str, str], leg: str, tier: str, kind: str, said: str) -> None:
    """A file of another tier, venue class or roll-up is refused whole, though every row could be read."""
    rows = [{**row, "issueSymbolIdentifier": symbol} for symbol in ("A", "B", "C")]
    with pytest.raises(ContentError) as caught:
        normalize_payload(parse_partition(f"{WEEK}|{tier}"), [make_part(rows, leg)])
    assert caught.value.kind == kind
    assert said in caught.value.message
    assert "file.csv" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("updated", ["2025-12-15", "2025-12-16", "2025-12-19"])
def test_agreeing_witnesses_raise_no_concern(updated: str) -> None:
    """Name, week column and update date that mean the same week let the file pass."""
    rows = [{**row, "lastUpdateDate": updated} for row in good_rows()]
    assert concerns(rows, name_week=WEEK, name_kind="week") == []


def test_revised_rows_do_not_change_the_week() -> None:
    """Rows that FINRA updated weeks later are a minority and do not speak for the file."""
    rows = [{**row, "lastUpdateDate": "2026-02-03"} for row in good_rows(4)]
    assert concerns(good_rows()[4:] + rows, name_week=WEEK, name_kind="week") == []


def test_ties_go_to_the_earliest_update() -> None:
    """Between equally frequent update dates the earliest, the first publication, speaks for the file."""
    rows = good_rows(2)
    rows[0]["lastUpdateDate"] = "2026-02-03"
    assert concerns(rows, name_week=WEEK, name_kind="week") == []


def test_the_update_date_may_disagree() -> None:
    """A file whose rows were published with another week is a concern that names both witnesses."""
    rows = [{**SHORT, "lastUpdateDate": "2025-12-22"}]
    (concern,) = concerns(rows, name_week=WEEK, name_kind="publication")
    assert concern.kind == "week_disagreement"
    assert "its name gives a publication date, that of the week ending 2025-11-14" in concern.message
    assert "2025-12-22, the publication of the week ending 2025-11-21" in concern.message
    assert "--force" in concern.hint


def test_the_week_column_may_disagree() -> None:
    """A file whose own week column names another week is a concern of its own kind; no row is rejected."""
    rows = [{**row, "weekStartDate": "2025-11-17"} for row in good_rows()]
    part = make_part(rows, name_week=WEEK, name_kind="week")
    normalized = normalize_payload(parse_partition(f"{WEEK}|OTC"), [part])
    (concern,) = normalized.concerns
    assert concern.kind == "wrong_week"
    assert "weekStartDate column says 2025-11-17, in the week ending 2025-11-21" in concern.message
    assert normalized.rejects.is_empty()


def test_without_witnesses_there_is_no_concern() -> None:
    """A file without dates is believed to be what it was fetched for."""
    rows = [{key: value for key, value in SHORT.items() if key != "lastUpdateDate"}]
    assert concerns(rows) == []
