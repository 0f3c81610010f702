"""From the bytes of a weekly file to its lines and fields: text in, frame of strings out, no meaning yet.

Both of FINRA's layouts are read by their header names, in any order: the eight columns of the website's
files, and the column names of the API. The delimiter is always ``|`` and nothing is ever quoted.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from market_spine.core.compression import decompress
from market_spine.core.sizes import refuse_long_field
from market_spine.errors import ContentError
from spine.domains.finra.otc_transparency.partitions import find_tier

if TYPE_CHECKING:
    import polars as pl

SYMBOL = "issueSymbolIdentifier"
NAME = "marketParticipantName"
MPID = "MPID"
CRD = "firmCRDNumber"
SHARES = "totalWeeklyShareQuantity"
TRADES = "totalWeeklyTradeCount"
NOTIONAL = "totalNotionalSum"
TIER_NAME, TIER_CODE = "tierDescription", "tierIdentifier"
ISSUE = "issueName"
PRODUCT = "productTypeCode"
SUMMARY = "summaryTypeCode"
WEEK_START = "weekStartDate"
UPDATED, PUBLISHED, REPORTED = "lastUpdateDate", "initialPublishedDate", "lastReportedDate"

REQUIRED = (SYMBOL, NAME, SHARES, TRADES)
OPTIONAL = (MPID, CRD, NOTIONAL, ISSUE, PRODUCT, SUMMARY, WEEK_START, UPDATED, PUBLISHED, REPORTED)
_KNOWN = {name.lower(): name for name in (*REQUIRED, TIER_NAME, TIER_CODE, *OPTIONAL)}

_PAGE = re.compile(rb"<!doctype html>|<html>", re.IGNORECASE)
_MEMBER = re.compile(rb'"(statusCode|statusDescription|%b)"' % "|".join(_KNOWN.values()).encode())
_BLANKS = " \t\v\f"
"""A line of nothing but these is blank."""
_AGAIN = "fetch the file again"
_DOWNLOAD = "download the weekly text file again, delimited by | and encoded as UTF-8"
_SHOWN = 120
"""How much of a line an error message shows."""


class FileText:
    """The text of a file, taken apart into lines when they are asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @cached_property
    def lines(self) -> tuple[pl.Series, list[int]]:
        """The lines, and the 1-based numbers of those that are not UTF-8, rendered with escapes."""
        import polars as pl

        try:
            return pl.Series([self.data.decode("utf-8")]).str.split("\n").explode(), []
        except UnicodeDecodeError:
            pass
        texts, not_utf8 = [], []
        for number, line in enumerate(self.data.split(b"\n"), start=1):
            try:
                texts.append(line.decode("utf-8"))
            except UnicodeDecodeError:
                texts.append(line.decode("utf-8", "backslashreplace"))
                not_utf8.append(number)
        return pl.Series(texts), not_utf8


@dataclass(frozen=True)
class ParsedFile:
    """A weekly file taken apart.

    Attributes:
        rows: ``line`` (Int64, 1-based in the decompressed file) and, as String and never null, the fields
            of each known column the file has, under FINRA's name. Only lines with the right field count.
        rejects: ``line`` (Int64) and ``rule`` (String) of the other lines.
        text: the file.
        rows_read: non-blank lines after the header = rows + rejects.
        columns: the header's columns in file order, under FINRA's names where they are known.
    """

    rows: pl.DataFrame
    rejects: pl.DataFrame
    text: FileText
    rows_read: int
    columns: tuple[str, ...]

    @property
    def lines(self) -> pl.Series:
        """The text of every line of the file (String), the first at index 0."""
        return self.text.lines[0]

    def told(self, numbers: pl.Series) -> pl.Series:
        """The texts (String) of lines by their 1-based numbers; of none, the file is not taken apart for it."""
        import polars as pl

        return pl.Series(dtype=pl.String) if numbers.is_empty() else self.lines.gather(numbers - 1)


