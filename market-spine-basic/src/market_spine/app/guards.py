"""Guards hold a payload back when it parsed but looks wrong; ``accept`` lets one through, ``--force`` all of a run."""

from __future__ import annotations

from market_spine.core.anomaly import Anomaly
from market_spine.core.domain import Normalized
from market_spine.core.manifest import Committed
from market_spine.errors import GuardError

REJECT_BUDGET = 0.05
"""Largest share of rejected rows that is let through."""
SHRINK_LIMIT = 0.50
"""Largest share of the last capture's rows that may be missing from a new one."""

_HINT = "look at it: market-spine captures and diff; market-spine accept CAPTURE lets it through"


def check(normalized: Normalized, rows: int, current: Committed | None, before: int | None = None) -> list[GuardError]:
    """The reasons to hold the payload, the first of them the one to tell.

    Args:
        normalized: the payload as read.
        rows: accepted rows in the domain's first table.
        current: the current capture, if there is one.
        before: rows that stand in the range of a payload that covers only a range.
    """
    found = [GuardError(each.message, hint=each.hint or _HINT, kind=each.kind) for each in normalized.concerns]
    rejected = normalized.rejects.height
    if rejected > REJECT_BUDGET * normalized.rows_read:
        found.append(
            GuardError(
                f"{rejected} of {normalized.rows_read} rows were rejected ({_rules(normalized)}),"
                f" more than {REJECT_BUDGET:.0%}",
                hint=_HINT,
                kind="reject_budget",
            )
        )
    stood = 0 if current is None else current.entry.row_count if before is None else before
    if current is not None and rows < (1 - SHRINK_LIMIT) * stood:
        found.append(
            GuardError(
                f"{rows} rows, where capture {current.entry.capture_id} {'has' if before is None else 'leaves'}"
                f" {stood}: more than {SHRINK_LIMIT:.0%} are missing",
                hint=_HINT,
                kind="shrunk",
            )
        )
    return found


def rejected_rows(normalized: Normalized, partition_key: str) -> Anomaly | None:
    """The warning that some rows were rejected, with their number per rule."""
    if normalized.rejects.is_empty():
        return None
    counts = rule_counts(normalized)
    return Anomaly(
        kind="rejected_rows",
        severity="warning",
        partition_key=partition_key,
        message=f"{normalized.rejects.height} of {normalized.rows_read} rows were rejected ({_rules(normalized)})",
        details={"rows_read": normalized.rows_read, "rejected": normalized.rejects.height, "rules": counts},
    )


def rule_counts(normalized: Normalized) -> dict[str, int]:
    """Rejected rows per rule, in the order of the rules' names."""
    counted = normalized.rejects.group_by("rule").len().sort("rule")
    return dict(counted.iter_rows())


def _rules(normalized: Normalized) -> str:
    return ", ".join(f"{rule}: {count}" for rule, count in rule_counts(normalized).items())
