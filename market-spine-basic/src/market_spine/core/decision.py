"""What people decide about data: kept for ever, with who and why."""

from __future__ import annotations

from datetime import date
from typing import Literal, NamedTuple

Verb = Literal["accept", "retract", "ack"]


class Decision(NamedTuple):
    """One decision about one partition.

    Attributes:
        verb: ``accept``: the capture may be what we know. ``retract``: its bytes were wrong. ``ack``: the open
            anomaly of ``kind`` has been seen.
        partition_key: whose it is.
        reason: why, in the words of who decided.
        decided_by: who.
        run_id: the run that recorded it.
        capture_id: the capture it is about; None for ``ack``.
        kind: the anomaly's kind for ``ack``; for ``accept`` the guards that it overrides, comma-separated.
        until: the last day on which an acknowledged anomaly stays quiet; None: until it is resolved.
    """

    verb: Verb
    partition_key: str
    reason: str
    decided_by: str
    run_id: str
    capture_id: str | None = None
    kind: str = ""
    until: date | None = None
