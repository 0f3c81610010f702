"""The fields of FINRA's weekly summary: names, types and both orders in which the service shows them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import polars as pl

TEXT = "String"
NUMBER = "Number"
DATE = "Date"

SCALE = 1_000_000
"""Shares and notional are held as whole millionths, so that sums are exact; FINRA shows up to six decimals."""


class Field(NamedTuple):
    """A field of a dataset.

    Attributes:
        name: as FINRA writes it.
        type: String, Number or Date.
        description: FINRA's own words, shortened.
        scaled: held as whole millionths.
    """

    name: str
    type: str
    description: str
    scaled: bool = False


FIELDS = (
    Field("issueSymbolIdentifier", TEXT, "Symbol of the issue"),
    Field("issueName", TEXT, "Company name associated with the Symbol"),
    Field("firmCRDNumber", NUMBER, "Firm CRD Number"),
    Field("MPID", TEXT, "ATS/OTC identifier"),
    Field("marketParticipantName", TEXT, "Company name of the ATS/OTC or De Minimis Firm"),
    Field("tierIdentifier", TEXT, "T1 - S&P 500, Russell 1000 and selected ETPs; T2 - all other NMS; OTC - OTC equity"),
    Field("tierDescription", TEXT, "NMS Tier 1, NMS Tier 2 or OTCE"),
    Field("summaryStartDate", DATE, "Report start date (Monday)"),
    Field("totalWeeklyTradeCount", NUMBER, "Aggregate weekly number of trades reported"),
    Field("totalWeeklyShareQuantity", NUMBER, "Aggregate weekly number of shares reported", scaled=True),
    Field("productTypeCode", TEXT, "Product Type"),
    Field("summaryTypeCode", TEXT, "Report Type Identifier"),
    Field("weekStartDate", DATE, "First business day of the week (Monday)"),
    Field("lastUpdateDate", DATE, "Most recent date on which total trades was updated"),
    Field("initialPublishedDate", DATE, "First Monday or next business day after the delay of two or four weeks"),
    Field("lastReportedDate", DATE, "Last time a firm sent an update to any underlying data"),
    Field("totalNotionalSum", NUMBER, "Calculated total notional value", scaled=True),
)
"""In the order of the metadata and of delimited text."""

FIELD: Mapping[str, Field] = MappingProxyType({field.name: field for field in FIELDS})

JSON_ORDER = (
    "totalWeeklyShareQuantity",
    "issueSymbolIdentifier",
    "issueName",
    "lastUpdateDate",
    "lastReportedDate",
    "tierDescription",
    "initialPublishedDate",
    "tierIdentifier",
    "summaryStartDate",
    "totalNotionalSum",
    "totalWeeklyTradeCount",
    "weekStartDate",
    "MPID",
    "firmCRDNumber",
    "productTypeCode",
    "marketParticipantName",
    "summaryTypeCode",
)
"""The order of keys in JSON, the same in each of thousands of recorded rows, whatever was asked for."""

IDENTITY = (
    "weekStartDate",
    "tierIdentifier",
    "summaryTypeCode",
    "issueSymbolIdentifier",
    "MPID",
    "firmCRDNumber",
    "productTypeCode",
    "issueName",
    "marketParticipantName",
)
"""What tells two rows apart; de minimis rows have no number, so the name is one of them."""

TIERS: Mapping[str, str] = MappingProxyType({"T1": "NMS_TIER_1", "T2": "NMS_TIER_2", "OTCE": "OTC"})
"""FINRA's code to this domain's tier."""

DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {"T1": "NMS Tier 1", "T2": "NMS Tier 2", "OTCE": "OTC", "NMS": "NMS Tier 1", "NA": "Not Applicable"}
)
"""FINRA's code to its tierDescription."""


def schema() -> dict[str, pl.DataType]:
    """Column to data type of a frame of rows."""
    import polars as pl

    types: dict[str, pl.DataType] = {TEXT: pl.String(), NUMBER: pl.Int64(), DATE: pl.Date()}
    return {field.name: types[field.type] for field in FIELDS}
