"""The contract's words: which sets are open, and that each word is documented."""

from __future__ import annotations

import ast
import json
from dataclasses import fields
from pathlib import Path

import jsonschema

from market_spine.app.scheduling import (
    ErrorDetail,
    PipelineRun,
    RevisionSummary,
    RunStatus,
    SchedulerResult,
    SchedulerStats,
    SchedulerStatus,
    SkipReason,
    result_schema,
)
from market_spine.app.states import PartitionState, State
from market_spine.core.anomaly import Anomaly

REPOSITORY = Path(__file__).resolve().parents[3]
GUIDE_EXAMPLE = (Path(__file__).parents[1] / "golden/guide_result.json").read_text("utf-8")
SCHEMA = jsonschema.Draft202012Validator(result_schema())


def test_documented() -> None:
    """docs/contract.md names every field, status and skip reason of the contract."""
    text = (REPOSITORY / "docs/contract.md").read_text("utf-8")
    records = (SchedulerResult, SchedulerStats, PipelineRun, RevisionSummary, ErrorDetail, Anomaly)
    words = [each.name for record in records for each in fields(record)]
    words += [*SchedulerStatus, *RunStatus, *SkipReason, *State, *(each.name for each in fields(PartitionState))]
    assert [word for word in words if f"`{word}`" not in text] == []


def test_open_sets_are_examples() -> None:
    """A reason, kind or state that the schema does not know is valid; another status is not."""
    document = json.loads(GUIDE_EXAMPLE)
    document["runs"][0] |= {"status": "skipped", "reason": "a_later_word"}
    document["anomalies"] = [{"kind": "a_later_word", "severity": "error", "partition_key": "k", "message": "m"}]
    document["error"] = {"kind": "a_later_word", "message": "m", "hint": ""}
    assert SCHEMA.is_valid(document)
    state = {"$ref": "#/$defs/PartitionState", "$defs": SCHEMA.schema["$defs"]}
    assert jsonschema.Draft202012Validator(state).is_valid({"partition_key": "k", "state": "a_later_word"})
    assert not SCHEMA.is_valid(document | {"status": "a_later_word"})
    document["runs"][0]["status"] = "a_later_word"
    assert not SCHEMA.is_valid(document)
    defs = SCHEMA.schema["$defs"]
    for record, name, word in (
        ("PipelineRun", "reason", "retracted"),
        ("ErrorDetail", "kind", "late"),
        ("Anomaly", "kind", "missing_leg"),
        ("PartitionState", "state", "not_loaded"),
    ):
        assert word in defs[record]["properties"][name]["examples"]
        assert "enum" not in str(defs[record]["properties"][name])


def test_error_kinds_are_documented() -> None:
    """docs/contract.md names every kind of error and anomaly that the code can answer with."""
    kinds: set[str] = set()
    for path in (*REPOSITORY.glob("market-spine-basic/src/**/*.py"), *REPOSITORY.glob("packages/*/src/**/*.py")):
        text = path.read_text("utf-8")
        for node in ast.walk(ast.parse(text)) if "kind" in text else ():
            names = [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
            if getattr(node, "arg", "") == "kind" or names == ["default_kind"]:
                words = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
                kinds |= {word for word in words if isinstance(word, str)}
    text = (REPOSITORY / "docs/contract.md").read_text("utf-8")
    assert "usage" in kinds and "late" in kinds
    assert sorted(kind for kind in kinds if f"`{kind}`" not in text) == []
