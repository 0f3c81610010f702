"""Recomputing what a store holds from its payloads alone, and comparing: every version of every row, every entry."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from market_spine.app.draft import partition_scope
from market_spine.app.rebuild import MomentClock, replayed
from market_spine.app.windows import find_window, windows_reached
from market_spine.core.commitlog import Past, PastCommit, PastRun
from market_spine.core.domain import Domain
from market_spine.core.fingerprint import window_versions
from market_spine.core.manifest import CALC, Committed, RunStart
from market_spine.core.partition import Partition
from market_spine.core.ports import Keeper, Writer
from market_spine.core.schema import Table
from market_spine.errors import MarketSpineError

if TYPE_CHECKING:
    import polars as pl

_COMPARED = (
    "partition",
    "stage",
    "status",
    "capture_id",
    "fingerprint",
    "pipeline_version",
    "source_hash",
    "content_hash",
    "row_count",
    "rejected",
    "duplicates",
    "is_revision",
    "change",
)
_ENTRY, _CLOSED = "manifest_id", "superseded_by"


class Difference(NamedTuple):
    """Something that is not what the payloads say.

    Attributes:
        message: partition, table, and what differs.
        manifest: it is what the manifest says, not a row, that differs.
    """

    message: str
    manifest: bool = False


@dataclass
class Verdict:
    """What came of recomputing some partitions.

    Attributes:
        rows: table to how many versions of rows were compared.
        partitions: how many partitions were.
    """

    differences: list[Difference] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    partitions: int = 0


def groups(domain: Domain, keys: Collection[str]) -> list[list[str]]:
    """Partitions of a domain that must be recomputed together, because windows look from one at another."""
    leader = {key: key for key in keys}

    def find(key: str) -> str:
        while leader[key] != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    for calc, partition in windows_reached(domain, keys, None):
        for each in calc.inputs(partition):
            if each.key in leader:
                leader[find(each.key)] = find(partition.key)
    found: dict[str, list[str]] = {}
    for key in sorted(keys):
        found.setdefault(find(key), []).append(key)
    return list(found.values())


def verify(
    log: Sequence[Past],
    partitions: Collection[Partition],
    domain: Domain,
    source: Keeper,
    target: Writer,
    clock: MomentClock,
) -> Verdict:
    """Replay the log of some partitions of a domain into an empty store, and compare the two stores.

    Args:
        log: every transaction up to some moment, oldest first.
        partitions: which of them.
        domain: whose they are.
        source: the store that is looked at.
        target: an empty store.
        clock: its clock.
    """
    verdict = Verdict(partitions=len(partitions))
    commits = [past for past in log if isinstance(past, PastCommit)]
    known = entries(log)
    broken: set[str] = set()
    for past in (past for past in commits if past.partition in partitions):
        reached = {past.partition.key, *_looked_at(domain, past)}
        if broken & reached:
            broken.add(past.partition.key)
            continue
        clock.moment = past.moment
        try:
            replayed(domain, past, source, target, clock)
        except MarketSpineError as error:
            broken.add(past.partition.key)
            where = "" if error.message.startswith(past.partition.key) else f"{past.partition.key}: "
            text = f"{where}{error.message}"
            verdict.differences.append(Difference(text, manifest=True))
    for partition in sorted(partitions, key=lambda each: each.key):
        if partition.key not in broken:
            verdict.differences += _entries(domain, partition, source, target, known)
            verdict.differences += _rejects(partition, source, target, known)
        for table in domain.tables:
            count, wrong = _rows(table, partition, source, target, known)
            verdict.rows[table.name] = verdict.rows.get(table.name, 0) + count
            verdict.differences += [] if partition.key in broken else wrong
    return verdict


def _looked_at(domain: Domain, past: PastCommit) -> list[str]:
    """The partitions that a transaction's windows look at."""
    stages = {entry.stage for entry in past.entries}
    return [each.key for calc in domain.windows if calc.spec.name in stages for each in calc.inputs(past.partition)]


def _entries(
    domain: Domain, partition: Partition, source: Keeper, target: Writer, known: Collection[int]
) -> list[Difference]:
    kept = [each for each in source.history(domain.name, partition.key) if each.entry.manifest_id in known]
    made = {each.entry.manifest_id: each for each in target.history(domain.name, partition.key)}
    found = []
    for each in kept:
        other = made.get(each.entry.manifest_id)
        wrong = ["all of it"] if other is None else _fields(each, other)
        if wrong:
            entry = each.entry
            what = f"{partition.key}: core_manifest: entry {entry.manifest_id} ({entry.stage} of {entry.capture_id})"
            found.append(Difference(f"{what} is not what its payload says: {'; '.join(wrong)}", manifest=True))
    return found


def _fields(kept: Committed, made: Committed) -> list[str]:
    pairs = {name: (getattr(kept.entry, name), getattr(made.entry, name)) for name in _COMPARED}
    pairs |= {
        "committed_at": (kept.committed_at, made.committed_at),
        "captured_at": (kept.captured_at, made.captured_at),
    }
    return [f"{name} is {_short(one)}, not {_short(two)}" for name, (one, two) in pairs.items() if one != two]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def _rejects(partition: Partition, source: Keeper, target: Keeper, known: Collection[int]) -> list[Difference]:
    one, two = (
        sorted((row for row in store.rejected(partition.key) if row[0] in known), key=repr)
        for store in (source, target)
    )
    if one == two:
        return []
    lost, extra = (len(Counter(some) - Counter(others)) for some, others in ((two, one), (one, two)))
    told = f"{lost} rows are missing or changed, {extra} are not of its payloads"
    return [Difference(f"{partition.key}: core_rejects: {told}")]


