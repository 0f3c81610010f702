"""What the simulated vendors serve: files of bars as they are, invented bars, and the hours of the exchange."""

from __future__ import annotations

import csv
import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.calendar import sessions
from market_spine.errors import UsageError
from spine.domains.market_data.simulator.book import Bar, Dividend, Split, read_book
from spine.domains.market_data.simulator.generated import SYMBOLS, generate_book
from spine.domains.market_data.simulator.massive_bars import volume_text
from spine.domains.market_data.simulator.server import running_vendor
from spine.domains.market_data.simulator.trading_day import CLOSE, HALF_DAY_CLOSE, closes_at, so_far

from . import patient

pytestmark = pytest.mark.server

SAMPLED = ["AAPL", "BRK.B", "MSFT", "NVDA", "SPY", "TSLA"]
AFTER_ALL = datetime(2026, 8, 23, 16, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture(scope="module")
def bars() -> Path:
    """The folder of real bars."""
    repository = Path(__file__).resolve().parents[4]
    folder = Path(os.environ.get("MARKET_SPINE_SAMPLES", repository.parent / "shared" / "samples")) / "bars"
    if not folder.is_dir():
        pytest.skip(f"no real sample files in {folder} (MARKET_SPINE_SAMPLES)")
    return folder


def file_rows(folder: Path, symbol: str) -> list[tuple[str, ...]]:
    with (folder / f"{symbol}.csv").open(newline="") as file:
        return [tuple(row.values()) for row in csv.DictReader(file)]


@pytest.mark.samples
def test_ten_years_through_alpha_vantage(bars: Path) -> None:
    """Ten years of six symbols come out as they stand in the files."""
    with running_vendor("alpha_vantage", read_book(bars), AFTER_ALL, plan="premium") as served:
        for symbol in SAMPLED:
            query = {"function": "TIME_SERIES_DAILY", "outputsize": "full", "apikey": "K"}
            answer = patient.get(f"{served.url}/query", params={**query, "symbol": symbol.replace(".", "-")})
            series = answer.json()["Time Series (Daily)"]
            got = [(day, *map(float, values.values())) for day, values in reversed(series.items())]
            assert got == [(row[0], *map(float, row[1:6])) for row in file_rows(bars, symbol)]


@pytest.mark.samples
def test_ten_years_through_massive(bars: Path) -> None:
    """The same through the other vendor, with average price and trades where the files have them."""
    with running_vendor("polygon", read_book(bars), AFTER_ALL, plan="advanced") as served:
        for symbol in SAMPLED:
            path = f"/v2/aggs/ticker/{symbol}/range/1/day/2016-01-04/2026-08-23"
            rows = patient.get(f"{served.url}{path}?adjusted=false&apiKey=K").json()["results"]
            got = [
                (
                    datetime.fromtimestamp(row["t"] / 1000, NEW_YORK).date().isoformat(),
                    *(row.get(name) for name in ("o", "h", "l", "c", "v", "vw", "n")),
                )
                for row in rows
            ]
            expected = [
                (row[0], *(float(text) if text else None for text in row[1:])) for row in file_rows(bars, symbol)
            ]
            assert got == expected


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_actions_of_a_folder(tmp_path: Path) -> None:
    """A folder may name splits and dividends, and a symbol whose bars end early counts as delisted."""
    write(tmp_path, "KO.csv", "date,open,high,low,close,volume\n2026-01-05,1,2,1,2,10\n2026-02-20,1,2,1,2,10.5\n")
    write(tmp_path, "OLD.csv", "date,open,high,low,close,volume,vwap,trade_count\n2026-01-05,1,2,1,2,10,1.5,3\n")
    write(tmp_path, "actions/splits.csv", "symbol,execution_date,split_from,split_to\nKO,2026-02-01,1,4\n")
    write(tmp_path, "actions/dividends.csv", "symbol,ex_dividend_date,cash_amount\nKO,2026-01-30,0.5\n")
    book = read_book(tmp_path)
    paid = date(2026, 1, 30)
    assert book["KO"].splits == (Split(date(2026, 2, 1), 1, 4),)
    assert book["KO"].dividends == (Dividend(paid, 0.5, paid, paid, paid),)
    assert (book["KO"].delisted, book["OLD"].delisted) == (None, date(2026, 1, 5))
    (old,) = book["OLD"].series.between(date(2026, 1, 1), date(2026, 12, 31))
    assert (old.vwap, old.trade_count) == (1.5, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("date,open,high,low,close,volume\n2026-01-05,1,2,1,x,10\n", "line 2"),
        ("date,open\n2026-01-05,1\n", "line 2"),
        ("date,open,high,low,close,volume\n2026-01-06,1,2,1,2,3\n2026-01-05,1,2,1,2,3\n", "not in order"),
        ("date,open,high,low,close,volume\n", "no bars"),
    ],
)
def test_bad_folder(tmp_path: Path, text: str, words: str) -> None:
    """A file that cannot be used is refused with its place."""
    write(tmp_path, "KO.csv", text)
    with pytest.raises(UsageError, match=words):
        read_book(tmp_path)


