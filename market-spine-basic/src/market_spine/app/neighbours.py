"""A run's first captures beside their neighbours: what each is compared with, and all of them with each other.

A first capture is judged by what was current when the run was planned, and what a run brought is compared with each
other once it has ended, in the order of the plan: so no finding depends on order or workers.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from market_spine.app.draft import partition_scope
from market_spine.app.plausibility import (
    alike,
    missing_legs,
    odd_count,
    odd_ratio,
    odd_size,
    only,
    own_columns,
    sized,
    values_apart,
)
from market_spine.app.report import Plan
from market_spine.app.scheduling import RunStatus
from market_spine.app.task import Nearby, Outcome, Run, Task
from market_spine.core.anomaly import MISSING_LEG, Anomaly
from market_spine.core.domain import Domain, Place
from market_spine.core.manifest import Entry, legs_of
from market_spine.core.partition import Partition
from market_spine.core.plausibility import RowPlausibility
from market_spine.core.ports import Reader, Writer

if TYPE_CHECKING:
    import polars as pl

_WITNESSES = 3
"""Captures of one run are compared with so many of the nearest, and must contradict most: any may be the odd one."""
_FRAMES_KEPT = 8


class Lines:
    """The domain's partitions on their lines; of their captures only those near what is asked for are read."""

    def __init__(self, domain: Domain, store: Reader, count: int) -> None:
        self._domain, self._store, self._count = domain, store, count
        # So many of each set of legs, were each among the nearest in equal parts.
        self._reach = max(1, count) * (2 ** len(domain.legs) - 1 or 1)
        self._places: dict[str, list[tuple[int, str]]] = {}
        for key in store.partition_keys(domain.name):
            place = domain.place(Partition(domain.name, tuple(key.split("|"))))
            if place is not None:
                self._places.setdefault(place.line, []).append((place.position, key))
        for found in self._places.values():
            found.sort()
        self._current: dict[str, Entry | None] = {}

    def read(self, partitions: Iterable[Partition]) -> None:
        """Read what is current near some partitions, and of them, at once."""
        wanted: set[str] = set()
        for partition in partitions:
            if place := self._domain.place(partition):
                around = self._around(place.line, place.position)
                wanted.update(key for _, key in around)
        missing = sorted(wanted.difference(self._current))
        for key, known in self._store.known(self._domain.name, missing).items() if missing else ():
            self._current[key] = known.current.entry if known.current else None

    def current(self, partition: Partition) -> Entry | None:
        """The partition's own current capture."""
        return self._current.get(partition.key)

    def nearby(self, partition: Partition) -> Nearby:
        """A partition's neighbours, so many of each set of legs among those near it: nearest first, of two equally
        near the earlier."""
        place = self._domain.place(partition)
        if place is None:
            return Nearby()
        others = [
            (position, entry)
            for position, key in self._around(place.line, place.position)
            if position != place.position and (entry := self._current.get(key))
        ]
        seen: Counter[tuple[str, ...]] = Counter()
        chosen = []
        for _, entry in sorted(others, key=lambda each: (abs(each[0] - place.position), each[0])):
            legs = legs_of(entry, self._domain.legs)
            seen[legs] += 1
            if seen[legs] <= self._count:
                chosen.append(entry)
        before = [entry for position, entry in others if position < place.position]
        return Nearby(tuple(chosen), before[-1] if before else None)

    def _around(self, line: str, position: int) -> Sequence[tuple[int, str]]:
        """What is near a place on a line, itself included, in order: as many before it as after it."""
        places = self._places.get(line, [])
        before, after = bisect_left(places, (position, "")), bisect_left(places, (position + 1, ""))
        return places[max(0, before - self._reach) : after + self._reach]


def beside(run: Run, tasks: Sequence[Task], store: Reader) -> list[Task]:
    """The tasks, those that may bring something for the first time with their neighbours as they are now."""
    lines = Lines(run.domain, store, _count(run))
    lines.read(task.partition for task in tasks if task.is_awaited)
    return [task._replace(nearby=lines.nearby(task.partition)) if task.is_awaited else task for task in tasks]


