"""The files and the database that a trial works on, made and asked by the program itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WEEKS = ("--weeks", "2", "--rows", "100")


@dataclass
class Program:
    """Two weeks of three tiers of generated files, and a database.

    Args:
        folder: where they lie.
    """

    folder: Path
    _files: dict[str, Path] = field(default_factory=dict)
    _aside: dict[str, bytes] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """The program on the PATH, and its settings."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        settings = {"DATABASE_URL": str(self.folder / "trial.db"), "FINRA_DATA_DIR": str(self.folder / "files")}
        return {"PATH": path, "HOME": str(self.folder), "LANG": "C.UTF-8", **settings}

    def call(self, *words: str) -> str:
        """Run a command and answer with what it writes."""
        command = [str(Path(sys.executable).parent / "market-spine"), *words]
        given = self.environment()
        done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)  # noqa: S603 - our own
        return done.stdout

    def generate(self) -> list[str]:
        """Write the files; the keys of their partitions, oldest first."""
        self.call("sample-data", "finra", "--out", str(self.folder / "files"), *WEEKS)
        keys = self.keys()
        for tier in {key.partition("|")[2] for key in keys}:  # a file's name has the tier and the day of publication
            name = tier.lower().replace("nms_tier_", "tier")
            files = sorted((self.folder / "files").glob(f"finra_otc_weekly_{name}_*.csv"))
            self._files |= dict(zip([key for key in keys if key.endswith(f"|{tier}")], files, strict=True))
        return keys

    def keys(self) -> list[str]:
        """The partitions that the program would look at, oldest first."""
        text = self.call("schedule", "finra", "--lookback-weeks", "2", "--mode", "dry-run", "--json")
        result: dict[str, Any] = json.loads(text)
        return list(dict.fromkeys(run["partition_key"] for run in result["runs"]))

    def hide(self, key: str) -> None:
        """Take a partition's file away."""
        file = self._files[key]
        self._aside[key] = file.read_bytes()
        file.unlink()

    def show(self) -> str:
        """Put back the file that was taken away or emptied; the key of its partition."""
        key, whole = self._aside.popitem()
        self._files[key].write_bytes(whole)
        return key

    def restate(self) -> tuple[list[str], str]:
        """Restate the newest week of each tier, and empty a file: the keys of the others, and of that one."""
        self.call("sample-data", "finra", "--out", str(self.folder / "files"), *WEEKS, "--revise")
        newest = sorted({key.partition("|")[2]: key for key in self._files}.values())
        bad = newest.pop()
        self._aside[bad] = self._files[bad].read_bytes()
        self._files[bad].write_bytes(b"")
        return newest, bad

    def windows(self) -> int:
        """How often a window was computed, all in all."""
        sql = "SELECT COUNT(*) AS n FROM core_manifest WHERE stage LIKE '%rolling%'"
        (row,) = json.loads(self.call("query", sql, "--json"))
        return int(row["n"])
