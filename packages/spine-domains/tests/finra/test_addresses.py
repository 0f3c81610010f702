"""Paths, addresses and names as people and secrets give them: with line ends, odd characters, or of other databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from market_spine.errors import SchemaError, UsageError
from market_spine.settings import database, secret, variable
from market_spine.store import open_reader, parse_url
from market_spine.testing import Finished, run_command
from spine.domains.finra.otc_transparency.sample_data import write_sample_data

Run = Callable[..., Finished]


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """A folder with a week of one tier in ``files``."""
    day = date(2025, 12, 23)
    write_sample_data(tmp_path / "files", weeks=1, tiers=("OTC",), rows=20, seed=1, run_date=day)
    return tmp_path


@pytest.fixture
def run(cwd: Path) -> Run:
    """Run a command there, with environment variables by name."""
    return lambda *arguments, **environ: run_command(*arguments, cwd=cwd, environ=environ)


def _names(folder: Path) -> set[str]:
    """What is in a folder, but for the side files that SQLite's readers leave."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm"))}


LOAD = ("schedule", "finra", "--lookback-weeks", "1", "--tiers", "OTC", "--run-date", "2025-12-23", "--json")


@pytest.mark.process
def test_line_ends_and_blanks_around_are_no_part_of_a_name(cwd: Path, run: Run) -> None:
    """Wherever a path is given, one with a line end behind it is the same path."""
    loads: list[tuple[tuple[str, ...], dict[str, str]]] = [
        (LOAD, {"DATABASE_URL": "load.db\n", "FINRA_DATA_DIR": "files\r\n"}),
        ((*LOAD, "--db", " load.db\n", "--data-dir", "files\n"), {}),
        ((*LOAD, "--db", "sqlite:///load.db\n"), {"FINRA_DATA_DIR": "\tfiles "}),
    ]
    reasons = []
    for arguments, environ in loads:
        result = run(*arguments, **environ).result()
        assert (result.exit_code, result.error) == (0, None)
        reasons.append(result.runs[0].reason)
    assert reasons == [None, "same_bytes", "same_bytes"]
    capture = "finra.otc_transparency:OTC:2025-11-21:20251223"
    for arguments in (
        ("db", "backup", "copy.db\n"),
        ("rebuild", "--into", "again.db\n"),
        ("payload", capture, "--out", "week.csv\n"),
    ):
        assert run(*arguments, DATABASE_URL="load.db\n").code == 0
    run("sample-data", "finra", "--out", "more\n", "--weeks", "1", "--tiers", "OTC", "--rows", "5")
    (cwd / "symbols.txt").write_text("AAPL\n")
    mock = ("schedule", "prices", "--source", "mock", "--sleep", "0", "--symbols-file", "symbols.txt\n", "--db", "p.db")
    assert run(*mock).code == 0
    assert _names(cwd) == {"files", "load.db", "copy.db", "again.db", "week.csv", "more", "symbols.txt", "p.db"}


def test_variables_are_trimmed_and_a_blank_one_is_unset() -> None:
    """Addresses, folders, schemas, keys and names of sources, also where a line end is all there is."""
    environ = {
        "FINRA_API_URL": " https://a.example/\r\n",
        "BLANK": " \n",
        "KEY": "k1\n",
        "MARKET_SPINE_SCHEMA": "own\n",
    }
    assert variable("FINRA_API_URL", "d", environ) == "https://a.example/"
    assert (variable("BLANK", "d", environ), variable("UNSET", "d", environ)) == ("d", "d")
    assert secret("KEY", environ) == "k1"
    assert database(None, {"DATABASE_URL": "\n"}) == ("data/market_spine.db", True)
    url = database(None, {**environ, "DATABASE_URL": "postgresql://u@h/d\n"}).url
    assert parse_url(url).schema == "own"


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\0", "\x1b", "\x7f", "\x85"])
def test_control_characters_inside_are_refused_unshown(character: str) -> None:
    """A control character inside is named by its number; the text, which may hold a password, is not repeated."""
    text = f"hidden{character}value"
    tries: list[Callable[[], Any]] = [
        lambda: parse_url(text),
        lambda: parse_url(f"postgresql://user:{text}@host/db"),
        lambda: parse_url(f"sqlite:///{text}"),
        lambda: database(text, {}),
        lambda: database(None, {"DATABASE_URL": text}),
        lambda: database(None, {"DATABASE_URL": "postgresql://h/d", "MARKET_SPINE_SCHEMA": text}),
        lambda: variable("FINRA_DATA_DIR", "", {"FINRA_DATA_DIR": text}),
    ]
    for attempt in tries:
        with pytest.raises(UsageError, match=f"U\\+{ord(character):04X}") as error:
            attempt()
        assert "hidden" not in f"{error.value.message}{error.value.hint}"


