"""The result contract: the guide's words, the status table, the JSON and its schema."""

from __future__ import annotations

import json
import pickle
import runpy
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.app.scheduling import (
    ErrorDetail,
    PipelineRun,
    RevisionSummary,
    RunStatus,
    SchedulerResult,
    SchedulerStats,
    SchedulerStatus,
    SkipReason,
    decide_status,
    result_schema,
)
from market_spine.core.anomaly import Anomaly
from market_spine.errors import MarketSpineError, UsageError

REPOSITORY = Path(__file__).resolve().parents[3]
checkout = pytest.mark.skipif(
    not (REPOSITORY / "docs/contract.md").exists(), reason="a source archive has neither docs/ nor scripts/"
)

GUIDE_EXAMPLE = (Path(__file__).parents[1] / "golden/guide_result.json").read_text("utf-8").rstrip("\n")
"""The example of the operations guide, to the letter."""

MOMENT = datetime(2025, 1, 1, tzinfo=UTC)
FAILED = ErrorDetail(kind="content", message="week.csv is empty", hint="fetch it again")


def a_run(status: str = "completed", **changes: Any) -> PipelineRun:
    """One run with nothing special about it."""
    values = dict.fromkeys(("capture_id", "row_count", "is_revision", "revision_summary"))
    return PipelineRun(
        **{
            "pipeline": "x.ingest",
            "partition_key": "a|b",
            "status": RunStatus(status),
            "duration_ms": 1,
            **values,
            **changes,
        }
    )


def a_result(**changes: Any) -> SchedulerResult:
    """One result with nothing special about it."""
    return SchedulerResult(
        **{
            "schema_version": "1.0.0",
            "domain": "x",
            "scheduler": "daily",
            "started_at": MOMENT,
            "finished_at": MOMENT,
            "status": SchedulerStatus.SUCCESS,
            "stats": SchedulerStats(attempted=0, succeeded=0, failed=0, skipped=0),
            "runs": (),
            "anomalies": (),
            "warnings": (),
            "config": {},
            **changes,
        }
    )


