"""A file is compared with what is known: held, warned of, or let through by its keys and the sizes per key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import reader
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

HEADER = (
    "tierDescription|issueSymbolIdentifier|issueName|marketParticipantName|MPID|"
    "totalWeeklyShareQuantity|totalWeeklyTradeCount"
)
WEEK = "2025-11-21"
WEEKS = ["2025-10-03", "2025-10-10", "2025-10-17", "2025-10-24", "2025-10-31", "2025-11-07", "2025-11-14", WEEK]
Sizes = Mapping[str, tuple[int, int]]
Loaded = Callable[..., object]


def sizes(count: int = 400, start: int = 0) -> dict[str, tuple[int, int]]:
    """Symbol to shares and trades; all different."""
    return {f"S{number:04}": (10_000 + 37 * number, 50 + number) for number in range(start, start + count)}


def text(rows: Sizes, venue: str = "ABCD ALPHA ATS|ABCD") -> str:
    """A weekly file with these rows of one venue."""
    lines = [f"OTC|{name}|{name} Inc|{venue}|{shares}|{trades}" for name, (shares, trades) in rows.items()]
    return "\n".join([HEADER, *lines]) + "\n"


def firms(rows: Sizes) -> str:
    """The same as the rows of a member firm."""
    return text(rows, "ALPHA SECURITIES LLC|")


class Desk:
    """A folder of files and a database."""

    def __init__(self, home: Path) -> None:
        self.data, self.db = home / "data", home / "spine.db"
        self.data.mkdir(exist_ok=True)

    def put(self, content: str, week: str = WEEK, leg: str = "") -> None:
        (self.data / f"otc{leg}_week_{week}.csv").write_text(content)

    def load(self, *weeks: str, **flags: Any) -> SchedulerResult:
        """Load some weeks, by default the last."""
        flags = {"run_date": "2025-12-30", "tiers": "OTC", "db": str(self.db), **flags}
        return run_finra_schedule(weeks=",".join(weeks or (WEEK,)), data_dir=str(self.data), **flags)

    def told(self, *weeks: str, **flags: Any) -> tuple[str | None, dict[str, str]]:
        """Why the last of some weeks was held, and its anomalies, kind to severity."""
        result = self.load(*weeks, **flags)
        key = f"{(weeks or (WEEK,))[-1]}|OTC"
        (ingest,) = (run for run in result.runs if run.partition_key == key and run.pipeline.endswith("ingest_week"))
        seen = {each.kind: str(each.severity) for each in result.anomalies if each.partition_key == key}
        return ingest.error.kind if ingest.error else None, seen

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(reader(str(self.db))) as store:
            return list(store.query(sql).rows)

    def open(self) -> set[tuple[str, str]]:
        """Partition and kind of the open anomalies."""
        with closing(reader(str(self.db))) as store:
            return {(record.anomaly.partition_key, record.anomaly.kind) for record in store.anomalies()}

    def rows(self) -> list[tuple[Any, ...]]:
        """Symbols and shares of the week."""
        sql = f"SELECT symbol, share_volume FROM finra_otc_venue_volume WHERE week_ending = '{WEEK}' ORDER BY 1, 2"
        return self.query(sql)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in ("DATABASE_URL", "FINRA_DATA_DIR", "FINRA_PLAUSIBILITY"):
        monkeypatch.delenv(name, raising=False)
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a desk that has loaded 400 rows of some weeks, once for all tests."""

    @cache
    def load(*weeks: str) -> Path:
        desk = Desk(tmp_path_factory.mktemp("home"))
        for week in weeks:
            desk.put(text(sizes()), week)
        assert desk.load(*weeks).anomalies == () and desk.open() == set()
        return desk.data.parent

    return load


@pytest.fixture
def loaded(desk: Desk, homes: Callable[..., Path]) -> Loaded:
    """Give the desk a database that has loaded 400 rows of some weeks, and their files."""
    return lambda *weeks: shutil.copytree(homes(*weeks), desk.data.parent, dirs_exist_ok=True)


def scaled(rows: Sizes, factor: float, every: int = 1) -> dict[str, tuple[int, int]]:
    """Some of the shares times a factor."""
    return {
        name: (round(shares * factor) if number % every == 0 else shares, trades)
        for number, (name, (shares, trades)) in enumerate(rows.items())
    }


def without(rows: Sizes, count: int) -> dict[str, tuple[int, int]]:
    """All but the last ones."""
    return dict(list(rows.items())[: len(rows) - count])


