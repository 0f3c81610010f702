"""What is wrong with a domain's declarations, as sentences that say what to write instead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.resources import files

import click

from market_spine import registry
from market_spine.core.domain import Domain
from market_spine.core.manifest import NORMALIZE
from market_spine.core.schema import Kind, Table, View
from market_spine.errors import MarketSpineError, UsageError

SQL_TYPES: dict[Kind, str] = {
    "text": "TEXT",
    "integer": "BIGINT",
    "float": "DOUBLE PRECISION",
    "date": "DATE",
    "boolean": "BOOLEAN",
}
"""What a migration writes for each kind of column: the types that SQLite and PostgreSQL share."""

_COMMON = ("--force", "--only-stage", "--mode", "--fail-fast", "--workers", "--db", "--run-date", "--json")
_TAKEN = {
    **dict.fromkeys(("manifest_id", "superseded_by", "capture_id", "captured_at"), "the store adds"),
    **dict.fromkeys(("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"), "PostgreSQL keeps for itself"),
    "file_row_number": "DuckDB keeps for itself",
}
"""Names that no column can have, and whose they are."""
_HEAVY = ("polars", "pandas", "pyarrow", "numpy", "httpx2", "psycopg", "pydantic", "fsspec", "exchange_calendars")


def of_the_descriptor(domain: Domain) -> Iterator[str]:
    """Names, fields and flags."""
    if not isinstance(domain, Domain):
        yield f"{type(domain).__name__} is no Domain: write `class {type(domain).__name__}(Domain)`"
        return
    if not getattr(domain, "name", ""):
        yield f'{type(domain).__name__} has no name: write `name = "treasury"` in it'
        return
    for field, kind in (("partition_fields", str), ("tables", Table), ("views", View)):
        given = getattr(domain, field)
        if not isinstance(given, tuple) or not all(isinstance(each, kind) for each in given):
            yield f"{field} of {domain.name} is no tuple of {kind.__name__}: mind the comma in `{field} = (...,)`"
            return
    if domain.partition_fields and domain.scheduler == "none":
        yield f'{domain.name} has no scheduler: write such as `scheduler = "yearly_yields"`, the name in the result'
    if domain.partition_fields and not domain.tables:
        yield f"{domain.name} has partitions and no tables: write `tables = (...)`"
    if unknown := set(domain.refuses) - {"--force", "--only-stage"}:
        yield f"refuses names {', '.join(sorted(unknown))}: it takes --force and --only-stage"


def of_keys(domain: Domain, keys: Sequence[str]) -> Iterator[str]:
    """Partitions from their keys, and keys that are none."""
    if domain.partition_fields and not keys:
        yield f"nothing is tried: set `keys` to some partition keys of {domain.name}"
    for key in keys:
        yield from _of_key(domain, key)
    for key in ("", "|", "a|b|c|d|e"):
        try:
            domain.partition(key)
        except UsageError:
            continue
        except Exception as error:  # noqa: BLE001 - whatever a domain's own code raises
            yield (
                f"partition({key!r}) raised {type(error).__name__}: raise UsageError, which shows a good key, or leave"
                " partition() to Domain"
            )
        else:
            yield f"partition({key!r}) is accepted: raise UsageError for what is no key"


def _of_key(domain: Domain, key: str) -> Iterator[str]:
    try:
        partition = domain.partition(key)
    except MarketSpineError as error:
        yield f"partition({key!r}) raised {error.message!r}: make it take the keys that the test names"
        return
    if partition.key != key:
        yield f"partition({key!r}) is {partition.key!r}: the test names keys as the domain spells them"
    if partition.domain != domain.name:
        yield f"partition({key!r}) belongs to {partition.domain!r}: write `Partition(self.name, ...)`"
    if len(partition.values) != len(domain.partition_fields):
        yield (
            f"partition({key!r}) has {len(partition.values)} values and partition_fields names"
            f" {len(domain.partition_fields)}: give one value for each"
        )
    if sorted(domain.capture_labels(partition)) != sorted(partition.values):
        yield f"capture_labels of {key!r} should be the partition's values in some order"


def of_tables(domain: Domain) -> Iterator[str]:
    """Columns, keys, partition columns and stages."""
    stages = {stage.name for stage in domain.stages} | {each.spec.name for each in domain.windows}
    if domain.tables and domain.tables[0].stage != NORMALIZE:
        yield (
            f"{domain.tables[0].name} is the first table, whose rows the revision summary counts:"
            ' write stage="normalize" in it, or put the table that normalize fills first'
        )
    for table in domain.tables:
        yield from _of_columns(table)
        if len(table.partition_by) != len(domain.partition_fields):
            yield (
                f"partition_by of {table.name} has {len(table.partition_by)} columns and partition_fields has"
                f" {len(domain.partition_fields)}: name one column for each field, in the same order"
            )
        if table.stage not in stages:
            yield f"{table.name} is filled by stage {table.stage!r}: write one of {', '.join(sorted(stages))}"
        if table.grows and table.stage != NORMALIZE:
            yield f"{table.name} grows, but is computed: grows=True is for tables that normalize fills"
        if table.bulk and table.grows:
            yield f"{table.name} is bulk, whose partitions come whole, and grows: write one of the two"


def _of_columns(table: Table) -> Iterator[str]:
    nullable = {column.name for column in table.columns if column.nullable}
    for what, names in (("key", table.key), ("partition_by", table.partition_by), ("laid_by", table.laid_by)):
        if missing := [name for name in names if name not in table.names]:
            yield f"{what} of {table.name} names {', '.join(missing)}, which is no column of it"
    if len(set(table.names)) != len(table.names):
        yield f"{table.name} has two columns of one name"
    for name in table.names:
        if name.lower() in _TAKEN:
            yield f"{table.name} has a column {name}, a name that {_TAKEN[name.lower()]}: call it otherwise"
    if outside := [name for name in table.partition_by if name not in table.key]:
        yield f"{', '.join(outside)} of {table.name} tells partitions apart: put it into the key, too"
    if loose := [name for name in table.key if name in nullable]:
        yield f"{', '.join(loose)} of {table.name} is in the key: write nullable=False"


def of_migrations(domain: Domain) -> Iterator[str]:
    """The physical tables that the migrations make, on SQLite."""
    if not domain.tables:
        return
    if not domain.migrations:
        yield f'{domain.name} has tables and no migrations: write `migrations = "{domain.name}.migrations"`'
        return
    import sqlite3

    connection = sqlite3.connect(":memory:")
    scripts = [each for each in files(domain.migrations).iterdir() if each.name.endswith(".sql")]
    for script in sorted(scripts, key=lambda each: each.name):
        connection.executescript(script.read_text(encoding="utf-8"))
    for table in domain.tables:
        made = {row[1]: (row[2].upper(), row[3]) for row in connection.execute(f"PRAGMA table_info({table.versions})")}
        yield from _of_physical(domain, table, made)
    connection.close()


def _of_physical(domain: Domain, table: Table, made: dict[str, tuple[str, int]]) -> Iterator[str]:
    expected = {column.name: SQL_TYPES[column.kind] for column in table.columns}
    expected |= {"manifest_id": "BIGINT", "superseded_by": "BIGINT"}
    if not made:
        columns = ", ".join(f"{name} {kind}" for name, kind in expected.items())
        yield f"the files of {domain.migrations} make no table {table.versions}: write it, with {columns}"
        return
    for name, kind in expected.items():
        if name not in made:
            yield f"{table.versions} has no {name}: write `{name} {kind}`"
        elif made[name][0] != kind:
            yield f"{table.versions}.{name} is {made[name][0]}: write `{name} {kind}`, which both stores understand"
    for name in made.keys() - expected.keys():
        yield f"{table.versions} has {name}, which {table.name} does not declare: declare it, or drop it"
    if made.keys() == expected.keys():
        yield from _of_order_and_nulls(table, made)


def _of_order_and_nulls(table: Table, made: dict[str, tuple[str, int]]) -> Iterator[str]:
    declared = [*table.names, "manifest_id", "superseded_by"]
    if list(made) != declared:
        yield f"the columns of {table.versions} stand in another order than declared: write {', '.join(declared)}"
    if not made["manifest_id"][1] or made["superseded_by"][1]:
        yield f"{table.versions}: write `manifest_id BIGINT NOT NULL, superseded_by BIGINT`"
    for column in table.columns:
        if column.nullable and made[column.name][1]:
            yield f"{table.versions}.{column.name} is NOT NULL and may be null in {table.name}: make both say the same"


def of_commands(domain: Domain) -> Iterator[str]:
    """The commands that it brings, and that it is installed at all."""
    try:
        registry.find(domain.name)
    except MarketSpineError:
        yield (
            f"{domain.name} is not installed: name it in pyproject.toml under"
            f' [project.entry-points."{registry.GROUP}"], then pip install -e .'
        )
        return
    for group, target in domain.commands().items():
        module, _, attribute = target.partition(":")
        command = getattr(import_module(module), attribute, None)
        if not isinstance(command, click.Command):
            yield (
                f"the command `{group}` should be {target}, and there is none: define it there, or say in commands()"
                " where it is"
            )
        elif group == "schedule":
            flags = {flag for parameter in command.params for flag in parameter.opts}
            if missing := [flag for flag in _COMMON if flag not in flags]:
                yield f"{target} lacks {', '.join(missing)}: decorate it with @common_options"


def of_imports(domain: Domain) -> Iterator[str]:
    """What importing it costs."""
    module = type(domain).__module__
    code = f"import sys, {module}; print(' '.join(name for name in {_HEAVY!r} if name in sys.modules))"
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    if heavy := done.stdout.split():
        yield (
            f"importing {module} imports {', '.join(heavy)}, which every run that finds nothing would pay for: import"
            " it inside the functions that use it, and for types under `if TYPE_CHECKING`"
        )
