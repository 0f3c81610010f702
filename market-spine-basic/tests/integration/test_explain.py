"""Why a row is what it is: versions, source lines and inputs, against what the files of a history said."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from market_spine import registry
from market_spine.app.changes import choose_tables
from market_spine.app.explain import Explanation, explain, parse_key
from market_spine.app.scheduling import SchedulerResult
from market_spine.cli.main import root
from market_spine.compose import reader
from market_spine.errors import UsageError

pytestmark = [pytest.mark.soak, pytest.mark.usefixtures("harbor")]

Run = Callable[..., SchedulerResult]


def told(database: str, table: str, *key: str) -> Explanation:
    ((domain, found),) = choose_tables(registry.domains(), table, None)
    partition, wanted = parse_key(domain, found, key)
    with closing(reader(database)) as store:
        return explain(store, domain, found, partition, wanted, None)


@pytest.mark.parametrize("seed", range(4))
def test_versions_and_lines_are_those_of_the_files(run: Run, folder: Path, database: str, seed: int) -> None:
    """Each ship's versions are the distinct figures of the files, each with the line that says it, in any order."""
    dice = Random(seed)
    figures: dict[str, list[tuple[float | None, str | None, int | None]]] = {ship: [] for ship in "abcdefgh"}
    for _ in range(4):
        lines = [f"{ship} {dice.randint(1, 3)}.0" for ship in dice.sample("abcdefgh", dice.randint(4, 8))]
        (folder / "2025-03-01.txt").write_text("\n".join(lines) + "\n")
        run("2025-03-01", force=True)
        for ship, known in figures.items():
            here = [(number, line) for number, line in enumerate(lines, 1) if line.startswith(ship)]
            now = (float(here[0][1].split()[1]), here[0][1], here[0][0]) if here else (None, None, None)
            if (known[-1][0] if known else None) != now[0]:
                known.append(now)
    for ship, known in figures.items():
        if not known:
            with pytest.raises(UsageError, match="never had a row"):
                told(database, "harbor_landing", "day=2025-03-01", f"ship={ship}")
            continue
        versions = told(database, "harbor_landing", "day=2025-03-01", f"ship={ship}").versions
        assert [
            (
                each.row and each.row["tons"],
                each.source.text if each.source else None,
                each.source.line if each.source else None,
            )
            for each in versions
        ] == known
        assert all(before.since < after.since for before, after in pairwise(versions))


@pytest.mark.parametrize("seed", range(3))
def test_totals_and_windows_are_explained_as_a_model_of_the_history_has_them(
    run: Run, folder: Path, database: str, seed: int
) -> None:
    """Versions of computed rows, and the rows and captures they stand on, in histories drawn by lot."""
    dice = Random(seed)
    known: dict[str, dict[str, float]] = {}
    captures: dict[str, int] = {}
    totals: dict[str, list[float]] = {day: [] for day in DAYS}
    windows: dict[str, list[float]] = {day: [] for day in DAYS}
    for day in DAYS:
        (folder / f"{day}.txt").unlink(missing_ok=True)
    for _ in range(5):
        for day in dice.sample(DAYS, dice.randint(1, 2)):
            ships = {ship: float(dice.randint(1, 3)) for ship in dice.sample("abcd", dice.randint(2, 4))}
            (folder / f"{day}.txt").write_text("".join(f"{ship} {tons}\n" for ship, tons in ships.items()))
            captures[day] = captures.get(day, 0) + (known.get(day) != ships)
            known[day] = ships
        run(",".join(known), force=True)
        for place, day in enumerate(DAYS):
            if day in known:
                note(totals[day], sum(known[day].values()))
                note(
                    windows[day], sum(sum(known.get(near, {}).values()) for near in DAYS[max(0, place - 2) : place + 1])
                )
    for place, day in enumerate(DAYS):
        if day not in known:
            continue
        total = told(database, "harbor_total", f"day={day}")
        assert distinct(total) == totals[day]
        (inputs,) = total.inputs
        assert {row["ship"]: row["tons"] for row in inputs.rows} == known[day]
        window = told(database, "harbor_recent", f"day={day}")
        assert distinct(window) == windows[day]
        told_days = [each.partition_key for each in window.inputs][-(place + 1) :]
        assert told_days == DAYS[max(0, place - 2) : place + 1]
        for each in window.inputs:
            number = captures.get(each.partition_key, 0)
            suffix = "" if number < 2 else f".{number}"
            assert each.capture_id == (f"harbor:{each.partition_key}:20250309{suffix}" if number else None)
            assert [row["tons"] for row in each.rows] == totals.get(each.partition_key, [])[-1:]


