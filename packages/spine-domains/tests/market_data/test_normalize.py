"""From answers to rows: rules, what is odd, and restatements as they are recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.app.captures import choose_captures, diff_captures
from market_spine.app.draft import covered_scopes
from market_spine.compose import reader
from market_spine.core.anomaly import Anomaly
from market_spine.core.calendar import sessions
from market_spine.core.capture import Part
from market_spine.core.domain import Normalized
from market_spine.core.partition import Scope
from market_spine.errors import ContentError
from spine.domains.market_data import DOMAIN

EVENING = datetime(2026, 11, 23, 21, 30, tzinfo=UTC)
GOOD = {"open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 1000}


def bar(day: str, **changes: Any) -> dict[str, Any]:
    return {"date": day, **GOOD, **changes}


def payload(*bars: Mapping[str, Any], fetched_at: datetime = EVENING, **metadata: str) -> Part:
    data = json.dumps({"symbol": "A", "bars": list(bars)}).encode()
    return Part("bars", data, "test", {"fetched_at": fetched_at.isoformat(), **metadata})


def read(*bars: Mapping[str, Any], fetched_at: datetime = EVENING, **metadata: str) -> Normalized:
    return DOMAIN.normalize(DOMAIN.partition("A|mock"), [payload(*bars, fetched_at=fetched_at, **metadata)])


def odd(*bars: Mapping[str, Any], splits: Sequence[tuple[str, float, float]] = (), **metadata: Any) -> list[Anomaly]:
    """What is odd about bars: about the answer, and about the series that is then held."""
    partition = DOMAIN.partition("A|mock")
    parts = [payload(*bars, **metadata)]
    if splits:
        rows = [{"ex_date": day, "from": old, "to": new} for day, old, new in splits]
        data = json.dumps({"symbol": "A", "splits": rows}).encode()
        parts.append(Part("splits", data, "test", {"fetched_at": EVENING.isoformat()}))
    result = DOMAIN.normalize(partition, parts)
    own = {"symbol": pl.String, "source": pl.String, "ex_date": pl.Date, "kind": pl.String}
    none = pl.DataFrame(schema=own | {"split_from": pl.Float64, "split_to": pl.Float64})
    tables = {"market_data_splits": none, **result.tables}
    return [*result.anomalies, *DOMAIN.review(partition, tables)]


def read_or_refuse(*bars: Mapping[str, Any]) -> Normalized | str:
    """What was read, or the kind of the refusal."""
    try:
        return read(*bars)
    except ContentError as error:
        return error.kind


def series(first: str, count: int, scale: float = 1.0) -> list[dict[str, Any]]:
    """Bars that differ from each other, from a session on."""
    start = date.fromisoformat(first)
    days = sessions(start, start + timedelta(days=2 * count + 10))[:count]
    prices = ("open", "high", "low", "close")
    return [
        {"date": str(day), "volume": (1000 + number) / scale}
        | {name: (GOOD[name] + number / 8) * scale for name in prices}
        for number, day in enumerate(days)
    ]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"close": None}, "bad_price"),
        ({"open": 0}, "bad_price"),
        ({"low": -1}, "bad_price"),
        ({"high": 10.4}, "broken_ohlc"),
        ({"low": 10.2}, "broken_ohlc"),
        ({"volume": -1}, "bad_volume"),
        ({"volume": None}, "bad_volume"),
        ({"date": "2026-11-22"}, "no_session"),
        ({"date": "2025-01-09"}, "no_session"),
        ({"date": "2026-11-24"}, "future"),
        ({"date": "yesterday"}, "bad_date"),
    ],
)
def test_each_rule_rejects_its_bar_and_no_other(changes: dict[str, Any], rule: str) -> None:
    """A bar that breaks a rule is rejected with its line, text and rule; its neighbour is kept."""
    result = read(bar("2026-11-19"), bar("2026-11-20", **changes) | {"date": changes.get("date", "2026-11-20")})
    assert result.tables["market_data_prices"]["trade_date"].to_list() == [date(2026, 11, 19)]
    ((part, line, found, raw),) = result.rejects.rows()
    assert (part, line, found) == ("bars", 2, rule)
    assert json.loads(raw)["volume"] == changes.get("volume", 1000)
    assert result.rows_read == 2


def test_a_bar_counts_once_its_session_has_settled() -> None:
    """At 16:19 New York time today's bar is still partial, at 16:20 it is final; a half day settles at 13:20."""
    for moment, kept in (("2026-11-23T21:19", 1), ("2026-11-23T21:20", 2)):
        at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
        result = read(bar("2026-11-20"), bar("2026-11-23"), fetched_at=at)
        assert result.tables["market_data_prices"].height == kept
        assert [anomaly.kind for anomaly in result.anomalies] == ["partial_bar"] * (2 - kept)
        assert result.rejects.is_empty() and result.rows_read == kept
    at = datetime(2026, 11, 27, 18, 20, tzinfo=UTC)
    assert read(bar("2026-11-27"), fetched_at=at).tables["market_data_prices"].height == 1


