"""What was started from a page: its log while it runs, then its result."""

from __future__ import annotations

from market_spine.web.pages import PageMissing, Record, Visit
from market_spine.web.pages.plain import text_of
from market_spine.web.pages.runs import of_result
from market_spine.web.reading import Reading


def record(reading: Reading, visit: Visit) -> Record:
    """The job that the address names; once it has ended with a recorded run, that run is where to go."""
    desk = reading.console.desk
    job = desk.find(visit.place["job"]) if desk else None
    if job is None:
        raise PageMissing("there is no such job", hint="a console that was started anew knows none of before")
    result = job.result if job.code is not None else None
    run_id = str(result.get("run_id") or "") if result else ""
    recorded = bool(run_id) and reading.find_run(run_id) is not None
    return {
        "today": reading.today.isoformat(),
        "job": job.name,
        "domain": job.domain,
        "words": job.words,
        "who": job.who,
        "started_at": text_of(job.started_at),
        "running": job.code is None,
        "code": job.code,
        "log": list(job.log),
        "planned": of_result(result) if result and "runs" in result else None,
        "error": (result or {}).get("error"),
        "go": ["runs", run_id] if recorded else None,
    }
