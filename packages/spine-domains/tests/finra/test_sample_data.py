"""Generated files: the real layout, realistic sizes, the same bytes for a seed, and small restatements."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date
from math import log
from pathlib import Path
from statistics import correlation, median
from typing import Any

import pytest

from market_spine.errors import UsageError
from spine.domains.finra.otc_transparency.sample_data import HEADER, write_sample_data
from spine.domains.finra.otc_transparency.schema import TIERS

RUN_DATE = date(2025, 12, 23)
DESCRIPTIONS = {"tier1": "NMS Tier 1", "tier2": "NMS Tier 2", "otc": "OTC"}
SYMBOL, NAME, VENUE, MPID, SHARES, TRADES, UPDATED = range(1, 8)


def write(out: Path, **changes: Any) -> list[Path]:
    arguments: dict[str, Any] = {"weeks": 1, "tiers": TIERS, "rows": 500, "seed": 1, "run_date": RUN_DATE}
    return write_sample_data(out, **arguments | changes)


def read(path: Path) -> list[list[str]]:
    """The fields of each data line."""
    return [line.split("|") for line in path.read_text("ascii").splitlines()[1:]]


def by_name(paths: Sequence[Path]) -> dict[str, Path]:
    return {path.name: path for path in paths}


def test_files_are_named_by_tier_and_publication_date(tmp_path: Path) -> None:
    """Two weeks published by 2025-12-23 are those of Mondays 22 and 15 December, for every tier."""
    assert sorted(path.name for path in write(tmp_path, weeks=2)) == [
        f"finra_otc_weekly_{tier}_{day}.csv" for tier in ("otc", "tier1", "tier2") for day in (20251215, 20251222)
    ]


def test_a_publication_day_itself_counts_as_published(tmp_path: Path) -> None:
    """A week is there on its publication day and not the day before."""
    names = [write(tmp_path, tiers=["OTC"], run_date=date(2025, 12, day))[0].name for day in (14, 15)]
    assert names == ["finra_otc_weekly_otc_20251208.csv", "finra_otc_weekly_otc_20251215.csv"]


def test_files_have_the_real_layout(tmp_path: Path) -> None:
    """Eight fields per line, ASCII, LF, sorted by symbol and MPID, as many rows as asked for, one date."""
    for path in write(tmp_path, weeks=2, rows=700):
        data = path.read_bytes()
        assert data.isascii()
        assert b"\r" not in data
        assert data.endswith(b"\n")
        assert data.splitlines()[0].decode() == HEADER
        rows = read(path)
        tier, published = path.stem.split("_")[-2:]
        assert len(rows) == 700
        assert {len(row) for row in rows} == {8}
        assert {row[0] for row in rows} == {DESCRIPTIONS[tier]}
        assert {row[UPDATED].replace("-", "") for row in rows} == {published}
        keys = [(row[SYMBOL], row[MPID]) for row in rows]
        assert keys == sorted(set(keys))
        assert all(row[VENUE].startswith(f"{row[MPID]} ") for row in rows)
        assert all(int(row[SHARES]) >= int(row[TRADES]) >= 1 for row in rows)


def test_equal_arguments_give_equal_bytes_on_every_machine(tmp_path: Path) -> None:
    """The digest of a seed's files is fixed; another seed gives other files."""

    def digest(folder: str, seed: int) -> str:
        paths = [*write(tmp_path / folder, seed=seed, non_ats=True)]
        paths += write(tmp_path / folder / "revised", seed=seed, non_ats=True, revise=True)
        return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()

    assert digest("one", 7) == "75c48899a976271bde0b6cf3172a587ce3095373930dd68e4d0d677fc390d5d2"
    assert digest("other", 8) != digest("again", 7)


def test_a_week_does_not_depend_on_the_others(tmp_path: Path) -> None:
    """A file is the same whether it is asked for alone or among more weeks, tiers and classes."""
    alone = by_name(write(tmp_path / "alone", tiers=["OTC"]))
    among = by_name(write(tmp_path / "among", weeks=3, non_ats=True))
    for name, path in alone.items():
        assert path.read_bytes() == among[name].read_bytes()


def test_otc_symbols_trade_on_one_two_or_three_venues(tmp_path: Path) -> None:
    """52, 24 and 24 % of the symbols, within four points, as in the real files of November 2025."""
    rows = read(write(tmp_path, tiers=["OTC"], rows=5_000)[0])
    venues = Counter(Counter(row[SYMBOL] for row in rows).values())
    symbols = sum(venues.values())
    assert [100 * venues[count] / symbols for count in (1, 2, 3)] == pytest.approx([52, 24, 24], abs=4)


