"""What is due: decided from anomalies and memory alone, by hand and for any history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.anomaly import Anomaly
from market_spine.core.kept import AnomalyRecord
from market_spine.core.notice import NoticeRecord
from market_spine.notify.due import Memory, due, failures, notices

NOON = datetime(2025, 3, 10, 12, tzinfo=UTC)
WEEK = timedelta(7)


def seen(severity: Any = "error", *, at: int = 0, **changes: Any) -> AnomalyRecord:
    """An anomaly first seen so many hours after noon."""
    first = NOON + timedelta(hours=at)
    anomaly = Anomaly("late", severity, "2025-03-01", "it is not there", {"hint": "fetch it"})
    usual: dict[str, Any] = {"first_seen": first, "last_seen": first, "count": 1, "resolved_at": None}
    return AnomalyRecord("harbor", anomaly, **{**usual, **changes})


class Sink:
    """Remembers as the database does: what was sent, after it was sent."""

    def __init__(self) -> None:
        self.records: list[NoticeRecord] = []

    def ask(self, *anomalies: AnomalyRecord, hours: int = 1, run: Any = None, arrives: bool = True) -> list[str]:
        """The events that are due so many hours after noon; they are sent, and recorded if that succeeds."""
        memory, now = Memory.of("webhook", self.records), NOON + timedelta(hours=hours)
        items = due(memory, anomalies, run, now, WEEK)
        if arrives:
            self.records += [NoticeRecord(each, now) for each in notices("webhook", "harbor", items, memory, now)]
        return [item.event for item in items]


def test_severity_that_rises_is_told_and_that_falls_is_not() -> None:
    """Information is not told; a warning opens; an error after it is worse; a warning again, and an error again, is
    nothing new."""
    sink = Sink()
    told = [sink.ask(seen(severity)) for severity in ("info", "warning", "warning", "error", "warning", "error")]
    assert told == [[], ["opened"], [], ["worsened"], [], []]


def test_reminders_start_at_what_was_told_last() -> None:
    """Told at one o'clock, worse a day later, and then a week after that."""
    sink = Sink()
    steps = [(1, "warning"), (25, "error"), (24 * 7 + 2, "error"), (24 * 7 + 25, "error"), (24 * 14 + 24, "error")]
    told = [sink.ask(seen(severity), hours=hours) for hours, severity in steps]
    assert told == [["opened"], ["worsened"], [], ["reminded"], []]


def test_set_aside_is_silent_until_it_is_back() -> None:
    """While a person has set it aside nothing is told; afterwards the reminder counts from what was told last."""
    sink = Sink()
    quiet: dict[str, Any] = {"acknowledged_at": NOON}
    assert sink.ask(seen()) == ["opened"]
    assert sink.ask(seen(**quiet), hours=24 * 9) == []
    assert sink.ask(seen(), hours=24 * 9) == ["reminded"]
    assert sink.ask(seen(**quiet, resolved_at=NOON + WEEK), hours=24 * 10) == []
    assert Sink().ask(seen(**quiet)) == []


def run(*failed: str, error: str = "", met: tuple[str, ...] = ()) -> dict[str, Any]:
    """A result in which partitions failed with ``internal``, and others were met."""
    problem = {"kind": "internal", "message": "it broke", "hint": ""}
    return {
        "domain": "harbor",
        "scheduler": "daily",
        "started_at": "2025-03-10T12:00:00Z",
        "finished_at": "2025-03-10T12:01:00Z",
        "runs": [
            *({"partition_key": key, "error": problem} for key in failed),
            *({"partition_key": key} for key in met),
        ],
        **({"error": {**problem, "kind": error}} if error else {}),
    }


def test_a_failure_lasts_until_its_partition_is_met_again() -> None:
    """A failure without an anomaly is told once and ends when a run meets its partition without it; one with an open
    anomaly of its kind is the anomaly's to tell."""
    sink = Sink()
    assert sink.ask(run=run("a", "b")) == ["opened", "opened"]
    assert sink.ask(run=run("a", met=("c",))) == []
    assert sink.ask(run=None) == []
    assert sink.ask(run=run(met=("a",))) == ["resolved"]
    assert sink.ask(run=run("b", met=("a",))) == []
    assert sink.ask(seen(), run=run("2025-03-01")) == ["opened", "opened"]
    late = run() | {"runs": [{"partition_key": "2025-03-01", "error": {"kind": "late", "message": "m", "hint": ""}}]}
    assert sink.ask(seen(), run=late) == ["resolved"]


def test_a_critical_error_of_another_kind_takes_the_place_of_the_first() -> None:
    """The run fails for another reason: the first is over, the second is new; a signal is nobody's news."""
    sink = Sink()
    assert sink.ask(run=run(error="schema")) == ["opened"]
    assert sink.ask(run=run(error="nothing_selected")) == ["opened", "resolved"]
    assert sink.ask(run=run()) == ["resolved"]
    assert failures(run(error="interrupted")) == []


@given(
    st.lists(
        st.tuples(st.sampled_from(["warning", "error", "resolved"]), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_whatever_happens_nothing_is_lost_and_nothing_doubled(steps: list[tuple[str, bool]]) -> None:
    """For any history of an anomaly, with messages that arrive or do not: what arrived opens each episode at most
    once, closes each that ended exactly once, and leaves nothing untold."""
    sink = Sink()
    sink.ask()
    records: list[AnomalyRecord] = []
    arrived: list[tuple[str, datetime]] = []
    for hour, (what, arrives) in enumerate(steps, start=2):
        moment = NOON + timedelta(hours=hour)
        live = records[-1] if records and records[-1].resolved_at is None else None
        if live is not None:
            records.pop()
        if what == "resolved":
            if live is not None:
                records.append(seen(live.anomaly.severity, first_seen=live.first_seen, resolved_at=moment))
        else:
            records.append(seen(what, first_seen=live.first_seen if live else moment))
        memory, now = Memory.of("webhook", sink.records), moment
        items = due(memory, records, None, now, None)
        if arrives:
            sink.records += [NoticeRecord(each, now) for each in notices("webhook", "harbor", items, memory, now)]
            arrived += [(item.event, item.episode.first_seen) for item in items]
    memory = Memory.of("webhook", sink.records)
    arrived += [(item.event, item.episode.first_seen) for item in due(memory, records, None, NOON, None)]
    for record in records:
        told = [event for event, first in arrived if first == record.first_seen]
        assert told.count("opened") <= 1
        assert told.count("resolved") == (record.resolved_at is not None)
        assert told, "an episode was lost"
        assert told[0] == ("opened" if record.resolved_at is None else told[0])
        assert told.count("worsened") <= 1
    assert {first for _, first in arrived} == {record.first_seen for record in records}
