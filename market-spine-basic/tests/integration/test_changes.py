"""What was restated between two moments equals what an independent model of the same history says."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from market_spine import registry
from market_spine.app.changes import Changes, Span, choose_tables, find_changes, moment_of
from market_spine.app.scheduling import SchedulerResult
from market_spine.cli.main import root
from market_spine.compose import reader
from market_spine.errors import UsageError

pytestmark = [pytest.mark.soak, pytest.mark.usefixtures("harbor")]

Run = Callable[..., SchedulerResult]
DAYS = [f"2025-03-0{number}" for number in range(1, 5)]
Known = dict[str, dict[str, float]]
"""Day to ship to tons."""


def found(database: str, span: Span, table: str = "harbor_landing", most: int = 3) -> Changes:
    with closing(reader(database)) as store:
        return find_changes(store, choose_tables([registry.find("harbor")], table, None), span, None, most)


def moments(database: str) -> list[datetime]:
    with closing(reader(database)) as store:
        rows = store.query("SELECT recorded_at FROM core_runs ORDER BY 1").rows
    return [datetime.fromisoformat(str(row[0])).astimezone(UTC) for row in rows]


def expected(before: Known, after: Known) -> dict[str, tuple[int, int, int, float, float | None]]:
    """Day to rows added, removed, changed, tons before and after, by plain dictionaries."""
    told: dict[str, tuple[int, int, int, float, float | None]] = {}
    for day, old in before.items():
        new = after[day]
        counts = (
            len(new.keys() - old.keys()),
            len(old.keys() - new.keys()),
            sum(old[ship] != new[ship] for ship in old.keys() & new.keys()),
        )
        if any(counts):
            told[day] = (*counts, sum(old.values()), sum(new.values()) if new else None)
    return told


def movers(before: Known, after: Known) -> list[float]:
    """How far each ship of each day moved, largest first."""
    by = [after[day].get(ship, 0) - before[day].get(ship, 0) for day in before for ship in {*before[day], *after[day]}]
    return sorted((abs(each) for each in by if each), reverse=True)


@pytest.mark.parametrize("seed", range(4))
def test_changes_equal_a_model_of_random_histories(
    run: Run, folder: Path, database: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partitions, counts, totals and the largest moves between every two moments, on histories drawn by lot, however
    many partitions are compared together."""
    dice = Random(seed)
    monkeypatch.setattr("market_spine.core.partition._ROWS", (1, 10, 20, 1_000)[seed])
    states: list[Known] = []
    for _ in range(5):
        state = dict(states[-1]) if states else {}
        for day in dice.sample(DAYS, dice.randint(1, 3)):
            ships = dice.sample("abcdefgh", dice.randint(4, 7))
            state[day] = {ship: float(dice.randint(1, 5)) for ship in ships}
            (folder / f"{day}.txt").write_text("".join(f"{ship} {tons}\n" for ship, tons in state[day].items()))
        assert run(",".join(DAYS[:4]), run_date="2025-03-09", force=True).exit_code in (0, 2)
        states.append({day: state.get(day) or _given(folder, day) for day in DAYS if (folder / f"{day}.txt").exists()})
    ends = moments(database)
    assert len(ends) == len(states)
    for early in range(len(states)):
        for late in range(early, len(states)):
            until = ends[late] if late < len(states) - 1 else None
            changes = found(database, Span(ends[early], until))
            before, after = states[early], states[late]
            assert {
                each.partition.key: (*each.diff.change, each.before["tons"], each.after["tons"])
                for each in changes.restated
            } == expected(before, after)
            assert changes.first_loaded == len(after.keys() - before.keys())
            assert [abs(each.by) for each in changes.movers] == movers(before, after)[:3]


def _given(folder: Path, day: str) -> dict[str, float]:
    lines = (folder / f"{day}.txt").read_text().splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines}


def test_a_capture_stands_for_its_moment_and_derived_tables_are_compared_too(
    run: Run, folder: Path, database: str
) -> None:
    """Since a capture is since it became current; a window restates where a day before it was restated."""
    first = run().runs[0].capture_id
    (folder / "2025-03-01.txt").write_text("ada 11\nbela 20\n")
    run()
    with closing(reader(database)) as store:
        since = moment_of(store, "--since", str(first))
        with pytest.raises(UsageError, match="--since: 'yesterday' is neither a moment nor a capture"):
            moment_of(store, "--since", "yesterday")
    recent = found(database, Span(moments(database)[0], None), "harbor_recent")
    assert [each.partition.key for each in recent.restated] == ["2025-03-01", "2025-03-02", "2025-03-03"]
    landing = found(database, Span(since, None))
    assert [(each.partition.key, tuple(each.diff.change)) for each in landing.restated] == [("2025-03-01", (0, 0, 1))]
    assert landing.first_loaded == 2