@pytest.mark.samples
def test_the_recorded_partial_bar_is_left_out(price_samples: Path, part: Callable[..., Part]) -> None:
    """The answer recorded at 14:07 ends in that day's unfinished bar; only the day before is stored."""
    file = price_samples / "alphavantage" / "daily_intraday_partial_2rows_IBM_2020-05-08.json"
    at = datetime(2020, 5, 8, 18, 7, 3, tzinfo=UTC)
    result = DOMAIN.normalize(DOMAIN.partition("IBM|alpha_vantage"), [part(file, fetched_at=at)])
    assert result.tables["market_data_prices"].select("trade_date", "close").rows() == [(date(2020, 5, 7), 121.23)]
    assert [anomaly.kind for anomaly in result.anomalies] == ["partial_bar"]


def test_nothing_but_a_partial_bar_is_refused_whole() -> None:
    """A payload without a usable bar stores nothing and says why."""
    with pytest.raises(ContentError, match="2026-11-23 was not over") as caught:
        read(bar("2026-11-23"), fetched_at=EVENING - timedelta(hours=2))
    assert caught.value.kind == "no_bars"


def test_sessions_after_the_wanted_one_are_left_out() -> None:
    """Closed sessions that were not asked for are no rows, no rejects and no anomaly; a partial bar is still noted."""
    bars = [bar(f"2026-11-{day}") for day in ("18", "19", "20", "23")]
    result = read(*bars, fetched_at=EVENING - timedelta(hours=2), latest="2026-11-18")
    assert result.tables["market_data_prices"]["trade_date"].to_list() == [date(2026, 11, 18)]
    assert (result.rows_read, result.rejects.height) == (1, 0)
    assert [anomaly.kind for anomaly in result.anomalies] == ["partial_bar"]


def test_repeated_bars() -> None:
    """The same bar twice is a duplicate; two different bars of a session refuse the payload."""
    assert read(bar("2026-11-20"), bar("2026-11-20")).duplicates == 1
    with pytest.raises(ContentError, match="two bars of 2026-11-20 differ"):
        read(bar("2026-11-20"), bar("2026-11-20", close=10.6))


def test_the_scope_is_the_fetched_range() -> None:
    """A replace owns the symbol and source from the first to the last accepted bar, nothing more."""
    scopes = covered_scopes(DOMAIN, DOMAIN.partition("A|mock"), read(*series("2026-11-02", 5)))
    assert scopes == {
        "market_data_prices": Scope({"symbol": "A", "source": "mock"}, {"trade_date": ("2026-11-02", "2026-11-06")})
    }


@pytest.mark.parametrize(
    ("bars", "metadata", "kinds"),
    [
        ([bar("2026-11-18"), bar("2026-11-20")], {}, ["gap"]),
        ([bar("2026-11-25"), bar("2026-11-27")], {}, []),  # Thanksgiving between them
        ([bar("2026-11-20", volume=0)], {}, ["zero_volume"]),
        ([bar("2026-11-20", vwap=11.5)], {}, ["vwap_outside"]),
        ([bar(f"2026-11-{day}") for day in (16, 17, 18, 19, 20)], {}, ["frozen"]),
        ([bar(f"2026-11-{day}") for day in (17, 18, 19, 20)], {}, []),
        ([bar("2026-11-19")], {"latest": "2026-11-20"}, ["stale"]),
        ([bar("2026-11-20")], {"latest": "2026-11-20"}, []),
    ],
)
def test_what_is_odd_is_kept_and_told(bars: list[dict[str, Any]], metadata: dict[str, Any], kinds: list[str]) -> None:
    """Gaps against the calendar, no volume, a vwap outside the bar, a frozen feed and a late last bar are warnings."""
    found = odd(*bars, fetched_at=datetime(2026, 11, 28, tzinfo=UTC), **metadata)
    assert [anomaly.kind for anomaly in found] == kinds
    assert all(anomaly.severity == "warning" for anomaly in found)


