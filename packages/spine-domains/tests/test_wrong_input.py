"""What every command answers to something that is not there: one line that says what, which and what next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from market_spine.cli.main import root, run

CAPTURE = "finra.otc_transparency:OTC:2025-11-21:20251223"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one week of FINRA's and one symbol."""
    folder = tmp_path_factory.mktemp("wrong")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DATABASE_URL", "store.db")
        for command in (
            "sample-data finra --out data --weeks 1 --rows 20 --run-date 2025-12-23",
            "schedule finra --data-dir data --lookback-weeks 1 --run-date 2025-12-23",
            "schedule prices --symbols AAPL --source mock",
        ):
            assert run(root, command.split(), "market-spine") == 0
    return folder / "store.db"


@pytest.mark.parametrize(
    ("command", "what", "next_step"),
    [
        ("captures 2031-01-03/OTC", "2031-01-03|OTC", "market-spine status"),
        ("captures GOOGL", "'GOOGL'", "a key is such as 'GOOGL|mock'"),
        ("captures 2025-11-21", "2025-11-21|OTC'", "'2025-11-21|NMS_TIER_2'"),
        ("captures AAPL --domain finar", "'finar'", "did you mean 'finra'?"),
        ("captures AAPL --db nowhere.db", "nowhere.db", "--db or DATABASE_URL"),
        (f"payload {CAPTURE}9 --out x", f"{CAPTURE}9", "market-spine captures PARTITION"),
        (f"payload {CAPTURE} --out nowhere/x", "nowhere/x", "folder that can be written"),
        (f"payload {CAPTURE} --out x --part NON", "'NON'", "it has ATS"),
        ("diff 2025-11-21/OTC", "1 accepted capture", "--from and --to"),
        ("diff 2025-11-21/OTC --from x", "'x' is no capture", CAPTURE),
        ("accept x --reason y", "'x'", "market-spine captures PARTITION"),
        ("retract x --reason y", "'x'", "market-spine captures PARTITION"),
        (f"retract {CAPTURE}", "'--reason'", "market-spine retract --help"),
        ("anomalies ack 2025-11-2 late --reason x", "2025-11-2", "such as"),
        ("anomalies --domain price", "'price'", "did you mean 'prices'?"),
        ("status --run-date 2025-02-30", "'2025-02-30'", "YYYY-MM-DD"),
        ("status --run-date 1900-01-01", "1900-01-01", "1993-01-01 to 2050-12-31"),
        ("runs x", "'x'", "market-spine runs lists them"),
        ("runs --partition x|", "x|", "such as"),
        ("ready fnira", "'fnira'", "did you mean 'finra'?"),
        ("ready finra --as-of yesterday", "'yesterday'", "ISO 8601"),
        ("changes --since 2099-01-01", "2099-01-01", "a moment that has passed"),
        ("changes --since 2025-01-01 --table market_data_price", "'market_data_price'", "'market_data_prices'?"),
        ("explain finra_otc_market_wek a=b", "'finra_otc_market_wek'", "did you mean 'finra_otc_market_week'?"),
        ("explain finra_otc_market_week tier=T1", "week_ending=...", "key: week_ending"),
        ("explain finra_otc_market_week tier=T1 week_ending=2031-01-03", "2031-01-03", "market-spine captures"),
        ("apply nowhere.json", "nowhere.json", "--out wrote"),
        ("apply store.db", "store.db", "--mode dry-run --out"),
        ("calendar --domain x", "'x'", "installed domains: finra"),
        ("query FROM", "FROM", "SELECT, WITH or VALUES"),
        ("rebuild --into store.db", "store.db", "move that one away"),
        ("db backup nowhere/x", "nowhere", "create it"),
        ("db chekc", "'chekc'", "did you mean 'check'?"),
        ("sample-data finra --out store.db", "store.db", "market-spine sample-data finra --help"),
        ("schedule finra --tiers T9", "'T9'", "NMS_TIER_1, NMS_TIER_2, OTC"),
        ("schedule finra --partitions T9", "'T9'", "such as 2025-01-03|NMS_TIER_1"),
        ("schedule finra --lookback 4", "'--lookback'", "'--lookback-weeks'"),
        ("schedule prices --symbols ?", "'?'", "such as AAPL"),
        ("schedule prices --symbols-file nowhere", "nowhere", "check the path"),
        ("schedule prcies", "'prcies'", "did you mean 'prices'?"),
        ("qurey x", "'qurey'", "did you mean 'query'?"),
    ],
)
def test_what_is_not_there_is_one_line_and_exit_code_1(
    database: Path,
    command: str,
    what: str,
    next_step: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The line names what was asked for and what to do or to type, nothing is on stdout, and nothing is written."""
    monkeypatch.chdir(database.parent)
    monkeypatch.setenv("DATABASE_URL", str(database))
    code = run(root, command.split(), "market-spine")
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert (code, told.out) == (1, "")
    assert line.startswith("error: ")
    assert what in line
    assert next_step in line
    # SQLite keeps two files of its own beside the database.
    assert {path.name.partition("-")[0] for path in database.parent.iterdir()} == {"store.db", "data"}


@pytest.mark.process
@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", ["", "schedule", "schedule finra", "db check", "anomalies ack", "query"])
def test_help_has_a_short_flag_everywhere(command: str, flag: str) -> None:
    """-h and --help show the help of every command, and end well."""
    words = [sys.executable, "-m", "market_spine", *command.split(), flag]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: {' '.join(['market-spine', *command.split()])} ")
