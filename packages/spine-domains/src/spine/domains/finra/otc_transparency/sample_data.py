"""Generated weekly files in FINRA's real layout, for demonstrations, trials and benchmarks.

The companies are invented; the ATSs and their MPIDs are those that FINRA publishes. Sizes follow what was
measured in real files: lognormal share volumes, one to three venues per OTC symbol and many per NMS symbol,
volumes that move slowly from week to week. Each file is a function of the seed, the tier, the venue class,
the week and the number of rows alone, so asking for more weeks never alters the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from math import exp, log
from pathlib import Path
from random import Random
from typing import NamedTuple

from market_spine.core.calendar import sessions_between
from market_spine.errors import UsageError
from spine.domains.finra.otc_transparency.partitions import (
    parse_tier,
    plan,
    publication_date,
    week_and_tier,
    week_ending_of,
)
from spine.domains.finra.otc_transparency.sample_names import (
    DE_MINIMIS_FIRMS,
    FIRMS,
    NMS_ATSS,
    OTC_ATSS,
    Issue,
    issues,
    pick,
)
from spine.domains.finra.otc_transparency.schema import ATS, NON_ATS

HEADER = (
    "tierDescription|issueSymbolIdentifier|issueName|marketParticipantName|MPID"
    "|totalWeeklyShareQuantity|totalWeeklyTradeCount|lastUpdateDate"
)
MIN_REVISED_ROWS = 10
"""Fewest rows of a file in which one changed, one added and one removed row are still a minority."""


class _Shape(NamedTuple):
    """How one tier looks. Volumes are normal logarithms (mean, spread) of shares a row and shares a trade."""

    slug: str
    description: str
    volume: tuple[float, float]
    trade_size: tuple[float, float]
    atss: tuple[float, float]
    """ATSs of a symbol (mean, spread); the OTC tier has patterns instead."""
    firms: tuple[float, float]
    """Attributed non-ATS firms of a symbol (mean, spread)."""
    growth: float
    """How much the trades of a busier issue are larger: the exponent of its volume."""


_SHAPES = {
    "NMS_TIER_1": _Shape("tier1", "NMS Tier 1", (log(22_000), 1.6), (log(95), 0.4), (20, 5), (4, 2), 0.1),
    "NMS_TIER_2": _Shape("tier2", "NMS Tier 2", (log(2_500), 1.9), (log(105), 0.5), (12, 6), (2, 1.5), 0.15),
    "OTC": _Shape("otc", "OTC", (log(4_000), 2.4), (log(330), 1.2), (0, 0), (1, 1), 0.45),
}
_OTC_PATTERNS = (
    *(("OTCN", 839.0), ("ARCA OTCN OTCX", 731.0), ("OTCN OTCX", 665.0), ("OTCX", 288.0)),
    *(("ARCA OTCN", 65.0), ("ARCA", 52.0), ("ARCA OTCX", 25.0)),
)
"""The ATSs of ordinary OTC symbols, and how many symbols of a real week had just these."""
_OTC_SERIES_PATTERNS = (*(("PPEX", 434.0), ("PROS", 5.0), ("ALTS", 4.0), ("SMKT", 1.0), ("SWCL", 1.0), ("STEN", 1.0)),)
"""The same of series interests, which trade by appointment."""
_SERIES_OFFSET = -4.5
_NMS_RANK_OFFSET = -0.06
"""How much less, in logarithms, an ATS trades than the next more active one."""
_PAIR_SPREAD = 1.0
"""How much the venues of a symbol differ, lastingly."""
_ROW_SPREAD = 0.15
"""How much a row moves on its own from week to week."""
_SHOCKS = (0.22, 0.18, 0.13, 0.08)
"""What a symbol's shock of this week, of the week before, and so on, adds to its volume."""
_ABSENT = 0.03
"""Share of symbols without a trade in a week."""
_FRACTIONAL = 0.13
"""Share of non-ATS rows with fractional shares."""
_REVISED = 0.001
"""Share of rows that FINRA restates."""
_REVISION_DAYS = (7, 7, 11, 42, 49, 99, 107, 164)
"""Days from publication to restatement, as seen in four years of one symbol."""


