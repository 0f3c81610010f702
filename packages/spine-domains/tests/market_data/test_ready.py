"""When prices are ready for those who wait for a session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from market_spine.cli.main import root
from market_spine.errors import UsageError
from spine.domains.market_data.scheduler import run_prices_schedule


@pytest.fixture
def database(tmp_path: Path) -> str:
    """AAPL loaded up to Thursday, MSFT up to Friday 2026-11-20."""
    path = str(tmp_path / "prices.db")
    for symbol, day in (("AAPL", "2026-11-19"), ("MSFT", "2026-11-20")):
        assert run_prices_schedule(symbols=symbol, source="mock", db=path, run_date=day).exit_code == 0
    return path


def ask(database: str, *flags: str) -> Any:
    return CliRunner().invoke(root, ["ready", "prices", "--db", database, *flags], standalone_mode=False)


def reasons(database: str, *flags: str) -> dict[str, list[str]]:
    document = json.loads(ask(database, "--json", *flags).stdout)
    return {each["partition_key"]: each["reasons"] for each in document["partitions"]}


def test_a_session_is_ready_once_every_symbol_reaches_it(database: str) -> None:
    """By session, by the last session of a week, and by default the latest session that ended before today."""
    late = {"AAPL|mock": ["does not reach to 2026-11-20"], "MSFT|mock": []}
    well: dict[str, list[str]] = {"AAPL|mock": [], "MSFT|mock": []}
    assert reasons(database, "--session", "2026-11-19") == well
    assert reasons(database, "--session", "2026-11-20") == late
    assert reasons(database, "--week", "2026-11-16") == late
    assert reasons(database, "--week", "2026-11-15") == well
    assert reasons(database, "--run-date", "2026-11-20") == well
    assert reasons(database, "--run-date", "2026-11-22") == late
    assert reasons(database, "--session", "2026-11-20", "--partitions", "MSFT|mock") == {"MSFT|mock": []}


def test_a_day_without_a_session_is_refused(database: str) -> None:
    """Thanksgiving is no session; the complaint names the one before it."""
    error = ask(database, "--session", "2026-11-26").exception
    assert isinstance(error, UsageError)
    assert (error.message, error.hint) == (
        "2026-11-26 is no NYSE session",
        "the one before it was 2026-11-25",
    )
