"""Guards hold a payload back when it parsed but looks wrong; ``accept`` lets one through, ``--force`` all of a run."""

from __future__ import annotations

from collections.abc import Iterable

from market_spine.app.task import Task
from market_spine.core.anomaly import Anomaly
from market_spine.core.domain import Concern, Normalized
from market_spine.errors import GuardError

REJECT_BUDGET = 0.05
"""Largest share of rejected rows that is let through."""
SHRINK_LIMIT = 0.50
"""Largest share of the last capture's rows that may be missing from a new one."""

_HINT = "look at it: market-spine captures and diff; market-spine accept CAPTURE lets it through"


def held_by(concerns: Iterable[Concern]) -> list[GuardError]:
    """The concerns as guards that hold a payload."""
    return [GuardError(each.message, hint=each.hint or _HINT, kind=each.kind) for each in concerns]


def check(
    task: Task, normalized: Normalized, rows: int, before: int | None, *, judged: bool
) -> tuple[list[GuardError], list[Anomaly]]:
    """The reasons to hold the payload, the first of them the one to tell; and what the source's own totals outrank.

    Args:
        task: the partition, with its current capture.
        normalized: the payload as read.
        rows: accepted rows in the domain's first table.
        before: rows that stand in the range of a payload that covers only a range.
        judged: rows that are gone are judged by their keys, where there are enough of them.
    """
    current, rules = task.known.current, task.run.rules
    found = held_by(normalized.concerns)
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
    by_key = judged and rules is not None and stood >= rules.least_rows
    if current is None or by_key or rows >= (1 - SHRINK_LIMIT) * stood:
        return found, []
    message = (
        f"{rows} rows, where capture {current.entry.capture_id} {'has' if before is None else 'leaves'} {stood}:"
        f" more than {SHRINK_LIMIT:.0%} are missing"
    )
    if normalized.proven:
        told = f"{message}; the source's own totals prove the rows"
        return found, [Anomaly("shrunk", "warning", task.partition.key, told)]
    return [*found, GuardError(message, hint=_HINT, kind="shrunk")], []


def rejected_rows(normalized: Normalized, partition_key: str, kept: int = 0) -> Anomaly | None:
    """The warning that some rows were rejected, with their number per rule; ``kept`` rows stay known in their place."""
    if normalized.rejects.is_empty():
        return None
    counts = rule_counts(normalized)
    stays = f"; {kept} rows known under their keys stay as they were" if kept else ""
    return Anomaly(
        kind="rejected_rows",
        severity="warning",
        partition_key=partition_key,
        message=f"{normalized.rejects.height} of {normalized.rows_read} rows were rejected"
        f" ({_rules(normalized)}){stays}",
        details={
            "rows_read": normalized.rows_read,
            "rejected": normalized.rejects.height,
            "rules": counts,
            "kept": kept,
        },
    )


def rule_counts(normalized: Normalized) -> dict[str, int]:
    """Rejected rows per rule, in the order of the rules' names."""
    counted = normalized.rejects.group_by("rule").len().sort("rule")
    return dict(counted.iter_rows())


def _rules(normalized: Normalized) -> str:
    return ", ".join(f"{rule}: {count}" for rule, count in rule_counts(normalized).items())