@pytest.mark.parametrize(
    ("restate", "hold", "warnings"),
    [
        (lambda rows: sizes(900, start=5000), "replaced", {}),
        (lambda rows: sizes(400, start=201), "replaced", {}),
        (lambda rows: without(rows, 160), "shrunk", {}),
        (lambda rows: without(rows, 41), "shrunk", {}),
        (lambda rows: without(rows, 40), None, {"shrunk": "warning"}),
        (lambda rows: without(rows, 5), None, {"shrunk": "warning"}),
        (lambda rows: without(rows, 4), None, {}),
        (lambda rows: scaled(rows, 1000), "rescaled", {}),
        (lambda rows: scaled(rows, 0.3), "rescaled", {}),
        (lambda rows: scaled(rows, 1.5), "rescaled", {}),
        (lambda rows: {name: (shares, trades * 10) for name, (shares, trades) in rows.items()}, "rescaled", {}),
        (lambda rows: scaled(rows, 2, every=2), None, {"large_revision": "warning"}),
        (lambda rows: scaled(rows, 2, every=19), None, {"large_revision": "warning"}),
        (lambda rows: scaled(rows, 2, every=20), None, {}),
        (lambda rows: rows | {"S0001": (90_000_000, 900)}, None, {}),
        (lambda rows: sizes(800), None, {}),
    ],
)
def test_against_the_known_capture(
    desk: Desk, loaded: Loaded, restate: Callable[[Sizes], Sizes], hold: str | None, warnings: dict[str, str]
) -> None:
    """By shares of the 400 known keys that are gone or changed, and by ratios per key; one moved giant is nothing."""
    rows = sizes()
    loaded(WEEK)
    desk.put(text(restate(rows)))
    found, seen = desk.told()
    assert found == hold
    assert {kind: severity for kind, severity in seen.items() if severity == "warning"} == warnings
    assert len(desk.rows()) == (400 if hold else len(restate(rows)))
    assert {kind for _, kind in desk.open()} == ({hold} if hold else set(warnings))


def test_few_rows_are_not_judged_by_shares(desk: Desk) -> None:
    """Under 200 known rows only losing more than half of them holds."""
    desk.put(text(sizes(199)))
    desk.load()
    desk.put(text(scaled(sizes(199), 1000)))
    assert desk.told() == (None, {})
    desk.put(text(scaled(sizes(150), 1000)))
    assert desk.told() == (None, {})
    desk.put(text(sizes(70)))
    assert desk.told() == ("shrunk", {"shrunk": "error"})


def test_a_large_revision_says_how_large(desk: Desk, loaded: Loaded) -> None:
    """Counts, totals before and after, and the five largest movers, the largest first."""
    rows = sizes()
    loaded(WEEK)
    desk.put(text(scaled(rows, 2, every=10)))
    (anomaly,) = desk.load().anomalies
    assert anomaly.details["changed"] == 40 and anomaly.details["known"] == 400
    before = sum(shares for shares, _ in rows.values())
    assert anomaly.details["totals"]["share_volume"] == [before, sum(s for s, _ in scaled(rows, 2, every=10).values())]
    largest = [rows[f"S{number:04}"][0] for number in (390, 380, 370, 360, 350)]
    assert [each["was"] for each in anomaly.details["movers"]] == largest
    assert "40 of 400 known keys changed, more than 5%" in anomaly.message


