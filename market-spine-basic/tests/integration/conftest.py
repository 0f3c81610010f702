"""Stores of every kind, and a small invented domain to fill them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import Hooks
from market_spine.core.capture import source_hash
from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.core.schema import Column, Table, View
from market_spine.store import StoreUrl, open_reader, open_writer, parse_url
from market_spine.store.reader import StoreReader
from market_spine.store.writer import StoreCommit, StoreWriter
from market_spine.testing import Finished, every_row, run_command

HARVEST = Table(
    "garden_harvest",
    (
        Column("day", "date", "Day of the harvest.", nullable=False),
        Column("plot", "text", "Where it grew.", nullable=False),
        Column("crop", "text", "What was harvested.", nullable=False),
        Column("weight", "float", "Kilograms.", nullable=False),
        Column("crates", "integer", "Crates filled."),
        Column("is_ripe", "boolean", "Whether it can be eaten now."),
        Column("sown", "date", "Day of sowing."),
    ),
    ("day", "plot", "crop"),
    ("day", "plot"),
    "What a plot gave on a day.",
)
PRICE = Table(
    "garden_price",
    (
        Column("crop", "text", "What is sold.", nullable=False),
        Column("day", "date", "Day of the price.", nullable=False),
        Column("amount", "float", "Price per kilogram.", nullable=False),
    ),
    ("crop", "day"),
    ("crop",),
    "What a crop costs on a day.",
)
TOTAL = View(
    "garden_total",
    "SELECT day, plot, SUM(weight) AS weight FROM garden_harvest GROUP BY day, plot",
    ("garden_harvest",),
    "Weight per plot and day.",
)
VALUE = View(
    "garden_value",
    "SELECT t.day, t.plot, t.weight * 2 AS doubled FROM garden_total t",
    ("garden_total",),
    "A view that stands on a view.",
)
_DDL = """\
CREATE TABLE garden_harvest_versions (
    day DATE NOT NULL, plot TEXT NOT NULL, crop TEXT NOT NULL, weight DOUBLE PRECISION NOT NULL,
    crates BIGINT, is_ripe BOOLEAN, sown DATE, manifest_id BIGINT NOT NULL, superseded_by BIGINT
);
CREATE INDEX garden_harvest_scope ON garden_harvest_versions (day, plot);
CREATE TABLE garden_price_versions (
    crop TEXT NOT NULL, day DATE NOT NULL, amount DOUBLE PRECISION NOT NULL,
    manifest_id BIGINT NOT NULL, superseded_by BIGINT
);
CREATE INDEX garden_price_scope ON garden_price_versions (crop, day);
"""


@dataclass
class Garden:
    """What the store asks of a domain, and nothing else."""

    migrations: str
    name: str = "garden"
    tables: tuple[Table, ...] = (HARVEST, PRICE)
    views: tuple[View, ...] = (VALUE, TOTAL)


@dataclass
class SetClock:
    """A clock that goes on by a second whenever it is asked, and can be set."""

    now: datetime = datetime(2025, 1, 6, 12, 0, tzinfo=UTC)
    step: timedelta = field(default=timedelta(seconds=1))

    def __call__(self) -> datetime:
        self.now += self.step
        return self.now


_packages = count()


def garden(place: Path, layout: str, files: dict[str, str] | None = None, **attributes: Any) -> Domain:
    """The garden domain of some migration files, in a package of its own in a folder that is on the path."""
    package = f"garden_migrations_{next(_packages)}"
    folder = place / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    for name, text in (files or {"0001_tables.sql": _DDL}).items():
        (folder / name).write_text(text)
    tables = (HARVEST._replace(bulk=layout == "columns"), PRICE)
    return cast("Domain", Garden(package, **{"tables": tables, **attributes}))


def layout_of(request: pytest.FixtureRequest) -> str:
    """Which of its kinds ``new_store`` has in a test; nothing in a test without it."""
    callspec = getattr(request.node, "callspec", None)
    return "" if callspec is None else str(callspec.params.get("new_store", ""))


@pytest.fixture
def make_domain(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Domain]:
    """Make the garden domain from its migration files and further attributes.

    On a store of the kind ``columns`` its harvest is a bulk table.
    """
    place = tmp_path / "packages"
    monkeypatch.syspath_prepend(place)
    return lambda files=None, **attributes: garden(place, layout_of(request), files, **attributes)


@pytest.fixture
def domain(make_domain: Callable[..., Domain]) -> Domain:
    """The garden: tables ``garden_harvest`` and ``garden_price``, and two views."""
    return make_domain()


@pytest.fixture
def clock() -> SetClock:
    """A clock that starts on 2025-01-06 at noon."""
    return SetClock()


@pytest.fixture(params=["sqlite", "columns", "postgresql"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], StoreUrl]:
    """Address a fresh store of each kind and layout, another one each time; ``columns`` is SQLite, too."""
    if request.param == "postgresql":
        make = request.getfixturevalue("new_postgres")
        return lambda: parse_url(make())
    numbers = count()
    return lambda: parse_url(str(tmp_path / f"store{next(numbers)}.db"))


def kept_in(url: StoreUrl, domain: Domain, clock: SetClock) -> dict[str, Any]:
    """All that a store keeps: for SQLite the bytes of its files, for PostgreSQL every row of every table."""
    if url.kind == "sqlite":
        return {file.name: file.read_bytes() for file in Path(url.path).parent.glob(f"{Path(url.path).name}*")}
    with open_reader(url, [domain], clock=clock) as reader:
        return every_row(reader, reader._db.objects().tables)


@pytest.fixture
def look(domain: Domain, clock: SetClock) -> Callable[[StoreUrl], dict[str, Any]]:
    """Look at all that a store keeps."""
    return lambda url: kept_in(url, domain, clock)


@pytest.fixture
def store_url(new_store: Callable[[], StoreUrl]) -> StoreUrl:
    """The address of a store that does not exist yet."""
    return new_store()


@pytest.fixture
def writer(store_url: StoreUrl, domain: Domain, clock: SetClock) -> Iterator[StoreWriter]:
    """A writer on a fresh store."""
    with open_writer(store_url, [domain], clock=clock) as opened:
        yield opened


@pytest.fixture
def partition() -> Partition:
    """The partition 2025-01-03|north of the garden."""
    return Partition("garden", ("2025-01-03", "north"))


def add_entry(commit: StoreCommit, partition: Partition, **fields: Any) -> Entry:
    """Add a manifest entry to a commit."""
    usual = {
        "manifest_id": commit.next_id() if "manifest_id" not in fields else None,
        "stage": "ingest",
        "status": "committed",
        "capture_id": f"garden:{partition.key}",
        "fingerprint": "f",
        "pipeline_version": "1",
        "source_hash": source_hash({part.name: part.sha256 for part in fields.get("parts", ())}),
        "content_hash": "c",
        "row_count": 0,
        "run_id": f"run of {fields.get('capture_id', partition.key)}",
    }
    entry = Entry(partition=partition, **{**usual, **fields})
    commit.add_entry(entry)
    return entry


@pytest.fixture
def enter() -> Callable[..., Entry]:
    """Add a manifest entry to a commit."""
    return add_entry


def harvested(weights: Mapping[str, float], day: str = "2025-01-03") -> Any:
    """Frame of ``garden_harvest`` for a day of the plot in the north from crop = weight."""
    import polars as pl

    from market_spine.core.kinds import frame_types

    sown = date(2024, 10, 1)
    rows = [
        (date.fromisoformat(day), "north", crop, float(weight), None, True, sown) for crop, weight in weights.items()
    ]
    return pl.DataFrame(rows, schema=frame_types(HARVEST), orient="row")


@pytest.fixture
def harvest() -> Callable[..., Any]:
    """Frame of ``garden_harvest`` for 2025-01-03|north from crop = weight."""
    return lambda **weights: harvested(weights)


def capture(writer: StoreWriter, domain: Domain, capture_id: str, day: str, weights: Mapping[str, float]) -> Entry:
    """Commit one capture of a day of the plot in the north."""
    partition = Partition("garden", (day, "north"))
    with writer.commit(partition) as commit:
        entry = add_entry(commit, partition, capture_id=capture_id)
        scope = Scope({"day": day, "plot": "north"})
        commit.replace(domain.tables[0], scope, harvested(weights, day), entry.manifest_id)
    return entry


@pytest.fixture
def put(writer: StoreWriter, domain: Domain) -> Callable[..., Entry]:
    """Commit one capture of 2025-01-03|north: its id, and crop = weight."""
    return lambda capture_id, **weights: capture(writer, domain, capture_id, "2025-01-03", weights)


class Planted(NamedTuple):
    """A store that several tests read and none writes to."""

    url: StoreUrl
    domain: Domain
    clock: SetClock
    writer: StoreWriter
    """Asked like a reader."""
    reader: StoreReader

    def look(self) -> dict[str, Any]:
        """All that it keeps."""
        return kept_in(self.url, self.domain, self.clock)


@pytest.fixture(scope="module")
def gardens(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Planted]]:
    """Make a store of a layout with captures (id, day, crop = weight), once for the tests of a module."""
    place = tmp_path_factory.mktemp("gardens")
    made: dict[str, Planted] = {}

    def make(layout: str, captures: tuple[tuple[str, str, Mapping[str, float]], ...]) -> Planted:
        named = f"{layout} {captures}"
        if named not in made:
            file = str(place / f"store{len(made)}.db")
            url = parse_url(request.getfixturevalue("new_postgres")() if layout == "postgresql" else file)
            domain, clock = garden(place / "packages", layout), SetClock()
            writer = stack.enter_context(open_writer(url, [domain], clock=clock))
            for each in captures:
                capture(writer, domain, *each)
            reader = stack.enter_context(open_reader(url, [domain], clock=clock))
            made[named] = Planted(url, domain, clock, writer, reader)
        return made[named]

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place / "packages")
        yield make


@pytest.fixture
def planted(
    request: pytest.FixtureRequest, new_store: Callable[[], StoreUrl], gardens: Callable[..., Planted]
) -> Callable[..., Planted]:
    """A store with captures (id, day, crop = weight), which the module's other tests read, too: not to be written."""
    return lambda *captures: gardens(layout_of(request), captures)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three days of landings."""
    folder = tmp_path / "landings"
    folder.mkdir()
    for day, text in (("01", "ada 10\nbela 20\n"), ("02", "ada 30\n"), ("03", "ada 5\ncaro 7\n")):
        (folder / f"2025-03-{day}.txt").write_text(text)
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store that does not exist yet, of either kind."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("new_postgres")())
    return str(tmp_path / "harbor.db")


@pytest.fixture
def run(folder: Path, database: str) -> Callable[..., SchedulerResult]:
    """Run the tiny scheduler; every run starts a minute after the one before."""
    from harbor import run_harbor

    minutes = count()

    def start(
        days: str = "2025-03-01,2025-03-02,2025-03-03", *, run_date: str = "2025-03-09", **flags: Any
    ) -> SchedulerResult:
        ticks = count()
        base = datetime(2025, 3, 9, 12, tzinfo=UTC) + timedelta(minutes=next(minutes))
        hooks = flags.pop("hooks", {})
        clock = Hooks(clock=lambda: base + timedelta(milliseconds=next(ticks)), **hooks)
        result: SchedulerResult = run_harbor(folder, days, clock, db=database, run_date=run_date, **flags)
        return result

    return start


@dataclass(frozen=True)
class Home:
    """A working directory, and a way to run commands in it where the tiny domain is installed."""

    path: Path
    site: Path

    def __call__(self, *arguments: str | Path, **environ: str) -> Finished:
        return run_command(*arguments, cwd=self.path, environ=environ, path=[self.site])

    def popen(self, *arguments: str, columns: int = 160, **streams: Any) -> subprocess.Popen[bytes]:
        """Start a command and leave it running."""
        environ = {**os.environ, "PYTHONPATH": str(self.site), "TERM": "xterm", "COLUMNS": str(columns)}
        command = [sys.executable, "-m", "market_spine", *arguments]
        return subprocess.Popen(command, cwd=self.path, env=environ, **streams)

    def terminal(self, *arguments: str, columns: int = 160, code: int = 0) -> str:
        """What a command that ends with that exit code shows on a terminal."""
        master, slave = pty.openpty()
        process = self.popen(*arguments, columns=columns, stdout=slave, stderr=slave)
        os.close(slave)
        shown = b""
        with suppress(OSError):  # what Linux says where the other end is closed
            while chunk := os.read(master, 65536):
                shown += chunk
        os.close(master)
        assert process.wait() == code
        return shown.decode()


@pytest.fixture
def start(tiny_site: Path, tmp_path: Path) -> Home:
    """An empty home."""
    path = tmp_path / "home"
    path.mkdir()
    return Home(path, tiny_site)


@pytest.fixture
def loaded(start: Home) -> Home:
    """A home with two captures of one day."""
    start("sample-data", "harbor", "--out", "in")
    run = ("schedule", "harbor", "--days", "2025-03-01", "--data-dir", "in", "--run-date", "2025-03-02", "--json")
    assert start(*run).result().exit_code == 0
    (start.path / "in/2025-03-01.txt").write_text("ada 11\ncaro 1\n")
    assert start(*run).result().runs[0].is_revision is True
    return start
