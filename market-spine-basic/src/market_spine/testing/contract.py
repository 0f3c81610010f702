"""The suite that every domain inherits: its declarations, and a load for real on both stores."""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from market_spine.app.draft import partition_scope
from market_spine.app.scheduling import RunStatus, SchedulerResult
from market_spine.compose import Hooks, Request, Selection, reader, run_schedule
from market_spine.core.capture import Part, Payload
from market_spine.core.domain import Domain
from market_spine.core.manifest import NORMALIZE, Known
from market_spine.core.partition import Partition
from market_spine.testing import declarations, readings


@dataclass(frozen=True, slots=True)
class _Given:
    """A source that answers with what the test gave."""

    payload: Payload

    def fetch(self, partition: Partition, known: Known) -> Payload:
        return self.payload


class DomainContract:
    """What every domain must keep to. Inherit it in a test module and set ``domain``, ``keys`` and ``payloads``.

    Every failure says what to write instead. The run for real needs the domain to be installed; its half on
    PostgreSQL a server: ``TEST_DATABASE_URL``, or a fixture ``new_postgres`` that gives an address.
    """

    domain: Domain
    keys: Sequence[str] = ()
    """Some valid partition keys, as the domain spells them."""
    payloads: Mapping[str, Sequence[Part]] = {}
    """Partition key to the parts of a payload as the source would give them; at least one that has rows."""

    def test_the_descriptor_says_what_is_needed(self) -> None:
        """It inherits Domain, has its names, and survives the way to another process."""
        _none(declarations.of_the_descriptor(self.domain))
        assert pickle.loads(pickle.dumps(self.domain)).name == self.domain.name  # noqa: S301 - just pickled

    def test_keys_round_trip(self) -> None:
        """A partition's key builds the same partition again, labels are its values, and other texts are refused."""
        _none(declarations.of_keys(self.domain, self.keys))

    def test_tables_are_declared_soundly(self) -> None:
        """Keys and partition columns are columns, never null, and each table names the stage that fills it."""
        _none(declarations.of_tables(self.domain))

    def test_migrations_make_the_declared_columns(self) -> None:
        """On an empty database the migrations make each table with exactly its columns and the two of versioning."""
        _none(declarations.of_migrations(self.domain))

    def test_commands_can_be_used(self) -> None:
        """The domain is installed, each command is where it says, and the scheduler has the common flags."""
        _none(declarations.of_commands(self.domain))

    def test_importing_it_is_light(self) -> None:
        """Importing the descriptor imports nothing that a run which finds nothing would not need."""
        _none(declarations.of_imports(self.domain))

    def test_payloads_are_read_as_declared(self) -> None:
        """Frames are as declared and in their partition, rows add up, and a second reading gives the same."""
        assert self.payloads or not self.domain.tables, (
            f"nothing is tried: set `payloads` to a partition key of {self.domain.name} and the parts of a payload"
        )
        for key, parts in self.payloads.items():
            partition = self.domain.partition(key)
            read = self.domain.normalize(partition, tuple(parts))
            _none(readings.of_normalized(self.domain, partition, read))
            _none(readings.of_repetition(read, self.domain.normalize(partition, tuple(parts))))
            _none(readings.of_computed(self.domain, partition, read))

    def test_a_load_and_an_unchanged_rerun_on_sqlite(self, tmp_path: Path) -> None:
        """Through the real scheduler and an SQLite file: one commit, the rows as read, then nothing new."""
        self._load_for_real(str(tmp_path / "contract.db"))

    def test_a_load_and_an_unchanged_rerun_on_postgresql(self, request: Any) -> None:
        """The same on PostgreSQL."""
        with _postgresql(request) as address:
            self._load_for_real(address)

    def _load_for_real(self, database: str) -> None:
        _none(declarations.of_commands(self.domain))
        for key, parts in self.payloads.items():
            partition = self.domain.partition(key)

            def run(partition: Partition = partition, parts: Sequence[Part] = parts, **flags: Any) -> SchedulerResult:
                selection = Selection([partition], _Given(Payload(tuple(parts), whole=True)))
                request = Request(db=database, **flags)
                return run_schedule(self.domain, request, lambda _today, _open: selection, Hooks())

            _none(_of_first(run()))
            _none(self._of_stored(database, partition, tuple(parts)))
            _none(_of_rerun(run()))
            _none(_of_forced(run(force="--force" not in self.domain.refuses)))

    def _of_stored(self, database: str, partition: Partition, parts: tuple[Part, ...]) -> Iterator[str]:
        read = self.domain.normalize(partition, parts)
        with closing(reader(database)) as store:
            for table in self.domain.tables:
                if table.stage != NORMALIZE or table.name not in read.tables:
                    continue
                stored = store.read(table, partition_scope(table, partition))
                if not stored.equals(read.tables[table.name].sort(table.key)):
                    yield (
                        f"{table.name} does not give back what normalize returned: keep to values that both stores"
                        " hold exactly (no NUL in text, no minus zero)"
                    )
            captures = store.known(self.domain.name, [partition.key])[partition.key].captures
        if len(captures) != 1:
            yield f"one load made {len(captures)} captures"


def _of_first(result: SchedulerResult) -> Iterator[str]:
    if result.error is not None:
        yield f"the first load ended with {result.error.kind}: {result.error.message} ({result.error.hint})"
    for run in result.runs:
        if run.status is RunStatus.FAILED and run.error is not None:
            yield f"{run.pipeline} failed with {run.error.kind}: {run.error.message} ({run.error.hint})"
        elif run.status is RunStatus.SKIPPED:
            yield f"{run.pipeline} was skipped as {run.reason}: give payloads of a partition that is published by now"


def _of_rerun(result: SchedulerResult) -> Iterator[str]:
    for run in result.runs:
        if run.status is not RunStatus.SKIPPED:
            yield f"{run.pipeline} ran again though nothing had changed ({run.status.value}, {run.revision_summary})"


def _of_forced(result: SchedulerResult) -> Iterator[str]:
    for run in result.runs:
        summary = run.revision_summary
        moved = summary is not None and (summary.rows_added or summary.rows_removed or summary.rows_changed)
        if run.status is RunStatus.FAILED or run.is_revision or moved:
            yield f"{run.pipeline} changed rows when the same bytes were loaded again with --force ({summary})"


def _none(problems: Iterable[str]) -> None:
    found = list(problems)
    assert not found, "\n".join(found)


@contextmanager
def _postgresql(request: Any) -> Iterator[str]:
    """The address of a schema that does not exist yet, on whatever server there is; skips the test if none is."""
    import pytest

    try:
        make: Callable[[], str] = request.getfixturevalue("new_postgres")
    except pytest.FixtureLookupError:
        server = os.environ.get("TEST_DATABASE_URL")
        if server is None:
            pytest.skip("no PostgreSQL: set TEST_DATABASE_URL")
    else:
        yield make()
        return
    import psycopg

    schema = f"contract_{uuid.uuid4().hex[:12]}"
    yield f"{server}{'&' if '?' in server else '?'}schema={schema}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())
