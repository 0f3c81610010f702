"""The command line as a process: a third domain through every command, usage errors, one document on stdout."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from market_spine.testing import run_command

if TYPE_CHECKING:
    from tests.integration.conftest import Home

pytestmark = pytest.mark.process


def test_third_domain_brings_its_commands(start: Home) -> None:
    """A domain installed from a temporary folder appears under schedule and sample-data."""
    assert "harbor" in start("schedule", "--help").stdout
    written = start("sample-data", "harbor", "--out", "in")
    assert (written.code, written.stdout) == (0, "in/2025-03-01.txt\n")


def test_default_database_is_made_below_the_working_directory(start: Home) -> None:
    """Without --db the run makes data/market_spine.db where it was started."""
    start("sample-data", "harbor", "--out", "in")
    done = start("schedule", "harbor", "--days", "2025-03-01", "--data-dir", "in", "--run-date", "2025-03-02")
    assert done.code == 0, done.stderr
    assert (start.path / "data/market_spine.db").is_file()


def test_logs_are_json_lines_with_run_and_partition(start: Home) -> None:
    """Away from a terminal stderr holds JSON lines, each with the run id and, inside a partition, its key."""
    (start.path / "in").mkdir()
    (start.path / "in/2025-03-01.txt").write_text("<html>")
    done = start("schedule", "harbor", "--days", "2025-03-01", "--data-dir", "in", "--run-date", "2025-03-02", "--json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    failed = [line for line in lines if line["level"] == "ERROR"]
    assert failed[0]["partition"] == "2025-03-01"
    assert {line["run_id"] for line in lines} == {done.result().run_id}


def test_each_partition_has_a_log_line(start: Home) -> None:
    """Away from a terminal an ordinary run logs what became of each partition, unless --log-level is higher."""
    start("sample-data", "harbor", "--out", "in")
    run = ("schedule", "harbor", "--days", "2025-03-01", "--data-dir", "in", "--run-date", "2025-03-02")
    (line,) = [each for each in map(json.loads, start(*run).stderr.splitlines()) if "partition" in each]
    assert (line["level"], line["partition"]) == ("INFO", "2025-03-01")
    assert line["run_id"]
    assert start(*run, "--log-level", "ERROR").stderr == ""


def test_domains_modules_log_like_the_platform(start: Home) -> None:
    """What a domain's module logs under its own name is a JSON line with run id and partition, from --log-level on."""
    start("sample-data", "harbor", "--out", "in")
    module = start.site / "harbor/__init__.py"
    marker = "def fetch(self, partition: Partition, known: Known)"
    text = module.read_text("utf-8")
    head, _, tail = text.partition(marker)
    signature, newline, body = tail.partition("\n")
    logged = "        __import__('logging').getLogger('harbor.source').info('asking')\n"
    module.write_text(head + marker + signature + newline + logged + body, "utf-8")
    assert marker in text
    run = ("schedule", "harbor", "--days", "2025-03-01", "--data-dir", "in", "--run-date", "2025-03-02")
    line, *_ = [json.loads(each) for each in start(*run).stderr.splitlines()]
    assert (line["message"], line["logger"], line["partition"]) == ("asking", "harbor.source", "2025-03-01")
    assert line["run_id"]
    assert start(*run, "--log-level", "ERROR").stderr == ""


def test_captures_lists_versions_and_payload_gives_the_exact_bytes_back(loaded: Home) -> None:
    """Captures names both versions, and payload writes the first one's bytes as they were."""
    listed = json.loads(loaded("captures", "2025-03-01", "--json").stdout)
    first, second = listed["captures"]
    assert (first["status"], second["status"]) == ("superseded", "current")
    assert second["revision_summary"] == {"rows_added": 1, "rows_removed": 1, "rows_changed": 1}
    assert loaded("payload", first["capture_id"], "--out", "back.txt").code == 0
    data = (loaded.path / "back.txt").read_bytes()
    assert data == b"ada 10\nbela 120\n"
    assert sha256(data).hexdigest() == first["source_hash"]


def test_diff_lists_rows_with_old_and_new_values(loaded: Home) -> None:
    """Diff --json gives the added, removed and changed rows of the last two captures."""
    document = json.loads(loaded("diff", "2025-03-01", "--json").stdout)
    assert document == {
        "partition_key": "2025-03-01",
        "from": "harbor:2025-03-01:20250302",
        "from_status": "superseded",
        "to": "harbor:2025-03-01:20250302.2",
        "to_status": "current",
        "added": [{"day": "2025-03-01", "ship": "caro", "tons": 1.0}],
        "removed": [{"day": "2025-03-01", "ship": "bela", "tons": 120.0}],
        "changed": [
            {
                "key": {"day": "2025-03-01", "ship": "ada"},
                "old": {"day": "2025-03-01", "ship": "ada", "tons": 10.0},
                "new": {"day": "2025-03-01", "ship": "ada", "tons": 11.0},
            }
        ],
    }
    text = loaded("diff", "2025-03-01").stdout
    assert "1 added, 1 removed, 1 changed" in text
    assert "tons 10.0 -> 11.0" in text


