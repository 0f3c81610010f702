"""``schedule_prices.py`` as the guide describes it: flags, sources, files of symbols, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from market_spine.app.scheduling import SchedulerResult
from spine.domains.market_data.cli import schedule

REPOSITORY = Path(__file__).resolve().parents[4]
SCRIPT = REPOSITORY / "scripts" / "schedule_prices.py"


def start(program: Sequence[str], folder: Path, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    unset = ("PRICE_SOURCE", "ALPHA_VANTAGE_API_KEY", "POLYGON_API_KEY", "MASSIVE_API_KEY", "DATABASE_URL")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run(
        [*program, *flags], cwd=folder, env={**environment, **variables}, capture_output=True, text=True, check=False
    )


def script(folder: Path, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return start([sys.executable, str(SCRIPT)], folder, *flags, **variables)


def command(folder: Path, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    code = "from market_spine.cli.main import main; main()"
    return start([sys.executable, "-c", code, "schedule", "prices"], folder, *flags, **variables)


def test_flags_and_defaults_are_those_of_the_guide() -> None:
    """Every flag of the guide's table exists, with its default."""
    values = schedule.make_context("prices", []).params
    assert values == {
        "symbols": None,
        "symbols_file": None,
        "source": None,
        "outputsize": "compact",
        "sleep": "12.0",
        "max_symbols": "25",
        "mode": "run",
        "force": False,
        "only_stage": "all",
        "fail_fast": False,
        "db": None,
        "log_level": "INFO",
        "as_json": False,
        "run_date": None,
        "workers": "1",
        "first": None,
        "last": None,
        "partitions": None,
        "only": None,
        "shard": None,
        "executor": None,
        "out": None,
        "overwrite": False,
        "metrics_file": None,
    }