def write_sample_data(
    out: Path,
    *,
    weeks: int,
    tiers: Sequence[str],
    rows: int,
    seed: int,
    run_date: date,
    revise: bool = False,
    revise_weeks: Sequence[date] = (),
    non_ats: bool = False,
) -> list[Path]:
    """Write the latest published weeks or, with ``revise``, a restated version of some of them.

    Args:
        out: folder, made if missing; files of the same names are overwritten.
        weeks: how many weeks of each tier, the latest that are published on ``run_date``.
        tiers: which tiers, in any spelling that the schedule accepts.
        rows: data rows in each file; a restated file adds as many as it removes.
        seed: equal arguments give equal bytes.
        run_date: the New York date on which the folder looks real.
        revise: write the chosen weeks only, with about 0.1 % of their rows changed, added and removed.
        revise_weeks: weeks to restate, any date in each; default: the newest of each tier.
        non_ats: write the files of the non-ATS firms as well.

    Returns:
        The files written: tier by tier, oldest week first.

    Raises:
        UsageError: for an argument that cannot be used, or a folder that cannot be written.
    """
    _check(weeks, rows, revise, revise_weeks)
    written = []
    for tier, week_endings in _plan(weeks, tiers, run_date, revise, revise_weeks).items():
        for venue_class in (ATS, NON_ATS) if non_ats else (ATS,):
            leg = _Leg(seed, tier, venue_class, rows)
            for week_ending in week_endings:
                lines = leg.restated(week_ending, run_date) if revise else leg.lines(week_ending)
                path = out / _file_name(tier, venue_class, publication_date(week_ending, tier))
                _write(path, lines)
                written.append(path)
    return written


def _check(weeks: int, rows: int, revise: bool, revise_weeks: Sequence[date]) -> None:
    if weeks < 1:
        raise UsageError(f"--weeks {weeks}: no week to write", hint="give 1 or more")
    if rows < 1:
        raise UsageError(f"--rows {rows}: no row to write", hint="give 1 or more")
    if revise and rows < MIN_REVISED_ROWS:
        raise UsageError(
            f"--rows {rows}: too few for --revise, which restates a minority of them",
            hint=f"give {MIN_REVISED_ROWS} or more",
        )
    if revise_weeks and not revise:
        raise UsageError("weeks to restate were given without --revise", hint="add --revise")


def _plan(
    weeks: int, tiers: Sequence[str], run_date: date, revise: bool, revise_weeks: Sequence[date]
) -> dict[str, list[date]]:
    """The weeks to write of each tier, oldest first."""
    chosen = list(dict.fromkeys(parse_tier(tier) for tier in tiers))
    if not chosen:
        raise UsageError("no tier to write", hint="name at least one")
    planned: dict[str, list[date]] = {tier: [] for tier in chosen}
    for partition in plan(run_date, weeks, (), chosen).partitions:
        week_ending, tier = week_and_tier(partition)
        planned[tier].append(week_ending)
    if not revise:
        return planned
    if not revise_weeks:
        return {tier: weeks[-1:] for tier, weeks in planned.items()}
    wanted = {week_ending_of(day) for day in revise_weeks}
    unknown = wanted.difference(*planned.values())
    if unknown:
        raise UsageError(
            f"week {min(unknown)} is not among the {weeks} latest published on {run_date}",
            hint="choose one of " + ", ".join(map(str, sorted(set().union(*planned.values())))),
        )
    return {tier: [week for week in weeks if week in wanted] for tier, weeks in planned.items()}


def _file_name(tier: str, venue_class: str, published: date) -> str:
    infix = "" if venue_class == ATS else "_non_ats"
    return f"finra_otc_weekly_{_SHAPES[tier].slug}{infix}_{published:%Y%m%d}.csv"


