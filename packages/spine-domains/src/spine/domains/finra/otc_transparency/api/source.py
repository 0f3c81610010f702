"""FINRA's API as a source: a partition's records and the roll-ups that prove them, or the word that nothing moved.

Before a partition is read in full, two requests ask whether it has changed: the number of its records with
the latest date any was updated, and its totals per firm. A partition whose answer is the one it had when it was
last read is skipped. docs/finra-api.md says what that guarantees.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property, partial
from typing import Any

from market_spine import stopping
from market_spine.core.capture import Absent, Part, Payload, Unchanged
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.errors import SourceError
from market_spine.sources.http import HttpClient, Policy, Traffic
from market_spine.sources.limits import Deadline, Sleep
from spine.domains.finra.otc_transparency import partitions
from spine.domains.finra.otc_transparency.api import payload as api_payload
from spine.domains.finra.otc_transparency.api.client import (
    HISTORIC,
    REQUESTS_PER_SECOND,
    SUMMARY,
    ApiConfig,
    FinraApi,
)
from spine.domains.finra.otc_transparency.api.reading import Query, Records, newest_update, read_all, read_each, submit
from spine.domains.finra.otc_transparency.api.totals import RECORD_TOTAL, TOTALS, TOTALS_TYPES, VERIFIED_BY, differences
from spine.domains.finra.otc_transparency.identity import SUMMARY_TYPES
from spine.domains.finra.otc_transparency.schema import NAME, TIERS, VENUE_CLASSES

logger = logging.getLogger(f"market_spine.{NAME}")

TIER_CODES = {"NMS_TIER_1": "T1", "NMS_TIER_2": "T2", "OTC": "OTCE"}
"""Tier to FINRA's tierIdentifier. The code ``NMS`` repeats weeks of T1 and is never asked for."""

CONCURRENCY = 4
"""Pages read at the same time."""
PARTITION_SECONDS = 900.0
"""Time in which a partition has to be read, retries included."""
LIST_SECONDS = 60.0

_FIRM_TYPES = ("ATS_W_FIRM", "OTC_W_FIRM")
# A partition's rows are read again in full so long after the last time, by its age; beyond a year, FINRA asks
# that they are not.
_RECENT, _RECENT_INTERVAL = timedelta(weeks=16), timedelta(days=14)
_SETTLED, _LATER_INTERVAL = timedelta(weeks=52), timedelta(days=91)
_READINGS = 3
"""How often a partition is read whole before it counts as contradicting itself."""
STATE, READ_ON = "state", "read_on"
"""Metadata of a part: the state of the partition just before it was read, and the day it was read on."""


_FIRST_USE = threading.Lock()
"""Taken while what the threads of a run share is made: from Python 3.12 on ``cached_property`` takes no lock."""


@dataclass(frozen=True, slots=True)
class _State:
    """A partition's state as two requests tell it.

    Attributes:
        text: equal texts, equal states.
        records: how many records per symbol and venue there are; for the historic dataset, all records.
        newest: the latest ``lastUpdateDate`` among them.
    """

    text: str
    records: int
    newest: str = ""

    def agrees_with(self, read: Iterable[Records]) -> bool:
        """Whether these are as many records, and as recent ones, as the state says."""
        frames = [records.rows for records in read]
        updated = [day for frame in frames if (day := frame["lastUpdateDate"].max()) is not None]
        return sum(frame.height for frame in frames) == self.records and max(updated, default="") == self.newest


