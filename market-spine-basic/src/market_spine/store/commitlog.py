"""Reading the commit log back: manifest, anomaly events, decisions and runs, put together by their moments."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from market_spine.core.commitlog import AnomalyEvent, PastCommit, PastNotices, PastRun
from market_spine.core.decision import Decision
from market_spine.core.manifest import Entry
from market_spine.core.notice import Notice
from market_spine.core.partition import Partition
from market_spine.store import manifest, records
from market_spine.store.database import Database
from market_spine.store.moments import from_text

_NOTICES = f"SELECT {records.NOTICE_COLUMNS} FROM core_notifications ORDER BY notification_id"
_EVENTS = f"SELECT {records.EVENT_COLUMNS} FROM core_anomaly_events ORDER BY event_id"
_STARTS = f"SELECT recorded_at, {records.START_COLUMNS} FROM core_run_starts"
_ENDS = f"SELECT recorded_at, {records.RUN_COLUMNS} FROM core_run_ends"


def read_log(db: Database) -> list[PastCommit | PastRun | PastNotices]:
    """Every transaction of the store, oldest first; see ``LogReader.log`` in ``core.commitlog``."""
    entries: dict[datetime, list[Entry]] = defaultdict(list)
    for committed in manifest.read_entries(db, "1 = 1", ()):
        entries[committed.committed_at].append(committed.entry)
    events: dict[datetime, list[AnomalyEvent]] = defaultdict(list)
    partitions = {moment: found[0].partition for moment, found in entries.items()}
    for row in db.rows(_EVENTS):
        moment, event = records.anomaly_event(row)
        events[moment].append(event)
        partitions.setdefault(moment, Partition(row[1], tuple(row[2].split("|"))))
    decisions: dict[datetime, list[Decision]] = defaultdict(list)
    for record in manifest.read_decisions(db, "1 = 1", ()):
        decisions[record.decided_at].append(record.decision)
        key = record.decision.partition_key
        partitions.setdefault(record.decided_at, Partition(record.domain, tuple(key.split("|"))))
    commits: list[PastCommit | PastRun | PastNotices] = [
        PastCommit(
            moment,
            partition,
            tuple(entries.get(moment, ())),
            tuple(events.get(moment, ())),
            tuple(decisions.get(moment, ())),
        )
        for moment, partition in partitions.items()
    ]
    commits += [PastRun(from_text(recorded_at), records.run_start(row)) for recorded_at, *row in db.rows(_STARTS)]
    commits += [PastRun(from_text(recorded_at), records.run_record(row)) for recorded_at, *row in db.rows(_ENDS)]
    told: dict[datetime, list[Notice]] = defaultdict(list)
    for notice, sent_at in map(records.notice_record, db.rows(_NOTICES)):
        told[sent_at].append(notice)
    commits += [PastNotices(moment, tuple(notices)) for moment, notices in told.items()]
    return sorted(commits, key=lambda commit: commit.moment)
