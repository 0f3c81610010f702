"""One function decides the state of a partition; everything else asks it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import product

import pytest

from market_spine.app.states import Grid, Noticed, PartitionState, State, decide_state
from market_spine.core.anomaly import Anomaly
from market_spine.core.domain import Publication
from market_spine.core.kept import AnomalyRecord
from market_spine.core.manifest import INGEST, Committed, Entry, Known
from market_spine.core.partition import Partition

MOMENT = datetime(2025, 1, 6, tzinfo=UTC)
PARTITION = Partition("garden", ("2025-01-03", "north"))


def captured(name: str) -> Committed:
    """A committed capture."""
    entry = Entry(1, PARTITION, INGEST, "committed", name, "f", "1", "s", "c", 1, "run")
    return Committed(entry, MOMENT, MOMENT)


NOTHING = Known(PARTITION.key)
LOADED = NOTHING._replace(stages={INGEST: captured("a")}, captures=("a",))
REVISED = LOADED._replace(captures=("a", "b"), stages={INGEST: captured("b")}, revisions=1)
HELD = LOADED._replace(captures=("a", "b"), held=captured("b"))
TAKEN_BACK = LOADED._replace(captures=("a", "b"), retracted=frozenset({"b"}))
EMPTIED = NOTHING._replace(captures=("a",), retracted=frozenset({"a"}))
QUIET = Noticed()
PUBLISHED, DUE, NOT_DUE = Publication.PUBLISHED, Publication.DUE, Publication.NOT_DUE


@pytest.mark.parametrize(
    ("known", "noticed", "publication", "wanted", "state"),
    [
        (LOADED, Noticed(errors=frozenset({"truncated"})), PUBLISHED, True, "failed"),
        (NOTHING, Noticed(errors=frozenset({"truncated", "late"})), PUBLISHED, True, "failed"),
        (HELD, Noticed(holding=frozenset({"shrunk"}), holds=True), PUBLISHED, True, "held"),
        (
            HELD,
            Noticed(errors=frozenset({"truncated"}), holding=frozenset({"shrunk"}), holds=True),
            PUBLISHED,
            True,
            "failed",
        ),
        (HELD, Noticed(acknowledged=frozenset({"shrunk"}), holds=True), PUBLISHED, True, "held"),
        (HELD, QUIET, PUBLISHED, True, "captured"),
        (NOTHING, QUIET, PUBLISHED, True, "late"),
        (NOTHING, Noticed(errors=frozenset({"late"})), PUBLISHED, False, "late"),
        (NOTHING, Noticed(acknowledged=frozenset({"late"})), PUBLISHED, True, "not_loaded"),
        (NOTHING, Noticed(errors=frozenset({"late"})), NOT_DUE, False, "not_due"),
        (TAKEN_BACK, Noticed(warnings=frozenset({"missing_leg"})), PUBLISHED, True, "retracted"),
        (EMPTIED, QUIET, PUBLISHED, True, "retracted"),
        (REVISED, Noticed(warnings=frozenset({"missing_leg"})), PUBLISHED, True, "warned"),
        (REVISED, Noticed(acknowledged=frozenset({"missing_leg"})), PUBLISHED, True, "revised"),
        (LOADED, QUIET, PUBLISHED, True, "captured"),
        (LOADED, QUIET, NOT_DUE, True, "captured"),
        (NOTHING, QUIET, DUE, True, "published"),
        (NOTHING, QUIET, PUBLISHED, False, "not_loaded"),
        (NOTHING, QUIET, NOT_DUE, True, "not_due"),
    ],
)
def test_the_first_state_that_applies(
    known: Known, noticed: Noticed, publication: Publication, wanted: bool, state: str
) -> None:
    """Each state, and which of two that apply comes first."""
    assert decide_state(known, noticed, publication, wanted=wanted) == state


def test_every_partition_has_one_state_in_the_order_of_severity() -> None:
    """A further error, hold or warning never makes a state look better."""
    order = list(State)
    knowns = (NOTHING, LOADED, REVISED, HELD, TAKEN_BACK, EMPTIED)
    worse = (Noticed(warnings=frozenset({"gap"})), Noticed(errors=frozenset({"html"})))
    for known, publication, wanted in product(knowns, Publication, (True, False)):
        states = [decide_state(known, noticed, publication, wanted=wanted) for noticed in (QUIET, *worse)]
        assert sorted(map(order.index, states), reverse=True) == [*map(order.index, states)]


def test_anomalies_are_told_apart() -> None:
    """Holds, other errors, warnings, and what a person has set aside."""

    def seen(kind: str, severity: str, details: dict[str, str], acknowledged: bool = False) -> AnomalyRecord:
        anomaly = Anomaly(kind, severity, PARTITION.key, "m", details)  # type: ignore[arg-type]
        return AnomalyRecord("garden", anomaly, MOMENT, MOMENT, 1, None, MOMENT if acknowledged else None)

    records = [
        seen("shrunk", "error", {"held_capture": "b"}),
        seen("replaced", "error", {"held_capture": "older"}),
        seen("html", "error", {}),
        seen("gap", "warning", {}),
        seen("late", "error", {}, acknowledged=True),
    ]
    assert Noticed.of(records) == Noticed(
        errors=frozenset({"html"}),
        holding=frozenset({"shrunk", "replaced"}),
        warnings=frozenset({"gap"}),
        acknowledged=frozenset({"late"}),
        holds=True,
    )


def test_a_cell_for_people() -> None:
    """The state with its kinds, and how often the source restated it."""
    state = PartitionState(partition_key="k", state="warned", warnings=("missing_leg",), revisions=2)
    assert state.text == "warned: missing_leg, revised 2 times"
    revised = PartitionState(partition_key="k", state="revised", revisions=1, legs=("ATS", "NON_ATS"))
    assert revised.text == "revised once, ATS+NON_ATS"
    assert PartitionState(partition_key="k", state="late", problems=("late",)).text == "late"
    assert (
        PartitionState(partition_key="k", state="not_due", expected=date(2025, 1, 6)).text == "not due until 2025-01-06"
    )


def test_counts_follow_the_states() -> None:
    """As many as there are cells, in the order of the states."""
    cells = [
        PartitionState(partition_key=str(number), state=state) for number, state in enumerate(["late", "held", "late"])
    ]
    assert list(Grid("garden", date(2025, 1, 6), [cells]).counts.items()) == [("held", 1), ("late", 2)]
