"""Mistakes of a domain's author: the suite that every domain inherits finds each, and says what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from market_spine.core.capture import Part
from market_spine.core.domain import CoversRange, Domain, LacksFields, Normalized, Range, rejected_rows
from market_spine.core.partition import Partition
from market_spine.core.reconcile import Unknown
from market_spine.core.schema import Column, Table
from market_spine.testing import DomainContract, declarations

LEVELS = Table(
    "lake_levels",
    (
        Column("year", "integer", "Year.", nullable=False),
        Column("day", "date", "Day.", nullable=False),
        Column("metres", "float", "Height."),
    ),
    key=("year", "day"),
    partition_by=("year",),
    doc="Heights of the water.",
    stage="normalize",
)
HIGHEST = Table(
    "lake_highest",
    (Column("year", "integer", "Year.", nullable=False), Column("metres", "float", "Highest of the year.")),
    key=("year",),
    partition_by=("year",),
    doc="The highest water.",
)
SQL = """\
CREATE TABLE lake_levels_versions (
    year BIGINT NOT NULL, day DATE NOT NULL, metres DOUBLE PRECISION,
    manifest_id BIGINT NOT NULL, superseded_by BIGINT
);
CREATE TABLE lake_highest_versions (
    year BIGINT NOT NULL, metres DOUBLE PRECISION, manifest_id BIGINT NOT NULL, superseded_by BIGINT
);
"""
DAY = date(2025, 1, 2)


class Lake(Domain):
    """A domain without a mistake."""

    name = "lake"
    scheduler = "yearly_levels"
    partition_fields = ("year",)
    tables = (LEVELS, HIGHEST)
    migrations = "lake_migrations"

    def normalize(self, partition: Partition, parts: Any) -> Normalized:
        return read()

    def compute(self, partition: Partition, tables: Any) -> Any:
        return {HIGHEST.name: HIGHEST.frame([(2025, tables[LEVELS.name]["metres"].max())])}


def read(rows: Any = ((2025, DAY, 1.5),), **changes: Any) -> Normalized:
    """What ``Lake`` reads, with something else in it."""
    usual: dict[str, Any] = {
        "tables": {LEVELS.name: rows if isinstance(rows, pl.DataFrame) else LEVELS.frame(rows)},
        "rejects": rejected_rows(),
        "rows_read": len(rows),
    }
    return Normalized(**{**usual, **changes})


@pytest.fixture
def migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Make a package of migrations from a text; the answer is its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def make(text: str) -> str:
        name = f"lake_migrations_{tmp_path.name}_{len(made)}"
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "0001_tables.sql").write_text(text)
        made.append(name)
        return name

    return make


def suite(**changes: Any) -> DomainContract:
    """The inherited suite for a lake with something else in it."""
    contract = DomainContract()
    contract.domain = type("Lake", (Lake,), changes)()
    contract.keys = ("2025",)
    contract.payloads = {"2025": [Part("levels", b"x", "levels.txt")]}
    return contract


def reading(found: Normalized | Callable[[], Normalized]) -> DomainContract:
    """The suite for a lake that reads something else."""
    return suite(normalize=lambda _self, _partition, _parts: found() if callable(found) else found)


def test_a_domain_without_a_mistake_passes(migrations: Callable[[str], str]) -> None:
    """An integer partition column, a nullable number and a computed table are all as they should be."""
    contract = suite(migrations=migrations(SQL))
    assert list(declarations.of_the_descriptor(contract.domain)) == []
    contract.test_keys_round_trip()
    contract.test_tables_are_declared_soundly()
    contract.test_migrations_make_the_declared_columns()
    contract.test_payloads_are_read_as_declared()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, r'write `name = "treasury"`'),
        ({"scheduler": "none"}, r"write such as `scheduler = "),
        ({"tables": LEVELS}, r"tables of lake is no tuple of Table: mind the comma"),
        ({"partition_fields": "year"}, r"partition_fields of lake is no tuple of str: mind the comma"),
        ({"tables": ()}, r"write `tables = \(\.\.\.\)`"),
        ({"refuses": {"--json": "no"}}, r"it takes --force and --only-stage"),
    ],
)
def test_mistakes_in_the_descriptor(changes: dict[str, Any], said: str) -> None:
    """A missing name, a table without its comma and the like are told."""
    with pytest.raises(AssertionError, match=said):
        suite(**changes).test_the_descriptor_says_what_is_needed()


def test_a_descriptor_that_does_not_inherit_is_told() -> None:
    """An object with the right attributes is no Domain: it lacks what later versions add."""
    contract = DomainContract()
    contract.domain = object()  # type: ignore[assignment]
    with pytest.raises(AssertionError, match=r"write `class object\(Domain\)`"):
        contract.test_the_descriptor_says_what_is_needed()


def _fails(_self: Domain, key: str) -> Partition:
    return Partition("lake", (str(int(key)),))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"partition": _fails}, r"partition\(''\) raised ValueError: raise UsageError"),
        (
            {"partition": lambda _self, key: Partition("lake", (key,))},
            r"'a\|b\|c\|d\|e'\) is accepted: raise UsageError",
        ),
        ({"partition": lambda _self, _key: Partition("pond", ("2025",))}, r"write `Partition\(self\.name, \.\.\.\)`"),
        ({"partition_fields": ("year", "month")}, r"has 1 values and partition_fields names 2"),
        ({"capture_labels": lambda _self, _partition: ("x",)}, r"capture_labels of '2025' should be"),
    ],
)
def test_mistakes_in_partitions(changes: dict[str, Any], said: str) -> None:
    """A key that is refused by accident, accepted by accident, or belongs to another domain is told."""
    with pytest.raises(AssertionError, match=said):
        suite(**changes).test_keys_round_trip()


def named(name: str) -> Table:
    """The levels with a column of that name."""
    return LEVELS._replace(columns=(*LEVELS.columns, Column(name, "text", "A text.")))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (LEVELS._replace(stage="calc"), r'write stage="normalize" in it'),
        (LEVELS._replace(stage="nomalize"), r"is filled by stage 'nomalize': write one of calc, ingest, normalize"),
        (LEVELS._replace(key=("day",)), r"year of lake_levels tells partitions apart: put it into the key"),
        (LEVELS._replace(key=("year", "daye")), r"key of lake_levels names daye, which is no column"),
        (LEVELS._replace(key=("year", "metres")), r"metres of lake_levels is in the key: write nullable=False"),
        (LEVELS._replace(partition_by=("year", "day")), r"name one column for each field"),
        (LEVELS._replace(columns=(*LEVELS.columns, LEVELS.columns[0])), r"has two columns of one name"),
        (named("Capture_Id"), r"has a column Capture_Id, a name that the store adds: call it otherwise"),
        (named("ctid"), r"has a column ctid, a name that PostgreSQL keeps for itself"),
        (HIGHEST._replace(name="lake_levels", grows=True), r"grows, but is computed"),
        (LEVELS._replace(bulk=True, grows=True), r"is bulk, whose partitions come whole, and grows"),
    ],
)
def test_mistakes_in_tables(table: Table, said: str) -> None:
    """Stages, keys and partition columns that do not fit each other are told."""
    with pytest.raises(AssertionError, match=said):
        suite(tables=(table, HIGHEST)).test_tables_are_declared_soundly()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("DOUBLE PRECISION", "REAL", r"metres is REAL: write `metres DOUBLE PRECISION`"),
        ("day DATE NOT NULL, ", "", r"has no day: write `day DATE`"),
        ("day DATE NOT NULL, ", "day TEXT NOT NULL, ", r"day is TEXT: write `day DATE`"),
        ("metres DOUBLE PRECISION,", "metres DOUBLE PRECISION, crew BIGINT,", r"has crew, which lake_levels does not"),
        ("metres DOUBLE PRECISION,", "metres DOUBLE PRECISION NOT NULL,", r"metres is NOT NULL and may be null"),
        ("year BIGINT NOT NULL, day DATE NOT NULL,", "day DATE NOT NULL, year BIGINT NOT NULL,", r"in another order"),
        (
            "lake_levels_versions",
            "lake_levels",
            r"make no table lake_levels_versions: write it, with year BIGINT,",
        ),
        ("superseded_by BIGINT", "superseded_by BIGINT NOT NULL", r"write `manifest_id BIGINT NOT NULL, superseded_by"),
    ],
)
def test_mistakes_in_migrations(migrations: Callable[[str], str], old: str, new: str, said: str) -> None:
    """A column that is missing, of another type, in another place or never null is told with the line to write."""
    with pytest.raises(AssertionError, match=said):
        suite(migrations=migrations(SQL.replace(old, new))).test_migrations_make_the_declared_columns()


def test_a_domain_without_migrations_is_told() -> None:
    """Tables need the files that make them."""
    with pytest.raises(AssertionError, match=r'write `migrations = "lake\.migrations"`'):
        suite(migrations="").test_migrations_make_the_declared_columns()


def test_a_domain_that_is_not_installed_is_told() -> None:
    """Without its entry point nothing finds it, which is said with the lines to add."""
    with pytest.raises(AssertionError, match=r"lake is not installed: name it in pyproject\.toml"):
        suite().test_commands_can_be_used()


RANGE = CoversRange({LEVELS.name: Range("day", DAY, DAY)})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (read(tables={}), r"normalize returned no lake_levels: return its frame"),
        (read(tables={**read().tables, HIGHEST.name: HIGHEST.frame(())}), r"normalize returned lake_highest: it fills"),
        (read(LEVELS.frame([(2025, DAY, 1.5)]).cast({"year": pl.Int32})), r"build the frame with the declared Table's"),
        (read(LEVELS.frame([(2025, DAY, 1.5)]).select("day", "year", "metres")), r"in the order year, day, metres"),
        (read([(2025, DAY, 1.5), (2025, DAY, 2.0)]), r"several rows with the same key .* drop exact repetitions"),
        (read([(2024, DAY, 1.5)]), r"rows outside the scope .* say with CoversRange"),
        (read([(2025, None, 1.5)]), r"lake_levels\.day has nulls: refuse such rows"),
        (read([(2025, DAY, float("nan"))]), r"not a number: refuse such rows"),
        (read(rows_read=3), r"rows_read is 3, but 1 rows of lake_levels, 0 rejects and 0 duplicates make 1"),
        (read(duplicates=1), r"rows_read is 1, but 1 rows .* make 2"),
        (read(rejects=pl.DataFrame({"line": [1]})), r"write rejected_rows\("),
        (read([(2025, DAY + timedelta(days=1), 1.5)], partial=RANGE), r"rows outside the scope"),
        (read(partial=CoversRange({HIGHEST.name: Range("year", 1, 2)})), r"CoversRange names lake_highest, of which"),
        (read(partial=CoversRange({LEVELS.name: Range("date", DAY, DAY)})), r"'date', which is no column"),
        (read(partial=LacksFields({LEVELS.name: (Unknown(("crew",)),)})), r"LacksFields of lake_levels names crew"),
        (read(partial=LacksFields({"lakes": ()})), r"LacksFields names lakes, which the payload does not fill"),
    ],
)
def test_mistakes_in_normalize(found: Normalized, said: str) -> None:
    """Frames that are not as declared, counts that do not add up and ranges that cover nothing are told."""
    with pytest.raises(AssertionError, match=said):
        reading(found).test_payloads_are_read_as_declared()


def test_a_range_of_a_bulk_table_is_told() -> None:
    """A table that is replaced by whole partitions takes no payload that covers a range of one."""
    contract = reading(read(partial=RANGE))
    contract.domain.tables = (LEVELS._replace(bulk=True), HIGHEST)
    with pytest.raises(AssertionError, match=r"CoversRange names lake_levels, a bulk table"):
        contract.test_payloads_are_read_as_declared()


def test_a_reading_that_differs_from_itself_is_told() -> None:
    """The same bytes have to give the same rows, whenever they are read."""
    heights = iter((1.0, 2.0))
    with pytest.raises(AssertionError, match="take no clock, no random number"):
        reading(lambda: read([(2025, DAY, next(heights))])).test_payloads_are_read_as_declared()


@pytest.mark.parametrize(
    ("computed", "said"),
    [
        ({}, r"compute returned nothing: it fills lake_highest"),
        ({HIGHEST.name: HIGHEST.frame([(2024, 1.5)])}, r"rows outside the scope"),
        ({HIGHEST.name: pl.DataFrame({"year": [2025], "metres": [1]})}, r"build the frame with the declared Table's"),
    ],
)
def test_mistakes_in_compute(computed: dict[str, pl.DataFrame], said: str) -> None:
    """Computed tables are looked at like the others."""
    with pytest.raises(AssertionError, match=said):
        suite(compute=lambda _self, _partition, _tables: computed).test_payloads_are_read_as_declared()


def test_nothing_to_try_is_told() -> None:
    """A suite without keys or payloads would pass whatever the domain does."""
    contract = suite()
    contract.keys, contract.payloads = (), {}
    with pytest.raises(AssertionError, match="set `keys`"):
        contract.test_keys_round_trip()
    with pytest.raises(AssertionError, match="set `payloads`"):
        contract.test_payloads_are_read_as_declared()