def test_query_reads_now_and_as_of_a_capture(loaded: Home) -> None:
    """Query shows what is known now, and with --as-of what was known when a capture came, views included."""
    sql = "SELECT ship, tons FROM harbor_landing ORDER BY ship"
    assert loaded("query", sql, "--format", "csv").stdout == "ship,tons\nada,11.0\ncaro,1.0\n"
    earlier = ("--as-of", "harbor:2025-03-01:20250302")
    assert loaded("query", sql, "--format", "csv", *earlier).stdout == "ship,tons\nada,10.0\nbela,120.0\n"
    heavy = "SELECT ship FROM harbor_heavy"
    assert loaded("query", heavy, "--format", "json", *earlier).stdout == '[\n  {\n    "ship": "bela"\n  }\n]\n'
    assert loaded("query", heavy, "--json").stdout == "[]\n"


def test_query_writes_parquet_that_reads_back(loaded: Home) -> None:
    """--format parquet writes a file that another reader understands."""
    import polars as pl

    process = loaded.popen("query", "SELECT * FROM harbor_total", "--format", "parquet", stdout=subprocess.PIPE)
    data, _ = process.communicate()
    assert pl.read_parquet(data).select("ships", "tons").rows() == [(2, 12.0)]


def test_status_runs_and_anomalies_show_where_things_stand(loaded: Home) -> None:
    """Status shows a revised partition, a late one, one due today and one never asked for; runs lists both runs."""
    asked = ("status", "--domain", "harbor", "--run-date", "2025-03-03", "--weeks", "4")
    grid = json.loads(loaded(*asked, "--json").stdout)
    states = {cell["partition_key"]: (cell["state"], cell["revisions"]) for cell in grid[0]["partitions"]}
    assert states == {
        "2025-03-03": ("published", 0),
        "2025-03-02": ("late", 0),
        "2025-03-01": ("revised", 1),
        "2025-02-28": ("not_loaded", 0),
    }
    assert grid[0]["counts"] == {"late": 1, "revised": 1, "published": 1, "not_loaded": 1}
    assert "revised once" in loaded(*asked).stdout
    runs = json.loads(loaded("runs", "--json").stdout)
    assert [run["status"] for run in runs] == ["success", "success"]
    assert loaded("anomalies", "--json").stdout == "[]\n"


def test_db_upgrade_says_what_it_applied(start: Home) -> None:
    """Db upgrade makes the database with every set's migrations, and has nothing to do the second time."""
    assert "applied" in start("db", "upgrade", "--db", "new.db").stdout
    assert start("db", "upgrade", "--db", "new.db").stdout == "the database is up to date\n"


def test_version_names_the_program(start: Home) -> None:
    """--version prints name and version."""
    assert start("--version").stdout.startswith("market-spine 0.")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--bogus",), ("--bogus", "see market-spine schedule harbor --help")),
        (("--mode", "rum"), ("--mode", "rum", "run, dry-run")),
        (("--db", ""), ("--db", "''", "a path or URL")),
        (("--db", "mysql://host/db"), ("--db", "postgresql://")),
        (("--workers", "0"), ("--workers", "'0'", "at least 1")),
        (("--run-date", "2025-02-30"), ("--run-date", "2025-02-30", "YYYY-MM-DD")),
        (("--log-level", "LOUD"), ("--log-level", "LOUD", "DEBUG")),
    ],
)
def test_usage_error_is_one_line_and_exit_code_1(
    start: Home, arguments: tuple[str, ...], named: tuple[str, ...]
) -> None:
    """A bad flag exits 1 and names flag, value and what is allowed; with --json that is one contract document."""
    start("sample-data", "harbor", "--out", "in")
    base = ("schedule", "harbor", "--days", "2025-03-01", "--data-dir", "in", *arguments)
    plain = start(*base)
    assert plain.code == 1
    assert plain.stdout == ""
    (told,) = plain.stderr.splitlines()
    assert all(name in told for name in named)
    document = start(*base, "--json")
    result = document.result()
    assert result.error is not None
    assert all(name in result.error.message + result.error.hint for name in named)


def test_missing_database_folder_is_named(start: Home) -> None:
    """A database below a folder that does not exist is a failure that names the folder."""
    start("sample-data", "harbor", "--out", "in")
    base = ("schedule", "harbor", "--days", "2025-03-01", "--data-dir", "in", "--db", "no/such/folder/x.db")
    plain = start(*base)
    assert plain.code == 1
    assert "no/such/folder" in plain.stdout
    result = start(*base, "--json").result()
    assert result.error is not None
    assert "no/such/folder" in result.error.message


