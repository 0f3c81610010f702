"""What others were told of an anomaly, or of a run that failed."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

from market_spine.core.anomaly import Severity

NoticeEvent = Literal["begun", "opened", "worsened", "reminded", "resolved"]
"""``begun``: the sink was used for the domain for the first time; what had ended by then is no news to it."""


class Notice(NamedTuple):
    """One row of ``core_notifications``, written once it was sent.

    Attributes:
        sink: who was told: ``webhook``, ``slack``, ``command``, or Apprise's word for a service.
        domain: whose anomaly or run it was.
        partition_key: the anomaly's; empty for a run as a whole.
        kind: the anomaly's, or that of the error that a run ended with.
        first_seen: when that anomaly was first seen, which tells its episodes apart; of a run, when it started.
        event: what was told of it.
        severity: what it was then.
    """

    sink: str
    domain: str
    partition_key: str
    kind: str
    first_seen: datetime
    event: NoticeEvent
    severity: Severity


class NoticeRecord(NamedTuple):
    """A notice as read back."""

    notice: Notice
    sent_at: datetime
