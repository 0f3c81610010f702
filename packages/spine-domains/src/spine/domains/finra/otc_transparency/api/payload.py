"""FINRA's records as frames, and the canonical text of them that is hashed and kept.

The canonical text is pipe-delimited with FINRA's field names, so that the parser of weekly files reads it.
Rows are sorted by all their fields and numbers are spelt one way, so that neither page order, key order nor
``1.5E3`` for ``1500`` makes another payload.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from typing import TYPE_CHECKING

from market_spine.core.sizes import refuse_long_field

if TYPE_CHECKING:
    import polars as pl

IDENTITY = (
    "issueSymbolIdentifier",
    "MPID",
    "firmCRDNumber",
    "marketParticipantName",
    "productTypeCode",
    "issueName",
)
"""What tells the records of one week, tier and summary type apart; also the order they are asked for."""

_NUMBERS = ("totalWeeklyTradeCount", "totalWeeklyShareQuantity", "totalNotionalSum")
_TEXTS = (
    *IDENTITY,
    "tierIdentifier",
    "tierDescription",
    "summaryTypeCode",
    "summaryStartDate",
    "weekStartDate",
    "lastUpdateDate",
    "initialPublishedDate",
    "lastReportedDate",
)
COLUMNS = (
    "issueSymbolIdentifier",
    "issueName",
    "firmCRDNumber",
    "MPID",
    "marketParticipantName",
    "tierIdentifier",
    "tierDescription",
    "summaryStartDate",
    "totalWeeklyTradeCount",
    "totalWeeklyShareQuantity",
    "productTypeCode",
    "summaryTypeCode",
    "weekStartDate",
    "lastUpdateDate",
    "initialPublishedDate",
    "lastReportedDate",
    "totalNotionalSum",
)
"""Every field of a record, in the order of FINRA's metadata."""
_ALWAYS = frozenset(
    {
        "issueSymbolIdentifier",
        "marketParticipantName",
        "totalWeeklyTradeCount",
        "totalWeeklyShareQuantity",
        "tierIdentifier",
        "summaryTypeCode",
        "weekStartDate",
    }
)
"""Written even if no record has it; any other field that no record has is left out: it is unknown."""
_REQUIRED = frozenset({"issueSymbolIdentifier", "totalWeeklyTradeCount", "totalWeeklyShareQuantity"})


def empty_rows() -> pl.DataFrame:
    """No records."""
    import polars as pl

    return pl.DataFrame(schema={name: pl.Float64 if name in _NUMBERS else pl.String for name in COLUMNS})


def read_records(body: bytes) -> tuple[pl.DataFrame, frozenset[str]]:
    """Records of a JSON list or of comma-delimited text with a header, and the fields they have.

    An empty body, an empty list and a lone header are no records. Unknown fields are ignored.

    Raises:
        ValueError: it is neither, it is cut off, or a value has the wrong type.
        ContentError: kind ``field_too_large``.
    """
    start = body.lstrip()[:1]
    # Of delimited text the reader itself refuses long fields.
    refuse_long_field(body, (b'"',) if start == b"[" else (b'"', b","), "an answer of FINRA's API")
    if not start:
        return empty_rows(), frozenset()
    if start == b"[":
        return _read_json(body)
    if start in (b"{", b"<"):
        raise ValueError("an object or a page instead of records")
    return _read_text(body)


def _read_json(body: bytes) -> tuple[pl.DataFrame, frozenset[str]]:
    import polars as pl

    if body.strip() == b"[]":
        return empty_rows(), frozenset()
    try:
        rows = pl.read_json(io.BytesIO(body), schema=empty_rows().schema)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"malformed JSON: {str(error).splitlines()[0]}") from error
    # A frame cannot tell a null from a field that is not there; the text can.
    fields = frozenset(name for name in COLUMNS if f'"{name}"'.encode() in body)
    return _checked(rows, fields)


def _read_text(body: bytes) -> tuple[pl.DataFrame, frozenset[str]]:
    import polars as pl

    try:
        header, *lines = csv.reader(io.StringIO(body.decode("utf-8"), newline=""), strict=True)
    except csv.Error as error:
        raise ValueError(f"broken delimited text: {error}") from error
    names = {name.lower(): name for name in COLUMNS}
    columns = [names.get(name.strip().lower(), "") for name in header]
    if not set(columns) >= _REQUIRED:
        raise ValueError("delimited text without the columns of records")
    if any(len(line) != len(columns) for line in lines):
        raise ValueError("delimited text with broken lines")
    read = {
        name: [line[place] if line[place] != "" else None for line in lines]
        for place, name in enumerate(columns)
        if name
    }
    try:
        rows = empty_rows().select(
            pl.Series(name, read.get(name, [None] * len(lines)), pl.String).cast(dtype)
            for name, dtype in empty_rows().schema.items()
        )
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"delimited text with a bad number: {str(error).splitlines()[0]}") from error
    return _checked(rows, frozenset(filter(None, columns)))


def _checked(rows: pl.DataFrame, fields: frozenset[str]) -> tuple[pl.DataFrame, frozenset[str]]:
    import polars as pl

    if rows.is_empty():
        return rows, frozenset()
    if missing := _REQUIRED - fields:
        raise ValueError(f"records without {', '.join(sorted(missing))}")
    broken = pl.any_horizontal(pl.col("totalWeeklyTradeCount", "totalWeeklyShareQuantity").is_null())
    if rows.select(broken.any()).item():
        raise ValueError("records without a number of trades or shares")
    return rows, fields


def render(rows: pl.DataFrame, fields: Collection[str]) -> bytes:
    """The canonical text of records.

    A delimiter or line end inside a value becomes a space, since the layout has no quoting.

    Args:
        rows: the records, in any order.
        fields: the fields that any of them has.
    """
    columns = [name for name in COLUMNS if name in fields or name in _ALWAYS]
    texts = rows.select(_number(name) if name in _NUMBERS else _plain(name) for name in columns)
    by = [*(name for name in IDENTITY if name in columns), *(name for name in columns if name not in IDENTITY)]
    ordered = texts.sort(by)
    header = "|".join(columns) + "\n"
    body: str = ordered.write_csv(
        include_header=False, separator="|", quote_style="never", null_value="", line_terminator="\n"
    )
    return (header + body).encode()


def _number(name: str) -> pl.Expr:
    """Whole numbers without a point, others with the fewest digits that read back as the same double."""
    import polars as pl

    value = pl.col(name)
    whole = (value == value.floor()) & (value.abs() < 2**53)
    return pl.when(whole).then(value.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(value.cast(pl.String))


def _plain(name: str) -> pl.Expr:
    import polars as pl

    return pl.col(name).str.replace_all(r"[|\r\n]", " ").fill_null("")
