"""Symbols as users write them, partition keys, and which symbols one run takes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.manifest import Committed, Entry, Known, PartRecord
from market_spine.errors import UsageError
from spine.domains.market_data import DOMAIN, partitions
from spine.domains.market_data.orders import Order, is_due

LATEST = date(2026, 11, 20)
SYMBOL = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,4}(\.[A-Z])?", fullmatch=True)


@pytest.mark.parametrize(
    ("written", "symbol"),
    [
        (" AAPL ", "AAPL"),
        ("BRK-B", "BRK.B"),
        ("BRK.B", "BRK.B"),
        ("ABR-P-D", "ABRpD"),
        ("AMpB", "AMpB"),
        ("aapl", "AAPL"),
        ("Aapl", "AAPL"),
        ("brk-b", "BRK.B"),
        ("abr-p-d", "ABRpD"),
        ("AIIAr", "AIIAr"),
        ("ABCw", "ABCw"),
        ("BCATrw", "BCATrw"),
        ("PHXEp", "PHXEp"),
        ("ABRpD.WS", "ABRpD.WS"),
        ("NE.WS.A", "NE.WS.A"),
        ("ACHR-WS", "ACHR.WS"),
    ],
)
def test_symbols_get_one_spelling(written: str, symbol: str) -> None:
    """A dash is a dot, a preferred share of Alpha Vantage one of Massive; small letters stay where the vendor's."""
    assert partitions.parse_symbol(written) == symbol


@pytest.mark.parametrize("written", ["", "A B", "A|B", "$SPY", "TSCO.LON", "../x", "A" * 11, "1A", "ÄAPL"])
def test_what_is_no_symbol_is_refused(written: str) -> None:
    """Text that cannot be a US symbol is refused with an example, foreign listings among them."""
    with pytest.raises(UsageError) as caught:
        partitions.parse_symbol(written)
    assert "BRK.B" in caught.value.hint


@given(SYMBOL)
def test_a_canonical_symbol_is_its_own_spelling(written: str) -> None:
    """Parsing what was parsed changes nothing, and the symbol survives its partition key."""
    symbol = partitions.parse_symbol(written)
    assert partitions.parse_symbol(symbol) == symbol
    assert symbol.upper() == written.upper()
    assert DOMAIN.partition(f"{symbol}|polygon").values == (symbol, "polygon")


def test_symbols_are_taken_once_and_in_order() -> None:
    """Repetitions count once, also under another spelling; the flag that names none is told."""
    assert partitions.parse_symbols("--symbols", ["MSFT", "BRK-B", "", "BRK.B", "MSFT"]) == ("MSFT", "BRK.B")
    with pytest.raises(UsageError, match="--symbols-file names no symbol"):
        partitions.parse_symbols("--symbols-file", [])
    with pytest.raises(UsageError, match=r"--symbols: '\?'"):
        partitions.parse_symbols("--symbols", ["A", "?"])


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff# mine\r\n\r\nAAPL\r\n MSFT  # Microsoft\r\n#GOOGL\r\naapl\r\n",
        "symbol\nAAPL\nMSFT\n",
        "# list\n\nTicker\naapl\nmsft\n",
        'Name,Symbol,Sector\nApple Inc.,AAPL,Tech\n"Microsoft, Corp.",MSFT,Tech\n',
        "SYMBOL;Weight\nAAPL;0.5\nMSFT;0.5\n",
        "ticker\tname\nAAPL\tApple\nMSFT\tMicrosoft\n",
    ],
)
def test_a_symbols_file_may_have_comments_blank_lines_and_a_header(text: str) -> None:
    """Comments, blank lines, a byte order mark, Windows line ends and a header line are no symbols."""
    assert partitions.parse_symbols_file("--symbols-file", text) == ("AAPL", "MSFT")


@pytest.mark.parametrize(
    ("text", "line"),
    [("AAPL\n\n# x\nA B\n", 4), ("symbol\nAAPL\n?\n", 3), ("name,symbol\nApple,AAPL\nMicrosoft\n", 3), ("A,B\n", 1)],
)
def test_what_is_no_symbol_is_told_with_its_line(text: str, line: int) -> None:
    """The error names the flag and the line as an editor counts it."""
    with pytest.raises(UsageError, match=f"--symbols-file: line {line}: "):
        partitions.parse_symbols_file("--symbols-file", text)
    with pytest.raises(UsageError, match="names no symbol"):
        partitions.parse_symbols_file("--symbols-file", "symbol\n# none\n")


@pytest.mark.parametrize("key", ["AAPL", "AAPL|", "|polygon", "AAPL|Polygon", "2025-01-03|NMS_TIER_1"])
def test_other_keys_are_refused(key: str) -> None:
    """A key without symbol or source, or of another domain, is no key of this one."""
    with pytest.raises(UsageError):
        DOMAIN.partition(key)


