"""Replaying the commit log into an empty store: every derived row anew, from the payloads and the manifest alone.

Entries keep their ids, capture ids and moments, so that every answer as of every moment comes out as it was.
What cannot be derived (anomalies that were seen, results of runs, what others were told) is carried over as it
stands in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from market_spine.app.derive import draft_calc, draft_normalize
from market_spine.app.draft import Draft, StageDraft, write_taken
from market_spine.app.examine import Content, known_content
from market_spine.app.standing import Ingest
from market_spine.app.task import NoSource, Options, Run, Stores, Task
from market_spine.app.windows import WindowRunner, find_window
from market_spine.core.commitlog import Past, PastCommit, PastNotices, PastRun
from market_spine.core.domain import Domain
from market_spine.core.fingerprint import fingerprint
from market_spine.core.manifest import CALC, INGEST, NORMALIZE, Entry, RunStart
from market_spine.core.ports import Clock, Commit, Reader, Writer, payloads
from market_spine.errors import MarketSpineError, StoreCorrupt

if TYPE_CHECKING:
    import polars as pl

_NAMED = 20
"""Partitions that an error names before it only counts them."""

_ACCEPT = "run again with --accept-version-change to take what the installed code computes"


@dataclass(frozen=True, slots=True)
class Report:
    """What a rebuild did.

    Attributes:
        changed: the stages that came out otherwise than the manifest says.
        moved: what was committed at another moment than the log says.
    """

    commits: int
    runs: int
    partitions: int
    changed: tuple[str, ...]
    moved: tuple[str, ...] = ()


class MomentClock:
    """A clock that stands still at the moment it was set to."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment


def rebuild(
    log: Sequence[Past],
    source: Reader,
    target: Writer,
    clock: MomentClock,
    domains: Sequence[Domain],
    *,
    accept: bool,
    last: datetime | None = None,
) -> Report:
    """Replay a log.

    Args:
        log: the transactions, oldest first.
        source: the store that keeps the payloads.
        target: an empty store; its clock is ``clock``.
        clock: set to each transaction's moment in turn.
        domains: the domains whose code derives the rows.
        accept: let stages come out otherwise than the manifest says; their entries then tell the new version,
            hashes and counts.
        last: nothing is to be of a later moment; what is, for a clock was ahead, is moved to before it, in its order.

    Raises:
        MarketSpineError: kind ``version_change``, naming the partitions, if the installed code has other
            pipeline versions; kind ``rebuild_differs`` if it computes something else under the same version;
            kind ``domain_missing`` if a domain is not installed. Never with ``accept``, but for the last.
        StoreCorrupt: a payload is missing or damaged, or the log contradicts itself.
    """
    by_name = {domain.name: domain for domain in domains}
    moved: list[str] = []
    if last is not None:
        log, moved = not_after(log, last)
    commits = [past for past in log if isinstance(past, PastCommit)]
    _check_domains(commits, by_name)
    if not accept:
        _refuse("version_change", "other pipeline versions are installed", _version_changes(commits, by_name))
    changed: list[str] = []
    for past in log:
        clock.moment = past.moment
        if isinstance(past, PastNotices):
            target.record_notices(past.notices)
            continue
        if isinstance(past, PastRun):
            if isinstance(past.run, RunStart):
                target.record_start(past.run)
            else:
                target.record_run(past.run)
            continue
        changed += replayed(by_name[past.partition.domain], past, source, target, clock)
    if not accept:
        _refuse("rebuild_differs", "the installed code derives something else", changed)
    partitions = {past.partition for past in commits if past.entries}
    runs = {past.run.run_id for past in log if isinstance(past, PastRun)}
    return Report(len(commits), len(runs), len(partitions), tuple(changed), tuple(moved))


def not_after(log: Sequence[Past], last: datetime) -> tuple[list[Past], list[str]]:
    """A log none of whose transactions is later than a moment, and what was moved for that.

    What lies later comes immediately before the moment, a microsecond apart and in its order, and so does what it
    would overtake then. What runs say of their own start and end is no later than when it was recorded; their results
    stay as they were told, as do the names of captures.
    """
    found: list[Past] = []
    moments: dict[datetime, datetime] = {}
    latest = last
    for past in reversed(log):
        moments[past.moment] = min(past.moment, latest)
        latest = moments[past.moment] - timedelta(microseconds=1)
    moved = []
    for past in log:
        now = moments[past.moment]
        if now != past.moment:
            moved.append(f"{_told(past)}: {past.moment.isoformat()} -> {now.isoformat()}")
        found.append(_at(past, now, moments))
    return found, moved


