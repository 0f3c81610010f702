"""A dump made with PostgreSQL's own tools and restored into a new server is the same store."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Part
from market_spine.core.domain import Domain
from market_spine.core.partition import Partition, Scope
from market_spine.store import StoreUrl, check, open_reader, open_writer

SCOPE = Scope({"day": "2025-01-03", "plot": "north"})
CAPTURES: Sequence[dict[str, float]] = ({"kale": 1, "Öl/油": 0.1}, {"kale": 2, "Öl/油": 0.1}, {"beet": 1e23, "kale": 2})
SHOWN = (
    *("garden_harvest", "garden_total", "garden_value", "garden_price"),
    *("core_manifest", "core_capture_parts", "core_payloads", "core_anomalies", "core_anomaly_events", "core_runs"),
)

Server = tuple[StoreUrl, Path]


@pytest.fixture
def start(start_postgres: Callable[..., Any]) -> Iterator[Callable[[int, str], Server]]:
    """Start a server of a version with an empty database of an encoding; gives its address and its tools."""
    servers = []

    def new(version: int, encoding: str) -> Server:
        server = start_postgres(version)
        servers.append(server)
        parameters = {"user": "postgres", "host": str(server.get_postmaster_info().socket_dir)}
        with psycopg.connect(autocommit=True, dbname="postgres", **parameters) as admin:  # type: ignore[arg-type]
            admin.execute(f"CREATE DATABASE spine ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0".encode())
        return StoreUrl("postgresql", "spine", tuple({**parameters, "dbname": "spine"}.items())), server.bin_path

    yield new
    for server in servers:
        server.cleanup()


def _tool(server: Server, name: str, *arguments: str) -> None:
    url, folder = server
    login = dict(url.parameters)
    command = [str(folder / name), "--username", login["user"], "--host", login["host"], "--dbname", "spine"]
    subprocess.run([*command, *arguments], check=True, capture_output=True)


def _commit(
    url: StoreUrl, domain: Domain, clock: Any, partition: Partition, enter: Any, frame: Any, number: int
) -> None:
    with open_writer(url, [domain], clock=clock) as writer, writer.commit(partition) as commit:
        entry = enter(commit, partition, capture_id=f"garden:{number}", row_count=frame.height)
        commit.add_payload(Part("file", f"bytes {number} Öl".encode(), "file"))
        commit.replace(domain.tables[0], SCOPE, frame, entry.manifest_id)
        commit.note(Anomaly(f"odd{number}", "warning", partition.key, "Öl/油"))


def _answers(url: StoreUrl, domain: Domain, clock: Any, moments: Sequence[datetime | None]) -> dict[Any, Any]:
    with open_reader(url, [domain], clock=clock) as reader:
        return {
            (moment, name): (answer.columns, sorted(answer.rows, key=repr))
            for moment in moments
            for name in SHOWN
            for answer in [reader.query(f"SELECT * FROM {name}", moment)]
        }


@pytest.mark.parametrize(
    ("version", "newer", "encoding"), [(16, 16, "UTF8"), (16, 18, "UTF8"), (18, 18, "UTF8"), (16, 18, "SQL_ASCII")]
)
def test_a_restored_dump_gives_every_answer(
    start: Callable[[int, str], Server],
    domain: Domain,
    clock: Any,
    partition: Partition,
    enter: Any,
    harvest: Any,
    tmp_path: Path,
    version: int,
    newer: int,
    encoding: str,
) -> None:
    """Restored into a new server of the same or a later version a store gives every answer as of every moment, is found
    whole, and goes on with the ids and moments that follow."""
    old, new = start(version, encoding), start(newer, "UTF8")
    for number, weights in enumerate(CAPTURES):
        _commit(old[0], domain, clock, partition, enter, harvest(**weights), number)
    with open_reader(old[0], [domain], clock=clock) as reader:
        moments = [each.committed_at for each in reader.history("garden", partition.key)]
    assert len(set(moments)) == len(CAPTURES)
    before = _answers(old[0], domain, clock, [*moments, None])
    assert len({repr(before[moment, "garden_harvest"]) for moment in moments}) == len(CAPTURES)
    dump = tmp_path / "spine.dump"
    # The newer server's tools, as PostgreSQL advises for a move to it.
    encoded = ("--encoding=UTF8",) if encoding == "SQL_ASCII" else ()
    _tool((old[0], new[1]), "pg_dump", "--format=custom", f"--file={dump}", *encoded)
    _tool(new, "pg_restore", "--exit-on-error", "--no-owner", str(dump))
    assert _answers(new[0], domain, clock, [*moments, None]) == before
    assert [each for each in check(new[0], [domain], deep=True) if not each.ok] == []
    _commit(new[0], domain, clock, partition, enter, harvest(leek=5), len(CAPTURES))
    with open_reader(new[0], [domain], clock=clock) as reader:
        history = reader.history("garden", partition.key)
    assert [each.entry.manifest_id for each in history] == [1, 2, 3, 4]
    assert history[-1].committed_at > moments[-1]
    after = _answers(new[0], domain, clock, moments)
    assert after == {where: answer for where, answer in before.items() if where[0] is not None}
