"""Odd data worth keeping: what the result lists and ``core_anomalies`` stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["info", "warning", "error"]

LATE = "late"
"""Kind of the anomaly that says that a published partition is not there."""
MISSING_LEG = "missing_leg"
"""Kind of the anomaly that says that a partition lacks a leg which the one before it has."""
HELD = "held_capture"
"""The detail of a guard's anomaly that names the capture it holds."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something odd about one partition. There is one open anomaly per (partition, kind).

    Attributes:
        kind: a stable word such as ``late`` or ``rejected_rows``.
        severity: ``info``, ``warning`` or ``error``.
        partition_key: the partition it is about.
        message: one sentence with the figures.
        details: JSON-ready facts behind the message.
    """

    kind: str
    severity: Severity
    partition_key: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
