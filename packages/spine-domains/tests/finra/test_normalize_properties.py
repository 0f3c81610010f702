"""Properties of reading: nothing crashes it, no row gets lost, and spelling does not matter."""

from __future__ import annotations

import codecs
import random
import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from market_spine.core.capture import Part
from market_spine.core.domain import Normalized
from market_spine.errors import ContentError
from spine.domains.finra.otc_transparency.normalize import normalize_payload
from spine.domains.finra.otc_transparency.partitions import parse_partition
from spine.domains.finra.otc_transparency.schema import VENUE_VOLUME

pytestmark = pytest.mark.soak

PARTITION = parse_partition("2025-11-14|NMS_TIER_2")
HEADER = (
    "tierDescription|issueSymbolIdentifier|issueName|marketParticipantName|MPID"
    "|totalWeeklyShareQuantity|totalWeeklyTradeCount|lastUpdateDate"
)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="|\r\n\0"), max_size=12)
FILLED = WORDS.filter(lambda text: text.strip() != "")
ROWS = st.lists(
    st.tuples(
        st.just("NMS Tier 2"),
        FILLED,
        WORDS,
        WORDS,
        FILLED.filter(lambda text: text == text.strip()),
        st.one_of(
            st.integers(0, 10**11).map(str),
            st.floats(0, 9e11, allow_subnormal=False).map(repr),
            st.decimals(0, 10**9, places=6).map(str),
        ),
        st.integers(0, 10**9).map(str),
        st.dates(date(2025, 12, 15), date(2025, 12, 19)).map(date.isoformat),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda row: (row[1], row[2], row[4]),
)


def read(data: bytes) -> Normalized:
    return normalize_payload(PARTITION, [Part("ATS", data, "week.csv")])


def count_rows(data: bytes) -> int:
    """Non-blank lines after the first non-blank line, counted by means of the test's own."""
    data = data.removeprefix(codecs.BOM_UTF8)
    return sum(1 for line in re.split(rb"\r\n|\r|\n", data) if line.strip(b" \t\x0b\x0c")) - 1


def check_counts(data: bytes) -> None:
    """Reading either refuses the file, or accounts for each of its rows once."""
    try:
        normalized = read(data)
    except ContentError as error:
        assert error.message  # noqa: PT017 - refusing is one of the two right answers
        return
    table = normalized.tables[VENUE_VOLUME.name]
    assert normalized.rows_read == count_rows(data)
    assert table.height + normalized.rejects.height + normalized.duplicates == normalized.rows_read
    assert not table.select(VENUE_VOLUME.key).is_duplicated().any()
    assert sum(table.select(VENUE_VOLUME.key).null_count().row(0)) == 0
    lines = normalized.rejects["line"]
    assert lines.n_unique() == lines.len()


def base_text() -> bytes:
    """A file with some of everything: repeated rows, conflicts, blanks, firms without MPID."""
    chance = random.Random(7)
    rows = [
        f"NMS Tier 2|{chance.choice(['A', 'BRK.B', 'ABRpD', ''])}|Name {chance.randrange(2)}"
        f"|V{chance.randrange(3)} VENUE|V{chance.randrange(3)}"
        f"|{chance.choice(['7', '0.5', '1E3', '-1'])}|{chance.randrange(3)}|2025-12-15"
        for _ in range(60)
    ]
    return "\n".join([HEADER, *rows, ""]).encode()


BASE = base_text()
POSITIONS = st.integers(0, len(BASE))
EDITS = st.one_of(
    st.tuples(st.just("insert"), POSITIONS, st.binary(min_size=1, max_size=6)),
    st.tuples(st.just("insert"), POSITIONS, st.sampled_from([b"|", b"\n", b"\r", b"\r\n", b"\xff", b'"', b"\x85"])),
    st.tuples(st.just("delete"), POSITIONS, st.integers(1, 40)),
    st.tuples(st.just("cut"), POSITIONS, st.none()),
    st.tuples(st.just("field"), POSITIONS, st.none()),
    st.tuples(st.just("shuffle"), POSITIONS, st.none()),
)


def mutate(data: bytes, edits: list[tuple[str, int, bytes | int | None]]) -> bytes:
    for action, position, argument in edits:
        head, tail = data[:position], data[position:]
        if action == "insert" and isinstance(argument, bytes):
            data = head + argument + tail
        elif action == "delete" and isinstance(argument, int):
            data = head + tail[argument:]
        elif action == "cut":
            data = head
        elif action == "field":
            data = head + re.sub(rb"^[^|]*\|", b"", tail, count=1)
        else:
            first, *lines = data.split(b"\n")
            random.Random(position).shuffle(lines)
            data = b"\n".join([first, *lines])
    return data


@given(st.lists(EDITS, max_size=5))
def test_mutated_files_lose_no_row(edits: list[tuple[str, int, bytes | int | None]]) -> None:
    """However a file is damaged, it is refused with an error of ours or every row is accounted for."""
    check_counts(mutate(BASE, edits))


@given(st.binary(max_size=300))
def test_garbage_never_crashes(data: bytes) -> None:
    """Any bytes at all, alone or after a header, are refused or accounted for."""
    check_counts(data)
    check_counts(HEADER.encode() + b"\n" + data)


@given(st.lists(st.lists(WORDS, min_size=8, max_size=8), min_size=1, max_size=8))
def test_any_fields_are_accounted_for(rows: list[list[str]]) -> None:
    """Rows of the right shape with any texts in them are accounted for."""
    check_counts("\n".join([HEADER, *map("|".join, rows), ""]).encode())


@pytest.mark.samples
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_mutated_real_files_lose_no_row(finra_samples: Path, data: st.DataObject) -> None:
    """The same holds for a real file damaged in several places."""
    content = (finra_samples / "pipe" / "finra_otc_weekly_otc_20251215.csv").read_bytes()
    content = content.replace(b"OTC|", b"NMS Tier 2|")
    positions = st.integers(0, len(content))
    for _ in range(data.draw(st.integers(1, 6))):
        action, _position, argument = data.draw(EDITS)
        content = mutate(content, [(action, data.draw(positions), argument)])
    check_counts(content)


@given(ROWS)
def test_clean_rows_come_back_as_they_were_written(rows: list[tuple[str, ...]]) -> None:
    """Rows that break no rule are all accepted, with exactly the values that Python reads from the text."""
    normalized = read("\n".join([HEADER, *map("|".join, rows), ""]).encode())
    table = normalized.tables[VENUE_VOLUME.name]
    assert normalized.rejects.is_empty()
    expected = sorted(
        (mpid, name, symbol, issue, float(shares), int(trades), date.fromisoformat(updated))
        for _tier, symbol, issue, name, mpid, shares, trades, updated in rows
    )
    columns = ["venue_id", "venue_name", "symbol", "issue_name", "share_volume", "trade_count", "last_update_date"]
    assert sorted(table.select(columns).rows()) == expected


@given(ROWS, st.randoms(use_true_random=False), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.booleans())
def test_spelling_does_not_matter(
    rows: list[tuple[str, ...]], chance: random.Random, line_end: str, bom: bool, last_end: bool
) -> None:
    """The order of lines and columns, line ends, a byte order mark and repeated rows leave the frame the same."""
    plain = read("\n".join([HEADER, *map("|".join, rows), ""]).encode())
    order = list(range(8))
    chance.shuffle(order)
    again = [*rows, chance.choice(rows)]
    chance.shuffle(again)
    lines = ["|".join(row[index] for index in order) for row in (HEADER.split("|"), *again)]
    text = line_end.join(lines) + line_end * last_end
    other = read((codecs.BOM_UTF8 if bom else b"") + text.encode())
    assert_frame_equal(other.tables[VENUE_VOLUME.name], plain.tables[VENUE_VOLUME.name], check_exact=True)
    assert other.duplicates == 1