def without(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The record without one field."""
    return {key: value for key, value in record.items() if key != name}


def test_guide_example_round_trips() -> None:
    """The guide's example parses, means what it says and is written again to the letter."""
    result = SchedulerResult.from_json(GUIDE_EXAMPLE)
    assert result.status is SchedulerStatus.SUCCESS
    assert result.finished_at - result.started_at == timedelta(seconds=90)
    assert result.runs[0].revision_summary == RevisionSummary(rows_added=15, rows_removed=3, rows_changed=12)
    assert result.to_json() == GUIDE_EXAMPLE
    assert SchedulerResult.from_json(result.to_json()) == result


@pytest.mark.parametrize(("status", "code"), [("success", 0), ("dry_run", 0), ("failure", 1), ("partial", 2)])
def test_exit_codes(status: str, code: int) -> None:
    """Exit codes are the guide's table."""
    assert a_result(status=SchedulerStatus(status)).exit_code == code


UNDISTURBED = {
    (0, 0, 0): "failure",  # nothing was selected
    (0, 0, 1): "success",
    (0, 1, 0): "failure",
    (0, 1, 1): "partial",
    (1, 0, 0): "success",
    (1, 0, 1): "success",
    (1, 1, 0): "partial",
    (1, 1, 1): "partial",
}
"""(succeeded, failed, skipped) to the status of a run in which nothing else happened."""


def expected_status(counts: tuple[int, int, int], unchanged: int, **events: bool) -> str:
    """The status by the table above and what happened besides."""
    if events["critical"]:
        return "failure"
    if events["undone"]:
        return "partial" if counts[0] or unchanged else "failure"
    plain = UNDISTURBED[counts]
    if plain != "success":
        return plain
    if events["window_failed"]:
        return "partial"
    return "dry_run" if events["dry_run"] else "success"


@pytest.mark.parametrize("counts", list(UNDISTURBED))
def test_status_table(counts: tuple[int, int, int]) -> None:
    """Every combination of counts and events gets the status the rulings give it."""
    succeeded, failed, skipped = counts
    stats = SchedulerStats(attempted=sum(counts), succeeded=succeeded, failed=failed, skipped=skipped)
    names = ("window_failed", "critical", "undone", "dry_run")
    for unchanged, *flags in product(range(skipped + 1), *[(False, True)] * len(names)):
        events = dict(zip(names, map(bool, flags), strict=True))
        status = decide_status(stats, unchanged=unchanged, **events)
        assert status == expected_status(counts, unchanged, **events), (counts, unchanged, events)


def test_nothing_left_of_a_selection_is_a_success() -> None:
    """Where ``--only`` leaves none of the selected partitions, nothing failed, unless something else did."""
    none = SchedulerStats(attempted=0, succeeded=0, failed=0, skipped=0)
    quiet = {"window_failed": False, "critical": False, "undone": False, "dry_run": False}
    assert decide_status(none, unchanged=0, idle=True, **quiet) == "success"
    assert decide_status(none, unchanged=0, idle=True, **{**quiet, "dry_run": True}) == "dry_run"
    assert decide_status(none, unchanged=0, idle=True, **{**quiet, "critical": True}) == "failure"
    assert decide_status(none, unchanged=0, idle=True, **{**quiet, "undone": True}) == "failure"
    assert decide_status(none, unchanged=0, idle=True, **{**quiet, "window_failed": True}) == "partial"


def test_optional_additions_are_omitted_when_absent() -> None:
    """The guide's fields are always there, null included; the additions only when they say something."""
    guide = json.loads(GUIDE_EXAMPLE)
    document = json.loads(a_result(runs=(a_run(),)).to_json())
    assert list(document) == list(guide)
    assert list(document["runs"][0]) == list(guide["runs"][0])
    full = a_result(
        runs=(a_run("skipped", reason=SkipReason.SAME_BYTES), a_run("failed", error=FAILED)),
        next_publication=date(2025, 12, 22),
        run_id="r1",
        error=FAILED,
    )
    document = json.loads(full.to_json())
    assert list(document) == [*guide, "next_publication", "run_id", "error"]
    assert document["next_publication"] == "2025-12-22"
    assert document["run_id"] == "r1" and document["runs"][0]["reason"] == "same_bytes"
    assert (
        document["error"]
        == document["runs"][1]["error"]
        == {
            "kind": "content",
            "message": "week.csv is empty",
            "hint": "fetch it again",
        }
    )


def test_anomalies_have_five_fields() -> None:
    """An anomaly is written with exactly kind, severity, partition_key, message and details."""
    odd = Anomaly("late", "error", "a|b", "it is late", {"days": 2, "ratio": float("nan")})
    document = json.loads(a_result(anomalies=(odd,)).to_json())
    assert document["anomalies"] == [
        {
            "kind": "late",
            "severity": "error",
            "partition_key": "a|b",
            "message": "it is late",
            "details": {"days": 2, "ratio": None},
        }
    ]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2025, 1, 1, tzinfo=UTC), "2025-01-01T00:00:00Z"),
        (datetime(2025, 1, 1, 0, 0, 0, 120, tzinfo=UTC), "2025-01-01T00:00:00.000120Z"),
        (datetime(2025, 1, 1, tzinfo=timezone(timedelta(hours=-5))), "2025-01-01T05:00:00Z"),
    ],
)
def test_timestamps(moment: datetime, text: str) -> None:
    """Moments are written in UTC with a Z, with microseconds only where there are some."""
    assert json.loads(a_result(started_at=moment).to_json())["started_at"] == text


def test_one_line_form() -> None:
    """Without an indent the document is one line."""
    assert "\n" not in a_result(warnings=("two\nlines",)).to_json(indent=None)