def _write(path: Path, lines: Sequence[str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("\n".join((HEADER, *lines, "")).encode("ascii"))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}", hint="choose another --out") from error


# --- one tier and venue class ---------------------------------------------------------------------


class ListedIssue(NamedTuple):
    """An issue and its venues in file order.

    ``volume`` and ``trade_size`` are logarithms; a venue is its two fields (name and MPID) and what its
    volume differs from the issue's, lastingly, as a logarithm.
    """

    issue: Issue
    volume: float
    trade_size: float
    venues: tuple[tuple[str, float], ...]


def list_issues(seed: int, tier: str, venue_class: str, rows: int) -> tuple[ListedIssue, ...]:
    """The issues of a tier and their venues in a venue class, with about a tenth more rows than ``rows``.

    Both classes list the same issues in the same order, up to the length that their rows need.
    """
    return _Leg(seed, tier, venue_class, rows).listings


class _Leg:
    """The files of one tier and venue class, which share their symbols."""

    def __init__(self, seed: int, tier: str, venue_class: str, rows: int) -> None:
        self._shape = _SHAPES[tier]
        self._ats = venue_class == ATS
        self._rows = rows
        self._tier_seed = (seed, tier)
        self._leg_seed = (seed, tier, venue_class)
        self._tier = tier
        self._shocks: dict[date, list[float]] = {}
        self.listings = self._list_issues()
        self._spare = sum(len(listing.venues) for listing in self.listings) - rows

    def lines(self, week_ending: date) -> list[str]:
        """The data lines of a week as first published, sorted by symbol, MPID and name."""
        rng = _generator(*self._leg_seed, week_ending)
        published = publication_date(week_ending, self._tier)
        levels = self._levels(week_ending)
        blocks: list[tuple[str, list[str]]] = []
        spare, left = self._spare, self._rows
        for listing, level in zip(self.listings, levels, strict=True):
            if rng.random() < _ABSENT and spare >= len(listing.venues):
                spare -= len(listing.venues)
                continue
            block = self._block(rng, listing, level, listing.venues[:left], published)
            blocks.append((listing.issue.symbol, block))
            left -= len(block)
            if not left:
                break
        return [line for _, block in sorted(blocks) for line in block]

    def restated(self, week_ending: date, run_date: date) -> list[str]:
        """The data lines of a week after FINRA restated a few of them, later but no later than need be."""
        rng = _generator(*self._leg_seed, week_ending, "restated")
        lines = self.lines(week_ending)
        updated = _restatement_date(rng, publication_date(week_ending, self._tier), run_date)
        count = max(3, round(len(lines) * _REVISED))
        moved = max(1, count // 10)
        picked = rng.sample(range(len(lines)), count - moved)
        changed, removed = picked[moved:], set(picked[:moved])
        for index in changed:
            lines[index] = _changed(lines[index], rng, updated)
        added = self._added(lines, rng, updated, moved)
        kept = [line for index, line in enumerate(lines) if index not in removed]
        return sorted(kept + added, key=_file_order)

    def _added(self, lines: Sequence[str], rng: Random, updated: date, count: int) -> list[str]:
        """New rows: venues that report a symbol of the file only now."""
        taken = {tuple(line.split("|")[1:5:2]) for line in lines}
        venues = _atss(self._tier) if self._ats else FIRMS
        added: list[str] = []
        while len(added) < count:
            tier, symbol, name, *_ = lines[int(rng.random() * len(lines))].split("|")
            venue = venues[int(rng.random() * len(venues))]
            if (symbol, venue) in taken:
                continue
            taken.add((symbol, venue))
            trades = 1 + int(rng.random() * 20)
            shares = trades * (1 + int(rng.random() * 200))
            added.append(f"{tier}|{symbol}|{name}|{self._venue_text(venue)}|{shares}|{trades}|{updated}")
        return added

    def _venue_text(self, venue: str) -> str:
        """The fields marketParticipantName and MPID; firms have no MPID."""
        return f"{venue}|{venue.split(maxsplit=1)[0] if self._ats else ''}"

    def _list_issues(self) -> tuple[ListedIssue, ...]:
        """Enough issues for every week, though some are absent: about a tenth more rows than needed."""
        invent = issues(_generator(*self._tier_seed, "issues"), self._tier)
        traits = _generator(*self._tier_seed, "traits")
        rng = _generator(*self._leg_seed, "venues")
        shape = self._shape
        listings = []
        left = self._rows + self._rows // 10
        while left > 0:
            issue = next(invent)
            venues = self._ats_venues(rng, issue) if self._ats else self._firm_venues(rng)
            volume = traits.gauss(*shape.volume)
            trade_size = traits.gauss(*shape.trade_size) + shape.growth * (volume - shape.volume[0])
            listings.append(ListedIssue(issue, volume, trade_size, venues))
            left -= len(venues)
        return tuple(listings)

    def _ats_venues(self, rng: Random, issue: Issue) -> tuple[tuple[str, float], ...]:
        atss = _atss(self._tier)
        if self._tier == "OTC":
            series = issue.kind == "series"
            mpids = pick(rng, _OTC_SERIES_PATTERNS if series else _OTC_PATTERNS).split()
            offsets = {name: _SERIES_OFFSET if series else 0.0 for name in atss if name.split()[0] in mpids}
        else:
            count = min(max(1, round(rng.gauss(*self._shape.atss))), len(atss) - 1)
            ranked = sorted(range(len(atss)), key=lambda rank: rank + 12 * rng.random())[:count]
            offsets = {atss[rank]: rank * _NMS_RANK_OFFSET for rank in ranked}
        return tuple(
            (self._venue_text(name), offset + rng.gauss(0.0, _PAIR_SPREAD)) for name, offset in sorted(offsets.items())
        )

    def _firm_venues(self, rng: Random) -> tuple[tuple[str, float], ...]:
        count = min(max(0, round(rng.gauss(*self._shape.firms))), len(FIRMS) // 2)
        firms = sorted((*rng.sample(FIRMS, count), DE_MINIMIS_FIRMS))
        return tuple((self._venue_text(name), 0.5 + rng.gauss(0.0, _PAIR_SPREAD)) for name in firms)

    def _levels(self, week_ending: date) -> list[float]:
        """Each listing's volume of a week, a logarithm: shocks fade over weeks, holidays cost a day."""
        sessions = sessions_between(week_ending - timedelta(days=4), week_ending)
        base = log(max(sessions, 1) / 5)
        shocks = [self._week_shocks(week_ending - timedelta(weeks=lag)) for lag in range(len(_SHOCKS))]
        return [
            base + listing.volume + sum(weight * shock for weight, shock in zip(_SHOCKS, own, strict=True))
            for listing, *own in zip(self.listings, *shocks, strict=True)
        ]

    def _week_shocks(self, week_ending: date) -> list[float]:
        if week_ending not in self._shocks:
            rng = _generator(*self._tier_seed, "shocks", week_ending)
            self._shocks[week_ending] = [rng.gauss(0.0, 1.0) for _ in self.listings]
        return self._shocks[week_ending]

    def _block(
        self,
        rng: Random,
        listing: ListedIssue,
        level: float,
        venues: Sequence[tuple[str, float]],
        published: date,
    ) -> list[str]:
        """The lines of one symbol."""
        head = f"{self._shape.description}|{listing.issue.symbol}|{listing.issue.name}"
        lines = []
        for venue, offset in venues:
            volume = exp(level + offset + rng.gauss(0.0, _ROW_SPREAD))
            shares = max(1, int(volume))
            trades = min(shares, max(1, round(volume / exp(listing.trade_size + rng.gauss(0.0, 0.3)))))
            text = str(shares)
            if not self._ats and rng.random() < _FRACTIONAL:
                text = f"{shares}.{int(rng.random() * 1e6):06d}".rstrip("0").rstrip(".")
            lines.append(f"{head}|{venue}|{text}|{trades}|{published}")
        return lines


def _generator(*names: object) -> Random:
    """A stream of random numbers of its own for each sequence of names."""
    return Random("|".join(map(str, names)))


def _atss(tier: str) -> list[str]:
    return OTC_ATSS if tier == "OTC" else NMS_ATSS


# --- restatements ---------------------------------------------------------------------------------


def _restatement_date(rng: Random, published: date, run_date: date) -> date:
    """A weekday after publication, by ``run_date`` if that is late enough."""
    days = _REVISION_DAYS[int(rng.random() * len(_REVISION_DAYS))]
    day = max(published + timedelta(days=1), min(published + timedelta(days=days), run_date))
    return min(day, week_ending_of(day))


def _changed(line: str, rng: Random, updated: date) -> str:
    """A row with another volume, between a half and one and a half of the old."""
    *head, old, trades, _ = line.split("|")
    shares = max(1, int(float(old) * (0.5 + rng.random())))
    if shares == float(old):
        shares += 1
    return "|".join((*head, str(shares), str(min(shares, int(trades))), f"{updated}"))


def _file_order(line: str) -> tuple[str, str, str]:
    _, symbol, _, name, mpid, *_ = line.split("|")
    return symbol, mpid, name
