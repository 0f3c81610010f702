"""Commits: all or nothing, one moment each, and what the manifest then knows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Part
from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry, PartRecord, RunRecord
from market_spine.core.partition import Partition, Scope
from market_spine.core.revision import Change, diff_rows
from market_spine.errors import StoreCorrupt, UsageError
from market_spine.store import StoreUrl, open_writer
from market_spine.store.writer import StoreWriter
from market_spine.testing import every_row

NORTH = Scope({"day": "2025-01-03", "plot": "north"})


def _run(run_id: str, domain: str = "garden") -> RunRecord:
    started = datetime(2025, 1, 6, 12, 0, 0, 5, UTC)
    return RunRecord(run_id, domain, "weekly", started, started, "success", 0, 3, 1, 1, 1, '{"ü": 1}')


def _moments(writer: StoreWriter) -> list[str]:
    sql = (
        "SELECT committed_at FROM core_manifest UNION SELECT occurred_at FROM core_anomaly_events"
        " UNION SELECT recorded_at FROM core_runs"
    )
    return sorted(row[0] for row in writer.query(sql).rows)


def _everything(writer: StoreWriter) -> dict[str, list[str]]:
    return every_row(writer, writer._db.objects().tables)


def test_whole_stores_are_compared_by_every_row(writer: StoreWriter, put: Callable[..., Entry]) -> None:
    """What tests compare stores by has each row of a table, changed ones changed, and none of an empty one."""
    put("first", kale=1, beet=2)
    first = every_row(writer, ["garden_harvest", "core_rejects"])
    assert [sorted(word for word in ("kale", "beet") if word in row) for row in first["garden_harvest"]] == [
        ["beet"],
        ["kale"],
    ]
    assert first["core_rejects"] == []
    put("second", kale=1, beet=3)
    assert set(every_row(writer, ["garden_harvest"])["garden_harvest"]) != set(first["garden_harvest"])


def test_commit_moments_only_grow(
    writer: StoreWriter, partition: Partition, put: Callable[..., Entry], clock: Any
) -> None:
    """With a clock that goes backwards every commit, event and run is still later than the one before."""
    put("first", kale=1)
    clock.now -= timedelta(minutes=2)
    with writer.commit(partition) as commit:
        commit.note(Anomaly("late", "warning", partition.key, "late"))
    clock.now -= timedelta(minutes=2)
    writer.record_run(_run("a"))
    put("second", kale=2)
    assert _moments(writer) == [f"2025-01-06T12:00:0{2}.00000{n}+00:00" for n in range(4)]
    history = writer.history("garden", partition.key)
    assert [record.entry.capture_id for record in history] == ["first", "second"]


def test_all_of_one_commit_has_one_moment(
    writer: StoreWriter, partition: Partition, enter: Callable[..., Entry]
) -> None:
    """Entries and events of one commit become known at the same moment, to the microsecond."""
    with writer.commit(partition) as commit:
        enter(commit, partition, stage="ingest")
        enter(commit, partition, stage="normalize")
        commit.note(Anomaly("odd", "info", partition.key, "odd"))
    assert len(_moments(writer)) == 1


def test_captured_at_is_the_first_sight_of_a_capture(
    writer: StoreWriter, partition: Partition, enter: Callable[..., Entry]
) -> None:
    """A capture that was held first, and every later stage of it, keeps the time it was first brought."""
    for stage, status in (("ingest", "held"), ("ingest", "committed"), ("normalize", "committed")):
        with writer.commit(partition) as commit:
            enter(commit, partition, stage=stage, status=status, capture_id="c")
    held, taken, normalized = writer.history("garden", partition.key)
    assert held.committed_at < taken.committed_at < normalized.committed_at
    assert held.captured_at == taken.captured_at == normalized.captured_at == held.committed_at
    assert writer.find_capture("c") == held
    assert writer.find_capture("d") is None
    assert writer.find_capture("half a character \udcff") is None


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_nothing(
    failure: type[BaseException],
    writer: StoreWriter,
    partition: Partition,
    domain: Domain,
    put: Callable[..., Entry],
    enter: Callable[..., Entry],
    harvest: Callable[..., pl.DataFrame],
) -> None:
    """An error at the end of a commit takes back rows, payloads, rejects, entries and events."""
    put("first", kale=1)
    before = _everything(writer)

    def fail() -> None:
        with writer.commit(partition) as commit:
            entry = enter(commit, partition, capture_id="second")
            commit.add_payload(Part("p", b"bytes", "file"))
            commit.replace(domain.tables[0], NORTH, harvest(kale=2, beet=3), entry.manifest_id)
            rejects = pl.DataFrame({"part": ["p"], "line": [1], "rule": ["r"], "raw": ["x"]})
            commit.add_rejects(entry.manifest_id, "second", rejects)
            commit.note(Anomaly("odd", "info", partition.key, "odd"))
            raise failure

    with pytest.raises(failure):
        fail()
    assert _everything(writer) == before
    put("third", kale=4)


def test_a_commit_without_anything_changes_nothing(
    store_url: StoreUrl, domain: Domain, clock: Any, partition: Partition, look: Callable[[StoreUrl], Any]
) -> None:
    """Opening an up-to-date store and a commit that finds nothing to do change no row, and no byte of a file."""
    with open_writer(store_url, [domain], clock=clock):
        pass
    before = look(store_url)
    with open_writer(store_url, [domain], clock=clock) as writer:
        with writer.commit(partition) as commit:
            assert commit.known().last_id == 0
            commit.next_id()
            commit.resolve()
        if store_url.kind == "sqlite":
            assert Path(f"{store_url.path}-wal").stat().st_size == 0
    assert look(store_url) == before


def test_rows_need_their_entry(
    writer: StoreWriter, partition: Partition, domain: Domain, harvest: Callable[..., pl.DataFrame]
) -> None:
    """Rows whose manifest entry was never added are refused as a whole."""
    with pytest.raises(ValueError, match="without an entry"), writer.commit(partition) as commit:
        commit.replace(domain.tables[0], NORTH, harvest(kale=1), commit.next_id())
    assert writer.query("SELECT * FROM garden_harvest_versions").rows == []


@pytest.mark.parametrize(
    "claimed",
    [{"kale": 1, "beet": 2}, {"beet": 1}, {}],
    ids=["too many", "another", "none"],
)
def test_a_wrong_claim_about_held_rows_is_found(
    claimed: dict[str, float],
    writer: StoreWriter,
    partition: Partition,
    domain: Domain,
    put: Callable[..., Entry],
    harvest: Callable[..., pl.DataFrame],
) -> None:
    """If the table does not hold what the caller says it holds, nothing is written."""
    put("first", kale=1)
    before = _everything(writer)
    diff = diff_rows(harvest(**claimed), harvest(leek=9), domain.tables[0].key)
    with pytest.raises(StoreCorrupt), writer.commit(partition) as commit:
        commit.replace(domain.tables[0], NORTH, harvest(leek=9), commit.next_id(), diff=diff)
    assert _everything(writer) == before


def test_rows_of_a_load_lie_as_their_table_says(
    writer: StoreWriter,
    store_url: StoreUrl,
    partition: Partition,
    domain: Domain,
    enter: Callable[..., Entry],
    harvest: Callable[..., pl.DataFrame],
) -> None:
    """A table can name the columns by which each load is laid down; the answer to a read stays sorted by key."""
    laid = domain.tables[0]._replace(laid_by=("weight",))
    loads = (({"beet": 3, "kale": 1, "leek": 2}, ["kale", "leek", "beet"]), ({"beet": 9, "kale": 8}, ["kale", "beet"]))
    for weights, expected in loads:
        with writer.commit(partition) as commit:
            entry = enter(commit, partition)
            commit.replace(laid, NORTH, harvest(**weights), entry.manifest_id)
        sql = f"SELECT crop FROM garden_harvest_versions WHERE manifest_id = {entry.manifest_id}"
        assert [crop for (crop,) in writer.query(sql).rows] == expected
    assert writer.read(laid, NORTH)["crop"].to_list() == ["beet", "kale"]


def test_a_partition_owns_only_its_own(writer: StoreWriter, partition: Partition, enter: Callable[..., Entry]) -> None:
    """Entries and anomalies of another partition, and keys that could not be read back, are refused."""
    other = Partition("garden", ("2025-01-03", "south"))
    with pytest.raises(ValueError, match="south"), writer.commit(partition) as commit:
        enter(commit, other)
    with pytest.raises(ValueError, match="south"), writer.commit(partition) as commit:
        commit.note(Anomaly("odd", "info", other.key, "odd"))
    with pytest.raises(UsageError, match="separator"), writer.commit(Partition("garden", ("a|b",))):
        pass


def test_entries_come_back_whole(writer: StoreWriter, partition: Partition, enter: Callable[..., Entry]) -> None:
    """Every field of an entry survives the store."""
    parts = (
        PartRecord("ATS", "aa", "file ü.csv", 12, carried=True, metadata={"page": "1"}),
        PartRecord("NON_ATS", "bb", "other.csv", 0),
    )
    with writer.commit(partition) as commit:
        plain = enter(commit, partition)
        full = enter(
            commit,
            partition,
            rejected=3,
            duplicates=4,
            is_revision=True,
            change=Change(1, 0, 2),
            input_captures=("x", "y"),
            scope={"day": "2025-01-03", "range": [1, 2.5]},
            parts=parts,
        )
    assert [record.entry for record in writer.history("garden", partition.key)] == [plain, full]


def test_known_tells_what_is_current(writer: StoreWriter, partition: Partition, enter: Callable[..., Entry]) -> None:
    """Latest committed entry per stage, digests of the current rows, the held payload, captures in order."""

    def add(stage: str, status: str, capture: str, *digests: str) -> Entry:
        parts = tuple(PartRecord(f"part{n}", digest, "o", 1) for n, digest in enumerate(digests))
        with writer.commit(partition) as commit:
            return enter(commit, partition, stage=stage, status=status, capture_id=capture, parts=parts)

    add("ingest", "committed", "z", "old")
    add("normalize", "committed", "z")
    second = add("ingest", "committed", "b", "b0", "b1")
    add("ingest", "noted", "b", "b0-again", "b1")
    held = add("ingest", "held", "a", "a0")
    known = writer.known("garden", [partition.key, "2025-01-03|south"])
    assert list(known) == [partition.key, "2025-01-03|south"]
    north = known[partition.key]
    assert {stage: record.entry.capture_id for stage, record in north.stages.items()} == {
        "ingest": "b",
        "normalize": "z",
    }
    assert north.current is not None
    assert north.current.entry == second
    assert north.accepted == {"part0": {"b0", "b0-again"}, "part1": {"b1"}}
    assert north.held is not None
    assert north.held.entry == held
    assert north.captures == ("z", "b", "a")
    assert north.last_id == held.manifest_id
    assert known["2025-01-03|south"].last_id == 0
    assert writer.known("garden") == {partition.key: north}
    assert writer.known("orchard") == {}
    forced = add("ingest", "committed", "a", "a0")
    after = writer.known("garden")[partition.key]
    assert after.held is None
    assert after.accepted == {"part0": {"a0"}}
    assert after.captures == ("z", "b", "a")
    assert after.current is not None
    assert after.current.entry == forced


def test_known_of_many_partitions(writer: StoreWriter, enter: Callable[..., Entry]) -> None:
    """More keys than one statement takes are still all answered."""
    keys = [f"2025-01-03|{number}" for number in range(1200)]
    last = Partition("garden", ("2025-01-03", "1199"))
    with writer.commit(last) as commit:
        enter(commit, last)
    known = writer.known("garden", keys)
    assert list(known) == keys
    assert [key for key in keys if known[key].last_id] == [last.key]


def test_an_anomaly_is_one_row_from_first_sight_to_resolution(writer: StoreWriter, partition: Partition) -> None:
    """Seen again it counts, resolved it closes, and what is seen after that is another one."""

    def note(kind: str, message: str) -> None:
        with writer.commit(partition) as commit:
            details = {"said": message, "twice": [1, 1]}
            commit.note(Anomaly(kind, "warning", partition.key, message, details))

    def resolve(*kinds: str, keep: tuple[str, ...] = ()) -> None:
        with writer.commit(partition) as commit:
            commit.resolve(kinds or None, keep=keep)

    note("late", "one day")
    note("odd", "odd")
    note("late", "two days")
    late, odd = writer.anomalies("garden")
    assert (late.anomaly.kind, late.anomaly.message, late.count) == ("late", "two days", 2)
    assert late.anomaly.details == {"said": "two days", "twice": [1, 1]}
    assert late.first_seen < odd.first_seen < late.last_seen
    assert late.resolved_at is None
    resolve(keep=("late",))
    assert [record.anomaly.kind for record in writer.anomalies()] == ["late"]
    resolve("odd", "unheard of")
    resolve("late")
    assert writer.anomalies() == []
    note("late", "again")
    everything = writer.anomalies("garden", open_only=False)
    assert [(r.anomaly.kind, r.anomaly.message, r.count, r.resolved_at is None) for r in everything] == [
        ("late", "again", 1, True),
        ("late", "two days", 2, False),
        ("odd", "odd", 1, False),
    ]
    assert writer.anomalies("orchard") == []


def test_an_anomaly_noted_and_resolved_in_one_commit(writer: StoreWriter, partition: Partition) -> None:
    """Resolving also closes what the same commit noted, once."""
    with writer.commit(partition) as commit:
        commit.note(Anomaly("odd", "info", partition.key, "odd"))
        commit.resolve()
        commit.resolve()
    assert writer.anomalies() == []
    assert len(writer.query("SELECT * FROM core_anomaly_events").rows) == 2


@pytest.mark.parametrize("data", [b"", b"x", b"row|1\r\n" * 10_000, os.urandom(1000)])
def test_payloads_come_back_byte_for_byte(data: bytes, writer: StoreWriter, partition: Partition) -> None:
    """A payload's bytes are kept once, compressed where that helps, and come back exactly."""
    part = Part("p", data, "file")
    for _ in range(2):
        with writer.commit(partition) as commit:
            commit.add_payload(part)
    assert writer.payload(part.sha256) == data
    ((size, kept),) = writer.query("SELECT size, octet_length(data) FROM core_payloads").rows
    assert size == len(data)
    assert kept <= len(data)


