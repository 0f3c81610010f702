"""From bytes to fields: what is tolerated, what is refused whole, and which lines are rejected."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from market_spine.errors import ContentError
from spine.domains.finra.otc_transparency.parse import (
    SHARES,
    TRADES,
    FileText,
    ParsedFile,
    _parse_even,
    _parse_lines,
    parse_file,
)

HEADER = (
    "tierDescription|issueSymbolIdentifier|issueName|marketParticipantName|MPID"
    "|totalWeeklyShareQuantity|totalWeeklyTradeCount|lastUpdateDate"
)
ONE = "OTC|AABB|Asia Broadband Inc|OTCN OTC LINK NQB IDQS|OTCN|6753871|171|2025-12-15"
TWO = "OTC|AABB|Asia  Broadband, Inc|ARCA GLOBAL OTC|ARCA|40313|3|2025-12-15"
PLAIN = f"{HEADER}\n{ONE}\n{TWO}\n".encode()


def refused(data: bytes) -> ContentError:
    with pytest.raises(ContentError) as caught:
        parse_file(data, "otc_week_2025-11-14.csv")
    assert "otc_week_2025-11-14.csv" in caught.value.message
    assert caught.value.hint
    return caught.value


def test_fields_and_line_numbers() -> None:
    """Every field comes back as it stands, under its column, with the line it was read from."""
    parsed = parse_file(PLAIN, "x")
    assert parsed.rows.columns == ["line", *HEADER.split("|")]
    assert parsed.rows.rows() == [(2, *ONE.split("|")), (3, *TWO.split("|"))]
    assert parsed.rejects.is_empty()
    assert parsed.rows_read == 2


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        PLAIN.removesuffix(b"\n"),
        PLAIN + b"\n \t\n\r\n",
        gzip.compress(PLAIN, mtime=0),
        zstandard.compress(PLAIN),
        PLAIN.replace(b"issueName", b" ISSUENAME ").replace(b"MPID", b"mpid"),
    ],
    ids=["bom", "crlf", "cr", "no last line end", "blank lines", "gzip", "zstd", "header case"],
)
def test_tolerated_forms(data: bytes) -> None:
    """Byte order mark, line ends, compression, header case and blank last lines do not matter."""
    expected = parse_file(PLAIN, "x")
    parsed = parse_file(data, "x")
    assert parsed.rows.equals(expected.rows)
    assert parsed.rows_read == 2


def test_columns_in_any_order_and_unknown_ones() -> None:
    """Columns are found by name wherever they stand; those nobody knows are left out."""
    text = (
        "totalWeeklyTradeCount|surprise|tierIdentifier|marketParticipantName|totalWeeklyShareQuantity"
        "|issueSymbolIdentifier|\n5|!|T1|UBSA UBS ATS|700|AAPL|\n"
    )
    parsed = parse_file(text.encode(), "x")
    assert parsed.rows.to_dicts() == [
        {
            "line": 2,
            "totalWeeklyTradeCount": "5",
            "tierIdentifier": "T1",
            "marketParticipantName": "UBSA UBS ATS",
            "totalWeeklyShareQuantity": "700",
            "issueSymbolIdentifier": "AAPL",
        }
    ]


def test_quotes_are_text() -> None:
    """A double quote is a character like any other, also when it stands alone."""
    line = 'OTC|AABB|"Asia "Broadband"|"OTCN|OTCN|1|1|2025-12-15'
    parsed = parse_file(f"{HEADER}\n{line}\n{ONE}\n".encode(), "x")
    assert parsed.rows.rows() == [(2, *line.split("|")), (3, *ONE.split("|"))]


def test_lines_with_another_field_count_are_rejected() -> None:
    """A short and a long line are rejected by line number; blank lines count as lines, not as rows."""
    short, long = "OTC|AABB", f"{ONE}|more"
    parsed = parse_file(f"{HEADER}\n\n{short}\n{ONE}\n{long}\n".encode(), "x")
    assert parsed.rows["line"].to_list() == [4]
    assert parsed.rejects.rows() == [(3, "field_count"), (5, "field_count")]
    assert [parsed.lines[2], parsed.lines[4]] == [short, long]
    assert parsed.rows_read == 3


def told(parsed: ParsedFile) -> list[object]:
    """All that is known of a file taken apart."""
    frames = [[frame.schema, frame.rows()] for frame in (parsed.rows, parsed.rejects)]
    return [*frames, parsed.lines.to_list(), parsed.rows_read, parsed.columns]


FIELDS = st.text(st.sampled_from("|\"'#,; \t\\é1x"), max_size=4).map(str.encode)
LINES = st.lists(st.one_of(FIELDS, st.lists(FIELDS.map(lambda text: text.replace(b"|", b"")), min_size=6, max_size=6)))


@given(lines=LINES, spoilt=st.booleans(), ended=st.booleans())
def test_even_files_are_read_as_line_by_line(lines: list[bytes | list[bytes]], spoilt: bool, ended: bool) -> None:
    """Where every line has its number of fields, reading the file at once comes to what its lines alone tell; where
    one has not, is blank or is no UTF-8, it is not read at once."""
    header = b"tierDescription|issueSymbolIdentifier|marketParticipantName|%s|more|%s" % (
        SHARES.encode(),
        TRADES.encode(),
    )
    texts = [each if isinstance(each, bytes) else b"|".join(each) for each in lines]
    texts += [b"a|b|\xff|d|e|f"] if spoilt else []
    text = FileText(b"\n".join([header, *texts]) + b"\n" * ended)
    found = _parse_even(text, "x")
    _, *rows = text.data.removesuffix(b"\n").split(b"\n")
    even = bool(rows) and not spoilt and all(line.count(b"|") == 5 for line in rows)
    assert (found is not None) == even
    if found is not None:
        assert told(found) == told(_parse_lines(text, "x"))


def test_lines_that_are_not_utf8_are_rejected() -> None:
    """A line in another encoding is rejected with its bytes made visible; the others are read."""
    odd = ONE.replace("Asia", "Société").encode("latin-1")
    parsed = parse_file(b"\n".join([HEADER.encode(), odd, TWO.replace("Asia", "Société").encode()]), "x")
    assert parsed.rejects.rows() == [(2, "not_utf8")]
    assert "Soci\\xe9t\\xe9" in parsed.lines[1]
    assert parsed.rows["issueName"].to_list() == ["Société  Broadband, Inc"]


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (b"", "empty_file", "0 bytes"),
        (b"\xef\xbb\xbf\r\n  \n", "empty_file", "is empty"),
        (gzip.compress(b"", mtime=0), "empty_file", "is empty"),
        (HEADER.encode(), "header_only", "no rows"),
        (f"\n{HEADER}\n\n".encode(), "header_only", "line 2"),
        (b"<!DOCTYPE html><html><body>Not found", "html", "<!DOCTYPE html>"),
        (b"\n  <html>\n<body>", "html", "<html>"),
        (b'{"statusCode":400,"statusDescription":"Bad Request"}', "json", "statusCode"),
        (b'[{"totalWeeklyShareQuantity":1}]', "json", "totalWeeklyShareQuantity"),
        (PLAIN.replace(b"|", b","), "wrong_delimiter", "commas"),
        (PLAIN.replace(b"|", b";"), "wrong_delimiter", "semicolons"),
        (PLAIN.replace(b"|", b"\t"), "wrong_delimiter", "tabs"),
        (b'"tierDescription","MPID"\n"OTC","OTCN"\n', "wrong_delimiter", "commas"),
        (PLAIN.decode().encode("utf-16"), "utf16", "UTF-16"),
        (PLAIN.decode().encode("utf-16-le"), "utf16", "UTF-16"),
        (PLAIN.decode().encode("utf-16-be"), "utf16", "UTF-16"),
        (PLAIN.replace(b"Asia", b"As\0a"), "not_text", "NUL"),
        (PLAIN.replace(b"totalWeeklyTradeCount", b"trades"), "missing_columns", "totalWeeklyTradeCount;"),
        (PLAIN.replace(b"tierDescription", b"t"), "missing_columns", "tierDescription or tierIdentifier"),
        (b"hello\nworld\n", "missing_columns", "its first line names none of them"),
        (PLAIN.split(b"\n", 1)[1], "missing_columns", "OTC|AABB"),
        (PLAIN.replace(b"issueName", b"mpid"), "duplicate_columns", "mpid"),
        (f"{HEADER}\n{ONE}\n{TWO[:40]}".encode(), "truncated", "line, 3, ends after"),
        (gzip.compress(PLAIN, mtime=0)[:-9], "truncated", "gzip"),
        (zstandard.compress(PLAIN)[:-1], "truncated", "Zstandard"),
        (b"\x1f\x8b garbage that is no stream", "corrupt", "gzip"),
    ],
)
def test_refusals(data: bytes, kind: str, said: str) -> None:
    """What is no weekly file is refused whole, with what was found in its place."""
    error = refused(data)
    assert error.kind == kind
    assert said in error.message


@pytest.mark.parametrize(
    "data",
    [
        b"root:$6$SECRET:19000:0:99999:7:::\n",
        b"SECRET|x|y|z|1|2|3|4\n",
        b"SECRET,MPID,b\n",
        b"<html><title>SECRET</title></html>",
        b"<password>SECRET</password>",
        b'{"password": "SECRET", "SECRET": 1, "statusCode": "SECRET"}',
        b"[SECRET]\nkey=SECRET\n",
        b"MPID SECRET\n",
        b"\x00SECRET",
        gzip.compress(b"SECRET=1\n", mtime=0),
    ],
)
def test_what_a_file_of_another_kind_says_is_not_repeated(data: bytes) -> None:
    """A link to a system file under a weekly file's name is refused without a word of its contents."""
    assert "SECRET" not in f"{refused(data).message} {refused(data).hint}"