@pytest.mark.parametrize(
    ("ratio", "told"), [(4.0, 4.0), (0.1, 0.1), (1.5, 1.5), (2.06, 2.0), (1.05, None), (1.8, None)]
)
def test_a_jump_like_a_split_is_told_unless_it_is_on_file(ratio: float, told: float | None) -> None:
    """Prices that open at a usual fraction with volume to match look like a split; one on file explains them."""
    bars = series("2026-11-02", 12)
    after = [
        {**each, **{name: each[name] / ratio for name in ("open", "high", "low", "close")}, "volume": 1000 * ratio}
        for each in bars[8:]
    ]
    moved = [*bars[:8], *after]
    scale = bars[7]["close"] / bars[8]["open"]
    for each in after:  # exactly the ratio between the close before and the opening after
        each |= {name: each[name] * scale for name in ("open", "high", "low", "close")}
    found = [anomaly for anomaly in odd(*moved) if anomaly.kind == "split_like_jump"]
    assert [dict(anomaly.details) for anomaly in found] == ([{after[0]["date"]: told}] if told else [])
    if told:
        assert odd(*moved, splits=[(after[0]["date"], 1, told)]) == []


PRICE = st.floats(allow_nan=True, allow_infinity=True) | st.none() | st.integers(-5, 50)


@given(
    st.lists(st.tuples(st.dates(date(2026, 10, 1), date(2026, 12, 1)), PRICE, PRICE, PRICE, PRICE, PRICE), max_size=8)
)
def test_every_bar_is_stored_rejected_or_repeated(rows: list[tuple[Any, ...]]) -> None:
    """Whatever numbers come, each bar is accounted for once and what is stored keeps every rule."""
    names = ("date", "open", "high", "low", "close", "volume")
    bars = [dict(zip(names, (str(row[0]), *row[1:]), strict=True)) for row in rows]
    result = read_or_refuse(*bars)
    if isinstance(result, str):
        assert result in ("no_bars", "conflicting_bars")
        return
    stored = result.tables["market_data_prices"]
    assert len(bars) == result.rows_read == stored.height + result.rejects.height + result.duplicates
    for _, _, day, opening, high, low, close, volume, *_ in stored.rows():
        assert sessions(day, day) == [day] and day <= EVENING.date()
        assert 0 < low <= min(opening, close) <= max(opening, close) <= high < float("inf")
        assert 0 <= volume < float("inf")


# --- restatements, through the whole chain ----------------------------------------------------------


@pytest.mark.soak
@pytest.mark.samples
def test_the_revised_session_of_2021_is_restated_exactly(
    price_samples: Path, part: Callable[..., Part], desk: Any
) -> None:
    """Of each recorded bar the vendor revised volume, vwap and count overnight: one row changed, both kept."""
    folder = price_samples / "massive"
    old, new = (json.loads((folder / f"grouped_2021-05-18_capture{n}.json").read_text())["results"] for n in (1, 2))
    metadata = {"form": "grouped", "session": "2021-05-18", "adjusted": "true"}
    for before, after in zip(old, new, strict=True):
        symbol = before["T"]
        first = desk.load(f"{symbol}|polygon", part(folder / "grouped_2021-05-18_capture1.json", **metadata))
        assert (first.runs[0].is_revision, first.runs[0].revision_summary) == (False, None)
        moment = desk.now
        desk.wait(timedelta(hours=14))
        second = desk.load(f"{symbol}|polygon", part(folder / "grouped_2021-05-18_capture2.json", **metadata))
        summary = second.runs[0].revision_summary
        assert (summary.rows_added, summary.rows_removed, summary.rows_changed) == (0, 0, 1)
        assert second.runs[0].is_revision is True
        sql = f"SELECT open, close, volume, vwap, trade_count FROM market_data_prices WHERE symbol = '{symbol}'"
        assert desk.rows(sql, moment + timedelta(hours=1)) == [
            tuple(before[name] for name in ("o", "c", "v", "vw", "n"))
        ]
        assert desk.rows(sql) == [tuple(after[name] for name in ("o", "c", "v", "vw", "n"))]
    assert desk.rows("SELECT COUNT(*) FROM market_data_prices_versions") == [(2 * len(old),)]