def test_sizes_are_like_the_real_ones(tmp_path: Path) -> None:
    """OTC rows spread as widely as real ones around 4,000 shares; Tier 1 symbols trade on some twenty ATSs."""
    tier1, _, otc = (read(path) for path in write(tmp_path, rows=5_000))
    shares = sorted(int(row[SHARES]) for row in otc)
    assert 2_000 < median(shares) < 8_000
    assert shares[len(shares) // 20] < 100
    assert shares[-len(shares) // 20] > 100_000
    assert 15 < median(Counter(row[SYMBOL] for row in tier1).values()) < 25


def test_symbols_and_names_have_the_real_oddities(tmp_path: Path) -> None:
    """Class shares with a dot, lower-case suffixes, and names with commas, double spaces and ampersands."""
    rows = [row for path in write(tmp_path, rows=5_000) for row in read(path)]
    symbols = {row[SYMBOL] for row in rows}
    names = {row[NAME] for row in rows}
    assert any("." in symbol for symbol in symbols)
    assert any(symbol != symbol.upper() for symbol in symbols)
    for mark in (",", "  ", " & ", "(", "#", "$"):
        assert any(mark in name for name in names), mark
    tiers_of = defaultdict(set)
    for row in rows:
        tiers_of[row[SYMBOL]].add(row[0])
    assert all(len(tiers) == 1 for tiers in tiers_of.values())


def test_volumes_persist_from_week_to_week_and_still_move(tmp_path: Path) -> None:
    """Nearly all symbols come again, with volumes that correlate strongly but are not the same."""
    first, second = (
        {(row[SYMBOL], row[MPID]): float(row[SHARES]) for row in read(path)}
        for path in write(tmp_path, weeks=2, tiers=["NMS_TIER_2"], rows=3_000)
    )
    both = sorted(first.keys() & second.keys())
    assert 0.85 < len(both) / 3_000 < 1
    assert correlation([log(first[key]) for key in both], [log(second[key]) for key in both]) > 0.9
    assert sum(first[key] == second[key] for key in both) < len(both) / 10


def test_non_ats_files_name_firms_without_mpids(tmp_path: Path) -> None:
    """Each symbol has one De Minimis Firms row, MPIDs are blank, and some volumes are fractional."""
    paths = by_name(write(tmp_path, tiers=["T1"], rows=2_000, non_ats=True))
    assert list(paths) == ["finra_otc_weekly_tier1_20251222.csv", "finra_otc_weekly_tier1_non_ats_20251222.csv"]
    rows = read(paths["finra_otc_weekly_tier1_non_ats_20251222.csv"])
    keys = [(row[SYMBOL], row[VENUE]) for row in rows]
    assert keys == sorted(set(keys))
    assert {row[MPID] for row in rows} == {""}
    unattributed = Counter(row[SYMBOL] for row in rows if row[VENUE] == "De Minimis Firms")
    symbols = {row[SYMBOL] for row in rows}
    assert set(unattributed.values()) == {1}
    assert len(symbols - unattributed.keys()) <= 1  # the last symbol may be cut off by the number of rows
    fractional = [row[SHARES].partition(".")[2] for row in rows if "." in row[SHARES]]
    assert 0.08 < len(fractional) / len(rows) < 0.18
    assert max(map(len, fractional)) == 6


@pytest.mark.soak
@pytest.mark.parametrize(("rows", "most"), [(10, 3), (5_000, 5), (30_000, 30)])
@pytest.mark.parametrize("non_ats", [False, True])
def test_a_restatement_touches_a_thousandth_of_the_rows(tmp_path: Path, rows: int, most: int, non_ats: bool) -> None:
    """Rows are changed, added and removed, each at least once; they alone carry a later date."""
    before = write(tmp_path / "before", tiers=["OTC"], rows=rows, non_ats=non_ats)
    after = write(tmp_path / "after", tiers=["OTC"], rows=rows, non_ats=non_ats, revise=True)
    assert [path.name for path in after] == [path.name for path in before]
    for old_path, new_path in zip(before, after, strict=True):
        old = {(row[SYMBOL], row[VENUE]): row for row in read(old_path)}
        new = {(row[SYMBOL], row[VENUE]): row for row in read(new_path)}
        added, removed = new.keys() - old.keys(), old.keys() - new.keys()
        changed = {key for key in new.keys() & old.keys() if new[key] != old[key]}
        assert min(len(added), len(removed), len(changed)) >= 1
        assert len(added) + len(removed) + len(changed) <= most
        published = next(iter(old.values()))[UPDATED]
        assert all((row[UPDATED] > published) == (key in added | changed) for key, row in new.items())
        assert all(new[key][SHARES] != old[key][SHARES] for key in changed)
        assert len({row[UPDATED] for row in new.values()}) == 2
        order = [(row[SYMBOL], row[MPID], row[VENUE]) for row in read(new_path)]
        assert order == sorted(order)


def test_a_restatement_of_a_week_published_long_ago_is_dated_by_the_run_date(tmp_path: Path) -> None:
    """No row is updated after the day on which the folder looks real."""
    path, *_ = write(tmp_path, tiers=["OTC"], weeks=12, revise=True, revise_weeks=[date(2025, 9, 12)])
    assert max(row[UPDATED] for row in read(path)) <= "2025-12-23"


def test_restated_weeks_can_be_chosen_by_any_day_in_them(tmp_path: Path) -> None:
    """Only the named week's files are written, and only for tiers that have published it."""
    written = write(tmp_path, weeks=3, revise=True, revise_weeks=[date(2025, 11, 26), date(2025, 11, 4)])
    assert [path.name for path in written] == [
        "finra_otc_weekly_tier1_20251215.csv",
        "finra_otc_weekly_tier2_20251208.csv",
        "finra_otc_weekly_otc_20251208.csv",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_tiny_files_have_exactly_the_rows_asked_for(tmp_path: Path, rows: int) -> None:
    """One row is one row, in every tier and class."""
    for path in write(tmp_path, rows=rows, weeks=3, non_ats=True):
        assert len(read(path)) == rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weeks": 0}, "--weeks 0"),
        ({"rows": 0}, "--rows 0"),
        ({"tiers": ["NMS_TIER_3"]}, "NMS_TIER_3"),
        ({"tiers": []}, "no tier"),
        ({"rows": 9, "revise": True}, "--rows 9"),
        ({"revise_weeks": [date(2025, 11, 28)]}, "--revise"),
        ({"revise": True, "revise_weeks": [date(2025, 1, 3)]}, "2025-01-03"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """A usage error names the argument and what to give instead, and nothing is written."""
    with pytest.raises(UsageError) as caught:
        write(tmp_path, **changes)
    assert message in caught.value.message
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in the folder's place is a usage error that names the path."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError) as caught:
        write(tmp_path / "taken")
    assert str(tmp_path / "taken") in caught.value.message
