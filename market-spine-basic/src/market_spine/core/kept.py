"""What a store keeps beside its manifest, as it is read back: anomalies, decisions, checks, refused rows; answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from market_spine.core.anomaly import Anomaly
from market_spine.core.decision import Decision


@dataclass(frozen=True, slots=True)
class AnomalyRecord:
    """One row of ``core_anomalies``: an anomaly from first sight to its resolution.

    ``acknowledged_at``: when a person set it aside, if that still holds.
    """

    domain: str
    anomaly: Anomaly
    first_seen: datetime
    last_seen: datetime
    count: int
    resolved_at: datetime | None
    acknowledged_at: datetime | None = None

    def document(self) -> dict[str, Any]:
        """Its JSON form; moments to the second."""

        def text(moment: datetime | None) -> str | None:
            return moment.isoformat(timespec="seconds") if moment else None

        return {
            "domain": self.domain,
            "partition_key": self.anomaly.partition_key,
            "kind": self.anomaly.kind,
            "severity": self.anomaly.severity,
            "count": self.count,
            "first_seen": text(self.first_seen),
            "last_seen": text(self.last_seen),
            "resolved_at": text(self.resolved_at),
            "acknowledged_at": text(self.acknowledged_at),
            "message": self.anomaly.message,
            "details": dict(self.anomaly.details),
        }


class DecisionRecord(NamedTuple):
    """One row of ``core_decisions``."""

    domain: str
    decision: Decision
    decided_at: datetime


class CheckRecord(NamedTuple):
    """One row of ``core_run_partitions``: what a run found of a partition in one pipeline.

    ``reason``: why it was skipped; ``kind``: why it failed; ``recorded_at``: when the run was recorded.
    """

    run_id: str
    domain: str
    partition_key: str
    pipeline: str
    status: str
    reason: str | None
    kind: str | None
    duration_ms: int
    recorded_at: datetime


class Reject(NamedTuple):
    """One row of ``core_rejects``: a refused row of a part, its line, the rule it broke, and what it said."""

    part: str
    line: int
    rule: str
    raw: str


class QueryResult(NamedTuple):
    """Column names and rows of plain Python values (str, int, float, bool, None) of a query."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
