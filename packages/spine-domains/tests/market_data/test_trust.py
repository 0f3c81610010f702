"""Wrong prices are noticed: splits that prices do not show, conflicting rows, bars and ranges that cannot be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.app.decisions import Asked
from market_spine.compose import Hooks, run_decision
from spine.domains.market_data import DOMAIN
from spine.domains.market_data.agreement import judge_splits, settle_splits, unexplained_jumps

from .penny_share import DAYS, EX, PartOf, bars_part, sopa, splits_part

PRICES = ("open", "high", "low", "close")
FULL_ANSWER = {"fetched_at": "2024-06-04T21:30:00+00:00"}


def adjusted_jump(desk: Any) -> float:
    """The largest ratio between two adjusted closes in a row."""
    sql = "SELECT close FROM market_data_prices_adjusted ORDER BY trade_date"
    closes = [close for (close,) in desk.rows(sql)]
    return float(max(max(after / before, before / after) for before, after in pairwise(closes)))


@pytest.mark.parametrize(
    ("rows", "kinds", "jump"),
    [
        ([("2024-05-01", 15, 1)], set(), 1.02),
        ([("2024-05-01", 10, 1), ("2024-05-01", 15, 1)], {"conflicting_splits"}, 1.02),
        ([("2024-05-01", 15, 1), ("2024-05-01", 10, 1)], {"conflicting_splits"}, 1.02),
        ([("2024-05-01", 15, 1), ("2024-05-01", 30, 2)], set(), 1.02),
        ([("2024-05-01", 10, 1)], {"split_disagrees", "split_like_jump"}, 15.0),
        ([("2024-05-01", 1, 15)], {"split_disagrees", "split_like_jump"}, 15.0),
        ([("2024-05-02", 15, 1)], {"split_disagrees", "split_like_jump"}, 15.0),
        ([("2024-04-30", 15, 1)], {"split_disagrees", "split_like_jump"}, 15.0),
        ([("2024-05-01", 2, 1), ("2024-05-01", 3, 1)], {"conflicting_splits", "split_like_jump"}, 15.0),
        ([], {"split_like_jump"}, 15.0),
    ],
)
def test_a_split_is_applied_if_ratio_direction_and_day_agree(
    rows: list[tuple[str, float, float]], kinds: set[str], jump: float, desk: Any, part: PartOf
) -> None:
    """1:15 on its day runs through; another ratio, direction or day is not applied and is told, never silent."""
    result = desk.load("SOPA|mock", bars_part(part, sopa()), splits_part(part, *rows))
    assert (result.exit_code, {anomaly.kind for anomaly in result.anomalies}) == (0, kinds)
    assert adjusted_jump(desk) == pytest.approx(jump, rel=0.03)


def test_a_disagreement_names_both_figures(desk: Any, part: PartOf) -> None:
    """The anomaly says what was reported, for which day, and how prices moved."""
    result = desk.load("SOPA|mock", bars_part(part, sopa()), splits_part(part, ("2024-05-01", 10, 1)))
    (found,) = [anomaly for anomaly in result.anomalies if anomaly.kind == "split_disagrees"]
    assert "1:10 of 2024-05-01" in found.message and "moved 1:14.85" in found.message
    assert found.details["2024-05-01"]["reported"] == 0.1


def test_conflicting_splits_that_prices_do_not_settle_leave_what_was_known(desk: Any, part: PartOf) -> None:
    """A split held from before stays when a later answer has two others for its day, and both are named."""
    desk.load("SOPA|mock", bars_part(part, sopa()), splits_part(part, ("2024-05-01", 15, 1)))
    desk.wait(timedelta(hours=1))
    changed = sopa()
    changed[-1]["volume"] = 7.0
    result = desk.load(
        "SOPA|mock", bars_part(part, changed), splits_part(part, ("2024-05-01", 2, 1), ("2024-05-01", 3, 1))
    )
    (found,) = result.anomalies
    assert found.kind == "conflicting_splits"
    assert "1:3 and 1:2" in found.message
    assert desk.rows("SELECT split_from, split_to FROM market_data_splits") == [(15.0, 1.0)]
    assert adjusted_jump(desk) < 1.03


def test_a_jump_of_no_usual_ratio_is_told(desk: Any, part: PartOf) -> None:
    """1:13 with no split on file, or a volume that does not fit one, is a jump all the same."""
    kinds = [each.kind for each in desk.load("SOPA|mock", bars_part(part, sopa(13.2))).anomalies]
    assert kinds == ["price_jump"]
    kinds = [each.kind for each in desk.load("SOPB|mock", bars_part(part, sopa(4.0, volume=1.0)[:30])).anomalies]
    assert kinds == ["split_like_jump"]


def test_a_jump_stays_open_while_later_answers_do_not_reach_it(desk: Any, part: PartOf) -> None:
    """A capture of the last two bars ends no anomaly about a jump before them; the split that explains it does."""
    bars = sopa()
    desk.load("SOPA|mock", bars_part(part, bars[:-1]))
    desk.wait(timedelta(hours=1))
    later = desk.load("SOPA|mock", bars_part(part, bars[-2:]))
    assert [anomaly.kind for anomaly in later.anomalies] == ["split_like_jump"]
    desk.wait(timedelta(hours=1))
    changed = [*bars[-2:-1], {**bars[-1], "volume": 9.0}]
    ended = desk.load("SOPA|mock", bars_part(part, changed), splits_part(part, ("2024-05-01", 15, 1)))
    assert ended.anomalies == ()
    assert desk.rows("SELECT COUNT(*) FROM core_anomalies WHERE resolved_at IS NULL") == [(0,)]


def test_several_dividends_of_a_day_and_kind_are_added_up_and_told(desk: Any, part: PartOf) -> None:
    """0.24 and 0.25 on one day make 0.49, in either order, and both are named."""
    for key, amounts in (("SOPA|mock", (0.24, 0.25)), ("SOPB|mock", (0.25, 0.24))):
        rows = [{"ex_date": "2024-05-15", "amount": amount} for amount in amounts]
        paid = part(json.dumps({"symbol": "SOPA", "dividends": rows}).encode(), "dividends")
        result = desk.load(key, bars_part(part, sopa(1.0)), paid)
        (found,) = result.anomalies
        assert found.kind == "conflicting_dividends"
        assert "0.24 and 0.25" in found.message
    assert desk.rows("SELECT amount FROM market_data_dividends") == [(0.49,), (0.49,)]


def test_an_answer_about_actions_that_cannot_be_read_leaves_the_bars(desk: Any, part: PartOf) -> None:
    """Bars are kept, what is known of splits stays, and the anomaly says that the answer was left out."""
    result = desk.load("SOPA|mock", bars_part(part, sopa(1.0)), part(b"<html>busy", "splits"))
    assert [(anomaly.kind, anomaly.severity) for anomaly in result.anomalies] == [("unread_actions", "warning")]
    assert desk.rows("SELECT COUNT(*) FROM market_data_prices") == [(len(DAYS),)]


GROUPED = {"form": "grouped", "session": "2026-11-20", "adjusted": "false"}


def grouped(*rows: Mapping[str, Any]) -> bytes:
    """A whole session of 2026-11-20 as Massive answers."""
    stamp = {"t": 1795208400000}
    results = [{"o": 10, "h": 11, "l": 9, "c": 10.5, "v": 100, "vw": 10, "n": 5, **stamp, **row} for row in rows]
    return json.dumps({"resultsCount": len(results), "adjusted": False, "status": "OK", "results": results}).encode()


@pytest.mark.parametrize("order", [1, -1])
def test_a_ticker_twice_in_a_grouped_answer_is_refused(order: int, desk: Any, part: PartOf) -> None:
    """Two different rows of one ticker refuse it whichever comes first, others are kept; a repetition counts once."""
    rows: list[dict[str, Any]] = [
        {"T": "NIO"},
        {"T": "AAA"},
        {"T": "NIO", "c": 9.5, "v": 5},
        {"T": "BBB"},
        {"T": "BBB"},
    ]
    answer = part(grouped(*rows[::order]), "bars-2026-11-20", **GROUPED)
    refused = desk.load("NIO|polygon", answer)
    assert (refused.exit_code, refused.runs[0].error.kind) == (1, "conflicting_bars")
    assert "2026-11-20" in refused.runs[0].error.message
    assert desk.load("AAA|polygon", answer).exit_code == 0
    assert desk.load("BBB|polygon", answer).exit_code == 0
    assert desk.rows("SELECT symbol FROM market_data_prices ORDER BY symbol") == [("AAA",), ("BBB",)]


def _moved(bar: Mapping[str, Any], factor: float) -> dict[str, Any]:
    return {**bar, **{name: bar[name] * factor for name in PRICES}}


@pytest.mark.parametrize("place", [20, len(DAYS) - 1])
@pytest.mark.parametrize("factor", [10.6, 0.09])
def test_a_bar_ten_times_its_neighbours_is_held(place: int, factor: float, desk: Any, part: PartOf) -> None:
    """A bar ten times or a tenth of those beside it holds the answer, and the error names its day."""
    bars = sopa(1.0)
    bars[place] = _moved(bars[place], factor)
    held = desk.load("SOPA|mock", bars_part(part, bars))
    assert (held.exit_code, held.runs[0].error.kind) == (1, "implausible")
    assert bars[place]["date"] in held.runs[0].error.message
    assert desk.rows("SELECT COUNT(*) FROM market_data_prices") == [(0,)]


def test_the_farthest_bar_is_told_with_both_figures(desk: Any, part: PartOf) -> None:
    """Of several bars the one that is farthest from its neighbours is named, with how far it is and may be."""
    bars = sopa(1.0)
    for place, factor in ((10, 12.0), (20, 0.02), (30, 30.0)):
        bars[place] = _moved(bars[place], factor)
    message = desk.load("SOPA|mock", bars_part(part, bars)).runs[0].error.message
    # 50 times lower, and the low of each bar lies 0.95 under its opening, as that of its neighbours.
    assert f"the bar of {bars[20]['date']}" in message and "1/50 of theirs" in message
    assert "it has to be under 10 times" in message


def test_a_setting_widens_what_bars_may_be(desk: Any, part: PartOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in effect stands in the config; wider thresholds let a bar and a range through; narrower are refused."""
    bars = sopa(1.0)
    wild = [*bars[:20], _moved(bars[20], 14), *bars[21:]]
    held = desk.load("SOPA|mock", bars_part(part, wild))
    assert held.config["plausibility"] == {"bar": 10.0, "rewritten": 0.5, "least_bars": 10}
    assert "14 times theirs" in held.runs[0].error.message
    monkeypatch.setenv("PRICE_PLAUSIBILITY", "bar=15, rewritten=0.9")
    taken = desk.load("SOPA|mock", bars_part(part, wild))
    assert (taken.exit_code, taken.config["plausibility"]["bar"]) == (0, 15.0)
    desk.wait(timedelta(hours=1))
    moved = [_moved(bar, 3 + place / 10) if place % 4 else bar for place, bar in enumerate(wild)]
    assert desk.load("SOPA|mock", bars_part(part, moved)).exit_code == 0
    desk.wait(timedelta(hours=1))
    monkeypatch.delenv("PRICE_PLAUSIBILITY")
    held = desk.load("SOPA|mock", bars_part(part, bars))
    changed = len(bars) - len(bars) // 4 - (1 if len(bars) % 4 else 0) + 1
    message = held.runs[0].error.message
    assert f"{changed} of {len(bars)} bars" in message and "at most 50% may" in message
    for wrong in ("bar=9", "replaced=0.9", "bar=inf", "bar=nan", "rewritten=0.6,rewritten=0.7", "least_bars=10.5"):
        monkeypatch.setenv("PRICE_PLAUSIBILITY", wrong)
        refused = desk.load("SOPA|mock", bars_part(part, bars))
        assert (refused.exit_code, refused.error.kind) == (1, "usage")
        assert "PRICE_PLAUSIBILITY" in refused.error.message


