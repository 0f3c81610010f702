"""The platform's views: exchange sessions, and the quality of each partition, on both stores."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from market_spine import registry
from market_spine.app.scheduling import SchedulerResult
from market_spine.app.states import states_of
from market_spine.cli.main import root
from market_spine.compose import reader
from market_spine.core import calendar

pytestmark = pytest.mark.usefixtures("harbor")

Run = Callable[..., SchedulerResult]
QUALITY = (
    "SELECT partition_key, capture_id, row_count, rejected, rejected_share, verified, revisions, open_errors,"
    " open_warnings, acknowledged FROM core_partition_quality WHERE domain = 'harbor' ORDER BY partition_key"
)
SHIPS = "".join(f"ship{number} {number}\n" for number in range(1, 25))


def rows(database: str, sql: str, as_of: str | None = None) -> list[tuple[Any, ...]]:
    with closing(reader(database)) as store:
        return list(store.query(sql, as_of).rows)


def test_sessions_are_those_of_the_calendar(run: Run, database: str) -> None:
    """Every day that the exchange opens, numbered, with the Friday of its week and whether it closes early; as of
    any moment the same."""
    run("2025-03-01")
    day, number, expected = calendar.FIRST_DAY, 0, []
    while day <= calendar.LAST_DAY:
        if day.weekday() < 5 and day not in calendar.CLOSURES:
            number += 1
            friday = day + timedelta(days=4 - day.weekday())
            expected.append((str(day), number, str(friday), day in calendar.EARLY_CLOSES))
        day += timedelta(days=1)
    sql = "SELECT session, number, week_ending, early_close FROM core_sessions ORDER BY number"
    found = rows(database, sql)
    assert found == expected
    years = [sum(row[0].startswith(year) for row in found) for year in ("2024", "2025")]
    assert years == [252, 250]
    around = "SELECT session FROM core_sessions WHERE session BETWEEN '2025-01-07' AND '2025-01-10' ORDER BY 1"
    # The national day of mourning for Jimmy Carter.
    assert rows(database, around, "2025-01-01") == [("2025-01-07",), ("2025-01-08",), ("2025-01-10",)]


def test_the_quality_of_each_partition(run: Run, folder: Path, database: str) -> None:
    """Rows and rejects of what is current, restatements that stand, anomalies that are open or set aside."""
    first, second, third = "2025-03-01", "2025-03-02", "2025-03-03"
    (folder / f"{first}.txt").write_text(SHIPS + "ada ten\n")
    (folder / "2025-03-04.txt").write_text("<html>")
    run(f"{first},{second},{third},2025-03-04")
    capture = f"harbor:{first}:20250309"
    assert rows(database, QUALITY) == [
        (first, capture, 24, 1, 1 / 25, False, 0, 0, 1, 0),
        (second, f"harbor:{second}:20250309", 1, 0, 0.0, False, 0, 0, 0, 0),
        (third, f"harbor:{third}:20250309", 2, 0, 0.0, False, 0, 0, 0, 0),
        ("2025-03-04", None, None, None, None, None, 0, 1, 0, 0),
    ]
    (moment,) = rows(database, "SELECT MAX(recorded_at) FROM core_runs")[0]
    (folder / f"{second}.txt").write_text("ada 31\n")
    (folder / f"{third}.txt").write_text("<html>")
    run(f"{second},{third}")
    (folder / f"{second}.txt").write_text("ada 32\n")
    run(second)
    command("retract", f"harbor:{second}:20250309.3", "--reason", "a test file", "--db", database)
    command("anomalies", "ack", third, "html", "--reason", "known", "--db", database)
    assert rows(database, QUALITY)[1:3] == [
        (second, f"harbor:{second}:20250309.2", 1, 0, 0.0, False, 1, 0, 0, 0),
        (third, f"harbor:{third}:20250309", 2, 0, 0.0, False, 0, 0, 0, 1),
    ]
    command("retract", capture, "--reason", "a test file", "--db", database)
    assert rows(database, QUALITY)[0][:6] == (first, None, None, None, None, None)
    assert [row[0] for row in rows(database, QUALITY, str(moment))] == [first, second, third, "2025-03-04"]
    assert rows(database, QUALITY, str(moment))[1][6] == 0
    assert_like_the_grid(database)


def command(*arguments: str) -> None:
    assert CliRunner().invoke(root, arguments, standalone_mode=False).return_value == 0


def assert_like_the_grid(database: str) -> None:
    """What ``status`` says of captures, restatements and anomalies is what the view says."""
    harbor = registry.find("harbor")
    with closing(reader(database)) as store:
        partitions = [harbor.partition(key) for key, *_ in store.query(QUALITY).rows]
        told = [
            (
                state.partition_key,
                state.capture_id,
                state.revisions,
                len(state.problems),
                len(state.warnings),
                len(state.acknowledged),
            )
            for state in states_of(store, harbor, date(2025, 3, 9), partitions)
        ]
        assert [(row[0], row[1], *row[6:]) for row in store.query(QUALITY).rows] == told
