"""Opening stores: places that will not do, and bringing the schema up to date."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from market_spine import store
from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.core.schema import Column, Table, View
from market_spine.errors import SchemaError, StoreUnavailable, UsageError
from market_spine.store import StoreUrl, open_reader, open_writer, parse_url, upgrade
from market_spine.store.fresh import new_store as store_made_anew
from market_spine.store.writer import StoreWriter

BARE: dict[str, Any] = {"tables": (), "views": ()}
PLATFORM = [file.stem for file in sorted((Path(store.__file__).parent / "sql").glob("*.sql"))]
ONLY_SQLITE = pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)


def _applied(writer: StoreWriter) -> list[tuple[Any, ...]]:
    sql = "SELECT set_name, number, name FROM core_migrations WHERE set_name NOT LIKE 'views:%' ORDER BY 1, 2"
    return list(writer.query(sql).rows)


def _expected(url: StoreUrl, *garden: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    embedded = [("embedded", 1, "segments"), ("embedded", 2, "segment_index")] if url.kind == "sqlite" else []
    return [*embedded, *garden, *(("platform", int(name[:4]), name[5:]) for name in PLATFORM)]


def _all(url: StoreUrl, *garden: str) -> list[str]:
    """The names of all migrations that a new store gets."""
    embedded = ["embedded/0001_segments", "embedded/0002_segment_index"] if url.kind == "sqlite" else []
    return [*(f"platform/{name}" for name in PLATFORM), *embedded, *garden]


def _relations(writer: StoreWriter) -> set[str]:
    return set(writer._db.relations())


def test_a_fresh_store_gets_all_migrations_and_views(store_url: StoreUrl, domain: Domain, clock: Any) -> None:
    """Upgrading names what it applied, in order, and then has nothing more to do."""
    assert upgrade(store_url, [domain], clock=clock) == _all(store_url, "garden/0001_tables")
    assert upgrade(store_url, [domain], clock=clock) == []
    with open_writer(store_url, [domain], clock=clock) as writer:
        assert _applied(writer) == _expected(store_url, ("garden", 1, "tables"))
        shown = {"garden_harvest", "garden_total", "garden_value"} & _relations(writer)
        # What is kept in columns is not seen by other SQLite tools: absent, rather than empty.
        assert len(shown) == (0 if domain.tables[0].bulk and store_url.kind == "sqlite" else 3)
        assert {"garden_price", "core_anomalies"} <= _relations(writer)


@pytest.mark.process
def test_processes_that_create_a_store_together(
    store_url: StoreUrl, domain: Domain, clock: Any, tmp_path: Path
) -> None:
    """Of several processes that start on an empty store at once one migrates, and all can work."""
    program = """