def test_invented_book() -> None:
    """Invented symbols have a bar each session, sound and positive; some split, some pay, equal seeds are equal."""
    book, again, other = generate_book(1), generate_book(1), generate_book(2)
    days = sessions(date(2026, 1, 2), date(2026, 11, 20))
    for symbol in SYMBOLS:
        bars = book[symbol].series.between(days[0], days[-1])
        assert [bar.day for bar in bars] == days
        assert bars == again[symbol].series.between(days[0], days[-1])
        assert bars != other[symbol].series.between(days[0], days[-1])
        for bar in bars:
            assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
            assert bar.volume > 0
            assert bar.vwap is None or bar.low <= bar.vwap <= bar.high
    assert [symbol for symbol in SYMBOLS if book[symbol].splits]
    assert [symbol for symbol in SYMBOLS if book[symbol].dividends]
    assert any(bar.volume % 1 for bar in bars)


prices = st.floats(0.01, 9000).map(lambda price: round(price, 4))
session_parts = st.floats(0, 1, exclude_max=True)


@given(st.lists(prices, min_size=4, max_size=4).map(sorted), st.booleans(), session_parts, session_parts)
def test_unfinished_bars(levels: list[float], rises: bool, one: float, other: float) -> None:
    """At any moment an unfinished bar is sound and inside the final one, and later moments only widen it."""
    low, first, second, high = levels
    open_, close = (first, second) if rises else (second, first)
    final = Bar(date(2026, 11, 20), open_, high, low, close, 1e6, first, 1000)
    opening, length = datetime(2026, 11, 20, 14, 30, tzinfo=UTC), timedelta(hours=6.5)
    earlier, later = (so_far(final, opening + length * part) for part in sorted((one, other)))
    for bar in (earlier, later):
        assert low <= bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high <= high
        assert bar.open == open_
    assert (later.low <= earlier.low, earlier.high <= later.high, earlier.volume <= later.volume) == (True, True, True)


@given(st.floats(0, 1e12), st.dates(date(2016, 1, 1), date(2026, 12, 31)))
def test_volumes_keep_their_value(volume: float, day: date) -> None:
    """However a volume is written, it reads as the same number."""
    assert json.loads(volume_text("AAPL", Bar(day, 1, 1, 1, 1, volume))) == volume


def test_hours_of_the_exchange() -> None:
    """Sessions close when the calendar of the exchange says so, half days included."""
    calendars = pytest.importorskip("exchange_calendars")
    calendar = calendars.get_calendar("XNYS", start="2014-01-01")
    last = calendar.last_session.date()
    for day in sessions(date(2014, 1, 2), last):
        assert closes_at(day) == calendar.session_close(str(day)).to_pydatetime()
    assert {closes_at(day).timetz().replace(tzinfo=None) for day in sessions(date(2026, 1, 2), last)} == {
        CLOSE,
        HALF_DAY_CLOSE,
    }
