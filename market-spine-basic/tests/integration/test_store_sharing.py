"""Several connections on one store: one writer at a time, readers always."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from market_spine.core.capture import Part
from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry, RunRecord
from market_spine.core.partition import Partition, Scope
from market_spine.errors import StoreLocked
from market_spine.store import StoreUrl, open_reader, open_writer
from market_spine.store.database import ALONE
from market_spine.store.writer import StoreWriter

NORTH = Scope({"day": "2025-01-03", "plot": "north"})
_HOLD = """
import pickle, sys
from datetime import UTC, datetime
from market_spine.store import open_writer
url, lock = pickle.loads(bytes.fromhex(sys.argv[1]))
with open_writer(url, [], clock=lambda: datetime.now(UTC)) as writer:
    writer._db.begin(lock)
    print("held", flush=True)
    sys.stdin.readline()
    # A server would notice only some time later that a client that just ends has gone, and hold its lock until then.
    writer._db.rollback()
"""


@contextmanager
def _held_elsewhere(url: StoreUrl, lock: str = ALONE) -> Iterator[None]:
    """Another process holds a lock: by default the one that every commit takes at its end."""
    command = [sys.executable, "-c", _HOLD, pickle.dumps((url, lock)).hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield
        finally:
            process.communicate("go\n", timeout=900)


@pytest.mark.process
def test_a_held_lock_is_waited_for_only_so_long(
    store_url: StoreUrl,
    writer: StoreWriter,
    domain: Domain,
    clock: Any,
    partition: Partition,
    enter: Callable[..., Entry],
) -> None:
    """While another process writes, commits and runs end in StoreLocked; afterwards they work."""
    now = clock()
    run = RunRecord("r", "garden", "weekly", now, now, "success", 0, 1, 1, 0, 0, "{}")
    with open_writer(store_url, [domain], clock=clock, wait_seconds=0.05) as other:
        with _held_elsewhere(store_url):
            with pytest.raises(StoreLocked, match=r"0\.05 s") as error, other.commit(partition) as commit:
                enter(commit, partition)
            assert error.value.__cause__ is not None
            with pytest.raises(StoreLocked):
                other.record_run(run)
            assert other.runs() == []
        other.record_run(run)
        assert other.runs() == [run]
        assert other.history("garden", partition.key) == []


@pytest.mark.process
def test_an_answer_as_of_a_moment_waits_until_it_is_settled(
    store_url: StoreUrl, domain: Domain, clock: Any, put: Callable[..., Entry]
) -> None:
    """While a commit is under way, later moments are not settled; the last commit's moment and the present are."""
    put("first", kale=1)
    sql = "SELECT COUNT(*) FROM garden_harvest"
    with open_reader(store_url, [domain], clock=clock, wait_seconds=0.05) as reader:
        ((last,),) = reader.query("SELECT MAX(committed_at) FROM core_manifest").rows
        after = datetime.fromisoformat(last) + timedelta(microseconds=1)
        with _held_elsewhere(store_url):
            with pytest.raises(StoreLocked):
                reader.query(sql, after)
            assert reader.query(sql, last).rows == [(1,)]
            assert reader.query(sql).rows == [(1,)]
        assert reader.query(sql, after).rows == [(1,)]


def test_what_is_being_written_is_not_seen(
    writer: StoreWriter,
    store_url: StoreUrl,
    domain: Domain,
    clock: Any,
    partition: Partition,
    put: Callable[..., Entry],
    enter: Callable[..., Entry],
    harvest: Callable[..., Any],
) -> None:
    """Until a commit is complete other connections see what was there before; then they see all of it."""
    put("first", kale=1)
    sql = "SELECT crop, weight, capture_id FROM garden_harvest ORDER BY crop"
    with open_reader(store_url, [domain], clock=clock) as reader:
        with writer.commit(partition) as commit:
            entry = enter(commit, partition, capture_id="second")
            commit.replace(domain.tables[0], NORTH, harvest(kale=2, leek=3), entry.manifest_id)
            assert reader.query(sql).rows == [("kale", 1.0, "first")]
            assert reader.known("garden")[partition.key].captures == ("first",)
        assert reader.query(sql).rows == [("kale", 2.0, "second"), ("leek", 3.0, "second")]