def parse_file(data: bytes, origin: str) -> ParsedFile:
    """Take a weekly file apart.

    Tolerated: gzip and Zstandard, a UTF-8 byte order mark, any line ends, blank lines, a missing final line
    end, unknown columns, any column order and case of header names. Lines that are not UTF-8
    (``not_utf8``) or have another number of fields than the header (``field_count``) are rejected.

    Args:
        data: the bytes as they were fetched.
        origin: the file's name for error messages.

    Raises:
        ContentError: kinds ``empty_file``, ``header_only``, ``html``, ``json``, ``utf16``, ``not_text``,
            ``field_too_large``, ``wrong_delimiter``, ``missing_columns``, ``duplicate_columns``, ``truncated``, and
            those of ``decompress``.
    """
    text = FileText(_plain_text(decompress(data, origin), origin))
    return _parse_even(text, origin) or _parse_lines(text, origin)


def _parse_even(text: FileText, origin: str) -> ParsedFile | None:
    """A file whose first line is its header and each of whose other lines has as many fields, none of them blank: as
    nearly all are, so that no line need be looked at by itself. None if it is another."""
    import polars as pl

    data = text.data
    try:
        header = data[: data.index(b"\n")].decode()
    except ValueError:
        return None
    if not header.strip(_BLANKS) or b"\n\n" in data or len(data) == len(header.encode()) + 1:
        return None
    columns = _read_header(header, origin)
    schema = {f"field_{index}": pl.String for index in range(len(columns))}
    try:
        fields = pl.read_csv(
            data,
            has_header=False,
            skip_lines=1,
            schema=schema,
            separator="|",
            quote_char=None,
            empty_string_is_null=False,
        )
    except pl.exceptions.PolarsError:  # too many fields, or no UTF-8
        return None
    # What is not in a field is a delimiter. No line is empty, so each is a row; none has too many fields, so none has
    # too few if together they are as long as they should be.
    inside = sum(fields.select(pl.all().str.len_bytes().cast(pl.Int64).sum()).row(0))
    outside = len(data) - data.endswith(b"\n") - len(header.encode()) - inside
    if outside != fields.height * len(columns):
        return None
    rows = fields.with_row_index("line", offset=2).cast({"line": pl.Int64})
    none = pl.DataFrame(schema={"line": pl.Int64, "rule": pl.String})
    return ParsedFile(rows.select("line", *_known_fields(columns)), none, text, rows.height, tuple(columns))


def _parse_lines(text: FileText, origin: str) -> ParsedFile:
    """Any file, line by line."""
    import polars as pl

    lines, not_utf8 = text.lines
    table = pl.DataFrame({"text": lines}).with_row_index("line", offset=1)
    table = table.cast({"line": pl.Int64}).filter(pl.col("text").str.strip_chars(_BLANKS) != "")
    header_line, header = table.row(0)
    columns = _read_header(header, origin)
    # One field more than there should be shows which lines have too many.
    table = table.slice(1).with_columns(
        pl.col("text").str.split_exact("|", len(columns)).alias("fields"), bad=pl.col("line").is_in(not_utf8)
    )
    if table.is_empty():
        raise ContentError(
            f"{origin} holds a header in line {header_line} and no rows", kind="header_only", hint=_AGAIN
        )
    _refuse_cut_line(table.row(-1, named=True), lines.len(), len(columns), origin)
    last, beyond = (pl.col("fields").struct.field(f"field_{index}") for index in (len(columns) - 1, len(columns)))
    well_formed = last.is_not_null() & beyond.is_null() & ~pl.col("bad")
    rule = pl.when("bad").then(pl.lit("not_utf8")).otherwise(pl.lit("field_count")).alias("rule")
    return ParsedFile(
        table.filter(well_formed).select("line", "fields").unnest("fields").select("line", *_known_fields(columns)),
        table.filter(~well_formed).select("line", rule),
        text,
        table.height,
        tuple(columns),
    )


