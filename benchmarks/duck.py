"""The floor of a query: DuckDB alone over plain Parquet files, one per partition.

``python duck.py FOLDER SQL``, where the statement reads ``rows``; prints the answer as CSV.
"""

from __future__ import annotations

import csv
import sys

import duckdb


def main() -> None:
    """Run one statement."""
    folder, sql = sys.argv[1:]
    with duckdb.connect() as database:
        database.execute(
            f"CREATE VIEW rows AS SELECT * FROM read_parquet('{folder}/*/*/*.parquet', hive_partitioning = true)"
        )
        cursor = database.execute(sql)
        writer = csv.writer(sys.stdout, lineterminator="\n")
        while batch := cursor.fetchmany(5_000):
            writer.writerows(batch)


if __name__ == "__main__":
    main()
