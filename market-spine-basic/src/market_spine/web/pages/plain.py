"""Records of the store as the plain values that pages and their JSON twins have."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from market_spine.core.kept import AnomalyRecord
from market_spine.core.manifest import Committed, RunRecord


def text_of(moment: datetime) -> str:
    """A moment to the microsecond, so that ``?as_of=`` means exactly it."""
    return moment.isoformat()


def plain_run(run: RunRecord) -> dict[str, Any]:
    """A run without its result."""
    took = None if run.finished_at is None else (run.finished_at - run.started_at).total_seconds()
    return {
        "run_id": run.run_id,
        "domain": run.domain,
        "scheduler": run.scheduler,
        "started_at": text_of(run.started_at),
        "finished_at": text_of(run.finished_at) if run.finished_at else None,
        "status": run.status,
        "exit_code": run.exit_code,
        "attempted": run.attempted,
        "succeeded": run.succeeded,
        "failed": run.failed,
        "skipped": run.skipped,
        "seconds": took,
    }


def plain_anomaly(record: AnomalyRecord) -> dict[str, Any]:
    """An anomaly as ``market-spine anomalies --json`` lists it."""
    anomaly = record.anomaly
    return {
        "domain": record.domain,
        "partition_key": anomaly.partition_key,
        "kind": anomaly.kind,
        "severity": anomaly.severity,
        "message": anomaly.message,
        "count": record.count,
        "first_seen": text_of(record.first_seen),
        "last_seen": text_of(record.last_seen),
        "resolved_at": text_of(record.resolved_at) if record.resolved_at else None,
        "acknowledged_at": text_of(record.acknowledged_at) if record.acknowledged_at else None,
        "details": dict(anomaly.details),
    }


def plain_change(committed: Committed) -> dict[str, Any]:
    """What a restatement changed."""
    change = committed.entry.change
    return {
        "partition_key": committed.entry.partition.key,
        "capture_id": committed.entry.capture_id,
        "committed_at": text_of(committed.committed_at),
        "added": change.added if change else 0,
        "removed": change.removed if change else 0,
        "changed": change.changed if change else 0,
    }


def plain(value: Any) -> Any:
    """Whatever a record holds, as JSON has it."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, date):
        return value.isoformat()
    return value