def _told(past: Past) -> str:
    if isinstance(past, PastCommit):
        return past.partition.key
    if isinstance(past, PastRun):
        return f"{'start' if isinstance(past.run, RunStart) else 'result'} of run {past.run.run_id}"
    return "notices"


def _at(past: Past, moment: datetime, moments: Mapping[datetime, datetime]) -> Past:
    if isinstance(past, PastNotices):
        notices = tuple(
            each._replace(first_seen=moments.get(each.first_seen, each.first_seen)) for each in past.notices
        )
        return PastNotices(moment, notices)
    if isinstance(past, PastCommit):
        return past._replace(moment=moment)
    run = past.run._replace(started_at=min(past.run.started_at, moment))
    if not isinstance(run, RunStart) and run.finished_at is not None:
        run = run._replace(finished_at=min(run.finished_at, moment))
    return PastRun(moment, run)


def replayed(domain: Domain, past: PastCommit, source: Reader, target: Writer, clock: Clock) -> list[str]:
    """Replay one transaction; returns the stages that came out otherwise than the manifest says.

    Raises:
        StoreCorrupt: it cannot have been as the log has it.
    """
    replay = _Replay(domain, past, source, target, clock)
    try:
        replay.run()
    except (MarketSpineError, ImportError, OSError, MemoryError):
        raise
    except Exception as error:
        # It went well when it was written: the log says something else now, or the code.
        raise StoreCorrupt(
            f"{past.partition.key}: what was committed at {past.moment.isoformat()} cannot be replayed"
            f" ({type(error).__name__}: {error})",
            hint="market-spine db check says what is damaged; restore a backup",
        ) from error
    return replay.changed


def _check_domains(commits: Sequence[PastCommit], domains: Mapping[str, Domain]) -> None:
    missing = sorted({past.partition.domain for past in commits}.difference(domains))
    if missing:
        raise MarketSpineError(
            f"the database holds data of domains that are not installed: {', '.join(missing)}",
            hint="install the distributions that bring them",
            kind="domain_missing",
        )


def _version_changes(commits: Sequence[PastCommit], domains: Mapping[str, Domain]) -> list[str]:
    installed = {
        (domain.name, spec.name): spec.version
        for domain in domains.values()
        for spec in (*domain.stages, *(calc.spec for calc in domain.windows))
    }
    found: dict[str, None] = {}
    for entry in (entry for past in commits for entry in past.entries):
        version = installed.get((entry.partition.domain, entry.stage), "none")
        if version != entry.pipeline_version:
            change = f"{entry.partition.key} {entry.stage} ({entry.pipeline_version} -> {version})"
            found[change] = None
    return list(found)


def _refuse(kind: str, what: str, changes: Collection[str]) -> None:
    if changes:
        named = ", ".join(list(changes)[:_NAMED])
        more = f" and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
        raise MarketSpineError(f"{what} for {named}{more}", hint=_ACCEPT, kind=kind)


