"""Reading what monitoring and planning ask of runs and of the quota ledger, without reading results."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from market_spine.store.database import Database
from market_spine.store.moments import from_text, to_text

if TYPE_CHECKING:
    from market_spine.core.figures import RunFigures

_OUTCOMES = ("attempted", "succeeded", "failed", "skipped")
# Not over core_runs: its rows hold whole results, and only the latest is wanted.
_LATEST = """\
SELECT MAX(started_at) FROM (
    SELECT MAX(started_at) AS started_at FROM core_run_starts WHERE domain = ? AND scheduler = ?
    UNION ALL SELECT MAX(started_at) FROM core_run_ends WHERE domain = ? AND scheduler = ?
) AS starts
"""
_RUN = f"""\
SELECT run_id, finished_at, status, {", ".join(_OUTCOMES)} FROM core_runs
 WHERE domain = ? AND scheduler = ? AND started_at = ? ORDER BY recorded_at DESC LIMIT 1
"""
_SUCCESS = "SELECT MAX(finished_at) FROM core_run_ends WHERE domain = ? AND scheduler = ? AND status = 'success'"
_PIPELINES = "SELECT pipeline, SUM(duration_ms) FROM core_run_partitions WHERE run_id = ? GROUP BY pipeline ORDER BY 1"

_LAST_ASKED = "SELECT subject, MAX(planned_at) FROM core_requests WHERE source = ? GROUP BY subject"
_ASKED = "SELECT planned_at FROM core_requests WHERE source = ? AND key_hash = ? AND planned_at >= ? ORDER BY 1"


def run_figures(db: Database, domain: str, scheduler: str) -> RunFigures | None:
    """The figures of a scheduler's runs; None if it never ran."""
    from market_spine.core.figures import RunFigures

    ((started,),) = db.rows(_LATEST, (domain, scheduler) * 2)
    if started is None:
        return None
    ((run_id, finished, status, *counts),) = db.rows(_RUN, (domain, scheduler, started))
    ((success,),) = db.rows(_SUCCESS, (domain, scheduler))
    return RunFigures(
        started_at=from_text(started),
        finished_at=None if finished is None else from_text(finished),
        status=status,
        counts=dict(zip(_OUTCOMES, counts, strict=True)),
        pipelines={name: int(total) for name, total in db.rows(_PIPELINES, (run_id,))},
        last_success=None if success is None else from_text(success),
    )


def calls(db: Database) -> dict[str, int]:
    """How many calls to each metered source are written down."""
    return dict(db.rows("SELECT source, COUNT(*) FROM core_requests GROUP BY source ORDER BY source"))


def last_asked(db: Database, source: str) -> dict[str, datetime]:
    """When a metered source was last asked, for each subject."""
    return {subject: from_text(moment) for subject, moment in db.rows(_LAST_ASKED, (source,))}


def asked(db: Database, source: str, key_hash: str, since: datetime) -> list[datetime]:
    """The moments of the calls with a key from some moment on, in order."""
    return [from_text(moment) for (moment,) in db.rows(_ASKED, (source, key_hash, to_text(since)))]
