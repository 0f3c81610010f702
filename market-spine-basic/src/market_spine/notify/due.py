"""What is to be told now: pure, from the anomalies there are, how the run failed, and what was told before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from market_spine.core.anomaly import Severity
from market_spine.core.kept import AnomalyRecord
from market_spine.core.notice import Notice, NoticeRecord

RANK: Mapping[str, int] = {"info": 0, "warning": 1, "error": 2}
_TOLD_FROM = RANK["warning"]
"""What is merely information explains itself; it is told once it becomes more."""
_STOPPED = "interrupted"
"""Whoever stops a run knows that it stopped."""

Told = Literal["opened", "worsened", "reminded", "resolved"]


class Episode(NamedTuple):
    """An anomaly from its first sight to its resolution, or a failure that left none.

    Attributes:
        partition_key: empty for a run as a whole.
        first_seen: tells episodes of one kind apart.
        closed: it is resolved.
        quiet: a person has set it aside.
    """

    domain: str
    partition_key: str
    kind: str
    severity: Severity
    message: str
    hint: str
    first_seen: datetime
    last_seen: datetime
    seen: int
    closed: bool = False
    quiet: bool = False

    @classmethod
    def of(cls, record: AnomalyRecord) -> Episode:
        """An anomaly's."""
        anomaly = record.anomaly
        return cls(
            record.domain,
            anomaly.partition_key,
            anomaly.kind,
            anomaly.severity,
            anomaly.message,
            str(anomaly.details.get("hint", "")),
            record.first_seen,
            record.last_seen,
            record.count,
            record.resolved_at is not None,
            record.acknowledged_at is not None,
        )

    @property
    def place(self) -> tuple[str, str]:
        """Of one kind and partition there is one open anomaly."""
        return self.partition_key, self.kind

    @property
    def id(self) -> str:
        """The same in every message about it."""
        return "|".join((self.domain, self.partition_key, self.kind, self.first_seen.isoformat()))


class Item(NamedTuple):
    """One thing to tell."""

    event: Told
    episode: Episode


@dataclass
class _Before:
    """What a sink was told of one episode.

    Attributes:
        rank: the highest severity that was told.
        last: when it was told last.
        closed: that it ended was told.
    """

    notice: Notice
    rank: int
    last: datetime
    closed: bool = False


@dataclass
class Memory:
    """What one sink was told so far.

    Attributes:
        since: when it was first used; None if it never was.
        episodes: by partition, kind and first sight.
    """

    since: datetime | None = None
    episodes: dict[tuple[str, str, datetime], _Before] = field(default_factory=dict)

    @classmethod
    def of(cls, sink: str, records: Iterable[NoticeRecord]) -> Memory:
        """The memory of a sink, from what is recorded of all."""
        found = cls()
        for notice, sent_at in records:
            if notice.sink != sink:
                continue
            found.since = found.since or sent_at
            if notice.event == "begun":
                continue
            key = (notice.partition_key, notice.kind, notice.first_seen)
            before = found.episodes.setdefault(key, _Before(notice, RANK[notice.severity], sent_at))
            before.rank = max(before.rank, RANK[notice.severity])
            before.last = sent_at
            before.closed = before.closed or notice.event == "resolved"
        return found


def failures(document: Mapping[str, Any]) -> list[Episode]:
    """What failed in a run: the run as a whole, and pipelines. ``document`` is its result, as JSON has it."""
    moment = datetime.fromisoformat(document["started_at"])
    last = datetime.fromisoformat(document.get("finished_at") or document["started_at"])
    troubles = [("", document["error"])] if document.get("error") else []
    troubles += [(run["partition_key"], run["error"]) for run in document.get("runs", ()) if run.get("error")]
    found = {(key, error["kind"]): error for key, error in reversed(troubles) if error["kind"] != _STOPPED}
    return [
        Episode(document["domain"], key, kind, "error", error["message"], error["hint"], moment, last, 1)
        for (key, kind), error in found.items()
    ]


def due(
    memory: Memory,
    anomalies: Sequence[AnomalyRecord],
    run: Mapping[str, Any] | None,
    now: datetime,
    remind: timedelta | None,
) -> list[Item]:
    """What a sink is to be told.

    Args:
        memory: what it was told.
        anomalies: all of the domain, resolved and acknowledged ones, too.
        run: the latest result of the domain, as JSON has it; None if there is none, or it is not to be told of.
        now: the present.
        remind: after which time an episode is told again; None is never.

    Returns:
        The gravest first.
    """
    episodes = [Episode.of(record) for record in anomalies]
    episodes += _run_episodes(memory, episodes, run)
    told = [Item(event, each) for each in episodes if (event := _event(memory, each, now, remind))]
    return sorted(told, key=lambda item: (item.event == "resolved", -RANK[item.episode.severity], item.episode.place))


def _event(memory: Memory, episode: Episode, now: datetime, remind: timedelta | None) -> Told | None:
    before = memory.episodes.get((*episode.place, episode.first_seen))
    rank = RANK[episode.severity]
    if episode.quiet or (before is not None and before.closed):
        return None
    if before is None:
        if rank < _TOLD_FROM or (episode.closed and (memory.since is None or episode.first_seen < memory.since)):
            return None
        return "resolved" if episode.closed else "opened"
    if episode.closed:
        return "resolved"
    if rank > before.rank:
        return "worsened"
    return "reminded" if remind is not None and now - before.last >= remind else None


def _run_episodes(memory: Memory, anomalies: Sequence[Episode], run: Mapping[str, Any] | None) -> Iterator[Episode]:
    """Episodes of failures that left no anomaly: those of the run, and those told before that it ends."""
    if run is None:
        return
    known = {(*each.place, each.first_seen) for each in anomalies}
    noted = {each.place for each in anomalies if not each.closed}
    now_failing = {each.place: each for each in failures(run) if each.place not in noted}
    for (key, kind, first_seen), before in memory.episodes.items():
        if before.closed or (key, kind, first_seen) in known:
            continue
        still = now_failing.pop((key, kind), None)
        if still is not None:
            yield still._replace(first_seen=first_seen)
        elif _met(run, key):
            ended = datetime.fromisoformat(run["finished_at"])
            message = f"{run['scheduler']} ran without this error"
            yield Episode(
                run["domain"], key, kind, before.notice.severity, message, "", first_seen, ended, 1, closed=True
            )
    yield from now_failing.values()


def _met(run: Mapping[str, Any], key: str) -> bool:
    """Whether a run looked at a partition; at itself it did, unless something ended it."""
    return any(each["partition_key"] == key for each in run.get("runs", ())) if key else True


def notices(sink: str, domain: str, items: Sequence[Item], memory: Memory, now: datetime) -> list[Notice]:
    """What is to be kept once the items were sent."""
    kept = [
        Notice(sink, domain, each.partition_key, each.kind, each.first_seen, event, each.severity)
        for event, each in items
    ]
    return kept if memory.since is not None else [Notice(sink, domain, "", "", now, "begun", "info"), *kept]