def test_the_thresholds_of_bars_are_documented() -> None:
    """docs/prices.md gives each with its reason."""
    page = (Path(__file__).resolve().parents[4] / "docs/prices.md").read_text("utf-8")
    assert [name for name in DOMAIN.plausibility.thresholds if f"`{name}`" not in page] == []


def test_an_accepted_bar_is_told_of_and_a_retracted_one_is_not(desk: Any, part: PartOf) -> None:
    """A held bar that a person accepts leaves its jumps open; retracting it ends them, rows and anomalies alike."""
    bars = sopa(1.0)
    desk.load("SOPA|mock", bars_part(part, bars[:20]))
    desk.wait(timedelta(hours=1))
    wild = [*bars[:30], _moved(bars[30], 11), *bars[31:]]
    held = desk.load("SOPA|mock", bars_part(part, wild))
    assert held.runs[0].error.kind == "implausible"
    capture = desk.rows("SELECT capture_id FROM core_manifest WHERE status = 'held'")[0][0]
    kinds = "SELECT kind FROM core_anomalies WHERE resolved_at IS NULL"
    for verb, rows, told in (("accept", len(DAYS), [("price_jump",)]), ("retract", 20, [])):
        desk.wait(timedelta(hours=1))
        asked = Asked(verb, "seen on another feed", capture_id=capture)  # type: ignore[arg-type]
        where: dict[str, Any] = {"by": "ann", "mode": "run", "domain": None, "db": desk.db}
        assert run_decision(asked, "", hooks=Hooks(clock=desk.clock), **where).exit_code == 0
        assert desk.rows("SELECT COUNT(*) FROM market_data_prices") == [(rows,)]
        assert desk.rows(kinds) == told


