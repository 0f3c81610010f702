"""What the environment says. The only module that reads environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from market_spine.errors import UsageError

DEFAULT_DATABASE = "data/market_spine.db"

_SIZE = r"([0-9]{1,15}) ?([KMG]?)(?:i?B)?"
_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30}
KEEP_RUNS = 1100
"""Days for which what is known of a run is kept, if nothing else is said."""

_CONTROL = "[\x00-\x1f\x7f-\x9f]"


def keep_freed_memory(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let Polars, where it is not loaded yet, keep memory that it has freed for ten seconds instead of half of one.

    Each partition takes what the one before it has freed: getting it from the system anew is a tenth of a load. How
    much a run takes at most stays as it is. What the environment says counts more.
    """
    environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:10000")


class ChosenDatabase(NamedTuple):
    """Which database to use: a path or URL, and whether it is merely our default.

    Only the default's parent folder is created; a folder the user named must exist.
    """

    url: str
    is_default: bool


def database(flag: str | None, environ: Mapping[str, str] = os.environ) -> ChosenDatabase:
    """The database: ``--db``, else ``DATABASE_URL``, else ``data/market_spine.db`` below the working directory.

    ``MARKET_SPINE_SCHEMA`` names the schema to use in a PostgreSQL database.

    Raises:
        UsageError: the flag is there but empty, as when a script's variable is unset; a control character.
    """
    if flag is not None and not flag.strip():
        raise UsageError("--db: '' is not allowed; it takes a path or URL")
    url = trimmed("--db", flag) if flag else variable("DATABASE_URL", "", environ)
    schema = variable("MARKET_SPINE_SCHEMA", "", environ)
    return ChosenDatabase(_in_schema(url, schema) or DEFAULT_DATABASE, not url)


def _in_schema(url: str, schema: str) -> str:
    """A PostgreSQL address with the schema from ``MARKET_SPINE_SCHEMA``; it wins over one that the address names."""
    if not schema or not url.startswith(("postgresql://", "postgres://")):
        return url
    from urllib.parse import quote

    return f"{url}{'&' if '?' in url else '?'}schema={quote(schema, safe='')}"


def auto_migrate(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether opening for writing may apply migrations: yes unless ``MARKET_SPINE_AUTO_MIGRATE`` is 0."""
    return environ.get("MARKET_SPINE_AUTO_MIGRATE", "1").strip().lower() not in {"0", "false", "no"}


def clock_wait(environ: Mapping[str, str] = os.environ) -> float:
    """Seconds to wait for a clock that is behind the last commit: ``MARKET_SPINE_CLOCK_WAIT``, none by default.

    Raises:
        UsageError: it is no number of seconds.
    """
    text = variable("MARKET_SPINE_CLOCK_WAIT", "0", environ)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"MARKET_SPINE_CLOCK_WAIT: {text!r} is no number of seconds")
    return seconds


def keep_runs(environ: Mapping[str, str] = os.environ) -> timedelta | None:
    """How long runs are kept: ``MARKET_SPINE_KEEP_RUNS`` days, 1,100 by default, which is three years; 0 is for ever.

    Raises:
        UsageError: it is no whole number of days.
    """
    text = variable("MARKET_SPINE_KEEP_RUNS", str(KEEP_RUNS), environ)
    if not text.isascii() or not text.isdigit() or len(text) > 5:
        raise UsageError(f"MARKET_SPINE_KEEP_RUNS: {text!r} is no whole number of days", hint="0 keeps them for ever")
    return timedelta(days=int(text)) if int(text) else None


def variable(name: str, default: str, environ: Mapping[str, str] = os.environ) -> str:
    """An environment variable, ``trimmed``, or its default if unset or blank."""
    return trimmed(name, environ.get(name, "")) or default


def trimmed(name: str, text: str) -> str:
    """A path, address or name as a flag or variable gives it, without blanks around it.

    Secrets and files of settings often end in a line end, which is part of no name.

    Raises:
        UsageError: it has a control character. The text, which may hold a password, is not repeated.
    """
    found = text.strip()
    if not found.isprintable() and (control := re.search(_CONTROL, found)):
        raise UsageError(
            f"{name}: the value has a control character (U+{ord(control[0]):04X})", hint="type the value anew"
        )
    return found


def size(name: str, default: int, environ: Mapping[str, str] = os.environ) -> int:
    """Bytes, from a variable such as ``2GiB``, ``500M`` or ``1000000``; raises UsageError."""
    text = variable(name, "", environ)
    if not text:
        return default
    found = re.fullmatch(_SIZE, text, re.IGNORECASE)
    if not found or not int(found[1]):
        raise UsageError(f"{name}: {text!r} is not allowed; it takes a size such as 2GiB, 500MiB or 1000000")
    return int(found[1]) << _SHIFTS[found[2].upper()]


def user() -> str:
    """Who runs the program, as the system knows them; a number where it knows no name."""
    from getpass import getuser

    try:
        return getuser()
    except (KeyError, OSError):  # a container's user need not be in its list of users
        return f"uid {os.getuid()}"


def given(*names: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether one of these secrets is there, itself or as a file."""
    return any(environ.get(name, "").strip() or environ.get(f"{name}_FILE", "").strip() for name in names)


def lineage_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment says where events of lineage go, in the words of the OpenLineage library."""
    if environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    return any(
        value.strip()
        and (name in ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG") or name.startswith("OPENLINEAGE__TRANSPORT"))
        for name, value in environ.items()
    )


def started_by(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Who had a command started for them, for its ``config``: ``MARKET_SPINE_STARTED_BY``; nothing without it."""
    name = variable("MARKET_SPINE_STARTED_BY", "", environ)
    return {"started_by": name} if name else {}


class Secret(str):
    """A key or password. It knows the variable that has it: work that travels takes the name along, not the value."""

    __slots__ = ("name",)
    name: str

    def __new__(cls, value: str, name: str) -> Secret:
        found = super().__new__(cls, value)
        found.name = name
        return found


def secret(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """A key or password: ``NAME``, else the content of the file that ``NAME_FILE`` names; empty if neither is set.

    It is a ``Secret`` where it is not empty.

    Raises:
        UsageError: the file cannot be read.
    """
    if value := environ.get(name, "").strip():
        return Secret(value, name)
    path = variable(f"{name}_FILE", "", environ)
    if not path:
        return ""
    try:
        found = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{name}_FILE: {path} cannot be read: {error}", hint=f"name a readable file, or set {name}"
        ) from error
    return Secret(found, name) if found else ""
