"""Secrets stay secret, queries only read, and text stays text."""

from __future__ import annotations

import json
import os
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from market_spine import registry
from market_spine.cli.main import root, run
from market_spine.compose import utc_now
from market_spine.errors import UsageError
from market_spine.store import open_reader, parse_url
from market_spine.store.reader import StoreReader
from market_spine.testing import every_row
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

ROUNDS = int(os.environ.get("MARKET_SPINE_SOAK", "1"))
SECRETS = 200
KEY = "2025-11-21|OTC"
RUN_DATE = "2025-12-23"


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Address a fresh store of either kind as users do, another one each time."""
    if request.param == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("new_postgres")
        return make
    numbers = count()
    return lambda: str(tmp_path / f"guarded{next(numbers)}.db")


@pytest.fixture
def database(new_database: Callable[[], str], data: Path) -> str:
    """A store with one FINRA week."""
    db = new_database()
    assert load(db, data).exit_code == 0
    return db


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One week of one tier."""
    folder = tmp_path / "data"
    write_sample_data(folder, weeks=1, tiers=("OTC",), rows=40, seed=2, run_date=date.fromisoformat(RUN_DATE))
    return folder


def load(db: str, folder: Path) -> Any:
    """Load that week."""
    return run_finra_schedule(db=db, data_dir=str(folder), tiers="OTC", lookback_weeks=1, run_date=RUN_DATE)


def read(db: str) -> StoreReader:
    return open_reader(parse_url(db), registry.domains(), clock=utc_now)


def contents(db: str) -> dict[str, list[str]]:
    """Every row of every table but those of runs."""
    with read(db) as reader:
        runs = {"core_run_starts", "core_run_ends", "core_run_partitions"}
        return every_row(reader, reader._db.objects().tables.keys() - runs)


# --- secrets --------------------------------------------------------------------------------------


def secrets(number: int) -> list[str]:
    """Passwords as people and generators make them: also with the characters that mean something in addresses."""
    dice = Random(number)
    letters = string.ascii_letters + string.digits
    odd = "@:/?#[]!$&'()*+,;=%~^`{}|\\\"<> -_.äß€"
    made = []
    for at in range(number):
        core = "".join(dice.choice(letters) for _ in range(8))
        made.append(
            core if at % 3 == 0 else "".join(dice.choice(letters + odd) for _ in range(dice.randint(2, 6))) + core
        )
    return made


def addresses(password: str) -> Iterator[str]:
    """Database addresses that cannot be used, with a password spelt right or wrong in them."""
    coded = quote(password, safe="")
    yield f"postgresql://ann:{coded}@127.0.0.1:1/spine"
    yield f"postgresql://127.0.0.1:1/spine?user=ann&password={coded}"
    yield f"postgres://ann:{coded}@127.0.0.1:1/spine?sslmode=nonsense"
    yield f"postgresql://ann:{coded}@[::1/spine"
    yield f"postgresql://ann:{password}@127.0.0.1:1/spine"
    yield f"postgresql://ann:{coded}@127.0.0.1:port/spine"
    yield f"mysql://ann:{coded}@127.0.0.1/spine"
    yield f"postgresql+psycopg://ann:{coded}@127.0.0.1/spine"
    yield f"postgresql:/ann:{coded}@127.0.0.1/spine"
    yield f"postgresql//ann:{coded}@127.0.0.1/spine"
    yield f"sqlite://ann:{coded}@host/spine.db"
    yield f"ann:{coded}@127.0.0.1/spine"


