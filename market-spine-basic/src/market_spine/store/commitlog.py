"""Reading the commit log back: manifest, anomaly events, decisions and runs, put together by their moments."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime

from market_spine.core.anomaly import Anomaly
from market_spine.core.commitlog import AnomalyEvent, PastCommit, PastNotices, PastRun
from market_spine.core.decision import Decision
from market_spine.core.manifest import Entry
from market_spine.core.notice import Notice
from market_spine.core.partition import Partition
from market_spine.store import manifest, records
from market_spine.store.database import Database
from market_spine.store.moments import from_text

_EVENTS = """\
SELECT domain, partition_key, kind, event, severity, message, details, occurred_at
  FROM core_anomaly_events
 ORDER BY event_id
"""
_NOTICES = f"SELECT {records.NOTICE_COLUMNS} FROM core_notifications ORDER BY notification_id"
_STARTS = f"SELECT recorded_at, {records.START_COLUMNS} FROM core_run_starts"
_ENDS = f"SELECT recorded_at, {records.RUN_COLUMNS} FROM core_run_ends"


def read_log(db: Database) -> list[PastCommit | PastRun | PastNotices]:
    """Every transaction of the store, oldest first; see ``LogReader.log`` in ``core.commitlog``."""
    entries: dict[datetime, list[Entry]] = defaultdict(list)
    for committed in manifest.read_entries(db, "1 = 1", ()):
        entries[committed.committed_at].append(committed.entry)
    events: dict[datetime, list[AnomalyEvent]] = defaultdict(list)
    partitions = {moment: found[0].partition for moment, found in entries.items()}
    for domain, key, kind, event, severity, message, details, occurred_at in db.rows(_EVENTS):
        moment = from_text(occurred_at)
        seen = Anomaly(kind, severity, key, message, json.loads(details)) if event == "seen" else None
        events[moment].append(AnomalyEvent(kind, seen))
        partitions.setdefault(moment, Partition(domain, tuple(key.split("|"))))
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