@pytest.mark.process
def test_a_command_refuses_them_in_the_contract_and_makes_nothing(cwd: Path, run: Run) -> None:
    """A scheduler answers with its JSON document and exit code 1; no file appears."""
    for arguments in (("--db", "a\nb.db"), ("--data-dir", "fi\nles", "--db", "c.db")):
        result = run(*LOAD, *arguments).result()
        assert result.error is not None
        assert (result.exit_code, result.error.kind, arguments[0] in result.error.message) == (1, "usage", True)
    assert run("db", "backup", "a\nb").code == 1
    assert [path.name for path in cwd.iterdir()] == ["files"]


@pytest.mark.process
def test_a_name_with_a_colon_means_one_thing(cwd: Path, run: Run) -> None:
    """``file:x.db`` is a file of that name to the writer and to every reader, and no other file appears."""
    assert run(*LOAD, "--db", "file:x.db", "--data-dir", "files").code == 0
    query = ("query", "SELECT COUNT(*) AS n FROM finra_otc_venue_volume", "--format", "csv", "--db", "file:x.db")
    counts = [
        run(*query).stdout,
        run(*query, "--as-of", "2100-01-01").code,
        run("db", "check", "--db", "file:x.db").code,
    ]
    assert counts == ["n\n20\n", 1, 0]
    assert run(*query, "--as-of", "finra.otc_transparency:OTC:2025-11-21:20251223").stdout == "n\n20\n"
    assert _names(cwd) == {"files", "file:x.db"}


@pytest.mark.process
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_database_of_something_else_is_left_as_it_is(cwd: Path, run: Run, journal: str) -> None:
    """A run, a dry run, an upgrade, a check and every reader refuse it and name its tables; only --adopt makes a store
    beside them."""
    path = cwd / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA journal_mode = {journal}")
        other.execute("CREATE TABLE customers (name TEXT)")
        other.execute("INSERT INTO customers VALUES ('Öl')")
        other.commit()
    before = path.read_bytes()
    for extra in ((), ("--mode", "dry-run")):
        result = run(*LOAD, *extra, "--data-dir", "files", "--db", "other.db").result()
        assert result.error is not None
        assert (result.exit_code, result.error.kind, result.error.message) == (
            1,
            "schema",
            "other.db is a database of something else, with the tables customers",
        )
        assert "market-spine db upgrade --adopt" in result.error.hint
    for arguments in (("status",), ("db", "upgrade"), ("db", "check"), ("runs",), ("rebuild", "--into", "new.db")):
        done = run(*arguments, "--db", "other.db")
        assert (done.code, "something else" in done.stdout + done.stderr) == (1, True), arguments
    assert path.read_bytes() == before
    assert _names(cwd) == {"files", "other.db"}
    assert run("db", "upgrade", "--adopt", "--db", "other.db").code == 0
    assert run(*LOAD, "--data-dir", "files", "--db", "other.db").result().exit_code == 0
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM customers").fetchall() == [("Öl",)]
    counted = run("query", "SELECT COUNT(*) AS rows FROM finra_otc_venue_volume", "--format", "csv", "--db", "other.db")
    assert counted.stdout.split() == ["rows", "20"]


@pytest.mark.process
def test_an_empty_database_is_nobodys(cwd: Path, run: Run) -> None:
    """A file without tables, of no bytes or of SQLite's own, becomes a store without being asked."""
    (cwd / "empty.db").touch()
    with closing(sqlite3.connect(cwd / "bare.db")) as bare:
        bare.execute("PRAGMA user_version = 7")
    for name in ("empty.db", "bare.db"):
        assert run(*LOAD, "--data-dir", "files", "--db", name).result().exit_code == 0


@pytest.mark.parametrize("name", ["s" * 64, "ä" * 32])
def test_a_schema_name_that_would_be_cut_is_refused(name: str) -> None:
    """PostgreSQL cuts names at 63 bytes without a word, so that two schemas would be one."""
    for address in (f"postgresql://h/d?schema={name}", f"postgresql://h/d?options=-csearch_path%3D{name}"):
        with pytest.raises(UsageError, match="is 64 bytes long"):
            parse_url(address)
    with pytest.raises(UsageError, match="is 64 bytes long"):
        parse_url(database(None, {"DATABASE_URL": "postgresql://h/d", "MARKET_SPINE_SCHEMA": name}).url)
    assert len(parse_url(f"postgresql://h/d?schema={name[1:]}").schema.encode()) in (62, 63)


def test_a_reader_in_this_process_refuses_too(tmp_path: Path) -> None:
    """The library gives the same error as the commands, also where a missing store would do."""
    with closing(sqlite3.connect(tmp_path / "o.db")) as other:
        other.execute("CREATE TABLE orders (n INTEGER)")
    for missing_ok in (False, True):
        with pytest.raises(SchemaError, match="orders"):
            open_reader(parse_url(str(tmp_path / "o.db")), [], missing_ok=missing_ok)