def test_what_was_first_loaded_within_the_span_is_counted_by_what_it_holds(
    run: Run, folder: Path, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Since before the first commit everything is new, refused and held payloads are not, nor what a retraction left
    empty; it is told once that nothing was known."""
    (folder / "2025-03-02.txt").write_text("<html>")
    (folder / "2025-03-03.txt").write_text("ada five\n")
    capture = run("2025-03-01,2025-03-02,2025-03-03,2025-03-04").runs[0].capture_id
    since = datetime(2020, 1, 1, tzinfo=UTC)
    caplog.clear()
    assert (found(database, Span(since, None)).first_loaded, len(caplog.records)) == (1, 1)
    retract = ["retract", str(capture), "--reason", "a test file"]
    assert market_spine(database, *retract).return_value == 0
    assert found(database, Span(since, None)).first_loaded == 0
    assert found(database, Span(since, moments(database)[0])).first_loaded == 1


def market_spine(database: str, *arguments: str) -> Any:
    return CliRunner().invoke(root, [*arguments, "--db", database], standalone_mode=False)


def test_the_command_tells_what_moved(run: Run, folder: Path, database: str) -> None:
    """JSON and a table tell the same; what contradicts itself is refused."""
    run()
    since = (moments(database)[0] + timedelta(microseconds=1)).isoformat()
    (folder / "2025-03-03.txt").write_text("ada 6\ndora 1\n")
    run()
    arguments = ["changes", "--since", since, "--table", "harbor_landing", "--domain", "harbor"]
    told = json.loads(market_spine(database, *arguments, "--json").stdout)
    assert told["restated"] == [
        {
            "domain": "harbor",
            "partition_key": "2025-03-03",
            "table": "harbor_landing",
            "rows_added": 1,
            "rows_removed": 1,
            "rows_changed": 1,
            "totals": {"tons": {"before": 12.0, "after": 7.0}},
        }
    ]
    assert [(move["key"]["ship"], move["by"]) for move in told["movers"]] == [("caro", -7), ("dora", 1), ("ada", 1)]
    assert "+1 -1 ~1" in market_spine(database, *arguments).stdout
    for wrong in (["--until", "2020-01-01"], ["--table", "nothing"], ["--symbol", "X"], ["--json", "--format", "csv"]):
        assert isinstance(market_spine(database, *arguments, *wrong).exception, UsageError)
    everything = ["changes", "--since", since, "--domain", "harbor", "--format", "csv"]
    assert isinstance(market_spine(database, *everything).exception, UsageError)


def test_every_restated_row_is_written_typed(run: Run, folder: Path, database: str) -> None:
    """As CSV, JSON and Parquet: added, removed and changed rows, each value before and after."""
    run()
    since = (moments(database)[0] + timedelta(microseconds=1)).isoformat()
    arguments = ["changes", "--since", since, "--table", "harbor_landing", "--format"]
    columns = ["partition_key", "change", "day", "ship", "tons_before", "tons_after"]

    def parquet() -> pl.DataFrame:
        return pl.read_parquet(BytesIO(market_spine(database, *arguments, "parquet").stdout_bytes))

    assert (parquet().height, parquet().columns) == (0, columns)
    assert parquet().schema["day"] == pl.Date
    assert market_spine(database, *arguments, "csv").stdout == ",".join(columns) + "\n"
    assert json.loads(market_spine(database, *arguments, "json").stdout) == []
    (folder / "2025-03-03.txt").write_text("ada 6\ndora 1\n")
    (folder / "2025-03-01.txt").write_text("ada 10\nbela 21\n")
    run()
    first, third = date(2025, 3, 1), date(2025, 3, 3)
    assert parquet().rows() == [
        ("2025-03-01", "changed", first, "bela", 20.0, 21.0),
        ("2025-03-03", "changed", third, "ada", 5.0, 6.0),
        ("2025-03-03", "removed", third, "caro", 7.0, None),
        ("2025-03-03", "added", third, "dora", None, 1.0),
    ]
    assert market_spine(database, *arguments, "csv").stdout.splitlines()[1:] == [
        "2025-03-01,changed,2025-03-01,bela,20.0,21.0",
        "2025-03-03,changed,2025-03-03,ada,5.0,6.0",
        "2025-03-03,removed,2025-03-03,caro,7.0,",
        "2025-03-03,added,2025-03-03,dora,,1.0",
    ]
    rows = json.loads(market_spine(database, *arguments, "json").stdout)
    assert rows[2] == dict(zip(columns, ["2025-03-03", "removed", "2025-03-03", "caro", 7.0, None], strict=True))