def _count(run: Run) -> int:
    return run.rules.neighbours if run.rules else 0


def compare_firsts(plan: Plan, outcomes: Sequence[Outcome], tasks: Sequence[Task]) -> list[Outcome]:
    """Compare the first captures of a run with each other, and keep what is odd.

    Args:
        plan: of the run, which is no dry one.
        outcomes: its outcomes, in plan order.
        tasks: its tasks, with the neighbours that were known when it was planned.

    Returns:
        The outcomes, with the anomalies that were noted.
    """
    run = plan.run
    firsts = {outcome.partition_key for outcome in outcomes if _is_first(run.domain, outcome)}
    writer = run.stores.writer
    if not firsts or writer is None:
        return list(outcomes)
    planned = {task.partition.key: task.nearby for task in tasks}
    told = {
        each.partition_key: {seen.kind for seen in each.anomalies} for each in outcomes if each.partition_key in firsts
    }
    found = _compare_lines(plan, writer, told, planned)
    return [
        outcome._replace(anomalies=(*outcome.anomalies, *found.get(outcome.partition_key, ()))) for outcome in outcomes
    ]


def _compare_lines(
    plan: Plan, writer: Callable[[], Writer], told: Mapping[str, Collection[str]], planned: Mapping[str, Nearby]
) -> dict[str, list[Anomaly]]:
    """``_compare``, each line by itself where there are workers for several."""
    lines: dict[str, dict[str, Collection[str]]] = {}
    for key, kinds in told.items():
        lines.setdefault(_place(plan.run, key).line, {})[key] = kinds
    if plan.workers == 1 or len(lines) == 1:
        return _compare(plan.run, writer, told, planned)
    from market_spine.app.executing import Threads

    with Threads(plan) as threads:
        begun = [threads.submit(_compare, plan.run, writer, line, planned) for line in lines.values()]
        return {key: odd for line in begun for key, odd in line.result().items()}


def compare_shards(run: Run, store: Reader, keys: Collection[str]) -> list[Anomaly]:
    """Compare first captures that shards brought, which look at no neighbour themselves, and keep what is odd.

    Args:
        run: the run that does so, which is no dry one.
        store: as it is now.
        keys: the partitions among which they are looked for.

    Returns:
        The anomalies that were noted.
    """
    assert run.stores.writer is not None
    runs: dict[str, bool] = {}
    told: dict[str, set[str]] = {}
    for key, known in store.known(run.domain.name, sorted(keys)).items():
        if known.current is None or len(known.captures) > 1:
            continue
        run_id = known.current.entry.run_id
        if run_id not in runs:
            runs[run_id] = _is_shard(store, run_id)
        if runs[run_id]:
            told[key] = set()
    if not told:
        return []
    for record in store.anomalies(run.domain.name, acknowledged=True):
        told.get(record.anomaly.partition_key, set()).add(record.anomaly.kind)
    found = _compare(run, run.stores.writer, told, {})
    return [anomaly for several in found.values() for anomaly in several]


def _is_shard(store: Reader, run_id: str) -> bool:
    record = store.find_run(run_id)
    return record is not None and "shard" in json.loads(record.result).get("config", {})


def _compare(
    run: Run, writer: Callable[[], Writer], told: Mapping[str, Collection[str]], planned: Mapping[str, Nearby]
) -> dict[str, list[Anomaly]]:
    """What is odd about first captures, which is kept: ``told`` are kinds that have been said of each."""
    with closing(writer()) as store:
        lines = Lines(run.domain, store, _count(run))
        lines.read(map(run.domain.partition, told))
        frames = _Frames(run, store)
        found: dict[str, list[Anomaly]] = {}
        # Along the lines, so that neighbours, which share most of theirs, come one after another.
        for key in sorted(told, key=lambda each: _place(run, each)):
            odd = _odd(run, key, planned.get(key, Nearby()), lines, frames, told[key])
            found[key] = [each for each in odd if each.kind not in told[key]]
            if found[key]:
                with store.commit(run.domain.partition(key)) as commit:
                    for anomaly in found[key]:
                        commit.note(anomaly)
        return found


