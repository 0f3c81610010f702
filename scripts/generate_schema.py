"""Write the contract's JSON Schema, built from the records in ``market_spine.app.scheduling``.

Run ``python scripts/generate_schema.py`` (or ``make generate``) after changing a record of the contract.
"""

from __future__ import annotations

import json
from pathlib import Path

from market_spine.app.scheduling import result_schema

SCHEMA = Path(__file__).resolve().parents[1] / "docs/scheduler-result.schema.json"


def render() -> str:
    """The schema as the text of its file."""
    return json.dumps(result_schema(), indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(render(), encoding="utf-8", newline="\n")
