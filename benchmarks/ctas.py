"""The physical floor of a bulk load: DuckDB's ``CREATE TABLE AS`` over ``read_csv`` of the same files.

Nothing is hashed, compared, checked or computed. ``python ctas.py DATA_DIR DATABASE``.
"""

from __future__ import annotations

import json
import sys

import duckdb

LOAD = """\
CREATE TABLE venue_volume AS
SELECT * FROM read_csv('{folder}/*.csv', delim = '|', header = true, quote = '')
"""


def main() -> None:
    """Load every file of a folder into a new table."""
    folder, target = sys.argv[1:]
    with duckdb.connect(target) as database:
        database.execute(LOAD.format(folder=folder))
        row = database.execute("SELECT COUNT(*) FROM venue_volume").fetchone()
    print(json.dumps({"rows": row[0] if row else 0}))


if __name__ == "__main__":
    main()
