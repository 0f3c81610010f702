"""What is wrong with a store, one thing at a time, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

RESTORE = "restore a backup"
UPGRADE = "run `market-spine db upgrade`"
REBUILD = "market-spine rebuild --into NEW makes a sound database from the payloads"
ACCEPT = "market-spine rebuild --into NEW --accept-version-change tells what the payloads say"


class Problem(NamedTuple):
    """One thing that is wrong: what and where, and what mends it."""

    message: str
    hint: str = RESTORE