def paid_part(part: PartOf, *rows: tuple[str, float]) -> Any:
    listed = [{"ex_date": day, "amount": amount} for day, amount in rows]
    return part(json.dumps({"symbol": "SOPA", "dividends": listed}).encode(), "dividends")


def test_dividends_and_splits_that_vanish_or_change_are_told(desk: Any, part: PartOf) -> None:
    """An answer with fewer or other dividends or splits than are known is taken, and says which rows it ends."""
    paid = [("2024-04-10", 0.1), ("2024-05-10", 0.2), ("2024-05-20", 0.3)]
    bars = bars_part(part, sopa())
    split = splits_part(part, ("2024-05-01", 15, 1))
    assert desk.load("SOPA|mock", bars, split, paid_part(part, *paid)).anomalies == ()
    desk.wait(timedelta(hours=1))
    grown = paid_part(part, *paid, ("2024-05-30", 0.4))
    assert desk.load("SOPA|mock", bars, split, grown).anomalies == ()
    desk.wait(timedelta(hours=1))
    fewer = paid_part(part, ("2024-04-10", 0.1), ("2024-05-20", 0.35))
    (told,) = desk.load("SOPA|mock", bars, split, fewer).anomalies
    assert (told.kind, told.severity) == ("restated_rows", "warning")
    assert "2 of 4 known rows of market_data_dividends gone: 2024-05-10" in told.message
    assert "1 of 4 known rows of market_data_dividends changed: 2024-05-20" in told.message
    desk.wait(timedelta(hours=1))
    found = desk.load("SOPA|mock", bars, splits_part(part), paid_part(part)).anomalies
    assert {each.kind for each in found} == {"restated_rows", "split_like_jump"}
    message = next(each.message for each in found if each.kind == "restated_rows")
    assert "1 of 1 known rows of market_data_splits gone: 2024-05-01" in message
    assert "2 of 2 known rows of market_data_dividends gone" in message
    assert desk.rows("SELECT COUNT(*) FROM market_data_dividends") == [(0,)]


