"""The cases: which files, who runs, and what is to be reached."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from measure import Contender, Measured, interleave, prepare
from peers import HERE, peer_python

RUN_DATE = "2025-12-23"
"""The day on which the generated weeks are the latest published ones."""
SPINE, PLAIN, DLT, CTAS, DUCK = "market-spine", "plain script", "dlt", "DuckDB CTAS", "plain DuckDB script"
IMPORTS, PAIR = "market-spine, imports alone", "market-spine --workers 2"
_SCHEDULER = HERE.parent / "scripts" / "schedule_finra.py"
_WEEK_ROWS = 5_000
_MILLION = {"NMS_TIER_1": 70_000, "NMS_TIER_2": 157_000, "OTC": 23_000}
"""Rows of a week's file per tier: a million in four weeks, shared out as in FINRA's own files."""
_TWELVE_THOUSAND = {"NMS_TIER_1": 46_000, "NMS_TIER_2": 74_000, "OTC": 5_500}
"""Rows of a week's file per tier that hold some 12,000 symbols together."""
_LARGE = 200_000
_SLUGS = {"NMS_TIER_1": "tier1", "NMS_TIER_2": "tier2", "OTC": "otc"}
_IMPORTS = """\
import polars, zstandard
import spine.domains.finra.otc_transparency.scheduler, spine.domains.finra.otc_transparency.normalize
import spine.domains.finra.otc_transparency.calculations, market_spine.store.opening, market_spine.store.sqlite.frames
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """Something to be reached: ``value`` is to be at most or at least ``limit``."""

    text: str
    value: float
    limit: float
    at_most: bool = True
    unit: str = "x"

    @property
    def wanted(self) -> str:
        """What is to be reached, in words."""
        return f"{'at most' if self.at_most else 'at least'} {self.limit:g}{self.unit}"

    @property
    def reached(self) -> str:
        """What was."""
        return f"{self.value:.3g}{self.unit}"

    @property
    def verdict(self) -> str:
        """Whether that is enough."""
        met = self.value <= self.limit if self.at_most else self.value >= self.limit
        return "met" if met else "**missed**"


@dataclass(frozen=True, slots=True)
class Report:
    """What a case found.

    Attributes:
        title: the case in a line.
        measured: by contender.
        bars: what was to be reached.
        stages: seconds of the fastest run per contender and stage; ``rest`` is start, planning and end.
        notes: what else is to be told, a line each.
    """

    title: str
    measured: Mapping[str, Measured]
    bars: Sequence[Bar]
    stages: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Bench:
    """What every case needs: a folder for data and states, the number of rounds, and the size of it all."""

    work: Path
    repeat: int | None
    scale: float

    def data(self, name: str, weeks: int, rows: Mapping[str, int], *, revise: bool = False) -> Path:
        """A folder of generated weekly files; with ``revise`` the newest of each tier as restated later."""
        folder = self.work / name
        for tier, count in rows.items():
            flags = ["--weeks", str(weeks), "--tiers", tier, "--rows", str(max(10, round(count * self.scale)))]
            command = [sys.executable, "-m", "market_spine", "sample-data", "finra", "--out", str(folder)]
            prepare([*command, *flags, "--run-date", RUN_DATE, *(["--revise"] if revise else [])], self.work)
        return folder

    def rounds(self, usual: int) -> int:
        """How many rounds to count."""
        return self.repeat or usual


def spine(data: Path, weeks: int | str = 4, run_date: str = RUN_DATE, **expected: object) -> Contender:
    """Our scheduler over a folder: the latest ``weeks``, or those named; ``expected`` are counts of ``stats``."""
    chosen = ["--weeks", weeks] if isinstance(weeks, str) else ["--lookback-weeks", str(weeks)]
    flags = ["--source", "file", "--data-dir", str(data), "--db", "spine.db", *chosen, "--run-date", run_date]
    held = [tier for tier, slug in _SLUGS.items() if any(data.glob(f"*_weekly_{slug}_*"))]

    def check(output: str) -> None:
        stats = json.loads(output)["stats"]
        if any(stats[name] != count for name, count in expected.items()):
            raise SystemExit(f"expected {expected} of {SPINE}, got {stats}")

    command = [sys.executable, str(_SCHEDULER), *flags, "--tiers", ",".join(held), "--json"]
    return Contender(SPINE, command, check=check)


def plain(data: Path, rows: int | None = None) -> Contender:
    """The same files through the plain script, which is to write all their rows or as many as said."""
    command = [sys.executable, str(HERE / "plain.py"), str(data), "plain.db"]
    return Contender(PLAIN, command, check=_wrote(PLAIN, _rows_in(data) if rows is None else rows))


def dlt(data: Path) -> Contender:
    """The same files through dlt."""
    command = [peer_python(), str(HERE / "dlt_load.py"), str(data), "dlt.duckdb"]
    return Contender(DLT, command, check=_wrote(DLT, _rows_in(data)))


def ctas(data: Path) -> Contender:
    """The same files through DuckDB alone."""
    command = [peer_python(), str(HERE / "ctas.py"), str(data), "ctas.duckdb"]
    return Contender(CTAS, command, check=_wrote(CTAS, _rows_in(data)))


def duck(data: Path) -> Contender:
    """The same files through the plain script in DuckDB."""
    command = [peer_python(), str(HERE / "duck_load.py"), str(data), "plain.duckdb"]
    return Contender(DUCK, command, check=_wrote(DUCK, _rows_in(data)))


def _rows_in(data: Path) -> int:
    """Rows of all files of a folder, the headers not counted."""
    return sum(path.read_bytes().count(b"\n") - 1 for path in data.iterdir())


def _wrote(name: str, rows: int) -> Callable[[str], None]:
    def check(output: str) -> None:
        if (found := json.loads(output)["rows"]) != rows:
            raise SystemExit(f"expected {rows} rows of {name}, got {found}")

    return check


def loaded(contender: Contender, bench: Bench, name: str, then: Contender | None = None) -> Contender:
    """A contender that finds what it, or a run before it, has loaded already."""
    following = then or contender
    state = prepare(contender.command, bench.work / f"{name}-{contender.name.replace(' ', '-')}")
    return Contender(following.name, following.command, state, following.check)


def stages(measured: Measured) -> dict[str, float]:
    """Seconds per stage, from the result of the fastest run."""
    sample = min(measured.samples, key=lambda each: each.wall)
    found: Counter[str] = Counter()
    for run in _runs(sample.output):
        found[run["pipeline"].rpartition(".")[2]] += run["duration_ms"] / 1000
    return {**found, "rest": sample.wall - found.total()}


def _runs(output: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(output)["runs"]
    return runs


def unchanged(bench: Bench) -> Report:
    """Twelve small partitions in which nothing changed: what a cold start costs."""
    return _unchanged(bench, dict.fromkeys(_MILLION, _WEEK_ROWS), 15)


def unchanged_million(bench: Bench) -> Report:
    """Twelve partitions of real size in which nothing changed."""
    return _unchanged(bench, _MILLION, 5)


def _unchanged(bench: Bench, rows: Mapping[str, int], rounds: int) -> Report:
    data = bench.data("unchanged", 4, rows)
    again = [
        loaded(spine(data), bench, "unchanged", spine(data, skipped=12)),
        loaded(plain(data), bench, "unchanged", plain(data, 0)),
        loaded(dlt(data), bench, "unchanged"),
    ]
    found = interleave(again, bench.rounds(rounds))
    ours = found[SPINE].wall
    return Report(
        f"12 unchanged partitions of {sum(rows.values()) * 4 * bench.scale:,.0f} rows in total",
        found,
        (
            Bar("against the plain script", ours / found[PLAIN].wall, 2.7),
            Bar("faster than dlt", found[DLT].wall / ours, 15, at_most=False),
        ),
    )


def first(bench: Bench) -> Report:
    """The first load of one week."""
    data = bench.data("first", 1, {"OTC": _WEEK_ROWS})
    imports = Contender(IMPORTS, [sys.executable, "-c", _IMPORTS])
    found = interleave([spine(data, 1, succeeded=1), plain(data), dlt(data), imports], bench.rounds(15))
    return Report(
        f"the first week of {_WEEK_ROWS * bench.scale:,.0f} rows",
        found,
        (Bar("faster than dlt", found[DLT].wall / found[SPINE].wall, 2, at_most=False),),
        {SPINE: stages(found[SPINE])},
    )


def million(bench: Bench) -> Report:
    """Twelve partitions of a million rows, with every calculation."""
    data = bench.data("million", 4, _MILLION)
    ours = spine(data, succeeded=12)
    pair = replace(ours, name=PAIR, command=[*ours.command, "--workers", "2"])
    found = interleave([ours, pair, plain(data), duck(data), dlt(data), ctas(data)], bench.rounds(5))
    rows = sum(_MILLION.values()) * 4 * bench.scale
    return Report(
        f"12 first partitions of {rows:,.0f} rows, all calculations",
        found,
        (
            Bar("one worker, against DuckDB's CREATE TABLE AS", found[SPINE].wall / found[CTAS].wall, 4),
            Bar("two workers, against DuckDB's CREATE TABLE AS", found[PAIR].wall / found[CTAS].wall, 3),
            Bar("two workers, against dlt", found[PAIR].wall / found[DLT].wall, 1),
            Bar("size per million rows, payloads included", found[SPINE].size / rows * 1e6, 40, unit=" MB"),
            Bar("peak memory, one worker", found[SPINE].peak, 450, unit=" MB"),
        ),
        {SPINE: stages(found[SPINE])},
    )


def rolling(bench: Bench) -> Report:
    """Six weeks of some 12,000 symbols, and the share of the rolling windows in the run."""
    data = bench.data("rolling", 6, _TWELVE_THOUSAND)
    together, sixth = spine(data, 6, succeeded=18), spine(data, 6, succeeded=3, skipped=15)
    sixth = replace(sixth, name="market-spine, the sixth week")
    five = spine(data, 5, (date.fromisoformat(RUN_DATE) - timedelta(weeks=1)).isoformat())
    found = interleave([together, loaded(five, bench, "rolling", sixth)], bench.rounds(5))
    shares = {name: stages(measured) for name, measured in found.items()}
    last = [run for run in _runs(found[sixth.name].samples[0].output) if run["pipeline"].endswith("compute_rolling")]
    return Report(
        f"six weeks of {sum(run['row_count'] or 0 for run in last):,} symbols: all at once, and the sixth alone",
        found,
        (),
        shares,
    )


def revision(bench: Bench) -> Report:
    """A restatement of one row in a thousand, against that of the plain script in DuckDB."""
    rows = {"NMS_TIER_2": _LARGE}
    data = bench.data("revision", 1, rows)
    restated = bench.data("revision-restated", 1, rows, revise=True)
    ours = spine(data, 1, succeeded=1)
    revised = replace(spine(restated, 1), name="market-spine, 0.1 % revised", check=_check_revision)
    again = replace(duck(restated), name=f"{DUCK}, 0.1 % revised", check=_check_small)
    found = interleave(
        [loaded(ours, bench, "revision", revised), ours, loaded(duck(data), bench, "revision", again), duck(data)],
        bench.rounds(7),
    )
    return Report(
        f"a 0.1 % revision of {_LARGE * bench.scale:,.0f} rows",
        found,
        (Bar("against the plain DuckDB script's revision", found[revised.name].wall / found[again.name].wall, 3),),
        {name: stages(found[name]) for name in (revised.name, SPINE)},
    )


def _check_revision(output: str) -> None:
    summary = _runs(output)[0]["revision_summary"]
    if not summary or not all(summary.values()):
        raise SystemExit(f"expected a revision, got {summary}")


def _check_small(output: str) -> None:
    if not 0 < json.loads(output)["rows"] < _LARGE / 100:
        raise SystemExit(f"expected a small revision, got {output}")


CASES: Mapping[str, Callable[[Bench], Report]] = {
    case.__name__: case for case in (unchanged, unchanged_million, first, million, rolling, revision)
}
