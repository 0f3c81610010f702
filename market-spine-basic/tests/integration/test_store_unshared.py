"""Reading a file without side files: again whenever somebody changed it meanwhile."""

from __future__ import annotations

import fcntl
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition
from market_spine.errors import StoreLocked
from market_spine.store import StoreUrl, open_reader, open_writer
from market_spine.store.fresh import backup
from market_spine.store.reader import StoreReader
from market_spine.store.sqlite import connect, sharing
from market_spine.store.sqlite.connect import ATTEMPTS, Connection, connect_for_reading, steadily
from market_spine.store.writer import StoreWriter

SQL = "SELECT COUNT(*) FROM core_manifest"

pytestmark = pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)


@pytest.fixture
def url(
    store_url: StoreUrl, writer: StoreWriter, put: Callable[..., Entry], monkeypatch: pytest.MonkeyPatch
) -> StoreUrl:
    """A store with one capture and without side files, in which this user can make none."""
    put("first", kale=1)
    writer.close()
    monkeypatch.setattr(sharing, "is_others", lambda _real: True)
    monkeypatch.setattr(
        sharing, "make_side_files", lambda real: all(path.exists() for path in sharing.side_files(real))
    )
    return store_url


@pytest.fixture
def change(url: StoreUrl, domain: Domain, clock: Any, partition: Any, enter: Callable[..., Entry]) -> Iterator[Any]:
    """Commit one more capture and move the log into the file, as another process of the owner's would."""
    writers: list[StoreWriter] = []

    def commit() -> None:
        if not writers:
            writers.append(open_writer(url, [domain], clock=clock))
        with writers[0].commit(partition) as one:
            enter(one, partition, capture_id=f"capture {clock()}")
        assert writers[0]._db.rows("PRAGMA wal_checkpoint")[0][0] == 0

    yield commit
    for each in writers:
        each.close()


def test_what_was_read_from_two_states_is_read_again(
    url: StoreUrl, domain: Domain, clock: Any, change: Callable[[], None]
) -> None:
    """What changes in the middle of a reading is read once more, from one state, with what has come."""
    seen = []
    with open_reader(url, [domain], clock=clock) as reader:

        def read() -> None:
            seen.append([len(reader.known("garden")["2025-01-03|north"].captures)])
            if len(seen) == 1:
                change()
            seen[-1].append(reader.query(SQL).rows[0][0])

        reader._db.steadily(read)
        assert reader.query(SQL).rows == [(2,)]
    assert seen == [[1, 2], [2, 2]]


def test_an_error_of_a_torn_reading_is_none(
    url: StoreUrl, domain: Domain, clock: Any, change: Callable[[], None]
) -> None:
    """An error that a change in the middle brought about is forgotten; one without a change is raised."""
    with open_reader(url, [domain], clock=clock) as reader:
        tries: list[int] = []

        def read() -> int:
            tries.append(1)
            if len(tries) == 1:
                change()
                raise ValueError
            return len(tries)

        assert reader._db.steadily(read) == 2

        def fail() -> None:
            tries.append(1)
            raise KeyError

        with pytest.raises(KeyError):
            reader._db.steadily(fail)
    assert len(tries) == 3


def test_commits_that_are_not_yet_in_the_file_tear_nothing(
    url: StoreUrl, domain: Domain, clock: Any, change: Callable[[], None]
) -> None:
    """A reader that stays open sees each commit by its next reading, whether it is in the log or in the file."""
    with open_reader(url, [domain], clock=clock) as reader:
        for number in range(2, 5):
            change()
            assert reader.query(SQL).rows == [(number,)]
            assert len(reader.known("garden")["2025-01-03|north"].captures) == number


def test_a_file_that_never_stays_is_given_up(
    url: StoreUrl, change: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changes in each reading is an error that says so, after a bounded number of attempts."""
    monkeypatch.setattr(sharing, "make_side_files", lambda _real: False)
    monkeypatch.setattr(sharing, "log_size", lambda _real: 0)
    tried = []

    def read(_connection: Connection) -> None:
        tried.append(1)
        Path(url.path).touch()

    with pytest.raises(StoreLocked, match="changed while it was read") as error:
        steadily(url.path, 1.0, read)
    assert (len(tried), bool(error.value.hint)) == (ATTEMPTS, True)


def test_a_backup_of_a_file_that_changes_is_of_one_state(
    url: StoreUrl, change: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A copy that was under way when the file changed is made anew."""
    opened: list[Connection] = []

    def open_and_change(path: str, wait: float) -> Connection:
        opened.append(connect_for_reading(path, wait))
        if len(opened) == 1:
            opened[0].execute(SQL).fetchall()
            change()
        return opened[-1]

    monkeypatch.setattr(connect, "connect_for_reading", open_and_change)
    backup(url, str(tmp_path / "copy.db"))
    with closing(connect_for_reading(str(tmp_path / "copy.db"), 1.0)) as copy:
        assert copy.execute(SQL).fetchall() == [(2,)]
    assert len(opened) == 2


def test_the_log_stays_while_a_file_is_read_without_it(
    url: StoreUrl, domain: Domain, clock: Any, partition: Partition, enter: Callable[..., Entry]
) -> None:
    """A writer that closes leaves its log while somebody reads the bare file, and the next one removes it."""
    log, index = sharing.side_files(Path(url.path))
    bare = connect_for_reading(url.path, 1.0)
    assert bare.bare is not None
    for is_read in (True, False):
        with open_writer(url, [domain], clock=clock) as other, other.commit(partition) as commit:
            enter(commit, partition, capture_id=f"while it is read: {is_read}")
        assert (log.exists(), index.exists()) == (is_read, is_read)
        bare.close()
    assert sharing.Hold._held == {}


def test_a_system_without_such_locks_leaves_it_to_sqlite(
    store_url: StoreUrl, writer: StoreWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where open files can have locks of their own is another user's file opened in another way."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert sharing.is_others(Path(store_url.path))
    monkeypatch.delattr(fcntl, "F_OFD_SETLK")
    assert not sharing.is_others(Path(store_url.path))


def test_every_reading_is_one_that_is_repeated(url: StoreUrl) -> None:
    """Each public method of a reader that reads is one that looks whether the file stayed as it was."""
    public = {name: method for name, method in inspect.getmembers(StoreReader) if not name.startswith("_")}
    assert {name for name, method in public.items() if not hasattr(method, "__wrapped__")} == {"close"}
