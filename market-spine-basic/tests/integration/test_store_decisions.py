"""Decisions are kept for ever, with who and why, and read as of any moment; on every store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from market_spine.core.anomaly import Anomaly
from market_spine.core.decision import Decision
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition
from market_spine.store.writer import StoreWriter

Decide = Callable[..., Decision]


@pytest.fixture
def decide(writer: StoreWriter, partition: Partition) -> Decide:
    """Commit one decision."""

    def commit(verb: Any, **more: Any) -> Decision:
        decision = Decision(verb, partition.key, "looked at it", "ann", "run", **more)
        with writer.commit(partition) as commit:
            commit.decide(decision)
        return decision

    return commit


def test_a_decision_comes_back_as_it_was_made(writer: StoreWriter, partition: Partition, decide: Decide) -> None:
    """Of one partition, of one domain, or of all; oldest first, with the moment of its commit."""
    made = [
        decide("accept", capture_id="a", kind="shrunk,replaced"),
        decide("ack", kind="late", until=date(2025, 2, 28)),
    ]
    assert [record.decision for record in writer.decisions("garden", partition.key)] == made
    assert [record.decision for record in writer.decisions()] == made
    assert list(writer.decisions("garden", "2025-01-03|south")) == list(writer.decisions("harbor")) == []
    first, second = writer.decisions()
    assert first.decided_at < second.decided_at


def test_a_decision_is_known_from_its_moment_on(writer: StoreWriter, decide: Decide, clock: Any) -> None:
    """As of the moment before, there is none."""
    decide("retract", capture_id="a")
    (record,) = writer.decisions()
    clock()
    sql = "SELECT verb, capture_id, decided_by, reason FROM core_decisions"
    assert writer.query(sql, record.decided_at).rows == [("retract", "a", "ann", "looked at it")]
    assert writer.query(sql, datetime(2025, 1, 6, 12, tzinfo=UTC)).rows == []


def test_what_is_retracted_is_known_until_it_is_accepted(
    writer: StoreWriter, partition: Partition, put: Callable[..., Entry], decide: Decide
) -> None:
    """The later of two decisions about a capture counts; others are not concerned."""
    put("a", kale=1)
    put("b", kale=2)
    decide("retract", capture_id="a")
    decide("retract", capture_id="b")
    decide("accept", capture_id="a")
    decide("ack", kind="late")
    assert writer.known("garden")[partition.key].retracted == {"b"}
    assert writer.known("garden", ["2025-01-03|south"])["2025-01-03|south"].retracted == frozenset()


def test_an_acknowledged_anomaly_is_quiet_until_it_is_seen_after_the_day(
    writer: StoreWriter, partition: Partition, decide: Decide, clock: Any
) -> None:
    """Not open, though unresolved; sightings up to the day change nothing, one after it brings it back."""

    def see(kind: str = "late") -> list[str]:
        with writer.commit(partition) as commit:
            commit.note(Anomaly(kind, "error", partition.key, "m"))
        return [record.anomaly.kind for record in writer.anomalies()]

    def at(moment: str) -> None:
        clock.now = datetime.fromisoformat(moment).replace(tzinfo=UTC)

    see()
    assert set(see("gap")) == {"late", "gap"}
    decide("ack", kind="late", until=date(2025, 1, 8))
    assert [record.anomaly.kind for record in writer.anomalies()] == ["gap"]
    quiet = next(record for record in writer.anomalies(acknowledged=True) if record.anomaly.kind == "late")
    assert quiet.acknowledged_at == writer.decisions()[0].decided_at and quiet.resolved_at is None
    at("2025-01-08T23:59:00")
    assert see() == ["gap"]
    at("2025-01-09T00:00:00")
    assert set(see()) == {"late", "gap"}
    decide("ack", kind="late")
    at("2026-01-09T00:00:00")
    assert see() == ["gap"]


def test_what_is_seen_after_resolution_is_another_anomaly(
    writer: StoreWriter, partition: Partition, decide: Decide
) -> None:
    """Acknowledging one does not set aside the next of its kind, nor does it undo the resolution."""
    for _ in range(2):
        with writer.commit(partition) as commit:
            commit.note(Anomaly("late", "error", partition.key, "m"))
        if not writer.decisions():
            decide("ack", kind="late")
            with writer.commit(partition) as commit:
                commit.resolve()
    (again,) = writer.anomalies()
    assert again.count == 1 and again.acknowledged_at is None
    old = writer.anomalies(open_only=False)[1]
    assert old.resolved_at is not None and old.acknowledged_at is not None


def test_a_decision_of_another_partition_is_refused(writer: StoreWriter, partition: Partition) -> None:
    """A commit writes of its own partition alone."""
    with pytest.raises(ValueError, match="south"), writer.commit(partition) as commit:
        commit.decide(Decision("ack", "2025-01-03|south", "r", "ann", "run", kind="late"))
    assert list(writer.decisions()) == []