def _plain_text(data: bytes, origin: str) -> bytes:
    """Refuse what is no delimited UTF-8 text; else drop the byte order mark and make line ends LF."""
    start = data[:4]
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _alternates_with_nul(start):
        raise ContentError(f"{origin} is encoded as UTF-16, not UTF-8", kind="utf16", hint=_DOWNLOAD)
    data = data.removeprefix(codecs.BOM_UTF8)
    shown = data[:512].strip()
    if not shown and not data.strip():
        raise ContentError(f"{origin} is empty ({len(data)} bytes)", kind="empty_file", hint=_AGAIN)
    if shown.startswith(b"<"):
        raise ContentError(
            f"{origin} is a web page, not a weekly file{_begins(shown, _PAGE)}",
            kind="html",
            hint="the site answered with a page; download the file itself",
        )
    if shown.startswith((b"{", b"[")):
        raise ContentError(
            f"{origin} is JSON, not a weekly file{_begins(shown, _MEMBER)}",
            kind="json",
            hint=_DOWNLOAD,
        )
    if (position := data.find(b"\0")) >= 0:
        raise ContentError(
            f"{origin} is no text: it holds a NUL byte at position {position:,}", kind="not_text", hint=_AGAIN
        )
    refuse_long_field(data, (b"|", b"\n", b"\r"), origin)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data


def _alternates_with_nul(start: bytes) -> bool:
    return len(start) == 4 and [byte == 0 for byte in start] in ([False, True] * 2, [True, False] * 2)


def _read_header(header: str, origin: str) -> list[str]:
    """The columns in file order: FINRA's name where it is known, else the name as it stands."""
    names = [name.strip() for name in header.split("|")]
    columns = [_KNOWN.get(name.lower(), name) for name in names]
    missing = [name for name in REQUIRED if name not in columns]
    if TIER_NAME not in columns and TIER_CODE not in columns:
        missing.append(f"{TIER_NAME} or {TIER_CODE}")
    if missing:
        _refuse_other_delimiter(header, origin)
        raise ContentError(
            f"{origin} lacks the columns {', '.join(missing)}; its first line {_shown_header(header, columns)}",
            kind="missing_columns",
            hint=_DOWNLOAD,
        )
    repeated = [name for name, count in Counter(column.lower() for column in columns).items() if count > 1 and name]
    if repeated:
        raise ContentError(
            f"{origin} names columns twice in its header: {', '.join(repeated)}",
            kind="duplicate_columns",
            hint=_DOWNLOAD,
        )
    return columns


def _refuse_other_delimiter(header: str, origin: str) -> None:
    for name, delimiter in (("commas", ","), ("semicolons", ";"), ("tabs", "\t")):
        fields = [field.strip(' "').lower() for field in header.split(delimiter)]
        found = [_KNOWN[field] for field in fields if field in _KNOWN]
        if len(found) > 1:
            raise ContentError(
                f"{origin} is delimited by {name}, not by |: its first line names {', '.join(found)}",
                kind="wrong_delimiter",
                hint=_DOWNLOAD,
            )


def _refuse_cut_line(last: dict[str, Any], line_count: int, width: int, origin: str) -> None:
    # A line end after the last row would make one more, empty line.
    count = last["text"].count("|") + 1
    if last["line"] == line_count and count < width:
        raise ContentError(
            f"{origin} is truncated: its last line, {last['line']}, ends after {count} of {width} "
            f"fields without a line end: {_show(last['text'])}",
            kind="truncated",
            hint=_AGAIN,
        )


def _known_fields(columns: Sequence[str]) -> list[pl.Expr]:
    import polars as pl

    return [pl.col(f"field_{index}").alias(column) for index, column in enumerate(columns) if column in _KNOWN.values()]


def _begins(start: bytes, expected: re.Pattern[bytes]) -> str:
    """What a file of another kind begins with, as far as it is known words: what else it says may be a secret."""
    found = dict.fromkeys(each.decode() for each in expected.findall(start))
    return f": {', '.join(found)}" if found else ""


def _shown_header(header: str, columns: Sequence[str]) -> str:
    """A first line, if it is FINRA's header with some names changed or a row of hers without one."""
    known = [name for name in columns if name in _KNOWN.values()]
    if len(known) > 1 or (len(columns) > len(REQUIRED) and find_tier(columns[0])):
        return f"is: {_show(header)}"
    return f"names {known[0] if known else 'none of them'}"


def _show(text: str) -> str:
    text = text.splitlines()[0] if text else ""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
