"""The plain script in DuckDB: hashes weekly files, compares their rows with those kept, and stores them with history.

What a careful afternoon gives with a columnar database: no checks, calculations, payloads or run log.
``python duck_load.py DATA_DIR DATABASE``.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import duckdb

SCHEMA = """\
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, sha256 TEXT NOT NULL, load INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS versions (
    file TEXT NOT NULL, tier TEXT, symbol TEXT, issue TEXT, venue TEXT, mpid TEXT,
    shares DOUBLE, trades BIGINT, updated DATE, load INTEGER NOT NULL, superseded_by INTEGER
);
"""
READ = """\
CREATE OR REPLACE TEMP TABLE fresh AS
SELECT tierDescription AS tier, issueSymbolIdentifier AS symbol, issueName AS issue, marketParticipantName AS venue,
       MPID AS mpid, totalWeeklyShareQuantity::DOUBLE AS shares, totalWeeklyTradeCount::BIGINT AS trades,
       lastUpdateDate::DATE AS updated
  FROM read_csv(?, delim = '|', header = true, quote = '')
"""
SAME = " AND ".join(
    f"f.{name} IS NOT DISTINCT FROM v.{name}"
    for name in ("tier", "symbol", "issue", "venue", "mpid", "shares", "trades", "updated")
)
CLOSE = f"""\
UPDATE versions v SET superseded_by = ?
 WHERE file = ? AND superseded_by IS NULL AND NOT EXISTS (SELECT 1 FROM fresh f WHERE {SAME})
"""
ADD = f"""\
INSERT INTO versions
SELECT ?, *, ?, NULL FROM fresh f
 WHERE NOT EXISTS (SELECT 1 FROM versions v WHERE v.file = ? AND v.superseded_by IS NULL AND {SAME})
"""


def load_file(database: duckdb.DuckDBPyConnection, path: Path, load: int) -> int:
    """Store what a file has new; returns how many rows were written."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if database.execute("SELECT 1 FROM files WHERE name = ? AND sha256 = ?", (path.name, sha256)).fetchone():
        return 0
    database.execute("BEGIN")
    database.execute(READ, (str(path),))
    database.execute(CLOSE, (load, path.name))
    added = database.execute(ADD, (path.name, load, path.name)).fetchone()
    database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (path.name, sha256, load))
    database.execute("COMMIT")
    return int(added[0]) if added else 0


def main() -> None:
    """Load every file of a folder."""
    folder, target = sys.argv[1:]
    with duckdb.connect(target) as database:
        database.execute(SCHEMA)
        row = database.execute("SELECT COALESCE(MAX(load), 0) + 1 FROM files").fetchone()
        load = int(row[0]) if row else 1
        written = {path.name: load_file(database, path, load) for path in sorted(Path(folder).iterdir())}
    print(json.dumps({"rows": sum(written.values())}))


if __name__ == "__main__":
    main()
