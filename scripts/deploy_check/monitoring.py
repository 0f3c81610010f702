"""Alert rules: checked and tried by promtool, and compared with the metrics that the program writes."""

from __future__ import annotations

import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from market_spine.notify.metrics import render
from market_spine.store import parse_url, upgrade
from scripts.deploy_check import documents, tools

FOLDER = Path("deploy/monitoring")
RULES = FOLDER / "market-spine.rules.yaml"
TRIALS = FOLDER / "market-spine.test.yaml"


def check(root: Path) -> list[str]:
    """Problems of the rules, and rules that are not tried."""
    folder = root / FOLDER
    found: list[str] = []
    for command, path in (("check", RULES), ("test", TRIALS)):
        done = tools.run_promtool(command, "rules", path.name, cwd=folder)
        if done.returncode:
            lines = (done.stdout + done.stderr).splitlines()
            found += [f"promtool {command} rules: {line.strip()}" for line in lines if line.strip()]
    text = (root / RULES).read_text("utf-8")
    unknown = set(re.findall(r"\bmarket_spine_\w+", text)) - metrics()
    found += [f"{RULES}: {name} is no metric of the program" for name in sorted(unknown)]
    names = set(alerts(root))
    tried = {case["alertname"] for case in _cases(root) if case.get("exp_alerts")}
    return found + [f"{TRIALS}: {name} is never seen to fire" for name in sorted(names - tried)]


def alerts(root: Path) -> list[str]:
    """The names of the alerts."""
    return list(documents.find(documents.load(root / RULES), "alert"))


def _cases(root: Path) -> list[dict[str, Any]]:
    return [case for cases in documents.find(documents.load(root / TRIALS), "alert_rule_test") for case in cases]


@cache
def metrics() -> frozenset[str]:
    """The names of the metrics that the program writes, as it writes them of an empty database."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "empty.db")
        upgrade(parse_url(path), [])
        text = render(path)
    return frozenset(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