def test_a_field_of_more_than_a_megabyte_is_refused() -> None:
    """A field may have a million bytes and no more, wherever it stands, packed or not; a long file has many fields."""
    for size, fits in ((1_000_000, True), (1_000_001, False)):
        line = ONE.replace("Asia Broadband Inc", "x" * size)
        for data in (f"{HEADER}\n{line}\n".encode(), gzip.compress(f"{HEADER}\n{ONE}\n{line}".encode())):
            if fits:
                assert parse_file(data, "x").rows_read
            else:
                assert refused(data).kind == "field_too_large"
    assert parse_file(f"{HEADER}\n{ONE}\n".encode() + f"{TWO}\n".encode() * 30_000, "x").rows_read == 30_001


def test_a_short_last_line_with_a_line_end_is_a_reject() -> None:
    """Only a last line without a line end says that the file was cut; otherwise the line itself is bad."""
    parsed = parse_file(f"{HEADER}\n{ONE}\nOTC|AABB\n  ".encode(), "x")
    assert parsed.rejects.rows() == [(3, "field_count")]


def test_messages_show_a_bounded_piece() -> None:
    """A message never carries more than a short piece of the file."""
    assert len(refused(b"x" * 1_000_000).message) < 500


@pytest.mark.samples
@pytest.mark.parametrize(
    ("name", "rows"),
    [("finra_otc_weekly_otc_20251215.csv", 5328), ("finra_otc_weekly_otc_20251222.csv", 5192)],
)
def test_real_files(finra_samples: Path, name: str, rows: int) -> None:
    """Joined again by the delimiter, the fields of a real file are the file."""
    data = (finra_samples / "pipe" / name).read_bytes()
    parsed = parse_file(data, name)
    assert parsed.rows_read == parsed.rows.height == rows
    joined = parsed.rows.select(pl.concat_str(pl.exclude("line"), separator="|")).to_series()
    assert joined.to_list() == data.decode().split("\n")[1:-1]