def test_a_setting_widens_and_the_result_says_what_was_in_effect(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both figures are in the message; a wider threshold lets it through; a narrower one is refused."""
    desk.put(text(sizes()))
    assert desk.load().config["plausibility"]["shrunk"] == 0.1
    desk.put(text(without(sizes(), 60)))
    (run, *_) = desk.load().runs
    assert run.error is not None and "60 of 400" in run.error.message and "15.0%" in run.error.message
    assert "10%" in run.error.message
    monkeypatch.setenv("FINRA_PLAUSIBILITY", "shrunk=0.2, ratio=10")
    result = desk.load()
    assert result.exit_code == 0
    assert (result.config["plausibility"]["shrunk"], result.config["plausibility"]["ratio"]) == (0.2, 10.0)
    for wrong in ("shrunk=0.05", "shrnk=0.5", "ratio=much", "ratio"):
        monkeypatch.setenv("FINRA_PLAUSIBILITY", wrong)
        refused = desk.load()
        assert refused.exit_code == 1 and refused.error is not None and refused.error.kind == "usage"
        assert "FINRA_PLAUSIBILITY" in refused.error.message


@pytest.mark.parametrize(
    ("first", "hold"),
    [
        (sizes(5), "implausible"),
        (sizes(199), "implausible"),
        (sizes(200), None),
        (sizes(800), None),
        (sizes(801), "implausible"),
        (scaled(sizes(), 1000), "implausible"),
        (scaled(sizes(), 2.9), None),
        (scaled(sizes(), 3.1), "implausible"),
        (scaled(sizes(), 0.3), "implausible"),
        (sizes(400, start=300), None),
    ],
)
def test_a_first_capture_against_its_neighbours(desk: Desk, loaded: Loaded, first: Sizes, hold: str | None) -> None:
    """Three weeks of 400 rows before it: half to twice as many, and a third to three times as large."""
    loaded(*WEEKS[4:7])
    desk.put(text(first))
    found, _ = desk.told()
    assert found == hold and (desk.rows() == []) == bool(hold)


def test_two_neighbours_say_nothing(desk: Desk) -> None:
    """Nor do three of other legs."""
    for week in WEEKS[4:7]:
        desk.put(text(sizes()), week)
    desk.put(firms(sizes()), WEEKS[4], "_non_ats")
    desk.load(*WEEKS[4:7])
    desk.put(text(sizes(5)))
    assert desk.told() == (None, {})


@pytest.mark.soak
@pytest.mark.parametrize("leg", ["", "_non_ats"])
@pytest.mark.parametrize(
    ("restate", "hold", "warnings"),
    [
        (lambda rows: sizes(400, start=5000), "replaced", {}),
        (lambda rows: without(rows, 160), "shrunk", {}),
        (lambda rows: without(rows, 41), "shrunk", {}),
        (lambda rows: without(rows, 20), None, {"shrunk": "warning"}),
        (lambda rows: without(rows, 4), None, {}),
        (lambda rows: scaled(rows, 1000), "rescaled", {}),
        (lambda rows: scaled(rows, 2), "rescaled", {}),
        (lambda rows: scaled(rows, 2, every=2), None, {"large_revision": "warning"}),
        (lambda rows: scaled(rows, 2, every=20), None, {}),
    ],
)
def test_a_leg_is_judged_by_itself(
    desk: Desk, leg: str, restate: Callable[[Sizes], Sizes], hold: str | None, warnings: dict[str, str]
) -> None:
    """Whichever of two it is, and though the other, four times as large, is as it was."""
    write = {"": text, "_non_ats": firms}
    other = "" if leg else "_non_ats"
    desk.put(write[leg](sizes()), leg=leg)
    desk.put(write[other](sizes(1600)), leg=other)
    assert desk.told() == (None, {})
    desk.put(write[leg](restate(sizes())), leg=leg)
    found, seen = desk.told()
    assert found == hold
    assert {kind: severity for kind, severity in seen.items() if severity == "warning"} == warnings
    if hold:
        (error,) = (run.error for run in desk.load().runs if run.error)
        assert f"OTC {'NON_ATS' if leg else 'ATS'}: " in error.message


@pytest.mark.soak
@pytest.mark.parametrize("leg", ["", "_non_ats"])
@pytest.mark.parametrize(
    ("first", "hold"),
    [
        (sizes(5), "implausible"),
        (sizes(801), "implausible"),
        (sizes(205), None),
        (scaled(sizes(), 1000), "implausible"),
        (scaled(sizes(), 2.9), None),
    ],
)
def test_a_leg_of_a_first_capture_is_judged_by_itself(desk: Desk, leg: str, first: Sizes, hold: str | None) -> None:
    """Beside weeks that are held, and among weeks that one run brings, the other leg being four times as large."""
    write = {"": text, "_non_ats": firms}
    other = "" if leg else "_non_ats"
    for week in WEEKS[4:]:
        desk.put(write[leg](sizes()), week, leg)
        desk.put(write[other](sizes(1600)), week, other)
    desk.put(write[leg](first), leg=leg)
    together = desk.load(*WEEKS[4:], db=str(desk.db) + "2")
    assert [each.kind for each in together.anomalies] == ([hold] if hold else [])
    assert desk.load(*WEEKS[4:7]).anomalies == ()
    assert desk.told()[0] == hold


@pytest.mark.soak
@pytest.mark.parametrize(
    ("late", "hold"),
    [(sizes(5), "implausible"), (scaled(sizes(), 1000), "implausible"), (sizes(205), None), (sizes(), None)],
)
def test_a_leg_that_arrives_late_is_judged_like_a_first_capture(desk: Desk, late: Sizes, hold: str | None) -> None:
    """Three weeks have both legs, the fourth the larger alone; when the other comes, it is compared with theirs."""
    for week in WEEKS[4:7]:
        desk.put(text(sizes()), week)
        desk.put(firms(sizes(1600)), week, "_non_ats")
    desk.put(firms(sizes(1600)), leg="_non_ats")
    desk.load(*WEEKS[4:7])
    assert desk.told() == (None, {"missing_leg": "warning"})
    desk.put(text(late))
    assert desk.told()[0] == hold
    assert desk.open() == ({(f"{WEEK}|OTC", hold), (f"{WEEK}|OTC", "missing_leg")} if hold else set())
    desk.put(text(sizes()))
    assert desk.told()[0] is None and desk.open() == set()


@pytest.mark.parametrize(
    ("odd", "workers"),
    [(0, 1), (1, 1), (3, 1), (0, 4), *(pytest.param(odd, 4, marks=pytest.mark.soak) for odd in (1, 3))],
)
def test_first_captures_of_one_run_are_compared_with_each_other(desk: Desk, odd: int, workers: int) -> None:
    """A warning on the one that contradicts most of its nearest, whichever it is and whoever came first."""
    weeks = WEEKS[:4]
    for number, week in enumerate(weeks):
        desk.put(text(scaled(sizes(), 1000 if number == odd else 1)), week)
    result = desk.load(*weeks, workers=workers)
    assert result.exit_code == 0
    assert [(each.partition_key, each.kind, each.severity) for each in result.anomalies] == [
        (f"{weeks[odd]}|OTC", "implausible", "warning")
    ]
    assert desk.open() == {(f"{weeks[odd]}|OTC", "implausible")}
    assert desk.load(*weeks, workers=workers).anomalies == ()


def test_a_missing_leg_is_open_until_it_arrives(desk: Desk) -> None:
    """The week before has both; the new one is loaded with a warning, also once restated, until the file comes."""
    desk.put(text(sizes()), WEEKS[6])
    desk.put(firms(sizes()), WEEKS[6], "_non_ats")
    desk.load(WEEKS[6])
    desk.put(text(sizes()))
    assert desk.told() == (None, {"missing_leg": "warning"})
    desk.put(text(sizes() | {"S0001": (1, 1)}))
    assert desk.told()[0] is None and desk.open() == {(f"{WEEK}|OTC", "missing_leg")}
    desk.put(firms(sizes()), leg="_non_ats")
    result = desk.load()
    assert result.runs[0].legs == ("ATS", "NON_ATS") and desk.open() == set()
    assert json.loads(result.to_json())["runs"][0]["legs"] == ["ATS", "NON_ATS"]


def test_a_missing_leg_of_the_same_first_run(desk: Desk) -> None:
    """Also where both weeks are loaded for the first time at once."""
    desk.put(text(sizes()), WEEKS[6])
    desk.put(firms(sizes()), WEEKS[6], "_non_ats")
    desk.put(text(sizes()))
    assert {(each.partition_key, each.kind) for each in desk.load(WEEKS[6], WEEK).anomalies} == {
        (f"{WEEK}|OTC", "missing_leg")
    }


ROW = "|S0003|S0003 Inc|ABCD ALPHA ATS|ABCD|10111|53"


@pytest.mark.parametrize(
    ("new", "rule", "kept"),
    [
        ("|S0003|S0003 Inc|ABCD ALPHA ATS|ABCD|1O111|53", "bad_number", 1),
        ("|S0003|S0003 Inc|ABCD ALPHA ATS|ABCD|-5|53", "negative", 1),
        ("|S0003|S0003 Inc|ABCD ALPHA ATS||10111|53", "missing_venue", 1),
        ("||S0003 Inc|ABCD ALPHA ATS|ABCD|10111|53", "blank_symbol", 1),
        ("|S0003|S0003| Inc|ABCD ALPHA ATS|ABCD|10111|53", "field_count", 1),
        ("|S0003|S0003 Inc|ABCD ALPHA ATS|ABCD|10111", "field_count", 1),
        ("|S0003", "field_count", 0),
        (f"{ROW}\nOTC|S0003|S0003 Inc|ABCD ALPHA ATS|ABCD|7|7", "conflicting_key", 1),
    ],
)
def test_a_rejected_row_never_removes_the_good_row(desk: Desk, loaded: Loaded, new: str, rule: str, kept: int) -> None:
    """The row known under its key stays as it was, with an anomaly; a row that is simply gone goes, and so does
    one whose line says neither whose it is nor of what."""
    loaded(WEEK)
    good = desk.rows()
    changed = text(without(sizes(), 1)).replace(ROW, new, 1)
    desk.put(changed)
    (anomaly,) = desk.load().anomalies
    assert (anomaly.kind, set(anomaly.details["rules"]), anomaly.details["kept"]) == ("rejected_rows", {rule}, kept)
    assert desk.rows() == [row for row in good if row[0] != "S0399" and (kept or row[0] != "S0003")]
    desk.put(changed + "\n")
    assert desk.load().runs[0].reason == "same_rows"


def test_lossy_numbers_are_noticed(desk: Desk) -> None:
    """Three digits in E-notation beside seven: saved by a spreadsheet; sixteen digits are FINRA's own."""
    rows = sizes()
    desk.put(text(rows).replace("|10037|", "|1.00E+04|").replace("|10074|", "|1.01E+04|"))
    assert desk.told() == (None, {"lossy_numbers": "warning"})
    desk.put(text(rows).replace("|10037|", "|1.00370000000001E4|").replace("|10074|", "|1.0074E4|"))
    assert desk.told() == (None, {}) and desk.open() == set()