def test_undecodable_file_names_do_not_break_the_document() -> None:
    """A byte of a file name that is no UTF-8 is shown as an escape, in a document that parses."""
    name = b"week\xff.csv".decode("utf-8", "surrogateescape")
    assert SchedulerResult.from_json(a_result(warnings=(name,)).to_json()).warnings == ("week\\udcff.csv",)


def test_error_detail_of_an_exception() -> None:
    """An exception's kind, message and hint are the detail's."""
    error = UsageError("--tiers: NMS is unknown", hint="use OTC")
    assert ErrorDetail.of(error) == ErrorDetail(kind="usage", message="--tiers: NMS is unknown", hint="use OTC")


@pytest.mark.parametrize(
    "build",
    [
        lambda: SchedulerStats(attempted=2, succeeded=1, failed=0, skipped=0),
        lambda: SchedulerStats(attempted=0, succeeded=1, failed=-1, skipped=0),
        lambda: RevisionSummary(rows_added=-1, rows_removed=0, rows_changed=0),
        lambda: a_run("skipped"),
        lambda: a_run("failed"),
        lambda: a_run("completed", reason="same_bytes"),
        lambda: a_run("completed", error=FAILED),
        lambda: a_run(duration_ms=-1),
        lambda: a_run(row_count=-1),
        lambda: a_result(started_at=datetime(2025, 1, 1)),  # noqa: DTZ001 - naive on purpose
    ],
)
def test_contradictions_cannot_be_built(build: Callable[[], object]) -> None:
    """Counts that do not add up, reasons and errors in the wrong place and naive moments are refused."""
    with pytest.raises(ValueError, match=r".+"):
        build()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "Invalid JSON"),
        ("[]", "should be an object"),
        ("{}", "schema_version: Field required"),
        (GUIDE_EXAMPLE.replace('"1.0.0"', '"2.0.0"'), "schema_version: Input should be '1.0.0'"),
        (GUIDE_EXAMPLE.replace("1500", '"1500"'), "runs.0.duration_ms: Input should be a valid integer"),
        (GUIDE_EXAMPLE.replace('"completed"', '"done"'), "runs.0.status"),
        (GUIDE_EXAMPLE.replace("00Z", "00"), "time zone"),
        (GUIDE_EXAMPLE.replace('"attempted": 12', '"attempted": 13'), "stats"),
        (GUIDE_EXAMPLE.replace('      "row_count": 5432,\n', ""), "runs.0.row_count: Field required"),
    ],
)
def test_what_is_no_result_is_refused(text: str, found: str) -> None:
    """Malformed text, another version, wrong types and contradictions give an error that names the field."""
    with pytest.raises(MarketSpineError) as caught:
        SchedulerResult.from_json(text)
    assert caught.value.kind == "contract"
    assert found in caught.value.message
    assert caught.value.hint


def test_unknown_fields_are_ignored() -> None:
    """A result of a later release, with further optional fields, can still be read."""
    document = json.loads(GUIDE_EXAMPLE)
    document["later"] = document["runs"][0]["later"] = document["stats"]["later"] = 1
    assert SchedulerResult.from_json(json.dumps(document)) == SchedulerResult.from_json(GUIDE_EXAMPLE)


# --- any result round-trips, and the schema agrees ------------------------------------------------

texts = st.text(max_size=12)
counts = st.integers(0, 10**12)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
objects = st.dictionaries(texts, scalars | st.lists(scalars, max_size=3), max_size=3)
details = st.builds(ErrorDetail, kind=texts, message=texts, hint=texts)
moments = st.datetimes(datetime(1970, 1, 2), datetime(2199, 1, 1), timezones=st.timezones())  # noqa: DTZ001
summaries = st.builds(RevisionSummary, rows_added=counts, rows_removed=counts, rows_changed=counts)
anomalies = st.builds(Anomaly, texts, st.sampled_from(["info", "warning", "error"]), texts, texts, objects)


