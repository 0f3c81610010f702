"""For tests of Market Spine and of domains built on it: real commands, and the suite every domain passes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from market_spine.app.scheduling import SchedulerResult, result_schema
from market_spine.core.domain import Domain
from market_spine.core.schema import Table

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "PYTHONDONTWRITEBYTECODE")
"""The only variables that a command under test gets from us, so that none of a developer's settings leaks in."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended: its exit code and what it wrote."""

    code: int
    stdout: str
    stderr: str

    def result(self) -> SchedulerResult:
        """The one JSON document on stdout, checked against the contract's JSON Schema."""
        import json

        from jsonschema import Draft202012Validator

        Draft202012Validator(result_schema()).validate(json.loads(self.stdout))
        result = SchedulerResult.from_json(self.stdout)
        if result.exit_code != self.code:
            raise AssertionError(f"exit code {self.code}, but the result says {result.exit_code}")
        return result


def run_command(
    *arguments: str | Path,
    cwd: Path,
    environ: Mapping[str, str] | None = None,
    path: Sequence[Path] = (),
    program: Sequence[str] = ("-m", "market_spine"),
) -> Finished:
    """Run the command line in a process of its own, with no settings but those given.

    Args:
        arguments: what comes after ``market-spine``.
        cwd: the working directory.
        environ: further environment variables.
        path: folders in which further distributions are found.
        program: what Python runs instead, such as a script's path.
    """
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    if path:
        inherited["PYTHONPATH"] = os.pathsep.join(map(str, path))
    done = subprocess.run(  # noqa: S603 - the arguments are the test's own
        [sys.executable, *program, *map(str, arguments)],
        cwd=cwd,
        env={**inherited, **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


class DomainContract:
    """What every domain must keep to. Inherit it in a test module and set ``domain`` and ``keys``."""

    domain: Domain
    keys: Sequence[str]
    """Some valid partition keys."""

    def test_keys_round_trip(self) -> None:
        """A partition's key builds the same partition again, with one value for each field."""
        for key in self.keys:
            partition = self.domain.partition(key)
            assert partition.key == key
            assert partition.domain == self.domain.name
            assert len(partition.values) == len(self.domain.partition_fields)

    def test_capture_labels_hold_the_partitions_values(self) -> None:
        """A capture id's labels are the partition's values in some order."""
        for key in self.keys:
            partition = self.domain.partition(key)
            assert sorted(self.domain.capture_labels(partition)) == sorted(partition.values)

    def test_tables_are_declared_soundly(self) -> None:
        """Keys and partition columns are columns, never null, and names carry one common prefix."""
        for table in self.domain.tables:
            nullable = {column.name for column in table.columns if column.nullable}
            assert set(table.key) <= set(table.names)
            assert set(table.partition_by) <= set(table.key)
            assert not nullable & set(table.key)
            assert len(set(table.names)) == len(table.names)

    def test_every_table_is_filled_by_a_stage(self) -> None:
        """Each table names a stage of the domain or one of its window calculations."""
        stages = {stage.name for stage in self.domain.stages} | {each.spec.name for each in self.domain.windows}
        assert {table.stage for table in self.domain.tables} <= stages

    def test_migrations_make_the_declared_columns(self) -> None:
        """On an empty database the migrations make each table with exactly its columns and the two of versioning."""
        for table in self.domain.tables:
            assert physical_columns(self.domain, table) == [*table.names, "manifest_id", "superseded_by"]

    def test_pipelines_are_named_after_the_domain(self) -> None:
        """Pipeline names start with the domain's name."""
        specs = (*self.domain.stages, *(window.spec for window in self.domain.windows))
        assert all(spec.pipeline.startswith(f"{self.domain.name}.") for spec in specs)


def physical_columns(domain: Domain, table: Table) -> list[str]:
    """The columns of a table's physical form as the domain's migrations make it."""
    import sqlite3
    from importlib.resources import files

    connection = sqlite3.connect(":memory:")
    for script in sorted(files(domain.migrations).iterdir(), key=lambda each: each.name):
        if script.name.endswith(".sql"):
            connection.executescript(script.read_text(encoding="utf-8"))
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table.versions})")]
    connection.close()
    return columns
