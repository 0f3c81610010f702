"""Quotas: when the next call may go out, and how limits are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.quota import Limit, key_hash, next_slot, parse_limits, quota_spent
from market_spine.errors import UsageError

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


def at(*seconds: float) -> list[datetime]:
    return [NOON + timedelta(seconds=each) for each in seconds]


def test_limits_are_read_and_written_alike() -> None:
    """Limits come in any number, with units from second to day, and print as they are written."""
    limits = parse_limits("X", "1/s, 5/min,10/h,25/day")
    assert limits == (Limit(1, SECOND), Limit(5, MINUTE), Limit(10, timedelta(hours=1)), Limit(25, DAY))
    assert [str(limit) for limit in limits] == ["1/s", "5/min", "10/h", "25/day"]
    assert parse_limits("X", "") == ()


@pytest.mark.parametrize("text", ["0/s", "5", "5/month", "-1/s", "five/min"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    """A limit that cannot be read names the setting it stands in."""
    with pytest.raises(UsageError, match="POLYGON_LIMITS"):
        parse_limits("POLYGON_LIMITS", text)


def test_the_first_call_goes_out_at_once() -> None:
    """Without calls before there is nothing to wait for, whatever the floor."""
    assert next_slot(NOON, [], None, [Limit(1, DAY)], 12 * SECOND) == NOON


def test_the_floor_keeps_a_caller_from_itself_only() -> None:
    """A caller waits for the floor after its own call, and not after another's."""
    assert next_slot(NOON, at(-2), NOON - 2 * SECOND, [], 12 * SECOND) == NOON + 10 * SECOND
    assert next_slot(NOON, at(-2), None, [], 12 * SECOND) == NOON


def test_every_limit_is_kept() -> None:
    """With five calls in the last minute the sixth waits until the first of them is a minute old."""
    made = at(-50, -40, -30, -20, -10)
    assert next_slot(NOON, made, None, [Limit(5, MINUTE), Limit(1, SECOND)], timedelta()) == NOON + 10 * SECOND
    assert next_slot(NOON, made, None, [Limit(6, MINUTE)], timedelta()) == NOON


def test_a_days_quota_is_free_again_at_midnight_in_new_york() -> None:
    """The day of a quota ends at 05:00 UTC in winter and at 04:00 in summer."""
    assert next_slot(NOON, at(-50, -40), None, [Limit(2, DAY)], timedelta()) == datetime(2026, 11, 24, 5, tzinfo=UTC)
    june = datetime(2026, 6, 1, 3, 59, tzinfo=UTC)
    assert next_slot(june, [june], None, [Limit(1, DAY)], timedelta()) == datetime(2026, 6, 1, 4, tzinfo=UTC)
    assert next_slot(june, [june - timedelta(hours=24)], None, [Limit(1, DAY)], timedelta()) == june


@given(
    st.lists(st.floats(0, 20), max_size=60),
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from([1, 10, 60])), min_size=1, max_size=3),
)
def test_no_window_ever_holds_too_many_calls(gaps: list[float], limits: list[tuple[int, int]]) -> None:
    """However callers come, calls made at the slots given break no limit in any window of its length."""
    rules = [Limit(calls, timedelta(seconds=seconds)) for calls, seconds in limits]
    now, made = NOON, list[datetime]()
    for gap in gaps:
        now += timedelta(seconds=gap)
        made.append(next_slot(now, made, None, rules, timedelta()))
    assert made == sorted(made)
    for rule in rules:
        for early, late in zip(made, made[rule.calls :], strict=False):
            assert late - early >= rule.window


def test_a_key_is_told_apart_but_not_told() -> None:
    """The hash of a key is short, stable, different for another key, and does not contain it."""
    assert key_hash("abc") == key_hash("abc") != key_hash("abd")
    assert len(key_hash("abc")) == 12 and "abc" not in key_hash("abc")


def test_a_spent_quota_says_until_when() -> None:
    """The error of a spent quota names the source, the moment to retry and the reason."""
    error = quota_spent("vendor", NOON, "25/day")
    assert error.kind == "quota_exhausted"
    assert "vendor" in error.message and "2026-11-23T12:00:00Z" in error.message and "25/day" in error.message
    assert "2026-11-23T12:00:00Z" in error.hint