def _known(symbol: str, last: str | None, moment: datetime | None = None, depth: str = "compact") -> Known:
    key = f"{symbol}|v"
    if last is None:
        return Known(key)
    entry = Entry(
        manifest_id=1,
        partition=partitions.make_partition(symbol, "v"),
        stage="ingest",
        status="committed",
        capture_id="c",
        fingerprint="f",
        pipeline_version="1",
        source_hash="s",
        content_hash="c",
        row_count=1,
        run_id="r",
        scope={"market_data_prices": {"equals": {}, "between": {"trade_date": ["2026-07-01", last]}}},
        parts=(PartRecord("bars", "s", "vendor", 1, metadata={"depth": depth}),),
    )
    when = moment or datetime(2026, 11, 20, tzinfo=UTC)
    return Known(key, stages={"ingest": Committed(entry, when, when)})


def _choose(
    known: list[Known], most: int, attempts: dict[str, datetime] | None = None, size: str = "compact"
) -> partitions.Batch:
    symbols = [each.partition_key.partition("|")[0] for each in known]
    order = Order(size, LATEST, lambda: datetime(2026, 11, 21, tzinfo=UTC))
    due = {each.partition_key for each in known if is_due(each, order, LATEST)}
    return partitions.choose(symbols, "v", {each.partition_key: each for each in known}, attempts or {}, due, most)


def test_what_fits_is_taken_as_given() -> None:
    """A list that fits one run is taken whole and in its own order, whatever is held."""
    batch = _choose([_known("B", "2026-11-20"), _known("A", None)], 2)
    assert (batch.taken, batch.left) == (("B", "A"), ())


def test_the_rest_comes_first_next_time() -> None:
    """Beyond the limit the due symbols come before those up to date, the least recently tried first."""
    early, late = datetime(2026, 11, 20, 1, tzinfo=UTC), datetime(2026, 11, 20, 2, tzinfo=UTC)
    known = [
        _known("HELD", "2026-11-20", early),
        _known("OLD", "2026-11-19", late),
        _known("FAILED", None),
        _known("NEW", None),
        _known("OLDER", "2026-11-19", early),
    ]
    batch = _choose(known, 3, {"FAILED|v": late})
    assert (batch.taken, batch.left) == (("OLD", "NEW", "OLDER"), ("FAILED", "HELD"))


def test_what_still_lacks_its_history_comes_before_what_has_it() -> None:
    """Where full history is wanted, a symbol whose attempt failed is tried again before one that has it is."""
    early, late = datetime(2026, 11, 20, 1, tzinfo=UTC), datetime(2026, 11, 20, 2, tzinfo=UTC)
    whole = _known("WHOLE", "2026-11-20", early, depth="full")
    batch = _choose([whole, _known("SHORT", "2026-11-20", early)], 1, {"SHORT|v": late}, "full")
    assert (batch.taken, batch.left) == (("SHORT",), ("WHOLE",))


@given(st.integers(1, 30), st.integers(1, 12))
def test_a_long_list_rotates(count: int, most: int) -> None:
    """Run after run, every symbol of a list is tried before any of them is tried twice."""
    symbols = [f"S{number}" for number in range(count)]
    attempts: dict[str, datetime] = {}
    seen: list[str] = []
    for run in range(-(-count // most)):
        batch = _choose([_known(symbol, None) for symbol in symbols], most, attempts)
        assert sorted((*batch.taken, *batch.left)) == sorted(symbols)
        attempts |= {f"{symbol}|v": datetime(2026, 11, 1, run // 60, run % 60, tzinfo=UTC) for symbol in batch.taken}
        seen += batch.taken
    assert set(seen) == set(symbols)


def test_the_grid_lists_what_is_held() -> None:
    """No calendar says which symbols there could be, so the grid has those that are held."""
    rows: Any = DOMAIN.grid(LATEST, 2, {"MSFT|polygon", "AAPL|polygon", "TSLA|polygon"})
    assert [[partition.key for partition in row] for row in rows] == [["AAPL|polygon"], ["MSFT|polygon"]]


@pytest.mark.parametrize("line", ["root:SECRET:0:0", "SECRET and more of it", '"' + "SECRET" * 40_000, "SECRET=1"])
def test_a_line_that_is_nothing_like_a_symbol_is_not_repeated(line: str) -> None:
    """A file that was not meant may hold secrets: the message has its line's number, not its text."""
    with pytest.raises(UsageError) as caught:
        partitions.parse_symbols_file("--symbols-file /etc/shadow", f"AAPL\n{line}\n")
    assert "line 2" in caught.value.message
    assert "SECRET" not in caught.value.message