@dataclass
class _Replay:
    """One transaction of the log."""

    domain: Domain
    past: PastCommit
    source: Reader
    target: Writer
    clock: Clock
    changed: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Work out what the transaction wrote, then write it."""
        writes = self._writes()
        with self.target.commit(self.past.partition) as commit:
            for decision in self.past.decisions:
                commit.decide(decision)
            for write in writes:
                write(commit)
            for event in self.past.events:
                if event.seen is None:
                    commit.resolve([event.kind])
                else:
                    commit.note(event.seen)

    def _writes(self) -> list[Callable[[Commit], None]]:
        task = self._task()
        ingest = self._standing(task)
        normalized: StageDraft | None = None
        writes: list[Callable[[Commit], None]] = []
        for entry in self.past.entries:
            if entry.stage == INGEST:
                if entry.status in ("retracted", "emptied"):
                    writes.append(partial(self._write_taken, entry))
                    continue
                content = None if entry.status == "noted" else known_content(task, lambda: self.source, entry)
                found = self._ingested(entry, content)
                writes.append(self._write_ingest(found, content))
                if found.status == "committed":
                    ingest = Ingest(Draft(), found, content)
                continue
            draft = self._draft(task, entry, ingest, normalized)
            if entry.stage == NORMALIZE:
                normalized = draft
            writes.append(self._write_stage(entry, draft))
        return writes

    def _task(self) -> Task:
        key = self.past.partition.key
        run = Run(
            id=self.past.entries[0].run_id if self.past.entries else "",
            domain=self.domain,
            source=NoSource(),
            stores=Stores(lambda: self.target, None),
            options=Options(force=True),
            today=self.past.moment.date(),
            capture_day=self.past.moment.date(),
            clock=self.clock,
        )
        return Task(run, self.past.partition, self.target.known(self.domain.name, [key])[key])

    def _standing(self, task: Task) -> Ingest:
        current = task.known.current
        return Ingest(Draft(), current.entry if current else None)

    def _draft(self, task: Task, entry: Entry, ingest: Ingest, normalized: StageDraft | None) -> StageDraft | None:
        """The stage of an entry, worked out again; None if the installed code has no such stage."""
        if entry.stage == NORMALIZE:
            self._check_target(entry, ingest)
            return draft_normalize(task, lambda: self.target, ingest)
        if entry.stage == CALC:
            return draft_calc(task, lambda: self.target, normalized)
        for calc in self.domain.windows:
            if calc.spec.name == entry.stage:
                keys = [each.key for each in calc.inputs(entry.partition)]
                known = self.target.known(self.domain.name, keys)
                windows = WindowRunner(self.domain, known, self.target, lambda: self.target, entry.run_id, self.clock)
                window = find_window(calc, entry.partition, known)
                if not window.present:
                    raise StoreCorrupt(
                        f"{entry.partition.key}: {entry.stage} was committed before anything to compute it from",
                        hint="restore core_manifest from a backup of the database",
                    )
                return windows.draft(window)
        return None

    def _check_target(self, entry: Entry, ingest: Ingest) -> None:
        if ingest.target is None or ingest.target.capture_id != entry.capture_id:
            raise StoreCorrupt(
                f"manifest entry {entry.manifest_id} normalizes capture {entry.capture_id}, which was not current then",
                hint="restore core_manifest from a backup of the database",
            )

    def _ingested(self, entry: Entry, content: Content | None) -> Entry:
        """An ingest entry as the installed code sees its payload."""
        if content is None:
            return entry
        rows = content.normalized.tables[self.domain.tables[0].name].height
        version = self.domain.stages[0].version
        found = entry._replace(
            fingerprint=fingerprint(INGEST, version, (entry.capture_id, entry.source_hash)),
            pipeline_version=version,
            content_hash=content.content_hash,
            row_count=rows,
            rejected=content.normalized.rejects.height,
            duplicates=content.normalized.duplicates,
            proven=content.normalized.proven,
        )
        # What an older program did not record is no change.
        return self._compared(entry if entry.proven is not None else entry._replace(proven=found.proven), found)

    def _write_ingest(self, entry: Entry, content: Content | None) -> Callable[[Commit], None]:
        parts = tuple(payloads(self.source, entry)) if content else ()
        rejects: pl.DataFrame | None = content.normalized.rejects if content else None

        def write(commit: Commit) -> None:
            for part in parts:
                commit.add_payload(part)
            commit.add_entry(entry)
            if rejects is not None and rejects.height:
                commit.add_rejects(entry.manifest_id, entry.capture_id, rejects)

        return write

    def _write_taken(self, entry: Entry, commit: Commit) -> None:
        write_taken(commit, self.domain, entry)

    def _write_stage(self, entry: Entry, draft: StageDraft | None) -> Callable[[Commit], None]:
        if draft is None:
            self.changed.append(_name(entry))
            return lambda commit: commit.add_entry(entry)
        found = self._compared(
            entry,
            entry._replace(
                fingerprint=draft.entry.fingerprint,
                pipeline_version=draft.entry.pipeline_version,
                content_hash=draft.entry.content_hash,
                row_count=draft.entry.row_count,
            ),
        )

        draft.prepare(self.target, self.domain, self.clock)

        def write(commit: Commit) -> None:
            change = draft.replace_rows(commit, entry.manifest_id)
            counted = found._replace(change=change, is_revision=draft.is_revision and bool(change))
            commit.add_entry(counted if found is not entry else self._compared(entry, counted))

        return write

    def _compared(self, entry: Entry, found: Entry) -> Entry:
        if found == entry:
            return entry
        self.changed.append(_name(entry))
        return found


def _name(entry: Entry) -> str:
    return f"{entry.partition.key} {entry.stage} of {entry.capture_id}"