@dataclass(frozen=True)
class ApiSource:
    """Fetches partitions from FINRA's Query API; a Source. Safe to share between threads; picklable.

    Attributes:
        today: the day of the run, in New York.
        config: addresses and credentials.
        force: read every partition in full.
        rate: most requests per second.
        policy: when a request is given up.
        partition_seconds: time in which a partition has to be read.
        sleep: waits between requests.
    """

    today: date
    config: ApiConfig = field(default_factory=ApiConfig)
    force: bool = False
    rate: float = REQUESTS_PER_SECOND
    policy: Policy = field(default_factory=Policy)
    partition_seconds: float = PARTITION_SECONDS
    sleep: Sleep = stopping.sleep

    def fetch(self, partition: Partition, known: Known) -> Payload | Absent | Unchanged:
        """A partition's records as canonical text, parts ``ATS`` and ``NON_ATS``, with FINRA's roll-ups of
        them as ``ATS_TOTALS`` and ``NON_ATS_TOTALS``. A class without records has no part.

        Raises:
            SourceError: it could not be read whole and of one moment.
        """
        deadline = Deadline(self.partition_seconds)
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            for query in self._queries(partition):
                state = self._state(query, pool, deadline)
                if state.records == 0:
                    continue
                if state.text == _known_state(known) and not self._is_time(partition, known):
                    return Unchanged("unchanged_at_source")
                return self._read(query, state, pool, deadline)
        return Absent(f"{self._api.address(SUMMARY)} has no records of {partition.key}")

    def lists(self, partition: Partition) -> bool | None:
        """Whether FINRA lists the partition as available; None if it does not say, or says nothing of weeks so old."""
        listed = self._listed(SUMMARY)
        week_start, code = _week_and_code(partition)
        if not listed or week_start < min(week for week, _ in listed):
            return None
        return (week_start, code) in listed

    def available(self) -> list[Partition]:
        """Every partition that FINRA offers, in its current and historic dataset, oldest week first.

        Raises:
            SourceError: kind ``no_list``, if FINRA does not say what it has.
        """
        if self._listed(SUMMARY) is None:
            raise SourceError(
                f"{self.config.url} does not list its partitions",
                kind="no_list",
                hint="the log says why; try again later, or name weeks: --weeks YYYY-MM-DD,...",
            )
        tiers = {code: tier for tier, code in TIER_CODES.items()}
        offered = {
            partitions.make_partition(partitions.week_ending_of(week), tiers[code])
            for dataset in (SUMMARY, HISTORIC)
            for week, code in self._listed(dataset) or ()
            if code in tiers
        }
        return sorted(offered, key=lambda each: (each.values[0], TIERS.index(each.values[1])))

    @property
    def traffic(self) -> Traffic:
        """What has been asked and received so far."""
        return self._http.traffic

    def close(self) -> None:
        """Close the connections, and tell what was asked over them."""
        self._http.close()
        used = self.traffic
        logger.info(
            "FINRA API: %d requests, %d of them retries, %d bytes received", used.requests, used.retries, used.received
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @cached_property
    def _http(self) -> HttpClient:
        return HttpClient(rate=self.rate, policy=self.policy, sleep=self.sleep)

    @cached_property
    def _api(self) -> FinraApi:
        return FinraApi(self.config, self._http)

    @cached_property
    def _listing(self) -> tuple[threading.Lock, dict[str, frozenset[tuple[date, str]] | None]]:
        return threading.Lock(), {}

    def _listed(self, dataset: str) -> frozenset[tuple[date, str]] | None:
        """FINRA's list of partitions, asked for once; None where it gives none."""
        with _FIRST_USE:
            for shared in ("_api", "_listing"):
                getattr(self, shared)
        lock, found = self._listing
        with lock:
            if dataset not in found:
                try:
                    found[dataset] = self._api.partitions(dataset, Deadline(LIST_SECONDS))
                except SourceError as error:
                    logger.warning("no list of partitions: %s", error.message, extra={"kind": error.kind})
                    found[dataset] = None
            return found[dataset]

    def _queries(self, partition: Partition) -> list[Query]:
        """Where to look for a partition, likeliest first: weeks older than the current dataset are historic."""
        week_start, code = _week_and_code(partition)
        current, historic = Query(SUMMARY, week_start, code), Query(HISTORIC, week_start, code)
        listed = self._listed(SUMMARY)
        if listed:
            return [historic] if week_start < min(week for week, _ in listed) else [current]
        # Without a list: only weeks beyond the year that FINRA promises to keep can have moved.
        return [current, historic] if week_start < self.today - _SETTLED else [current]

    def _state(self, query: Query, pool: Executor, deadline: Deadline) -> _State:
        """What tells one state of a partition from another without reading it."""
        if query.dataset == HISTORIC:
            records, _ = newest_update(self._api, query, deadline)
            return _State(f"{HISTORIC} records={records}", records)
        kept = _typed(query, *SUMMARY_TYPES.values())
        asked = submit(pool, partial(newest_update, self._api, kept, deadline))
        firms = read_all(self._api, _typed(query, *_FIRM_TYPES), pool, deadline)
        records, newest = asked.result()
        digest = hashlib.sha256(api_payload.render(firms.rows, firms.fields)).hexdigest()
        return _State(f"{SUMMARY} records={records} newest={newest} firms={digest}", records, newest)

    def _is_time(self, partition: Partition, known: Known) -> bool:
        """Whether the partition is to be read in full although the check finds nothing new."""
        if self.force:
            return True
        week_ending, _ = partitions.week_and_tier(partition)
        age = self.today - week_ending
        interval = _RECENT_INTERVAL if age <= _RECENT else _LATER_INTERVAL if age <= _SETTLED else None
        return interval is not None and self.today - max(_read_on(known)) >= interval

    def _read(self, query: Query, state: _State, pool: Executor, deadline: Deadline) -> Payload:
        """Read everything; again, if it is not what its state said or does not add up, for then it has moved.

        What still does not add up after that is handed on, to be held with the symbols named.
        """
        for _ in range(_READINGS):
            found = self._records(query, pool, deadline)
            whole = query.dataset == HISTORIC or state.agrees_with(found[kind] for kind in SUMMARY_TYPES.values())
            if whole and _proven(found):
                break
            asked, state = state, self._state(query, pool, deadline)
        else:
            state = asked
        if not whole:
            raise SourceError(
                f"{query}: the records read were not those counted before, in each of {_READINGS} readings",
                kind="unstable_source",
                hint="FINRA may be in the middle of an update: run again later; nothing was stored",
            )
        return Payload(self._parts(query, state, found), keep_record=True)

    def _records(self, query: Query, pool: Executor, deadline: Deadline) -> dict[str, Records]:
        """The records of each summary type we keep."""
        import polars as pl

        kinds = (*SUMMARY_TYPES.values(), *TOTALS_TYPES.values())
        if query.dataset == HISTORIC:
            everything = read_all(self._api, query, pool, deadline)
            return {
                kind: Records(
                    everything.rows.filter(pl.col("summaryTypeCode") == kind),
                    everything.fields,
                    everything.request_ids,
                )
                for kind in kinds
            }
        queries = {kind: _typed(query, kind) for kind in kinds}
        records = read_each(self._api, tuple(queries.values()), pool, deadline)
        return {kind: records[each] for kind, each in queries.items()}

    def _parts(self, query: Query, state: _State, found: Mapping[str, Records]) -> tuple[Part, ...]:
        parts: list[Part] = []
        for venue_class in VENUE_CLASSES:
            rows, totals = found[SUMMARY_TYPES[venue_class]], found[TOTALS_TYPES[venue_class]]
            if rows.rows.is_empty():
                if totals.total and not self.force:
                    raise SourceError(
                        f"{query} has {venue_class} totals of {totals.total:,} symbols, but no rows that make them up",
                        kind="totals_disagree",
                        hint="FINRA may be in mid-update: run again later; --force loads the other class alone",
                    )
                continue
            link: dict[str, str] = {}
            if not totals.rows.is_empty():
                part = self._part(TOTALS[venue_class], _typed(query, TOTALS_TYPES[venue_class]), totals, {})
                parts.append(part)
                link = {VERIFIED_BY: part.sha256}
            asked = _typed(query, SUMMARY_TYPES[venue_class])
            parts.append(self._part(venue_class, asked, rows, {**link, STATE: state.text}))
        if not parts:
            raise SourceError(f"{query} has records, but none per symbol and venue", kind="no_rows")
        return tuple(parts)

    def _part(self, name: str, query: Query, records: Records, more: Mapping[str, str]) -> Part:
        address = self._http.shown(self._api.address(query.dataset))
        return Part(
            name,
            api_payload.render(records.rows, records.fields),
            f"{address}?weekStartDate={query.week_start}&tierIdentifier={query.tier}"
            f"&summaryTypeCode={'+'.join(query.summary_types)}",
            {
                "source": "api",
                RECORD_TOTAL: str(records.total),
                "request_ids": " ".join(records.request_ids),
                READ_ON: self.today.isoformat(),
                **more,
            },
        )


def _week_and_code(partition: Partition) -> tuple[date, str]:
    week_ending, tier = partitions.week_and_tier(partition)
    return partitions.monday_of(week_ending), TIER_CODES[tier]


def _typed(query: Query, *summary_types: str) -> Query:
    return replace(query, summary_types=summary_types)


def _known_state(known: Known) -> str | None:
    """The state in which the current capture, or the same rows again, were last read from here."""
    for committed in (known.noted, known.current):
        if committed is None:
            continue
        fetched = [part for part in committed.entry.parts if part.name in VENUE_CLASSES and not part.carried]
        states = {part.metadata.get(STATE) for part in fetched}
        if len(states) == 1 and (state := states.pop()):
            return state
    return None


def _read_on(known: Known) -> list[date]:
    """The days on which the current capture's rows were read in full."""
    entries = [committed.entry for committed in (known.noted, known.current) if committed]
    return [
        date.fromisoformat(part.metadata[READ_ON])
        for entry in entries
        for part in entry.parts
        if READ_ON in part.metadata
    ]


def _proven(found: Mapping[str, Records]) -> bool:
    """Whether the rows of each class add up to FINRA's own totals, where it has any."""
    columns = ("issueSymbolIdentifier", "totalWeeklyShareQuantity", "totalWeeklyTradeCount")
    return all(
        differences(
            found[SUMMARY_TYPES[each]].rows.select(columns), found[TOTALS_TYPES[each]].rows.select(columns)
        ).is_empty()
        for each in VENUE_CLASSES
        if not found[TOTALS_TYPES[each]].rows.is_empty()
    )
