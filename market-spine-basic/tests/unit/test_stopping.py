"""Waits that hear that the run is to stop."""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from market_spine import stopping
from market_spine.errors import Interrupted


def test_a_sleep_ends_with_the_slice_in_which_it_is_asked_to() -> None:
    """A long sleep is made of short ones and ends by Interrupted after the one during which the run was stopped."""
    slept: list[float] = []
    with stopping.heard(lambda: len(slept) >= 3), pytest.raises(Interrupted) as caught:
        stopping.sleep(200, slept.append)
    assert (slept, caught.value.kind) == ([stopping.SLICE] * 3, "interrupted")


def test_a_sleep_lasts_as_long_as_it_is_meant_to() -> None:
    """Undisturbed, the slices of a sleep add up to its length."""
    slept: list[float] = []
    stopping.sleep(1.1, slept.append)
    assert sum(slept) == pytest.approx(1.1)
    assert max(slept) <= stopping.SLICE


def test_work_that_hangs_is_left_behind_when_the_run_is_to_stop() -> None:
    """Work that never ends does not keep the one who waits for it once the run is to stop."""
    begun, never = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        never.wait()

    with stopping.heard(begun.is_set), pytest.raises(Interrupted):
        stopping.within(hang, 3600)
    never.set()


def test_work_that_hangs_is_left_behind_when_its_time_is_over() -> None:
    """Work that does not end in its time is a TimeoutError, also where nobody can be asked to stop."""
    never = threading.Event()
    with pytest.raises(TimeoutError):
        stopping.within(never.wait, 0.01)
    never.set()


def test_work_gives_its_result_or_its_error_and_sees_the_context() -> None:
    """What work returns or raises reaches the one who waits, and it runs in a copy of the waiter's context."""
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")
    name.set("of the waiter")
    assert stopping.within(name.get, 60) == "of the waiter"
    with pytest.raises(KeyboardInterrupt):
        stopping.within(lambda: (_ for _ in ()).throw(KeyboardInterrupt), 60)


def test_nothing_stops_where_nobody_said_so() -> None:
    """Outside a run, and in threads that were told nothing, no wait is ended; a thread that adopts hears."""
    assert not stopping.asked()
    with stopping.heard(lambda: True), ThreadPoolExecutor(1) as pool:
        assert pool.submit(stopping.asked).result() is False
        pool.submit(stopping.adopt, stopping.current()).result()
        assert pool.submit(stopping.asked).result() is True
    assert not stopping.asked()