def commands(db: str) -> list[list[str]]:
    """Every command that opens the database."""
    finra = [
        "schedule",
        "finra",
        "--weeks",
        "2025-11-21",
        "--tiers",
        "OTC",
        "--run-date",
        RUN_DATE,
        "--data-dir",
        "data",
    ]
    return [
        [*finra, "--db", db],
        [*finra, "--db", db, "--json"],
        [*finra, "--db", db, "--mode", "dry-run", "--json", "--log-level", "DEBUG"],
        ["status", "--db", db],
        ["runs", "--json", "--db", db],
        ["anomalies", "--db", db],
        ["captures", KEY, "--db", db],
        ["diff", KEY, "--db", db],
        ["payload", "some:capture", "--out", "out.bin", "--db", db],
        ["query", "SELECT 1", "--db", db],
        ["query", "SELECT 1", "--as-of", "2025-01-01", "--json", "--db", db],
        ["db", "upgrade", "--db", db, "--json"],
        ["db", "backup", "copy.db", "--db", db],
        ["rebuild", "--into", "new.db", "--db", db],
        ["rebuild", "--into", db],
    ]


def spelt(secret: str) -> set[str]:
    """The spellings in which a secret would be one."""
    return {secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1]}


def test_no_password_is_ever_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """200 generated passwords, each in an address that fails in one of twelve ways, given by flag or environment to
    one of fifteen commands: none appears in any output, log line or file name."""
    monkeypatch.chdir(tmp_path)
    dice = Random(1)
    for secret in secrets(SECRETS * ROUNDS):
        urls = list(addresses(secret))
        for url in dice.sample(urls, 3):
            arguments = dice.choice(commands(url))
            if dice.random() < 0.5 and arguments[0] != "rebuild":
                at = arguments.index("--db")
                arguments = arguments[:at] + arguments[at + 2 :]
                monkeypatch.setenv("DATABASE_URL", url)
            code = run(root, arguments, "market-spine")
            monkeypatch.delenv("DATABASE_URL", raising=False)
            told = "".join(capfd.readouterr())
            assert code == 1, (arguments, told)
            for spelling in spelt(secret):
                assert spelling not in told, (arguments, told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_no_folders_credentials_are_ever_told(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Credentials in the address of a data folder appear in no output and no recorded result."""
    monkeypatch.chdir(tmp_path)
    for at, secret in enumerate(secrets(30)):
        coded = quote(secret, safe="")
        forms = (
            f"s3://key:{coded}@bucket/finra",
            f"memory://ann:{coded}@host/finra",
            f"nosuch://ann:{coded}@host/x?token={coded}",
        )
        flags = ["--weeks", "2025-11-21", "--tiers", "OTC", "--run-date", RUN_DATE, "--json"]
        code = run(root, ["schedule", "finra", *flags, "--data-dir", forms[at % 3], "--db", database], "market-spine")
        told = "".join(capfd.readouterr())
        assert code == 1, told
        with read(database) as reader:
            told += "".join(record.result for record in reader.runs(limit=1))
        for spelling in spelt(secret):
            assert spelling not in told, told


@pytest.mark.process
def test_no_key_is_ever_told(tmp_path: Path) -> None:
    """Keys of vendors and of FINRA's API appear in no output of real processes that fail for another reason."""
    finra = ["schedule", "finra", "--source", "api", "--mode", "dry-run", "--weeks", "2025-11-21", "--tiers", "OTC"]
    prices = ["schedule", "prices", "--symbols", "AAPL", "--log-level", "DEBUG", "--json"]
    failing = [[*prices, "--source", "nonsense"], [*prices, "--max-symbols", "0"], ["status"], ["query", "SELECT x"]]
    if ROUNDS > 1:
        failing.append(finra)  # takes its time, because it tries again and again
    names = ("POLYGON_API_KEY", "MASSIVE_API_KEY", "ALPHA_VANTAGE_API_KEY", "FINRA_CLIENT_SECRET", "HEALTHCHECK_URL")
    nowhere = dict.fromkeys(("FINRA_API_URL", "FINRA_TOKEN_URL"), "http://127.0.0.1:1")
    for secret, arguments in zip(secrets(2 * len(failing)), failing * 2, strict=True):
        environ = {**os.environ, **nowhere, "FINRA_CLIENT_ID": "ann", **dict.fromkeys(names, secret)}
        command = [sys.executable, "-m", "market_spine", *arguments, "--db", "keys.db"]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        for spelling in spelt(secret):
            assert spelling not in done.stdout + done.stderr


# --- queries --------------------------------------------------------------------------------------

WRITES = [
    "INSERT INTO core_runs SELECT * FROM core_runs",
    "UPDATE core_manifest SET run_id = 'x'",
    "DELETE FROM core_manifest",
    "DROP TABLE core_manifest",
    "CREATE TABLE mine (x INTEGER)",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "ALTER TABLE core_runs ADD COLUMN x TEXT",
    "SELECT 1; DELETE FROM core_manifest",
    "SELECT 1; --\nDROP TABLE core_manifest",
    "/* SELECT */ DELETE FROM core_manifest",
    "-- SELECT\nDELETE FROM core_manifest",
    "WITH gone AS (DELETE FROM core_manifest RETURNING 1) SELECT * FROM gone",
    "WITH x AS (SELECT 1) DELETE FROM core_manifest",
    "WITH x AS (SELECT 1) INSERT INTO core_runs SELECT * FROM core_runs",
    "SELECT * INTO mine FROM core_manifest",
    "SELECT * FROM core_manifest FOR UPDATE",
    "EXPLAIN ANALYZE DELETE FROM core_manifest",
    "PRAGMA writable_schema = ON",
    "PRAGMA query_only = OFF",
    "SELECT * FROM pragma_table_info('core_manifest')",
    "ATTACH DATABASE 'other.db' AS other",
    "VACUUM INTO 'copy.db'",
    "SELECT load_extension('evil')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('mine', 'x')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT edit('x')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT pg_stat_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/mine')",
    "COPY core_manifest TO '/tmp/mine'",
    "COPY core_runs FROM PROGRAM 'id'",
    "DO $$ BEGIN DELETE FROM core_manifest; END $$",
    "CALL something()",
    "SET search_path = pg_catalog",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT nextval('core_manifest_ids')",
    "SELECT setval('core_manifest_ids', 1)",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_advisory_lock(1)",
    "SELECT query_to_xml('DELETE FROM core_manifest', true, true, '')",
    "SELECT * FROM pg_shadow",
    "SELECT passwd FROM pg_catalog.pg_authid",
    "SELECT current_setting('data_directory')",
    "BEGIN",
    "COMMIT; DELETE FROM core_manifest",
    "TABLE core_manifest; DELETE FROM core_manifest",
    "",
    ";",
    "SELECT",
]


@pytest.mark.soak
@pytest.mark.parametrize("as_of", [None, "2099-01-01", "now"])
def test_a_query_only_reads(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_of: str | None) -> None:
    """Statements that write, attach, load, read files or settings, or are several, are refused as usage errors, also as
    of a moment, and leave everything as it was."""
    monkeypatch.chdir(tmp_path)
    before, files = contents(database), sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".db-shm")
    moment = utc_now().isoformat() if as_of == "now" else as_of
    for statement in WRITES:
        with read(database) as reader, pytest.raises(UsageError):
            reader.query(statement, as_of=moment)
    assert contents(database) == before
    assert {path.name for path in tmp_path.iterdir()} - set(files) <= {"guarded0.db-shm", "guarded0.db-wal"}


# --- injection ------------------------------------------------------------------------------------

POISON = [
    "'; DROP TABLE core_manifest; --",
    '"; DROP TABLE core_manifest; --',
    "' OR '1'='1",
    "' UNION SELECT sql FROM sqlite_master --",
    "1); DELETE FROM core_payloads; --",
    "%s", "%(x)s", "?", "$1", ":name", "\\", "\\'; SELECT 1 --", "''", '""', "`", "/*", "*/", "--", ";",
    "{0}", "{schema}", "$$", "\u2019; DROP TABLE core_runs --",
    "../../etc/passwd", "|", "||", "2025-11-21|OTC' --", "2025-11-21|OTC|x",
]  # fmt: skip


def poisoned(db: str, text: str) -> list[list[str]]:
    """A text in the place of everything that a user may give."""
    finra = ["schedule", "finra", "--db", db, "--data-dir", "data", "--json"]
    return [
        ["captures", text, "--db", db],
        ["captures", KEY, "--domain", text, "--db", db],
        ["diff", text, "--db", db],
        ["diff", KEY, "--from", text, "--db", db],
        ["diff", KEY, "--to", text, "--db", db, "--json"],
        ["payload", text, "--out", "out.bin", "--db", db],
        ["payload", f"finra.otc_transparency:OTC:2025-11-21:20251223{text}", "--out", "out.bin", "--db", db],
        ["query", "SELECT 1", "--as-of", text, "--db", db],
        ["query", "SELECT 1", "--as-of", f"2025-12-23T00:00:00{text}", "--db", db],
        ["runs", "--domain", text, "--db", db],
        ["anomalies", "--domain", text, "--db", db],
        ["status", "--run-date", text, "--db", db],
        ["status", "--domain", text, "--db", db],
        [*finra, "--weeks", text],
        [*finra, "--weeks", f"2025-11-21,{text}"],
        [*finra, "--tiers", text],
        [*finra, "--run-date", text],
        [*finra, "--mode", text],
        [*finra, "--only-stage", text],
        [*finra, "--lookback-weeks", text],
        [*finra, "--workers", text],
        [*finra, "--source", text],
    ]


@pytest.mark.soak
def test_no_text_of_a_user_becomes_sql(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """SQL in any argument of any command is a plain error of usage, and changes nothing."""
    monkeypatch.chdir(tmp_path)
    before = contents(database)
    for text in POISON:
        for arguments in poisoned(database, text):
            code = run(root, arguments, "market-spine")
            told = "".join(capfd.readouterr())
            assert code == 1, (arguments, told)
            for trace in ("Traceback", '"internal"', "syntax error", 'near "'):
                assert trace not in told, (arguments, told)
    assert contents(database) == before


@pytest.mark.usefixtures("harbor")
def test_text_of_a_file_is_kept_as_it_is(new_database: Callable[[], str], tmp_path: Path) -> None:
    """Names with SQL, quotes, marks and control characters in a file come out of the tables as they went in."""
    from harbor import run_harbor

    ships = sorted({text.replace(" ", "_") for text in (*POISON, "tab\there", "é😀", "\x01", "NULL", "\\N", "\\.")})
    (tmp_path / "2025-03-01.txt").write_text("".join(f"{ship} 1\n" for ship in ships))
    # A lone name is written as a constant of the statement, not as a parameter of each row.
    (tmp_path / "2025-03-02.txt").write_text("o'neil');DROP_TABLE_core_runs;-- 2\n")
    (tmp_path / "2025-03-03.txt").write_text(f"{ships[0]} 3\n'');-- x'y\n" * 1)
    db = new_database()
    result = run_harbor(tmp_path, "2025-03-01,2025-03-02", db=db, run_date="2025-03-09")
    assert result.exit_code == 0
    forced = run_harbor(tmp_path, "2025-03-03", db=db, run_date="2025-03-09", force=True)
    assert forced.exit_code == 0
    (tmp_path / "2025-03-01.txt").write_text("".join(f"{ship} 2\n" for ship in ships))
    assert run_harbor(tmp_path, "2025-03-01", db=db, run_date="2025-03-09").exit_code == 0
    with read(db) as reader:
        rows = reader.query("SELECT ship, tons FROM harbor_landing WHERE day = '2025-03-01'").rows
        lone = reader.query("SELECT ship, tons FROM harbor_landing WHERE day = '2025-03-02'").rows
        rejects = reader.query("SELECT raw FROM core_rejects").rows
    assert sorted(rows) == [(ship, 2.0) for ship in ships]
    assert (lone, rejects) == ([("o'neil');DROP_TABLE_core_runs;--", 2.0)], [("'');-- x'y",)])
