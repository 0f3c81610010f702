"""Runs of the schedulers: the list, and one run with what it did, what failed and why the rest was skipped."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from market_spine.web.pages import PageMissing, Record, Visit
from market_spine.web.pages.plain import plain_run
from market_spine.web.reading import Reading

_SLOWEST = 12


def listing(reading: Reading, visit: Visit) -> Record:
    """The runs, newest first, a page at a time: those before the run ``before``."""
    short = visit.choice("domain", ("", *reading.gridded))
    limit = visit.number("limit", 50, most=500)
    before = visit.query.get("before") or None
    domain = reading.gridded[short].name if short else None
    found = reading.runs(domain, limit + 1, before=before)
    return {
        "today": reading.today.isoformat(),
        "domain": short,
        "domains": list(reading.gridded),
        "before": before,
        "limit": limit,
        "runs": [plain_run(run) for run in found[:limit]],
        "next": found[limit - 1].run_id if len(found) > limit else None,
    }


def record(reading: Reading, visit: Visit) -> Record:
    """One run: its result, which is the contract, and what of it is read first."""
    run = reading.find_run(visit.place["run_id"])
    if run is None:
        raise PageMissing(f"there is no run {visit.place['run_id'][:80]!r}", hint="/runs lists them")
    return {
        "today": reading.today.isoformat(),
        "run": plain_run(run),
        "domain": reading.short(run.domain),
        **of_result(json.loads(run.result)),
    }


def of_result(result: dict[str, Any]) -> Record:
    """What of a result is read first, and the result itself."""
    entries = result.get("runs", [])
    return {
        "failed": [each for each in entries if each["status"] == "failed"],
        "done": _done([each for each in entries if each["status"] in ("completed", "planned")]),
        "skipped": _skipped([each for each in entries if each["status"] == "skipped"]),
        "anomalies": result.get("anomalies", []),
        "warnings": result.get("warnings", []),
        "error": result.get("error"),
        "config": result.get("config", {}),
        "slowest": _slowest(entries),
        "result": result,
    }


def _done(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was completed, a line for each partition: the stages, and what its ingest changed."""
    found: dict[str, dict[str, Any]] = {}
    for each in entries:
        line = found.setdefault(
            each["partition_key"],
            {
                "partition_key": each["partition_key"],
                "stages": [],
                "capture_id": None,
                "row_count": None,
                "change": None,
                "milliseconds": 0,
            },
        )
        line["stages"].append(each["pipeline"].rpartition(".")[2])
        line["milliseconds"] += each["duration_ms"]
        if line["capture_id"] is None:
            line.update(capture_id=each["capture_id"], row_count=each["row_count"], change=each["revision_summary"])
    return list(found.values())


def _skipped(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was skipped, folded by reason."""
    counts = Counter(each["reason"] for each in entries)
    return [
        {
            "reason": reason,
            "count": count,
            "partition_keys": list(
                dict.fromkeys(each["partition_key"] for each in entries if each["reason"] == reason)
            ),
        }
        for reason, count in counts.most_common()
    ]


def _slowest(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ordered = sorted(entries, key=lambda each: each["duration_ms"], reverse=True)[:_SLOWEST]
    return [
        {
            "partition_key": each["partition_key"],
            "stage": each["pipeline"].rpartition(".")[2],
            "status": each["status"],
            "milliseconds": each["duration_ms"],
        }
        for each in ordered
        if each["duration_ms"]
    ]