def test_a_split_or_a_new_level_is_no_implausible_bar(desk: Any, part: PartOf) -> None:
    """The first day of a 1:15 reverse split passes with the split, and from the day after by its own neighbours."""
    place = DAYS.index(EX)
    bars = sopa()
    assert desk.load("A|mock", bars_part(part, bars[: place + 1])).runs[0].error.kind == "implausible"
    with_split = desk.load("B|mock", bars_part(part, bars[: place + 1]), splits_part(part, ("2024-05-01", 15, 1)))
    assert (with_split.exit_code, with_split.anomalies) == (0, ())
    assert desk.load("C|mock", bars_part(part, bars[: place + 2])).exit_code == 0


def test_a_range_rewritten_without_one_ratio_is_held(desk: Any, part: PartOf) -> None:
    """Another company's prices under the same ticker are held; half of the bars or one ratio are not."""
    bars = sopa(1.0)
    desk.load("SOPA|mock", bars_part(part, bars))
    desk.wait(timedelta(hours=1))
    other = [_moved(bar, 3 + place / 10) for place, bar in enumerate(bars)]
    held = desk.load("SOPA|mock", bars_part(part, other))
    assert (held.exit_code, held.runs[0].error.kind) == (1, "replaced")
    assert f" of {len(DAYS)} bars" in held.runs[0].error.message
    half = len(DAYS) // 2
    volumes = [{**bar, "volume": bar["volume"] * 1000} for bar in bars]
    assert desk.load("SOPA|mock", bars_part(part, volumes)).runs[0].error.kind == "replaced"
    some = [*bars[: half + 1], *(_moved(bar, 1 + place / 1000) for place, bar in enumerate(bars[half + 1 :], 1))]
    assert desk.load("SOPA|mock", bars_part(part, some)).exit_code == 0
    desk.wait(timedelta(hours=1))
    scaled = [_moved({**bar, "volume": bar["volume"] * 4}, 0.25) for bar in some]
    assert [each.kind for each in desk.load("SOPA|mock", bars_part(part, scaled)).anomalies] == ["split_or_adjustment"]


