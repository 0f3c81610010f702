"""What is kept of a run itself: that it began, and its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from market_spine.app.scheduling import SchedulerResult
from market_spine.core.manifest import RunRecord, RunStart

UNFINISHED = "unfinished"
"""The status of a run that has begun and not ended: it is at work, or was killed."""


def run_start(run_id: str, domain: str, scheduler: str, started: datetime, config: Mapping[str, Any]) -> RunStart:
    """The start of a run, with what stands for its result until there is one."""
    document = {
        "domain": domain,
        "scheduler": scheduler,
        "started_at": started.isoformat().replace("+00:00", "Z"),
        "status": UNFINISHED,
        "config": dict(config),
        "run_id": run_id,
    }
    return RunStart(run_id, domain, scheduler, started, json.dumps(document))


def run_record(result: SchedulerResult) -> RunRecord:
    """A result as it is kept; it has a ``run_id``."""
    return RunRecord(
        run_id=result.run_id or "",
        domain=result.domain,
        scheduler=result.scheduler,
        started_at=result.started_at,
        finished_at=result.finished_at,
        status=result.status.value,
        exit_code=result.exit_code,
        attempted=result.stats.attempted,
        succeeded=result.stats.succeeded,
        failed=result.stats.failed,
        skipped=result.stats.skipped,
        result=result.to_json(indent=None),
    )