def _place(run: Run, key: str) -> Place:
    return run.domain.place(run.domain.partition(key)) or Place("", 0)


def _is_first(domain: Domain, outcome: Outcome) -> bool:
    ingest = domain.stages[0].pipeline
    return any(
        run.pipeline == ingest
        and run.status is RunStatus.COMPLETED
        and run.is_revision is False
        and run.revision_summary is None
        for run in outcome.runs
    )


def _odd(
    run: Run,
    key: str,
    planned: Nearby,
    lines: Lines,
    frames: _Frames,
    told: Collection[str],
) -> list[Anomaly]:
    """What is odd about a first capture that could not be said before the others were there."""
    domain, rules = run.domain, run.rules
    partition = domain.partition(key)
    own = lines.current(partition)
    if own is None:
        return []
    legs, nearby, found = legs_of(own, domain.legs), lines.nearby(partition), []
    if MISSING_LEG not in told and (lacking := missing_legs(key, legs, nearby.before, domain.legs)):
        found.append(lacking)
    if rules is None or len(alike(legs, planned.nearest, domain.legs, rules.neighbours)) >= rules.least_neighbours:
        return found
    neighbours = alike(legs, nearby.nearest, domain.legs, rules.neighbours)
    if len(neighbours) < rules.least_neighbours:
        return found
    problem = odd_size(rules, key, own.row_count, neighbours)
    if not problem:
        problem = _contradicted(rules, key, frames.of(own), neighbours[:_WITNESSES], frames)
    if problem:
        found.append(Anomaly("implausible", "warning", key, problem))
    return found


def _contradicted(
    rules: RowPlausibility, key: str, rows: pl.DataFrame, witnesses: Sequence[Entry], frames: _Frames
) -> str:
    """What most of some neighbours say against the sizes, all of them or those of one part; empty if nothing."""
    count = len(witnesses)
    said = (odd_ratio(rules, key, rows, frames.of(each), each.partition.key) for each in witnesses)
    if problem := _most(said, count):
        return problem
    for value in values_apart(rules, frames.of(witnesses[0])):
        own = only(rules, rows, value)
        others = {each.partition.key: only(rules, frames.of(each), value) for each in witnesses}
        about = f"{key} {value}"
        if problem := odd_count(rules, about, own.height, [each.height for each in others.values()]):
            return problem
        if problem := _most((odd_ratio(rules, about, own, each, name) for name, each in others.items()), count):
            return problem
    return ""


def _most(said: Iterable[str], count: int) -> str:
    """The first of what ``count`` witnesses say, if most say something; once that is settled no more are heard."""
    spoken: list[str] = []
    for heard, each in enumerate(said, start=1):
        spoken += [each] if each else []
        if len(spoken) * 2 > count:
            return spoken[0]
        if (heard - len(spoken)) * 2 >= count:
            break
    return ""


class _Frames:
    """What of captures' rows is compared; neighbours share most of theirs."""

    def __init__(self, run: Run, store: Reader) -> None:
        self._domain, self._store, self._rules = run.domain, store, run.rules
        self._kept: OrderedDict[str, pl.DataFrame] = OrderedDict()

    def of(self, capture: Entry) -> pl.DataFrame:
        """That of a current capture, as ``sized`` gives it."""
        assert self._rules is not None
        table = self._domain.tables[0]
        key = capture.partition.key
        if key not in self._kept:
            columns = own_columns(table)
            scope = partition_scope(table, capture.partition)
            # Medians of what is joined by key are the same in any order.
            rows = self._store.read(table, scope, (*columns, self._rules.measures[0]), in_order=False)
            self._kept[key] = sized(self._rules, columns, rows)
        self._kept.move_to_end(key)
        while len(self._kept) > _FRAMES_KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]