def test_a_missing_or_damaged_payload_is_said_to_be(writer: StoreWriter, partition: Partition) -> None:
    """Bytes that are not there, or do not have their digest, are StoreCorrupt and never handed out."""
    digest = hashlib.sha256(b"bytes").hexdigest()
    with pytest.raises(StoreCorrupt, match=digest):
        writer.payload(digest)
    part = Part("p", b"others", "file")
    part.__dict__["sha256"] = digest
    with writer.commit(partition) as commit:
        commit.add_payload(part)
    with pytest.raises(StoreCorrupt, match=digest):
        writer.payload(digest)


def test_rejects_are_kept_with_their_place(
    writer: StoreWriter, partition: Partition, enter: Callable[..., Entry]
) -> None:
    """A rejected row keeps its capture, partition, part, line, rule and text."""
    rejects = pl.DataFrame({"raw": ["a|b"], "line": [7], "part": ["ATS"], "rule": ["short"]})
    with writer.commit(partition) as commit:
        entry = enter(commit, partition, capture_id="c")
        commit.add_rejects(entry.manifest_id, "c", rejects)
    rows = writer.query("SELECT capture_id, partition_key, part, line, rule, raw FROM core_rejects").rows
    assert rows == [("c", partition.key, "ATS", 7, "short", "a|b")]


def test_runs_come_back_newest_first(writer: StoreWriter) -> None:
    """Results are kept whole, listed newest first, and can be asked for by domain."""
    for name in ("a", "b"):
        writer.record_run(_run(name))
    writer.record_run(_run("c", "orchard"))
    assert writer.runs() == [_run("c", "orchard"), _run("b"), _run("a")]
    assert writer.runs("garden", limit=1) == [_run("b")]
    assert writer.runs("garden", limit=10**20) == [_run("b"), _run("a")]
    with pytest.raises(StoreCorrupt, match="core_run"):
        writer.record_run(_run("a"))


def test_words_that_are_no_text_are_kept_as_escapes(writer: StoreWriter, partition: Partition) -> None:
    """Half a surrogate pair, or a NUL, in what a source said loses neither the anomaly nor anything else of it."""
    said = "half \ud83d of it, and \0"
    with writer.commit(partition) as commit:
        commit.note(Anomaly("odd", "warning", partition.key, said, {"said": said}))
    (found,) = writer.anomalies()
    assert found.anomaly.message == "half \\ud83d of it, and \\0"
    assert found.anomaly.details == {"said": said}
