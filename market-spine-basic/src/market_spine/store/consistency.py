"""Whether what a store keeps fits together: records that can be read, moments, counts, and what names what.

All of it is read from the manifest and from counts; no payload is opened and no row of a table is looked at.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from market_spine.core.capture import source_hash
from market_spine.core.domain import Domain
from market_spine.core.manifest import CALC, INGEST, NORMALIZE, Committed, PartRecord, RunRecord
from market_spine.core.partition import Partition
from market_spine.core.schema import Table
from market_spine.errors import StoreCorrupt
from market_spine.store import moments, records
from market_spine.store.database import Database
from market_spine.store.problems import ACCEPT, REBUILD, RESTORE, Problem
from market_spine.store.views import quote

_ORPHANS = """\
SELECT COUNT(*), {own} FROM {table} v
 WHERE NOT EXISTS (SELECT 1 FROM core_manifest m WHERE m.manifest_id = v.{column}) AND v.{column} IS NOT NULL
 GROUP BY {own}
"""
_CHECKED_SINCE = "SELECT MAX(applied_at) FROM core_migrations WHERE set_name = 'platform' AND number = 6"
_MET = """\
SELECT position, domain, partition_key, pipeline, status, reason, kind, duration_ms, recorded_at
  FROM core_run_partitions WHERE run_id = ? ORDER BY position
