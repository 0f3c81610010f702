"""Whether a payload can be true: compared with what is known of its partition, else with its neighbours.

Totals are reported and never judged alone: one corrected giant moves a total threefold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from market_spine.app.replay import Comparison, replay
from market_spine.app.task import Task
from market_spine.core.anomaly import MISSING_LEG, Anomaly
from market_spine.core.domain import Concern, Domain, Normalized
from market_spine.core.manifest import Entry, legs_of
from market_spine.core.plausibility import RowPlausibility
from market_spine.core.ports import Reader
from market_spine.core.revision import RowDiff
from market_spine.core.schema import Table

if TYPE_CHECKING:
    import polars as pl

_MOVERS = 5
"""How many of the largest movers a message names."""
_NOW, _WAS, _BY, _KEY = "\0now", "\0was", "\0by", "\0key"
"""Columns of our own, called as no domain's are."""
_SAME_FACTOR = 1e-3
"""How far a factor may be off and still be the same one; whole numbers were rounded besides."""


class Findings(NamedTuple):
    """What was found: reasons to hold, and what is odd but holds nothing."""

    concerns: tuple[Concern, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()

    def joined(self, part: Findings, key: str) -> Findings:
        """These, and what was found of a part of the partition: one of a kind, a replaced part first."""
        told = {each.kind for each in self.concerns}
        concerns = [*self.concerns, *(each for each in part.concerns if each.kind not in told)]
        kinds = told | {each.kind for each in self.anomalies}
        anomalies = (replace(each, partition_key=key) for each in part.anomalies if each.kind not in kinds)
        return Findings(
            tuple(sorted(concerns, key=lambda each: each.kind != "replaced")), (*self.anomalies, *anomalies)
        )


def judge(
    task: Task, store: Callable[[], Reader], normalized: Normalized, legs: tuple[str, ...], found: Comparison | None
) -> Findings:
    """What is not plausible about a payload, by the thresholds in effect.

    What the source's own totals prove is reported and holds nothing.
    """
    rules, table = task.run.rules, task.run.domain.tables[0]
    key, rows = task.partition.key, normalized.tables[table.name]
    findings = Findings()
    if rules is not None and not normalized.ranges:
        came: Sequence[str] = ()
        if found is not None:
            before = found.before[table.name]
            findings = against_known(rules, key, table.key, before, rows, found.diff)
            came = [value for value in _values(rules, rows) if value not in _values(rules, before)]
        if found is None or came:
            neighbours = alike(legs, task.nearby.nearest, task.run.domain.legs, rules.neighbours)

            def read(entry: Entry) -> pl.DataFrame:
                return replay(store(), task.run.domain, entry.partition, entry).tables[table.name]

            beside = against_neighbours(rules, key, own_columns(table), rows, neighbours, read, came)
            findings = findings.joined(beside, key)
    if found is None and (lacking := missing_legs(key, legs, task.nearby.before, task.run.domain.legs)):
        findings = findings._replace(anomalies=(*findings.anomalies, lacking))
    if found is not None:
        findings = findings._replace(anomalies=(*findings.anomalies, *restated_beside(key, task.run.domain, found)))
    if normalized.proven:
        told = (
            Anomaly(each.kind, "warning", key, f"{each.message}; the source's own totals prove the rows")
            for each in findings.concerns
        )
        return Findings((), (*findings.anomalies, *told))
    return findings


def restated_beside(key: str, domain: Domain, found: Comparison) -> list[Anomaly]:
    """The warning that growing tables beside the first lost rows that were known, or changed them: no revision
    summary tells of them."""
    told, details = [], {}
    for table in domain.tables[1:]:
        if not table.grows or table.name not in found.diffs:
            continue
        diff, known = found.diffs[table.name], found.before[table.name].height
        own = own_columns(table)
        for words, frame in (("gone", diff.removed), ("changed", diff.new)):
            if frame.height:
                names = [" ".join(str(value) for value in row) for row in frame.select(own).rows()]
                more = f" and {len(names) - _MOVERS} more" if len(names) > _MOVERS else ""
                told.append(
                    f"{frame.height} of {known} known rows of {table.name} {words}: {', '.join(names[:_MOVERS])}{more}"
                )
                details[f"{table.name} {words}"] = names
    if not told:
        return []
    return [Anomaly("restated_rows", "warning", key, f"{key}: {'; '.join(told)}", details)]


def own_columns(table: Table) -> tuple[str, ...]:
    """The key columns that tell the rows of one partition apart."""
    return tuple(name for name in table.key if name not in table.partition_by)


def against_known(
    rules: RowPlausibility, key: str, columns: Sequence[str], known: pl.DataFrame, new: pl.DataFrame, diff: RowDiff
) -> Findings:
    """Compare a payload's rows with those that are known.

    Args:
        rules: the thresholds in effect.
        key: the partition's key.
        columns: the table's key columns.
        known: the rows before.
        new: the payload's rows.
        diff: in what the two differ.
    """
    findings = _judged(rules, key, columns, known, new, diff)
    for value in values_apart(rules, known):
        own = RowDiff(*(only(rules, frame, value) for frame in diff))
        before, after = only(rules, known, value), only(rules, new, value)
        part = _judged(rules, f"{key} {value}", columns, before, after, own)
        findings = findings.joined(part, key)
    return findings


def values_apart(rules: RowPlausibility, known: pl.DataFrame) -> list[str]:
    """The values that are judged by themselves, too; none if there is but one."""
    values = _values(rules, known)
    return values if len(values) > 1 else []


def _values(rules: RowPlausibility, rows: pl.DataFrame) -> list[str]:
    return rows[rules.apart].unique().sort().to_list() if rules.apart else []


def only(rules: RowPlausibility, frame: pl.DataFrame, value: str) -> pl.DataFrame:
    """The rows with such a value."""
    return frame.filter(frame[rules.apart] == value)


def _judged(
    rules: RowPlausibility, key: str, columns: Sequence[str], known: pl.DataFrame, new: pl.DataFrame, diff: RowDiff
) -> Findings:
    if known.height < rules.least_rows:
        return Findings()
    gone, changed = diff.removed.height, diff.new.height
    share = gone / known.height
    concerns: list[Concern] = []
    anomalies: list[Anomaly] = []
    counts = f"{gone:,} of {known.height:,} known keys are gone ({share:.1%}"
    if share > rules.replaced:
        concerns.append(Concern("replaced", f"{key}: {counts}; at most {rules.replaced:.0%} may be)"))
    elif share > rules.shrunk:
        concerns.append(Concern("shrunk", f"{key}: {counts}; at most {rules.shrunk:.0%} may be)"))
    elif share > rules.thinned:
        message = f"{key}: {counts}; more than {rules.thinned:.0%})"
        anomalies.append(Anomaly("shrunk", "warning", key, message, {"known": known.height, "gone": gone}))
    if rescaled := _rescaled(rules, key, known.height - gone, diff):
        concerns.append(rescaled)
    if changed > rules.changed * known.height:
        anomalies.append(_large_revision(rules, key, columns, known, new, diff))
    return Findings(tuple(concerns), tuple(anomalies))


def _rescaled(rules: RowPlausibility, key: str, shared: int, diff: RowDiff) -> Concern | None:
    """A concern if the sizes of the keys that both have moved as a whole."""
    import polars as pl

    for measure in rules.measures:
        old, new = diff.old[measure].cast(pl.Float64), diff.new[measure].cast(pl.Float64)
        moved = (old > 0) & (new != old)
        old, new = old.filter(moved), new.filter(moved)
        middle = _median(new / old, shared - old.len())
        if middle is None:
            continue
        if not 1 / rules.ratio <= middle <= rules.ratio:
            return Concern(
                "rescaled",
                f"{key}: {measure} is {middle:.4g} times what it was, by the median of {shared:,} common keys;"
                f" it may be {1 / rules.ratio:.3g} to {rules.ratio:g} times",
            )
        as_one = int((((new - old * middle).abs() <= 1) | ((new / old / middle - 1).abs() <= _SAME_FACTOR)).sum())
        if middle != 1 and as_one > rules.uniform * shared:
            return Concern(
                "rescaled",
                f"{key}: {measure} of {as_one:,} of {shared:,} common keys moved by one factor, {middle:.4g};"
                f" at most {rules.uniform:.0%} may",
            )
    return None


def _median(ratios: pl.Series, unmoved: int) -> float | None:
    """The median of some ratios and so many ones; None of nothing."""
    import polars as pl

    if ratios.len() + unmoved <= 0:
        return None
    found = pl.concat([ratios, pl.repeat(1.0, max(unmoved, 0), dtype=pl.Float64, eager=True)]).median()
    return float(found) if isinstance(found, float) else None


def _large_revision(
    rules: RowPlausibility, key: str, columns: Sequence[str], known: pl.DataFrame, new: pl.DataFrame, diff: RowDiff
) -> Anomaly:
    import polars as pl

    measure = rules.measures[0]
    both = [rows.sort(list(columns)) for rows in (known, new)]
    totals = {name: [float(rows[name].sum()) for rows in both] for name in rules.measures}
    moves = (
        diff.new.select(*columns, pl.col(measure).alias(_NOW))
        .with_columns(diff.old[measure].alias(_WAS))
        .with_columns((pl.col(_NOW) - pl.col(_WAS)).abs().alias(_BY))
        .sort(_BY, *columns, descending=[True, *(False for _ in columns)])
        .head(_MOVERS)
    )
    movers = [
        {"key": " ".join(str(row[name]) for name in columns if row[name] != ""), "was": row[_WAS], "now": row[_NOW]}
        for row in moves.to_dicts()
    ]
    change = diff.change
    told = "; ".join(f"{each['key']} {each['was']:,.15g} -> {each['now']:,.15g}" for each in movers)
    sums = ", ".join(f"{name} {was:,.15g} -> {now:,.15g}" for name, (was, now) in totals.items())
    message = (
        f"{key}: {change.changed:,} of {known.height:,} known keys changed, more than {rules.changed:.0%}"
        f" (+{change.added:,} -{change.removed:,}); {sums}; largest movers: {told}"
    )
    details = {"known": known.height, **change._asdict(), "totals": totals, "movers": movers}
    return Anomaly("large_revision", "warning", key, message, details)


def alike(legs: tuple[str, ...], nearest: Sequence[Entry], every: Sequence[str], count: int) -> list[Entry]:
    """The nearest captures with the same legs."""
    return [entry for entry in nearest if legs_of(entry, every) == legs][:count]


def odd_size(rules: RowPlausibility, key: str, rows: int, neighbours: Sequence[Entry]) -> str:
    """Why the number of rows cannot be right beside those of neighbours; empty if it can."""
    return odd_count(rules, key, rows, [entry.row_count for entry in neighbours])


def odd_count(rules: RowPlausibility, key: str, rows: int, neighbours: Sequence[int]) -> str:
    """The same, by the neighbours' numbers of rows."""
    from statistics import median

    middle = median(neighbours)
    if middle < rules.least_rows or middle / rules.rows <= rows <= middle * rules.rows:
        return ""
    return (
        f"{key}: {rows:,} rows, where the {len(neighbours)} nearest of its line have {middle:,.15g} by their median;"
        f" it may be {1 / rules.rows:g} to {rules.rows:g} times as many"
    )


def sized(rules: RowPlausibility, columns: Sequence[str], rows: pl.DataFrame) -> pl.DataFrame:
    """The sizes of rows, and what tells of each which it is: all by which neighbours are compared.

    A key is one number of 64 bits, by which joining costs a fifth. That two of a million keys share one happens once
    in thirty million times, and moves one ratio among all of which the median is taken.

    Args:
        rules: the thresholds in effect.
        columns: the key columns that are not the partition's own.
        rows: rows with these columns, the first measure, and what is judged apart.
    """
    import polars as pl

    key = pl.struct(list(columns)).hash().alias(_KEY)
    return rows.select(key, rules.measures[0], *([rules.apart] if rules.apart else []))


def odd_ratio(rules: RowPlausibility, key: str, rows: pl.DataFrame, other: pl.DataFrame, name: str) -> str:
    """Why the sizes cannot be right beside those of one neighbour; empty if they can.

    Args:
        rules: the thresholds in effect.
        key: the partition's key.
        rows: its rows, as ``sized`` gives them.
        other: the neighbour's.
        name: the neighbour's key.
    """
    import polars as pl

    measure = rules.measures[0]
    shared = rows.select(_KEY, pl.col(measure).alias(_NOW)).join(
        other.select(_KEY, pl.col(measure).alias(_WAS)), on=_KEY
    )
    shared = shared.filter(pl.col(_WAS) > 0)
    if shared.is_empty() or other.height < rules.least_rows:
        return ""
    middle = float(shared.select((pl.col(_NOW) / pl.col(_WAS)).median()).item())
    if 1 / rules.ratio <= middle <= rules.ratio:
        return ""
    return (
        f"{key}: {measure} is {middle:.4g} times that of {name}, by the median of {shared.height:,} common keys;"
        f" it may be {1 / rules.ratio:.3g} to {rules.ratio:g} times"
    )


def against_neighbours(
    rules: RowPlausibility,
    key: str,
    columns: Sequence[str],
    rows: pl.DataFrame,
    neighbours: Sequence[Entry],
    read: Callable[[Entry], pl.DataFrame],
    came: Sequence[str] = (),
) -> Findings:
    """Compare a first capture with the nearest ones of its line.

    Args:
        rules: the thresholds in effect.
        key: the partition's key.
        columns: the key columns that are not the partition's own.
        rows: its rows.
        neighbours: captures of the same legs, nearest first.
        read: reads a capture's rows.
        came: the parts that are new in a partition that is held: they alone are compared.
    """
    if len(neighbours) < rules.least_neighbours:
        return Findings()
    problem = "" if came else odd_size(rules, key, rows.height, neighbours)
    if not problem:
        frames = cache(lambda place: sized(rules, columns, read(neighbours[place])))
        names = [entry.partition.key for entry in neighbours]
        problem = _odd_parts(rules, key, sized(rules, columns, rows), names, frames, came)
    return Findings((Concern("implausible", problem),) if problem else ())


def _odd_parts(
    rules: RowPlausibility,
    key: str,
    rows: pl.DataFrame,
    names: Sequence[str],
    frames: Callable[[int], pl.DataFrame],
    came: Sequence[str],
) -> str:
    """Why the sizes, or one part alone, cannot be right beside the nearest; empty if they can.

    Args:
        rules: the thresholds in effect.
        key: the partition's key.
        rows: its rows, as ``sized`` gives them.
        names: keys of its neighbours, nearest first.
        frames: gives the rows of a neighbour by its place among them.
        came: the parts that alone are compared; none: all are, together and each.
    """
    if not came and (problem := odd_ratio(rules, key, rows, frames(0), names[0])):
        return problem
    for value in came or values_apart(rules, frames(0)):
        own, nearest = only(rules, rows, value), only(rules, frames(0), value)
        # Only where the nearest speaks against it are others read.
        if odd_count(rules, "", own.height, [nearest.height]):
            heights = [only(rules, frames(place), value).height for place in range(rules.least_neighbours)]
            if problem := odd_count(rules, f"{key} {value}", own.height, heights):
                return problem
        if problem := odd_ratio(rules, f"{key} {value}", own, nearest, names[0]):
            return problem
    return ""


def missing_legs(key: str, legs: tuple[str, ...], before: Entry | None, every: Sequence[str]) -> Anomaly | None:
    """A warning if a partition lacks a leg that the one before it in its line has."""
    had = legs_of(before, every) if before is not None else ()
    missing = [leg for leg in had if leg not in legs]
    if before is None or not missing or not legs:
        return None
    message = f"{key} came with {'+'.join(legs)} alone, and {before.partition.key} has {'+'.join(had)}"
    return Anomaly(MISSING_LEG, "warning", key, message, {"legs": list(legs), "missing": missing})
