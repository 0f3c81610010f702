"""Lineage: events to a file or over HTTP, valid, the same for the same run, without secrets."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attr
import jsonschema
import pytest
from openlineage.client import facet_v2
from openlineage.client.event_v2 import RunEvent
from openlineage.client.generated import base

from market_spine.notify.lineage import TablePlace, emit, place

pytestmark = pytest.mark.server

MODULES = [vars(module) for module in vars(facet_v2).values() if isinstance(module, types.ModuleType)]
FACETS = {
    each._get_schema(): each
    for names in MODULES
    for each in names.values()
    if isinstance(each, type) and attr.has(each) and issubclass(each, base.BaseFacet)
}
"""The library's classes, which are generated from the published schemas, by the address of their schema."""


def schema_of(record: type, known: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of one of the library's classes: its fields, their types, and which must be there."""
    name = f"{record.__module__}.{record.__name__}"
    if name not in known:
        known[name] = {}
        hints = typing.get_type_hints(record)
        fields = attr.fields(record)
        known[name] = {
            "type": "object",
            "properties": {each.name: _type(hints[each.name], known) for each in fields},
            "required": [each.name for each in fields if each.default is attr.NOTHING]
            + [each.name for each in fields if each.name in ("_producer", "_schemaURL", "producer", "schemaURL")],
        }
        known[name]["properties"] |= {
            "_producer": {"type": "string", "format": "uri"},
            "producer": {"type": "string", "format": "uri"},
            "eventTime": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"},
            "runId": {"type": "string", "pattern": r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
        }
    return {"$ref": f"#/$defs/{name}"}


def _type(hint: Any, known: dict[str, Any]) -> dict[str, Any]:
    plain = {str: "string", int: "integer", float: "number", bool: "boolean"}
    if hint in plain:
        return {"type": plain[hint]}
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return {"anyOf": [_type(each, known) for each in typing.get_args(hint)]}
    if hint is type(None):
        return {"type": "null"}
    if typing.get_origin(hint) is list:
        return {"type": "array", "items": _type(typing.get_args(hint)[0], known)}
    if typing.get_origin(hint) is dict:
        return {"type": "object", "additionalProperties": _type(typing.get_args(hint)[1], known)}
    if isinstance(hint, type) and attr.has(hint):
        return schema_of(hint, known)
    if isinstance(hint, type) and issubclass(hint, base.EventType):
        return {"enum": [each.value for each in hint]}
    return {}


def facets(document: Any) -> Iterator[dict[str, Any]]:
    """Every facet of a document."""
    if isinstance(document, dict):
        if "_schemaURL" in document:
            yield document
        for value in document.values():
            yield from facets(value)
    elif isinstance(document, list):
        for value in document:
            yield from facets(value)


def check(event: dict[str, Any]) -> None:
    """Validate an event and each of its facets."""
    known: dict[str, Any] = {}
    top = schema_of(RunEvent, known)
    jsonschema.Draft202012Validator({**top, "$defs": known}).validate(event)
    assert event["schemaURL"] == "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
    for facet in facets(event):
        own: dict[str, Any] = {}
        top = schema_of(FACETS[facet["_schemaURL"]], own)
        jsonschema.Draft202012Validator({**top, "$defs": own}).validate(facet)


@pytest.fixture
def to_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """Events go to a file; gives what is in it."""
    path = tmp_path / "events.jsonl"
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(path))
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__APPEND", "true")

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return read


def test_a_run_is_a_run_with_children(
    to_file: Callable[[], list[dict[str, Any]]], load: Callable[..., Any], quay: Path
) -> None:
    """A scheduler's run begins and ends; in between each pipeline run that did something does, with its parent, its
    day, what it read and what it wrote; every event is valid."""
    (quay / "2025-03-01.txt").write_text("ada 10\nbela 20\n")
    assert load(1, 2).code == 2
    made = to_file()
    for event in made:
        check(event)
    told = [(event["eventType"], event["job"]["name"]) for event in made]
    assert told[0] == ("START", "harbor.daily_landings")
    assert told[-1] == ("COMPLETE", "harbor.daily_landings")
    names = ["harbor.ingest_day", "harbor.normalize_day", "harbor.compute_day", "harbor.compute_recent"]
    done = [job for kind, job in told[1:-1] if kind == "COMPLETE"]
    assert done == names
    assert [job for kind, job in told if kind == "FAIL"] == ["harbor.ingest_day"]
    root = made[0]["run"]["runId"]
    for event in made[1:-1]:
        parent = event["run"]["facets"]["parent"]
        assert parent["run"]["runId"] == root
        assert parent["job"]["name"] == "harbor.daily_landings"
    completed = {event["job"]["name"]: event for event in made[1:-1] if event["eventType"] == "COMPLETE"}
    normalize = completed["harbor.normalize_day"]
    assert normalize["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2025-03-01T00:00:00+00:00"
    written = {each["name"].rpartition(".")[2]: each for each in normalize["outputs"]}
    assert set(written) == {"harbor_landing", "harbor_tide"}
    landing = written["harbor_landing"]["facets"]
    assert [each["name"] for each in landing["schema"]["fields"]] == ["day", "ship", "tons"]
    assert landing["version"]["datasetVersion"].startswith("harbor:2025-03-01:")
    assert written["harbor_landing"]["outputFacets"]["outputStatistics"]["rowCount"] == 2
    read = [each["name"].rpartition(".")[2] for each in completed["harbor.compute_recent"]["inputs"]]
    assert read == ["harbor_total"]
    (fail,) = [event for event in made if event["eventType"] == "FAIL"]
    assert "has been published" in fail["run"]["facets"]["errorMessage"]["message"]


def test_what_was_skipped_is_no_event(
    to_file: Callable[[], list[dict[str, Any]]], load: Callable[..., Any], quay: Path
) -> None:
    """A run that finds nothing new is its own start and end."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    load(1)
    before = len(to_file())
    load(1)
    assert [event["eventType"] for event in to_file()[before:]] == ["START", "COMPLETE"]
    load(1, flags=("--mode", "dry-run"))
    assert len(to_file()) == before + 2


def test_a_run_that_cannot_begin_failed(to_file: Callable[[], list[dict[str, Any]]], load: Callable[..., Any]) -> None:
    """A critical error is a FAIL with its message."""
    assert load(1, flags=("--workers", "0")).code == 1
    start, end = to_file()
    check(end)
    assert (start["eventType"], end["eventType"]) == ("START", "FAIL")
    assert "--workers" in end["run"]["facets"]["errorMessage"]["message"]


def test_ids_follow_from_the_run(
    to_file: Callable[[], list[dict[str, Any]]], load: Callable[..., Any], quay: Path, database: str
) -> None:
    """Events of a run that are sent again are the same events, as they can be made of the recorded result."""
    from contextlib import closing

    from market_spine.app.scheduling import SchedulerResult
    from market_spine.compose import reader

    (quay / "2025-03-01.txt").write_text("ada 10\n")
    load(1)
    first = to_file()
    with closing(reader(database)) as store:
        emit(SchedulerResult.from_json(store.runs("harbor", 1)[0].result), database)
    assert to_file()[len(first) :] == first
    ids = {event["run"]["runId"] for event in first}
    assert len(ids) * 2 == len(first)


def test_events_go_over_http(
    receiver: Any, load: Callable[..., Any], quay: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``OPENLINEAGE_URL`` names a service, to which events are posted one by one; all are valid."""
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url.rpartition("/")[0])
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "markets")
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    assert load(1).code == 0
    assert {message.path for message in receiver.messages} == {"/api/v1/lineage"}
    assert len(receiver.messages) == 10
    for message in receiver.messages:
        check(message.document)
        assert message.document["job"]["namespace"] == "markets"


