"""dlt at its best for this job: ``scd2`` merges of Arrow tables into DuckDB, one merge key a file.

DuckDB reads the files into Arrow and hashes the rows, which spares dlt the import of pandas that its own
``add_row_hash_to_table`` needs. ``python dlt_load.py DATA_DIR DATABASE``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"

import dlt  # reads these when it is imported
import duckdb

FILES = """\
SELECT * REPLACE (parse_filename(source_file) AS source_file), CAST(hash(f) >> 1 AS BIGINT) AS row_hash
  FROM read_csv('{folder}/*.csv', delim = '|', header = true, quote = '', filename = 'source_file') AS f
"""


@dlt.resource(
    name="venue_volume",
    merge_key="source_file",
    write_disposition={"disposition": "merge", "strategy": "scd2", "row_version_column_name": "row_hash"},
)
def venue_volume(folder: str) -> Iterator[Any]:
    """The rows of all files as one Arrow table."""
    yield duckdb.sql(FILES.format(folder=folder)).to_arrow_table()


def main() -> None:
    """Load every file of a folder."""
    folder, target = sys.argv[1:]
    pipeline = dlt.pipeline(
        "finra",
        pipelines_dir=str(Path(target).parent / "dlt"),
        destination=dlt.destinations.duckdb(target),
        dataset_name="finra",
    )
    pipeline.run(venue_volume(folder)).raise_on_failed_jobs()
    counts = pipeline.last_trace.last_normalize_info.row_counts
    print(json.dumps({"rows": counts["venue_volume"]}))


if __name__ == "__main__":
    main()