import pickle, sys
from datetime import UTC, datetime
from types import SimpleNamespace
from market_spine.store import upgrade
domain = SimpleNamespace(name="garden", tables=(), views=(), migrations=sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
url = pickle.loads(bytes.fromhex(sys.argv[1]))
print(len(upgrade(url, [domain], clock=lambda: datetime.now(UTC))))
"""
    path = os.pathsep.join([str(tmp_path / "packages"), *sys.path])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, pickle.dumps(store_url).hex(), domain.migrations],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=900) for process in processes]
    assert sorted(out for out, _ in answers) == ["0\n", "0\n", "0\n", f"{len(_all(store_url, 'garden'))}\n"], answers
    with open_writer(store_url, [domain], clock=clock) as writer:
        assert _applied(writer) == _expected(store_url, ("garden", 1, "tables"))


def test_pending_migrations_are_named_when_they_may_not_run(
    store_url: StoreUrl, make_domain: Callable[..., Domain], clock: Any
) -> None:
    """Without auto-migration an older schema is an error that names the command; a reader says the same."""
    first = {"0001_beds.sql": "CREATE TABLE beds (a TEXT);"}
    old = make_domain(first, **BARE)
    new = make_domain(first | {"0002_paths.sql": "CREATE TABLE paths (a TEXT);\n"}, **BARE)
    with pytest.raises(SchemaError, match="platform/0001_core") as error:
        open_writer(store_url, [old], clock=clock, auto_migrate=False)
    assert "market-spine db upgrade" in error.value.hint
    upgrade(store_url, [old], clock=clock)
    with pytest.raises(SchemaError, match="garden/0002_paths") as error:
        open_writer(store_url, [new], clock=clock, auto_migrate=False)
    assert "market-spine db upgrade" in error.value.hint
    with pytest.raises(SchemaError, match="garden/0002_paths") as error:
        open_reader(store_url, [new], clock=clock)
    assert "market-spine db upgrade" in error.value.hint
    assert upgrade(store_url, [new], clock=clock) == ["garden/0002_paths"]
    with open_writer(store_url, [new], clock=clock, auto_migrate=False) as writer:
        assert {"beds", "paths"} <= _relations(writer)


def test_a_newer_database_is_refused(store_url: StoreUrl, make_domain: Callable[..., Domain], clock: Any) -> None:
    """A migration that the code does not know, or knows otherwise, stops writers and readers."""
    first = {"0001_beds.sql": "CREATE TABLE beds (a TEXT);"}
    new = make_domain(first | {"0002_paths.sql": "CREATE TABLE paths (a TEXT);"}, **BARE)
    upgrade(store_url, [new], clock=clock)
    old = make_domain(first, **BARE)
    edited = make_domain(
        {"0001_beds.sql": "CREATE TABLE beds (b TEXT);", "0002_paths.sql": "CREATE TABLE paths (a TEXT);"}, **BARE
    )
    for domain, said in ((old, "newer.*0002_paths"), (edited, "garden/0001_beds differs")):
        with pytest.raises(SchemaError, match=said):
            open_writer(store_url, [domain], clock=clock)
        with pytest.raises(SchemaError, match=said):
            open_reader(store_url, [domain], clock=clock)


def test_a_failing_migration_leaves_nothing(
    store_url: StoreUrl, make_domain: Callable[..., Domain], clock: Any
) -> None:
    """If one of several pending migrations fails, none was applied."""
    good = {"0001_beds.sql": "CREATE TABLE beds (a TEXT); CREATE TABLE more (a TEXT);"}
    bad = make_domain(good | {"0002_wrong.sql": "CREATE TABLE sheds (a TEXT);\nCREATE TABLE beds (a TEXT);"}, **BARE)
    with pytest.raises(SchemaError, match=r'garden/0002_wrong.*beds"? already exists'):
        upgrade(store_url, [bad], clock=clock)
    with pytest.raises(SchemaError):
        open_reader(store_url, [], clock=clock)
    assert upgrade(store_url, [make_domain(good, **BARE)], clock=clock) == _all(store_url, "garden/0001_beds")


def test_two_migrations_with_one_number_are_refused(
    store_url: StoreUrl, make_domain: Callable[..., Domain], clock: Any
) -> None:
    """A set whose order would be left to chance is not applied."""
    domain = make_domain({"0001_a.sql": "CREATE TABLE a (a TEXT);", "0001_b.sql": "CREATE TABLE b (a TEXT);"}, **BARE)
    with pytest.raises(SchemaError, match="same number"):
        upgrade(store_url, [domain], clock=clock)


def test_other_domains_are_left_alone(store_url: StoreUrl, domain: Domain, clock: Any) -> None:
    """A program that does not know a domain can use the store, and leaves that domain's views in place."""
    upgrade(store_url, [domain], clock=clock)
    with open_writer(store_url, [], clock=clock) as writer:
        assert "garden_price" in _relations(writer)
    with open_reader(store_url, [], clock=clock) as reader:
        assert reader.known("garden") == {}


def test_a_domain_that_was_never_loaded_does_not_stop_a_reader(store_url: StoreUrl, domain: Domain, clock: Any) -> None:
    """A newly installed domain can be planned against a store that has nothing of it yet."""
    upgrade(store_url, [], clock=clock)
    with open_reader(store_url, [domain], clock=clock) as reader:
        assert reader.known("garden", ["k"])["k"].last_id == 0
        assert reader.query("SELECT COUNT(*) FROM core_runs", "2025-01-01").rows == [(0,)]
        with pytest.raises(SchemaError, match="garden_price_versions") as error:
            reader.read(domain.tables[1], Scope({"crop": "kale"}))
    assert "db upgrade" in error.value.hint


def test_views_follow_their_declarations(
    store_url: StoreUrl, make_domain: Callable[..., Domain], domain: Domain, clock: Any
) -> None:
    """A changed view is replaced, a removed one goes, and unchanged ones cost no write."""
    ddl = {"0001_beds.sql": "CREATE TABLE bed_versions (a TEXT, manifest_id BIGINT, superseded_by BIGINT);"}
    table = Table("bed", (Column("a", "text", "A."),), ("a",), ("a",), "Beds.")

    def look(*views: View, allowed: bool = True) -> tuple[set[str], int]:
        domain = make_domain(ddl, tables=(table,), views=views)
        with open_writer(store_url, [domain], clock=clock, auto_migrate=allowed) as writer:
            for view in views:
                writer.query(f"SELECT n FROM {view.name}")
            ((rows,),) = writer.query("SELECT COUNT(*) FROM core_migrations").rows
            return {name for name in _relations(writer) if name.startswith("bed")}, rows

    rows = len(_all(store_url)) + 3  # the garden's tables, and the views of both
    old = View("bed_old", "SELECT a AS n FROM bed", ("bed",), "Old.")
    top = View("bed_top", "SELECT n FROM bed_old", ("bed_old",), "On top.")
    assert look(top, old) == ({"bed_versions", "bed", "bed_old", "bed_top"}, rows)
    assert look(top, old, allowed=False)[1] == rows
    changed = View("bed_top", "SELECT COUNT(*) AS n FROM bed", ("bed",), "Changed.")
    with pytest.raises(SchemaError, match="views:garden"):
        look(changed, allowed=False)
    assert look(changed) == ({"bed_versions", "bed", "bed_top"}, rows + 1)
    assert look(changed)[1] == rows + 1


def test_a_view_waits_for_what_it_depends_on(
    store_url: StoreUrl, make_domain: Callable[..., Domain], clock: Any
) -> None:
    """A view over another domain's table appears once that table exists."""
    view = View("shed_view", "SELECT a FROM beds", ("beds",), "Needs the garden.")
    shed = make_domain({"0001_x.sql": "CREATE TABLE tools (a TEXT);"}, name="shed", tables=(), views=(view,))
    garden = make_domain({"0001_beds.sql": "CREATE TABLE beds (a TEXT);"}, **BARE)
    with open_writer(store_url, [shed], clock=clock) as writer:
        assert "shed_view" not in _relations(writer)
    with open_writer(store_url, [shed, garden], clock=clock) as writer:
        assert "shed_view" in _relations(writer)
    with open_writer(store_url, [shed], clock=clock, auto_migrate=False) as writer:
        assert "shed_view" in _relations(writer)


def test_a_missing_folder_is_named(domain: Domain, clock: Any, tmp_path: Path) -> None:
    """A missing parent folder is an error that names it, or is made on demand."""
    url = parse_url(str(tmp_path / "no" / "such" / "store.db"))
    with pytest.raises(StoreUnavailable, match="no/such"):
        open_writer(url, [domain], clock=clock)
    assert not (tmp_path / "no").exists()
    with open_writer(url, [domain], clock=clock, create_parent=True):
        assert Path(url.path).is_file()


def test_a_folder_that_cannot_be_made_is_named(domain: Domain, clock: Any, tmp_path: Path) -> None:
    """Where a file stands in the way of the folder, the error names the folder."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="file/folder"):
        open_writer(parse_url(str(tmp_path / "file" / "folder" / "s.db")), [domain], clock=clock, create_parent=True)


def test_what_is_not_a_database_is_refused(domain: Domain, clock: Any, tmp_path: Path) -> None:
    """A folder, and a file of another kind, are refused by writers and readers and stay as they are."""
    text = tmp_path / "notes.txt"
    text.write_text("not a database at all\n" * 100)
    for path in (tmp_path, text):
        with pytest.raises(StoreUnavailable, match=path.name):
            open_writer(parse_url(str(path)), [domain], clock=clock)
        with pytest.raises(StoreUnavailable, match=path.name):
            open_reader(parse_url(str(path)), [domain], clock=clock)
    assert text.read_text() == "not a database at all\n" * 100


def test_a_database_that_is_no_file_is_refused(domain: Domain, clock: Any) -> None:
    """A database in memory, which would be lost with its connection, is refused at once."""
    with pytest.raises(StoreUnavailable, match=r":memory: cannot have a write-ahead log") as error:
        open_writer(parse_url(":memory:"), [domain], clock=clock)
    assert error.value.hint


def test_a_reader_never_creates_a_store(
    store_url: StoreUrl, domain: Domain, clock: Any, look: Callable[[StoreUrl], Any]
) -> None:
    """Where there is no store a reader says so, or reads an empty one without making anything."""
    with pytest.raises((StoreUnavailable, SchemaError), match=r"no database|older than this program") as error:
        open_reader(store_url, [domain], clock=clock)
    assert error.value.hint
    with open_reader(store_url, [domain], clock=clock, missing_ok=True) as reader:
        assert reader.known("garden", ["2025-01-03|north"])["2025-01-03|north"].captures == ()
        assert reader.read(domain.tables[0], Scope({"plot": "north"})).is_empty()
        assert (reader.anomalies(), reader.runs(), reader.history("garden", "k")) == ([], [], [])
        for as_of in (None, "2025-01-06T11:00:00Z"):
            assert reader.query("SELECT COUNT(*) FROM garden_value", as_of).rows == [(0,)]
    if store_url.kind == "sqlite":
        assert not Path(store_url.path).exists()
    else:
        with pytest.raises(SchemaError):
            open_reader(store_url, [domain], clock=clock)


@ONLY_SQLITE
def test_an_empty_file_is_an_empty_store(store_url: StoreUrl, domain: Domain, clock: Any) -> None:
    """A reader takes an empty file for a store without anything, and leaves it empty."""
    Path(store_url.path).touch()
    with open_reader(store_url, [domain], clock=clock, missing_ok=True) as reader:
        assert reader.runs() == []
    assert Path(store_url.path).read_bytes() == b""
    with pytest.raises(SchemaError):
        open_reader(store_url, [domain], clock=clock)


def test_a_reader_cannot_write(
    store_url: StoreUrl, writer: StoreWriter, domain: Domain, clock: Any, put: Callable[..., Entry]
) -> None:
    """Even statements that get past every check fail on a reader's connection."""
    put("first", kale=1)
    with open_reader(store_url, [domain], clock=clock) as reader:
        for sql in ("DELETE FROM core_manifest", "CREATE TABLE t (a TEXT)", "DROP VIEW garden_price"):
            with pytest.raises(StoreUnavailable, match="cannot be written"):
                reader._db.run(sql)
        assert reader.query("SELECT COUNT(*) FROM garden_harvest").rows == [(1,)]


def test_odd_paths_are_only_paths(
    domain: Domain, clock: Any, tmp_path: Path, partition: Partition, enter: Callable[..., Entry]
) -> None:
    """Characters that mean something in URLs are ordinary in a path, for writing and reading."""
    url = parse_url(str(tmp_path / "a b?mode=memory#100%25.db"))
    with open_writer(url, [domain], clock=clock) as writer, writer.commit(partition) as commit:
        enter(commit, partition)
    assert Path(url.path).is_file()
    with open_reader(url, [domain], clock=clock) as reader:
        assert reader.query("SELECT COUNT(*) FROM core_manifest").rows == [(1,)]
        assert reader.query("SELECT COUNT(*) FROM core_manifest", clock()).rows == [(1,)]


@pytest.mark.process
def test_a_run_without_news_imports_nothing_heavy(store_url: StoreUrl, clock: Any) -> None:
    """Opening a store for writing and asking what it knows loads neither frames nor compression."""
    upgrade(store_url, [], clock=clock)
    program = """
import pickle, sys
from datetime import UTC, datetime
from market_spine.core.partition import Partition
from market_spine.store import open_writer
partition = Partition("garden", ("2025-01-03", "north"))
url = pickle.loads(bytes.fromhex(sys.argv[1]))
with open_writer(url, [], clock=lambda: datetime.now(UTC)) as writer:
    writer.known("garden", [partition.key])
    writer.anomalies("garden")
    with writer.commit(partition) as commit:
        commit.resolve()
heavy = {"polars", "zstandard"} | ({"importlib.resources"} if url.kind == "sqlite" else set())
print(sorted(heavy & set(sys.modules)))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, pickle.dumps(store_url).hex()]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "[]\n"


def test_two_that_make_one_file_at_once_lose_nothing(tmp_path: Path, domain: Domain, clock: Any) -> None:
    """The first to end names its file; the second is refused and leaves the first one's as it is."""
    url = parse_url(str(tmp_path / "new.db"))
    with (
        pytest.raises(UsageError, match=r"new\.db exists already"),
        store_made_anew(url, [], clock),
        store_made_anew(url, [domain], clock),
    ):
        pass
    assert [path.name for path in tmp_path.glob("new.db*")] == ["new.db"]
    open_reader(url, [domain], clock=clock).close()