DAYS = ["2025-03-01", "2025-03-02", "2025-03-03", "2025-03-04"]


def note(figures: list[float], now: float) -> None:
    """Add what a figure has become, unless it stayed the same."""
    if figures[-1:] != [now]:
        figures.append(now)


def distinct(explained: Explanation) -> list[float]:
    """The tons of each version, one for each run of equal ones: versions differ in other columns, too."""
    found: list[float] = []
    for each in explained.versions:
        note(found, each.row["tons"] if each.row else 0.0)
    return found


def test_computed_and_windowed_rows_name_their_inputs(run: Run, folder: Path, database: str) -> None:
    """A total names the rows below it; a window the totals of its days, absent ones too, each with its capture."""
    first = run("2025-03-02,2025-03-03")
    (folder / "2025-03-02.txt").write_text("ada 30\ncaro 8\n")
    run("2025-03-02,2025-03-03")
    total = told(database, "harbor_total", "day=2025-03-02")
    assert [each.row and each.row["tons"] for each in total.versions] == [30.0, 38.0]
    assert total.versions[0].run_id == first.run_id
    assert [(each.table, each.total, each.rows) for each in total.inputs] == [
        (
            "harbor_landing",
            2,
            [
                {"day": total.key["day"], "ship": "ada", "tons": 30.0},
                {"day": total.key["day"], "ship": "caro", "tons": 8.0},
            ],
        )
    ]
    window = told(database, "harbor_recent", "day=2025-03-03")
    assert [each.row and each.row["tons"] for each in window.versions] == [42.0, 50.0]
    assert [(each.partition_key, each.total, each.capture_id) for each in window.inputs] == [
        ("2025-03-01", 0, None),
        ("2025-03-02", 1, "harbor:2025-03-02:20250309.2"),
        ("2025-03-03", 1, "harbor:2025-03-03:20250309"),
    ]


def market_spine(database: str, *arguments: str) -> Any:
    return CliRunner().invoke(root, [*arguments, "--db", database], standalone_mode=False)


def test_the_command_tells_versions_since_a_moment_and_refuses_unclear_keys(
    run: Run, folder: Path, database: str
) -> None:
    """JSON and text tell the same; a key that fits several rows, or none, says what to name."""
    run("2025-03-01")
    (folder / "2025-03-01.txt").write_text("bela 20\nada 11\n")
    later = run("2025-03-01").runs[0].capture_id
    arguments = ("explain", "harbor_landing", "day=2025-03-01", "ship=ada")
    document = json.loads(market_spine(database, *arguments, "--json").stdout)
    assert document["versions"][1]["changed"] == {"tons": {"before": 10.0, "after": 11.0}}
    assert document["versions"][1]["source"]["line"] == 2
    assert [each["capture_id"] for each in document["versions"]] == ["harbor:2025-03-01:20250309", later]
    since = json.loads(market_spine(database, *arguments, "--since", str(later), "--json").stdout)
    assert since["versions"] == [{**document["versions"][1], "changed": {}}]
    text = market_spine(database, *arguments).stdout
    assert "tons 10.0 -> 11.0" in text
    assert "line 2: ada 11" in text
    for key, words in (
        (["day=2025-03-01"], "2 rows of harbor_landing"),
        (["ship=ada"], "harbor_landing needs day=..."),
        (["day=2025-03-01", "captain=x"], "'captain=x' names no column"),
        (["day=yesterday"], "day: 'yesterday' is no date"),
        (["day=2025-03-01", "ship=zoe"], "never had a row"),
    ):
        error = market_spine(database, "explain", "harbor_landing", *key).exception
        assert isinstance(error, UsageError)
        assert words in error.message