@st.composite
def runs(draw: st.DrawFn) -> PipelineRun:
    """Any pipeline run that keeps to the rules of reason and error."""
    status = draw(st.sampled_from(RunStatus))
    return PipelineRun(
        pipeline=draw(texts),
        partition_key=draw(texts),
        status=status,
        duration_ms=draw(counts),
        capture_id=draw(st.none() | texts),
        row_count=draw(st.none() | counts),
        is_revision=draw(st.none() | st.booleans()),
        revision_summary=draw(st.none() | summaries),
        reason=draw(texts) if status is RunStatus.SKIPPED else None,
        error=draw(details) if status is RunStatus.FAILED else None,
    )


@st.composite
def results(draw: st.DrawFn) -> SchedulerResult:
    """Any result."""
    succeeded, failed, skipped = draw(counts), draw(counts), draw(counts)
    return a_result(
        domain=draw(texts),
        scheduler=draw(texts),
        started_at=draw(moments),
        finished_at=draw(moments),
        status=draw(st.sampled_from(SchedulerStatus)),
        stats=SchedulerStats(
            attempted=succeeded + failed + skipped, succeeded=succeeded, failed=failed, skipped=skipped
        ),
        runs=tuple(draw(st.lists(runs(), max_size=3))),
        anomalies=tuple(draw(st.lists(anomalies, max_size=2))),
        warnings=tuple(draw(st.lists(texts, max_size=2))),
        config=draw(objects),
        next_publication=draw(st.none() | st.dates()),
        run_id=draw(st.none() | texts),
        error=draw(st.none() | details),
    )


SCHEMA = jsonschema.Draft202012Validator(result_schema())


@given(results())
def test_any_result_round_trips_and_fits_the_schema(result: SchedulerResult) -> None:
    """Whatever a scheduler reports survives JSON and pickling unchanged and is valid by the schema."""
    text = result.to_json()
    assert SchedulerResult.from_json(text) == result
    assert pickle.loads(pickle.dumps(result)) == result
    SCHEMA.validate(json.loads(text))


@checkout
def test_schema_is_committed_and_current() -> None:
    """The schema in docs/ is what the records generate now, and a valid schema itself."""
    script = runpy.run_path(str(REPOSITORY / "scripts/generate_schema.py"))
    assert script["render"]() == script["SCHEMA"].read_text("utf-8")
    jsonschema.Draft202012Validator.check_schema(result_schema())


@pytest.mark.parametrize("name", list(json.loads(GUIDE_EXAMPLE)))
def test_schema_requires_every_field_of_the_guide(name: str) -> None:
    """A document without one of the guide's fields is not valid."""
    assert SCHEMA.is_valid(json.loads(GUIDE_EXAMPLE))
    assert not SCHEMA.is_valid(without(json.loads(GUIDE_EXAMPLE), name))


@pytest.mark.parametrize(
    "change",
    [
        {"status": "skipped"},
        {"status": "skipped", "reason": None},
        {"status": "failed"},
        {"reason": "same_bytes"},
        {"error": {"kind": "", "message": "", "hint": ""}},
        {"duration_ms": -1},
        {"duration_ms": 1.5},
        {"row_count": "5"},
    ],
)
def test_schema_refuses_what_the_records_refuse(change: dict[str, object]) -> None:
    """The schema knows the rules of reason and error, counts and types."""
    document = json.loads(GUIDE_EXAMPLE)
    document["runs"][0] |= change
    assert not SCHEMA.is_valid(document)


@pytest.mark.process
def test_result_needs_nothing_heavy() -> None:
    """A result is built and written without pydantic, Polars or Rich: a run that changes nothing stays light."""
    code = (
        "import sys; from market_spine.app.scheduling import SchedulerResult; "
        "print(sorted({'pydantic', 'polars', 'rich', 'fsspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
