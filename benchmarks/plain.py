"""The plain script: hashes weekly files, compares their rows with those kept, and stores them in SQLite.

What a careful afternoon gives with the standard library alone, and so the floor for one cold Python process:
no checks, no calculations, no history of runs. ``python plain.py DATA_DIR DATABASE``.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from pathlib import Path

SCHEMA = """\
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, sha256 TEXT NOT NULL, load INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS versions (
    file TEXT NOT NULL, tier TEXT, symbol TEXT, issue TEXT, venue TEXT, mpid TEXT,
    shares REAL, trades INTEGER, updated TEXT, load INTEGER NOT NULL, superseded_by INTEGER
);
CREATE INDEX IF NOT EXISTS versions_file ON versions (file);
"""
KEY = slice(0, 5)
"""Tier, symbol, issue, venue, MPID."""


def read_rows(data: bytes) -> dict[tuple[str, ...], tuple[object, ...]]:
    """The rows of a file by key."""
    rows: dict[tuple[str, ...], tuple[object, ...]] = {}
    for line in data.decode().splitlines()[1:]:
        fields = line.split("|")
        rows[tuple(fields[KEY])] = (*fields[:5], float(fields[5]), int(fields[6]), fields[7])
    return rows


def load_file(database: sqlite3.Connection, path: Path, load: int) -> int:
    """Store what a file has new; returns how many rows were written."""
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    if database.execute("SELECT 1 FROM files WHERE name = ? AND sha256 = ?", (path.name, sha256)).fetchone():
        return 0
    kept = {
        row[1:6]: (row[0], row[1:])
        for row in database.execute(
            "SELECT rowid, tier, symbol, issue, venue, mpid, shares, trades, updated FROM versions"
            " WHERE file = ? AND superseded_by IS NULL",
            (path.name,),
        )
    }
    rows = read_rows(data)
    gone = [(load, row_id) for key, (row_id, row) in kept.items() if rows.get(key) != row]
    fresh = [(path.name, *row, load) for key, row in rows.items() if key not in kept or kept[key][1] != row]
    with database:
        database.executemany("UPDATE versions SET superseded_by = ? WHERE rowid = ?", gone)
        database.executemany("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)", fresh)
        database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (path.name, sha256, load))
    return len(fresh)


def main() -> None:
    """Load every file of a folder."""
    folder, target = sys.argv[1:]
    database = sqlite3.connect(target)
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript(SCHEMA)
    ((load,),) = database.execute("SELECT COALESCE(MAX(load), 0) + 1 FROM files")
    written = {path.name: load_file(database, path, load) for path in sorted(Path(folder).iterdir())}
    print(json.dumps({"rows": sum(written.values())}))


if __name__ == "__main__":
    main()