def test_a_compact_answer_never_closes_older_bars(desk: Any) -> None:
    """Bars before the fetched range stay; a bar changed inside it is restated, one that vanished is closed."""
    bars = series("2026-10-01", 20)
    desk.load("A|mock", payload(*bars))
    desk.wait(timedelta(hours=1))
    changed = {**bars[12], "volume": 5.0}
    result = desk.load("A|mock", payload(*bars[10:12], changed, *bars[14:]))
    summary = result.runs[0].revision_summary
    assert (summary.rows_added, summary.rows_removed, summary.rows_changed) == (0, 1, 1)
    days = [day for (day,) in desk.rows("SELECT trade_date FROM market_data_prices ORDER BY trade_date")]
    assert days == [each["date"] for each in bars if each is not bars[13]]
    assert desk.rows("SELECT COUNT(*) FROM market_data_prices_daily") == [(19,)]


def test_bars_that_only_follow_are_no_revision(desk: Any) -> None:
    """A new session is counted as added and revises nothing."""
    bars = series("2026-10-01", 20)
    desk.load("A|mock", payload(*bars[:19]))
    desk.wait(timedelta(hours=1))
    run = desk.load("A|mock", payload(*bars)).runs[0]
    assert (run.is_revision, run.revision_summary.rows_added) == (False, 1)


def test_an_answer_with_the_same_rows_is_no_capture(desk: Any) -> None:
    """Other bytes with the rows that stand are skipped as same_rows, also for a part of what is held."""
    bars = series("2026-10-01", 20)
    desk.load("A|mock", payload(*bars))
    desk.wait(timedelta(hours=1))
    run = desk.load("A|mock", payload(*bars[5:])).runs[0]
    assert (run.status, run.reason) == ("skipped", "same_rows")


def test_a_short_answer_after_a_long_one_has_not_shrunk(desk: Any) -> None:
    """The guard against shrinking looks at the fetched range: 10 bars after 60 pass, 10 of a range of 60 do not."""
    bars = series("2026-08-03", 60)
    desk.load("A|mock", payload(*bars))
    desk.wait(timedelta(hours=1))
    assert desk.load("A|mock", payload(*bars[50:59], {**bars[59], "volume": 7})).exit_code == 0
    desk.wait(timedelta(hours=1))
    thinned = desk.load("A|mock", payload(*bars[::6], bars[59]))
    assert (thinned.exit_code, thinned.runs[0].error.kind) == (1, "shrunk")


def test_a_history_divided_by_four_is_one_tagged_restatement(desk: Any) -> None:
    """When a source rescales its past after a 4:1 split, that is one revision, named with its ratio, and no gap."""
    bars = series("2026-08-03", 60)
    desk.load("A|mock", payload(*bars))
    desk.wait(timedelta(hours=1))
    prices = ("open", "high", "low", "close")
    adjusted = [{**each, **{name: each[name] / 4 for name in prices}, "volume": each["volume"] * 4} for each in bars]
    result = desk.load("A|mock", payload(*adjusted))
    assert result.runs[0].revision_summary.rows_changed == 60
    ((kind, details),) = [(each.kind, each.details) for each in result.anomalies]
    assert kind == "split_or_adjustment"
    assert (details["ratio"], details["bars"], details["volume_inverse"]) == (4.0, 60, True)
    assert desk.rows("SELECT MAX(sessions_missing) FROM market_data_prices_daily") == [(0,)]


def test_revisions_of_no_common_ratio_are_not_tagged(desk: Any) -> None:
    """Two bars that change by different amounts are an ordinary revision."""
    bars = series("2026-10-01", 20)
    desk.load("A|mock", payload(*bars))
    desk.wait(timedelta(hours=1))
    moved = [{**bars[18], "close": bars[18]["close"] + 0.5}, {**bars[19], "volume": 1.0}]
    assert desk.load("A|mock", payload(*bars[:18], *moved)).anomalies == ()


def test_a_diff_shows_what_was_known_before_and_after(desk: Any) -> None:
    """Two captures of different ranges are compared by what was known: only what the second changed shows."""
    bars = series("2026-10-01", 20)
    desk.load("A|mock", payload(*bars[:18]))
    desk.wait(timedelta(hours=1))
    desk.load("A|mock", payload(*bars[12:17], {**bars[17], "volume": 5.0}, *bars[18:]))
    partition = DOMAIN.partition("A|mock")
    with closing(reader(desk.db, desk.clock)) as store:
        diff = diff_captures(store, DOMAIN, partition, *choose_captures(store, DOMAIN, partition, None, None))
    assert [day.isoformat() for day in diff.added["trade_date"]] == [bars[18]["date"], bars[19]["date"]]
    assert diff.removed.is_empty()
    ((day, volume),) = diff.new.select("trade_date", "volume").rows()
    assert (day.isoformat(), volume) == (bars[17]["date"], 5.0)
