"""SQL by which engines read a published lake: it names the files that belong together, for a folder holds others, too.

For each table there are ``TABLE_versions`` (every version of every row), ``TABLE`` (what is known now) and, where the
engine has such a thing, ``TABLE_as_of(moment)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import polars as pl

from market_spine.store.views import quote

AS_OF = "captured_at <= {at} AND (superseded_at IS NULL OR superseded_at > {at})"
"""The condition under which a row was known at a moment."""
_NOW = "superseded_at IS NULL"
_TYPES: dict[type[pl.DataType], tuple[str, str]] = {
    pl.String: ("varchar", "VARCHAR"),
    pl.Int64: ("bigint", "BIGINT"),
    pl.Float64: ("double", "DOUBLE"),
    pl.Date: ("date", "DATE"),
    pl.Boolean: ("boolean", "BOOLEAN"),
    pl.Datetime: ("timestamp(6)", "TIMESTAMP_TZ"),
}
"""Type to its name in Trino and in Snowflake."""


class Published:
    """One published table: its name, its columns with their types, and its files below ``address``."""

    def __init__(self, name: str, columns: Mapping[str, pl.DataType], files: Sequence[str], address: str) -> None:
        self.name = name
        self.columns = columns
        self.files = files
        self.address = address

    @property
    def folder(self) -> str:
        """Where its files lie."""
        return f"{self.address}/{self.name}"

    @property
    def bare(self) -> str:
        """The names of its files without folders, as a list of texts."""
        return ",\n  ".join(_text(name.rpartition("/")[2]) for name in self.files)


def scripts(tables: Sequence[Published], through: str) -> dict[str, str]:
    """Name of a file to the SQL in it, one for each engine."""
    return {
        f"views.{engine}.sql": "\n".join((f"-- {heading}; published through {through}", *_all(made, tables))) + "\n"
        for engine, (heading, made) in _ENGINES.items()
    }


def _all(made: Callable[[Published], Iterator[str]], tables: Sequence[Published]) -> Iterator[str]:
    for table in tables:
        yield from made(table)


def _duckdb(table: Published) -> Iterator[str]:
    files = ",\n  ".join(_text(f"{table.address}/{name}") for name in table.files)
    yield f"CREATE OR REPLACE VIEW {quote(table.name + '_versions')} AS FROM read_parquet([\n  {files}\n]);"
    yield f"CREATE OR REPLACE VIEW {quote(table.name)} AS FROM {quote(table.name + '_versions')} WHERE {_NOW};"
    yield (
        f"CREATE OR REPLACE MACRO {quote(table.name + '_as_of')}(moment) AS TABLE"
        f" FROM {quote(table.name + '_versions')} WHERE {AS_OF.format(at='CAST(moment AS TIMESTAMPTZ)')};"
    )


def _spark(table: Published) -> Iterator[str]:
    folder = table.folder.replace("s3://", "s3a://", 1)  # as Hadoop calls it
    yield (
        f"CREATE OR REPLACE TEMPORARY VIEW {table.name}_versions AS SELECT * FROM parquet.`{folder}`"
        f" WHERE _metadata.file_name IN (\n  {table.bare}\n);"
    )
    yield f"CREATE OR REPLACE TEMPORARY VIEW {table.name} AS SELECT * FROM {table.name}_versions WHERE {_NOW};"


def _trino(table: Published) -> Iterator[str]:
    columns = ", ".join(f"{quote(name)} {_TYPES[type(kind)][0]}" for name, kind in table.columns.items())
    names = ", ".join(map(quote, table.columns))
    where = table.folder if "://" in table.folder else f"file://{table.folder}"
    yield f"DROP TABLE IF EXISTS {table.name}_files;"
    yield (
        f"CREATE TABLE {table.name}_files ({columns}) WITH (format = 'PARQUET', external_location = {_text(where)});"
    )
    yield (
        f"CREATE OR REPLACE VIEW {table.name}_versions AS SELECT {names} FROM {table.name}_files"
        f" WHERE element_at(split(\"$path\", '/'), -1) IN (\n  {table.bare}\n);"
    )
    yield f"CREATE OR REPLACE VIEW {table.name} AS SELECT * FROM {table.name}_versions WHERE {_NOW};"


def _snowflake(table: Published) -> Iterator[str]:
    shown = ", ".join(f'value:"{name}"::{_TYPES[type(kind)][1]} AS {name}' for name, kind in table.columns.items())
    typed = ", ".join(f"{name} {_TYPES[type(kind)][1]}" for name, kind in table.columns.items())
    yield (
        f"CREATE OR REPLACE EXTERNAL TABLE {table.name}_files LOCATION = @market_spine_lake/{table.name}/"
        " AUTO_REFRESH = FALSE FILE_FORMAT = (TYPE = PARQUET);"
    )
    yield (
        f"CREATE OR REPLACE VIEW {table.name}_versions AS SELECT {shown} FROM {table.name}_files"
        f" WHERE SPLIT_PART(METADATA$FILENAME, '/', -1) IN (\n  {table.bare}\n);"
    )
    yield f"CREATE OR REPLACE VIEW {table.name} AS SELECT * FROM {table.name}_versions WHERE {_NOW};"
    yield (
        f"CREATE OR REPLACE FUNCTION {table.name}_as_of(moment TIMESTAMP_TZ) RETURNS TABLE ({typed}) AS $$\n"
        f"  SELECT {', '.join(table.columns)} FROM {table.name}_versions WHERE {AS_OF.format(at='moment')}\n$$;"
    )


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


_HOW = f"as of a moment: SELECT * FROM TABLE_versions WHERE {AS_OF.format(at='MOMENT')}"
_ENGINES: dict[str, tuple[str, Callable[[Published], Iterator[str]]]] = {
    "duckdb": ("DuckDB: FROM TABLE_as_of('2025-12-24T00:00:00Z')", _duckdb),
    "spark": (f"Spark SQL, {_HOW}", _spark),
    "trino": (f"Trino, Hive connector, hive.timestamp-precision=MICROSECONDS, moments in UTC, {_HOW}", _trino),
    "snowflake": (
        "Snowflake, with a stage market_spine_lake where the lake lies: SELECT * FROM TABLE(TABLE_as_of(MOMENT))",
        _snowflake,
    ),
}