def _rows(
    table: Table, partition: Partition, source: Keeper, target: Keeper, known: Collection[int]
) -> tuple[int, list[Difference]]:
    """How many versions of rows there are, and whether they are those that were made."""
    scope = partition_scope(table, partition)
    try:
        frame = source.versions(table, scope)
    except Exception as error:  # noqa: BLE001 - what is damaged may fail anywhere
        return 0, [Difference(f"{partition.key}: {table.name}: cannot be read ({error})")]
    kept, made = _until(frame, known), _until(target.versions(table, scope), known)
    if kept.equals(made):
        return kept.height, []
    names = kept.columns
    lost = made.join(kept, on=names, how="anti", nulls_equal=True)
    extra = kept.join(made, on=names, how="anti", nulls_equal=True)
    doubled = kept.height - kept.n_unique()
    own = [*table.key, _ENTRY]
    changed = lost.join(extra, on=own, how="semi", nulls_equal=True).height
    counts = {
        "changed": changed,
        "missing": lost.height - changed,
        "that no payload has": extra.height - extra.join(lost, on=own, how="semi", nulls_equal=True).height,
        "doubled": doubled,
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return kept.height, [Difference(f"{partition.key}: {table.name}: of {made.height} versions of rows: {told}")]


def _until(frame: pl.DataFrame, known: Collection[int]) -> pl.DataFrame:
    """Versions as the entries that are looked at left them, in an order of their own."""
    import polars as pl

    ids = pl.Series(sorted(known), dtype=pl.Int64).implode()
    later = ~pl.col(_CLOSED).is_in(ids)
    rows = frame.filter(pl.col(_ENTRY).is_in(ids))
    return rows.with_columns(pl.when(later).then(None).otherwise(pl.col(_CLOSED)).alias(_CLOSED)).sort(rows.columns)


def results(log: Sequence[Past], domains: Mapping[str, Domain]) -> list[Difference]:
    """What results of runs say otherwise than the manifest of the captures and rows that they brought."""
    brought = {
        (entry.run_id, entry.partition.key, entry.stage): entry
        for past in log
        if isinstance(past, PastCommit)
        for entry in past.entries
        if entry.status == "committed"
    }
    found = []
    for past in log:
        if not isinstance(past, PastRun) or isinstance(past.run, RunStart) or past.run.domain not in domains:
            continue
        domain = domains[past.run.domain]
        stages = {spec.pipeline: spec.name for spec in (*domain.stages, *(calc.spec for calc in domain.windows))}
        for told in json.loads(past.run.result).get("runs", ()):
            entry = brought.get((past.run.run_id, told["partition_key"], stages.get(told["pipeline"], "")))
            if entry is None or told["status"] != "completed":
                continue
            said = {"capture_id": told["capture_id"], "row_count": told["row_count"]}
            if summary := told.get("revision_summary"):
                said |= {name: summary[name] for name in ("rows_added", "rows_removed", "rows_changed")}
            change = entry.change
            has = {"capture_id": entry.capture_id, "row_count": entry.row_count}
            has |= {f"rows_{name}": getattr(change, name, None) for name in ("added", "removed", "changed")}
            wrong = [f"{name} is {has[name]}, not {value}" for name, value in said.items() if has[name] != value]
            if wrong:
                what = f"{told['partition_key']}: core_manifest: entry {entry.manifest_id} ({entry.stage})"
                text = f"{what} is not what its run {past.run.run_id} told: {'; '.join(wrong)}"
                found.append(Difference(text, manifest=True))
    return found


def windows(domain: Domain, source: Keeper) -> list[Difference]:
    """Windows that are said to stand and do not."""
    moves = source.moves(domain.name, window_versions(domain))
    if not domain.windows or moves.keys is None:
        return []
    known = source.known(domain.name)
    found = []
    for calc, partition in windows_reached(domain, known, None):
        if CALC not in known[partition.key].stages or any(each.key in moves.keys for each in calc.inputs(partition)):
            continue
        if not find_window(calc, partition, known).standing:
            text = f"{partition.key}: {calc.table.name}: the window is not that of its inputs, and said to stand"
            found.append(Difference(text))
    return found


def until(log: Sequence[Past], moment: datetime | None) -> list[Past]:
    """The transactions up to a moment."""
    return [past for past in log if moment is None or past.moment <= moment]


def entries(log: Sequence[Past]) -> frozenset[int]:
    """The manifest ids of the transactions."""
    return frozenset(entry.manifest_id for past in log if isinstance(past, PastCommit) for entry in past.entries)


def partitions(log: Sequence[Past]) -> dict[str, dict[str, Partition]]:
    """Domain to its partitions, by key, that the log has entries of."""
    found: dict[str, dict[str, Partition]] = {}
    for past in log:
        if isinstance(past, PastCommit) and past.entries:
            found.setdefault(past.partition.domain, {})[past.partition.key] = past.partition
    return found
