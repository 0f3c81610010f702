"""Explaining figures of FINRA's files: down to the line of a file with a header, and to six weeks of inputs."""

from __future__ import annotations

from contextlib import closing
from datetime import date
from pathlib import Path

from market_spine.app.changes import Span, find_changes, moment_of
from market_spine.app.explain import Explanation, explain, parse_key
from market_spine.compose import reader
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

TODAY = date(2025, 12, 23)


def told(db: str, table: str, *key: str) -> Explanation:
    found = next(each for each in DOMAIN.tables if each.name == table)
    partition, wanted = parse_key(DOMAIN, found, key)
    with closing(reader(db)) as store:
        return explain(store, DOMAIN, found, partition, wanted, None)


def test_a_restated_figure_is_explained_down_to_its_line(tmp_path: Path) -> None:
    """Every version of a venue's row names the line of the file that says it; the symbol's week its rows; the
    rolling window six weeks; and ``changes`` finds the same row to have moved."""
    db = str(tmp_path / "spine.db")
    write_sample_data(
        tmp_path / "data", weeks=2, tiers=("OTC",), rows=200, seed=3, run_date=TODAY, revise=False, revise_weeks=()
    )
    flags = {"db": db, "data_dir": str(tmp_path / "data"), "run_date": TODAY, "weeks": "all", "source": "file"}
    first = run_finra_schedule(**flags)  # type: ignore[arg-type]
    file = next((tmp_path / "data").glob("*20251222*"))
    lines = file.read_text().splitlines()
    number = len(lines) // 2
    fields = lines[number].split("|")
    header = lines[0].split("|")
    volume, symbol, mpid = (
        header.index(name) for name in ("totalWeeklyShareQuantity", "issueSymbolIdentifier", "MPID")
    )
    old, new = float(fields[volume]), float(fields[volume]) + 7
    fields[volume] = str(int(new))
    changed = [*lines[:number], "|".join(fields), *lines[number + 1 :]]
    file.write_text("\n".join(changed) + "\n")
    assert run_finra_schedule(**flags).exit_code == 0  # type: ignore[arg-type]
    key = ("week_ending=2025-11-21", "tier=OTC", f"symbol={fields[symbol]}")
    row = told(db, "finra_otc_venue_volume", *key, f"venue_id={fields[mpid]}")
    assert [each.row and each.row["share_volume"] for each in row.versions] == [old, new]
    assert [each.source and (each.source.line, each.source.text) for each in row.versions] == [
        (number + 1, lines[number]),
        (number + 1, changed[number]),
    ]
    week = told(db, "finra_otc_symbol_week", *key)
    volumes = [float(line.split("|")[volume]) for line in changed[1:] if line.split("|")[symbol] == fields[symbol]]
    assert [(each.table, each.total) for each in week.inputs] == [("finra_otc_venue_volume", len(volumes))]
    assert week.versions[-1].row
    assert week.versions[-1].row["share_volume"] == sum(volumes)
    rolling = told(db, "finra_otc_symbol_rolling", *key)
    assert [each.partition_key[:10] for each in rolling.inputs][-2:] == ["2025-11-14", "2025-11-21"]
    assert len(rolling.inputs) == 6
    with closing(reader(db)) as store:
        captures = {run.partition_key: run.capture_id for run in first.runs}
        since = moment_of(store, "--since", str(captures["2025-11-21|OTC"]))
        found = find_changes(store, [(DOMAIN, DOMAIN.tables[0])], Span(since, None), fields[symbol], 5)
    assert [(each.partition.key, tuple(each.diff.change)) for each in found.restated] == [("2025-11-21|OTC", (0, 0, 1))]
    assert [(move.old, move.new) for move in found.movers] == [(old, new)]