# --- properties -------------------------------------------------------------------------------------

RATIOS = st.sampled_from([(1, 2), (1, 3), (2, 3), (1, 10), (10, 1), (15, 1), (50, 1)])


def frame_of(bars: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        {"trade_date": [date.fromisoformat(bar["date"]) for bar in bars]}
        | {name: [float(bar[name]) for bar in bars] for name in (*PRICES, "volume")}
    )


@given(RATIOS, RATIOS, st.integers(5, 35), st.integers(5, 35), st.floats(-0.08, 0.08))
def test_no_jump_is_ever_silent(real: tuple[int, int], told: tuple[int, int], at: int, on: int, drift: float) -> None:
    """Whatever split is on file, prices of a series that moved by one either run through or leave a jump told."""
    ratio, reported = real[1] / real[0], told[1] / told[0]
    bars = frame_of([_moved(bar, (1 + drift) / ratio if place >= at else 1) for place, bar in enumerate(sopa(1.0))])
    ratios = {DAYS[on]: reported}
    applied = [each for each in judge_splits(bars, ratios) if each.agrees]
    jumps = [jump.day for jump in unexplained_jumps(bars, ratios)]
    if applied:
        assert (on, jumps) == (at, [])
        assert ratio == pytest.approx(reported, rel=0.35)
    else:
        # Every other close is 1 % above its opening.
        move = (1 + drift) / ratio
        assert jumps == [DAYS[at]] or max(move, 1 / move) < 2.0 * 1.011


@given(st.permutations([(10.0, 1.0), (15.0, 1.0), (30.0, 2.0), (2.0, 1.0)]))
def test_settling_does_not_depend_on_order(rows: list[tuple[float, float]]) -> None:
    """Of four splits of a day the one that prices show is kept, in whatever order they come."""
    schema = {"ex_date": pl.Date, "split_from": pl.Float64, "split_to": pl.Float64, "kind": pl.String}
    listed = pl.DataFrame([(EX, old, new, "unknown") for old, new in rows], schema=schema, orient="row")
    settled, conflicts = settle_splits(frame_of(sopa()), listed)
    assert settled is not None
    assert settled.select("split_from", "split_to").rows() == [(15.0, 1.0)]
    assert list(conflicts) == [EX]
