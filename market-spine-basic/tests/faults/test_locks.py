"""Locks on an SQLite file: another process's that is never let go, and file systems that have none."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from market_spine import registry, stopping
from market_spine.errors import Interrupted, StoreLocked
from market_spine.store import open_reader, open_writer, parse_url
from market_spine.store.sqlite import waiting
from market_spine.testing import run_command
from spine.domains.finra.otc_transparency import DOMAIN

if TYPE_CHECKING:
    from tests.faults.conftest import Finra

LOCKLESS = Path(__file__).parent / "lockless.py"


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[str]:
    """A database that another connection keeps to itself, readers included."""
    path = str(tmp_path / "busy.db")
    open_writer(parse_url(path), registry.domains()).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        # Without a write-ahead log an exclusive transaction shuts out readers, too.
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        yield path
        other.execute("ROLLBACK")


def test_a_wait_for_a_lock_hears_that_the_run_is_to_stop(busy: str) -> None:
    """Opening a file that another process holds, to read or to write, ends once the run is to stop."""
    for open_store in (open_reader, open_writer):
        with stopping.heard(lambda: True), pytest.raises(Interrupted):
            open_store(parse_url(busy), registry.domains(), wait_seconds=3600)


def test_a_commit_hears_that_the_run_is_to_stop(tmp_path: Path) -> None:
    """A commit that waits for another writer ends once the run is to stop, and leaves nothing behind."""
    path = str(tmp_path / "busy.db")
    partition = DOMAIN.partition("2025-11-21|OTC")
    with open_writer(parse_url(path), registry.domains(), wait_seconds=3600) as writer:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with stopping.heard(lambda: True), pytest.raises(Interrupted), writer.commit(partition):
                pass
        with writer.commit(partition):
            pass


def test_a_wait_in_vain_is_not_repeated(busy: str) -> None:
    """Once a wait for a file ran out, the next one who wants it is told so after one attempt."""
    with pytest.raises(StoreLocked):
        open_writer(parse_url(busy), registry.domains(), wait_seconds=0.3)
    tries = 0

    def attempt() -> None:
        nonlocal tries
        tries += 1
        raise error

    with closing(sqlite3.connect(busy, timeout=0)) as other, pytest.raises(sqlite3.OperationalError) as caught:
        other.execute("SELECT * FROM core_runs")
    error = caught.value
    with pytest.raises(sqlite3.OperationalError):
        waiting.patiently(attempt, busy, 3600)
    assert tries == 1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EIO])
def test_a_file_system_without_locks_is_named(finra: Finra, number: int) -> None:
    """Where files cannot be locked, a run fails with one store_unavailable that says so and what to use instead,
    rather than wait for a process that does not exist."""
    arguments = finra.arguments(str(finra.cwd / "shared.db"), finra.first)
    done = run_command(*arguments, cwd=finra.cwd, program=(str(LOCKLESS), str(number)))
    if done.code == 77:
        pytest.skip("no seccomp filter can be set here")
    result = done.result()
    assert (done.code, result.error and result.error.kind) == (1, "store_unavailable")
    assert result.error is not None
    assert "without working locks" in result.error.message
    assert "DATABASE_URL" in result.error.hint
