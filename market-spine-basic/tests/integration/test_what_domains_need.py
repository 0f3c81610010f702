"""What a domain may ask of the platform: parts, ranges, growing tables, reviews, partitions of every kind, refusals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from market_spine import registry
from market_spine.app.captures import choose_captures, diff_captures
from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import Hooks, Request, Selection, reader, run_schedule
from market_spine.core.capture import Part, Payload
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.store import migrations

DAY = "2025-03-01"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store that does not exist yet, of either kind."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("new_postgres")())
    return str(tmp_path / "store.db")


@pytest.fixture
def ticking() -> Callable[[], datetime]:
    """A clock that goes on by a second whenever it is asked."""
    seconds = count()
    return lambda: datetime(2025, 3, 9, 12, tzinfo=UTC) + timedelta(seconds=next(seconds))


class Port:
    """The tiny domain's folder and store: files of one day, runs and rows."""

    def __init__(self, folder: Path, database: str, clock: Callable[[], datetime]) -> None:
        self.folder, self.database, self.clock = folder, database, clock

    def run(self, files: dict[str, str], **flags: Any) -> SchedulerResult:
        """Load the day from these files alone: ``txt``, ``ferry.txt``, ``tides.txt``."""
        from harbor import run_harbor

        for old in self.folder.iterdir():
            old.unlink()
        for ending, text in files.items():
            (self.folder / f"{DAY}.{ending}").write_text(text)
        hooks = Hooks(clock=self.clock)
        result: SchedulerResult = run_harbor(
            self.folder, DAY, hooks, db=self.database, **{"run_date": "2025-03-09", **flags}
        )
        return result

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(reader(self.database, self.clock)) as store:
            return list(store.query(sql).rows)

    def landed(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT ship, tons FROM harbor_landing ORDER BY ship")

    def tides(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT hour, metres FROM harbor_tide ORDER BY hour")


@pytest.fixture
def port(harbor: None, tmp_path: Path, database: str, ticking: Callable[[], datetime]) -> Port:
    (tmp_path / "landings").mkdir()
    return Port(tmp_path / "landings", database, ticking)


def counts(result: SchedulerResult) -> tuple[bool | None, tuple[int, int, int]]:
    """Whether ingest found a revision, and what it added, removed and changed."""
    run = result.runs[0]
    assert run.revision_summary is not None, result.to_json()
    summary = run.revision_summary
    return run.is_revision, (summary.rows_added, summary.rows_removed, summary.rows_changed)


def test_a_part_that_left_the_source_is_carried_forward(port: Port) -> None:
    """Two files come, then only the first, restated: the second's rows stay, and its bytes belong to the capture."""
    port.run({"txt": "ada 10\nbela 20\n", "ferry.txt": "caro 5\n"})
    assert counts(port.run({"txt": "ada 11\nbela 20\n"})) == (True, (0, 0, 1))
    assert port.landed() == [("ada", 11.0), ("bela", 20.0), ("caro", 5.0)]
    parts = "SELECT part, carried FROM core_capture_parts WHERE manifest_id = {} ORDER BY part"
    latest = port.rows("SELECT MAX(manifest_id) FROM core_manifest WHERE stage = 'ingest'")[0][0]
    assert [(name, bool(carried)) for name, carried in port.rows(parts.format(latest))] == [
        ("ferry", True),
        ("landings", False),
    ]
    assert [run.reason for run in port.run({"ferry.txt": "caro 5\n"}).runs] == ["same_bytes"]
    assert counts(port.run({"ferry.txt": "caro 6\n"})) == (True, (0, 0, 1))
    assert port.landed() == [("ada", 11.0), ("bela", 20.0), ("caro", 6.0)]
    assert port.rows("SELECT ships, tons FROM harbor_total") == [(3, 37.0)]


def test_a_range_leaves_what_lies_outside_alone(port: Port) -> None:
    """A gauge read from five to seven, then from seven on: five and six stay, seven is compared, eight is new."""
    port.run({"txt": "ada 10\n", "tides.txt": "5 1.5\n6 1.6\n7 1.7\n"})
    assert counts(port.run({"txt": "ada 10\n", "tides.txt": "7 1.75\n8 1.8\n"})) == (True, (0, 0, 0))
    assert port.tides() == [(5, 1.5), (6, 1.6), (7, 1.75), (8, 1.8)]
    assert counts(port.run({"txt": "ada 10\n", "tides.txt": "6 1.6\n8 1.8\n"})) == (True, (0, 0, 0))
    assert port.tides() == [(5, 1.5), (6, 1.6), (8, 1.8)]


def test_new_rows_of_a_growing_table_are_no_revision(port: Port) -> None:
    """A later reading continues the gauge; a ship more in a table that does not grow restates the day."""
    port.run({"txt": "ada 10\n", "tides.txt": "5 1.5\n"})
    assert counts(port.run({"txt": "ada 10\n", "tides.txt": "5 1.5\n6 1.6\n"})) == (False, (0, 0, 0))
    assert port.tides() == [(5, 1.5), (6, 1.6)]
    assert counts(port.run({"txt": "ada 10\nbela 1\n", "tides.txt": "7 1.7\n"})) == (True, (1, 0, 0))
    assert port.landed() == [("ada", 10.0), ("bela", 1.0)]


def test_what_a_review_finds_reaches_result_and_store(port: Port) -> None:
    """A thousandfold cargo is noticed beside the row that stood, in whole payloads and in those with a range."""
    port.run({"txt": "ada 10\nbela 20\n"})
    found = port.run({"txt": "ada 10000\nbela 20\n"})
    assert [(each.kind, each.message) for each in found.anomalies] == [
        ("thousandfold", "a thousand times the cargo: ada")
    ]
    assert port.run({"txt": "ada 10000\nbela 21\n"}).anomalies == ()
    ranged = port.run({"txt": "ada 10000\nbela 21000\n", "tides.txt": "5 1.5\n"})
    assert [each.message for each in ranged.anomalies] == ["a thousand times the cargo: bela"]
    kinds = port.rows("SELECT kind, count FROM core_anomalies WHERE kind = 'thousandfold' ORDER BY 2")
    assert kinds and {kind for kind, _ in kinds} == {"thousandfold"}


@pytest.mark.parametrize(("flag", "given"), [("--force", {"force": True}), ("--only-stage", {"only_stage": "calc"})])
def test_a_flag_that_a_domain_cannot_honour_is_refused_by_name(
    port: Port, monkeypatch: pytest.MonkeyPatch, flag: str, given: dict[str, Any]
) -> None:
    """The result names the flag, the domain and the reason; without the flag the domain runs."""
    import harbor

    monkeypatch.setattr(harbor.Harbor, "refuses", {flag: "the sea does not repeat itself"})
    refused = port.run({"txt": "ada 10\n"}, **given)
    assert refused.exit_code == 1
    assert refused.error is not None
    assert refused.error.message == f"{flag}: harbor cannot honour it: the sea does not repeat itself"
    assert port.run({"txt": "ada 10\n"}).exit_code == 0


# --- partitions of every kind ---------------------------------------------------------------------

SHELF = """
import json
from datetime import date
from market_spine.core.domain import CoversRange, Domain, Normalized, Range, rejected_rows
from market_spine.core.kinds import frame_value, read_value
from market_spine.core.schema import Column, Table

TABLE = Table(
    "shelf_items",
    (
        Column("place", "{kind}", "Where.", False),
        Column("item", "text", "What.", False),
        Column("pieces", "integer", "How many."),
    ),
    ("place", "item"), ("place",), "What is on a shelf.", "normalize",
)
COUNT = Table(
    "shelf_count",
    (Column("place", "{kind}", "Where.", False), Column("items", "integer", "Items.", False)),
    ("place",), ("place",), "How much is on a shelf.",
)

class Shelf(Domain):
    name = "shelf"
    scheduler = "counting"
    partition_fields = ("place",)
    tables = (TABLE, COUNT)
    migrations = "shelf.migrations"

    def normalize(self, partition, parts):
        place = frame_value("{kind}", read_value("{kind}", partition.key))
        rows = [(place, item, pieces) for item, pieces in json.loads(parts[0].data).items()]
        items = sorted(item for _, item, _ in rows)
        covered = CoversRange({{"shelf_items": Range("item", items[0], items[-1])}})
        partial = covered if parts[0].name == "some" else None
        return Normalized({{"shelf_items": TABLE.frame(rows)}}, rejected_rows(), len(rows), partial=partial)

    def compute(self, partition, tables):
        place = frame_value("{kind}", read_value("{kind}", partition.key))
        return {{"shelf_count": COUNT.frame([(place, tables["shelf_items"].height)])}}

DOMAIN = Shelf()
"""
SQL_TYPES = {
    "text": "TEXT",
    "integer": "BIGINT",
    "float": "DOUBLE PRECISION",
    "date": "DATE",
    "boolean": "BOOLEAN",
}
PLACES = {
    "text": ("it's a shelf", "upper", "zz"),
    "integer": ("-7", "2024", "2025"),
    "float": ("0.1", "1.5", "1e+300"),
    "date": ("2024-02-29", "2025-01-03", "2025-01-04"),
    "boolean": ("false", "true"),
}


class Given:
    """A source that answers each partition with its own payload."""

    def __init__(self, part: str, contents: dict[str, dict[str, int]]) -> None:
        self.part, self.contents = part, contents

    def fetch(self, partition: Partition, known: Known) -> Payload:
        data = json.dumps(self.contents[partition.key]).encode()
        return Payload((Part(self.part, data, "given"),), whole=True)


@pytest.fixture
def shelf(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An installed domain whose partition column is of the kind that the test names."""
    kind = request.getfixturevalue("kind")
    package = tmp_path / "site" / "shelf"
    (package / "migrations").mkdir(parents=True)
    (package / "__init__.py").write_text(SHELF.format(kind=kind))
    (package / "migrations" / "__init__.py").touch()
    physical = "manifest_id BIGINT NOT NULL, superseded_by BIGINT"
    (package / "migrations" / "0001_tables.sql").write_text(
        f"CREATE TABLE shelf_items_versions (place {SQL_TYPES[kind]} NOT NULL, item TEXT NOT NULL, pieces BIGINT,"
        f" {physical});\nCREATE TABLE shelf_count_versions (place {SQL_TYPES[kind]} NOT NULL, items BIGINT NOT NULL,"
        f" {physical});\n"
    )
    info = tmp_path / "site" / "shelf-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[market_spine.domains]\nshelf = shelf:DOMAIN\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    registry.entries.cache_clear()
    migrations._load_set.cache_clear()
    yield registry.load("shelf")
    registry.entries.cache_clear()
    migrations._load_set.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "shelf"]:
        del sys.modules[name]


@pytest.mark.parametrize("kind", list(PLACES))
def test_a_partition_column_of_any_kind_works(
    shelf: Any, kind: str, database: str, ticking: Callable[[], datetime]
) -> None:
    """Loaded, rerun, restated as a whole and in a range, forced, compared and listed: each partition by itself."""
    keys = PLACES[kind]

    def run(part: str, contents: dict[str, int], **flags: Any) -> SchedulerResult:
        source = Given(part, dict.fromkeys(keys, contents))
        partitions = [shelf.partition(key) for key in keys]
        selection = Selection(partitions, source)
        return run_schedule(shelf, Request(db=database, **flags), lambda _today, _open: selection, Hooks(clock=ticking))

    def stats(result: SchedulerResult) -> tuple[int, int, int]:
        assert not [run.error for run in result.runs if run.error], result.to_json()
        return result.stats.succeeded, result.stats.skipped, result.stats.failed

    everything = len(keys)
    assert stats(run("all", {"a": 1, "b": 2, "c": 3})) == (everything, 0, 0)
    assert stats(run("all", {"a": 1, "b": 2, "c": 3})) == (0, everything, 0)
    assert stats(run("all", {"a": 1, "c": 4})) == (everything, 0, 0)
    assert stats(run("some", {"b": 9})) == (everything, 0, 0)
    assert stats(run("some", {"b": 9}, force=True)) == (everything, 0, 0)
    with closing(reader(database, ticking)) as store:
        items = list(store.query("SELECT item, pieces FROM shelf_items ORDER BY place, item").rows)
        assert items == [("a", 1), ("b", 9), ("c", 4)] * everything
        assert list(store.query("SELECT items FROM shelf_count").rows) == [(3,)] * everything
        for key in keys:
            partition = shelf.partition(key)
            captures = choose_captures(store, shelf, partition, None, None)
            diff = diff_captures(store, shelf, partition, *captures)
            assert (diff.change.added, diff.change.removed, diff.change.changed) == (1, 0, 0)
            assert diff.added["item"].to_list() == ["b"]
        listed = [row[0].key for row in shelf.grid(datetime(2025, 3, 9, tzinfo=UTC).date(), 10, set(keys))]
    assert listed == (list(keys) if kind == "text" else list(reversed(keys)))