def test_flag_is_not_taken_for_the_database(start: Home) -> None:
    """--db followed by another flag lacks its value, and makes no database of that name."""
    schedule = start("schedule", "harbor", "--days", "2025-03-01", "--db", "--json")
    assert schedule.code == 1
    error = schedule.result().error
    assert error is not None
    assert "--db" in error.message
    status = start("status", "--db", "--json")
    assert status.code == 1
    assert "--db" in json.loads(status.stdout)["error"]["message"]
    assert [*start.path.iterdir()] == []


def test_flag_is_not_taken_for_another_flags_value(start: Home) -> None:
    """A flag whose value is missing is named, and --json after it is still heard."""
    error = start("schedule", "harbor", "--days", "2025-03-01", "--data-dir", "--json").result().error
    assert error is not None
    assert "--data-dir" in error.message


def test_query_writes_the_same_bytes_in_every_locale(start: Home) -> None:
    """Away from a terminal text is UTF-8, whatever the locale."""
    assert start("db", "upgrade").code == 0
    arguments = (sys.executable, "-m", "market_spine", "query", "SELECT '\u00e9\u2192' AS a", "--format", "csv")
    environ = {**os.environ, "PYTHONPATH": str(start.site), "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(arguments, cwd=start.path, env=environ, capture_output=True, check=True)
    assert done.stdout == "a\n\u00e9\u2192\n".encode()


def test_errors_of_other_commands_are_one_json_document(start: Home) -> None:
    """With --json a platform command answers an error with {"error": {...}} and exit code 1."""
    done = start("captures", "2025-03-01", "--db", "absent.db", "--json")
    assert done.code == 1
    assert json.loads(done.stdout)["error"]["kind"] == "store_unavailable"
    assert start("captures", "nonsense", "--json").code == 1


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    """Help for the root and for a scheduler is shown without importing frames, models or the terminal library."""
    code = (
        "import sys\n"
        "from market_spine.cli.main import root, run\n"
        "run(root, ['--help'], 'market-spine')\n"
        "heavy = {'polars', 'pydantic', 'rich', 'fsspec', 'zstandard', 'sqlite3', 'psycopg', 'httpx2'}\n"
        "sys.exit(sorted(heavy & set(sys.modules)) or 0)\n"
    )
    done = run_command(cwd=tmp_path, program=("-c", code))
    assert (done.code, done.stderr) == (0, "")


def test_output_cut_off_by_its_reader_is_no_traceback(loaded: Home) -> None:
    """When the reader of stdout goes away early, the command ends without a traceback."""
    sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) SELECT i FROM n"
    arguments = ("query", sql, "--format", "csv")
    process = loaded.popen(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    complaint = process.stderr.read().decode()
    process.stderr.close()
    process.wait()
    assert "Traceback" not in complaint


@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_take_nothing_are_no_traceback(start: Home, redirect: str) -> None:
    """A closed stdout or stderr changes nothing but that nothing is shown."""
    start("sample-data", "harbor", "--out", "in")
    command = 'exec "$0" -m market_spine schedule harbor --days 2025-03-01 --data-dir in --json --log-level ERROR '
    environ = {**os.environ, "PYTHONPATH": str(start.site)}
    done = subprocess.run(
        ["sh", "-c", command + redirect, sys.executable],
        cwd=start.path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert start("runs", "--json").stdout.count('"run_id"') == 1


def test_stdout_without_room_is_an_error_of_one_line(start: Home) -> None:
    """Where stdout takes no more, here a file that may not grow, stderr says so and the exit code is 1."""
    command = 'ulimit -f 0; exec "$0" -m market_spine --version > out.txt'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable], cwd=start.path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert "stdout cannot be written" in done.stderr


@pytest.mark.parametrize(
    ("sql", "form", "said"),
    [
        ("SELECT 1 AS a, 2 AS a, 3 AS b", "json", "called a "),
        ("SELECT 1 AS a, 2 AS a, 3 AS b", "parquet", "called a "),
        ("SELECT 9e999 AS a", "json", "infinite"),
    ],
)
def test_query_refuses_a_format_that_would_lose_values(loaded: Home, sql: str, form: str, said: str) -> None:
    """Columns of one name, and numbers that JSON does not know, are a usage error that names another format."""
    done = loaded("query", sql, "--format", form)
    assert (done.code, done.stdout) == (1, "")
    assert said in done.stderr
    assert "--format csv" in done.stderr
    assert loaded("query", sql, "--format", "csv").code == 0


def test_recorded_result_is_the_printed_one(start: Home) -> None:
    """core_runs keeps the result exactly as it was printed."""
    start("sample-data", "harbor", "--out", "in")
    printed = start("schedule", "harbor", "--days", "2025-03-01", "--data-dir", "in", "--json").result()
    connection = sqlite3.connect(start.path / "data/market_spine.db")
    (kept,) = connection.execute("SELECT result FROM core_runs").fetchone()
    connection.close()
    assert json.loads(kept) == json.loads(printed.to_json())