"""
_WORDS = ("committed", "held", "noted", "retracted", "emptied")
_VERBS = ("accept", "retract", "ack")
_TOGETHER = (INGEST, NORMALIZE, CALC)
"""Stages that one run commits in one transaction."""


class Book:
    """The manifest, read once: entries by id, and what could not be read."""

    def __init__(self, db: Database) -> None:
        self.problems: list[Problem] = []
        parts: dict[int, list[PartRecord]] = defaultdict(list)
        self.parts: list[tuple[int, PartRecord]] = []
        for row in db.rows(f"SELECT {records.PART_COLUMNS} FROM core_capture_parts"):
            for part in self._read(records.part_record, row):
                parts[row[0]].append(part)
                self.parts.append((row[0], part))
        self.entries: list[Committed] = []
        for row in db.rows(f"SELECT {records.MANIFEST_COLUMNS} FROM core_manifest ORDER BY manifest_id"):
            self.entries += self._read(lambda each: records.committed(each, parts.get(each[0], [])), row)
        self.by_id = {each.entry.manifest_id: each for each in self.entries}
        self.runs = _runs(db, self._read)

    def _read(self, convert: Callable[[Sequence[Any]], Any], row: Sequence[Any]) -> list[Any]:
        try:
            return [convert(row)]
        except StoreCorrupt as error:
            self.problems.append(Problem(error.message))
            return []


def _runs(db: Database, read: Callable[..., list[Any]]) -> dict[str, tuple[datetime | None, datetime | None]]:
    """Run to the moments at which its start and its end were recorded."""
    moment = lambda row: (str(row[0]), moments.from_text(row[1]))  # noqa: E731
    starts = dict(
        each for row in db.rows("SELECT run_id, recorded_at FROM core_run_starts") for each in read(moment, row)
    )
    ends = dict(each for row in db.rows("SELECT run_id, recorded_at FROM core_run_ends") for each in read(moment, row))
    return {run: (starts.get(run), ends.get(run)) for run in starts.keys() | ends.keys()}


def told(found: Committed) -> str:
    """Names an entry."""
    entry = found.entry
    return f"{entry.partition.key}: entry {entry.manifest_id} ({entry.stage} of {entry.capture_id})"


def manifest(db: Database, domains: Sequence[Domain], book: Book) -> str | list[Problem]:
    """Every entry can be read, and fits the entries, parts and runs beside it; every row belongs to one."""
    relations = db.relations()
    tables = [table for domain in domains for table in domain.tables if table.versions in relations]
    wrong = [*book.problems, *_orphans(db, tables)]
    captures: dict[str, list[Committed]] = defaultdict(list)
    for found in book.entries:
        if found.entry.stage == INGEST:
            captures[found.entry.capture_id].append(found)
    for found in book.entries:
        wrong += [Problem(f"{told(found)} {what}", hint) for what, hint in _entry(found, captures)]
        wrong += _within_run(told(found), found.committed_at, found.entry.run_id, book)
    wrong += _order(book.entries)
    return wrong or f"{len(book.entries)} entries; every row of {len(tables)} tables belongs to one"


def _orphans(db: Database, tables: Sequence[Table]) -> list[Problem]:
    """Rows that no entry brought or closed, by partition."""
    places = [(each.versions, each.partition_by, name) for each in tables for name in ("manifest_id", "superseded_by")]
    places += [("core_rejects", ("partition_key",), "manifest_id"), ("core_capture_parts", ("part",), "manifest_id")]
    wrong = []
    for name, own, column in places:
        sql = _ORPHANS.format(table=quote(name), column=column, own=", ".join(map(quote, own)))
        hint = RESTORE if name == "core_capture_parts" else f"{REBUILD}; if captures are lost with it, {RESTORE}"
        for count, *values in db.rows(sql):
            where = "|".join(map(str, values))
            wrong.append(Problem(f"{where}: {count} rows of {name} have a {column} that is not in the manifest", hint))
    return wrong


def _entry(found: Committed, captures: dict[str, list[Committed]]) -> list[tuple[str, str]]:
    """What is wrong with an entry beside the entries that brought its capture, and what to do."""
    entry, wrong = found.entry, []
    brought = captures.get(entry.capture_id, [])
    if entry.status not in _WORDS:
        wrong.append((f"has the status {entry.status!r}", RESTORE))
    if not brought:
        return [*wrong, ("names a capture that no ingest entry brought", RESTORE)]
    if found.captured_at != brought[0].committed_at:
        when = moments.to_text(brought[0].committed_at)
        wrong.append((f"says that its capture came at {moments.to_text(found.captured_at)}, not at {when}", RESTORE))
    if entry.stage == INGEST and entry.status in ("committed", "held", "noted"):
        if source_hash({part.name: part.sha256 for part in entry.parts}) != entry.source_hash:
            wrong.append(("has a source_hash that is not that of its parts", RESTORE))
    elif entry.source_hash not in {each.entry.source_hash for each in brought}:
        wrong.append(("has a source_hash that its capture never had", RESTORE))
    if min(entry.row_count, entry.rejected, entry.duplicates) < 0:
        wrong.append(("has counts below zero", ACCEPT))
    return wrong


def _within_run(what: str, moment: datetime, run_id: str, book: Book) -> list[Problem]:
    """Whether something that a run did lies between its start and its end, as far as these were recorded."""
    start, end = book.runs.get(run_id, (None, None))
    if start is not None and moment <= start:
        return [Problem(f"{what} was committed at {moments.to_text(moment)}, before its run {run_id} began")]
    if end is not None and moment >= end:
        return [Problem(f"{what} was committed at {moments.to_text(moment)}, after its run {run_id} had ended")]
    return []


def _order(entries: Sequence[Committed]) -> list[Problem]:
    """Moments grow with the ids of a partition, no two partitions share one, and one transaction has one."""
    wrong = []
    latest: dict[Partition, datetime] = {}
    owners: dict[datetime, Partition] = {}
    transactions: dict[tuple[Partition, str], Committed] = {}
    for found in entries:
        entry, moment = found.entry, found.committed_at
        before = latest.get(entry.partition)
        if before is not None and moment < before:
            wrong.append(Problem(f"{told(found)} was committed before the entry before it, {moments.to_text(before)}"))
        latest[entry.partition] = moment
        if owners.setdefault(moment, entry.partition) != entry.partition:
            wrong.append(Problem(f"{told(found)} has the moment of another partition, {moments.to_text(moment)}"))
        if entry.stage in _TOGETHER:
            first = transactions.setdefault((entry.partition, entry.run_id), found)
            if first.committed_at != moment:
                wrong.append(Problem(f"{told(found)} was not committed at the moment of its run's other entries"))
    return wrong


def rows(db: Database, domains: Sequence[Domain], book: Book) -> str | list[Problem]:
    """Each entry brought and closed as many rows of its tables as it says."""
    relations = db.relations()
    wrong, count = [], 0
    for domain in domains:
        moved: dict[int, dict[str, tuple[int, int]]] = defaultdict(dict)
        tables = [table for table in domain.tables if table.versions in relations]
        for table in tables:
            for entry_id, brought, closed in db.movements(table):
                moved[entry_id][table.name] = (int(brought), int(closed))
                wrong += _foreign(table, domain, book.by_id.get(entry_id), int(brought + closed))
        for found in book.entries:
            change = found.entry.change
            if found.entry.partition.domain != domain.name or found.entry.stage == INGEST or change is None:
                continue
            count += 1
            own = moved.get(found.entry.manifest_id, {})
            counts = (sum(each[0] for each in own.values()), sum(each[1] for each in own.values()))
            said = (change.added + change.changed, change.removed + change.changed)
            if counts != said:
                names = [table.name for table in tables if table.stage == found.entry.stage]
                wrong.append(
                    Problem(
                        f"{told(found)} brought {counts[0]} rows of {', '.join(names)} and closed {counts[1]};"
                        f" it says {said[0]} and {said[1]}",
                        f"{REBUILD}; if that says that it differs, {ACCEPT}",
                    )
                )
    return wrong or f"the rows that {count} entries brought and closed are there"


def _foreign(table: Table, domain: Domain, found: Committed | None, count: int) -> list[Problem]:
    """What an entry of another domain or stage cannot have done."""
    if found is None or (found.entry.partition.domain == domain.name and found.entry.stage in (INGEST, table.stage)):
        return []
    return [Problem(f"{count} rows of {table.name} were brought or closed by another's entry: {told(found)}", REBUILD)]


def decisions(db: Database, book: Book) -> str | list[Problem]:
    """Decisions can be read, are numbered without a gap, and what they decided was done at their moment."""
    sql = f"SELECT {records.DECISION_COLUMNS} FROM core_decisions ORDER BY decision_id"
    wrong, count = [], 0
    done: dict[tuple[str, datetime], list[Committed]] = defaultdict(list)
    for found in book.entries:
        if found.entry.stage == INGEST:
            done[found.entry.capture_id, found.committed_at].append(found)
    retracted = {key for key, each in done.items() if any(one.entry.status in _WORDS[3:] for one in each)}
    for count, row in enumerate(db.rows(sql), 1):
        try:
            record = records.decision_record(row)
        except StoreCorrupt as error:
            wrong.append(Problem(error.message))
            continue
        decision = record.decision
        what = f"{decision.partition_key}: decision {row[0]} ({decision.verb})"
        if row[0] != count:
            wrong.append(Problem(f"{what} should be the {count}th: one before it is missing"))
        if decision.verb not in _VERBS:
            wrong.append(Problem(f"{what} is no decision"))
        if decision.capture_id and (decision.capture_id, record.decided_at) not in done:
            wrong.append(Problem(f"{what} about {decision.capture_id} has no entry of its moment"))
        if decision.verb == "retract":
            retracted.discard((decision.capture_id or "", record.decided_at))
        wrong += _within_run(what, record.decided_at, decision.run_id, book)
    wrong += [Problem(f"{told(done[key][0])} was retracted, and no decision says so") for key in sorted(retracted)]
    return wrong or f"{count} kept"


def anomalies(db: Database, book: Book) -> str | list[Problem]:
    """Anomaly events can be read, are numbered without a gap and in the order of their moments."""
    wrong, count = [], 0
    latest: datetime | None = None
    owners = {found.committed_at: found.entry.partition.key for found in book.entries}
    seen: set[tuple[str, str, str]] = set()
    for count, row in enumerate(
        db.rows(f"SELECT {records.EVENT_COLUMNS} FROM core_anomaly_events ORDER BY event_id"), 1
    ):
        number, domain, key, kind = row[:4]
        what = f"{key}: anomaly event {number} ({kind})"
        try:
            moment, event = records.anomaly_event(row)
        except StoreCorrupt as error:
            wrong.append(Problem(error.message))
            continue
        if number != count:
            wrong.append(Problem(f"{what} should be the {count}th: one before it is missing"))
            break
        if latest is not None and moment < latest:
            wrong.append(Problem(f"{what} lies before the event before it, {moments.to_text(latest)}"))
        latest = moment
        if owners.setdefault(moment, key) != key:
            wrong.append(Problem(f"{what} has the moment of another partition, {moments.to_text(moment)}"))
        if event.seen is None and (domain, key, kind) not in seen:
            wrong.append(Problem(f"{what} ends what was never seen"))
        seen.add((domain, key, kind))
    if wrong:
        return wrong
    ((still,),) = db.rows("SELECT COUNT(*) FROM core_anomalies WHERE resolved_at IS NULL")
    return f"{still} open" + ("; see `market-spine anomalies`" if still else "")


def notices(db: Database) -> str | list[Problem]:
    """What others were told can be read, is numbered without a gap and in the order of its moments."""
    wrong, count, latest = [], 0, ""
    sql = f"SELECT {records.NOTICE_COLUMNS} FROM core_notifications ORDER BY notification_id"
    for count, row in enumerate(db.rows(sql), 1):
        try:
            records.notice_record(row)
        except StoreCorrupt as error:
            wrong.append(Problem(error.message))
            continue
        if row[0] != count:
            return [*wrong, Problem(f"{row[3]}: notice {row[0]} should be the {count}th: one before it is missing")]
        if row[-1] < latest:
            wrong.append(Problem(f"{row[3]}: notice {row[0]} lies before the notice before it, {latest}"))
        latest = row[-1]
    return wrong or f"{count} kept"


def runs(db: Database, book: Book) -> str | list[Problem]:
    """Starts and results of runs can be read, and say the same in their columns and in their documents."""
    wrong = []
    ((since,),) = db.rows(_CHECKED_SINCE)
    for *row, recorded_at in db.rows(f"SELECT {records.RUN_COLUMNS}, recorded_at FROM core_run_ends"):
        said = [Problem(f"run {row[0]}: {what}") for what in _run(row)]
        wrong += said or _met(db, records.run_record(row), recorded_at, since)
    for start in db.rows(f"SELECT {records.START_COLUMNS} FROM core_run_starts"):
        wrong += [Problem(f"start of run {start[0]}: {what}") for what in _start(start)]
    for name, (began, ended) in book.runs.items():
        if began is not None and ended is not None and ended <= began:
            wrong.append(Problem(f"run {name} ended at {moments.to_text(ended)}, before it began"))
    return wrong or f"{len(book.runs)} kept"


_SAID = ("run_id", "domain", "scheduler", "status", "exit_code")


def _run(row: Sequence[Any]) -> list[str]:
    try:
        run = records.run_record(row)
        document = json.loads(run.result)
        told = {name: document.get(name, getattr(run, name)) for name in _SAID}
        stats = document.get("stats", {})
        told |= {name: stats.get(name, getattr(run, name)) for name in ("attempted", "succeeded", "failed", "skipped")}
    except (StoreCorrupt, ValueError, TypeError, AttributeError) as error:
        return [f"cannot be read ({error})"]
    return [
        f"its column {name} says {getattr(run, name)!r}, its result {value!r}"
        for name, value in told.items()
        if value != getattr(run, name)
    ]


def _met(db: Database, run: RunRecord, recorded_at: str, since: str) -> list[Problem]:
    """Whether what a run found of each partition is what its result says; before ``since`` nothing was kept."""
    kept = db.rows(_MET, (run.run_id,))
    said = [(each[0], *each[2:]) for each in records.check_rows(run, recorded_at)]
    if kept == said or (not kept and recorded_at <= since):
        return []
    wrong = [each[2] for each in (kept or said) if each not in said or each not in kept] or [said[-1][2]]
    what = f"core_run_partitions has {len(kept)} rows of run {run.run_id} that are not the {len(said)} of its result"
    return [Problem(f"{wrong[0]}: {what}", REBUILD)]


def _start(row: Sequence[Any]) -> list[str]:
    try:
        start = records.run_start(row)
        document = json.loads(start.document)
        pairs = {name: (getattr(start, name), document.get(name)) for name in ("run_id", "domain", "scheduler")}
    except (StoreCorrupt, ValueError, TypeError, AttributeError) as error:
        return [f"cannot be read ({error})"]
    return [f"its column {name} says {one!r}, its document {two!r}" for name, (one, two) in pairs.items() if one != two]


def window_checks(db: Database, book: Book) -> str | list[Problem]:
    """What says that windows stand says so of commits that there are."""
    committed = {moments.to_text(found.committed_at) for found in book.entries}
    columns = "domain, versions, checked_through, checked_at"
    wrong = [
        Problem(
            f"{domain}: windows are said to stand through {through}, checked at {checked}, when nothing was committed"
        )
        for domain, _, through, checked in db.rows(f"SELECT {columns} FROM core_window_checks")
        if through not in committed or checked <= through
    ]
    return [problem._replace(hint=REBUILD) for problem in wrong] or "windows stand as far as is said"