@pytest.mark.process
@pytest.mark.parametrize("program", [script, command])
def test_the_guides_examples(program: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    """Each example of the guide does what it says, as a script and as a command."""
    mock = {"PRICE_SOURCE": "mock"}
    loaded = program(tmp_path, "--symbols", "AAPL,MSFT,GOOGL", **mock)
    assert loaded.returncode == 0, loaded.stderr
    assert "3 partitions attempted, 3 succeeded" in loaded.stdout
    assert (tmp_path / "data" / "market_spine.db").is_file()
    (tmp_path / "symbols.txt").write_text("# watch list\nAAPL\n\nNVDA # new\n")
    listed = json.loads(program(tmp_path, "--symbols-file", "symbols.txt", "--json", **mock).stdout)
    assert (listed["stats"]["succeeded"], listed["stats"]["skipped"]) == (1, 1)
    planned = program(tmp_path, "--symbols", "AAPL", "--mode", "dry-run", "--json")
    document = SchedulerResult.from_json(planned.stdout)
    assert (planned.returncode, document.status) == (0, "dry_run")
    assert "ALPHA_VANTAGE_API_KEY" in document.warnings[0]


@pytest.mark.process
def test_a_dry_run_writes_and_asks_nothing(tmp_path: Path) -> None:
    """A plan of new symbols makes no call and no file."""
    answer = script(
        tmp_path, "--symbols", "AAPL", "--mode", "dry-run", "--source", "polygon", POLYGON_URL="http://127.0.0.1:9"
    )
    assert answer.returncode == 0, answer.stdout
    assert "planned" in answer.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
@pytest.mark.parametrize(
    ("flags", "kind", "words"),
    [
        ((), "usage", "--symbols or --symbols-file is required"),
        (("--symbols", ""), "usage", "--symbols names no symbol"),
        (("--symbols", "AAPL,A B"), "usage", "--symbols: 'A B'"),
        (("--symbols-file", "missing.txt"), "usage", "missing.txt cannot be read"),
        (("--symbols", "AAPL", "--source", "yahoo"), "usage", "one of alpha_vantage, mock, polygon"),
        (("--symbols", "AAPL", "--outputsize", "huge"), "usage", "--outputsize: 'huge'"),
        (("--symbols", "AAPL", "--sleep", "-1"), "usage", "--sleep: '-1'"),
        (("--symbols", "AAPL", "--max-symbols", "0"), "usage", "--max-symbols: '0'"),
        (("--symbols", "AAPL", "--colour"), "usage", "--colour"),
        (("--symbols", "AAPL"), "no_source", "no price source is chosen"),
        (("--symbols", "AAPL", "--source", "polygon"), "no_key", "polygon needs a key"),
    ],
)
def test_bad_arguments_exit_1_with_one_document(flags: tuple[str, ...], kind: str, words: str, tmp_path: Path) -> None:
    """Whatever is wrong with the flags, the exit code is 1 and stdout one result that says what."""
    answer = script(tmp_path, *flags, "--json")
    document = SchedulerResult.from_json(answer.stdout)
    assert (answer.returncode, document.status) == (1, "failure")
    assert document.error is not None
    assert document.error.kind == kind
    assert words in document.error.message + document.error.hint


def test_a_missing_source_is_told_with_all_ways_to_choose_one(desk: Any) -> None:
    """Without source a run names the flag, PRICE_SOURCE and each vendor's key."""
    hint = desk.run("AAPL").error.hint
    for way in ("--source", "PRICE_SOURCE", "ALPHA_VANTAGE_API_KEY", "POLYGON_API_KEY", "MASSIVE_API_KEY"):
        assert way in hint


def test_the_source_is_chosen_by_flag_then_variable_then_key(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """--source beats PRICE_SOURCE, which beats the vendor whose key is set; of two keys the choice is told."""

    def chosen(**flags: Any) -> str:
        return str(desk.run("AAPL", mode="dry-run", **flags).config["source"])

    monkeypatch.setenv("MASSIVE_API_KEY", "K")
    assert chosen() == "polygon"
    monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", "K")
    assert chosen() == "alpha_vantage"
    assert "polygon" in desk.run("AAPL", mode="dry-run").warnings[0]
    monkeypatch.setenv("PRICE_SOURCE", "mock")
    assert chosen() == "mock"
    assert chosen(source="polygon") == "polygon"


def test_mock_is_the_same_everywhere_and_never_waits(desk: Any) -> None:
    """The invented source needs no pause, writes no request, and gives bars of closed sessions only."""
    result = desk.run("AAPL,MSFT", source="mock", sleep=12)
    assert (result.exit_code, desk.waits) == (0, [])
    assert desk.rows("SELECT COUNT(*) FROM core_requests") == [(0,)]
    rows = "SELECT COUNT(*), MIN(trade_date), MAX(trade_date) FROM market_data_prices WHERE symbol = 'AAPL'"
    assert desk.rows(rows) == [(100, "2026-07-06", "2026-11-23")]
    assert result.runs[0].capture_id == "market_data:AAPL:mock:20261123"


def test_a_rerun_fetches_only_what_is_due(desk: Any) -> None:
    """What holds the latest closed session is skipped; after the next close one bar is added."""
    desk.run("AAPL", source="mock")
    again = desk.run("AAPL,MSFT", source="mock")
    assert [(run.partition_key, run.reason) for run in again.runs if run.reason] == [("AAPL|mock", "up_to_date")]
    desk.wait(timedelta(hours=22))
    assert desk.run("AAPL", source="mock").stats.skipped == 1
    desk.wait(timedelta(hours=2))
    run = desk.run("AAPL", source="mock").runs[0]
    assert (run.revision_summary.rows_added, run.is_revision) == (1, False)


def test_full_history_brings_splits_and_dividends_once(desk: Any) -> None:
    """A full run after a compact one adds what is older; a second full run finds nothing to do."""
    desk.run("AAPL", source="mock")
    run = desk.run("AAPL", source="mock", outputsize="full").runs[0]
    assert run.revision_summary.rows_added == run.row_count - 100
    assert desk.rows("SELECT ex_date FROM market_data_splits") == [("2020-08-31",)]
    assert desk.rows("SELECT COUNT(*) FROM market_data_dividends") == [(48,)]
    assert desk.run("AAPL", source="mock", outputsize="full").stats.skipped == 1
    assert desk.run("AAPL", source="mock").stats.skipped == 1


def test_symbols_beyond_the_limit_are_named_and_rotate(desk: Any, tmp_path: Path) -> None:
    """Of seven symbols a run takes three; three runs take all of them, each naming what it left."""
    names = [f"S{number}" for number in range(7)]
    file = tmp_path / "list.txt"
    file.write_text("\n".join(names))
    flags: dict[str, Any] = {"source": "mock", "symbols_file": str(file), "max_symbols": 3}
    first = desk.run(None, **flags)
    assert first.config["symbols"] == names[:3]
    assert "S3, S4, S5, S6" in first.warnings[0]
    desk.wait(timedelta(minutes=1))
    assert desk.run(None, **flags).config["symbols"] == names[3:6]
    desk.wait(timedelta(minutes=1))
    assert "S6" in desk.run(None, **flags).config["symbols"]
    assert desk.rows("SELECT COUNT(DISTINCT symbol) FROM market_data_prices") == [(7,)]


def test_run_date_is_the_last_session_wanted(desk: Any) -> None:
    """With --run-date nothing after that day is loaded, and captures are named by it."""
    run = desk.run("AAPL", source="mock", run_date="2026-11-07").runs[0]
    assert run.capture_id == "market_data:AAPL:mock:20261107"
    assert desk.rows("SELECT MAX(trade_date) FROM market_data_prices") == [("2026-11-06",)]


def test_workers_change_nothing_but_time(desk: Any, tmp_path: Path) -> None:
    """With four workers the result and the rows are those of one."""
    symbols = ",".join(f"S{number}" for number in range(5))
    alone = desk.run(symbols, source="mock")
    rows = desk.rows("SELECT * FROM market_data_prices_adjusted ORDER BY symbol, trade_date")
    desk.db = str(tmp_path / "other.db")
    together = desk.run(symbols, source="mock", workers=4)
    assert [run.partition_key for run in together.runs] == [run.partition_key for run in alone.runs]
    columns = len(rows[0]) - 1  # all but captured_at
    again = desk.rows("SELECT * FROM market_data_prices_adjusted ORDER BY symbol, trade_date")
    assert [row[:columns] for row in again] == [row[:columns] for row in rows]


def test_a_stopped_run_leaves_the_rest(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to stop, a run that waits for its quota gives up the symbol in hand and names the others."""
    from market_spine.compose import Hooks
    from spine.domains.market_data.scheduler import run_prices_schedule

    monkeypatch.setenv("POLYGON_API_KEY", "K")
    monkeypatch.setenv("POLYGON_URL", "http://127.0.0.1:9")
    waits: list[float] = []
    result = run_prices_schedule(
        symbols="A,B",
        source="polygon",
        db=desk.db,
        hooks=Hooks(clock=lambda: datetime(2026, 11, 23, 21, 30, tzinfo=UTC), stop=lambda: len(waits) > 3),
        pause=waits.append,
    )
    assert (result.exit_code, len(waits)) == (1, 4)
    assert result.runs[0].error is not None
    assert result.runs[0].error.kind == "interrupted"
    assert "stopped by a signal while waiting" in result.runs[0].error.message
    assert "B|polygon" in result.warnings[-1]


def test_today_in_new_york_decides(desk: Any) -> None:
    """Shortly after midnight UTC it is still the evening before in New York: that session is the latest."""
    desk.now = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
    desk.run("AAPL", source="mock")
    assert desk.rows("SELECT MAX(trade_date) FROM market_data_prices") == [(date(2026, 11, 23).isoformat(),)]


def test_postgresql_holds_the_same(desk: Any, new_postgres: Callable[..., str]) -> None:
    """On a PostgreSQL server the same runs leave the same rows, views of both rooms included."""
    sql = (
        "SELECT symbol, trade_date, close, volume, split_factor, dividend_factor, capture_id"
        " FROM market_data_prices_adjusted ORDER BY symbol, trade_date"
    )

    def load() -> list[Any]:
        desk.now = datetime(2026, 11, 20, 21, 30, tzinfo=UTC)
        desk.run("AAPL,MSFT", source="mock")
        desk.wait(timedelta(days=3))
        desk.run("AAPL", source="mock", outputsize="full")
        assert desk.rows("SELECT COUNT(*) FROM off_exchange_week") == [(0,)]
        early = desk.rows(sql, datetime(2026, 11, 21, tzinfo=UTC))
        assert len(early) == 200
        return [early, desk.rows(sql), desk.rows("SELECT * FROM market_data_symbol_week ORDER BY symbol, week_ending")]

    embedded = load()
    desk.db = new_postgres()
    served = load()
    assert [[row[:7] for row in rows] for rows in served] == [[row[:7] for row in rows] for rows in embedded]
