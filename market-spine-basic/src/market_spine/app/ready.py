"""Whether what downstream jobs wait for is there, and if not why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

from market_spine.app.states import Noticed, decide_state
from market_spine.app.windows import find_window
from market_spine.core.domain import Domain
from market_spine.core.kept import AnomalyRecord
from market_spine.core.manifest import CALC, NORMALIZE, Known
from market_spine.core.partition import Partition
from market_spine.core.ports import Reader, payloads


class Readiness(NamedTuple):
    """One partition that is waited for; without ``reasons`` it is ready."""

    partition_key: str
    capture_id: str | None
    reasons: tuple[str, ...]


def readiness(
    store: Reader,
    domain: Domain,
    partitions: Sequence[Partition],
    today: date,
    *,
    day: date | None = None,
    verified: bool = False,
    as_of: datetime | None = None,
) -> list[Readiness]:
    """Why each partition is not ready, if it is not.

    A partition is ready when it is captured, every stage and window stands on that capture, no error about it is
    open, and where asked the source's own totals prove its rows.

    Args:
        store: where.
        domain: whose partitions.
        partitions: those that are waited for.
        today: the day that decides what is published.
        day: what they must reach to.
        verified: whether they must be proven.
        as_of: by what was known at that moment, which has passed.
    """
    looked_at = {
        each.key
        for partition in partitions
        for each in (partition, *(each for calc in domain.windows for each in calc.inputs(partition)))
    }
    known = store.known(domain.name, sorted(looked_at), as_of=as_of)
    records: dict[str, list[AnomalyRecord]] = {}
    for record in store.anomalies(domain.name, acknowledged=True, as_of=as_of):
        records.setdefault(record.anomaly.partition_key, []).append(record)
    found = []
    for partition in partitions:
        own, noticed = known[partition.key], Noticed.of(records.get(partition.key, ()))
        current = own.current
        if current is None:
            state = decide_state(own, noticed, domain.publication(partition, today), wanted=False)
            reasons = [f"nothing is captured: {state.value}"]
        else:
            reasons = [f"not computed from its capture: {name}" for name in _uncomputed(domain, partition, known)]
            if day is not None and not domain.reaches(own, day):
                reasons.append(f"does not reach to {day}")
            if verified and not _proven(store, domain, own):
                reasons.append("no totals of the source prove its rows")
        reasons += [f"open error: {kind}" for kind in sorted(noticed.errors | noticed.holding)]
        found.append(Readiness(partition.key, current.entry.capture_id if current else None, tuple(reasons)))
    return found


def _uncomputed(domain: Domain, partition: Partition, known: Mapping[str, Known]) -> list[str]:
    """Names of the stages and windows that do not stand on the current capture."""
    own = known[partition.key]
    assert own.current is not None
    capture = own.current.entry.capture_id
    found = [
        stage for stage in (NORMALIZE, CALC) if stage not in own.stages or own.stages[stage].entry.capture_id != capture
    ]
    # A window is stale whenever a stage before it is.
    return found or [calc.spec.name for calc in domain.windows if not find_window(calc, partition, known).standing]


def _proven(store: Reader, domain: Domain, known: Known) -> bool:
    """Whether totals prove what is current; where that was not recorded the payload is read again."""
    last = known.noted or known.current
    if known.proven is not None or last is None:
        return bool(known.proven)
    return domain.normalize(last.entry.partition, list(payloads(store, last.entry))).proven
