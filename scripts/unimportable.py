"""What the schedulers' scripts answer where Market Spine itself cannot be imported: by the standard library alone."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

HINT = "pip install -e packages/spine-domains -e market-spine-basic"


def answer(error: ImportError, domain: str, scheduler: str) -> int:
    """Tell the error on stderr, and with ``--json`` as the contract's one document; returns the exit code."""
    print("Failed to import scheduler module", file=sys.stderr)
    print(f"{error}; run: {HINT}", file=sys.stderr)
    if "--json" in sys.argv:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        document = {
            "schema_version": "1.0.0",
            "domain": domain,
            "scheduler": scheduler,
            "started_at": now,
            "finished_at": now,
            "status": "failure",
            "stats": {"attempted": 0, "succeeded": 0, "failed": 0, "skipped": 0},
            "runs": [],
            "anomalies": [],
            "warnings": [],
            "config": {},
            "error": {"kind": "missing_package", "message": str(error), "hint": f"run: {HINT}"},
        }
        print(json.dumps(document, indent=2))
    return 1
