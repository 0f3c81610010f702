"""Where every partition stands: the grid that ``market-spine status`` shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from market_spine.core.domain import Domain, Publication, PublicationCalendar
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.core.ports import Reader


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One cell of the grid.

    Attributes:
        state: ``not_due``, ``published`` (today, not captured yet), ``late``, ``captured`` or ``failed``.
        revisions: how often the current capture replaced an earlier one.
        problems: kinds of the open anomalies of severity error.
        warnings: kinds of the other open anomalies.
        expected: the day it is published, while that lies ahead and the domain can tell.
    """

    partition: Partition
    state: str
    known: Known
    revisions: int
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    expected: date | None = None

    @property
    def text(self) -> str:
        """The cell for people, such as ``captured, revised 2 times``."""
        until = f" until {self.expected}" if self.expected else ""
        parts = [self.state.replace("_", " ") + until]
        if self.revisions:
            parts.append("revised once" if self.revisions == 1 else f"revised {self.revisions} times")
        if self.problems and self.problems != (self.state,):
            parts.append(", ".join(self.problems))
        parts.extend(self.warnings)
        return ", ".join(parts)

    def document(self) -> dict[str, Any]:
        """Its JSON form."""
        current = self.known.current
        return {
            "partition_key": self.partition.key,
            "state": self.state,
            "expected": self.expected.isoformat() if self.expected else None,
            "revisions": self.revisions,
            "capture_id": current.entry.capture_id if current else None,
            "captured_at": current.captured_at.isoformat() if current else None,
            "row_count": current.entry.row_count if current else None,
            "problems": list(self.problems),
            "warnings": list(self.warnings),
        }


def partition_states(store: Reader, domain: Domain, today: date, count: int) -> list[list[PartitionState]]:
    """The grid's rows, newest first, at most ``count``."""
    known = store.known(domain.name)
    open_kinds: dict[str, dict[str, str]] = {}
    for record in store.anomalies(domain.name):
        kinds = open_kinds.setdefault(record.anomaly.partition_key, {})
        kinds[record.anomaly.kind] = record.anomaly.severity
    return [
        [_state(domain, partition, today, known, open_kinds.get(partition.key, {})) for partition in row]
        for row in domain.grid(today, count, known.keys())
    ]


def _state(
    domain: Domain,
    partition: Partition,
    today: date,
    known: Mapping[str, Known],
    kinds: Mapping[str, str],
) -> PartitionState:
    own = known.get(partition.key) or Known(partition.key)
    problems = tuple(sorted(kind for kind, severity in kinds.items() if severity == "error"))
    warnings = tuple(sorted(kind for kind, severity in kinds.items() if severity != "error"))
    publication = domain.publication(partition, today)
    if problems and problems != ("late",):
        state = "failed"
    elif own.current is not None:
        state = "captured"
    elif publication is Publication.NOT_DUE:
        state = "not_due"
    else:
        state = "published" if publication is Publication.DUE else "late"
    expected = None
    if state == "not_due" and isinstance(domain, PublicationCalendar):
        expected = domain.publication_day(partition)
    return PartitionState(partition, state, own, own.revisions, problems, warnings, expected)
