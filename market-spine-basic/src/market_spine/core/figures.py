"""What monitoring asks of the runs of a scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple


class RunFigures(NamedTuple):
    """The latest run of a scheduler, and the last one that went well.

    Attributes:
        finished_at: None while it is ``unfinished``.
        counts: partitions by outcome: attempted, succeeded, failed, skipped.
        pipelines: milliseconds by pipeline.
        last_success: when the last run of status ``success`` ended; None if none ever did.
    """

    started_at: datetime
    finished_at: datetime | None
    status: str
    counts: Mapping[str, int]
    pipelines: Mapping[str, int]
    last_success: datetime | None
