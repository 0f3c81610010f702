"""A result as Markdown, for the summary of a CI job: ``python deploy/ci/summary.py result.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def render(result: dict[str, Any]) -> str:
    """The status, the counts, and every run that was revised or failed."""
    stats = ", ".join(f"{count} {name}" for name, count in result["stats"].items())
    lines = [f"### {result['domain']}: {result['status']}", "", f"{stats}.", ""]
    if error := result.get("error"):
        lines += [f"**{error['kind']}**: {error['message']} ({error['hint']})", ""]
    lines += [f"- {warning}" for warning in result["warnings"]]
    rows = [row for run in result["runs"] if (row := _row(run))]
    if rows:
        lines += ["", "| partition | pipeline | what |", "| --- | --- | --- |", *rows]
    return "\n".join(lines) + "\n"


def _row(run: dict[str, Any]) -> str:
    """A line of the table; empty for a run that nobody need read about."""
    if error := run.get("error"):
        what = f"**{error['kind']}**: {error['message']} ({error['hint']})"
    elif run.get("is_revision"):
        what = "revised: " + ", ".join(f"{count} {name}" for name, count in run["revision_summary"].items())
    else:
        return ""
    cells = (run["partition_key"], run["pipeline"].rpartition(".")[2], what)
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def main(path: str) -> int:
    """Write the summary; a run that ended without a result is one, too."""
    text = Path(path).read_text("utf-8") if Path(path).exists() else ""
    sys.stdout.write(render(json.loads(text)) if text.strip() else "### No result: see the log\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