@pytest.mark.soak
def test_a_reader_beside_a_busy_writer_sees_only_whole_commits(
    store_url: StoreUrl,
    writer: StoreWriter,
    domain: Domain,
    clock: Any,
    partition: Partition,
    enter: Callable[..., Entry],
    harvest: Callable[..., Any],
) -> None:
    """In every state that a reader meets, all rows stem from one and the same commit, and never go back."""
    crops = [f"crop{number}" for number in range(50)]

    def write() -> None:
        with open_writer(store_url, [domain], clock=clock) as own:
            for version in range(1, 41):
                with own.commit(partition) as commit:
                    entry = enter(commit, partition, capture_id=f"c{version}")
                    frame = harvest(**dict.fromkeys(crops, version))
                    commit.replace(domain.tables[0], NORTH, frame, entry.manifest_id)

    seen = [0.0]
    with ThreadPoolExecutor(1) as pool, open_reader(store_url, [domain], clock=clock) as reader:
        task = pool.submit(write)
        while not task.done():
            rows = reader.query("SELECT COUNT(*), MIN(weight), MAX(weight) FROM garden_harvest").rows
            ((number, low, high),) = rows
            assert (number, low) in ((0, None), (50, high))
            frame = reader.read(domain.tables[0], NORTH)
            assert frame["weight"].n_unique() == min(frame.height, 1)
            assert frame.height in (0, 50)
            known = reader.known("garden", [partition.key])[partition.key]
            assert len(known.captures) == known.last_id
            seen.append(high or 0.0)
        task.result()
    assert seen == sorted(seen)
    assert writer.query("SELECT DISTINCT weight FROM garden_harvest").rows == [(40.0,)]


@pytest.mark.process
def test_a_partition_is_written_by_one_at_a_time(
    store_url: StoreUrl,
    writer: StoreWriter,
    domain: Domain,
    clock: Any,
    partition: Partition,
    enter: Callable[..., Entry],
) -> None:
    """While another process has a commit of the same partition open, one here waits only so long."""
    with open_writer(store_url, [domain], clock=clock, wait_seconds=0.05) as other:
        held = _held_elsewhere(store_url, f"partition garden {partition.key}")
        with held, pytest.raises(StoreLocked), other.commit(partition):
            pass
        with other.commit(partition) as commit:
            enter(commit, partition)
    assert len(writer.history("garden", partition.key)) == 1


def test_many_writers_lose_nothing(
    store_url: StoreUrl, writer: StoreWriter, domain: Domain, clock: Any, enter: Callable[..., Entry]
) -> None:
    """Commits of the same and of different partitions at once are all kept, each with a moment and ids of its own."""
    keys = [("2025-01-03", plot) for plot in ("north", "south", "east")]

    def write(number: int) -> None:
        with open_writer(store_url, [domain], clock=clock) as own:
            for step in range(10):
                partition = Partition("garden", keys[(number + step) % len(keys)])
                with own.commit(partition) as commit:
                    before = commit.known().captures
                    part = Part("p", f"bytes {step}".encode(), "file")
                    commit.add_payload(part)
                    enter(commit, partition, capture_id=f"{partition.key} {len(before)}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    rows = writer.query("SELECT manifest_id, committed_at, partition_key, capture_id FROM core_manifest").rows
    assert len({row[0] for row in rows}) == len({row[1] for row in rows}) == 40
    for values in keys:
        own = [record.entry.capture_id for record in writer.history("garden", "|".join(values))]
        assert own == [f"{'|'.join(values)} {number}" for number in range(len(own))]
    assert writer.query("SELECT COUNT(*) FROM core_payloads").rows == [(10,)]
