"""The runbook has a section for every alert and every kind, each with what happened, how to look and what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scripts.deploy_check import shell

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = (REPOSITORY / "docs/runbook.md").read_text("utf-8")
RULES = REPOSITORY / "deploy/monitoring/market-spine.rules.yaml"
SECTIONS = dict(re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
WORDS = [word for heading in SECTIONS for word in re.findall(r"`(\w+)`", heading)]


def spelt_in_code() -> Iterator[str]:
    """The kinds that the code of the platform and of every domain spells out: of errors, and of anomalies."""
    for path in (*REPOSITORY.glob("market-spine-basic/src/**/*.py"), *REPOSITORY.glob("packages/*/src/**/*.py")):
        text = path.read_text("utf-8")
        if "simulat" in str(path) or not re.search("kind|Anomaly", text):
            continue
        for node in ast.walk(ast.parse(text)):
            names = [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
            if getattr(node, "arg", "") == "kind" or names == ["default_kind"]:
                yield from _texts(node)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Anomaly" and node.args:
                yield from _texts(node.args[0])


def _texts(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def documented() -> set[str]:
    """The kinds that docs/contract.md lists."""
    text = (REPOSITORY / "docs/contract.md").read_text("utf-8")
    text = text[text.index("## ErrorDetail") : text.index("## PartitionState")]
    tables = re.findall(r"^\| `kind` \| meaning \|\n\| --- \| --- \|\n((?:\|.*\n)+)", text, re.MULTILINE)
    rows = [row.split("|")[1] for table in tables for row in table.splitlines()]
    return {word for row in rows for word in re.findall(r"`(\w+)`", row)}


def alerts() -> set[str]:
    """The alerts of deploy/monitoring."""
    document = yaml.safe_load(RULES.read_text("utf-8"))
    return {rule["alert"] for group in document["groups"] for rule in group["rules"]}


def test_every_kind_and_alert_has_a_section() -> None:
    """The words of the headings are the alerts, and the kinds that the code spells or the contract lists; each once."""
    kinds = documented() | set(spelt_in_code())
    assert {"late", "shrunk", "gap", "quota_exhausted", "totals_disagree", "internal"} <= kinds
    assert sorted(WORDS) == sorted(kinds | alerts())


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_says_what_how_and_what_to_do(heading: str) -> None:
    """Each section has the three answers, in that order, none of them empty."""
    answers = re.findall(r"^- \*\*(.+?)\*\*: (.+)$", SECTIONS[heading], re.MULTILINE)
    assert [word for word, _ in answers] == ["What happened", "Look", "Do"]
    assert all(len(text) > 3 for _, text in answers)


def test_each_alert_names_its_section() -> None:
    """The annotation ``runbook`` of each alert is the address of its heading."""
    document = yaml.safe_load(RULES.read_text("utf-8"))
    for rule in document["groups"][0]["rules"]:
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"


@pytest.mark.process
def test_its_commands_are_commands_of_the_program() -> None:
    """What stands there to be typed is taken by the program."""
    spans = re.findall(r"`(market-spine [^`]+)`", PAGE)
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    lines = [line.partition("#")[0] for block in blocks for line in block.splitlines()]
    assert len(spans) > 40
    filled = [
        span.replace("...", "why").replace("KEY", "'AAPL|polygon'").replace("CAPTURE", "a:b").replace("RUN_ID", "r")
        for span in spans
    ]
    problems = [problem for text in (*filled, *lines) for problem in shell.check_text("runbook", text)]
    assert problems == []