@pytest.mark.parametrize("status", [401, 404])
def test_a_service_that_refuses_is_a_log_line(
    receiver: Any, load: Callable[..., Any], quay: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A refusal costs a log line without address or key, and nothing else."""
    receiver.status, receiver.echo = status, True
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "key-hush-77")
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    done = load(1, flags=("--log-level", "DEBUG"))
    assert done.code == 0
    (line,) = [each for each in done.stderr.splitlines() if "OpenLineage" in each]
    assert str(status) in line
    assert "hush" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_none_is_a_log_line(
    load: Callable[..., Any], quay: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no address at all is not shown."""
    monkeypatch.setenv("OPENLINEAGE_URL", "hush-5f0c9a31")
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    done = load(1)
    assert done.code == 0
    assert "lineage could not be told" in done.stderr
    assert "hush" not in done.stdout + done.stderr


def test_it_can_be_switched_off(
    to_file: Callable[[], list[dict[str, Any]]], load: Callable[..., Any], quay: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``OPENLINEAGE_DISABLED`` is heard."""
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    load(1)
    assert to_file() == []


def test_datasets_are_named_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PostgreSQL table is host, port, database, schema and table; an embedded one its file and table."""
    monkeypatch.chdir(tmp_path)
    url = "postgresql://ann:hush@db.example:5433/markets?schema=spine"
    assert place(url) == TablePlace("postgres://db.example:5433", "markets.spine.")
    assert place("postgresql://ann:hush@db.example/markets") == TablePlace(
        "postgres://db.example:5432", "markets.public."
    )
    assert place("data/x.db") == TablePlace(f"sqlite://{tmp_path}/data/x.db", "")


def test_the_validation_finds_faults(
    to_file: Callable[[], list[dict[str, Any]]], load: Callable[..., Any], quay: Path
) -> None:
    """An event that lacks what it must have, or has it of another type, is not valid: the check can fail."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    load(1)
    good = next(event for event in to_file() if event["eventType"] == "COMPLETE" and event["outputs"])
    check(good)
    for path in (
        "run.runId",
        "job.name",
        "eventTime",
        "producer",
        "run.facets.parent.job",
        "run.facets.parent._producer",
    ):
        broken = json.loads(json.dumps(good))
        *above, last = path.split(".")
        place_ = broken
        for name in above:
            place_ = place_[name]
        del place_[last]
        with pytest.raises(jsonschema.ValidationError):
            check(broken)
    wrong = json.loads(re.sub(r'"eventType": "\w+"', '"eventType": "DONE"', json.dumps(good)))
    with pytest.raises(jsonschema.ValidationError):
        check(wrong)
